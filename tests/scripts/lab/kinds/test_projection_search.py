"""The search for the paper's tied model with P, on a corpus of a page."""

import json
import sys
from dataclasses import replace

import pytest
import torch

from preprocess import text
from scripts import search_projection
from scripts.lab.baselines.plain_language_model import Training, Variant, dictionary, read, windows
from scripts.lab.kinds.projection_search import join, summary
from scripts.lab.run import variants
from scripts.lab.store import read_record, summary_of
from tiednmt.errors import UserError

CHANGES = {"size": 8, "streams": 2, "steps": 5, "epochs": 3, "projection": "matrix", "penalty": 0.2}


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    folder = tmp_path_factory.mktemp("corpus")
    raw = folder / "raw.txt"
    raw.write_text("".join(f"word{i % 7} then word{i % 5} .\n" for i in range(60)))
    files = ["--train", raw, "--valid", raw, "--test", raw, "--dest", folder / "data"]
    text.main([*map(str, files)])
    return folder / "data"


@pytest.fixture
def config(monkeypatch, tmp_path):
    """The file of two variants."""
    config = tmp_path / "variants.yaml"
    config.write_text(json.dumps({"some, P": CHANGES, "other": {**CHANGES, "tied": False}}))
    monkeypatch.setattr(variants, "VARIANTS", config)
    return config


@pytest.fixture
def search(data, config):
    def run(name, epochs, out, seed=1):
        variants.search(name, seed, epochs, data, out)
        return json.loads(variants.figures_file(name, seed, out).read_text())

    return run


def recorded(out, command="the command"):
    return summary(out, 1, command)


def test_interrupted_search_has_the_figures_of_an_uninterrupted_one(search, tmp_path):
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    started = search("some, P", 1, parts)
    assert len(started["epochs"]) == 1 and "test" not in started
    assert search("some, P", None, parts) == search("some, P", None, whole)
    record = recorded(parts)
    (row,) = record.variants
    assert row.epochs == 3 and row.test.seeds == 1
    line = next(line for line in summary_of(record).splitlines() if line.startswith("| some, P"))
    assert line.endswith(f" {row.test.mean:.1f} |")


def test_dropout_is_that_of_the_epoch_and_off_in_evaluation(data):
    text = read(data, "train")

    def start():
        return Training(Variant(**CHANGES, dropout=0.3), len(dictionary(data)))

    whole, resumed = start(), start()
    whole.epoch(text, 1)
    resumed.model.load_state_dict(whole.model.state_dict())
    assert whole.perplexity(text, 1) == whole.perplexity(text, 1)
    assert whole.epoch(text, 2) == resumed.epoch(text, 2)


def test_variants_join_those_that_were_kept(search, tmp_path):
    search("some, P", 2, tmp_path / "long")
    kept = recorded(tmp_path / "long")
    for name in ("other", "some, P"):
        search(name, 1, tmp_path / "short")
    new = recorded(tmp_path / "short")
    joined = join(kept, new).variants
    assert [(row.name, row.epochs) for row in joined] == [("some, P", 2), ("other", 1)]
    assert join(new, kept).variants == joined
    search("some, P", 2, tmp_path / "long", seed=2)
    more = recorded(tmp_path / "long")
    for pair in ((more, kept), (kept, more)):
        (row,) = join(*pair).variants
        assert row.train.seeds == 2


def test_a_record_names_the_run_of_its_figures(search, tmp_path):
    search("some, P", 1, tmp_path / "first")
    search("other", 1, tmp_path / "second")
    first = recorded(tmp_path / "first", "the first")
    both = join(first, recorded(tmp_path / "second", "the second"))
    assert both.command == "the second"
    assert [run.command for run in both.earlier] == ["the first"]
    for name in ("some, P", "other"):
        search(name, 2, tmp_path / "third")
    alone = join(both, recorded(tmp_path / "third", "the third"))
    assert (alone.command, alone.earlier) == ("the third", ())


