"""Text in one language: preparing, as any command does it, and the command for any text."""

import gzip
import hashlib
import json
import os
import sys
from collections import Counter
from itertools import chain
from pathlib import Path

import pytest
from fairseq.data import Dictionary, data_utils
from fairseq.options import get_preprocessing_parser
from fairseq_cli import preprocess as fairseq_preprocess

from preprocess import text
from tests.preprocess.misfortunes import kill_when_there, run_with_little_space
from tiednmt.text.pipeline import TextPipeline, TextSettings

ROOT = Path(__file__).resolve().parents[2]
SUBSETS = ("train", "valid", "test")

TEXTS = {
    "train": (
        "the dog saw the <unk> cat\n"
        "\n"
        "  white \t space\u2028of\x85any\x0ckind \n"
        "Ärger über Öl , naïve 東京 🙂\n"
        "the cat saw a dog dog dog\n"
        "a b c d e"
    ),
    "valid": "the zebra saw <unk>\n\nthe cat\n",
    "test": "nothing known here\nthe dog\n",
}
NOUNS = ["cat", "dog", "bird", "fish", "horse", "mouse"]


@pytest.fixture
def raw(tmp_path):
    """A folder with ``<subset>.txt`` of TEXTS."""
    folder = tmp_path / "raw"
    folder.mkdir()
    for subset, content in TEXTS.items():
        (folder / f"{subset}.txt").write_bytes(content.encode())
    return folder


@pytest.fixture
def many(raw):
    """The same with so many training lines that a stage takes a while."""
    lines = [
        f"The {a}, the {b} & the {c}: it's {n}!\n"
        for n in range(100)
        for a in NOUNS
        for b in NOUNS
        for c in NOUNS
    ]
    (raw / "train.txt").write_text("".join(lines))
    return raw


def given(raw, dest, *more):
    files = [part for subset in SUBSETS for part in (f"--{subset}", str(raw / f"{subset}.txt"))]
    return [*files, "--dest", str(dest), *more]


def prepare(raw, dest, *more):
    text.main(given(raw, dest, *more))
    return json.loads((dest / "manifest.json").read_text())


def contents(folder):
    """Every file that a user sees, by name."""
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file() and ".stages" not in path.parts
    }


def load(dest, subset):
    dictionary = Dictionary.load(str(dest / "data-bin/dict.txt"))
    return dictionary, data_utils.load_indexed_dataset(str(dest / "data-bin" / subset), dictionary)


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        ([], []),
        (["--vocabulary", "4"], ["--nwordssrc", "8"]),
        (["--min-count", "2"], ["--thresholdsrc", "2"]),
    ],
)
def test_a_data_bin_is_what_fairseq_preprocess_writes(raw, tmp_path, ours, theirs):
    prepare(raw, tmp_path / "ours", *ours)
    logger = fairseq_preprocess.logger
    parts = {"trainpref": "train", "validpref": "valid", "testpref": "test"}
    prefixes = [p for key, name in parts.items() for p in (f"--{key}", str(raw / f"{name}.txt"))]
    destination = ["--destdir", str(tmp_path / "theirs")]
    parser = get_preprocessing_parser()
    fairseq_preprocess.main(parser.parse_args(["--only-source", *prefixes, *destination, *theirs]))
    for handler in list(logger.handlers):
        logger.removeHandler(handler)
        handler.close()
    expected = contents(tmp_path / "theirs")
    del expected["preprocess.log"]
    assert contents(tmp_path / "ours/data-bin") == expected
    assert len(expected) == 7


def test_a_prepared_folder(raw, tmp_path, capsys):
    dest = tmp_path / "dest"
    manifest = prepare(raw, dest, "--min-count", "2", "--workers", "1")
    report = capsys.readouterr().out

    words = Counter(TEXTS["train"].split())
    words.pop("<unk>")
    known = {word for word, count in words.items() if count >= 2}
    assert len(known) == 5
    counts = {}
    for subset, content in TEXTS.items():
        dictionary, data = load(dest, subset)
        lines = [line.split() for line in content.removesuffix("\n").split("\n")]
        expected = [[w if w in known else "<unk>" for w in line] + ["</s>"] for line in lines]
        assert [[dictionary[int(token)] for token in item] for item in data] == expected
        tokens = list(chain.from_iterable(expected))
        counts[subset] = {
            "lines": len(lines),
            "tokens": len(tokens),
            "unknown": tokens.count("<unk>"),
        }
        for number in (len(lines), len(tokens)):
            assert f" {number:,} " in report
    assert len(dictionary) == 16

    assert manifest["format"] == 1
    assert manifest["kind"] == "language model"
    assert manifest["corpus"] == "text"
    assert manifest["subsets"] == {"valid": "valid", "test": "test"}
    assert manifest["counts"] == counts
    assert manifest["vocabulary"] == {"types": 5, "dictionary": 16}
    assert manifest["options"]["min_count"] == 2
    assert manifest["versions"]["fairseq"] != "unknown"

    # every file is listed under its hash, and nothing else lies about
    left = contents(dest)
    del left["manifest.json"]
    assert manifest["files"] == {
        name: hashlib.sha256(content).hexdigest() for name, content in left.items()
    }


