"""Model folders of every architecture: what is in them, and that nothing is lost."""

import json
import shutil

import pytest
import torch
import yaml

from tests.models.contract import MATRICES
from tests.support.small_models import batch
from tests.support.translators import TRANSLATORS, save_translator
from tests.support.untrained import save_untrained, write_dictionaries
from tiednmt.commands import export
from tiednmt.errors import UserError
from tiednmt.export.card import card, page, scores_in
from tiednmt.export.model_folder import read_model_folder, write_model_folder
from tiednmt.export.reading import read_trained
from tiednmt.export.safetensors import TensorFile


def scores_of(model):
    with torch.no_grad():
        return model(**batch()[0])[0]


@pytest.mark.parametrize("arch", TRANSLATORS)
@pytest.mark.parametrize("tying", MATRICES)
def test_scores_are_those_of_the_checkpoint(prepared, tmp_path, arch, tying):
    model = save_translator(tmp_path / "c.pt", prepared, arch, tying=tying, projection=True)
    write_model_folder(tmp_path / "folder", read_trained(tmp_path / "c.pt", prepared))
    read = read_model_folder(tmp_path / "folder").model
    torch.testing.assert_close(scores_of(read), scores_of(model), atol=1e-5, rtol=0)
    assert read.tie_map == model.tie_map


@pytest.mark.parametrize("arch", TRANSLATORS)
@pytest.mark.parametrize("tying", MATRICES)
def test_every_matrix_is_stored_once_under_a_name_that_the_others_point_to(
    prepared, tmp_path, arch, tying
):
    model = save_translator(tmp_path / "c.pt", prepared, arch, tying=tying)
    write_model_folder(tmp_path / "folder", read_trained(tmp_path / "c.pt", prepared))
    file = TensorFile(tmp_path / "folder" / "model.safetensors")
    rows = model.embeddings.target.num_embeddings
    matrices = [name for name, shape in file.shapes.items() if shape[:1] == (rows,) and shape[1:]]
    assert len(matrices) == MATRICES[tying]
    others = {name: of for name, of in file.metadata.items() if name != "format"}
    assert {*file.shapes, *others} == {*file.shapes, *dict(model.named_parameters(
        remove_duplicate=False))}  # fmt: skip
    weights = dict(model.named_parameters(remove_duplicate=False))
    assert all(weights[name] is weights[of] and of in file.shapes for name, of in others.items())


def test_size(prepared, tmp_path):
    model = save_translator(tmp_path / "c.pt", prepared, "tied_gru_tiny")
    trained = read_trained(tmp_path / "c.pt", prepared)
    for name in ("float32", "int8"):
        write_model_folder(tmp_path / name, trained, int8=name == "int8")
    exact, rounded = (
        (tmp_path / name / "model.safetensors").stat().st_size for name in ("float32", "int8")
    )
    count = sum(parameter.numel() for parameter in model.parameters())
    assert count * 4 < exact <= 1.01 * 4 * count
    assert rounded <= 0.27 * exact


@pytest.mark.parametrize("arch", TRANSLATORS)
def test_int8_rounds_each_row_to_one_part_in_254_of_its_largest_number(prepared, tmp_path, arch):
    model = save_translator(tmp_path / "c.pt", prepared, arch)
    write_model_folder(tmp_path / "int8", read_trained(tmp_path / "c.pt", prepared), int8=True)
    read = read_model_folder(tmp_path / "int8")
    assert read.int8
    rounded = dict(read.model.named_parameters())
    for name, exact in model.named_parameters():
        bound = exact.abs().amax(-1, keepdim=True) / 254 * 1.0001 if exact.dim() > 1 else 1e-7
        assert ((rounded[name] - exact).abs() <= bound).all(), name
    # once more, nothing changes
    write_model_folder(tmp_path / "again", read)
    first, second = (
        TensorFile(tmp_path / name / "model.safetensors").read_all() for name in ("int8", "again")
    )
    assert first.keys() == second.keys()
    assert all(torch.equal(second[name], tensor) for name, tensor in first.items())


BAD_SCORES = ("x", None, float("nan"))


