"""What vocabulary surgery costs and gains, measured on trained models.

Each function trains and scores with the commands that a user would run, and keeps its files in the
folder of the :class:`TrainedRun`: existing files are not made again, and those made with other
options are refused.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from statistics import median
from time import perf_counter
from typing import Any

import torch

from preprocess.corpus import corpus_of_files
from preprocess.like import prepare_like
from scripts.lab.trained_run import TrainedRun, losses
from tiednmt.files import write_json, write_whole
from tiednmt.seeds import mean_and_sd, over_seeds
from tiednmt.show import markdown, pictures
from tiednmt.show.figures import Axis, Chart, Picture, Point, Series, Table
from tiednmt.text.manifest import MANIFEST, RAW
from tiednmt.translation.evaluation import load_system
from tiednmt.translation.prepared import Prepared
from tiednmt.translation.translator import Translator
from tiednmt.vocabulary import operations
from tiednmt.vocabulary.choices import STARTS, VECTORS
from tiednmt.vocabulary.extend import Start
from tiednmt.vocabulary.files import CHECKPOINT, StoredModel, read, write
from tiednmt.vocabulary.trim import trim as trimmed

ROUNDS = 5  # of timing, the two models alternating
NEW_ROWS = "new rows"

Figures = dict[str, Any]


# --- trim --------------------------------------------------------------------------------------


def trim(trained: TrainedRun, subsets: Sequence[str]) -> Figures:
    """Trim to the units of test sources and of the model's output; compare outputs, size, speed."""
    stored = read(trained.checkpoint, trained.data)
    source = stored.languages[0]
    texts = [trained.data / RAW / f"{subset}.{source}" for subset in subsets]

    def make(folder: Path) -> None:
        messages: list[str] = []
        operations.trim_files(stored, folder, texts, translate=True, say=messages.append)
        write_json(trained.out / "trimmed-messages.json", messages)

    folder = trained.make("trimmed", make, *texts)
    new = read(folder / CHECKPOINT)
    prepared = Prepared(trained.data), Prepared(folder)
    lines = [line for subset in subsets for line in prepared[0].test_set(subset).source]
    with (
        load_system("before", [trained.checkpoint], prepared[0], cpu=True) as before,
        load_system("trimmed", [folder / CHECKPOINT], prepared[1], cpu=True) as after,
    ):
        translations, seconds = _translate_in_turn((before, after), lines)
    same = sum(one == other for one, other in zip(*translations, strict=True))
    return {
        "lines": len(lines),
        "same": same,
        "rows": [len(stored.model.target), len(new.model.target)],
        "parameters": [stored.model.parameters, new.model.parameters],
        "bytes": [stored.model.bytes, new.model.bytes],
        "sentences per second": [len(lines) / median(times) for times in seconds],
    }


def _translate_in_turn(
    systems: Sequence[Translator], lines: Sequence[str]
) -> tuple[list[list[str]], list[list[float]]]:
    """The translations of each system, and the seconds that it took in each round."""
    translations: list[list[str]] = [[] for _ in systems]
    seconds: list[list[float]] = [[] for _ in systems]
    for _ in range(ROUNDS):
        for side, system in enumerate(systems):
            begun = perf_counter()
            translations[side] = system.translate(lines)
            seconds[side].append(perf_counter() - begun)
    return translations, seconds


# --- tie ---------------------------------------------------------------------------------------


def tie(trained: TrainedRun, tied: Path, subset: str, updates: int, tying: str) -> Figures:
    """Tie a model that was trained with ``none``, then train it for some updates.

    ``tied``: a checkpoint that was trained tied from the beginning.
    """
    stored = read(trained.checkpoint, trained.data)
    data_bin = Prepared(trained.data).data_bin
    checkpoints = {"none": trained.checkpoint, tying: tied}
    for origin in ("input", "output", "mean"):
        tie_from = partial(operations.tie_files, stored, tying=tying, origin=origin)
        folder = trained.make(f"{tying}-{origin}", tie_from)
        checkpoints[f"from {origin}"] = folder / CHECKPOINT
        options = ("--tying", tying, "--finetune-from-model", str(folder / CHECKPOINT))
        run = trained.train(f"{tying}-{origin}-trained", data_bin, updates, *options)
        checkpoints[f"from {origin}, {updates} updates"] = run.best
    # as many updates without tying, since they have an effect of their own
    options = ("--tying", "none", "--finetune-from-model", str(trained.checkpoint))
    run = trained.train("none-trained", data_bin, updates, *options)
    checkpoints[f"none, {updates} updates"] = run.best
    return trained.bleu(trained.data, subset, **checkpoints)


