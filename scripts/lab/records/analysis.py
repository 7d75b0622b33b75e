"""The record of ``python -m scripts.analyse``, in the file ``analysis.json``.

::

    {"format": 1,
     "checkpoints": [{
        "name", "path", "architecture",           # null in word vectors: architecture, tie_map
        "tie_map": {"groups": [{"names": […], "types", "dim", "parameters", "bytes"}],
                    "others": {name: parameters}, "total", "untied_total",
                    "bytes_per_parameter"},       # of the embeddings as stored
        "vocabulary": {"source_only", "target_only", "both"} or null,   # types
        "subwords": true | false,                 # words are the means of their units' rows
        "matrices": {"U": {"words", "dim",
                           "norms": [{"ranks": [first, last], "mean"}],      # by frequency
                           "neighbours": {word: [[word, cosine], …]},
                           "map": {"method", "words": […], "points": [[x, y], …]}}},
        "row_movement": {"updates", "matrices": {name: [{"ranks", "rows", "moved", "distance"}]}}
                        or null,                  # of the training run, where it was measured
        "attention": [{"source": […], "target": […], "weights": [[…]],     # target × source
                       "alignment": [[target, source], …]}]}],
     "similarity": {set: {"pairs", "by": {"CHECKPOINT U": {"rho" or null, "covered"}}}},
     "likeness": {"words", "pairs", "exact",          # of every two embeddings
                  "by": [{"of": ["CHECKPOINT U", "CHECKPOINT V"], "rho" or null, "error"}]} or null,
     "versions": {package: version}}
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from preprocess.files import write_json
from scripts.lab.records.shapes import NUMBER, Each, Filled, Maybe, fault, read_json
from tiednmt.errors import UserError

FILE = "analysis.json"
FORMAT = 1

Analysis = Mapping[str, Any]

RANKS = (int, int)
CHECKPOINT = {
    "name": str,
    "architecture": Maybe(str),
    "tie_map": Maybe(
        {
            "groups": Filled({"names": Filled(str), "types": int, "dim": int}),
            "others": Each(int),
            "bytes_per_parameter": int,
        }
    ),
    "vocabulary": Maybe(Each(int)),
    "subwords": bool,
    "matrices": Each(
        {
            "norms": Filled({"ranks": RANKS, "mean": NUMBER}),
            "neighbours": Each([(str, NUMBER)]),
            "map": {"method": str, "words": [str], "points": [(NUMBER, NUMBER)]},
        }
    ),
    "row_movement": Maybe(
        {
            "updates": int,
            "matrices": Each(
                Filled({"ranks": RANKS, "rows": NUMBER, "moved": NUMBER, "distance": NUMBER})
            ),
        }
    ),
    "attention": [
        {
            "source": Filled(str),
            "target": Filled(str),
            "weights": Filled(Filled(NUMBER)),
            "alignment": [(int, int)],
        }
    ],
}
SHAPE = {
    "format": int,
    "checkpoints": Filled(CHECKPOINT),
    "similarity": Each({"pairs": int, "by": Each({"rho": NUMBER | None, "covered": int})}),
    "likeness": Maybe(
        {
            "words": int,
            "pairs": int,
            "exact": bool,
            "by": Filled({"of": (str, str), "rho": NUMBER | None, "error": NUMBER}),
        }
    ),
    "versions": Each(str),
}


def read_analysis(path: Path) -> Analysis:
    """The analysis in ``path``.

    Raises:
        UserError: it is damaged, or of another version.
    """
    analysis = read_json(path)
    wrong = fault(analysis, SHAPE)
    if not wrong and analysis["format"] != FORMAT:
        wrong = f"format is {analysis['format']}, not {FORMAT}"
    if wrong:
        raise UserError(
            f"{path}: {wrong}, so it is damaged or of another version; "
            "run python -m scripts.analyse again"
        )
    return analysis


def write_analysis(path: Path, analysis: Analysis) -> None:
    """Write it, whole or not at all.

    Raises:
        ValueError: it is none, which is a fault of the code that made it.
    """
    wrong = fault(json.loads(json.dumps(analysis)), SHAPE)  # as it will be read
    if wrong:
        raise ValueError(f"an analysis whose {wrong}")
    write_json(path, analysis)
