"""Kill training and preprocessing at random moments, run them again, compare what they leave.

python -m tests.faults.signals --journal runs/signals.jsonl   # resumes where it stopped
python -m tests.faults.signals --what "training, NMT" --signal KILL --times 50

What is compared with a run that nobody disturbed: the weights of the last checkpoint bit for bit,
or all files of the prepared folder. No partial file may be left after the end.
"""

from __future__ import annotations

import argparse
import gc
import importlib
import json
import logging
import math
import os
import shutil
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from random import Random

import torch

from tests.support.commandline import PLUGIN, ROOT, TRAIN
from tiednmt.commandline import command_parser
from tiednmt.options import positive, seed

SAME, OTHER, FAILED, LEFT = "same bits", "other bits", "does not resume", "half-written files"
# in each: kills of a training are spread over its updates and saves, some of them in its last ones
_MAIN = {"fairseq_cli.train": "cli_main", "preprocess.demo.__main__": "main"}
_MAIN["preprocess.text"] = "main"
TIMES = {"KILL": 50, "TERM": 10, "INT": 10}
_OFTEN = ("--save-interval-updates", "5", "--keep-interval-updates", "2", "--max-update", "24")


@dataclass(frozen=True)
class Work:
    """A command that is disturbed: its words for an output, and the digest of what it made."""

    words: Callable[[Path], list[str]]
    digest: Callable[[Path], str]
    times: dict[str, int]


def main() -> None:
    """Run the command line; exit status 1 where a run did not end as an undisturbed one."""
    parser = command_parser("python -m tests.faults.signals", __doc__)
    parser.add_argument(
        "--what", action="append", metavar="WORK", help="what to disturb (default: everything)"
    )
    parser.add_argument(
        "--signal", choices=TIMES, action="append", help="signal to send (default: all)"
    )
    parser.add_argument(
        "--times", type=positive, metavar="N", help="how often (default: as in docs/reliability.md)"
    )
    parser.add_argument("--seed", type=seed, default=1, metavar="N", help="of the moments")
    parser.add_argument(
        "--journal", type=Path, metavar="FILE", help="keep verdicts here, and skip those it has"
    )
    args = parser.parse_args()
    logging.disable()
    for module in (*_MAIN, "tiednmt.plugin"):
        importlib.import_module(module)
    gc.freeze()  # or each fork would look through all of it, and copy it
    with tempfile.TemporaryDirectory() as folder:
        found = Counter(_outcomes(Path(folder), args))
    print(f"| what | signal | {SAME} | {OTHER} | {FAILED} | {LEFT} |")
    print("| --- | --- " + "| --: " * 4 + "|")
    for what, sent in dict.fromkeys((what, sent) for what, sent, _ in found):
        counts = (str(found[what, sent, verdict]) for verdict in (SAME, OTHER, FAILED, LEFT))
        print(f"| {what} | SIG{sent} | {' | '.join(counts)} |")
    sys.exit(any(verdict != SAME for _, _, verdict in found))


def _outcomes(folder: Path, args: argparse.Namespace) -> Iterator[tuple[str, str, str]]:
    journal = args.journal
    lines = journal.read_text().splitlines() if journal and journal.is_file() else []
    known = {tuple(key): verdict for *key, verdict in map(json.loads, lines)}
    for what, work in _works(folder).items():
        if args.what and what not in args.what:
            continue
        undisturbed: Undisturbed | None = None
        for sent in args.signal or work.times:
            for number in range(args.times or work.times.get(sent, 0)):
                key = (what, sent, args.seed, number)
                if key not in known:
                    undisturbed = undisturbed or Undisturbed.of(work, folder / "output")
                    chance = Random(f"{args.seed} {what} {sent} {number}")
                    known[key] = disturbed(work, undisturbed, folder / "output", sent, chance)
                    if journal:
                        with journal.open("a") as file:
                            file.write(json.dumps([*key, known[key]]) + "\n")
                yield what, sent, known[key]


@dataclass(frozen=True)
class Undisturbed:
    """How long a command takes, and what it makes."""

    seconds: float
    digest: str

    @classmethod
    def of(cls, work: Work, output: Path) -> Undisturbed:
        shutil.rmtree(output, ignore_errors=True)
        start = time.monotonic()
        assert _status(_start(work.words(output))) == 0, f"{work.words(output)} fails"
        return cls(time.monotonic() - start, work.digest(output))


