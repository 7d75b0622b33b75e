import json

import pytest
from fairseq.data import Dictionary, data_utils

from preprocess.like import main
from tests.support.small_prepared import LETTERS, prepare, sentences
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
    assert (tmp_path / "new" / "raw" / "news.en").read_text() == (raw / "news.en").read_text()


def test_a_tag(model, raw, tmp_path):
    with pytest.raises(SystemExit, match="--tag <2de>: is not a unit of the model"):
        run(model, raw, tmp_path / "new", "--tag", "<2de>")
    unit = (model / "data-bin" / "dict.en.txt").read_text().split(" ")[0]
    run(model, raw, tmp_path / "new", "--tag", unit)
    lines = (tmp_path / "new" / "bpe" / "valid.en").read_text().splitlines()
    assert all(line.startswith(f"{unit} ") for line in lines)


def test_what_is_refused(model, raw, tmp_path):
    (tmp_path / "there").mkdir()
    with pytest.raises(SystemExit, match="already exists"):
        run(model, raw, tmp_path / "there")
    short = tmp_path / "raw"
    short.mkdir()
    for path in raw.iterdir():
        (short / path.name).write_bytes(path.read_bytes())
    (short / "valid.de").write_text("one\n")
    with pytest.raises(SystemExit, match=r"valid\.en has 4 lines, .*valid\.de 1"):
        run(model, short, tmp_path / "new")
    two = prepare(tmp_path / "two", joint=False)
    with pytest.raises(SystemExit, match="one dictionary per language"):
        run(two, raw, tmp_path / "new")
