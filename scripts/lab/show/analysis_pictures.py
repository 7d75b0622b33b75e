"""The pictures of an analysis, as PNG and SVG."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from warnings import catch_warnings, simplefilter

import numpy as np
from matplotlib import color_sequences, rc_context, rcParams
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.font_manager import fontManager
from matplotlib.transforms import Bbox

from scripts.lab.score.systems import file_name
from scripts.lab.show.pictures import save

LABELLED_WORDS = 80  # of a map; the rest are points alone

Record = Mapping[str, Any]


def plot(record: Record, out: Path) -> None:
    """Draw all pictures of ``analysis.json`` in the folder ``out``.

    Words in scripts that the default font lacks are drawn with an installed Noto Sans.
    """
    with (
        rc_context({"font.family": [*rcParams["font.family"], *_noto()]}),
        catch_warnings(record=True) as caught,
    ):
        simplefilter("always")
        _plot(record, out)
    messages = dict.fromkeys(str(warning.message) for warning in caught)
    missing = [message for message in messages if message.startswith("Glyph")]
    for message in messages:
        if message not in missing:
            print(f"warning: {message}", file=sys.stderr)
    if missing:
        print(
            f"warning: {len(missing)} characters have no font here and are drawn as boxes; install "
            "Noto Sans for their script, and remove matplotlib's cache of fonts",
            file=sys.stderr,
        )


def _noto() -> list[str]:
    names = {font.name for font in fontManager.ttflist}
    return sorted(name for name in names if name.startswith("Noto Sans"))


def _plot(record: Record, out: Path) -> None:
    if any(found["by"] for found in record["similarity"].values()):
        plot_similarity(record["similarity"], out / "word-similarity")
    if record["likeness"]:
        plot_likeness(record["likeness"]["by"], out / "likeness")
    _plot_norms(record["checkpoints"], out / "norms")
    for checkpoint in record["checkpoints"]:
        name = file_name(checkpoint["name"])
        _plot_map(checkpoint, out / f"map-{name}")
        if checkpoint["row_movement"]:
            _plot_row_movement(checkpoint, out / f"row-movement-{name}")
        for number, sentence in enumerate(checkpoint["attention"], start=1):
            _plot_attention(sentence, out / f"attention-{name}-{number}")


def plot_similarity(similarity: Mapping[str, Any], path: Path) -> None:
    """ρ by set, a bar an embedding."""
    names = list(dict.fromkeys(name for found in similarity.values() for name in found["by"]))
    figure = Figure(figsize=(3 + 1.3 * len(similarity), 4), layout="constrained")
    axes = figure.subplots()
    _tell_apart(axes, len(names))
    width = 0.8 / max(1, len(names))
    for i, name in enumerate(names):
        heights = [(found["by"].get(name) or {}).get("rho") or 0 for found in similarity.values()]
        places = np.arange(len(similarity)) + (i - (len(names) - 1) / 2) * width
        axes.bar(places, heights, width, label=name)
    labels = [
        f"{pairs}\n{max((one['covered'] for one in found['by'].values()), default=0):,}"
        f" of {found['pairs']:,}"
        for pairs, found in similarity.items()
    ]
    axes.set_xticks(range(len(labels)), labels, fontsize="small")
    axes.axhline(0, color="black", linewidth=0.8)
    axes.set(title="Word similarity", ylabel="Spearman's ρ with human scores")
    _legend(axes)
    save(figure, path)


def plot_likeness(pairs: Sequence[Record], path: Path) -> None:
    """ρ of every two embeddings, as a grid."""
    names = list(dict.fromkeys(name for found in pairs for name in found["of"]))
    grid = np.eye(len(names))
    for found in pairs:
        i, j = map(names.index, found["of"])
        grid[i, j] = grid[j, i] = np.nan if found["rho"] is None else found["rho"]
    side = 2 + 0.7 * len(names)
    figure = Figure(figsize=(side + 1, side), layout="constrained")
    axes = figure.subplots()
    image = axes.imshow(grid, vmin=min(0, np.nanmin(grid)), vmax=1, cmap="viridis")
    axes.set_xticks(range(len(names)), names, rotation=45, ha="right", rotation_mode="anchor")
    axes.set_yticks(range(len(names)), names)
    for (i, j), value in np.ndenumerate(grid):
        shade = "black" if value > 0.6 else "white"
        text = (
            "–" if np.isnan(value) else f"{round(value, 2) + 0.0:.2f}".replace("-", "−")
        )  # no −0.00
        axes.text(j, i, text, ha="center", va="center", color=shade)
    axes.set(title="Likeness of embeddings (ρ of cosines)")
    figure.colorbar(image, shrink=0.8)
    save(figure, path)


def _plot_norms(checkpoints: Sequence[Record], path: Path) -> None:
    figure = Figure(figsize=(7.5, 4), layout="constrained")
    axes = figure.subplots()
    _tell_apart(axes, sum(len(checkpoint["matrices"]) for checkpoint in checkpoints))
    for checkpoint in checkpoints:
        for name, matrix in checkpoint["matrices"].items():
            means = [band["mean"] for band in matrix["norms"]]
            axes.plot(_labels(matrix["norms"]), means, "o-", label=f"{checkpoint['name']} {name}")
    axes.set(title="Norms by frequency", xlabel="frequency rank", ylabel="mean norm of a row")
    axes.set_ylim(bottom=0)
    _legend(axes)
    save(figure, path)


def _plot_map(checkpoint: Record, path: Path) -> None:
    matrices = checkpoint["matrices"]
    figure = Figure(figsize=(6 * len(matrices), 6), layout="constrained")
    panels = figure.subplots(1, len(matrices), squeeze=False)[0]
    for axes, (name, matrix) in zip(panels, matrices.items(), strict=True):
        points = np.array(matrix["map"]["points"])
        axes.scatter(points[:, 0], points[:, 1], s=4, color="C0", alpha=0.5)
        axes.set(title=name, xticks=[], yticks=[])
    method = matrices[next(iter(matrices))]["map"]["method"].upper()
    figure.suptitle(f"{checkpoint['name']}: the most frequent words ({method})")
    figure.draw_without_rendering()  # from here on points have a place on paper
    for axes, matrix in zip(panels, matrices.values(), strict=True):
        _label_points(axes, matrix["map"]["words"], matrix["map"]["points"])
    save(figure, path)


def _label_points(axes: Axes, words: Sequence[str], points: Sequence[Sequence[float]]) -> None:
    """The first words, but for those whose label would lie on one that is there."""
    labels: list[Bbox] = []
    for word, point in zip(words[:LABELLED_WORDS], points[:LABELLED_WORDS], strict=True):
        label = axes.annotate(_plain(word), (point[0], point[1]), fontsize=7)
        box = label.get_window_extent()
        if any(box.overlaps(other) for other in labels):
            label.remove()
        else:
            labels.append(box)


def _plot_row_movement(checkpoint: Record, path: Path) -> None:
    movement = checkpoint["row_movement"]
    figure = Figure(figsize=(10, 4), layout="constrained")
    shares, distances = figure.subplots(1, 2)
    for name, bands in movement["matrices"].items():
        labels = _labels(bands)
        shares.plot(labels, [100 * band["moved"] / band["rows"] for band in bands], "o-")
        distances.plot(labels, [band["distance"] for band in bands], "o-", label=name)
    shares.set(title="Rows that an update moves", ylabel="% of the band")
    shares.set_ylim(-3, 103)
    distances.set(title="How far", ylabel="mean distance a row and update", yscale="log")
    for axes in (shares, distances):
        axes.set_xlabel("frequency rank")
    distances.legend(frameon=False)
    figure.suptitle(f"{checkpoint['name']}: {movement['updates']:,} updates measured")
    save(figure, path)


def _plot_attention(sentence: Record, path: Path) -> None:
    source, target = sentence["source"], sentence["target"]
    figure = Figure(figsize=(2 + 0.4 * len(source), 1.5 + 0.35 * len(target)), layout="constrained")
    axes = figure.subplots()
    image = axes.imshow(np.array(sentence["weights"]), vmin=0, vmax=1, cmap="Greys", aspect="auto")
    read, written = zip(*((s, t) for t, s in sentence["alignment"]), strict=True)
    axes.scatter(read, written, s=9, color="C1", label="greatest of the row (alignment)")
    axes.set_xticks(range(len(source)), map(_plain, source), rotation=45, ha="left")
    axes.set_yticks(range(len(target)), map(_plain, target))
    axes.xaxis.tick_top()
    figure.legend(loc="outside lower center", frameon=False, fontsize="small")
    figure.colorbar(image, label="attention", shrink=0.8)
    save(figure, path)


def _tell_apart(axes: Axes, count: int) -> None:
    """A colour each for so many bars or lines, as far as there are colours to tell apart."""
    axes.set_prop_cycle(color=color_sequences["tab10" if count <= 10 else "tab20"])


def _legend(axes: Axes) -> None:
    """Beside the axes, where it hides nothing."""
    axes.legend(frameon=False, loc="center left", bbox_to_anchor=(1, 0.5))


def _labels(bands: Sequence[Record]) -> list[str]:
    return ["{:,}–{:,}".format(*band["ranks"]) for band in bands]


def _plain(word: str) -> str:
    """A word that matplotlib does not take for a formula."""
    return word.replace("$", r"\$")
