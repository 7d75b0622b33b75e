"""What vocabulary surgery costs and gains, measured on trained models.

Each function trains and scores by the commands that anybody would type, and leaves what it made in
the folder that it is given; what is there is not made again.
"""

from __future__ import annotations

import json
import math
import shutil
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from time import perf_counter
from typing import Any

from preprocess.corpus import corpus_of_files
from preprocess.like import prepare_like
from scripts.lab.run.processes import call
from tiednmt.errors import UserError
from tiednmt.files import write_json, write_whole
from tiednmt.show import markdown, pictures
from tiednmt.show.figures import Axis, Chart, Picture, Point, Series, Table
from tiednmt.text.manifest import MANIFEST
from tiednmt.translation.evaluation import load_system
from tiednmt.translation.prepared import Prepared
from tiednmt.vocabulary import operations
from tiednmt.vocabulary.choices import STARTS, VECTORS
from tiednmt.vocabulary.extend import Start
from tiednmt.vocabulary.files import CHECKPOINT, read, write
from tiednmt.vocabulary.trim import trim as trimmed

ROUNDS = 5  # of timing, the two models alternating

Figures = dict[str, Any]


@dataclass(frozen=True)
class Trained:
    """A run of the lab: its folder has ``command.json`` and the checkpoints.

    Attributes:
        folder: of the run.
        data: the prepared corpus.
        out: where everything goes.
        further: options that each training takes in the place of those of the run.
    """

    folder: Path
    data: Path
    out: Path
    further: Sequence[str] = ()
    seed: int = field(default=1)

    @property
    def checkpoint(self) -> Path:
        """The best by validation."""
        return self.folder / "checkpoint_best.pt"

    def train(self, name: str, data: Path, updates: int, *options: str) -> Path:
        """Train with the run's options, but for these; the folder, which is kept if it is done."""
        folder = self.out / name
        if not (folder / "done").exists():
            shutil.rmtree(folder, ignore_errors=True)
            content = json.loads((self.folder / "command.json").read_text(encoding="utf-8"))
            command = list(map(str, content["command"]))
            command[1] = str(data)
            command += ["--max-update", str(updates), "--save-dir", str(folder)]
            command += ["--seed", str(self.seed), "--user-dir", "tiednmt"]
            folder.mkdir(parents=True)
            call([*command, *self.further, *options, "--log-file", str(folder / "train.log")])
            (folder / "done").touch()
        return folder

    def bleu(self, data: Path, subset: str, **checkpoints: Path) -> dict[str, float]:
        """BLEU by name."""
        path = self.out / f"scores-{'-'.join(checkpoints)}-{data.name}-{subset}.json"
        if not path.exists():
            systems = [f"{name}={checkpoint}" for name, checkpoint in checkpoints.items()]
            command = [sys.executable, "-m", "scripts.evaluate", *systems, "--data", str(data)]
            call([*command, "--subset", subset, "--json", str(path), "--cpu"])
        scored = json.loads(path.read_text(encoding="utf-8"))["subset"][subset]["systems"]
        return {system["name"]: system["bleu"]["score"] for system in scored}


def losses(folder: Path) -> dict[int, float]:
    """Validation NLL in bits per unit, by update, from fairseq's log."""
    found = {}
    for line in (folder / "train.log").read_text(encoding="utf-8").splitlines():
        start = line.find("{")
        if start >= 0 and '"valid_nll_loss"' in line:
            entry = json.loads(line[start:])
            found[int(entry["valid_num_updates"])] = float(entry["valid_nll_loss"])
    return found


# --- trim --------------------------------------------------------------------------------------


def trim(trained: Trained, subsets: Sequence[str]) -> Figures:
    """Trim to the source of test sets and the model's own output: translations, size, speed."""
    folder = trained.out / "trimmed"
    found = read(trained.checkpoint, trained.data)
    source = found.languages[0]
    texts = [trained.data / "raw" / f"{subset}.{source}" for subset in subsets]
    said: list[str] = []
    if not folder.exists():
        operations.trim_files(found, folder, texts, translate=True, say=said.append)
        write_json(trained.out / "trimmed-said.json", said)
    new = read(folder / CHECKPOINT)
    prepared = Prepared(trained.data), Prepared(folder)
    systems = [
        load_system(name, [path], data, cpu=True)
        for name, path, data in zip(
            ("before", "trimmed"), (trained.checkpoint, folder / CHECKPOINT), prepared, strict=True
        )
    ]
    lines = [line for subset in subsets for line in prepared[0].test_set(subset).source]
    seconds: list[list[float]] = [[], []]
    translations: list[list[str]] = [[], []]
    for _ in range(ROUNDS):
        for side, system in enumerate(systems):
            begun = perf_counter()
            translations[side] = system.translate(lines)
            seconds[side].append(perf_counter() - begun)
    same = sum(one == other for one, other in zip(*translations, strict=True))
    return {
        "lines": len(lines),
        "same": same,
        "rows": [len(found.model.target), len(new.model.target)],
        "parameters": [found.model.parameters, new.model.parameters],
        "bytes": [found.model.bytes, new.model.bytes],
        "sentences per second": [len(lines) / median(times) for times in seconds],
    }


