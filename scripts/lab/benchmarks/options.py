"""Options that several benchmarks share, among them which models are compared."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from scripts.lab.architectures import preset_of
from scripts.lab.baselines import stock
from scripts.lab.run.specs import Recipe, load_experiment, merge
from tiednmt.errors import UserError
from tiednmt.modes import TYINGS
from tiednmt.options import option, positive


@dataclass(frozen=True, kw_only=True)
class Threads:
    """Options of every benchmark."""

    threads: int = option("threads of each side", default=1, type=positive)


@dataclass(frozen=True, kw_only=True)
class Paired(Threads):
    """Both sides run in turn, several times."""

    runs: int = option("pairs of runs, without the warm-up", default=5, type=positive)


@dataclass(frozen=True, kw_only=True)
class PreparedData:
    """A corpus.

    Raises:
        UserError: the folder is no prepared one.
    """

    data: Path = option("prepared folder", metavar="DIR")

    def __post_init__(self) -> None:
        if not (self.data / "data-bin").is_dir():
            raise UserError(
                f"--data {self.data}: no data-bin there; prepare it with python -m preprocess.*"
            )


@dataclass(frozen=True, kw_only=True)
class Training(Paired, PreparedData):
    """How a run trains."""

    updates: int = option("updates per run", default=100, type=positive)
    profile: bool = option("also time the parts of an update (forward, backward, …)", default=False)


@dataclass(frozen=True, kw_only=True)
class OurModel:
    """The model of this package: a row of an experiment, with changes."""

    experiment: str | None = option("experiment whose recipe both sides use", default=None)
    row: str = option("row of our model", default="three-way")
    arch: str | None = option("our architecture, instead of the row's", default=None)
    tying: str | None = option(
        "tying of our model, instead of the row's", choices=TYINGS, default=None
    )
    precision: str = option(
        "our matmul precision: --float32-matmul-precision, or everything in bfloat16",
        choices=("highest", "medium", "bf16"),
        default="highest",
    )

    @property
    def name(self) -> str:
        """The name of our model in tables."""
        model = self.recipe()["model"]
        return f"{model['_name']} --tying {model.get('tying', 'none')}, {self.precision}"

    def recipe(self) -> Recipe:
        """The row's recipe with the architecture and tying asked for.

        An architecture that is asked for has its own sizes, not those of the recipe.

        Raises:
            UserError: no such experiment or row.
        """
        row = self.recipe_of(self.row, "--row")
        model = dict(row["model"])
        if self.arch is not None:
            model |= {**preset_of(self.arch), "_name": self.arch}
        if self.tying is not None:
            model["tying"] = self.tying
        return {**row, "model": model}

    def recipe_of(self, row: str, option: str) -> Recipe:
        """The recipe of a row, which ``option`` names.

        Raises:
            UserError: no such experiment or row.
        """
        name = self._experiment()
        rows = load_experiment(name).rows
        if row not in rows:
            raise UserError(f"{option} {row}: {name} has only {', '.join(rows)}")
        return rows[row]

    def recipe_in_precision(self) -> Recipe:
        """:meth:`recipe`, trained in the precision asked for."""
        if self.precision == "bf16":
            return merge(self.recipe(), {"common": {"bf16": True}})
        return merge(self.recipe(), {"model": {"float32_matmul_precision": self.precision}})

    def _experiment(self) -> str:
        assert self.experiment is not None
        return self.experiment


@dataclass(frozen=True, kw_only=True)
class TranslationModels(OurModel):
    """Our translation model and fairseq's."""

    experiment: str | None = option(
        "experiment whose recipe both sides use", default="multi30k-en-de"
    )
    against: str = option(
        "what to compare with, in our sizes: a model of fairseq",
        choices=tuple(stock.TRANSLATION),
        default="lstm",
    )

    @property
    def stock_precision(self) -> str:
        """fairseq has no --float32-matmul-precision."""
        return "highest"

    @property
    def stock_name(self) -> str:
        """The name of fairseq's model in tables."""
        return f"fairseq {self.against} --share-all-embeddings, {self.stock_precision}"

    def stock_recipe(self) -> Recipe:
        """fairseq's own model in the same recipe, without the plugin, in single precision."""
        return stock.translation(self.recipe(), self.against)


def in_batches(recipe: Recipe, max_tokens: int) -> Recipe:
    """``recipe`` with at most so many tokens per batch."""
    return merge(recipe, {"dataset": {"max_tokens": max_tokens}})
