import json
import shutil

import pytest
from fairseq.data import Dictionary, data_utils

from preprocess.like import main
from tests.support.small_prepared import LETTERS, prepare, sentences
from tests.support.translators import save_translator
from tiednmt.export.model_folder import write_model_folder
from tiednmt.export.reading import read_trained
from tiednmt.text.pipeline import TextPipeline


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return prepare(tmp_path_factory.mktemp("model") / "prepared")


@pytest.fixture(scope="module")
def raw(tmp_path_factory):
    folder = tmp_path_factory.mktemp("raw")
    for code in LETTERS:
        for name, count in (("train", 12), ("valid", 4), ("news", 5)):
            lines = sentences(code, count, seed=8)
            if name == "train" and code == "de":
                lines[3] = ""
            (folder / f"{name}.{code}").write_text("".join(f"{line}\n" for line in lines))
    return folder


def run(model, raw, dest, *options):
    names = [str(raw / f"{name}.{code}") for name in ("train", "valid") for code in LETTERS]
    test = f"news={raw / 'news.en'},{raw / 'news.de'}"
    arguments = ("--train", *names[:2], "--valid", *names[2:], "--test", test, "--dest", str(dest))
    main(["--model", str(model), *arguments, *options])


def test_text_in_the_units_of_a_model(model, raw, tmp_path):
    run(model, raw, tmp_path / "new")
    pipeline = TextPipeline.load(tmp_path / "new")
    first = (model / "data-bin" / "dict.en.txt").read_bytes()
    assert (tmp_path / "new" / "data-bin" / "dict.de.txt").read_bytes() == first
    dictionary = Dictionary.load(str(tmp_path / "new" / "data-bin" / "dict.en.txt"))
    for code in LETTERS:
        path = str(tmp_path / "new" / "data-bin" / f"train.en-de.{code}")
        binary = data_utils.load_indexed_dataset(path, dictionary)
        lines = [line for i, line in enumerate(sentences(code, 12, seed=8)) if i != 3]
        units = [pipeline.encode(line, code) for line in lines]
        expected = [dictionary.encode_line(u, add_if_not_exist=False).tolist() for u in units]
        assert [line.tolist() for line in binary] == expected
    manifest = json.loads((tmp_path / "new" / "manifest.json").read_text())
    assert manifest["subsets"] == {"valid": "valid", "news": "test"}
    assert manifest["text"] == pipeline.settings.for_manifest()
    assert manifest["options"] == {"segmentation": "bpe", "vocabulary_threshold": 2}
    assert manifest["counts"]["train"]["empty"] == 1 and manifest["counts"]["train"]["kept"] == 11
    assert manifest["round_trip"]["en"]["lines"] == 12
    assert (tmp_path / "new" / "raw" / "news.en").read_text() == (raw / "news.en").read_text()


@pytest.mark.parametrize("segmentation", ["bpe", "sentencepiece"])
def test_a_model_folder_serves_as_its_prepared_folder(raw, tmp_path, segmentation):
    prepared, exported = prepare(tmp_path / "prepared", segmentation), tmp_path / "exported"
    save_translator(tmp_path / "c.pt", prepared)
    write_model_folder(exported, read_trained(tmp_path / "c.pt", prepared))
    for folder in (prepared, exported):
        run(folder, raw, tmp_path / f"like-{folder.name}")
    one, other = (tmp_path / f"like-{folder.name}" for folder in (prepared, exported))
    made = [path.relative_to(one) for path in one.glob("[!.]*/*")]  # but the records of stages
    assert len(made) > 20
    assert all((one / path).read_bytes() == (other / path).read_bytes() for path in made)
    manifests = [json.loads((folder / "manifest.json").read_text()) for folder in (one, other)]
    assert manifests[0] == manifests[1]


def test_a_tag(model, raw, tmp_path):
    with pytest.raises(SystemExit, match="--tag <2de>: is not a unit of the model"):
        run(model, raw, tmp_path / "new", "--tag", "<2de>")
    unit = (model / "data-bin" / "dict.en.txt").read_text().split(" ")[0]
    run(model, raw, tmp_path / "new", "--tag", unit)
    lines = (tmp_path / "new" / "bpe" / "valid.en").read_text().splitlines()
    assert all(line.startswith(f"{unit} ") for line in lines)
    pipeline = TextPipeline.load(tmp_path / "new")
    assert [
        pipeline.encode(line, "en") for line in (raw / "valid.en").read_text().splitlines()
    ] == lines
    assert not pipeline.encode("b c", "de").startswith(unit) and pipeline.encode(" ", "en") == ""
    manifest = json.loads((tmp_path / "new" / "manifest.json").read_text())
    assert manifest["round_trip"]["en"]["same"] == 12
    del manifest["text"]["tag"]  # as earlier releases wrote it
    (tmp_path / "new" / "manifest.json").write_text(json.dumps(manifest))
    assert TextPipeline.load(tmp_path / "new").settings == pipeline.settings
    run(tmp_path / "new", raw, tmp_path / "untagged")
    assert TextPipeline.load(tmp_path / "untagged").settings.tag == ""


