"""The table of all kinds of experiment.

A new kind is a module that defines a :class:`~scripts.lab.kinds.kind.Kind`, and a line here.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from scripts.lab.kinds import benchmark, embeddings, language_model, projection_search, translation
from scripts.lab.kinds.kind import Kind

KINDS: Mapping[str, Kind[Any]] = {
    "translation": translation.KIND,
    "tied_language_modeling": language_model.KIND,
    "first-updates": language_model.FIRST_UPDATES,
    "embeddings": embeddings.KIND,
    "skip-gram": embeddings.SKIP_GRAM,
    "projection-search": projection_search.KIND,
    "benchmark": benchmark.KIND,
}