def disturbed(work: Work, whole: Undisturbed, output: Path, sent: str, chance: Random) -> str:
    """Send a signal at a random moment, twice out of three times one more, then run to the end."""
    shutil.rmtree(output, ignore_errors=True)
    words = work.words(output)
    for _ in range(1 + (chance.random() < 2 / 3)):
        process = _start(words)
        # a loaded machine is slower at times: what takes longer is disturbed earlier, no more
        if _status(process, chance.uniform(0, 1.1) * whole.seconds) is None:
            os.killpg(process, getattr(signal, f"SIG{sent}"))
            _status(process)
    if _status(_start(words)) != 0:
        return FAILED
    if [path for path in output.rglob("*") if path.suffix in (".partial", ".tmp")]:
        return LEFT
    return SAME if work.digest(output) == whole.digest else OTHER


def _start(command: Sequence[str]) -> int:
    """A command of Python in a fork, which gets signals with its workers as from a terminal."""
    process = os.fork()
    if process:
        return process
    try:
        os.setsid()
        signal.signal(signal.SIGINT, signal.default_int_handler)  # which a shell may have ignored
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        quiet = os.open(os.devnull, os.O_RDWR)
        for stream in range(3):
            os.dup2(quiet, stream)
        os.chdir(ROOT)
        sys.argv = list(command)
        importlib.import_module(command[0]).__dict__[_MAIN[command[0]]]()
        os._exit(0)
    except SystemExit as end:
        os._exit(bool(end.code))
    except BaseException:
        os._exit(1)


def _status(process: int, seconds: float = math.inf) -> int | None:
    """Wait for the end; None where it did not come in time."""
    end = time.monotonic() + seconds
    while not (ended := os.waitpid(process, os.WNOHANG))[0]:
        if time.monotonic() > end:
            return None
        time.sleep(0.003)
    return os.waitstatus_to_exitcode(ended[1])


# --- what is disturbed -------------------------------------------------------------------------


def _works(folder: Path) -> dict[str, Work]:
    pairs, text = folder / "pairs", folder / "text"
    small = ("--pairs", "100", "--merges", "100", "--vocabulary-threshold", "0", "--workers", "1")
    _make("preprocess.demo.__main__", "--dest", pairs, *small)
    raw = [str(_raw_text(folder, subset)) for subset in ("train", "valid", "test")]
    words = ("--train", raw[0], "--valid", raw[1], "--test", raw[2])
    _make("preprocess.text", *words, "--dest", text)

    def translation(output: Path) -> list[str]:
        options = ("--tying", "three-way", "--max-tokens", "200", "--save-dir", output)
        return _words("fairseq_cli.train", pairs / "data-bin", *TRAIN, *options, *_OFTEN)

    def language_model(output: Path) -> list[str]:
        options = (
            *(*PLUGIN, "--task", "tied_language_modeling", "--arch", "tied_lstm_lm"),
            *("--embed-dim", "8", "--hidden-size", "8", "--layers", "1", "--optimizer", "sgd"),
            *("--lr", "1", "--batch-size", "4", "--tokens-per-sample", "5", "--num-workers", "0"),
            *("--criterion", "tied_cross_entropy", "--no-progress-bar", "--save-dir", output),
            *("--update-epoch-batch-itr", "True"),
        )
        return _words("fairseq_cli.train", text / "data-bin", *options, *_OFTEN)

    def prepared(output: Path) -> list[str]:
        return _words("preprocess.demo.__main__", "--dest", output, *small)

    disturbances = dict(TIMES)
    return {
        "training, NMT": Work(translation, _weights, disturbances),
        "training, LM": Work(language_model, _weights, disturbances),
        "preprocessing": Work(prepared, _files, {**disturbances, "KILL": 20}),
    }


def _words(*words: object) -> list[str]:
    return [*map(str, words)]


def _make(*words: object) -> None:
    assert _status(_start(_words(*words))) == 0, words


def _raw_text(folder: Path, subset: str) -> Path:
    chance, path = Random(subset), folder / f"raw.{subset}"
    lines = (
        " ".join(chance.choices(["the", "cat", "sees", "a", "dog", "and", "runs"], k=6))
        for _ in range(40)
    )
    path.write_text("".join(f"{line}\n" for line in lines))
    return path


def _weights(save_dir: Path) -> str:
    """Of the last checkpoint: its weights and how often they were updated."""
    state = torch.load(save_dir / "checkpoint_last.pt")
    digest = sha256(str(state["optimizer_history"][-1]["num_updates"]).encode())
    for name, weight in state["model"].items():
        digest.update(name.encode() + weight.numpy().tobytes())
    return digest.hexdigest()


def _files(folder: Path) -> str:
    """Of all files of a prepared folder, but for the records of when they were made."""
    digest = sha256()
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder)
        if path.is_file() and ".stages" not in name.parts:
            digest.update(str(name).encode() + path.read_bytes())
    return digest.hexdigest()


if __name__ == "__main__":
    main()
