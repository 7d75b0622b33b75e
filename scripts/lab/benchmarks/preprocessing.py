"""What ``scripts.benchmark preprocess`` runs: this project's pipeline and the usual scripts' way.

The text is the training text of Multi30k over and over, each time with another number at the end
of its lines. The usual way is sacremoses and subword-nmt in one process each and then
``fairseq-preprocess``; both do the same, and that their data-bins and merges are the same bytes is
checked.
"""

from __future__ import annotations

import filecmp
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import chain, count, islice
from pathlib import Path
from typing import Any

from preprocess.binarise import SHARED_UNITS
from preprocess.files import find_file
from preprocess.vocabulary import PADDING_FACTOR
from scripts.lab.benchmarks.compare import Measured, Side, compare
from scripts.lab.benchmarks.measured_process import printed_by_module
from scripts.lab.benchmarks.options import Paired
from scripts.lab.run.specs import ROOT
from tiednmt.errors import UserError
from tiednmt.files import write_whole
from tiednmt.options import option, positive
from tiednmt.text.lines import read_lines

LANGUAGES = ("en", "de")
HELD_OUT = ("val", "test_2016_flickr", "test_2017_flickr")
THRESHOLD = 5
WHAT = "raw text to data-bin, sentence pairs per second, the same bytes"
OURS, USUAL = "tiednmt", "sacremoses, subword-nmt, fairseq-preprocess"

_TOKENISE = """\
import sys
from tiednmt.text.moses import MosesTokeniser
from tiednmt.text.normalise import normalise
tokenise = MosesTokeniser(sys.argv[1])
for line in sys.stdin:
    print(tokenise(normalise(line)))
"""


@dataclass(frozen=True, kw_only=True)
class Preprocessing(Paired):
    """Options of ``scripts.benchmark preprocess``: the text and the sizes of the work."""

    raw: Path = option("raw files of Multi30k", metavar="DIR")
    pairs: int = option("sentence pairs of the text", default=200_000, type=positive)
    merges: int = option("number of merges", default=10_000, type=positive)
    threads: int = option("number of our processes", default=1, type=positive)
    memory_at: tuple[int, ...] = option(
        "also measure our peak memory on texts of this many pairs, in four parts (Linux)",
        default=(),
        type=positive,
    )


def measure(options: Preprocessing) -> dict[str, Any]:
    """Raw text to data-bin against the usual scripts, learning merges alone, and peak memory."""
    with tempfile.TemporaryDirectory() as folder:
        work = Workspace(Path(folder), options)
        whole = compare(Side(OURS, work.ours), Side(USUAL, work.usual), options.runs)
        learning = compare(
            Side(OURS, work.ours_learning),
            Side("subword-nmt learn-bpe", work.usual_learning),
            options.runs,
        )
        work.require_same()
        memory = {pairs: work.peak_memory(pairs) for pairs in options.memory_at}
    return {**whole, "learning": learning, "peak_megabytes": memory}


