"""Try malformed inputs of every kind, and print a table of what became of them.

python -m tests.faults --inputs 2000
python -m tests.faults --kind "checkpoint, a bit" --inputs 1000
python -m tests.faults --kind manifest --number 17 --show
"""

from __future__ import annotations

import argparse
import logging
import sys
import tempfile
from collections import Counter
from pathlib import Path

from tests.faults import commands, harness, world
from tests.faults.kinds import KINDS


def main() -> None:
    """Run the command line; exit status 1 where there were faults."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--inputs", type=int, default=2000, metavar="N", help="default 2000")
    parser.add_argument("--seed", type=int, default=1, metavar="N", help="other inputs")
    parser.add_argument("--kind", choices=KINDS, action="append", metavar="KIND")
    parser.add_argument("--number", type=int, metavar="N", help="of --kind, this input alone")
    parser.add_argument("--show", action="store_true", help="print every outcome")
    args = parser.parse_args()
    kinds = args.kind or list(KINDS)
    logging.disable(logging.INFO)
    commands.load_all()
    table: dict[str, Counter[str]] = {kind: Counter() for kind in kinds}
    with tempfile.TemporaryDirectory() as folder:
        good = world.make(Path(folder))
        if args.number is not None:
            found = iter([harness.one(good, kinds[0], args.number, args.seed)])
        else:
            found = harness.outcomes(good, args.inputs, args.seed, kinds)
        for each in found:
            table[each.kind][each.verdict] += 1
            if args.show or each.verdict in harness.FAULTS:
                told = f"{each.kind} {each.number}: {each.verdict}: {each.case.command} "
                print(told + " ".join(each.case.arguments)[:300], file=sys.stderr)
                print(each.output[-1500:], file=sys.stderr)
    columns = (harness.REFUSED, harness.ACCEPTED, *harness.FAULTS)
    print(f"| kind | inputs | {' | '.join(columns)} |")
    print("| --- " + "| --: " * (1 + len(columns)) + "|")
    for kind, counts in table.items():
        print(f"| {kind} | {counts.total()} | {' | '.join(str(counts[c]) for c in columns)} |")
    sys.exit(any(counts[fault] for counts in table.values() for fault in harness.FAULTS))


if __name__ == "__main__":
    main()
