"""What ``--measure-gradients`` left in the folder of a training, as records hold it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from scripts.lab.records.gradients import BandNorms, GradientShares, UseGradients
from tiednmt.criterions.gradient_shares import read_gradient_shares

DIGITS = 4  # of a figure that are kept


def gradient_shares_in(folder: Path) -> GradientShares | None:
    """Those of the training that is saved in ``folder``; None where nothing was measured.

    Raises:
        UserError: the file is damaged.
    """
    records = read_gradient_shares(folder)
    if not records:
        return None
    last = records[-1]
    return GradientShares(
        updates=[record["update"] for record in records],
        uses={use: _use([record["uses"][use] for record in records]) for use in last["uses"]},
        cosines={
            pair: [round(record["cosines"][pair], DIGITS) for record in records]
            for pair in last["cosines"]
        },
        rows=last.get("rows"),
    )


def _use(measured: Sequence[Mapping[str, Any]]) -> UseGradients:
    bands = zip(*(one["bands"] for one in measured), strict=True)
    sides = measured[-1].get("sides", {}).keys()
    told = sides and all(one.get("sides", {}).keys() == sides for one in measured)
    return UseGradients(
        norms=[_short(one["norm"]) for one in measured],
        bands=[
            BandNorms(
                ranks=(band[0]["ranks"][0], band[0]["ranks"][1]),
                norms=[_short(one["norm"]) for one in band],
            )
            for band in bands
        ],
        sides={side: [_short(one["sides"][side]) for one in measured] for side in sides}
        if told
        else None,
    )


def _short(value: float) -> float:
    return float(f"{value:.{DIGITS}g}")
