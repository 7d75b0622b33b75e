"""The commands on checkpoints and prepared folders, from the first file to the last."""

import dataclasses
import json
import math
import shutil
import sys
from collections import Counter
from pathlib import Path

import pytest
import torch
from fairseq import checkpoint_utils
from fairseq.data import Dictionary

from tests.support.small_prepared import prepare, sentences, trained_on
from tests.support.small_training import train, write_corpus
from tiednmt.commands.vocabulary import main
from tiednmt.errors import CheckpointError, UserError
from tiednmt.text.pipeline import TextPipeline
from tiednmt.vocabulary import files, operations
from tiednmt.vocabulary.extend import Start
from tiednmt.vocabulary.files import read
from tiednmt.vocabulary.search import hypotheses
from tiednmt.vocabulary.segmentation import WhiteSpace


@pytest.fixture(scope="module")
def prepared(tmp_path_factory):
    return prepare(tmp_path_factory.mktemp("corpus") / "prepared")


@pytest.fixture(scope="module")
def checkpoint(prepared, tmp_path_factory):
    return trained_on(prepared, tmp_path_factory.mktemp("three-way"), updates=60)


@pytest.fixture(scope="module")
def untied(prepared, tmp_path_factory):
    return trained_on(prepared, tmp_path_factory.mktemp("none"), "none", updates=2)


def command(*arguments):
    main([str(argument) for argument in arguments])


def load(path):
    return checkpoint_utils.load_checkpoint_to_cpu(str(path))


