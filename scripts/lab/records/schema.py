"""What a record holds, by kind.

A record is written by what measured its figures and read by everything that shows them; both go
through :mod:`scripts.lab.store`, which checks every field. A change of these classes that makes
old records unreadable raises :data:`FORMAT`, and comes with a conversion of these records.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from tiednmt.embeddings.gradients import GradientShares
from tiednmt.seeds import SeedStatistics
from tiednmt.translation.significance import RunScore
from tiednmt.typed import Fault

FORMAT = 1

Setting = str | bool | int | float | Sequence[str | bool | int | float] | None
Recipe = Mapping[str, Mapping[str, Setting]]


@dataclass(frozen=True, kw_only=True)
class Machine:
    """Where figures were measured.

    Attributes:
        device: ``CPU``, or the name of a GPU.
        processor: the name of the CPU.
        cores: how many it has.
        threads_per_run: of each process.
        runs_side_by_side: how many processes ran in parallel.
        python: the version of Python.
    """

    device: str
    processor: str
    cores: int
    threads_per_run: int
    runs_side_by_side: int
    python: str


@dataclass(frozen=True, kw_only=True)
class Provenance:
    """What it takes to measure figures again.

    Attributes:
        machine: where they were measured.
        versions: of the packages that they depend on.
        command: the command line that measures them.
    """

    machine: Machine
    versions: Mapping[str, str]
    command: str


@dataclass(frozen=True, kw_only=True)
class Record(Provenance):
    """What every kind of record holds.

    Attributes:
        kind: a key of ``KINDS`` in ``scripts.lab.kinds``.
        experiment: the name of its file in ``results/``.
        title: what the figures are of.
    """

    kind: str
    experiment: str
    title: str


# --- trained models ----------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class Validation:
    """The validation loss, ``nll`` in nats per token, after an ``update`` of an ``epoch``."""

    update: int
    epoch: int
    nll: float


@dataclass(frozen=True, kw_only=True)
class TrainedRow:
    """A model trained with each of several seeds; sizes and command are the first seed's.

    Attributes:
        name: of the row.
        parameters: how many the model has.
        checkpoint_bytes: the weights in a checkpoint.
        updates: of the training.
        epochs: of the training.
        training_seconds: mean over the seeds.
        seeds: in the order of their scores.
        recipe: all of fairseq's settings except the seed.
        training_command: the same as a command line of ``fairseq-train``.
        input_scales: learned scales at the end of training, by the use they belong to.
        averaged: how many of the last checkpoints are averaged for scoring; 0: the checkpoint with
            the lowest validation loss is scored.
        teachers: rows whose translations it was trained on too (knowledge distillation).
    """

    name: str
    parameters: int
    checkpoint_bytes: int
    updates: int
    epochs: int
    training_seconds: float
    seeds: Sequence[int]
    recipe: Recipe
    training_command: str
    input_scales: Mapping[str, SeedStatistics] | None = None
    averaged: int = 0
    teachers: Sequence[str] = ()

    def __post_init__(self) -> None:
        _require_some(self.seeds, "seeds")


@dataclass(frozen=True, kw_only=True)
class ExperimentRecord(Record):
    """Models that were trained and compared.

    Attributes:
        rows: the models.
        curves: for each row, the validations of each seed.
        gradients: for each row that was trained with ``--measure-gradients``, what it measured with
            each seed.
    """

    rows: Sequence[TrainedRow]
    curves: Mapping[str, Sequence[Sequence[Validation]]]
    gradients: Mapping[str, Sequence[GradientShares]] | None = None

    def __post_init__(self) -> None:
        names = self.row_names
        if len(set(names)) < len(names):
            raise Fault("two rows have one name")
        if [*self.curves] != names:
            raise Fault("its curves are not those of its rows")
        gradients = self.gradients or {}
        if unknown := sorted(gradients.keys() - names):
            raise Fault(f"has gradients of {', '.join(unknown)}, which is none of its rows")
        for row in self.rows:
            if len(gradients.get(row.name, row.seeds)) != len(row.seeds):
                raise Fault("are not one per seed", f"gradients.{row.name}")
            curves = self.curves[row.name]
            for i, points in enumerate(curves):
                _require_some(points, f"curves.{row.name}[{i}]")
            if len(curves) != len(row.seeds):
                raise Fault("does not have one curve per seed", f"curves.{row.name}")

    @property
    def row_names(self) -> list[str]:
        """The names of the rows, in order."""
        return [row.name for row in self.rows]


def _require_some(values: Iterable[object], place: str) -> None:
    if not [*values]:
        raise Fault("is empty", place)


# --- translation -------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class SeedScore:
    """The ``score`` of a seed: a stored :class:`~tiednmt.translation.significance.RunScore`.

    ``influences`` of the test sentences are whole numbers of thousandths, in a line of text.
    """

    score: float
    influences: str

    def __post_init__(self) -> None:
        try:
            count = len(self.run.influences)
        except ValueError:
            count = 0
        if count < 2:
            raise Fault("are not two whole numbers or more", "influences")

    @classmethod
    def of(cls, run: RunScore) -> SeedScore:
        """The stored form of ``run``."""
        text = " ".join(str(round(1000 * value)) for value in run.influences)
        return cls(score=run.score, influences=text)

    @property
    def run(self) -> RunScore:
        """The score in the form used in calculations."""
        return RunScore(self.score, [int(number) / 1000 for number in self.influences.split()])


@dataclass(frozen=True, kw_only=True)
class MetricScore:
    """One metric of one test set.

    Attributes:
        score: of the first seed.
        mean: of sacreBLEU's bootstrap of the first seed.
        ci: its 95% interval.
        signature: sacreBLEU's.
        over_seeds: mean and standard deviation over all seeds.
        seeds: a score per seed.
    """

    score: float
    mean: float
    ci: tuple[float, float]
    signature: str
    over_seeds: SeedStatistics
    seeds: Sequence[SeedScore]


@dataclass(frozen=True, kw_only=True)
class TestScores:
    """The scores of a test set: ``bleu``, ``chrf``, ``ter`` and ``tokenised_bleu``.

    The last is BLEU of lower-cased tokens (:mod:`tiednmt.translation.tokenised`). Older records
    lack it, and so do languages that have a tokeniser of their own.
    """

    bleu: MetricScore
    chrf: MetricScore
    ter: MetricScore
    tokenised_bleu: MetricScore | None = None

    @property
    def by_metric(self) -> dict[str, MetricScore]:
        """The scores that are known."""
        return {name: score for name, score in vars(self).items() if score is not None}


@dataclass(frozen=True, kw_only=True)
class TranslationRow(TrainedRow):
    """A translation model: its size as a share of the baseline's, and its scores by test set."""

    share: float | None = None
    test: Mapping[str, TestScores]

    def __post_init__(self) -> None:
        super().__post_init__()
        for subset, scores in self.test.items():
            for metric, score in scores.by_metric.items():
                if len(score.seeds) != len(self.seeds):
                    raise Fault("does not have one score per seed", f"test.{subset}.{metric}.seeds")


