"""Try readings of projection regularisation on PTB, in plain PyTorch.

The readings are those of configs/search/projection.yaml. Each leaves a file of its figures, epoch
by epoch, and goes on from its last epoch when it was interrupted or when more epochs are asked for;
record.json and table.md are made of all of them.

  python -m scripts.search_projection --data data/ptb --out runs/projection --jobs 4
"""

from __future__ import annotations

import argparse
import json
import shlex
import sys
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch
import yaml

from preprocess.files import named_when_whole, write_json, write_whole
from scripts.common import positive
from scripts.lab.baselines.plain_language_model import Reading, Training, dictionary, read
from scripts.lab.records.seeds import mean_and_sd, over_seeds
from scripts.lab.run.processes import Child, side_by_side
from scripts.lab.run.provenance import machine, package_versions
from scripts.lab.run.specs import ROOT
from scripts.lab.show.markdown import markdown
from tiednmt.errors import UserError, one_line_errors

READINGS = ROOT / "configs" / "search" / "projection.yaml"

Changes = Mapping[str, Any]


def readings() -> dict[str, Changes]:
    """What is tried, by name: the fields of :class:`Reading` that differ from their defaults."""
    found: dict[str, Changes] = yaml.safe_load(READINGS.read_text(encoding="utf-8"))
    return found


def search(name: str, seed: int, epochs: int | None, data: Path, out: Path) -> None:
    """Train one reading up to ``epochs`` (None: all of its own), from the last one finished."""
    changes = readings()[name]
    reading = Reading(**changes)
    saved = figures_file(name, seed, out).with_suffix(".pt")
    text = {subset: read(data, subset) for subset in ("train", "valid", "test")}
    training = Training(reading, len(dictionary(data)), seed)
    record: dict[str, Any] = {"name": name, "seed": seed, "changes": changes, "epochs": []}
    if saved.exists():
        state = torch.load(saved)
        record = state["record"]
        if record["changes"] != changes:
            raise UserError(f"{saved}: made with other settings than {READINGS} has; delete it")
        training.model.load_state_dict(state["model"])
    for epoch in range(len(record["epochs"]) + 1, (epochs or reading.epochs) + 1):
        train = training.epoch(text["train"], epoch)
        valid = training.perplexity(text["valid"], streams=1)
        record["epochs"].append({"train": round(train, 2), "valid": round(valid, 2)})
        if epoch == reading.epochs:
            record["test"] = round(training.perplexity(text["test"], streams=1), 2)
        with named_when_whole(saved) as partial_file:
            torch.save({"model": training.model.state_dict(), "record": record}, partial_file)
        write_json(figures_file(name, seed, out), record)
        print(f"{name}: epoch {epoch}, train {train:.1f}, validation {valid:.1f}", flush=True)


def figures_file(name: str, seed: int, out: Path) -> Path:
    """Where the figures of a reading are kept."""
    plain = name.replace(",", "").replace("'", "")
    return out / f"{'-'.join(plain.split())}.{seed}.json"


def summary(out: Path, jobs: int) -> dict[str, Any]:
    """The record of all readings that have come to the end of an epoch, in the file's order.

    ``train`` and ``valid`` are perplexities of the last epoch that every seed has come to, ``test``
    that of the model after it, where it is the reading's last.
    """
    rows = []
    for name, changes in readings().items():
        kept = sorted(out.glob(figures_file(name, 0, out).with_suffix("").stem + ".*.json"))
        runs = [json.loads(path.read_text(encoding="utf-8")) for path in kept]
        runs = [run for run in runs if run["epochs"]]
        if not runs:
            continue
        epochs = min(len(run["epochs"]) for run in runs)
        row: dict[str, Any] = {"name": name, "changes": changes, "epochs": epochs}
        for subset in ("train", "valid"):
            row[subset] = over_seeds([run["epochs"][epochs - 1][subset] for run in runs])
        if all("test" in run for run in runs):
            row["test"] = over_seeds([run["test"] for run in runs])
        row["curves"] = [run["epochs"] for run in runs]
        rows.append(row)
    return {
        "experiment": "projection-search",
        "readings": rows,
        "machine": machine(jobs),
        "versions": package_versions(),
        "command": shlex.join(["python", "-m", "scripts.search_projection", *sys.argv[1:]]),
    }


def joined(kept: Mapping[str, Any], new: Mapping[str, Any]) -> dict[str, Any]:
    """``kept`` with the readings that are in ``new`` alone, or trained as long there, with as many
    seeds, or longer.
    """
    there = {row["name"]: row for row in new["readings"]}
    for row in kept["readings"]:
        known = there.get(row["name"])
        if known is None or _extent(known) < _extent(row):
            there[row["name"]] = row
    found = [there[name] for name in readings() if name in there]
    return {**kept, "readings": found}


def _extent(row: Mapping[str, Any]) -> tuple[int, int]:
    return row["epochs"], row["train"]["seeds"]


def table(record: Mapping[str, Any]) -> str:
    """A row a reading: what it changes and its perplexities."""
    head = ["reading", "changes", "seeds", "epochs", "train", "validation", "test"]
    rows = [
        [
            row["name"],
            ", ".join(f"{field} {value}" for field, value in row["changes"].items()),
            str(row["train"]["seeds"]),
            str(row["epochs"]),
            *(mean_and_sd(row[subset], 1) for subset in ("train", "valid")),
            mean_and_sd(row["test"], 1) if "test" in row else "",
        ]
        for row in record["readings"]
    ]
    return markdown(head, rows, left=2)


def _train(names: Sequence[str], seeds: int, args: argparse.Namespace) -> None:
    given = [] if args.epochs is None else ["--epochs", str(args.epochs)]
    given += ["--data", str(args.data), "--out", str(args.out)]
    starts = []
    for seed in range(1, seeds + 1):
        for name in names:
            command = [sys.executable, "-m", "scripts.search_projection", "--only", name]
            command += ["--seed", str(seed), *given]
            log = figures_file(name, seed, args.out).with_suffix(".log")
            starts.append(partial(Child, name, command, log))
    side_by_side(starts, args.jobs)


@one_line_errors
def main() -> None:
    """Try all readings, or those named; print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, required=True, metavar="DIR", help="prepared folder")
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="folder to fill")
    parser.add_argument("--jobs", type=positive, default=1, metavar="N", help="side by side")
    parser.add_argument("--only", action="append", metavar="NAME", help="may be repeated")
    parser.add_argument("--epochs", type=positive, metavar="N", help="stop there; default: all")
    parser.add_argument("--seeds", type=positive, default=1, metavar="N", help="from 1 to this")
    parser.add_argument("--seed", type=int, help=argparse.SUPPRESS)  # one, in this process
    args = parser.parse_args()
    chosen = args.only or list(readings())
    for name in chosen:
        if name not in readings():
            raise UserError(f"--only {name}: {READINGS} has only {', '.join(readings())}")
    args.out.mkdir(parents=True, exist_ok=True)
    if args.seed is not None:
        search(chosen[0], args.seed, args.epochs, args.data, args.out)
        return
    _train(chosen, args.seeds, args)
    record = summary(args.out, args.jobs)
    write_json(args.out / "record.json", record)
    with write_whole(args.out / "table.md") as file:
        file.write(table(record) + "\n")
    print(table(record))


if __name__ == "__main__":
    main()
