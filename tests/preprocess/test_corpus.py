import argparse
import hashlib
import json
import os
import re
import signal
import sys
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest
from fairseq.data import Dictionary, data_utils
from sacrebleu import corpus_bleu

from preprocess import multi30k
from preprocess.corpus import Options
from preprocess.filters import Filters
from preprocess.options import add_corpus_options
from preprocess.parallel import map_in_order
from preprocess.prepare import prepare as library_prepare
from preprocess.subwords import TextPart, count_words, learn_sentencepiece, learn_subword_nmt
from preprocess.tokenisation import Tokenisation, tokenise_pairs
from preprocess.vocabulary import vocab_size
from tests.preprocess.misfortunes import kill_when_there, run_with_little_space
from tiednmt.errors import UserError
from tiednmt.modes import TYINGS
from tiednmt.options import from_arguments
from tiednmt.text.lines import read_lines
from tiednmt.text.pipeline import TextPipeline, TextSettings

ROOT = Path(__file__).resolve().parents[2]
SUBSETS = ("train", "valid", "test_2016_flickr", "test_2017_flickr")


def command(raw: Path, dest: Path, *more: str) -> list[str]:
    given = [sys.executable, "-m", "preprocess.multi30k", "--pair", "en-de"]
    small = ["--merges", "60", "--vocabulary-threshold", "2", "--workers", "2"]
    return [*given, "--raw", str(raw), "--dest", str(dest), *small, *more]


def contents(folder: Path) -> dict[str, bytes]:
    """Every file that a user sees, by name."""
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file() and ".stages" not in path.parts
    }


def lines(path: Path) -> list[str]:
    return path.read_text(encoding="utf-8").split("\n")[:-1]


@pytest.fixture(params=["bpe", "sentencepiece"])
def method(request):
    return request.param


@pytest.fixture
def prepared(files, write, prepare, tmp_path, method):
    prepare(write(files), tmp_path / "dest", "--segmentation", method)
    return tmp_path / "dest"


def test_a_prepared_folder(prepared, files, method, capsys):
    manifest = json.loads((prepared / "manifest.json").read_text())
    assert manifest["format"] == 2
    assert (manifest["corpus"], manifest["source"], manifest["target"]) == ("multi30k", "en", "de")
    assert manifest["subsets"] == {
        "valid": "valid",
        "test_2016_flickr": "test",
        "test_2017_flickr": "test1",
    }
    assert manifest["text"]["segmentation"] == manifest["options"]["segmentation"] == method
    assert manifest["counts"]["train"] == {
        "read": 150,
        "empty": 0,
        "over_long": 0,
        "ratio": 0,
        "kept": 150,
    }

    # every file is listed under its hash, and nothing else lies about
    left = contents(prepared)
    del left["manifest.json"]
    assert manifest["files"] == {
        name: hashlib.sha256(content).hexdigest() for name, content in left.items()
    }

    # the pipeline read back from the folder does what was done to the data, and undoes it
    pipeline = TextPipeline.load(prepared)
    for subset in SUBSETS:
        for code in ("en", "de"):
            raw = lines(prepared / "raw" / f"{subset}.{code}")
            original = files[f"{'val' if subset == 'valid' else subset}.{code}"].decode()
            assert "".join(line + "\n" for line in raw) == original
            units = lines(prepared / "bpe" / f"{subset}.{code}")
            assert [pipeline.encode(line, code) for line in raw] == units
            assert [pipeline.decode(line, code) for line in units] == raw

    # data-bin holds those units, under one dictionary without unknown ones
    dictionaries = [Dictionary.load(str(prepared / f"data-bin/dict.{c}.txt")) for c in ("en", "de")]
    assert dictionaries[0].symbols == dictionaries[1].symbols
    assert len(dictionaries[0]) == manifest["vocabulary"]["joint"]
    for subset, split in {"train": "train", **manifest["subsets"]}.items():
        for code in ("en", "de"):
            prefix = str(prepared / "data-bin" / f"{split}.en-de.{code}")
            data = data_utils.load_indexed_dataset(prefix, dictionaries[0])
            units = lines(prepared / "bpe" / f"{subset}.{code}")
            assert [dictionaries[0].string(item) for item in data] == units