@dataclass(frozen=True, kw_only=True)
class VocabularySizes:
    """Sizes of the vocabulary of two languages.

    Attributes:
        source_only: subwords that occur only in the source.
        target_only: only in the target.
        both: in both.
        source: entries of a dictionary for the source alone.
        target: for the target alone.
        joint: of the joint dictionary.
    """

    source_only: int
    target_only: int
    both: int
    source: int
    target: int
    joint: int


@dataclass(frozen=True, kw_only=True)
class TranslationRecord(ExperimentRecord):
    """Translation models.

    Attributes:
        rows: the models.
        baseline: the row that the others are compared with.
        beam: hypotheses kept at each step.
        vocabulary: its sizes.
        samples: each has ``source``, ``reference`` and a translation per row.
        also_compared_with: further rows that the others are compared with, if trained.
        earlier: provenance of earlier runs whose rows or seeds this record includes.
    """

    rows: Sequence[TranslationRow]
    baseline: str
    beam: int
    vocabulary: VocabularySizes
    samples: Sequence[Mapping[str, str]]
    also_compared_with: Sequence[str] = ()
    earlier: Sequence[Provenance] = ()

    def __post_init__(self) -> None:
        _require_some(self.rows, "rows")
        super().__post_init__()
        names, subsets = self.row_names, [*self.rows[0].test]
        if not subsets or any([*row.test] != subsets for row in self.rows):
            raise Fault("its rows do not have the same test sets")
        self._require_the_same_sentences()
        if any({"source", "reference", *names} - sample.keys() for sample in self.samples):
            raise Fault("a sample lacks a row's translation")

    @property
    def baselines(self) -> list[str]:
        """The rows that the others are compared with; sizes with the first."""
        wanted = (self.baseline, *self.also_compared_with)
        return [name for name in wanted if name in self.row_names]

    def _require_the_same_sentences(self) -> None:
        for subset in self.rows[0].test:
            blocks = {
                len(seed.run.influences)
                for row in self.rows
                for score in row.test[subset].by_metric.values()
                for seed in score.seeds
            }
            if len(blocks) > 1:
                raise Fault(f"its rows were not scored on the same sentences of {subset}")


