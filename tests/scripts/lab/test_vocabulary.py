"""The measurements of vocabulary surgery, on a model of a few updates."""

import json

import pytest

from scripts.lab.vocabulary import Trained, language, losses, require_run, show, starts, tie, trim
from tests.support.small_prepared import prepare, sentences, trained_on
from tests.support.small_training import train
from tiednmt.errors import UserError


class Here(Trained):
    """Trains and scores in this process: starting another costs seconds of imports."""

    def train(self, name, data, updates, *options):
        folder = self.out / name
        named = dict(zip(options[::2], options[1::2], strict=True))
        started = named.get("--finetune-from-model")
        parts = {
            "model": {
                "tying": named.get("--tying", "three-way"),
                "train_rows": named.get("--train-rows", ""),
            }
        }
        parts["checkpoint"] = {"finetune_from_model": started}
        parts["dataset"] = {"validate_interval_updates": 1}
        languages = [named.get(f"--{side}-lang", code) for side, code in PAIR]
        parts["task"] = dict(zip(("source_lang", "target_lang"), languages, strict=True))
        parts["task"]["dataset_impl"] = "mmap" if list(data.glob("*.bin")) else "raw"
        last = train(data, folder, optimization={"max_update": updates}, **parts)
        entries = [{"valid_nll_loss": "2.5", "valid_num_updates": n} for n in (1, updates)]
        log = "".join(f"INFO | valid | {json.dumps(entry)}\n" for entry in entries)
        (folder / "train.log").write_text(log)
        last.rename(folder / "checkpoint_best.pt")
        return folder

    def bleu(self, data, subset, **checkpoints):
        return dict.fromkeys(checkpoints, 1.0)


PAIR = (("source", "en"), ("target", "de"))


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    prepared = prepare(tmp_path_factory.mktemp("corpus") / "prepared")
    run = tmp_path_factory.mktemp("run")
    trained_on(prepared, run, updates=60).rename(run / "checkpoint_best.pt")
    return Here(run, prepared, tmp_path_factory.mktemp("out"))


def test_how_new_rows_start(trained):
    curves = starts(trained, 8, [0, 2])
    assert {kind: list(curve) for kind, curve in curves.items()} == {
        kind: [0, 2] for kind in ("parts", "unk", "random")
    }
    show("starts", curves, trained.out)
    assert (trained.out / "starts.png").exists()


def test_trimming_with_its_speed(trained):
    figures = trim(trained, ["test"])
    assert figures["same"] == figures["lines"] == 10
    assert figures["rows"][1] < figures["rows"][0]
    assert all(rate > 0 for rate in figures["sentences per second"])


def test_tying_afterwards(trained, tmp_path):
    apart = Here(tmp_path, trained.data, tmp_path / "out")
    apart.out.mkdir()
    trained_on(trained.data, tmp_path, "none", 1).rename(tmp_path / "checkpoint_best.pt")
    figures = tie(apart, trained.checkpoint, "test", 1, "three-way")
    assert list(figures)[:3] == ["none", "three-way", "from input"]
    assert len(figures) == 2 + 3 * 2 + 1


def test_a_further_language(trained, tmp_path):
    for name in ("train", "valid", "test"):
        for code in ("en", "cs"):
            words = ["zahahe", "lezhk"] if code == "cs" else None
            lines = sentences(code, 6, words=words)
            (tmp_path / f"{name}.{code}").write_text("".join(f"{line}\n" for line in lines))
    names = ("train", "valid", "test")
    texts = {n: (tmp_path / f"{n}.en", tmp_path / f"{n}.cs") for n in names}
    figures = language(trained, texts, ("en", "cs"), 8, (2, 1), "test")
    assert figures["old weights are the same bit for bit"] is True
    assert set(figures["bleu"]) == {"new rows", "then whole", "from scratch"}


def test_losses_are_read_from_fairseqs_log(tmp_path):
    entry = json.dumps({"valid_nll_loss": "2.5", "valid_num_updates": "100"})
    (tmp_path / "train.log").write_text(f"a line\n2020 | INFO | valid | {entry}\n")
    assert losses(tmp_path) == {100: 2.5}


def test_tables(tmp_path, capsys):
    show("tie", {"none": 97.863, "from mean": 9.4}, tmp_path)
    assert "| from mean | 9.40 |" in capsys.readouterr().out
    assert "97.86" in (tmp_path / "tie.md").read_text()


def test_no_run(tmp_path):
    with pytest.raises(UserError, match=r"command\.json: no such file; give the folder"):
        require_run(tmp_path)