def test_the_card(prepared, checkpoint, tmp_path):
    record = {
        "subset": {
            "news": {
                "systems": [
                    {
                        "checkpoint": str(checkpoint),
                        **{
                            metric: {"score": 31.25, "signature": f"{metric}|x", "mean": 1}
                            for metric in ("bleu", "chrf", "ter")
                        },
                    }
                ]
            }
        }
    }
    (tmp_path / "scores.json").write_text(json.dumps(record))
    scores = scores_in(tmp_path / "scores.json", checkpoint, "float32")
    (tmp_path / "link.pt").symlink_to(checkpoint)
    assert scores_in(tmp_path / "scores.json", tmp_path / "link.pt", "float32") == scores
    trained = read_trained(checkpoint, prepared)
    write_model_folder(tmp_path / "folder", trained, scores=scores)
    card = json.loads((tmp_path / "folder" / "card.json").read_text())
    assert card["scores"]["news"]["bleu"] == {"score": 31.25, "signature": "bleu|x"}
    assert card["parameters"] == sum(p.numel() for p in trained.model.parameters())
    assert card["tie"] == trained.model.tie_map.signature
    page = (tmp_path / "folder" / "README.md").read_text()
    assert "| news | BLEU | 31.25 | `bleu\\|x` |" in page
    assert f"{card['parameters']:,}" in page
    with pytest.raises(UserError, match="has none of"):
        scores_in(tmp_path / "scores.json", tmp_path / "another.pt", "float32")
    with pytest.raises(UserError, match=r"int8 weights.*evaluate --int8"):
        scores_in(tmp_path / "scores.json", checkpoint, "int8")
    (one,) = record["subset"]["news"]["systems"]
    for damaged in ([], *(({"bleu": {"score": bad, "signature": "x"}}) for bad in BAD_SCORES)):
        content = damaged
        if damaged:
            content = {"subset": {"news": {"systems": [{**one, **damaged}]}}}
        (tmp_path / "scores.json").write_text(json.dumps(content))
        with pytest.raises(UserError, match="not what tiednmt evaluate --json wrote"):
            scores_in(tmp_path / "scores.json", checkpoint, "float32")


def test_hubs_read_every_language_in_the_card(prepared, checkpoint):
    """``no`` is Norwegian, and false in YAML."""
    content = card(read_trained(checkpoint, prepared), "float32", 1, {})
    _, front, _ = page({**content, "source": "no"}).split("---\n", maxsplit=2)
    assert yaml.safe_load(front)["language"] == ["no", "de"]


def test_private_rows_need_no_list_of_units(prepared, tmp_path):
    (tmp_path / "units").write_text("w3\nw5\n")
    options = ("--private-units", tmp_path / "units")
    model = save_translator(tmp_path / "c.pt", prepared, "tied_gru", *options)
    write_model_folder(tmp_path / "folder", read_trained(tmp_path / "c.pt", prepared))
    (tmp_path / "units").unlink()
    read = read_model_folder(tmp_path / "folder").model
    torch.testing.assert_close(scores_of(read), scores_of(model))


def test_files_of_training_are_not_read_again(prepared, tmp_path):
    """They may be others by now: of another experiment, say."""
    units, vectors, rows = (tmp_path / name for name in ("units", "vectors", "rows"))
    units.write_text("w3\nw5\n")
    vectors.write_text("w3 1 2 3 4 5 6\n")
    rows.write_text("w3\nw4\n")
    options = ("--private-units", units, "--encoder-embed-path", vectors, "--train-rows", rows)
    model = save_translator(tmp_path / "c.pt", prepared, "tied_gru", *options)
    write_model_folder(tmp_path / "folder", read_trained(tmp_path / "c.pt", prepared))
    units.write_text("w4\nw7\n")
    vectors.write_text("w3 1 2\n")
    rows.write_text("none\n")
    for path, data in ((tmp_path / "folder", None), (tmp_path / "c.pt", prepared)):
        read = read_trained(path, data)
        torch.testing.assert_close(scores_of(read.model), scores_of(model), atol=1e-5, rtol=0)
        assert str(tmp_path) not in json.dumps(dict(read.options))


# --- what goes wrong ---------------------------------------------------------------------------


def test_a_folder_appears_whole_or_not_at_all(prepared, checkpoint, tmp_path, monkeypatch):
    trained = read_trained(checkpoint, prepared)
    (prepared / "bpe" / "codes").rename(tmp_path / "codes")
    with pytest.raises(FileNotFoundError) as missing:  # explained with the name of the file
        write_model_folder(tmp_path / "out" / "folder", trained)
    assert missing.value.filename.endswith("codes")
    assert [*(tmp_path / "out").iterdir()] == []
    (tmp_path / "codes").rename(prepared / "bpe" / "codes")
    write_model_folder(tmp_path / "out" / "folder", trained)
    with pytest.raises(UserError, match="exists"):
        write_model_folder(tmp_path / "out" / "folder", trained)
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["folder"]


