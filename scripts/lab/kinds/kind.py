"""What every kind of experiment defines."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Generic, Protocol, TypeVar

from scripts.lab.records.schema import Record, TrainedRow
from scripts.lab.run.training import Run
from tiednmt.show.figures import Figures

R = TypeVar("R", bound=Record)


@dataclass(frozen=True)
class Trained:
    """An experiment whose models are trained.

    ``rows`` are not yet scored; ``runs`` holds per row one run per seed, in order.
    """

    rows: Sequence[TrainedRow]
    runs: Mapping[str, Sequence[Run]]
    data: Path  # the prepared corpus
    out: Path  # the folder of the experiment
    seeds: Sequence[int]
    jobs: int  # processes in parallel


class Scoring(Protocol):
    """How the experiments of a kind are scored: a dataclass of the settings in their files."""

    packages: ClassVar[Sequence[str]]  # that the scores depend on, beside those of every record
    measures_similarity: ClassVar[bool]  # whether ``out/wordsim`` is to hold the sets

    def score(self, trained: Trained) -> Mapping[str, Any]:
        """Score the models; returns the fields that only records of this kind have."""


@dataclass(frozen=True)
class Kind(Generic[R]):
    """A kind of experiment: its record, how it is scored, what its figures are, how records join.

    ``scoring`` is None if the experiment has a command of its own. ``task`` is the task of
    fairseq that its rows are trained for, or a parent of it; None if fairseq trains nothing.
    """

    record: type[R]
    figures: Callable[[R], Figures]
    join: Callable[[R, R], R]  # of what was kept and what is new; raises UserError
    scoring: Callable[..., Scoring] | None = None
    task: str | None = None