# --- how a new row starts ----------------------------------------------------------------------


def starts(
    trained: TrainedRun,
    merges: int,
    updates: Sequence[int],
    vectors: Path | None = None,
    rows_alone: bool = False,
) -> Figures:
    """Learn further merges from the model's own target text; NLL per way to start new rows."""
    stored = read(trained.checkpoint, trained.data)
    losses_of: Figures = {}
    for kind in STARTS:
        if kind == VECTORS and vectors is None:
            continue
        folder, data = _extended_by_merges(trained, stored, kind, vectors, merges)
        fine = ["--finetune-from-model", str(folder / CHECKPOINT)]
        fine += ["--train-rows", f"{len(stored.model.target)}:"] if rows_alone else []
        fine += ["--validate-interval-updates", str(_step(updates))]
        before = _loss_before(trained, f"{kind}-0", data / "data-bin", fine)
        run = trained.train(f"{kind}-trained", data / "data-bin", max(updates), *fine)
        losses_of[kind] = {0: before} | {n: nll for n, nll in losses(run).items() if n in updates}
    return losses_of


def _extended_by_merges(
    trained: TrainedRun, stored: StoredModel, kind: str, vectors: Path | None, merges: int
) -> tuple[Path, Path]:
    """The folder of the extended model, and the row's corpus prepared in its units."""
    source, target = stored.languages
    raw = {name: trained.data / RAW / f"{name}.{target}" for name in ("train", "valid")}
    vectors = vectors if kind == VECTORS else None
    start = operations.start_from(kind, vectors, trained.seed)
    extend = partial(
        operations.extend_by_text,
        stored, texts=[raw["train"]], start=start, merges=merges, resegment=True,
    )  # fmt: skip
    options: list[object] = [vectors, trained.seed, merges]
    folder = trained.make(f"start-{kind}", extend, *options)
    texts = {
        name: {source: trained.data / RAW / f"{name}.{source}", target: path}
        for name, path in raw.items()
    }
    like = partial(prepare_like, folder, corpus=corpus_of_files("like", source, target, texts))
    return folder, trained.make(f"data-{kind}", like, *options, whole=MANIFEST)


def _step(updates: Sequence[int]) -> int:
    return math.gcd(*[number for number in updates if number])


def _loss_before(trained: TrainedRun, name: str, data_bin: Path, options: Sequence[str]) -> float:
    """The validation loss before training: after one update with a learning rate of almost 0."""
    still = ["--lr", "1e-30", "--warmup-updates", "0", "--lr-scheduler", "fixed"]
    run = trained.train(name, data_bin, 1, *options, *still)
    return next(iter(losses(run).values()))


# --- a further language ------------------------------------------------------------------------