def test_a_test_set_may_be_left_out(raw, tmp_path):
    command = given(raw, tmp_path / "dest")
    start = command.index("--test")
    text.main(command[:start] + command[start + 2 :])
    assert json.loads((tmp_path / "dest/manifest.json").read_text())["subsets"] == {
        "valid": "valid"
    }
    assert not list((tmp_path / "dest").rglob("test*"))


def test_one_file_may_be_several_sets(raw, tmp_path):
    dest, one = tmp_path / "dest", str(raw / "train.txt")
    text.main(["--train", one, "--valid", one, "--test", one, "--dest", str(dest)])
    sets = [
        (dest / f"tokenised/{subset}.txt").read_bytes() for subset in ("train", "valid", "test")
    ]
    assert sets[0] and sets[0] == sets[1] == sets[2]


def test_a_file_that_moves_to_another_set_is_read_anew(raw, tmp_path):
    a, b, c = (str(raw / f"{subset}.txt") for subset in SUBSETS)
    for files in (["--train", a, b, "--valid", c], ["--train", a, "--valid", b, c]):
        text.main([*files, "--dest", str(tmp_path / "dest")])
        trained_on = (tmp_path / "dest/tokenised/train.txt").read_text()
        assert ("zebra" in trained_on) == (b in files[:3])


def test_several_files_gzipped_or_not_are_one_text(raw, tmp_path):
    prepare(raw, tmp_path / "one")
    lines = TEXTS["train"].encode().split(b"\n")
    (raw / "a").write_bytes(b"\xef\xbb\xbf" + b"".join(line + b"\r\n" for line in lines[:2]))
    (raw / "b.gz").write_bytes(gzip.compress(b"\n".join(lines[2:])))
    command = given(raw, tmp_path / "several")
    command[1:2] = [str(raw / "a"), str(raw / "b.gz")]
    text.main(command)
    assert contents(tmp_path / "several") == contents(tmp_path / "one")


def test_an_option_given_twice_adds_files(raw, tmp_path):
    lines = {name: of["lines"] for name, of in prepare(raw, tmp_path / "one")["counts"].items()}
    two = prepare(raw, tmp_path / "two", "--train", str(raw / "test.txt"))
    assert two["counts"]["train"]["lines"] == lines["train"] + lines["test"] > lines["train"]


def test_moses_tokens_are_those_of_translation_whatever_the_workers(many, tmp_path):
    prepare(many, tmp_path / "one", "--tokenise", "en", "--workers", "1")
    prepare(many, tmp_path / "three", "--tokenise", "en", "--workers", "3")
    assert contents(tmp_path / "three") == contents(tmp_path / "one")
    pipeline = TextPipeline(TextSettings("en", "de", "bpe", 0, version=1), tmp_path)
    lines = (many / "train.txt").read_text().split("\n")[:-1]
    tokenised = (tmp_path / "one/tokenised/train.txt").read_text().split("\n")[:-1]
    assert len(tokenised) == len(lines) == 21_600
    assert tokenised[::99] == [pipeline.tokenise(line, "en") for line in lines[::99]]
    assert tokenised[0] == "The cat , the cat & the cat : it 's 0 !"


def test_a_second_run_does_nothing_and_an_option_redoes_what_follows(raw, tmp_path, capsys):
    dest = tmp_path / "dest"
    prepare(raw, dest)
    first = contents(dest)
    times = {path: path.stat().st_mtime_ns for path in dest.rglob("*.*") if path.is_file()}

    prepare(raw, dest)
    assert contents(dest) == first
    changed = {path.name for path, time in times.items() if path.stat().st_mtime_ns != time}
    assert changed == set()

    prepare(raw, dest, "--min-count", "2")
    again = contents(dest)
    assert again["data-bin/dict.txt"] != first["data-bin/dict.txt"]
    assert again["data-bin/train.bin"] != first["data-bin/train.bin"]
    words = dest / "tokenised/train.txt"
    assert words.stat().st_mtime_ns == times[words]

    prepare(raw, dest)
    assert contents(dest) == first