def content(folder):
    return {p.relative_to(folder): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def test_trim(prepared, checkpoint, tmp_path, capsys):
    before = checkpoint.read_bytes(), content(prepared)
    test = prepared / "raw" / "test.en"
    command("trim", checkpoint, "--text", test, "--translate", "--output", tmp_path / "small")
    assert (checkpoint.read_bytes(), content(prepared)) == before
    told = capsys.readouterr().out
    assert "all of 10 lines are the same as before" in told
    assert "training text, en" in told
    old, new = read(checkpoint), read(tmp_path / "small" / "checkpoint.pt")
    assert len(new.model.target) < len(old.model.target)
    lines = test.read_text().splitlines()
    units = [old.segmentation.units(line, "en") for line in lines]
    assert units == [new.segmentation.units(line, "en") for line in lines]
    assert hypotheses(old.model, units, 1) == hypotheses(new.model, units, 1)
    assert (tmp_path / "small" / "raw" / "test.en").read_text() == test.read_text()


def test_the_most_frequent_units(checkpoint, tmp_path, capsys):
    options = ("--keep", 5, "--no-characters", "--output", tmp_path / "small")
    command("trim", checkpoint, *options)
    assert len(read(tmp_path / "small" / "checkpoint.pt").model.target) == 4 + 5
    assert "no longer covered" in capsys.readouterr().out


def test_the_tag_of_source_sentences_is_kept(prepared, checkpoint, tmp_path):
    tagged, small = shutil.copytree(prepared, tmp_path / "tagged"), tmp_path / "small"
    tag = read(checkpoint).model.source.symbols[-1]
    manifest = json.loads((tagged / "manifest.json").read_text())
    manifest["text"]["tag"] = tag
    (tagged / "manifest.json").write_text(json.dumps(manifest))
    options = ("--data", tagged, "--keep", 5, "--no-characters", "--output", small)
    command("trim", checkpoint, *options)
    assert tag in read(small / "checkpoint.pt").model.source.indices
    assert TextPipeline.load(small).encode("a", "en").startswith(f"{tag} ")


def test_another_pair_has_no_tag_until_it_is_given_one(prepared, checkpoint, tmp_path, capsys):
    tagged = shutil.copytree(prepared, tmp_path / "tagged")
    manifest = json.loads((tagged / "manifest.json").read_text())
    manifest["text"]["tag"] = manifest["options"]["tag"] = tag = "<2de>"  # as preprocess.like does
    (tagged / "manifest.json").write_text(json.dumps(manifest))
    text = tmp_path / "text"
    text.write_text("\n".join(sentences("cs", 40, words=["zahahe", "lezhk", "hkaze"])) + "\n")
    for pair, found in (("en-de", tag), ("en-cs", "")):
        options = ("--data", tagged, "--pair", pair, "--language", pair[-2:], "--merges", 20)
        command("extend", checkpoint, "--text", text, *options, "--output", tmp_path / pair)
        assert TextPipeline.load(tmp_path / pair).settings.tag == found
        told = f"{tag} begins no source sentence of en-cs" in capsys.readouterr().out
        assert told == (not found)


def test_training_goes_on_after_an_extension(prepared, checkpoint, tmp_path, capsys):
    """By --restore-file, optimizer and all; and old text is translated as before."""
    text = tmp_path / "text.cs"
    text.write_text("\n".join(sentences("cs", 40, words=["zahahe", "lezhk", "hkaze"])) + "\n")
    options = ("--merges", 20, "--language", "cs", "--pair", "en-cs")
    command("extend", checkpoint, "--text", text, *options, "--output", tmp_path / "larger")
    old, new = read(checkpoint), read(tmp_path / "larger" / "checkpoint.pt")
    size = len(old.model.target)
    assert new.languages == ("en", "cs")
    assert f"--train-rows {size}:{len(new.model.target)}" in capsys.readouterr().out
    assert new.model.target.symbols[:size] == old.model.target.symbols
    assert new.model.moments is not None
    data = tmp_path / "data"
    shutil.copytree(tmp_path / "larger" / "data-bin", data)
    for split in ("train", "valid"):
        for language in ("en", "cs"):
            lines = sentences("en", 8) if language == "en" else text.read_text().split("\n")[:8]
            units = (" ".join(new.segmentation.units(line, language)) for line in lines)
            (data / f"{split}.en-cs.{language}").write_text("".join(f"{u}\n" for u in units))
    restored = train(
        data,
        tmp_path / "on",
        model={"tying": "three-way"},
        checkpoint={"restore_file": str(tmp_path / "larger" / "checkpoint.pt")},
        optimization={"max_update": 64},
        task={"source_lang": "en", "target_lang": "cs"},
        dataset={"batch_size": 8},
    )
    state = load(restored)
    assert state["optimizer_history"][-1]["num_updates"] == 64
    assert state["last_optimizer_state"]["state"][0]["step"] == 64
    units = [old.segmentation.units(line, "en") for line in sentences("en", 10)]
    assert hypotheses(old.model, units, 1) == hypotheses(new.model, units, 1)
    options = ("--units", prepared / "data-bin" / "dict.en.txt", "--output", tmp_path / "back")
    command("trim", tmp_path / "larger" / "checkpoint.pt", *options)
    back = load(tmp_path / "back" / "checkpoint.pt")["model"]
    assert all(torch.equal(weight, back[name]) for name, weight in old.model.weights.items())
    same = [new.segmentation.units(line, "de") for line in sentences("de", 10)]
    assert same == [old.segmentation.units(line, "de") for line in sentences("de", 10)]


def test_what_patience_counted_is_of_the_old_vocabulary(prepared, checkpoint, tmp_path):
    """A model whose training --patience ended, made smaller, trains on."""
    state = load(checkpoint)
    state["extra_state"]["tiednmt"]["patience"] = {"best": 0.0, "num_runs": 5}
    ended = tmp_path / "ended.pt"
    torch.save(state, ended)
    command("trim", ended, "--keep", 30, "--data", prepared, "--output", tmp_path / "small")
    data = tmp_path / "data"
    shutil.copytree(prepared / "data-bin", data)
    for language in ("en", "de"):
        shutil.copyfile(tmp_path / "small/data-bin/dict.en.txt", data / f"dict.{language}.txt")
    restored = train(
        data,
        tmp_path / "on",
        model={"tying": "three-way"},
        checkpoint={"restore_file": str(tmp_path / "small/checkpoint.pt"), "patience": 2},
        optimization={"max_update": 61},
    )
    assert load(restored)["optimizer_history"][-1]["num_updates"] == 61


@pytest.mark.parametrize(
    ("kept", "anew"),
    [
        ({"best": 0.5, "last_epoch": 7, "num_bad_epochs": 3}, {"best": math.inf, "last_epoch": 7}),
        ({"losses": [0.5, 0.25]}, {"losses": []}),
        ({"lr": 0.01}, {"lr": 0.01}),
    ],
)
def test_schedulers_forget_the_losses_of_the_old_vocabulary(
    prepared, checkpoint, tmp_path, kept, anew
):
    """The loss per unit is another, so they would lower the rate, or average, at once."""
    state = load(checkpoint)
    state["optimizer_history"][-1]["lr_scheduler_state"] = kept
    torch.save(state, tmp_path / "before.pt")
    options = ("--keep", 30, "--data", prepared, "--output", tmp_path / "small")
    command("trim", tmp_path / "before.pt", *options)
    history = load(tmp_path / "small/checkpoint.pt")["optimizer_history"]
    assert history[-1]["num_updates"] == 60
    left = history[-1]["lr_scheduler_state"]
    assert left.pop("num_bad_epochs", 0) == 0
    assert left == anew


def test_new_rows_of_two_dictionaries_are_named_by_units(tmp_path, capsys):
    """A number would not be the same row in both."""
    prepared = prepare(tmp_path / "prepared", joint=False)
    checkpoint = trained_on(prepared, tmp_path / "run", "decoder", updates=2)
    (tmp_path / "units").write_text("<2cs>\nzzz\n")
    larger = tmp_path / "larger"
    command("extend", checkpoint, "--symbols", tmp_path / "units", "--output", larger)
    line, *more = capsys.readouterr().out.splitlines()[1:]
    assert not any("other dictionary" in each for each in more)
    rows = line.split()[-1]
    assert sorted(Path(rows).read_text().split()) == ["<2cs>", "zzz"]
    data = tmp_path / "data"
    shutil.copytree(prepared / "data-bin", data)
    for language in ("en", "de"):
        shutil.copyfile(larger / f"data-bin/dict.{language}.txt", data / f"dict.{language}.txt")
    model = {"tying": "decoder", "train_rows": rows}
    start = {"finetune_from_model": str(larger / "checkpoint.pt")}
    updates = {"max_update": 4}
    trained = train(data, tmp_path / "on", model=model, checkpoint=start, optimization=updates)
    before, after = (load(path)["model"] for path in (larger / "checkpoint.pt", trained))
    name = "decoder.embedding.weight"
    assert torch.equal(before[name][:-2], after[name][:-2])
    assert not torch.equal(before[name][-2:], after[name][-2:])


def test_counts_are_of_each_side(prepared, checkpoint):
    found = read(checkpoint).unit_counts()
    for counts, language in zip(found, ("en", "de"), strict=True):
        text = (prepared / "data-bin" / f"train.en-de.{language}").read_text()
        assert counts == Counter(text.split())
    assert found[0] != found[1]


def test_a_unit_may_be_new_in_one_dictionary_alone(tmp_path, capsys):
    prepared = prepare(tmp_path / "prepared", joint=False)
    checkpoint = trained_on(prepared, tmp_path / "run", "decoder", updates=1)
    model = read(checkpoint).model
    of_target = next(u for u in reversed(model.target.symbols) if u not in model.source.indices)
    (tmp_path / "units").write_text(f"{of_target}\nzzz\n")
    options = ("--symbols", tmp_path / "units", "--side", "source", "--output", tmp_path / "new")
    command("extend", checkpoint, *options)
    told = capsys.readouterr().out
    assert (tmp_path / "new" / "new-units.txt").read_text() == "".join(
        f"{unit}\n" for unit in sorted([of_target, "zzz"])
    )
    assert "also trains 1 rows that the other dictionary has" in told


def test_symbols_of_ones_own(checkpoint, tmp_path):
    (tmp_path / "tags").write_text("<2cs>\nabcabc@@\n")
    options = ("--symbols", tmp_path / "tags", "--start", "unk")
    command("extend", checkpoint, *options, "--output", tmp_path / "larger")
    model = read(tmp_path / "larger" / "checkpoint.pt").model
    assert model.target.symbols[-2:] == ["<2cs>", "abcabc@@"]
    assert torch.equal(
        model.weights["encoder.embedding.weight"][-1],
        model.weights["encoder.embedding.weight"][model.target.unk()],
    )
    with pytest.raises(SystemExit, match="'<2cs>' is already a unit of the model"):
        again = tmp_path / "larger" / "checkpoint.pt"
        command("extend", again, "--symbols", tmp_path / "tags", "--output", tmp_path / "no")


def test_rows_from_a_second_model(prepared, checkpoint, tmp_path):
    model = read(checkpoint).model
    matrix = model.weights["encoder.embedding.weight"]
    rows = [*enumerate(model.target.symbols[4:20], start=4)]
    lines = [f"{unit} {' '.join(map(str, matrix[row].tolist()))}\n" for row, unit in rows]
    new = f"zz {' '.join(map(str, matrix[5].tolist()))}\n"
    (tmp_path / "vectors").write_text("17 6\n" + "".join(lines) + new)
    (tmp_path / "units").write_text("zz\n")
    options = ("--symbols", tmp_path / "units", "--start", "vectors")
    options += ("--vectors", tmp_path / "vectors", "--output", tmp_path / "larger")
    command("extend", checkpoint, *options)
    made = read(tmp_path / "larger" / "checkpoint.pt").model.weights["encoder.embedding.weight"]
    torch.testing.assert_close(made[-1], matrix[5], atol=0.1, rtol=0)


def test_tie_is_what_the_refusal_of_a_less_tied_checkpoint_points_to(prepared, untied, tmp_path):
    start = {"checkpoint": {"finetune_from_model": str(untied)}}
    with pytest.raises(Exception, match="Cannot load model") as refused:
        trained_on(prepared, tmp_path / "refused", updates=1, **start)
    assert "tiednmt vocabulary tie" in str(refused.value.__cause__ or refused.value.__context__)
    command("tie", untied, "--tying", "three-way", "--output", tmp_path / "tied")
    assert read(tmp_path / "tied" / "checkpoint.pt").model.moments is not None
    resumed = {"checkpoint": {"restore_file": str(tmp_path / "tied" / "checkpoint.pt")}}
    after = trained_on(prepared, tmp_path / "on", updates=4, **resumed)
    assert load(after)["last_optimizer_state"]["state"][0]["step"] == 4


def test_untie_goes_on_as_well(prepared, checkpoint, tmp_path):
    command("untie", checkpoint, "--tying", "decoder", "--output", tmp_path / "untied")
    resumed = {"checkpoint": {"restore_file": str(tmp_path / "untied" / "checkpoint.pt")}}
    after = trained_on(prepared, tmp_path / "on", "decoder", updates=62, **resumed)
    assert load(after)["last_optimizer_state"]["state"][0]["step"] == 62


def test_averages_are_changed_alike(prepared, tmp_path):
    average = {"store_ema": True, "ema_decay": 0.5, "ema_fp32": True}
    checkpoint = trained_on(prepared, tmp_path / "ema", updates=3, ema=average)
    command("trim", checkpoint, "--keep", 9, "--output", tmp_path / "small")
    old, new = read(checkpoint).model, read(tmp_path / "small" / "checkpoint.pt").model
    rows = [old.target.index(symbol) for symbol in new.target.symbols]
    for name in ("ema", "ema_fp32_params"):
        of_old, of_new = (m.averages[name]["encoder.embedding.weight"] for m in (old, new))
        assert torch.equal(of_old[rows], of_new)
        assert torch.equal(
            new.averages[name]["vocabulary_version"].long(), new.weights["vocabulary_version"]
        )


def test_a_data_bin_alone(tmp_path, capsys):
    """Of text that others segmented: units are what white space separates."""
    data = write_corpus(tmp_path / "data", source=["a", "b", "w3"])
    checkpoint = train(
        data, tmp_path / "run", model={"tying": "decoder"}, optimization={"max_update": 1}
    )
    (tmp_path / "text").write_text("w3 a w5\n")
    for option, message in (
        (("--resegment",), "--resegment: there is no segmentation to continue"),
        (("--merges", 3), "--merges: there is no segmentation to continue"),
        (("--language", "fr"), "--language fr: the model translates en to de"),
    ):
        with pytest.raises(SystemExit, match=message):
            options = ("--text", tmp_path / "text", *option, "--output", tmp_path / "no")
            command("extend", checkpoint, *options)
    options = ("--text", tmp_path / "text", "--output", tmp_path / "small")
    with pytest.raises(SystemExit, match=r"--translate: .* give the prepared folder as --data"):
        command("trim", checkpoint, *options, "--translate")
    command("report", checkpoint, "--text", tmp_path / "text")
    assert "3 tokens: 0 (0.0%) split into other units (3 → 3 units), 1 (33.3%) no longer" in (
        capsys.readouterr().out.replace("  ", " ")
    )
    command("trim", checkpoint, *options)
    model = read(tmp_path / "small" / "checkpoint.pt").model
    assert model.source.symbols[4:] == ["a", "b", "w3"]  # b is a character
    assert model.target.symbols[4:] == ["w3", "w5"]
    command("join", data / "dict.en.txt", data / "dict.de.txt", "--output", tmp_path / "joint.txt")
    assert len((tmp_path / "joint.txt").read_text().splitlines()) == 28
    command("tie", checkpoint, "--tying", "three-way", "--output", tmp_path / "tied")
    tied = read(tmp_path / "tied" / "checkpoint.pt").model
    assert tied.source.symbols == tied.target.symbols
    assert (tmp_path / "tied" / "data-bin" / "dict.en.txt").read_bytes() == (
        tmp_path / "joint.txt"
    ).read_bytes()


def test_a_language_model_has_no_pair(checkpoint, tmp_path):
    found = read(checkpoint)
    model = dataclasses.replace(found.model, source=None)
    found = dataclasses.replace(found, model=model, languages=(), segmentation=WhiteSpace())
    text = _file(tmp_path / "text", "new\n")
    for option in ({"pair": ("en", "cs")}, {"language": "cs"}):
        with pytest.raises(UserError, match="this is a language model"):
            operations.extend_by_text(found, tmp_path / "new", [text], Start(), **option)


def test_report(prepared, checkpoint, tmp_path, capsys):
    texts = [prepared / "raw" / f"test.{language}" for language in ("en", "de")]
    command("report", checkpoint, "--text", *texts, "--output", tmp_path / "told")
    told = capsys.readouterr().out
    size = len(read(checkpoint).model.target)
    assert f"{size} rows" in told
    assert "0 (0.0%) no longer covered" in told.splitlines()[-1]
    assert len((tmp_path / "told" / "rows.tsv").read_text().splitlines()) == 1 + size
    assert (tmp_path / "told" / "report.png").read_bytes().startswith(b"\x89PNG")
    assert b"</svg>" in (tmp_path / "told" / "report.svg").read_bytes()


def test_old_text_is_known_of_sentencepiece_too(tmp_path, capsys):
    """It is segmented as before, although the new text has longer words of the same parts."""
    prepared = prepare(tmp_path / "prepared", "sentencepiece")
    checkpoint = trained_on(prepared, tmp_path / "run", updates=1)
    words = [2 * word for word in {w for line in sentences("de", 60) for w in line.split()}]
    (tmp_path / "text.de").write_text("\n".join(sentences("de", 200, words=words)) + "\n")
    given = ("--text", tmp_path / "text.de", "--merges", 40)
    command("extend", checkpoint, *given, "--output", tmp_path / "larger")
    assert "is not available" not in capsys.readouterr().out
    old, new = read(checkpoint), read(tmp_path / "larger" / "checkpoint.pt")
    for line in sentences("de", 60):
        assert new.segmentation.units(line, "de") == old.segmentation.units(line, "de")
    command("trim", checkpoint, "--keep", 20, "--output", tmp_path / "smaller")
    words = sum(len(line.split()) for line in sentences("de", 60))
    assert f"training text, de: {words} tokens" in capsys.readouterr().out


@pytest.mark.parametrize("segmentation", ["bpe", "sentencepiece"])
def test_a_report_counts_words_and_units(tmp_path, capsys, segmentation):
    prepared = prepare(tmp_path / "prepared", segmentation)
    checkpoint = trained_on(prepared, tmp_path / "run", updates=1)
    command("report", checkpoint, "--text", prepared / "raw" / "test.en")
    last = capsys.readouterr().out.splitlines()[-1].split()
    units = [
        s for s in read(checkpoint).model.target.symbols if not s.startswith(("<", "madeupword"))
    ]
    words = sum(len(line.split()) for line in sentences("en", 60)[:10])
    assert last[0] == f"{len(units):,}" and last[2] == f"{words}"


# --- what is refused, and what goes wrong ------------------------------------------------------


CZECH = ("--pair", "en-cs", "--language", "cs")
FRENCH = ("extend", "--language", "fr", "--pair", "en-fr", "--text", "{}/text.fr")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("trim",), "say what to keep"),
        (("trim", "--text", "{}/empty.en"), r"empty\.en: holds no text"),
        (("trim", "--text", "{}/text.fr"), "cannot tell its language"),
        (("trim", "--keep", "100000"), "--keep 100000: the model has"),
        (("trim", "--keep", "5", "--translate"), "no --text is in the source language"),
        (("trim", "--keep", "5", "--data", "{}/other"), "trained on other dictionaries"),
        (("trim", "--keep", "5", "--data", "{}/nowhere"), "nowhere: no such folder"),
        (("extend",), "give either --text"),
        (("extend", "--text", "{}/text.fr", "--language", "fr"), "as --pair en-fr"),
        (("extend", "--text", "{}/old.en"), "there are no new units"),
        (("extend", "--symbols", "{}/two"), "more than one unit"),
        (("extend", "--symbols", "{}/two", "--start", "vectors"), "go together"),
        (("extend", "--symbols", "{}/mark"), "'@@' only joins units"),
        (("extend", "--text", "{}/text.fr", "--pair", "en-../x"), "--pair en-../x: language"),
        (("extend", "--text", "{}/text.fr", "--pair", "en-pt-BR"), "such as en or pt_BR"),
        (("extend", "--text", "{}/text.fr", "--pair", "en-en"), "give one side another code"),
        (("extend", "--text", "{}/text.fr", "--language", ""), "--language '': fairseq takes"),
        (("extend", "--text", "{}/old.en", "{}/old.de"), "one language at a time, not en and de"),
        ((*FRENCH, "{}/old.en"), "one language at a time, not fr and en; extend once per language"),
        (("extend", "--symbols", "{}/two", "--merges", "0"), "--merges goes with --text"),
        (
            ("extend", "--symbols", "{}/two", "--merges", "9", *CZECH, "--resegment"),
            "--merges, --language, --pair and --resegment go with --text",
        ),
        (("extend", "--text", "{}/text.en", "--side", "both"), "--side goes with --symbols"),
        (("extend", "--text", "{}/text.en", "--seed", "1"), "--seed goes with --start random"),
        (("tie", "--tying", "decoder"), "untie it first"),
        (("tie", "--tying", "three-way"), "it does already"),
    ],
)
def test_one_line_says_what_is_wrong(checkpoint, prepared, tmp_path, options, message):
    (tmp_path / "empty.en").write_text("\n \n")
    (tmp_path / "text.fr").write_text("abc\n")
    (tmp_path / "text.en").write_text("gabba dabba\n")
    (tmp_path / "two").write_text("one two\n")
    (tmp_path / "mark").write_text("@@\n")
    for language in ("en", "de"):
        raw = prepared / "raw" / f"test.{language}"
        (tmp_path / f"old.{language}").write_bytes(raw.read_bytes())
    prepare_other(tmp_path / "other", prepared)
    name, *rest = (option.format(tmp_path) for option in options)
    with pytest.raises(SystemExit, match=message) as stopped:
        command(name, checkpoint, *rest, "--output", tmp_path / "new")
    assert "\n" not in str(stopped.value)
    assert not (tmp_path / "new").exists()