class Workspace:
    """A folder with raw text and what is made of it."""

    def __init__(self, folder: Path, options: Preprocessing) -> None:
        self.folder = folder
        self.options = options
        self.raw = write_text(options.raw, folder / "raw", options.pairs)

    def ours(self) -> Measured:
        """Pairs per second from raw text to data-bin."""
        shutil.rmtree(self.folder / "ours", ignore_errors=True)
        return self._speed(lambda: self._prepare(self.raw, self.folder / "ours"))

    def usual(self) -> Measured:
        """The same by the usual scripts."""
        shutil.rmtree(self.folder / "usual", ignore_errors=True)
        return self._speed(self._usual_scripts)

    def ours_learning(self) -> Measured:
        """Pairs per second of counting words and learning merges, without start-up."""
        return self._learning("ours", *self._tokenised())

    def usual_learning(self) -> Measured:
        """The same by ``subword-nmt learn-bpe``, which reads both sides as one file."""
        text = self.folder / "train"
        with write_whole(text) as file:
            for path in self._tokenised():
                file.writelines(line + "\n" for line in read_lines(path))
        return self._learning("usual", text)

    def _tokenised(self) -> list[Path]:
        return [self.folder / "ours" / "tokenised" / f"train.{language}" for language in LANGUAGES]

    def _learning(self, side: str, *texts: Path) -> Measured:
        module = ["scripts.lab.benchmarks.merges", side, *map(str, texts)]
        module += ["--merges", str(self.options.merges), "--workers", str(self.options.threads)]
        module += ["--codes", str(self.folder / f"{side}.codes")]
        return Measured(self.options.pairs / float(printed_by_module(module, 1)))

    def require_same(self) -> None:
        """Check that both ways have come to the same bytes.

        Raises:
            UserError: they have not, and their speeds say nothing.
        """
        ours, usual = self.folder / "ours" / "data-bin", self.folder / "usual" / "data-bin"
        names = sorted({path.name for path in ours.iterdir()} - {SHARED_UNITS})  # ours alone
        pairs = [(ours / name, usual / name) for name in names]
        pairs.append((self.folder / "ours.codes", self.folder / "usual.codes"))
        for one, other in pairs:
            if not filecmp.cmp(one, other, shallow=False):
                raise UserError(f"{one} and {other} differ; the speeds cannot be compared")

    def peak_memory(self, pairs: int) -> int:
        """Megabytes that all processes of ours hold together at most, on a text of that size."""
        raw = write_text(self.options.raw, self.folder / f"raw{pairs}", pairs)
        dest = self.folder / f"dest{pairs}"
        process = subprocess.Popen(
            self._command(raw, dest, "--parts", "4", "--deduplicate", "--check-script"),
            cwd=ROOT,
            env=_environment(),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        peak = 0
        while process.poll() is None:
            peak = max(peak, sum(map(_resident, _tree(process.pid))))
            time.sleep(0.2)
        if process.returncode:
            raise UserError(f"preparing {pairs:,} pairs failed with status {process.returncode}")
        shutil.rmtree(dest)
        shutil.rmtree(raw)
        return round(peak / 1e6)

    def _speed(self, work: Callable[[], None]) -> Measured:
        started = time.perf_counter()
        work()
        return Measured(self.options.pairs / (time.perf_counter() - started))

    def _prepare(self, raw: Path, dest: Path, *more: str) -> None:
        _run(self._command(raw, dest, *more))

    def _command(self, raw: Path, dest: Path, *more: str) -> list[str]:
        return [
            *(sys.executable, "-m", "preprocess.multi30k", "--pair", "-".join(LANGUAGES)),
            *("--raw", str(raw), "--dest", str(dest), "--merges", str(self.options.merges)),
            *("--vocabulary-threshold", str(THRESHOLD), "--workers", str(self.options.threads)),
            *("--max-length", "9999", "--max-ratio", "9999", *more),
        ]

    def _usual_scripts(self) -> None:
        folder = self.folder / "usual"
        folder.mkdir()
        names = ("train", *HELD_OUT)
        for name in names:
            for language in LANGUAGES:
                tokenise = [sys.executable, "-c", _TOKENISE, language]
                _run(tokenise, self.raw / f"{name}.{language}", folder / f"{name}.tok.{language}")
        train = [str(folder / f"train.tok.{language}") for language in LANGUAGES]
        vocabularies = [str(folder / f"vocab.{language}") for language in LANGUAGES]
        codes = str(folder / "codes")
        _run(
            [
                *("subword-nmt", "learn-joint-bpe-and-vocab", "--input", *train, "--output", codes),
                *("-s", str(self.options.merges), "--write-vocabulary", *vocabularies),
            ]
        )
        for name in names:
            for language, vocabulary in zip(LANGUAGES, vocabularies, strict=True):
                apply = ["subword-nmt", "apply-bpe", "-c", codes, "--vocabulary", vocabulary]
                apply += ["--vocabulary-threshold", str(THRESHOLD)]
                tokenised = folder / f"{name}.tok.{language}"
                _run(apply, tokenised, folder / f"{name}.bpe.{language}")
        prefixes = [str(folder / f"{name}.bpe") for name in names]
        _run(
            [
                *("fairseq-preprocess", "--source-lang", "en", "--target-lang", "de"),
                *("--trainpref", prefixes[0], "--validpref", prefixes[1]),
                *("--testpref", ",".join(prefixes[2:]), "--joined-dictionary"),
                *("--padding-factor", str(PADDING_FACTOR), "--destdir", str(folder / "data-bin")),
            ]
        )


def write_text(originals: Path, folder: Path, pairs: int) -> Path:
    """Multi30k's files in ``folder``, the training text ``pairs`` long; held-out sets of ten."""
    folder.mkdir(parents=True)
    for language in LANGUAGES:
        for name in ("train", *HELD_OUT):
            path = find_file(originals, f"{name}.{language}.gz", f"{name}.{language}")
            lines = list(read_lines(path))
            numbered = (f"{line} {number}" for number in count() for line in lines)
            size, chosen = (pairs, numbered) if name == "train" else (10, iter(lines))
            with write_whole(folder / f"{name}.{language}") as file:
                file.writelines(line + "\n" for line in islice(chosen, size))
    return folder


def _run(command: Sequence[str], source: Path | None = None, output: Path | None = None) -> None:
    """Run a command of this environment, from one file into another.

    Raises:
        UserError: it failed.
    """
    program = shutil.which(command[0], path=str(Path(sys.executable).parent)) or command[0]
    with open(source or os.devnull, "rb") as stdin, open(output or os.devnull, "wb") as stdout:
        done = subprocess.run(
            [program, *command[1:]],
            cwd=ROOT,
            env=_environment(),
            stdin=stdin,
            stdout=stdout,
            stderr=subprocess.PIPE,
        )
    if done.returncode:
        tail = done.stderr.decode(errors="replace")[-500:]
        raise UserError(f"{' '.join(command[:3])} failed:\n{tail}")


def _environment() -> dict[str, str]:
    return {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONWARNINGS": "ignore", "PYTHONUTF8": "1"}


def _tree(pid: int) -> list[int]:
    """The process and all its children's children."""
    try:
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    except OSError:
        return []
    return [pid, *chain.from_iterable(_tree(int(child)) for child in children)]


def _resident(pid: int) -> int:
    """Bytes of memory of a process, what it shares with others divided among them."""
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    except OSError:  # it has ended
        return 0
    return sum(1024 * int(line.split()[1]) for line in lines if line.startswith("Pss:"))