def test_the_vocabulary_report_counts_units(files, write, prepare, tmp_path, capsys):
    prepare(write(files), tmp_path / "dest")
    report = capsys.readouterr().out.split("fairseq-train")[0]
    types = [
        {unit for line in lines(tmp_path / "dest/bpe" / f"train.{code}") for unit in line.split()}
        for code in ("en", "de")
    ]
    vocabulary = json.loads((tmp_path / "dest/manifest.json").read_text())["vocabulary"]
    assert vocabulary["source_only"] == len(types[0] - types[1])
    assert vocabulary["target_only"] == len(types[1] - types[0])
    assert vocabulary["both"] == len(types[0] & types[1]) > 0
    assert f" {len(types[0] & types[1]):,} " in report
    shared = lines(tmp_path / "dest/data-bin/shared-units.txt")
    assert len(shared) == vocabulary["both"] and {*shared} == types[0] & types[1]
    assert shared == lines(tmp_path / "dest/bpe/shared-units.txt")
    joint, source, target = (vocabulary[key] for key in ("joint", "source", "target"))
    rows = {  # as prepared, of none, and with a dictionary per language where the tying allows it
        "none": (3 * joint, "0%", source + 2 * target),
        "inputs": (2 * joint, "33%", 2 * joint),
        "decoder": (2 * joint, "33%", source + target),
        "three-way": (joint, "67%", joint),
    }
    assert [line.split()[1:] for line in report.splitlines() if line.startswith("  --tying")] == [
        [tying, *(f if isinstance(f, str) else f"{f:,}" for f in rows[tying])] for tying in TYINGS
    ]


def test_the_vocabulary_report_says_which_tying_fits(files, write, prepare, tmp_path, capsys):
    dest = tmp_path / "a folder"
    prepare(write(files), dest)
    report = " ".join(capsys.readouterr().out.split())
    counts = [
        Counter((dest / "bpe" / f"train.{code}").read_text().split()) for code in ("en", "de")
    ]
    both = counts[0].keys() & counts[1].keys()
    overlap = json.loads((dest / "manifest.json").read_text())["overlap"]
    assert overlap["with_letters"] == sum(any(map(str.isalpha, unit)) for unit in both)
    for side, of in zip(("source", "target"), counts, strict=True):
        assert overlap[side]["units"] == of.total()
        shared = sum(of[unit] for unit in both) / of.total()
        assert overlap[side]["shared"] == pytest.approx(shared, abs=1e-4)
        assert overlap[side]["scripts"] == {"Latin": 1.0}
    assert f"{len(both):,} of {len({*counts[0], *counts[1]}):,} units are in both" in report
    assert re.search(r"This suggests --tying (three-way|decoder)\. One matrix for both", report)
    assert f"python -m scripts.analyse --advise '{dest}'" in report


def test_the_next_commands_can_be_left_out(files, write, prepare, tmp_path, capsys):
    raw, dest = write(files), tmp_path / "dest"
    prepare(raw, dest)
    told = capsys.readouterr().out
    prepare(raw, dest, "--no-commands")
    report, _, commands = told.partition("\nNext:\n")
    assert capsys.readouterr().out == report
    assert commands.startswith("fairseq-train ") and "\npython -m scripts.evaluate " in commands
    assert "commands" not in json.loads((dest / "manifest.json").read_text())["options"]


def test_a_folder_of_an_earlier_version_has_no_overlap(files, write, prepare, tmp_path, capsys):
    raw, dest = write(files), tmp_path / "dest"
    prepare(raw, dest)
    record = dest / ".stages" / "dictionary.json"
    stored = json.loads(record.read_text())
    del stored["result"]["overlap"]
    record.write_text(json.dumps(stored))
    capsys.readouterr()
    prepare(raw, dest)
    report = capsys.readouterr().out
    assert "in both" in report and "--advise" not in report
    assert "overlap" not in json.loads((dest / "manifest.json").read_text())


def test_no_language_holds_units_it_hardly_saw(files, write, prepare, tmp_path):
    threshold = 40
    prepare(write(files), tmp_path / "dest", "--vocabulary-threshold", str(threshold))
    split = 0
    for code in ("en", "de"):
        folder = tmp_path / "dest/bpe"
        seen = {}
        for line in lines(folder / f"vocab.{code}"):
            unit, count = line.split(" ")
            seen[unit] = int(count)
        split += sum(count < threshold for count in seen.values())
        for subset in SUBSETS:
            units = Counter(u for line in lines(folder / f"{subset}.{code}") for u in line.split())
            for unit in units:
                assert seen.get(unit, 0) >= threshold or len(unit.removesuffix("@@")) == 1
    assert split > 0