# --- tie ---------------------------------------------------------------------------------------


def tie(trained: Trained, tied: Path, subset: str, updates: int, tying: str) -> Figures:
    """Tie a model that was trained with ``none``, then train it for some updates.

    ``tied``: a checkpoint that was trained tied from the beginning.
    """
    found = read(trained.checkpoint, trained.data)
    data_bin = Prepared(trained.data).data_bin
    checkpoints = {"none": trained.checkpoint, tying: tied}
    for origin in ("input", "output", "mean"):
        folder = trained.out / f"{tying}-{origin}"
        if not folder.exists():
            operations.tie_files(found, folder, tying, origin)
        checkpoints[f"from {origin}"] = folder / CHECKPOINT
        options = ("--tying", tying, "--finetune-from-model", str(folder / CHECKPOINT))
        run = trained.train(f"{tying}-{origin}-trained", data_bin, updates, *options)
        checkpoints[f"from {origin}, {updates} updates"] = run / "checkpoint_best.pt"
    # the same updates without a tie before, so that what they do by themselves is known
    options = ("--tying", "none", "--finetune-from-model", str(trained.checkpoint))
    run = trained.train("none-trained", data_bin, updates, *options)
    checkpoints[f"none, {updates} updates"] = run / "checkpoint_best.pt"
    return trained.bleu(trained.data, subset, **checkpoints)


# --- how a new row starts ----------------------------------------------------------------------


def starts(
    trained: Trained,
    merges: int,
    updates: Sequence[int],
    vectors: Path | None = None,
    rows_alone: bool = False,
) -> Figures:
    """Continue the merges of a model on its own target text; loss as the new rows are trained."""
    found = read(trained.checkpoint, trained.data)
    source, target = found.languages
    raw = {name: trained.data / "raw" / f"{name}.{target}" for name in ("train", "valid")}
    losses_of: Figures = {}
    for kind in STARTS:
        if kind == VECTORS and vectors is None:
            continue
        folder = trained.out / f"start-{kind}"
        start = operations.start_from(kind, vectors if kind == VECTORS else None, trained.seed)
        if not folder.exists():
            text = [raw["train"]]
            operations.extend_by_text(found, folder, text, start, merges, resegment=True)
        data = trained.out / f"data-{kind}"
        if not (data / MANIFEST).exists():
            texts = {
                name: {source: trained.data / "raw" / f"{name}.{source}", target: path}
                for name, path in raw.items()
            }
            prepare_like(folder, data, corpus_of_files("like", source, target, texts))
        curve: dict[int, float] = {}
        rows = f"{len(found.model.target)}:" if rows_alone else ""
        options = ["--finetune-from-model", str(folder / CHECKPOINT)]
        options += ["--train-rows", rows] if rows else []
        options += ["--validate-interval-updates", str(_step(updates))]
        longest = max(updates)
        curve[0] = _loss_before(trained, f"{kind}-0", data / "data-bin", options)
        run = trained.train(f"{kind}-trained", data / "data-bin", longest, *options)
        curve |= {n: loss for n, loss in losses(run).items() if n in updates}
        losses_of[kind] = curve
    return losses_of


def _step(updates: Sequence[int]) -> int:
    return math.gcd(*[number for number in updates if number])


def _loss_before(trained: Trained, name: str, data_bin: Path, options: Sequence[str]) -> float:
    """The validation loss of a model that nothing has been trained of yet: a rate of nothing."""
    still = ["--lr", "1e-30", "--warmup-updates", "0", "--lr-scheduler", "fixed"]
    run = trained.train(name, data_bin, 1, *options, *still)
    return next(iter(losses(run).values()))


# --- a further language ------------------------------------------------------------------------