def prepare_other(folder, prepared):
    """The same folder with one entry of its dictionaries renamed."""
    shutil.copytree(prepared, folder)
    for path in (folder / "data-bin").glob("dict.*"):
        first, *lines = path.read_text().splitlines(keepends=True)
        path.write_text("".join(["another " + first.rsplit(" ", 1)[1], *lines]))


def test_a_path_that_fairseq_would_cut_is_refused(checkpoint, tmp_path):
    with pytest.raises(SystemExit, match=r"a:b: fairseq takes no ':' in a path; .* --output"):
        command("trim", checkpoint, "--keep", 5, "--output", tmp_path / "a:b")
    assert not (tmp_path / "a:b").exists()


def test_nothing_is_written_over(checkpoint, tmp_path):
    (tmp_path / "new").mkdir()
    with pytest.raises(SystemExit, match="already exists"):
        command("trim", checkpoint, "--keep", 5, "--output", tmp_path / "new")
    assert not list((tmp_path / "new").iterdir())


def test_a_report_is_refused_before_the_work(checkpoint, tmp_path, capsys, monkeypatch):
    (tmp_path / "there").mkdir()
    with pytest.raises(SystemExit, match="already exists"):
        command("report", checkpoint, "--output", tmp_path / "there")
    monkeypatch.setitem(sys.modules, "matplotlib", None)  # as if it were not installed
    with pytest.raises(SystemExit, match=r"--output.*matplotlib not installed; pip install"):
        command("report", checkpoint, "--output", tmp_path / "new")
    assert not (tmp_path / "new").exists()
    assert capsys.readouterr().out == ""
    command("report", checkpoint)  # which needs no picture