def language(
    trained: TrainedRun,
    texts: Mapping[str, tuple[Path, Path]],
    pair: tuple[str, str],
    merges: int,
    updates: tuple[int, int],
    test: str,
    seeds: int = 1,
) -> Figures:
    """Extend a model by a target language: train the new rows, then the whole model.

    A model trained from scratch for as many updates is the comparison.

    Args:
        trained: source → another target.
        texts: raw ``train``, ``valid`` and test sets of the further pair.
        pair: its languages.
        merges: number of further merges.
        updates: of the new rows alone, then of the whole model.
        test: the set to score.
        seeds: each training is repeated with the seeds 1 to this.
    """
    stored = read(trained.checkpoint, trained.data)
    extended, data = _extended_by_language(trained, stored, texts, pair, merges)
    scores: dict[str, dict[str, float]] = {}
    unchanged = True
    for seed in range(1, seeds + 1):
        seeded = replace(trained, seed=seed)
        checkpoints = _train_language(seeded, stored, extended / CHECKPOINT, data, pair, updates)
        for name, score in seeded.bleu(data, test, **checkpoints).items():
            scores.setdefault(name, {})[f"seed {seed}"] = score
        unchanged &= _is_unchanged(seeded, stored, checkpoints[NEW_ROWS])
    means = {name: mean_and_sd(over_seeds([*of.values()]), 2) for name, of in scores.items()}
    return {
        "BLEU": {name: {"mean": means[name], **of} for name, of in scores.items()},
        "old weights are the same bit for bit": unchanged,
    }


def _extended_by_language(
    trained: TrainedRun,
    stored: StoredModel,
    texts: Mapping[str, tuple[Path, Path]],
    pair: tuple[str, str],
    merges: int,
) -> tuple[Path, Path]:
    """The folder of the model with the new units, and the further pair prepared in its units.

    A unit of the new language, ``<2cs>`` for Czech, stands before each source sentence.
    """
    tag = f"<2{pair[1]}>"
    options = (merges, *pair, *(path for paths in texts.values() for path in paths))
    extend = partial(
        operations.extend_by_text,
        stored, texts=[texts["train"][1]], start=Start(), merges=merges, language=pair[1],
        pair=pair,
    )  # fmt: skip
    larger = trained.make("larger", extend, *options)

    def add_tag(folder: Path) -> None:
        tags = trained.out / "tags.txt"
        with write_whole(tags) as file:
            file.write(f"{tag}\n")
        operations.extend_by_symbols(read(larger / CHECKPOINT), folder, tags, Start())

    tagged = trained.make("tagged", add_tag, *options)
    files = {name: dict(zip(pair, paths, strict=True)) for name, paths in texts.items()}
    corpus = corpus_of_files("like", *pair, files)
    like = partial(prepare_like, tagged, corpus=corpus, tag=tag)
    return tagged, trained.make(f"data-{pair[1]}", like, *options, whole=MANIFEST)


def _train_language(
    trained: TrainedRun,
    stored: StoredModel,
    extended: Path,
    data: Path,
    pair: tuple[str, str],
    updates: tuple[int, int],
) -> dict[str, Path]:
    """The best checkpoints of the new rows, of the whole model after them, and from scratch."""
    seed, data_bin = trained.seed, data / "data-bin"
    options = ("--tying", stored.model.tying, "--source-lang", pair[0], "--target-lang", pair[1])
    rows = trained.train(
        f"new-rows-{seed}", data_bin, updates[0], *options,
        *("--finetune-from-model", str(extended), "--train-rows", f"{len(stored.model.target)}:"),
    )  # fmt: skip
    whole = trained.train(
        f"whole-{seed}", data_bin, updates[1], *options, "--finetune-from-model", str(rows.best)
    )
    scratch = trained.train(f"scratch-{seed}", data_bin, sum(updates), *options)
    return {NEW_ROWS: rows.best, "then whole": whole.best, "from scratch": scratch.best}


def _is_unchanged(trained: TrainedRun, stored: StoredModel, new_rows: Path) -> bool:
    """Whether the old rows alone are the model that was extended, bit for bit."""

    def reduce(folder: Path) -> None:
        larger = read(new_rows)
        write(larger, trimmed(larger.model, set(stored.model.target.symbols)), folder)

    back = trained.make(f"back-{trained.seed}", reduce, new_rows.stat().st_mtime_ns)
    old, new = stored.model.weights, read(back / CHECKPOINT).model.weights
    return all(torch.equal(old[name], new[name]) for name in old)


# --- tables and pictures -----------------------------------------------------------------------


def show(name: str, figures: Figures, out: Path) -> None:
    """Write the figures as JSON and as a table, and curves also as a picture."""
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
