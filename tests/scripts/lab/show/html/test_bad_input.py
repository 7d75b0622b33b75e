"""What is no run, or damaged, is one line."""

import copy
import json

import pytest

from scripts.report import main


@pytest.fixture
def refusal(tmp_path, capsys):
    """The line that the command ends with; nothing must be left behind."""

    def run(*arguments):
        out = tmp_path / "page.html"
        with pytest.raises(SystemExit) as stop:
            main([*map(str, arguments), "--out", str(out)])
        assert not out.exists()
        line = str(stop.value)
        assert line.startswith("error: ") and "\n" not in line
        return line

    return run


def test_no_runs(capsys):
    with pytest.raises(SystemExit):
        main([])
    assert "the following arguments are required: RUN" in capsys.readouterr().err


def test_nothing_there(refusal, tmp_path):
    assert refusal(tmp_path / "nothing").endswith("nothing: no such file or folder")


def test_a_folder_that_is_no_run(refusal, tmp_path):
    assert f"{tmp_path}: holds no record.json" in refusal(tmp_path)


@pytest.mark.parametrize("text", ["", '{"experiment": "so', "\x00", "no"])
def test_not_json(refusal, tmp_path, text):
    path = tmp_path / "record.json"
    path.write_text(text)
    assert f"{path}: not JSON, cut short or damaged" in refusal(tmp_path)


def test_not_utf_8(refusal, tmp_path):
    (tmp_path / "record.json").write_bytes(b'{"title": "\xff"}')
    assert "record.json: not JSON, cut short or damaged" in refusal(tmp_path)


@pytest.mark.parametrize("text", ["[]", "3", "{}"])
def test_not_a_record(refusal, tmp_path, text):
    path = tmp_path / "some.json"
    path.write_text(text)
    assert f"{path}: no record of an experiment" in refusal(path)


def broken(record, *keys, value=None):
    """``record`` with the value at ``keys`` replaced, or removed."""
    record = copy.deepcopy(record)
    *way, last = keys
    part = record
    for key in way:
        part = part[key]
    if value is None:
        del part[last]
    else:
        part[last] = value
    return record


@pytest.mark.parametrize(
    ("keys", "value", "fault"),
    [
        (["rows"], None, "it lacks rows"),
        (["rows"], [], "rows is empty"),
        (["rows", 1, "parameters"], None, "rows[1] lacks parameters"),
        (["rows", 1, "parameters"], "many", "rows[1].parameters is 'many'"),
        (["rows", 0, "test", "test", "bleu", "ci"], None, "rows[0].test.test.bleu lacks ci"),
        (["rows", 0, "test", "test", "bleu", "ci"], [1.0, float("nan")], "ci[1] is nan"),
        (["rows", 0, "test", "test", "bleu", "ci"], [1.0], "ci must be a list of 2"),
        (["rows", 0, "training_command"], 3, "rows[0].training_command is 3"),
        (["rows", 0, "recipe", "model"], [], "rows[0].recipe.model must be a mapping"),
        (["rows", 0, "colour"], "red", "rows[0] has colour, which is not known"),
        (
            ["rows", 0, "seeds"],
            [1, 2],
            "rows[0].test.test.bleu.seeds does not have one score per seed",
        ),
        (
            ["curves", "none"],
            [[{"update": 1, "epoch": 1, "nll": 1.0}]] * 2,
            "curves.none does not have one curve per seed",
        ),
        (["rows", 0, "test", "test"], None, "its rows do not have the same test sets"),
        (
            ["rows", 0, "test", "test", "bleu", "seeds"],
            [],
            "rows[0].test.test.bleu.seeds does not have one score per seed",
        ),
        (["rows", 0, "test", "test", "ter"], None, "rows[0].test.test lacks ter"),
        (["rows", 0, "seeds"], [], "rows[0].seeds is empty"),
        (
            ["rows", 0, "test", "test", "bleu", "seeds", 0, "influences"],
            "1 2",
            "its rows were not scored on the same sentences of test",
        ),
        (
            ["rows", 0, "test", "test", "bleu", "seeds", 0, "influences"],
            "1 2.5",
            "rows[0].test.test.bleu.seeds[0].influences are not two whole numbers or more",
        ),
        (
            ["rows", 0, "test", "test", "bleu", "seeds"],
            [{"score": 31.25, "influences": "1 2"}] * 2,
            "rows[0].test.test.bleu.seeds does not have one score per seed",
        ),
        (["rows", 0, "name"], "three-way", "two rows have one name"),
        (["curves", "none"], None, "its curves are not those of its rows"),
        (["curves", "none"], [[]], "curves.none[0] is empty"),
        (["samples", 0, "three-way"], None, "a sample lacks a row's translation"),
        (["machine"], "CPU", "machine must be a mapping"),
        (["kind"], "speech", "kind 'speech'; there are translation, tied_language_modeling, "),
        (["format"], 2, "a record of format 2, and this version reads format 1; remove"),
        (["format"], None, "a record of no format, and this version reads format 1; remove"),
    ],
)
def test_a_damaged_record(refusal, tmp_path, translation, keys, value, fault):
    path = tmp_path / "some.json"
    path.write_text(json.dumps(broken(translation, *keys, value=value)))
    line = refusal(path)
    assert line.startswith(f"error: {path}: ") and fault in line


def test_out_is_a_folder(tmp_path):
    with pytest.raises(SystemExit, match=r"--out .*: a folder"):
        main([str(tmp_path), "--out", str(tmp_path)])