def test_a_report_is_a_whole_folder_or_none(checkpoint, tmp_path, monkeypatch):
    def full(*_, **__):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("matplotlib.figure.Figure.savefig", full)
    with pytest.raises(SystemExit, match=r"new.*cannot be written"):
        command("report", checkpoint, "--output", tmp_path / "new")
    assert not list(tmp_path.iterdir())


def test_a_joint_dictionary_is_written_whole_or_not_at_all(prepared, tmp_path, monkeypatch):
    def half(self, file):
        file.write("half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Dictionary, "save", half)
    both = (prepared / "data-bin" / f"dict.{language}.txt" for language in ("en", "de"))
    with pytest.raises(SystemExit, match="cannot be written"):
        command("join", *both, "--output", tmp_path / "joint.txt")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("text", ["a\n", "a x\n", "a 1\n\nb 2\n", "a 1\na 2\n"])
def test_a_damaged_dictionary_is_named(prepared, tmp_path, text):
    (tmp_path / "dict.txt").write_text(text)
    given = (prepared / "data-bin" / "dict.en.txt", tmp_path / "dict.txt")
    with pytest.raises(SystemExit, match=r"dict\.txt: not a dictionary of fairseq"):
        command("join", *given, "--output", tmp_path / "joint.txt")
    assert not (tmp_path / "joint.txt").exists()


def test_a_joint_dictionary_beside_the_others(prepared, tmp_path, monkeypatch):
    for code in ("en", "de"):
        shutil.copy(prepared / "data-bin" / f"dict.{code}.txt", tmp_path)
    monkeypatch.chdir(tmp_path)
    command("join", "dict.en.txt", "dict.de.txt", "--output", "dict.txt")
    assert set(Dictionary.load("dict.txt").symbols) >= set(Dictionary.load("dict.de.txt").symbols)


def test_killed_half_way(checkpoint, prepared, tmp_path, monkeypatch):
    """The model before is untouched, and there is no folder that looks whole."""
    before = checkpoint.read_bytes(), content(prepared)

    def killed(state, file):
        file.write(b"half")
        raise KeyboardInterrupt

    monkeypatch.setattr(files.torch, "save", killed)
    with pytest.raises(KeyboardInterrupt):
        operations.trim_files(read(checkpoint), tmp_path / "new", keep=5)
    assert (checkpoint.read_bytes(), content(prepared)) == before
    assert not list(tmp_path.iterdir())


def test_an_ensemble_of_a_model_and_a_smaller_one(checkpoint, prepared, tmp_path):
    operations.trim_files(read(checkpoint), tmp_path / "small", keep=5, say=lambda _: None)
    both = [str(checkpoint), str(tmp_path / "small" / "checkpoint.pt")]
    data = {"data": str(prepared / "data-bin")}
    with pytest.raises(CheckpointError, match="trained on other dictionaries"):
        checkpoint_utils.load_model_ensemble_and_task(both, arg_overrides=data)


def test_a_damaged_optimizer_is_left_out(checkpoint, tmp_path):
    found = read(checkpoint)
    broken = dataclasses.replace(found, model=dataclasses.replace(found.model, moments=None))
    told = []
    operations.extend_by_symbols(
        broken, tmp_path / "new", _file(tmp_path / "units", "zz\n"), Start(), say=told.append
    )
    assert "--finetune-from-model" in told[-1]
    assert load(tmp_path / "new" / "checkpoint.pt")["last_optimizer_state"] is None


def _file(path, text):
    path.write_text(text)
    return path


def test_a_stock_model_is_converted_first(tmp_path, checkpoint):
    parts = {"model": {"_name": "transformer"}, "task": {"_name": "translation"}}
    torch.save({**load(checkpoint), "cfg": parts}, tmp_path / "x.pt")
    with pytest.raises(UserError, match=r"scripts\.convert_checkpoint"):
        read(tmp_path / "x.pt")