def language(
    trained: Trained,
    texts: Mapping[str, tuple[Path, Path]],
    pair: tuple[str, str],
    merges: int,
    updates: tuple[int, int],
    test: str,
) -> Figures:
    """Extend a model by a target language; new rows alone, then whole; against from scratch.

    Args:
        trained: source → another target.
        texts: raw ``train``, ``valid`` and test sets of the further pair.
        pair: its languages.
        merges: further ones.
        updates: of the rows alone, and of the whole model.
        test: the set to score.
    """
    found = read(trained.checkpoint, trained.data)
    tag = f"<2{pair[1]}>"
    larger, tagged = trained.out / "larger", trained.out / "tagged"
    if not larger.exists():
        operations.extend_by_text(
            found, larger, [texts["train"][1]], Start(), merges, pair[1], pair
        )
    if not tagged.exists():
        with write_whole(trained.out / "tags.txt") as file:
            file.write(f"{tag}\n")
        operations.extend_by_symbols(
            read(larger / CHECKPOINT), tagged, trained.out / "tags.txt", Start()
        )
    data = trained.out / f"data-{pair[1]}"
    if not (data / MANIFEST).exists():
        files = {name: dict(zip(pair, paths, strict=True)) for name, paths in texts.items()}
        prepare_like(tagged, data, corpus_of_files("like", *pair, files), tag)
    rows = f"{len(found.model.target)}:"
    fine = ("--tying", found.model.tying, "--source-lang", pair[0], "--target-lang", pair[1])
    seed = trained.seed
    new_rows = trained.train(
        f"new-rows-{seed}", data / "data-bin", updates[0], *fine,
        *("--finetune-from-model", str(tagged / CHECKPOINT), "--train-rows", rows),
    )  # fmt: skip
    best = new_rows / "checkpoint_best.pt"
    whole = trained.train(
        f"whole-{seed}", data / "data-bin", updates[1], *fine, "--finetune-from-model", str(best)
    )
    scratch = trained.train(f"scratch-{seed}", data / "data-bin", sum(updates), *fine)
    checkpoints = {"new rows": best, "then whole": whole / "checkpoint_best.pt"}
    checkpoints["from scratch"] = scratch / "checkpoint_best.pt"
    # the old rows, back: bit for bit the model that was extended
    back = trained.out / f"back-{seed}"
    if not back.exists():
        _old_rows(best, found, back)
    old, new = found.model.weights, read(back / CHECKPOINT).model.weights
    unchanged = all((old[name] == new[name]).all() for name in old)
    return {
        "bleu": trained.bleu(data, test, **checkpoints),
        "old weights are the same bit for bit": bool(unchanged),
    }


def _old_rows(path: Path, found: Any, output: Path) -> None:
    """The model with the units that it had before it was extended, in its own folder."""
    larger = read(path)
    old = trimmed(larger.model, set(found.model.target.symbols))
    write(larger, old, output)


# --- tables and pictures -----------------------------------------------------------------------


def show(name: str, figures: Figures, out: Path) -> None:
    """Write the figures as JSON, a table, and a picture where they are curves."""
    write_json(out / f"{name}.json", figures)
    if name == "starts":
        updates = sorted({update for curve in figures.values() for update in curve})
        head = ["start of a new row", *(f"{update} updates" for update in updates)]
        rows = [
            [kind, *(f"{curve[u]:.3f}" if u in curve else "–" for u in updates)]
            for kind, curve in figures.items()
        ]
        chart = Chart(
            title="How a new row starts",
            description="validation NLL over updates, a line per start",
            x=Axis("updates"),
            y=Axis("validation NLL, bits per unit"),
            series=[
                Series(kind, look, [Point(update, loss) for update, loss in sorted(curve.items())])
                for look, (kind, curve) in enumerate(figures.items())
            ],
        )
        pictures.draw([Picture("starts", [chart])], out)
        table = Table(head, rows, caption="Validation NLL, bits per unit")
    else:
        flat = _flat(figures)
        table = Table(["figure", "value"], [[key, str(value)] for key, value in flat.items()])
    text = markdown.table(table)
    with write_whole(out / f"{name}.md") as file:
        file.write(text + "\n")
    print(text)


def _flat(figures: Mapping[str, Any], before: str = "") -> Figures:
    flat: Figures = {}
    for key, value in figures.items():
        if isinstance(value, Mapping):
            flat |= _flat(value, f"{before}{key}: ")
        elif isinstance(value, list):
            flat[before + key] = " → ".join(f"{v:,.4g}" if v % 1 else f"{v:,.0f}" for v in value)
        else:
            flat[before + key] = f"{value:,.2f}" if isinstance(value, float) else value
    return flat


def require_run(folder: Path) -> None:
    """Refuse what is no run of the lab."""
    for name in ("command.json", "checkpoint_best.pt"):
        if not (folder / name).is_file():
            raise UserError(
                f"{folder / name}: no such file; give the folder of a row of scripts.reproduce"
            )
