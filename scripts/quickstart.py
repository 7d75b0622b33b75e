"""Train none, decoder and three-way on one corpus and compare them.

Without options, the corpus is a small generated English-German one, and training takes a few
minutes on two CPU cores. With --data multi30k --pair en-de, fairseq's own lstm is trained as well,
unless --rows names others; each model takes one to two hours. Started again after an interruption,
the same command continues where it stopped.
"""

from __future__ import annotations

import shlex
import sys
import time
from pathlib import Path
from textwrap import fill

from scripts.lab.command import add_arguments, run
from scripts.lab.figures.translation import claim
from scripts.lab.records.schema import Record, TranslationRecord
from scripts.lab.run.specs import ROOT, folder_name
from scripts.lab.run.training import BEST
from scripts.lab.store import summary_of
from tiednmt.commandline import command_parser
from tiednmt.errors import resumable_command
from tiednmt.modes import NONE, THREE_WAY


@resumable_command
def main() -> None:
    """Run the experiment; print its table, what it says of three-way tying, and what to do next."""
    parser = command_parser("./scripts/quickstart.sh", __doc__)
    parser.add_argument(
        "--data",
        choices=("demo", "multi30k"),
        default="demo",
        help="corpus. demo: generated (default); multi30k: image captions, downloaded unless --raw",
    )
    parser.add_argument(
        "--pair",
        choices=("en-de", "en-fr"),
        default="en-de",
        help="language pair of multi30k (default: en-de)",
    )
    add_arguments(parser)
    args = parser.parse_args()
    name, command = "demo", parser.prog
    if args.data == "multi30k":
        name, command = f"multi30k-{args.pair}", f"{command} --data multi30k --pair {args.pair}"
    elif args.raw or args.pair != "en-de":
        parser.error("--raw and --pair go with --data multi30k")
    started = time.monotonic()
    record, out = run(name, command, args)
    print(f"\n{shown(record, out)}\n\n{time.monotonic() - started:.0f} s in all")


def shown(record: Record, out: Path) -> str:
    """What a newcomer reads when all is trained and scored."""
    parts = [summary_of(record)]
    rows = {*record.row_names} if isinstance(record, TranslationRecord) else set()
    if isinstance(record, TranslationRecord) and {NONE, THREE_WAY} <= rows:
        parts.append(fill(claim(record, THREE_WAY), 90, break_on_hyphens=False))
    parts.append(f"Table, plots, record and models: {out}")
    if isinstance(record, TranslationRecord):
        parts.append("Next:\n" + "\n".join(f"  {line}" for line in next_commands(record, out)))
    return "\n\n".join(parts)


def next_commands(record: TranslationRecord, out: Path) -> list[str]:
    """Translate with a trained model, look at the report, train on other text."""
    python = _python()
    rows = record.rows
    row = next((each for each in rows if each.name == THREE_WAY), rows[-1])
    model = out / folder_name(row.name, row.seeds[0]) / BEST
    sentence = record.samples[0]["source"] if record.samples else "The dog sees the cat."
    folder, report = shlex.quote(str(out / "data")), shlex.quote(str(out / "report.html"))
    return [
        f"echo {shlex.quote(sentence)} | {python} -m scripts.evaluate {shlex.quote(str(model))} "
        f"--data {folder} --input -",
        f"{python} -m scripts.report {shlex.quote(str(out))} --out {report}",
        f"{python} -m preprocess.bitext --source en --target cs --train train.en train.cs "
        "--valid 1000 --dest data/en-cs",
    ]


def _python() -> str:
    """The interpreter, as one types it in the clone."""
    executable = Path(sys.executable)
    inside = executable.is_relative_to(ROOT)
    return shlex.quote(str(executable.relative_to(ROOT))) if inside else "python"


if __name__ == "__main__":
    main()
