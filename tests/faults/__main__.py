"""Try malformed inputs of every kind, and print a table of what became of them.

python -m tests.faults --inputs 2000
python -m tests.faults --kind "checkpoint, a bit" --inputs 1000
python -m tests.faults --inputs 2000 --journal runs/faults.jsonl  # resumes where it stopped
python -m tests.faults --kind manifest --number 17 --show
"""

from __future__ import annotations

import json
import logging
import sys
import tempfile
from collections import Counter
from pathlib import Path

from tests.faults import commands, harness, world
from tests.faults.kinds import KINDS
from tiednmt.commandline import command_parser
from tiednmt.options import Range, positive, seed


def main() -> None:
    """Run the command line; exit status 1 where there were faults."""
    parser = command_parser("python -m tests.faults", __doc__)
    parser.add_argument(
        "--inputs", type=positive, default=2000, metavar="N", help="how many (default: 2000)"
    )
    parser.add_argument(
        "--seed", type=seed, default=1, metavar="N", help="another seed makes other inputs"
    )
    parser.add_argument(
        "--kind",
        choices=KINDS,
        action="append",
        metavar="KIND",
        help=f"kind of input; may be repeated (default: all): {'; '.join(KINDS)}",
    )
    parser.add_argument(
        "--number", type=Range(0, 10**9), metavar="N", help="run only this input of --kind"
    )
    parser.add_argument(
        "--journal", type=Path, metavar="FILE", help="keep verdicts here, and skip those it has"
    )
    parser.add_argument("--show", action="store_true", help="print every outcome")
    args = parser.parse_args()
    kinds = args.kind or list(KINDS)
    logging.disable(logging.INFO)
    commands.load_all()
    known = _read(args.journal)
    table: dict[str, Counter[str]] = {kind: Counter() for kind in kinds}
    with tempfile.TemporaryDirectory() as folder:
        good = world.make(Path(folder))
        if args.number is not None:
            found = iter([harness.one(good, kinds[0], args.number, args.seed)])
        else:
            numbers = harness.numbered(args.inputs, kinds)
            rest = [each for each in numbers if (*each, args.seed) not in known]
            for each in set(numbers) - set(rest):
                table[each[0]][known[(*each, args.seed)]] += 1
            found = (harness.one(good, *each, args.seed) for each in rest)
        for each in found:
            table[each.kind][each.verdict] += 1
            _write(args.journal, each.kind, each.number, args.seed, each.verdict)
            if args.show or each.verdict in harness.FAULTS:
                told = f"{each.kind} {each.number}: {each.verdict}: {each.case.command} "
                print(told + " ".join(each.case.arguments)[:2000], file=sys.stderr)
                print(each.output[-6000:], file=sys.stderr)
    columns = (harness.REFUSED, harness.ACCEPTED, *harness.FAULTS)
    print(f"| kind | inputs | {' | '.join(columns)} |")
    print("| --- " + "| --: " * (1 + len(columns)) + "|")
    for kind, counts in table.items():
        print(f"| {kind} | {counts.total()} | {' | '.join(str(counts[c]) for c in columns)} |")
    sys.exit(any(counts[fault] for counts in table.values() for fault in harness.FAULTS))


def _read(journal: Path | None) -> dict[tuple[str, int, int], str]:
    """The verdict by kind, number and seed."""
    if journal is None or not journal.is_file():
        return {}
    lines = map(json.loads, journal.read_text().splitlines())
    return {(kind, number, seed): verdict for kind, number, seed, verdict in lines}


def _write(journal: Path | None, *verdict: object) -> None:
    if journal is not None:
        with journal.open("a") as file:
            file.write(json.dumps(verdict) + "\n")


if __name__ == "__main__":
    main()
