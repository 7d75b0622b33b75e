"""The checks and measurements on a GPU, as commands whose results are kept."""

from __future__ import annotations

import os
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

import torch

from scripts.lab.benchmarks.generation import PRECISIONS as GENERATION_PRECISIONS
from scripts.lab.benchmarks.output_layer import CUT, PACKAGES, PLAIN
from scripts.lab.run.specs import ROOT
from tiednmt.files import write_json
from tiednmt.processor import cores

REHEARSAL = "TIEDNMT_REHEARSE"  # tests that need a GPU run on a CPU where it is set
NEEDED = (
    *("fairseq", "hydra", "omegaconf", "torchaudio", "sacrebleu", "tabulate", "sacremoses"),
    *("subword_nmt", "sentencepiece", "regex", "yaml", "scipy", "matplotlib", "jinja2", "tqdm"),
    *("pytest",),
)
DONE, FAILED, CUT_OFF, LEFT = "done", "failed", "cut off", "left"
GRACE = 20  # seconds that a command has to end once it is told to


@dataclass(frozen=True)
class Step:
    """A command, and the minutes that must be left for it to start."""

    name: str
    command: tuple[str, ...]  # of python
    minutes: float = 0.5


@dataclass(frozen=True)
class Session:
    """Where a part finds its corpus and leaves its files, and whether it is rehearsed."""

    out: Path
    raw: Path | None
    rehearsed: bool

    def record(self, name: str) -> str:
        """The file for the record of a benchmark."""
        return str(self.out / f"{name}.json")

    def corpus(self, module: str, name: str, *options: str) -> Step:
        """Prepares a corpus, of which the demo is the small one."""
        if self.rehearsed:
            module, options, raw = "preprocess.demo", (), []
        else:
            raw = [] if self.raw is None else ["--raw", str(self.raw)]
        dest = ("--dest", str(self.data(name)), "--no-commands")
        return Step(f"prepare-{name}", (module, *options, *raw, *dest))

    def data(self, name: str) -> Path:
        """The prepared corpus, where an experiment of that name looks for it too."""
        return self.out / name / "data"

    def experiment(self, name: str, minutes: float, *options: str) -> Step:
        """Trains and scores all rows of an experiment."""
        out = ("--out", str(self.out / name))
        if self.rehearsed:
            rows = ("--rows", "none", "three-way", "--jobs", "2")
            return Step(name, ("scripts.reproduce", "demo", *out, *rows))
        raw = [] if self.raw is None else ["--raw", str(self.raw)]
        return Step(name, ("scripts.reproduce", name, *raw, *out, *options), minutes)

    def benchmark(self, name: str, what: str, *options: str, repeated: str = "--runs") -> Step:
        """Measures speed, as often as the option ``repeated`` says; in a rehearsal once."""
        times = (repeated, "1") if self.rehearsed else ()
        command = ("scripts.benchmark", what, *options, *times, "--json", self.record(name))
        return Step(name, command, 1)


def _check(session: Session) -> Iterator[Step]:
    xml = str(session.out / "check.xml")
    folders = ("tests/gpu", "tests/modules", "tests/scripts/lab/benchmarks")
    tests: tuple[str, ...] = ("-q", "-m", "gpu", "-p", "no:cacheprovider", *folders)
    if find_spec("xdist"):
        tests += ("-n", str(min(cores(), 12)))  # small models leave most of a GPU idle
    yield Step("tests", ("pytest", *tests, "--junitxml", xml))


def _multi30k(session: Session) -> Iterator[Step]:
    """Small models leave most of a GPU idle, so several train at the same time."""
    jobs = ("--seeds", "3", "--jobs", str(min(cores(), 9)))
    for name in ("multi30k-en-de-gpu", "multi30k-en-de-transformer-gpu"):
        yield session.experiment(name, 3, *jobs)
        # our search and fairseq's on the same weights
        run = ("--run", str(session.out / name), "--row", "three-way", "--against", "three-way")
        for precision in GENERATION_PRECISIONS:
            options = (*run, "--precision", precision)
            yield session.benchmark(f"benchmark-generate-{name}-{precision}", "generate", *options)


def _speed(session: Session) -> Iterator[Step]:
    yield session.corpus("preprocess.multi30k", "multi30k-en-de", "--pair", "en-de")
    yield from _updates(session)
    yield from _growth(session)
    yield from _output_layer(session)


MODELS = {  # the names in records, the experiments whose recipes they have, fairseq's counterparts
    "gru": ("multi30k-en-de", "lstm"),
    "transformer": ("multi30k-en-de-transformer", "transformer"),
}


def _updates(session: Session) -> Iterator[Step]:
    data = ("--data", str(session.data("multi30k-en-de")))
    sizes = ("200", "3") if session.rehearsed else ("4000", "50")
    batches = ("--max-tokens", sizes[0], "--updates", sizes[1], "--cuda-graphs", "--runs", "3")
    for model, (experiment, against) in MODELS.items():
        pair = ("--experiment", experiment, "--against", against)
        for precision in ("bf16", "medium", "highest"):  # medium is TF32
            options = (*data, *pair, *batches, "--precision", precision)
            yield session.benchmark(f"benchmark-updates-{model}-{precision}", "updates", *options)