@pytest.mark.parametrize(
    "name", ["model.safetensors", "dict.en.txt", "segmentation/codes", "segmentation/vocab.de"]
)
def test_a_changed_file_is_refused(folder, tmp_path, name):
    copy = shutil.copytree(folder, tmp_path / "copy")
    with open(copy / name, "r+b") as file:
        file.seek(-3, 2)
        file.write(b"7")
    with pytest.raises(UserError, match=f"{name}: not the file that was written"):
        read_model_folder(copy)
    (copy / name).unlink()
    with pytest.raises(UserError, match=f"{name}: not the file that was written"):
        read_model_folder(copy)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"format": 2, "tiednmt": "9.9"}, "install the version of tiednmt that wrote it .9.9"),
        ({"format": "1"}, "not the configuration of a model folder"),
        ({"architecture": "nonesuch"}, "knows no nonesuch"),
        ({"architecture": "transformer"}, "knows no transformer"),
        ({"files": {"../x": ""}}, "names files outside of the folder"),
        ({"model": []}, "model .*: not what a model folder has"),
        ({"weights": "int4"}, "weights 'int4': only float32 and int8 are known"),
    ],
    ids=str,
)
def test_a_configuration_that_cannot_be(folder, tmp_path, change, message):
    copy = shutil.copytree(folder, tmp_path / "copy")
    config = json.loads((copy / "config.json").read_text())
    (copy / "config.json").write_text(json.dumps({**config, **change}))
    with pytest.raises(UserError, match=message):
        read_model_folder(copy)


def test_the_weights_of_a_folder_are_not_a_checkpoint(folder):
    with pytest.raises(UserError, match=f"safetensors: the weights .* give the folder, {folder}"):
        read_trained(folder / "model.safetensors")


def test_a_folder_of_other_dictionaries_is_refused(folder, tmp_path):
    """Even where the hashes were made anew."""
    copy = shutil.copytree(folder, tmp_path / "copy")
    lines = (copy / "dict.en.txt").read_text().splitlines(keepends=True)
    (copy / "dict.en.txt").write_text("".join(lines[::-1]))
    config = json.loads((copy / "config.json").read_text())
    config["files"] = {}
    config["model"]["tying"] = "decoder"
    (copy / "config.json").write_text(json.dumps(config))
    with pytest.raises(UserError, match="other dictionaries"):
        read_model_folder(copy)


def test_the_command(prepared, checkpoint, tmp_path, capsys):
    export.main([str(checkpoint), "--data", str(prepared), "--out", str(tmp_path / "a")])
    assert "tie:three-way" in capsys.readouterr().out
    export.main([str(tmp_path / "a"), "--out", str(tmp_path / "b"), "--int8"])
    assert read_model_folder(tmp_path / "b").int8


@pytest.mark.parametrize(
    ("model", "message"),
    [
        ("run", "not a model folder"),
        ("nothing.pt", "no such checkpoint"),
        ("c.pt", "fairseq's own"),
    ],
)
def test_what_the_command_refuses(prepared, tmp_path, model, message):
    (tmp_path / "run").mkdir()
    data = []
    if model == "c.pt":
        sizes = ("--encoder-layers", 1, "--decoder-layers", 1, "--encoder-embed-dim", 8)
        save_translator(tmp_path / model, prepared, "transformer", *sizes, tying=None)
        data = ["--data", str(prepared)]
    with pytest.raises(SystemExit, match=f"error: .*{model}: .*{message}"):
        export.main([str(tmp_path / model), *data, "--out", str(tmp_path / "out")])
    assert not (tmp_path / "out").exists()


def test_a_language_model_is_called_one(prepared, tmp_path):
    """Whether or not a prepared folder is given, which it cannot have."""
    write_dictionaries(tmp_path / "data", "dict.txt", words=["a", "b"])
    options = ("--task", "tied_language_modeling", "--arch", "tied_lstm_lm", "--hidden-size", 6)
    save_untrained(tmp_path / "lm.pt", tmp_path / "data", *options)
    for data in (None, prepared):
        with pytest.raises(UserError, match=r"lm\.pt: a language model, .*scripts\.perplexity"):
            read_trained(tmp_path / "lm.pt", data)
