"""WMT14, WMT17 and IWSLT14 from their archives, in small, through the whole command."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from fairseq.data import Dictionary, data_utils

from preprocess import iwslt14, wmt14, wmt17
from tests.preprocess.miniatures import Miniatures
from tests.support.commandline import repeatable_chance
from tiednmt.files import write_json
from tiednmt.text.manifest import data_bins
from tiednmt.text.pipeline import TextPipeline

ROOT = Path(__file__).resolve().parents[2]
SMALL = ("--merges", "80", "--vocabulary-threshold", "2", "--workers", "1")


@pytest.fixture
def miniatures():
    return Miniatures()


@pytest.fixture(scope="module")
def archives(tmp_path_factory):
    return Miniatures().write(tmp_path_factory.mktemp("archives"))


def contents(folder):
    """Every file that a user sees, by name."""
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file() and ".stages" not in path.parts
    }


def lines(path):
    return path.read_text(encoding="utf-8").split("\n")[:-1]


def run(module, pair, raw, dest, *more):
    module.main(["--pair", pair, "--raw", str(raw), "--dest", str(dest), *SMALL, *more])


CORPORA = {"de": ["europarl", "commoncrawl", "news"], "fr": ["un", "giga"]}


@pytest.mark.parametrize("pair", ["en-de", "de-en", "en-fr", "fr-en"])
def test_wmt14_from_archives_to_shards(miniatures, archives, tmp_path, pair):
    dest = tmp_path / "dest"
    run(wmt14, pair, archives, dest, "--parts", "3")
    languages = pair.split("-")
    other = next(language for language in languages if language != "en")
    corpora = CORPORA["de"] + (CORPORA["fr"] if other == "fr" else [])
    manifest = json.loads((dest / "manifest.json").read_text())
    pairs = sum(len(miniatures.corpora[corpus]) for corpus in corpora)
    assert manifest["counts"]["train"] == {
        "read": pairs,
        "empty": 1,
        "over_long": 1,
        "ratio": 1,
        "script": 1,
        "duplicate": 2,
        "kept": pairs - 6,
    }
    assert manifest["subsets"] == {"valid": "valid", "newstest2014": "test"}

    # the training text is that of the archives, dealt out in turn
    for code in languages:
        sentences = [line for corpus in corpora for line in miniatures.side(corpus, code)]
        for part in range(3):
            assert lines(dest / "raw" / f"train.{part}.{code}") == sentences[part::3]
        assert lines(dest / "raw" / f"valid.{code}") == miniatures.side("newstest2013", code)
        assert lines(dest / "raw" / f"newstest2014.{code}") == miniatures.side("test", code)

    # no pair comes twice, and all that are left are in the shards
    shards = data_bins(dest)
    assert [shard.name for shard in shards] == ["shard0", "shard1", "shard2"]
    dictionaries = {
        code: Dictionary.load(str(shards[0] / f"dict.{code}.txt")) for code in languages
    }
    pipeline = TextPipeline.load(dest)

    def text(shard, split, code):
        prefix = str(shard / f"{split}.{pair}.{code}")
        data = data_utils.load_indexed_dataset(prefix, dictionaries[code])
        return [pipeline.decode(dictionaries[code].string(item), code) for item in data]

    trained = [
        sentences
        for shard in shards
        for sentences in zip(*(text(shard, "train", code) for code in languages), strict=True)
    ]
    dropped = ("", "dog", "dog " * 101, "The dog sees.")
    good = {
        sentences
        for corpus in corpora
        for sentences in zip(*(miniatures.side(corpus, code) for code in languages), strict=True)
        if sentences[languages.index("en")] not in dropped
    }
    assert len(trained) == len(good) == pairs - 6
    assert set(trained) == good
    for code in languages:
        assert text(shards[0], "test", code)[1:] == miniatures.side("test", code)[1:]
        assert text(shards[0], "valid", code) == miniatures.side("newstest2013", code)
    assert not list(shards[1].glob("valid*"))


def test_wmt17(miniatures, archives, tmp_path):
    for pair in ("en-de", "de-en"):
        dest = tmp_path / pair
        run(wmt17, pair, archives, dest)
        manifest = json.loads((dest / "manifest.json").read_text())
        corpora = ("europarl", "commoncrawl", "news", "rapid")
        read = sum(len(miniatures.corpora[corpus]) for corpus in corpora)
        assert manifest["counts"]["train"]["read"] == read
        assert manifest["options"]["parts"] == len(data_bins(dest)) == 4
        for code in ("en", "de"):
            assert lines(dest / f"raw/valid.{code}") == miniatures.side("newstest2016", code)
            assert lines(dest / f"raw/newstest2017.{code}") == miniatures.side("test", code)


def test_iwslt14(miniatures, archives, tmp_path):
    run(iwslt14, "de-en", archives, tmp_path / "dest")
    for code in ("en", "de"):
        talk = ["The dog.", "TED Talk Subtitles: a dog.", *miniatures.side("talks", code)[2:]]
        valid = talk[22::23]
        assert lines(tmp_path / f"dest/raw/valid.{code}") == valid
        train = [line for line in talk if line not in valid]
        assert lines(tmp_path / f"dest/raw/train.{code}") == train
        assert lines(tmp_path / f"dest/raw/test.{code}") == miniatures.side("test", code) * 5
    assert data_bins(tmp_path / "dest") == [tmp_path / "dest/data-bin"]


def test_talks_whose_lines_do_not_match_are_named(miniatures, tmp_path, refused):
    name = "de-en/train.tags.de-en.de"
    broken = miniatures.talks("de").replace(b"<title>", b"", 1).replace(b"</title>", b"", 1)
    miniatures.spoilt = {"de-en.tgz": {name: broken}}
    raw = miniatures.write(tmp_path / "raw")
    message = refused(iwslt14.main, tmp_path / "d", "--raw", raw, "--dest", tmp_path / "d", *SMALL)
    assert f"de-en.tgz, {name}, line 4, is text where" in message
    assert "train.tags.de-en.en has title" in message


def spoil(miniatures, fault):
    europarl, name = "training-parallel-europarl-v7.tgz", "training/europarl-v7.de-en.de"
    if fault == "a line is missing":
        text = miniatures.text("europarl", "de").split(b"\n", 1)[1]
        miniatures.spoilt = {europarl: {name: text}}
        return f"{name} has 59"
    if fault == "a segment is missing":
        name = "test-full/newstest2014-deen-ref.de.sgm"
        reference = miniatures.sgm("test", "de", "refset")
        start = reference.index(b'<seg id="2"')
        reference = reference[:start] + reference[reference.index(b"<seg", start + 1) :]
        miniatures.spoilt = {"test-full.tgz": {name: reference}}
        return f"{name}, line 5, has segment 3 of document bbc.1: a segment is missing"
    raise AssertionError(fault)


@pytest.mark.parametrize("fault", ["a line is missing", "a segment is missing"])
def test_sides_that_do_not_match_are_named(miniatures, tmp_path, refused, fault):
    expected = spoil(miniatures, fault)
    raw, dest = miniatures.write(tmp_path / "raw"), tmp_path / "dest"
    assert expected in refused(wmt14.main, dest, "--raw", raw, "--dest", dest, *SMALL)


def test_an_archive_of_something_else(archives, tmp_path, refused):
    raw = tmp_path / "raw"
    raw.mkdir()
    for path in archives.iterdir():
        (raw / path.name).symlink_to(path)
    (raw / "training-parallel-commoncrawl.tgz").unlink()
    dest = tmp_path / "dest"
    given = ("--raw", raw, "--dest", dest, *SMALL)
    assert "training-parallel-commoncrawl.tgz: no such file" in refused(wmt14.main, dest, *given)
    (raw / "training-parallel-commoncrawl.tgz").symlink_to(archives / "test.tgz")
    assert "commoncrawl.tgz: holds no commoncrawl.de-en.en" in refused(wmt14.main, dest, *given)


# --- shares ------------------------------------------------------------------------------------

STEPS = ("read", "tokenise", "learn", "encode", "join")


@pytest.fixture(scope="module")
def whole(archives, tmp_path_factory):
    dest = tmp_path_factory.mktemp("whole") / "dest"
    run(wmt14, "en-de", archives, dest, "--parts", "4")
    return dest


def in_steps(archives, dest, shares, *more):
    for step in STEPS:
        divided = step in ("tokenise", "encode")
        for number in range(1, shares + 1) if divided else [None]:
            share = ["--shard", f"{number}/{shares}"] if divided else []
            given = ["--parts", "4", "--step", step, *share, *more]
            run(wmt14, "en-de", archives, dest, *given)


@pytest.mark.parametrize("shares", [1, 3, 5])
def test_any_number_of_shares_joined_gives_the_same_bytes(archives, whole, tmp_path, shares):
    in_steps(archives, tmp_path / "dest", shares)
    assert contents(tmp_path / "dest") == contents(whole)


def test_a_share_does_its_own_parts_only(archives, tmp_path):
    dest = tmp_path / "dest"
    given = ("--parts", "4", "--step")
    run(wmt14, "en-de", archives, dest, *given, "read")
    run(wmt14, "en-de", archives, dest, *given, "tokenise", "--shard", "2/3")
    assert [path.name for path in (dest / "tokenised").glob("*.en")] == ["train.1.en"]


def test_what_other_shares_have_not_done_is_named(archives, tmp_path, refused):
    dest = tmp_path / "dest"
    given = ("--raw", archives, "--dest", dest, *SMALL, "--parts", 3)
    for step, missing in (("tokenise", "read train"), ("encode", "tokenise train.0")):
        message = refused(wmt14.main, dest, *given, "--step", step)
        assert f"{missing} (--step {missing.split()[0]}) has not been done" in message
    run(wmt14, "en-de", archives, dest, "--parts", "3", "--step", "read")
    for share in ("1/3", "3/3"):
        run(
            *(wmt14, "en-de", archives, dest, "--parts", "3"),
            *("--step", "tokenise", "--shard", share),
        )
    message = refused(wmt14.main, dest, *given, "--step", "learn")
    assert "tokenise train.1 (--step tokenise) has not been done" in message


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (["--shard", "4/3", "--step", "encode"], "--shard 4/3: the first number is 1 to 3"),
        (["--shard", "0/3", "--step", "encode"], "--shard 0/3: the first number is 1 to 3"),
        (["--shard", "1/3"], "--shard 1/3: needs --step tokenise or --step encode"),
        (["--shard", "1/3", "--step", "join"], "--shard 1/3: needs --step tokenise"),
        (["--parts", "0"], "--parts 0: must be 1 or more"),
        (["--pair", "en-cs"], "--pair en-cs: unknown pair; choose one of en-de"),
    ],
)
def test_shares_that_there_are_not(archives, tmp_path, refused, options, expected):
    dest = tmp_path / "dest"
    assert expected in refused(wmt14.main, dest, "--raw", archives, "--dest", dest, *options)
    assert not dest.exists()


def test_a_share_that_is_not_written_as_one(archives, tmp_path, capsys):
    with pytest.raises(SystemExit):
        run(wmt14, "en-de", archives, tmp_path / "dest", "--shard", "two")
    assert "two: write it as 2/3, the second of three" in capsys.readouterr().err


@pytest.fixture
def joined(whole, tmp_path):
    """A copy of the folder whose last step is still to be done; times of change are not kept."""
    dest = tmp_path / "joined"
    for name, content in contents(whole).items():
        (dest / name).parent.mkdir(parents=True, exist_ok=True)
        (dest / name).write_bytes(content)
    (dest / ".stages").mkdir()
    for record in (whole / ".stages").iterdir():
        (dest / ".stages" / record.name).write_bytes(record.read_bytes())
    (dest / "manifest.json").unlink()
    return dest


def test_a_copied_folder_is_joined_by_its_hashes(archives, whole, joined, capsys):
    run(wmt14, "en-de", archives, joined, "--parts", "4", "--step", "join")
    assert contents(joined) == contents(whole)
    assert "--tying three-way" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("name", "stage"),
    [
        ("data-bin/shard1/train.en-de.de.bin", "binarise 1 (--step encode)"),
        ("tokenised/train.2.en", "tokenise train.2 (--step tokenise)"),
        ("bpe/codes", "learn (--step learn)"),
    ],
)
def test_a_file_that_is_not_the_recorded_one_is_refused(archives, joined, refused, name, stage):
    content = (joined / name).read_bytes()
    (joined / name).write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    given = ("--raw", archives, "--dest", joined, *SMALL, "--parts", 4, "--step", "join")
    message = refused(wmt14.main, joined, *given)
    assert stage in message
    assert f"had another {joined / name}" in message


def test_a_file_changed_behind_its_time_is_refused(archives, tmp_path, refused):
    dest = tmp_path / "dest"
    run(wmt14, "en-de", archives, dest)
    (dest / "manifest.json").unlink()
    path = dest / "data-bin/shard3/train.en-de.en.bin"
    status, content = path.stat(), path.read_bytes()
    path.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    message = refused(wmt14.main, dest, "--raw", archives, "--dest", dest, *SMALL, "--step", "join")
    assert f"{path}: not the file that binarise 3 wrote" in message


def test_shares_with_other_options_are_refused(archives, joined, refused):
    given = ("--raw", archives, "--dest", joined, *SMALL, "--parts", 4, "--step", "join")
    message = refused(wmt14.main, joined, *given, "--max-length", 40)
    assert "tokenise train.0 (--step tokenise) was done with max_length 50, not 40" in message
    message = refused(wmt14.main, joined, *given, "--merges", 50)
    assert "learn (--step learn) was done with merges 80, not 50" in message
    record = joined / ".stages" / "apply train.3.json"
    content = json.loads(record.read_text())
    write_json(record, {**content, "options": {"threshold": 9}})
    message = refused(wmt14.main, joined, *given)
    assert "apply train.3 (--step encode) was done with threshold 9, not 2" in message


def test_fewer_parts_leave_nothing_of_more(archives, whole, tmp_path, joined):
    run(wmt14, "en-de", archives, joined, "--parts", "4")
    run(wmt14, "en-de", archives, joined, "--parts", "1")
    run(wmt14, "en-de", archives, tmp_path / "one", "--parts", "1")
    assert contents(joined) == contents(tmp_path / "one")
    assert data_bins(joined) == [joined / "data-bin"]
    run(wmt14, "en-de", archives, joined, "--parts", "4")
    assert contents(joined) == contents(whole)


# --- interruptions -----------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.nightly  # at chosen stages by day: test_corpus.py
def test_killed_at_random_and_run_again_gives_the_same_bytes(archives, whole, tmp_path):
    """Each time from the start; TIEDNMT_KILLS=20 kills more often than the usual three times."""
    command = [sys.executable, "-m", "preprocess.wmt14", "--pair", "en-de", "--parts", "4"]
    command += ["--raw", str(archives), *SMALL, "--dest"]
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL, "cwd": ROOT}
    chance, seconds = repeatable_chance(), 0.0
    for kill in range(-1, int(os.environ.get("TIEDNMT_KILLS", "3"))):
        dest = tmp_path / f"dest{kill}"
        process = subprocess.Popen([*command, str(dest)], start_new_session=True, **quiet)
        while not (dest / ".stages").exists():
            assert process.poll() is None
            time.sleep(0.01)
        started = time.monotonic()
        if kill < 0:  # to see how long a run takes
            assert process.wait() == 0
            seconds = time.monotonic() - started
            continue
        moment = chance.random() * seconds
        print(f"killed after {moment:.2f} of {seconds:.2f} s")
        time.sleep(moment)
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        run(wmt14, "en-de", archives, dest, "--parts", "4")
        assert contents(dest) == contents(whole)