def _growth(session: Session) -> Iterator[Step]:
    vocabularies = ("100", "200") if session.rehearsed else ("8000", "32000", "94000")
    tokens = "50" if session.rehearsed else "4000"
    batches = ("--length", "25", "--tokens", tokens, "--precision", "bf16", "--cuda-graphs")
    for model, (experiment, against) in MODELS.items():
        pair = ("--experiment", experiment, "--against", against)
        options = (*pair, "--vocabulary", *vocabularies, *batches)
        name = f"benchmark-growth-{model}"
        yield session.benchmark(name, "growth", *options, repeated="--updates")


def _output_layer(session: Session) -> Iterator[Step]:
    sizes = ("64", "500", "16") if session.rehearsed else ("8192", "94000", "512")
    options = zip(("--tokens", "--vocabulary", "--dim"), sizes, strict=True)
    named = [word for option in options for word in option]
    for dtype in ("float32", "bfloat16"):
        for against in (PLAIN, *(side for side, package in PACKAGES.items() if find_spec(package))):
            if (against != PLAIN and session.rehearsed) or (against, dtype) == (CUT, "float32"):
                continue  # a GPU's kernels; one does not take single precision
            sides = ("--dtype", dtype, "--against", against)
            name = f"benchmark-output-layer-{dtype}-{against}"
            yield session.benchmark(name, "output-layer", *named, *sides)


def _ptb(session: Session) -> Iterator[Step]:
    yield session.experiment("ptb-large", 3, "--jobs", "5")
    yield session.experiment("ptb-awd-lstm", 3)


PARTS: Mapping[str, Callable[[Session], Iterator[Step]]] = {
    "check": _check,
    "speed": _speed,
    "ptb": _ptb,
    "multi30k": _multi30k,
}


def lacking(rehearsed: bool) -> list[str]:
    """What the machine lacks; all of it must be there before any part begins."""
    found = [] if torch.cuda.is_available() or rehearsed else ["a GPU that its torch can use"]
    return found + [f"the Python package {name}" for name in NEEDED if not find_spec(name)]


def run_part(part: str, out: Path, raw: Path | None, minutes: float, rehearsed: bool) -> int:
    """Run the steps of ``part`` that are not done yet.

    A rehearsal has the folder ``rehearsal`` of ``out`` to itself.

    Returns:
        0 if all steps are done now, 1 if a command failed, 3 if steps are left.
    """
    if rehearsed:
        out = out / "rehearsal"
    out.mkdir(parents=True, exist_ok=True)
    end = time.monotonic() + 60 * minutes
    outcomes: dict[str, str] = {}
    for step in PARTS[part](Session(out.resolve(), raw and raw.resolve(), rehearsed)):
        outcomes[step.name] = _outcome(step, out, end, rehearsed)
        print(f"{step.name}: {outcomes[step.name]}", flush=True)
        if outcomes[step.name] in (CUT_OFF, LEFT):
            break
    _write_summary(part, out, outcomes)
    if FAILED in outcomes.values():
        return 1
    return 0 if {*outcomes.values()} <= {DONE} else 3


def _outcome(step: Step, out: Path, end: float, rehearsed: bool) -> str:
    mark, command = out / "done" / step.name, shlex.join(step.command)
    if mark.exists() and mark.read_text(encoding="utf-8") == command:
        return DONE
    if time.monotonic() + 60 * step.minutes > end and not rehearsed:
        return LEFT
    outcome = _run(step, out / "logs" / f"{step.name}.log", end, rehearsed)
    if outcome == DONE:
        mark.parent.mkdir(exist_ok=True)
        mark.write_text(command, encoding="utf-8")
    return outcome


def _run(step: Step, log: Path, end: float, rehearsed: bool) -> str:
    log.parent.mkdir(exist_ok=True)
    command = [sys.executable, "-m", *step.command]
    print(f"python -m {shlex.join(step.command)}", flush=True)
    environment = {
        **os.environ,
        "PYTHONWARNINGS": "ignore",
        **({REHEARSAL: "1"} if rehearsed else {}),
    }
    with log.open("a", encoding="utf-8") as output:
        process = subprocess.Popen(
            command, cwd=ROOT, env=environment, stdout=output, stderr=subprocess.STDOUT
        )
        try:
            process.wait(timeout=max(1.0, end - time.monotonic()))
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGINT)  # so that it ends what it has begun
            _wait_or_kill(process)
            return CUT_OFF
    if process.returncode:
        tail = log.read_text(encoding="utf-8", errors="replace").splitlines()[-25:]
        print("\n".join(f"  {line}" for line in tail), flush=True)
        return FAILED
    return DONE


def _wait_or_kill(process: subprocess.Popen[bytes]) -> None:
    try:
        process.wait(timeout=GRACE)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def _write_summary(part: str, out: Path, outcomes: Mapping[str, str]) -> None:
    card = torch.cuda.get_device_name() if torch.cuda.is_available() else "CPU (rehearsal)"
    content = {"part": part, "device": card, "torch": torch.__version__, "steps": dict(outcomes)}
    write_json(out / f"{part}.json", content)
