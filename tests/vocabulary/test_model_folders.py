"""Surgery on model folders, in float32 and int8: what comes out is a model folder."""

import json

import pytest
import torch

import tiednmt
from tests.support.translators import (
    LINES,
    TRANSLATORS,
    WORDS,
    prepared_folder,
    save_translator,
)
from tiednmt.commands.vocabulary import main
from tiednmt.export.model_folder import read_model_folder, write_model_folder
from tiednmt.export.reading import read_trained
from tiednmt.export.safetensors import TensorFile
from tiednmt.models.parameters import OURS
from tiednmt.vocabulary.files import read

WEIGHTS = ("float32", "int8")
EMBEDDING = OURS.source
CASES = [
    ("tied_gru", "three-way", "float32"),
    ("tied_gru", "none", "float32"),
    ("tied_gru", "inputs", "int8"),
    ("tied_gru", "decoder", "int8"),
    *((arch, "three-way", "int8") for arch in TRANSLATORS),
]


@pytest.fixture(scope="module")
def prepared(tmp_path_factory):
    words = [*WORDS, *(f"x{i}" for i in range(60))]
    return prepared_folder(tmp_path_factory.mktemp("data") / "prepared", words)


@pytest.fixture(scope="module")
def text(tmp_path_factory):
    path = tmp_path_factory.mktemp("text") / "text.en"
    path.write_text("w3 w7 w1.\nw20\nw5 w5 w9 w11 w2 dog\n")
    return path


@pytest.fixture(scope="module")
def folder_of(prepared, tmp_path_factory):
    """Makes a model folder, once for each."""
    made = {}

    def make(arch="tied_gru", tying="three-way", weights="float32"):
        path = tmp_path_factory.getbasetemp() / f"{arch}-{tying}-{weights}"
        if path not in made:
            checkpoint = path.with_suffix(".pt")
            save_translator(checkpoint, prepared, arch, tying=tying)
            _write_no_other_words(checkpoint)
            trained = read_trained(checkpoint, prepared)
            write_model_folder(path, trained, int8=weights == "int8")
            made[path] = {p: p.read_bytes() for p in path.rglob("*") if p.is_file()}
        return path

    yield make
    for files in made.values():  # what was read stays as it was
        assert all(path.read_bytes() == content for path, content in files.items())


def _write_no_other_words(checkpoint):
    """Numbers are random, but a model does not need every unit it has."""
    state = torch.load(checkpoint, weights_only=False)
    state["model"][OURS.bias][4 + len(WORDS) :] -= 20
    torch.save(state, checkpoint)


def command(*arguments):
    main([str(argument) for argument in arguments])


def tensors(folder):
    return TensorFile(folder / "model.safetensors").read_all()


def lines_of(text):
    return text.read_text().splitlines()


@pytest.mark.parametrize(("arch", "tying", "weights"), CASES)
def test_a_trimmed_folder_translates_as_before(
    folder_of, text, tmp_path, capsys, arch, tying, weights
):
    before, after = folder_of(arch, tying, weights), tmp_path / "small"
    options = ("--text", text, "--translate", "--no-characters")
    command("trim", before, *options, "--output", after)
    assert "all of 3 lines are the same as before" in capsys.readouterr().out
    old, new = read_model_folder(before), read_model_folder(after)
    assert len(new.target) < len(old.target)
    assert new.int8 == (weights == "int8")
    assert new.model.tie_map.tying == tying
    one, other = (tiednmt.load(f, cpu=True).translate(lines_of(text)) for f in (before, after))
    assert one == other
    assert any(one)
    size, was = ((f / "model.safetensors").stat().st_size for f in (after, before))
    assert size < was
    card = json.loads((after / "card.json").read_text())
    assert card["vocabulary"]["target"] == len(new.target)
    assert card["parameters"] == sum(p.numel() for p in new.model.parameters())


@pytest.mark.parametrize("weights", WEIGHTS)
def test_rows_that_stay_keep_their_bytes(folder_of, tmp_path, weights):
    before, small = folder_of(weights=weights), tmp_path / "small"
    command("trim", before, "--keep", 9, "--no-characters", "--output", small)
    rows = [
        read_model_folder(before).target.index(s) for s in read_model_folder(small).target.symbols
    ]
    assert 4 < len(rows) < len(read_model_folder(before).target)
    old, new = tensors(before), tensors(small)
    assert old.keys() == new.keys()
    for name, tensor in old.items():
        if name == "vocabulary_version":
            continue
        of_entries = name.removesuffix(".scale") in (EMBEDDING, OURS.bias)
        assert torch.equal(new[name], tensor[rows] if of_entries else tensor), name


