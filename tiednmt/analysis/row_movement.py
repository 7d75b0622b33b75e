"""What ``--measure-rows`` of the criterion wrote during a training run, averaged over updates."""

from __future__ import annotations

import json
from pathlib import Path
from statistics import fmean
from typing import Any

from tiednmt.criterions.row_movement import FILE
from tiednmt.errors import UserError


def read_row_movement(folder: Path) -> dict[str, Any] | None:
    """The averages over all measured updates; None where nothing was measured.

    Returns:
        ``updates`` (how many were measured) and ``matrices``: by name a list over bands of
        frequency ranks of ``ranks`` (first and last), ``rows``, ``moved`` (rows an update) and
        ``distance`` (mean Euclidean distance a row and update).

    Raises:
        UserError: the file is damaged.
    """
    path = folder / FILE
    if not path.is_file():
        return None
    records = []
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
        try:
            records.append(json.loads(line)["matrices"])
        except (ValueError, KeyError, TypeError):
            raise UserError(f"{path}, line {number}: damaged; remove the line") from None
    if not records:
        return None
    bands = {name: zip(*(r[name] for r in records), strict=True) for name in records[0]}
    return {
        "updates": len(records),
        "matrices": {name: [_mean(band) for band in found] for name, found in bands.items()},
    }


def _mean(band: tuple[dict[str, Any], ...]) -> dict[str, Any]:
    first, last = band[0]["ranks"]
    return {
        "ranks": [first, last],
        "rows": last - first + 1,
        "moved": fmean(update["moved"] for update in band),
        "distance": fmean(update["distance"] for update in band),
    }