# --- language models ---------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class PaperFigures:
    """A paper's figures for a row: the parameters as it writes them, and perplexities."""

    parameters: str | None = None
    train: float | None = None
    valid: float | None = None
    test: float | None = None


@dataclass(frozen=True, kw_only=True)
class LanguageModelRow(TrainedRow):
    """``perplexity`` by part of the corpus, and the figures of the ``paper``."""

    perplexity: Mapping[str, SeedStatistics]
    paper: PaperFigures = PaperFigures()


@dataclass(frozen=True, kw_only=True)
class LanguageModelRecord(ExperimentRecord):
    """Language models.

    Attributes:
        rows: the models.
        note: how they were scored.
        earlier: provenance of earlier runs whose rows or seeds this record includes.
    """

    rows: Sequence[LanguageModelRow]
    note: str
    earlier: Sequence[Provenance] = ()

    def __post_init__(self) -> None:
        _require_some(self.rows, "rows")
        super().__post_init__()
        if len({tuple(row.perplexity) for row in self.rows}) > 1:
            raise Fault("its rows do not have perplexities of the same texts")


# --- embeddings --------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class PaperOrders:
    """The orders that a paper states (``V > U``) of ``similarity`` and of ``correlation``."""

    similarity: str | None = None
    correlation: str | None = None


@dataclass(frozen=True, kw_only=True)
class SetSimilarity:
    """Spearman's ρ in a word-similarity set.

    Attributes:
        covered: how many pairs have two known words; only these are scored.
        pairs: how many pairs the set has.
        rho: by embedding.
    """

    covered: int
    pairs: int
    rho: Mapping[str, SeedStatistics | None]


@dataclass(frozen=True, kw_only=True)
class EmbeddingRecord(ExperimentRecord):
    """Embeddings, compared.

    Attributes:
        seeds: number of seeds.
        paper: the orders that the paper states.
        similarity: by word-similarity set.
        correlation: by pair of embeddings (``U,V``); None if unknown.
    """

    seeds: int
    paper: PaperOrders
    similarity: Mapping[str, SetSimilarity]
    correlation: Mapping[str, SeedStatistics | None] | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        _require_some(self.similarity, "similarity")
        embeddings = [tuple(one.rho) for one in self.similarity.values()]
        if len({*embeddings}) > 1:
            raise Fault("its sets are not of the same embeddings")
        for order, measured in (
            (self.paper.similarity, embeddings[0]),
            (self.paper.correlation, tuple(self.correlation or ())),
        ):
            unknown = set(names_in(order or "")) - {"", *measured}
            if unknown and measured:
                names = ", ".join(sorted(unknown))
                raise Fault(f"{order} names {names}, which is not measured", "paper:")