def test_a_changed_input_or_a_damaged_output_is_noticed(raw, tmp_path):
    dest = tmp_path / "dest"
    prepare(raw, dest)
    first = contents(dest)
    (dest / "data-bin/dict.txt").write_text("gone 1\n")
    (dest / "tokenised/valid.txt").write_text("gone\n")
    (dest / "data-bin/test.idx").unlink()
    prepare(raw, dest)
    assert contents(dest) == first

    (raw / "valid.txt").write_text("a cat\n")
    prepare(raw, dest)
    assert contents(dest)["data-bin/valid.bin"] != first["data-bin/valid.bin"]


@pytest.mark.parametrize("moment", ["tokenised/train.txt.partial", "data-bin/train.bin.partial"])
def test_killed_at_any_stage_and_run_again_gives_the_same_bytes(many, tmp_path, moment):
    prepare(many, tmp_path / "whole")
    dest = tmp_path / "dest"
    kill_when_there(dest / moment, [sys.executable, "-m", "preprocess.text", *given(many, dest)])
    assert not (dest / "manifest.json").exists()
    prepare(many, dest)
    assert contents(dest) == contents(tmp_path / "whole")


def test_a_full_disk_is_one_line_and_leaves_no_half_file(many, tmp_path):
    dest = tmp_path / "dest"
    command = [sys.executable, "-m", "preprocess.text", *given(many, dest)]
    line = run_with_little_space(10_000, command)
    assert line.startswith(f"error: {dest}/tokenised/")
    assert line.endswith(".txt: cannot be written: File too large")
    assert contents(dest) == {}


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b"", "text: the valid text holds no words"),
        (b"\n \n\n", "text: the valid text holds no words"),
        (b"good\nb\xe4d\n", "valid.txt, line 2: not UTF-8"),
        (b"good\n\0\n", "valid.txt, line 2: holds a NUL"),
        (b"good\na <pad> b\n", "line 2 of the valid text: holds the word <pad>"),
        (b"good </s>\n", "line 1 of the valid text: holds the word </s>"),
        (None, "valid.txt: no such file"),
    ],
)
def test_bad_files_are_refused(raw, refused, tmp_path, content, expected):
    (raw / "valid.txt").unlink()
    if content is not None:
        (raw / "valid.txt").write_bytes(content)
    dest = tmp_path / "dest"
    assert expected in refused(text.main, dest, *given(raw, dest))


def test_a_pipe_is_refused_before_it_is_read(raw, refused, tmp_path):
    (raw / "valid.txt").unlink()
    os.mkfifo(raw / "valid.txt")
    message = refused(text.main, tmp_path / "dest", *given(raw, tmp_path / "dest"))
    assert "valid.txt: can be read only once; write it to a file first" in message


@pytest.mark.parametrize("more", [(), ("--tokenise", "en")])
def test_a_line_is_named_in_its_own_file(raw, refused, tmp_path, more):
    (raw / "more.txt").write_text("good\na </s> b\n")
    command = given(raw, tmp_path / "dest", *more)
    command.insert(command.index(str(raw / "train.txt")) + 1, str(raw / "more.txt"))
    message = refused(text.main, tmp_path / "dest", *command)
    assert f"{raw}/more.txt, line 2 of the train text: holds the word </s>" in message


def test_a_gzip_file_that_ends_early_is_refused(raw, refused, tmp_path):
    whole = gzip.compress(os.urandom(5000).hex().encode())
    (raw / "cut.gz").write_bytes(whole[: len(whole) // 2])
    dest = tmp_path / "dest"
    command = given(raw, dest)
    command[1] = str(raw / "cut.gz")
    assert "cut.gz: damaged or cut short" in refused(text.main, dest, *command)


@pytest.mark.parametrize(
    ("option", "value", "expected"),
    [
        ("--min-count", "99", "--min-count 99: no word of the training text is that frequent"),
        ("--min-count", "0", "--min-count 0: must be 1 or more"),
        ("--vocabulary", "-1", "--vocabulary -1: must be 0 or more"),
        ("--workers", "-1", "--workers -1: must be 0 or more"),
        ("--tokenise", "klingon", "--tokenise klingon: no rules for it"),
    ],
)
def test_bad_options_are_refused(raw, refused, tmp_path, option, value, expected):
    dest = tmp_path / "dest"
    assert expected in refused(text.main, dest, *given(raw, dest, option, value))


def test_a_destination_that_cannot_be_written_or_is_somebody_elses(raw, refused, tmp_path):
    (tmp_path / "file").touch()
    dest = tmp_path / "file/dest"
    assert "Not a directory" in refused(text.main, dest, *given(raw, dest))
    assert "takes no ':'" in refused(text.main, dest, *given(raw, tmp_path / "a:b"))
    dest = tmp_path / "mine"
    dest.mkdir()
    (dest / "precious").touch()
    assert "not empty" in refused(text.main, dest, *given(raw, dest))
    assert (dest / "precious").exists()