def test_more_epochs_do_not_take_the_place_of_more_seeds(search, tmp_path):
    for seed in (1, 2):
        search("some, P", 1, tmp_path / "seeds", seed=seed)
    search("some, P", 2, tmp_path / "epochs")
    seeds, epochs = recorded(tmp_path / "seeds"), recorded(tmp_path / "epochs")
    (row,) = join(seeds, epochs).variants
    assert (row.train.seeds, row.epochs) == (2, 1)
    other = replace(seeds, variants=[replace(seeds.variants[0], changes={"size": 4})])
    assert join(other, epochs).variants == epochs.variants  # of the settings of today


def test_an_end_between_its_two_files_loses_no_epoch(search, tmp_path):
    search("some, P", 2, tmp_path)
    earlier = variants.figures_file("some, P", 1, tmp_path).read_text()
    last = search("some, P", 3, tmp_path)
    variants.figures_file("some, P", 1, tmp_path).write_text(earlier)
    assert search("some, P", 3, tmp_path) == last


def test_more_epochs_than_a_variant_has_are_refused(config, data, tmp_path):
    with pytest.raises(UserError, match="--epochs 4: some, P has only 3"):
        variants.train(["some, P"], 1, 4, data, tmp_path, 1)


def test_figures_of_other_settings_are_refused(search, config, tmp_path):
    search("some, P", 1, tmp_path)
    config.write_text(json.dumps({"some, P": {**CHANGES, "penalty": 1.0}}))
    with pytest.raises(UserError, match=r"some-P\.1\.pt: made with other settings"):
        search("some, P", None, tmp_path)
    with pytest.raises(UserError, match=r"some-P\.1\.json: made with other settings"):
        recorded(tmp_path)  # as after a search of other variants alone


def test_unknown_variant(data, tmp_path, monkeypatch):
    arguments = ["search", "--only", "nothing", "--data", str(data), "--out", str(tmp_path)]
    monkeypatch.setattr(sys, "argv", arguments)
    with pytest.raises(
        SystemExit, match=r"error: --only nothing: .*projection\.yaml has only tied"
    ):
        search_projection.main()


@pytest.mark.slow
def test_the_command_trains_and_records(data, tmp_path, monkeypatch, capsys):
    out = tmp_path / "out"
    arguments = ["search", "--only", "tied", "--epochs", "1", "--data", str(data)]
    monkeypatch.setattr(sys, "argv", [*arguments, "--out", str(out)])
    search_projection.main()
    record = read_record(out / "record.json")
    assert [(row.name, row.epochs) for row in record.variants] == [("tied", 1)]
    assert "| tied |" in (out / "table.md").read_text()
    assert "| tied |" in capsys.readouterr().out


def test_update_follows_its_formula(data):
    """θ ← (1 − η w) θ − η · c · ∇(NLL/B + λ/(2B) ‖P‖²), c the factor that clips the gradient."""
    variant = Variant(**{**CHANGES, "clip": 0.1, "weight_decay": 0.01, "lstm_biases": 1})
    training = Training(variant, len(dictionary(data)))
    model = training.model.double()
    before = {name: value.detach().clone() for name, value in model.named_parameters()}
    inputs, targets = next(windows(read(data, "train"), 2, 5))
    scores, _ = model(inputs, None)
    nll = torch.nn.functional.cross_entropy(scores.flatten(0, 1), targets.flatten())
    squares = (model.projection.weight**2).sum()
    learned = {n: p for n, p in model.named_parameters() if p.requires_grad}
    loss = nll * targets.numel() / 2 + 0.2 / 2 / 2 * squares
    gradients = dict(zip(learned, torch.autograd.grad(loss, [*learned.values()]), strict=True))
    norm = sum((g**2).sum() for g in gradients.values()).sqrt()
    assert norm > 0.1
    training.update(inputs, targets, None, rate=0.5)
    for name, parameter in learned.items():
        expected = (1 - 0.5 * 0.01) * before[name] - 0.5 * 0.1 / norm * gradients[name]
        torch.testing.assert_close(parameter.detach(), expected, rtol=1e-5, atol=1e-9)
    for name in before.keys() - learned.keys():
        assert not before[name].any() and not model.get_parameter(name).any()
    assert before.keys() - learned.keys() == {"lstm.bias_hh_l0", "lstm.bias_hh_l1"}
