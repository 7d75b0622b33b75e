"""Try readings of projection regularisation on PTB, in plain PyTorch.

The readings are those of configs/search/projection.yaml. Each leaves a file of its figures, epoch
by epoch, and goes on from its last epoch when it was interrupted; the table is made of all files.

  python -m scripts.search_projection --data data/ptb --out runs/projection --jobs 4
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch
import yaml

from preprocess.files import named_when_whole, write_json, write_whole
from scripts.arguments import positive
from scripts.plain_language_model import Reading, Training, dictionary, read
from scripts.processes import Child, side_by_side
from scripts.recipes import ROOT
from scripts.tables import markdown
from tiednmt.errors import UserError, one_line_errors

READINGS = ROOT / "configs" / "search" / "projection.yaml"


def readings() -> dict[str, Reading]:
    """What is tried, by name."""
    return {
        name: Reading(**changes)
        for name, changes in yaml.safe_load(READINGS.read_text(encoding="utf-8")).items()
    }


def search(name: str, reading: Reading, seed: int, data: Path, out: Path) -> None:
    """Train one reading to its last epoch, from the last one that was finished."""
    figures = out / f"{file_name(name, seed)}.json"
    saved = figures.with_suffix(".pt")
    text = {subset: read(data, subset) for subset in ("train", "valid", "test")}
    types = len(dictionary(data))
    training = Training(reading, types, seed)
    record: dict[str, Any] = {"name": name, "seed": seed, "epochs": []}
    if saved.exists():
        record = json.loads(figures.read_text(encoding="utf-8"))
        training.model.load_state_dict(torch.load(saved))
    for epoch in range(len(record["epochs"]) + 1, reading.epochs + 1):
        train = training.epoch(text["train"], epoch)
        valid = training.perplexity(text["valid"], reading.streams)
        record["epochs"].append({"train": round(train, 2), "valid": round(valid, 2)})
        if epoch == reading.epochs:
            record["test"] = round(training.perplexity(text["test"], streams=1), 2)
        with named_when_whole(saved) as partial_file:
            torch.save(training.model.state_dict(), partial_file)
        write_json(figures, record)
        print(f"{name}: epoch {epoch}, train {train:.1f}, validation {valid:.1f}", flush=True)


def file_name(name: str, seed: int) -> str:
    """A reading's name as that of a file."""
    return f"{'-'.join(name.replace(',', '').replace(chr(39), '').split())}.{seed}"


def table(records: Sequence[Mapping[str, Any]]) -> str:
    """Perplexities of the last epoch that each reading has come to."""
    head = ["reading", "seed", "epochs", "train", "validation", "test"]
    rows = [
        [
            record["name"],
            str(record["seed"]),
            str(len(record["epochs"])),
            *(f"{record['epochs'][-1][subset]:.1f}" for subset in ("train", "valid")),
            f"{record['test']:.1f}" if "test" in record else "",
        ]
        for record in records
        if record["epochs"]
    ]
    return markdown(head, rows)


def _command(name: str, seed: int, args: argparse.Namespace) -> list[str]:
    command = [sys.executable, "-m", "scripts.search_projection", "--only", name]
    return [*command, "--seed", str(seed), "--data", str(args.data), "--out", str(args.out)]


@one_line_errors
def main() -> None:
    """Try all readings, or the one named; print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, required=True, metavar="DIR", help="prepared folder")
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="folder to fill")
    parser.add_argument("--jobs", type=positive, default=1, metavar="N", help="side by side")
    parser.add_argument("--only", action="append", metavar="NAME", help="may be repeated")
    parser.add_argument("--seed", type=int, default=1, metavar="N", help="default 1")
    args = parser.parse_args()
    known = readings()
    chosen = args.only or list(known)
    for name in chosen:
        if name not in known:
            raise UserError(f"--only {name}: {READINGS} has only {', '.join(known)}")
    args.out.mkdir(parents=True, exist_ok=True)
    if len(chosen) == 1:
        search(chosen[0], known[chosen[0]], args.seed, args.data, args.out)
        return
    side_by_side(
        [
            partial(
                Child,
                name,
                _command(name, args.seed, args),
                args.out / f"{file_name(name, args.seed)}.log",
            )
            for name in chosen
        ],
        args.jobs,
    )
    records = [json.loads(path.read_text(encoding="utf-8")) for path in args.out.glob("*.json")]
    with write_whole(args.out / "table.md") as file:
        file.write(table(records) + "\n")
    print(table(records))


if __name__ == "__main__":
    main()