def test_what_is_refused(model, raw, tmp_path):
    (tmp_path / "there").mkdir()
    (tmp_path / "there" / "mine").touch()
    with pytest.raises(SystemExit, match="not empty, and not a folder prepared by this command"):
        run(model, raw, tmp_path / "there")
    with pytest.raises(SystemExit, match="fairseq takes no ':'"):
        run(model, raw, tmp_path / "a:b")
    with pytest.raises(SystemExit, match="is the folder of the model"):
        run(model, raw, model)
    short = tmp_path / "raw"
    short.mkdir()
    for path in raw.iterdir():
        (short / path.name).write_bytes(path.read_bytes())
    (short / "valid.de").write_text("one\n")
    with pytest.raises(SystemExit, match=r"valid\.en has 4 lines and .*valid\.de has 1"):
        run(model, short, tmp_path / "new")
    two = prepare(tmp_path / "two", joint=False)
    with pytest.raises(SystemExit, match="one dictionary per language"):
        run(two, raw, tmp_path / "new")


@pytest.mark.parametrize(
    ("test", "message"),
    [
        ("train", "another set is called train; write NAME=FILES with another NAME"),
        ("valid", "another set is called valid"),
        ("news", "another set is called news"),
        ("vocab", "the prepared folder has files of this name; choose another NAME"),
        ("../../x", "a NAME has letters"),
    ],
)
def test_names_of_test_sets(model, raw, tmp_path, test, message):
    with pytest.raises(SystemExit) as stopped:
        run(model, raw, tmp_path / "new", "--test", f"{test}={raw / 'news.en'},{raw / 'news.de'}")
    assert stopped.value.code.startswith(f"error: --test {test}=") and message in stopped.value.code
    assert list(tmp_path.iterdir()) == []


def test_the_units_that_both_languages_use_are_those_of_the_model(model, raw, tmp_path):
    run(model, raw, tmp_path / "new")
    sides = ((tmp_path / f"new/bpe/train.{code}").read_text().split() for code in LETTERS)
    listed = (tmp_path / "new/data-bin/shared-units.txt").read_text().split()
    assert listed == sorted(set.intersection(*map(set, sides)))
    with_list = shutil.copytree(model, tmp_path / "model")
    (with_list / "data-bin/shared-units.txt").write_text("b\na\n")
    run(with_list, raw, tmp_path / "newer")
    assert (tmp_path / "newer/data-bin/shared-units.txt").read_text() == "b\na\n"


@pytest.mark.parametrize(
    ("name", "line", "message"),
    [
        ("train", "\u200b", "no training pair is left after filtering (read 12, empty 12)"),
        ("train", None, "no pairs are there for the train set"),
        ("valid", None, "no pairs are there for the valid set"),
        ("valid", "a " * 1100, "models take 1,023"),
    ],
)
def test_text_that_nothing_can_be_done_with(model, raw, tmp_path, name, line, message):
    bad = shutil.copytree(raw, tmp_path / "raw")
    lines = len((raw / f"{name}.en").read_text().splitlines())
    for code in LETTERS:
        (bad / f"{name}.{code}").write_text("" if line is None else f"{line}\n" * lines)
    with pytest.raises(SystemExit) as stopped:
        run(model, bad, tmp_path / "new")
    assert message in stopped.value.code
    assert not (tmp_path / "new/manifest.json").exists()


def test_a_second_run_does_nothing(model, raw, tmp_path, capsys):
    for _ in range(2):
        capsys.readouterr()
        run(model, raw, tmp_path / "new")
    said = capsys.readouterr().err.splitlines()
    stages = [line for line in said if line and not line.startswith("WARNING")]
    assert stages and all(line.endswith(": up to date") for line in stages)


@pytest.mark.parametrize("segmentation", ["bpe", "sentencepiece"])
def test_a_model_of_an_earlier_format(raw, tmp_path, segmentation):
    folder = prepare(tmp_path / "model", segmentation)
    manifest = json.loads((folder / "manifest.json").read_text())
    del manifest["format"], manifest["text"]
    package = {"bpe": "subword-nmt"}.get(segmentation, segmentation)
    manifest["options"] = {"bpe": package, "merges": 60, "vocabulary_threshold": 2}
    (folder / "manifest.json").write_text(json.dumps(manifest))
    run(folder, raw, tmp_path / "new")
    before, now = TextPipeline.load(folder), TextPipeline.load(tmp_path / "new")
    assert now.settings == before.settings and now.settings.version == 1
    units = (tmp_path / "new/bpe/news.de").read_text().splitlines()
    assert units == [before.encode(line, "de") for line in sentences("de", 5, seed=8)]
    options = json.loads((tmp_path / "new/manifest.json").read_text())["options"]
    assert options == {"segmentation": segmentation, "merges": 60, "vocabulary_threshold": 2}
