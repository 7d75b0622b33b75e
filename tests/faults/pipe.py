"""Translate many lines from a pipe: one line out for each in, and memory that does not grow.

python -m tests.faults.pipe --lines 100000
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from random import Random
from threading import Thread
from typing import IO

from tests.faults import world
from tests.support.commandline import ENVIRONMENT, ROOT, command_line
from tiednmt.commandline import command_parser
from tiednmt.options import positive

POINTS = 20  # at which memory is looked at


def main() -> None:
    """Run the command line; exit status 1 where lines were lost or memory grew by 5%."""
    parser = command_parser("python -m tests.faults.pipe", __doc__)
    parser.add_argument("--lines", type=positive, default=100_000, metavar="N", help="how many")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        good = world.make(Path(folder))
        sizes, lines = translate(good.model_folder, args.lines)
    print(f"{lines:,} lines out of {args.lines:,}; resident memory in MB over time:")
    print(" ".join(f"{size / 1e6:.0f}" for size in sizes))
    half = sizes[len(sizes) // 2 :]
    sys.exit(lines != args.lines or max(half) > 1.05 * max(sizes[: len(half)]))


def translate(model: Path, lines: int) -> tuple[list[int], int]:
    """The resident memory at so many points of the output, in bytes, and the lines of it."""
    options = ("--cpu", "--beam", "1")
    process = subprocess.Popen(
        command_line("-m", "tiednmt.commands.translate", model, *options),
        cwd=ROOT,
        env={**ENVIRONMENT, "PYTHONPATH": str(ROOT)},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    )
    assert process.stdin and process.stdout
    Thread(target=_write, args=(process.stdin, lines), daemon=True).start()
    sizes, count = [], 0
    for _ in process.stdout:
        if count % max(1, lines // POINTS) == 0:
            sizes.append(_resident(process.pid))
        count += 1
    assert process.wait() == 0
    return sizes, count


def _write(file: IO[bytes], lines: int) -> None:
    with file:
        for line in _lines(lines):
            file.write(line.encode() + b"\n")


def _lines(count: int) -> Iterator[str]:
    """Short ones, some blank, some of unknown characters, now and then a long one."""
    chance = Random(1)
    for i in range(count):
        words = [f"w{chance.randrange(30)}" for _ in range(chance.randint(1, 5))]
        odd = ("", "   ", "\u2028\x85", "été 日本 \x1b[31m", "w1 " * 300)
        yield chance.choice(odd) if i % 500 == 7 else " ".join(words)


def _resident(process: int) -> int:
    status = Path(f"/proc/{process}/status").read_text()
    return 1024 * int(status.split("VmRSS:")[1].split()[0])


if __name__ == "__main__":
    main()