def test_a_second_run_does_nothing_and_an_option_redoes_what_follows(
    files, write, prepare, tmp_path, capsys
):
    raw, dest = write(files), tmp_path / "dest"
    prepare(raw, dest)
    first, times = contents(dest), {path: path.stat().st_mtime_ns for path in dest.rglob("*.*")}
    capsys.readouterr()

    prepare(raw, dest)
    assert contents(dest) == first
    assert not [path for path, time in times.items() if path.stat().st_mtime_ns != time]
    stages = [line for line in capsys.readouterr().err.splitlines() if line]
    assert stages and all(line.endswith(": up to date") for line in stages)

    prepare(raw, dest, "--merges", "20")
    again = contents(dest)
    assert again["bpe/codes"].count(b"\n") == 21
    assert again["bpe/train.en"] != first["bpe/train.en"]
    assert again["data-bin/train.en-de.en.bin"] != first["data-bin/train.en-de.en.bin"]
    tokenised = dest / "tokenised/train.en"
    assert tokenised.stat().st_mtime_ns == times[tokenised]

    prepare(raw, dest, "--segmentation", "sentencepiece")
    assert not (dest / "bpe/codes").exists()

    prepare(raw, dest)
    assert contents(dest) == first


def test_a_changed_input_or_a_damaged_output_is_noticed(files, write, prepare, tmp_path):
    dest = tmp_path / "dest"
    prepare(write(files), dest)
    first = contents(dest)
    (dest / "data-bin/dict.de.txt").write_text("gone")
    (dest / "bpe/train.en").write_text("gone")
    prepare(write(files), dest)
    assert contents(dest) == first

    files["val.en"] = files["val.en"].replace(b"dog", b"cat").replace(b"man", b"cat")
    prepare(write(files), dest)
    assert b"cat" in (dest / "raw/valid.en").read_bytes()
    assert contents(dest)["data-bin/valid.en-de.en.bin"] != first["data-bin/valid.en-de.en.bin"]


def test_gzipped_marked_and_crlf_files_are_the_same_text(files, write, prepare, tmp_path):
    prepare(write(files), tmp_path / "plain")
    other = {
        f"{name}.gz": b"\xef\xbb\xbf" + content.replace(b"\n", b"\r\n")
        for name, content in files.items()
    }
    for path in (tmp_path / "originals").iterdir():
        path.unlink()
    originals = write(other)
    prepare(originals, tmp_path / "other")
    manifests = [
        json.loads((tmp_path / d / "manifest.json").read_text()) for d in ("plain", "other")
    ]
    assert manifests[1].pop("originals") == {
        path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in originals.iterdir()
    }
    del manifests[0]["originals"]
    assert manifests[0] == manifests[1]
    for folder in ("plain", "other"):
        (tmp_path / folder / "manifest.json").unlink()
    assert contents(tmp_path / "other") == contents(tmp_path / "plain")


def test_bad_training_pairs_are_dropped_and_test_lines_never(files, write, prepare, tmp_path):
    long = b"dog " * 10_000 + b"\n"
    files["train.en"] += b"\n \xe2\x80\xa8\nA dog.\n" + long + b"dog\n"
    files["train.de"] += b"Ein Hund.\nEin Hund.\n\n" + long + b"Hund " * 6 + b"\n"
    files["test_2016_flickr.en"] += b"\nA dog.\n" + long + b"dog\xe2\x80\xa8dog\x0c\n"
    files["test_2016_flickr.de"] += b"Ein Hund.\n\n" + long + b"Hund\n"
    prepare(write(files), tmp_path / "dest")
    counts = json.loads((tmp_path / "dest/manifest.json").read_text())["counts"]
    assert counts["train"] == {"read": 155, "empty": 3, "over_long": 1, "ratio": 1, "kept": 150}
    assert counts["test_2016_flickr"] == {"read": 14, "kept": 14}
    for kind in ("raw", "tokenised", "bpe"):
        for code in ("en", "de"):
            assert len(lines(tmp_path / "dest" / kind / f"test_2016_flickr.{code}")) == 14
    dictionary = Dictionary.load(str(tmp_path / "dest/data-bin/dict.en.txt"))
    prefix = str(tmp_path / "dest/data-bin/test.en-de.en")
    assert len(data_utils.load_indexed_dataset(prefix, dictionary)) == 14