def test_rows_that_rounding_once_more_would_change():
    """Such scales exist: 127 times one of them, divided by 127, is another number."""
    from tiednmt.export.int8 import rounded, unrounded

    scale = torch.rand(20_000, generator=torch.Generator().manual_seed(1)) + 1
    assert (scale * 127 / 127 != scale).any()
    whole = torch.randint(-127, 127, (len(scale), 4), dtype=torch.int8)
    whole[:, 0] = 127
    stored = {"m": whole, "m.scale": scale}
    order = torch.randperm(len(scale))
    moved = {"m": unrounded(stored)["m"][order]}
    assert not torch.equal(rounded(moved, {})["m.scale"], scale[order])
    again = rounded(moved, stored)
    assert torch.equal(again["m"], whole[order])
    assert torch.equal(again["m.scale"], scale[order])


@pytest.mark.parametrize("weights", WEIGHTS)
def test_old_text_is_translated_as_before_by_an_extended_folder(folder_of, tmp_path, weights):
    before, after = folder_of(weights=weights), tmp_path / "large"
    (tmp_path / "tags").write_text("<2cs>\nw3w7\n")
    command("extend", before, "--symbols", tmp_path / "tags", "--output", after)
    old, new = tensors(before), tensors(after)
    size = len(read_model_folder(before).target)
    assert read_model_folder(after).target.symbols[size:] == ["<2cs>", "w3w7"]
    for name in [n for n in old if n.startswith(EMBEDDING)]:
        assert torch.equal(new[name][:size], old[name])
        assert len(new[name]) == size + 2
    one, other = (tiednmt.load(f, cpu=True).translate(LINES, beam=1) for f in (before, after))
    assert one == other
    command("trim", after, "--units", before / "dict.en.txt", "--output", tmp_path / "back")
    back = tensors(tmp_path / "back")
    assert all(torch.equal(back[name], tensor) for name, tensor in old.items())


@pytest.mark.parametrize("weights", WEIGHTS)
@pytest.mark.parametrize("tying", ["none", "inputs", "decoder"])
def test_an_untied_folder_translates_as_before_and_tying_gives_it_back(
    folder_of, tmp_path, tying, weights
):
    before = folder_of(weights=weights)
    command("untie", before, "--tying", tying, "--output", tmp_path / "apart")
    assert read_model_folder(tmp_path / "apart").model.tie_map.tying == tying
    one, other = (tiednmt.load(f, cpu=True).translate(LINES) for f in (before, tmp_path / "apart"))
    assert one == other
    command("tie", tmp_path / "apart", "--tying", "three-way", "--output", tmp_path / "back")
    old, back = tensors(before), tensors(tmp_path / "back")
    assert old.keys() == back.keys()
    assert all(torch.equal(back[name], tensor) for name, tensor in old.items())


def test_rows_that_are_means_are_rounded_anew(folder_of, tmp_path):
    exact, rounded = folder_of(tying="none"), folder_of(tying="none", weights="int8")
    for name, folder in (("a", exact), ("b", rounded)):
        command("tie", folder, "--tying", "three-way", "--output", tmp_path / name)
    one, other = (read(tmp_path / name).model.weights[EMBEDDING] for name in "ab")
    bound = sum(
        read(exact).model.weights[str(name)].abs().amax(1) for name in (OURS.source, OURS.output)
    )
    assert ((one - other).abs().amax(1) <= bound / 127).all()
    assert not torch.equal(one, other)


def test_report(folder_of, text, capsys):
    command("report", folder_of(weights="int8"), "--text", text)
    told = capsys.readouterr().out
    assert (
        "source input embedding = target input embedding = output embedding: 97 rows, 93 of units"
        in told
    )
    assert "0 (0.0%) no longer covered" in told


def test_what_is_refused(folder_of, prepared, tmp_path):
    folder = folder_of()
    with pytest.raises(SystemExit, match="a model folder needs none"):
        command("trim", folder, "--keep", 5, "--data", prepared, "--output", tmp_path / "new")
    with pytest.raises(SystemExit, match="not a model folder"):
        command("trim", prepared, "--keep", 5, "--output", tmp_path / "new")
    with pytest.raises(SystemExit, match="already exists"):
        command("trim", folder, "--keep", 5, "--output", folder)
    assert not [*tmp_path.iterdir()]