@dataclass(frozen=True, kw_only=True)
class SkipGramRecord(EmbeddingRecord):
    """Vectors of ``scripts.skip_gram``: its options, and its command for the first seed."""

    options: Mapping[str, Setting]
    training_command: str


def names_in(order: str) -> list[str]:
    """The names in an order such as ``V > U``."""
    return order.split(" > ")


# --- the search of P ---------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class EpochFigures:
    """Perplexities of an epoch: ``train`` over its updates, ``valid`` at its end."""

    train: float
    valid: float


@dataclass(frozen=True, kw_only=True)
class VariantRow:
    """A variant after the ``epochs`` that every seed has finished; ``test`` is after the last."""

    name: str
    changes: Mapping[str, Setting]
    epochs: int
    train: SeedStatistics
    valid: SeedStatistics
    test: SeedStatistics | None = None
    curves: Sequence[Sequence[EpochFigures]]


@dataclass(frozen=True, kw_only=True)
class ProjectionSearchRecord(Record):
    """Variants of projection regularisation.

    ``earlier`` is the provenance of earlier runs whose variants this record includes.
    """

    variants: Sequence[VariantRow]
    earlier: Sequence[Provenance] = ()


# --- benchmarks --------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class Spread:
    """A ratio over the pairs of runs: ``median``, ``min`` and ``max``."""

    median: float
    min: float
    max: float


@dataclass(frozen=True, kw_only=True)
class SideName:
    """One of the two sides of a comparison."""

    name: str


@dataclass(frozen=True, kw_only=True)
class Side(SideName):
    """One side of a benchmark.

    Attributes:
        median: of the rates.
        runs: the rate of each run (work per unit of time).
        memory: peak, in bytes.
        parts: milliseconds of each part of an update.
        warm_up: milliseconds per update, round by round, before anything is counted.
    """

    median: float
    runs: Sequence[float]
    memory: float | None = None
    parts: Mapping[str, float] | None = None
    warm_up: Sequence[float] | None = None


@dataclass(frozen=True, kw_only=True)
class Cell:
    """One size of a benchmark of growth; a side that memory did not suffice for is None."""

    vocabulary: int
    length: int
    tokens: int
    ours: Side | None = None
    against: Side | None = None
    ratio: Spread | None = None
    memory_ratio: Spread | None = None


@dataclass(frozen=True, kw_only=True)
class Limit:
    """What the machine allows, and the share of it that our side came to."""

    gflops_per_second: Mapping[str, float]
    copy_gigabytes_per_second: float
    gflops_per_token: float
    share: float
    share_of_single: float


@dataclass(frozen=True, kw_only=True)
class Learning:
    """Learning the merges alone."""

    ours: Side
    against: Side
    ratio: Spread


@dataclass(frozen=True, kw_only=True)
class BenchmarkRecord(Record):
    """Two ways to do the same work; the ``title`` says what is counted.

    Attributes:
        ours: our side.
        against: the other side.
        ratio: of the rates, ours over theirs.
        memory_ratio: of the peaks of memory.
        cells: by size, in a benchmark of growth.
        limit: what the machine allows.
        learning: the time of learning merges alone.
        peak_megabytes: memory by number of sentence pairs.
        repetition: what was repeated, where it is not runs of each side in turn.
    """

    ours: Side | SideName
    against: Side | SideName
    ratio: Spread
    memory_ratio: Spread | None = None
    cells: Sequence[Cell] = ()
    limit: Limit | None = None
    learning: Learning | None = None
    peak_megabytes: Mapping[str, int] | None = None
    repetition: str | None = None

    def __post_init__(self) -> None:
        for side, name in ((self.ours, "ours"), (self.against, "against")):
            if not self.cells and not isinstance(side, Side):
                raise Fault("lacks median", name)