def test_fewer_sets_in_the_same_folder_leave_nothing_of_the_others(files, write, tmp_path):
    corpus = multi30k.corpus_in(write(files), "en-de")
    smaller = replace(corpus, subsets={name: corpus.subsets[name] for name in SUBSETS[:3]})
    options = Options(merges=60, workers=1)
    library_prepare(corpus, tmp_path / "dest", options)
    library_prepare(smaller, tmp_path / "dest", options)
    library_prepare(smaller, tmp_path / "fresh", options)
    assert contents(tmp_path / "dest") == contents(tmp_path / "fresh")


def test_a_subset_with_the_name_of_another_file_is_refused(files, write):
    corpus = multi30k.corpus_in(write(files), "en-de")
    with pytest.raises(UserError, match=r"multi30k: subset 'vocab': the prepared folder has files"):
        replace(corpus, subsets={**corpus.subsets, "vocab": corpus.subsets["valid"]})


def test_another_corpus_leaves_a_folder_as_it_is(files, write, tmp_path):
    options = Options(merges=60, workers=1)
    library_prepare(multi30k.corpus_in(write(files), "en-de"), tmp_path / "dest", options)
    before = contents(tmp_path / "dest")
    reverse = multi30k.corpus_in(write(files), "de-en")
    for other in (reverse, replace(reverse, name="bitext", source="en", target="de")):
        with pytest.raises(UserError, match=r"holds multi30k en-de, not (multi30k|bitext) .*dest"):
            library_prepare(other, tmp_path / "dest", options)
        assert contents(tmp_path / "dest") == before


def spoil(files, fault):
    if fault == "NUL":
        files["train.de"] = b"ok\n\0\n" + files["train.de"]
        return r"train.de, line 2: holds a NUL"
    if fault == "Latin-1":
        files["train.de"] += "Bäume\n".encode("latin-1")
        return "train.de, line 151: not UTF-8"
    if fault == "one line more":
        files["val.de"] += b"Ein Hund.\n"
        return "val.de has 11"
    if fault == "missing":
        del files["val.de"]
        return "val.de.gz: no such file"
    if fault == "nothing to train on":
        files["train.en"] = b"\n" * 150
        return "no training pair is left"
    raise AssertionError(fault)


@pytest.mark.parametrize(
    "fault", ["NUL", "Latin-1", "one line more", "missing", "nothing to train on"]
)
def test_bad_files_are_refused_by_name_and_line(files, write, refusal, tmp_path, fault):
    expected = spoil(files, fault)
    assert expected in refusal(write(files), tmp_path / "dest")


