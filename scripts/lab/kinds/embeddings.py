"""How experiments on embeddings are scored: word similarity, and how similar embeddings are."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, ClassVar

from scripts.lab.figures.embeddings import figures
from scripts.lab.kinds.kind import Kind, Trained
from scripts.lab.records import joining
from scripts.lab.records.schema import (
    EmbeddingRecord,
    PaperOrders,
    SetSimilarity,
    Setting,
    SkipGramRecord,
)
from scripts.lab.run.kept import is_current, read_kept
from scripts.lab.run.processes import Child, Resources, side_by_side
from tiednmt.analysis.embeddings import Embedding, whole
from tiednmt.analysis.likeness import likeness
from tiednmt.analysis.word_similarity import WordPairs
from tiednmt.embeddings.analyse import load, read_sets, similarity
from tiednmt.errors import UserError
from tiednmt.files import write_json
from tiednmt.options import option_name
from tiednmt.seeds import SeedStatistics, over_seeds
from tiednmt.text.manifest import TOKENISED

Named = Mapping[str, Embedding]

# --- scoring -----------------------------------------------------------------------------------


@dataclass(frozen=True)
class EmbeddingScoring:
    """Embeddings of language models, one seed after the other.

    ``paper`` holds the orders that the paper states: of the embeddings by ``similarity`` in every
    set (``V > U``), and of pairs of embeddings by ``correlation`` (``V,S > U,V``). The paper's
    figures are left out, since no source is available to check them.
    """

    paper: PaperOrders | None = None

    packages: ClassVar[Sequence[str]] = ("scipy", "gensim")
    measures_similarity: ClassVar[bool] = True

    def score(self, trained: Trained) -> dict[str, Any]:
        """``similarity`` by set and ``correlation`` by pair of embeddings."""
        seeds = [
            _by_name([run.checkpoint for run in of_seed], trained.data)
            for of_seed in zip(*trained.runs.values(), strict=True)
        ]
        correlations = [likeness(embeddings).rho for embeddings in seeds]
        return {
            **self._similarity(trained, seeds),
            "correlation": {
                ",".join(two): _known(over[two] for over in correlations) for two in correlations[0]
            },
        }

    def _similarity(self, trained: Trained, seeds: Sequence[Named]) -> dict[str, Any]:
        sets = read_sets([trained.out / "wordsim"])
        return {
            "rows": trained.rows,
            "seeds": len(seeds),
            "paper": self.paper or PaperOrders(),
            "similarity": {pairs.name: _set_similarity(pairs, seeds) for pairs in sets},
        }


@dataclass(frozen=True)
class SkipGramScoring(EmbeddingScoring):
    """Skip-gram vectors of the training text; ``options`` are those of ``scripts.skip_gram``."""

    options: Mapping[str, Setting] | None = None

    def score(self, trained: Trained) -> dict[str, Any]:
        """``similarity`` of U and V by set."""
        text = trained.data / TOKENISED / "train.txt"
        trainings = [
            _SkipGram.command(text, trained.out / f"seed-{seed}.model", seed, self.options or {})
            for seed in trained.seeds
        ]
        missing = [command for command in trainings if not _SkipGram.is_done(text, command)]
        side_by_side([partial(_SkipGram, command) for command in missing], trained.jobs)
        seeds = [_by_name([_SkipGram.out(command)]) for command in trainings]
        return {
            **self._similarity(trained, seeds),
            "options": self.options or {},
            "training_command": shlex.join(["python", *trainings[0]]),
        }


def _by_name(paths: Sequence[Path], data: Path | None = None) -> dict[str, Embedding]:
    models = [load(path.parent.name, path, data) for path in paths]
    found: dict[str, Embedding] = {}
    rows: dict[str, str] = {}
    for model in models:
        for embedding in model.embeddings:
            letter = embedding.name
            if letter in found:
                raise UserError(
                    f"rows {rows[letter]} and {model.name}: both have {letter}; keep one of them "
                    "in the experiment's rows"
                )
            found[letter], rows[letter] = embedding, model.name
    return found


def _set_similarity(pairs: WordPairs, seeds: Sequence[Named]) -> SetSimilarity:
    """ρ of each embedding. All share one vocabulary, so every seed covers the same pairs."""
    scores = [
        similarity(pairs, {name: (e, whole) for name, e in embeddings.items()})
        for embeddings in seeds
    ]
    first = scores[0]
    return SetSimilarity(
        covered=next(iter(first.by.values())).covered,
        pairs=first.pairs,
        rho={name: _known(score.by[name].rho for score in scores) for name in first.by},
    )


def _known(values: Iterable[float | None]) -> SeedStatistics | None:
    """Statistics over the seeds that have a value; None if none has one."""
    known = [value for value in values if value is not None]
    return over_seeds(known) if known else None


class _SkipGram(Child):
    """A running ``scripts.skip_gram``; its command line is kept beside its output."""

    def __init__(self, command: Sequence[str], resources: Resources) -> None:
        print(f"training of {self.out(command).name}", file=sys.stderr)
        log = self.out(command).with_suffix(".log")
        super().__init__("training of skip-gram", [sys.executable, *command], log, resources)
        self.command_line = command

    @staticmethod
    def command(text: Path, out: Path, seed: int, options: Mapping[str, Any]) -> list[str]:
        """The arguments of the interpreter; the file to write is the last."""
        given = [
            word for name, value in options.items() for word in (option_name(name), str(value))
        ]
        command = ["-m", "scripts.skip_gram", "--text", str(text), "--seed", str(seed), *given]
        return [*command, "--out", str(out)]

    @staticmethod
    def out(command: Sequence[str]) -> Path:
        return Path(command[-1])

    @staticmethod
    def is_done(text: Path, command: Sequence[str]) -> bool:
        """Whether the vectors are there, by the same command from the same text."""
        out = _SkipGram.out(command)
        record = out.with_suffix(".json")
        is_same = is_current(record, text) and read_kept(record, list) == [*command]
        return is_same and out.is_file()

    def ended(self) -> bool:
        ended = super().ended()
        if ended:
            write_json(self.out(self.command_line).with_suffix(".json"), self.command_line)
        return ended


# --- further seeds -----------------------------------------------------------------------------


def join_skip_gram(kept: SkipGramRecord, new: SkipGramRecord) -> SkipGramRecord:
    """The new record.

    Raises:
        UserError: it has the same options and fewer seeds than the one that was kept.
    """
    if new.options == kept.options and new.seeds < kept.seeds:
        raise UserError(
            f"{new.experiment}: {new.seeds} seeds would replace {kept.seeds}; run the "
            "others too, or delete the record"
        )
    return new


KIND = Kind(
    record=EmbeddingRecord,
    scoring=EmbeddingScoring,
    task="tied_language_modeling",
    figures=figures,
    join=joining.whole,
)
SKIP_GRAM: Kind[SkipGramRecord] = Kind(
    record=SkipGramRecord,
    scoring=SkipGramScoring,
    figures=figures,
    join=join_skip_gram,
)
