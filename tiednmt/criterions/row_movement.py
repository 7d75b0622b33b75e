"""How many rows of each embedding matrix an update moves, and how far, by word frequency.

Press & Wolf (2017, section 3) argue from this: an update moves every row of the output embedding,
but only the rows of the input embedding whose words were read.
"""

from __future__ import annotations

import math
from pathlib import Path
from statistics import fmean
from typing import Any

import torch
from fairseq.data import Dictionary
from torch import Tensor

from tiednmt.criterions.measurements import Measurements, read_measurements
from tiednmt.frequency import bands, frequency_order
from tiednmt.tying import SOURCE_INPUT, Embeddings, matrices

FILE = "row-movement.jsonl"


class RowMovement:
    """Compares the matrices before and after one of every N updates.

    For each measured update, a line of JSON is appended to ``folder/row-movement.jsonl``:
    ``update``, the number of updates including it, and ``matrices``. These have for each matrix, by
    name, a list over bands of frequency ranks: ``ranks`` (first and last), ``moved`` (how many rows
    changed in any value) and ``distance`` (mean Euclidean distance over all rows of the band).

    Args:
        every: N: an update is measured when the number of updates before it is a multiple of N.
        folder: where the file goes.
        source: the source dictionary.
        target: the target dictionary; in a language model, the same one.
    """

    def __init__(self, every: int, folder: Path, source: Dictionary, target: Dictionary) -> None:
        self.every = every
        self._measurements = Measurements(folder / FILE)
        self._orders = [torch.from_numpy(frequency_order(d)) for d in (source, target)]
        self._update = -1  # how many updates there were when the copies below were made
        self._before: dict[tuple[str, ...], Tensor] = {}

    def observe(self, update: int, embeddings: Embeddings) -> None:
        """To be called before each batch and after each update, with the number made so far."""
        if update == self._update:  # another batch of the same update
            return
        self._measurements.begin(update + 1)
        now = {names: weight.detach() for names, weight in matrices(embeddings).items()}
        if self._before and update == self._update + 1:
            self._write(update, now)
        self._before = {}
        if update % self.every == 0:
            self._update = update
            self._before = {names: weight.clone() for names, weight in now.items()}

    def _write(self, update: int, now: dict[tuple[str, ...], Tensor]) -> None:
        measured = {
            " = ".join(names): self._by_band(names, weight.float() - self._before[names].float())
            for names, weight in now.items()
        }
        self._measurements.append({"update": update, "matrices": measured})

    def _by_band(self, names: tuple[str, ...], change: Tensor) -> list[dict[str, Any]]:
        order = self._orders[0 if SOURCE_INPUT in names else 1].to(change.device)
        distances, moved = change.norm(dim=1)[order], change.ne(0).any(dim=1)[order]
        return [
            {
                "ranks": [first, last],
                "moved": int(moved[first - 1 : last].sum()),
                "distance": float(distances[first - 1 : last].mean()),
            }
            for first, last in bands(len(order))
        ]


def read_row_movement(folder: Path) -> dict[str, Any] | None:
    """The averages over all measured updates; None if nothing was measured.

    Returns:
        ``updates`` (how many were measured) and ``matrices``: for each matrix, by name, a list over
        bands of frequency ranks with ``ranks`` (first and last), ``rows`` (how many), ``moved``
        (rows per update) and ``distance`` (mean Euclidean distance per row and update).

    Raises:
        UserError: the file is damaged.
    """
    records = [record["matrices"] for record in read_measurements(folder / FILE, _shape)]
    if not records:
        return None
    bands = {name: zip(*(r[name] for r in records), strict=True) for name in records[0]}
    return {
        "updates": len(records),
        "matrices": {name: [_mean(band) for band in of_name] for name, of_name in bands.items()},
    }


def _shape(record: dict[str, Any]) -> dict[str, list[Any]]:
    """The bands of each matrix in a line, for :func:`read_measurements`."""
    shape = {}
    for name, of_name in record["matrices"].items():
        for band in of_name:
            first, last = band["ranks"]
            if not (1 <= int(first) <= int(last) and int(band["moved"]) >= 0):
                raise ValueError
            if not math.isfinite(band["distance"]):
                raise ValueError
        shape[name] = [band["ranks"] for band in of_name]
    return shape


def _mean(band: tuple[dict[str, Any], ...]) -> dict[str, Any]:
    first, last = band[0]["ranks"]
    return {
        "ranks": [first, last],
        "rows": last - first + 1,
        "moved": fmean(update["moved"] for update in band),
        "distance": fmean(update["distance"] for update in band),
    }