def test_a_gzip_file_that_ends_early_is_refused(files, write, refusal, tmp_path):
    raw = write({f"{name}.gz": content for name, content in files.items()})
    whole = (raw / "train.de.gz").read_bytes()
    (raw / "train.de.gz").write_bytes(whole[: len(whole) // 2])
    assert "train.de.gz: damaged or cut short" in refusal(raw, tmp_path / "dest")


@pytest.mark.parametrize(
    ("option", "value", "expected"),
    [
        ("--pair", "en-xx", "--pair en-xx: unknown pair; choose one of en-de"),
        ("--pair", "en", "--pair en: unknown pair"),
        ("--segmentation", "wordpiece", "--segmentation wordpiece: choose one of auto, bpe, sent"),
        ("--bpe", "wordpiece", "--segmentation wordpiece: choose one of auto, bpe, sentencepiece"),
        ("--merges", "0", "--merges 0: must be 1 or more"),
        ("--max-ratio", "0.5", "--max-ratio 0.5: must be 1 or more"),
        ("--max-ratio", "nan", "--max-ratio nan: must be 1 or more"),
        ("--workers", "-1", "--workers -1: must be 0 or more"),
    ],
)
def test_bad_options_are_refused(files, write, refusal, tmp_path, option, value, expected):
    assert expected in refusal(write(files), tmp_path / "dest", option, value)
    assert not (tmp_path / "dest").exists()


def test_raw_and_url_exclude_each_other(files, write, tmp_path, capsys):
    with pytest.raises(SystemExit):
        multi30k.main(["--raw", "a", "--url", "b", "--dest", str(tmp_path / "dest")])
    assert "--url: not allowed with argument --raw" in capsys.readouterr().err


def test_later_steps_need_no_raw_files(files, write, prepare, tmp_path, capsys):
    files["val.de"] = b"\n" + files["val.de"].split(b"\n", 1)[1]
    raw, dest = write(files), tmp_path / "dest"
    for step in ("read", "tokenise", "learn", "encode", "join"):
        prepare(raw if step == "read" else tmp_path / "none", dest, "--step", step)
    first = f"{dest / 'raw/valid.en'} and {dest / 'raw/valid.de'}, line 1"
    assert f"1 pair(s) of valid with an empty side, the first at {first}" in capsys.readouterr().err
    prepare(raw, tmp_path / "whole")
    assert contents(dest) == contents(tmp_path / "whole")
    (dest / "raw/train.en").write_text("changed\n")
    with pytest.raises(SystemExit, match=r"tokenise train .*had another .*raw/train\.en"):
        prepare(raw, dest, "--step", "learn")


def test_a_vocabulary_that_sentencepiece_cannot_learn(files, write, refusal, tmp_path):
    method = ("--segmentation", "sentencepiece")
    found = {}
    for size, way_out in ((9999, "less"), (9, "more")):
        message = refusal(write(files), tmp_path / "d", *method, "--merges", str(size))
        cannot = rf"cannot learn a vocabulary of {size} \(--merges\): "
        found[size] = re.search(rf"{cannot}.*; give --merges (\d+) or {way_out}$", message)
    assert int(found[9999][1]) > int(found[9][1]) > 9


def test_more_merges_than_the_text_has_are_all_of_them(files, write, prepare, tmp_path):
    prepare(write(files), tmp_path / "dest", "--merges", "9999", "--vocabulary-threshold", "0")
    assert " ".join(lines(tmp_path / "dest/bpe/train.en")).count("@@") == 0


def test_a_folder_of_something_else_is_left_alone(files, write, refusal, tmp_path):
    mine = tmp_path / "dest/data-bin"
    mine.mkdir(parents=True)
    (mine / "precious").touch()
    assert "not empty" in refusal(write(files), tmp_path / "dest")
    assert (mine / "precious").exists()


@pytest.mark.parametrize("sign", [",", ":"])
def test_a_destination_that_fairseq_would_cut(files, write, refusal, tmp_path, sign):
    dest = tmp_path / f"a{sign}b"
    assert f"fairseq takes no {sign!r} in a path" in refusal(write(files), dest)
    assert not dest.exists()


def test_a_destination_that_cannot_be_written(files, write, refusal, tmp_path):
    (tmp_path / "file").touch()
    assert "Not a directory" in refusal(write(files), tmp_path / "file/dest")
    assert "Not a directory" in refusal(write(files), tmp_path / "file")


def test_a_full_disk_is_one_line_and_leaves_no_half_file(files, write, tmp_path):
    dest = tmp_path / "dest"
    line = run_with_little_space(1000, command(write(files), dest))
    assert line.startswith(f"error: {dest}/raw/train.en: cannot be written")
    assert list(contents(dest)) == []


def test_killed_at_any_stage_and_run_again_gives_the_same_bytes(files, write, prepare, tmp_path):
    raw, dest = write(files), tmp_path / "dest"
    prepare(raw, tmp_path / "whole")
    for moment in ("tokenised/train.en.partial", "bpe/codes", "data-bin.partial/dict.de.txt"):
        kill_when_there(dest / moment, command(raw, dest))
        assert not (dest / "manifest.json").exists()
    prepare(raw, dest)
    assert contents(dest) == contents(tmp_path / "whole")


def test_pairs_keep_their_order_on_several_processes():
    pairs = [(str(number), str(-number)) for number in range(5000)]
    assert list(map_in_order(_swap, iter(pairs), 3, "swap", "pairs")) == [(b, a) for a, b in pairs]


def test_a_killed_worker_is_one_error():
    pairs = [("a", "b")] * 5000
    with pytest.raises(UserError, match=r"killed.*fewer than --workers 2"):
        list(map_in_order(_die, iter(pairs), 2, "die", "pairs"))


def _die(pair):
    os.kill(os.getpid(), signal.SIGKILL)


def _swap(pair):
    return pair[1], pair[0]


def test_options_on_the_command_line_are_those_of_the_library():
    parser = argparse.ArgumentParser()
    add_corpus_options(parser, Options)
    assert from_arguments(Options, parser.parse_args(["--dest", "x"])) == Options()
    with pytest.raises(UserError):
        Options(segmentation="words")


def test_dictionary_sizes_are_those_of_fairseq():
    for types in (1, 4, 5, 100):
        dictionary = Dictionary()
        for number in range(types):
            dictionary.add_symbol(str(number))
        dictionary.finalize(padding_factor=8)
        assert vocab_size(types) == len(dictionary)


@pytest.fixture
def multi30k_files(data_folder):
    if not (data_folder / "multi30k").is_dir():
        pytest.skip(f"no folder {data_folder / 'multi30k'}")
    return data_folder / "multi30k"


@pytest.mark.real_data
@pytest.mark.parametrize("target", ["de", "fr"])
def test_real_text_goes_through_and_back(multi30k_files, tmp_path, target, method):
    corpus = multi30k.corpus_in(multi30k_files, f"en-{target}")
    options = Options(segmentation=method, merges=500, workers=1)
    pipeline = TextPipeline(TextSettings("en", target, method, threshold=0), tmp_path / "bpe")
    for subset in SUBSETS[1:]:
        paths = corpus.paths(subset)
        originals = [list(read_lines(path)) for path in paths]
        outputs = tmp_path / f"{subset}.en", tmp_path / f"{subset}.{target}"
        tokenise_pairs(paths, outputs, Tokenisation(pipeline, Filters(100, 5.0), drops=False))
        if subset == "valid":
            words, folder = [tmp_path / "words.en", tmp_path / f"words.{target}"], tmp_path / "bpe"
            count_words([TextPart(outputs)], words, workers=1)
            given = (words, folder, ("en", target), options.merges, 1)
            if method == "bpe":
                learn_subword_nmt(*given)
            else:
                learn_sentencepiece([TextPart(outputs)], *given)
        for code, raw in zip(("en", target), originals, strict=True):
            decoded = [pipeline.decode(pipeline.encode(line, code), code) for line in raw]
            same = sum(" ".join(a.split()) == b for a, b in zip(raw, decoded, strict=True))
            assert same / len(raw) > 0.996
            assert corpus_bleu(decoded, [raw]).score > 99.9


@pytest.mark.parametrize("pair", ["cs-en", "fr-cs", "de-fr"])
def test_any_two_languages_of_the_dataset(files, write, tmp_path, pair):
    source, target = pair.split("-")
    sets = ("train", "val", "test_2016_flickr")
    sets += () if "cs" in pair else ("test_2017_flickr",)
    named = {
        f"{name}.{code}": files[f"{name}.{given}"]
        for name in sets
        for code, given in ((source, "en"), (target, "de"))
    }
    assert [each.name for each in multi30k.downloads(pair)] == [f"{name}.gz" for name in named]
    raw, dest = write(named), tmp_path / "dest"
    multi30k.main(["--pair", pair, "--raw", str(raw), "--dest", str(dest), "--merges", "60"])
    manifest = json.loads((dest / "manifest.json").read_text())
    assert list(manifest["counts"]) == ["train", "valid", *sets[2:]]


@pytest.mark.real_data
@pytest.mark.slow
def test_the_real_corpus_is_prepared_by_one_command(multi30k_files, tmp_path, capsys):
    dest = tmp_path / "dest"
    multi30k.main(["--pair", "en-de", "--raw", str(multi30k_files), "--dest", str(dest)])
    manifest = json.loads((dest / "manifest.json").read_text())
    kept = {subset: counts["kept"] for subset, counts in manifest["counts"].items()}
    assert kept == dict(zip(SUBSETS, (29_000, 1014, 1000, 1000), strict=True))
    # as commit 48b0358 prepared it
    hashes = {name: digest[:16] for name, digest in manifest["files"].items()}
    assert hashes["bpe/codes"] == "2144cb4303a49789"
    assert hashes["data-bin/train.en-de.de.bin"] == "c0ad86a71942a667"
    assert hashes["data-bin/test1.en-de.en.bin"] == "5ddfd299dd09b26e"
    vocabulary = manifest["vocabulary"]
    assert 0.1 < vocabulary["both"] / vocabulary["joint"] < 0.3
    assert vocabulary["joint"] <= 8000 + 8
