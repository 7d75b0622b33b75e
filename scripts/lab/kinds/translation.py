"""How translation experiments are scored (BLEU, chrF, TER), and how further seeds join."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, ClassVar

from scripts.lab.figures.translation import figures
from scripts.lab.kinds.kind import Kind, Trained
from scripts.lab.records.joining import Joined, by_row
from scripts.lab.records.schema import (
    MetricScore,
    SeedScore,
    TestScores,
    TrainedRow,
    TranslationRecord,
    TranslationRow,
    VocabularySizes,
)
from scripts.lab.run.kept import is_current, read_kept
from scripts.lab.run.processes import announced, gpus, side_by_side
from scripts.lab.run.specs import folder_name
from scripts.lab.run.training import Run
from tiednmt.errors import UserError
from tiednmt.seeds import over_seeds
from tiednmt.text.lines import read_lines
from tiednmt.text.manifest import MANIFEST, RAW, read_manifest
from tiednmt.translation.scoring import SACREBLEU
from tiednmt.translation.settings import Search
from tiednmt.translation.significance import RunScore
from tiednmt.translation.tokenised import TOKENISED_BLEU
from tiednmt.typed import Fault

EVALUATE = ("-m", "scripts.evaluate")
SAMPLES = 5
OF_FIRST_SEED = ("score", "mean", "ci", "signature")

Scores = Mapping[str, Any]  # the JSON of scripts.evaluate


# --- scoring -----------------------------------------------------------------------------------


@dataclass(frozen=True)
class TranslationScoring:
    """BLEU, chrF and TER of raw test sets per seed, and sample translations of the first seed."""

    baselines: Sequence[str]  # the rows that the others are compared with; sizes with the first
    subsets: Sequence[str]  # test sets
    beam: int

    packages: ClassVar[Sequence[str]] = ("sacrebleu", "subword-nmt", "sacremoses")
    measures_similarity: ClassVar[bool] = False

    def __post_init__(self) -> None:
        """Refuse what could not be scored."""
        if not self.baselines:
            raise Fault("baselines: at least one row")
        if not self.subsets:
            raise Fault("subsets: at least one test set")
        if self.beam < 1:
            raise Fault(f"beam is {self.beam}; it must be 1 or more")

    def score(self, trained: Trained) -> dict[str, Any]:
        """The rows with their scores, the baselines, and sample translations."""
        raw = trained.data / RAW
        manifest = read_manifest(trained.data)
        scores = self._all_scores(trained)
        return {
            "baseline": self.baselines[0],
            "rows": self._rows(trained, scores),
            "also_compared_with": self.baselines[1:],
            "beam": self.beam,
            "vocabulary": VocabularySizes(**manifest["vocabulary"]),
            "samples": _samples(
                scores[0], self.subsets[0], raw, _translations(trained, 0), manifest
            ),
        }

    def _all_scores(self, trained: Trained) -> list[Scores]:
        """The output of ``scripts.evaluate`` for all rows of each seed, baseline first."""
        paths, starts = [], []
        for i, seed in enumerate(trained.seeds):
            runs = {name: of_row[i] for name, of_row in trained.runs.items()}
            scores = trained.out / f"{folder_name('scores', seed)}.json"
            paths.append(scores)
            made_from = [run.checkpoint for run in runs.values()]
            output = _translations(trained, i)
            is_known = is_current(scores, trained.data / MANIFEST, *made_from)
            if not is_known or not self._covers(scores, runs, output):
                command = self._evaluate(runs, trained.data, scores, output)
                what = f"scoring of seed {seed}"
                starts.append(partial(announced, what, command, scores.with_suffix(".log")))
        # a CPU's cores share the sentences of one
        side_by_side(starts, trained.jobs if gpus() else 1)
        return [read_kept(path, dict) for path in paths]

    def _covers(self, scores: Path, runs: Mapping[str, Run], translations: Path) -> bool:
        """Whether scores of an earlier call are for these runs, all test sets and the same search,
        and hold all that a record needs, with all of their translations.
        """
        wanted = {(name, _in_its_run(run.checkpoint)) for name, run in runs.items()}
        search = Search(beam=self.beam)

        def covers(content: Any) -> bool:
            found = content["subset"]
            is_same = (content["beam"], content["lenpen"]) == (search.beam, search.lenpen)
            return (
                is_same
                and {*self.subsets} <= found.keys()
                and all(
                    wanted <= {(one["name"], _in_its_run(one["checkpoint"])) for one in systems}
                    and all(map(_says_enough, systems))
                    and all(_is_whole(_text(translations, system), system) for system in systems)
                    for systems in (of["systems"] for of in found.values())
                )
            )

        return read_kept(scores, covers)

    def _evaluate(
        self, runs: Mapping[str, Run], data: Path, scores: Path, output: Path
    ) -> list[str]:
        names = sorted(runs, key=lambda name: name != self.baselines[0])
        command = [sys.executable, *EVALUATE]
        command += [f"{name}={runs[name].checkpoint}" for name in names]
        command += ["--data", str(data), "--beam", str(self.beam)]
        command += ["--json", str(scores), "--output", str(output)]
        for subset in self.subsets:
            command += ["--subset", subset]
        return command

    def _rows(self, trained: Trained, scores: Sequence[Scores]) -> list[TranslationRow]:
        shares = _shares(trained.rows, self.baselines)
        return [
            TranslationRow(
                **vars(row),
                share=shares[row.name],
                test={
                    subset: _test_scores([_system(one, subset, row.name) for one in scores])
                    for subset in self.subsets
                },
            )
            for row in trained.rows
        ]


def _translations(trained: Trained, i: int) -> Path:
    """Where the translations by the models of the seed of number ``i`` are."""
    return trained.out / folder_name("translations", trained.seeds[i])


def _text(translations: Path, system: Mapping[str, Any]) -> Path:
    """The translations of a test set; the scores name the folder that they were written to."""
    return translations / Path(system["translations"]).name


def _is_whole(text: Path, system: Mapping[str, Any]) -> bool:
    """Whether there is a line for each sentence that was scored."""
    sentences = len(system["bleu"]["influences"])
    return text.is_file() and text.read_bytes().count(b"\n") == sentences


def _in_its_run(checkpoint: str | Path) -> tuple[str, ...]:
    """A checkpoint by its name and that of its folder, which may have moved."""
    return Path(checkpoint).parts[-2:]


def _says_enough(system: Mapping[str, Any]) -> bool:
    is_tokenised = TOKENISED_BLEU in system or "|tok:13a|" not in system["bleu"]["signature"]
    return is_tokenised and all("influences" in system[metric] for metric in SACREBLEU)


def _shares(rows: Sequence[TrainedRow], baselines: Sequence[str]) -> dict[str, float | None]:
    """The size of each row, as a share of the first baseline among the rows."""
    sizes = {row.name: row.parameters for row in rows}
    whole = next((sizes[name] for name in baselines if name in sizes), None)
    return {name: whole and round(size / whole, 4) for name, size in sizes.items()}


def _test_scores(systems: Sequence[Mapping[str, Any]]) -> TestScores:
    """The scores of a row, from what ``scripts.evaluate`` wrote per seed."""
    return TestScores(
        **{
            metric: _over_seeds(
                {name: systems[0][metric][name] for name in OF_FIRST_SEED},
                [
                    SeedScore.of(RunScore(system[metric]["score"], system[metric]["influences"]))
                    for system in systems
                ],
            )
            for metric in (*SACREBLEU, TOKENISED_BLEU)
            if metric in systems[0]
        }
    )


def _over_seeds(of_first: Mapping[str, Any], seeds: Sequence[SeedScore]) -> MetricScore:
    return MetricScore(
        **of_first, over_seeds=over_seeds([seed.score for seed in seeds]), seeds=seeds
    )


def _system(scores: Scores, subset: str, name: str) -> Mapping[str, Any]:
    systems = scores["subset"][subset]["systems"]
    return next(system for system in systems if system["name"] == name)


def _samples(
    scores: Scores, subset: str, raw: Path, translations: Path, manifest: Mapping[str, Any]
) -> list[dict[str, str]]:
    """Sentences spread over a test set, with the translation of every system that was scored."""
    systems = scores["subset"][subset]["systems"]
    columns = {
        "source": raw / f"{subset}.{manifest['source']}",
        "reference": raw / f"{subset}.{manifest['target']}",
        **{system["name"]: _text(translations, system) for system in systems},
    }
    lines = {name: list(read_lines(path)) for name, path in columns.items()}
    count = len(lines["source"])
    return [
        {name: text[i * count // SAMPLES] for name, text in lines.items()} for i in range(SAMPLES)
    ]


# --- further rows and seeds --------------------------------------------------------------------


def join(kept: TranslationRecord, new: TranslationRecord) -> TranslationRecord:
    """The record ``kept`` with the rows and seeds that ``new`` adds; see :func:`by_row`.

    Raises:
        UserError: what would stay of the kept record cannot be compared with what is new.
    """
    joined: Joined[TranslationRow] = by_row(kept, new, _with_further_seeds)
    shares = _shares(joined.rows, (new.baseline, *new.also_compared_with))
    rows = [replace(row, share=shares[row.name]) for row in joined.rows]
    samples = new.samples
    if joined.from_kept:
        _require_comparable(kept, new)
        samples = _joined_samples(kept, new, joined)
    return replace(
        new,
        rows=rows,
        samples=samples,
        curves=joined.curves,
        gradients=joined.gradients,
        earlier=joined.earlier,
    )


def _with_further_seeds(old: TranslationRow, new: TranslationRow) -> dict[str, Any]:
    if [*old.test] != [*new.test]:
        raise Fault("its rows do not have the same test sets")
    return {
        "test": {subset: _both(scores, new.test[subset]) for subset, scores in old.test.items()}
    }


def _both(old: TestScores, new: TestScores) -> TestScores:
    return TestScores(
        **{
            metric: _over_seeds(
                {name: getattr(score, name) for name in OF_FIRST_SEED},
                (*score.seeds, *new.by_metric[metric].seeds),
            )
            for metric, score in old.by_metric.items()
            if metric in new.by_metric
        }
    )


def _require_comparable(kept: TranslationRecord, new: TranslationRecord) -> None:
    """The same sentences, translated the same way."""
    texts = [
        [(sample["source"], sample["reference"]) for sample in record.samples]
        for record in (kept, new)
    ]
    if texts[0] != texts[1]:
        raise UserError(
            f"{new.experiment}: the test sets are not those of the kept record; run all of "
            "its rows and seeds too, or delete the record"
        )
    if kept.beam != new.beam:
        raise UserError(
            f"{new.experiment}: beam {new.beam}, but {kept.beam} in the kept record; run "
            "all of its rows and seeds too, or delete the record"
        )


def _joined_samples(
    kept: TranslationRecord, new: TranslationRecord, joined: Joined[TranslationRow]
) -> list[dict[str, str]]:
    """The translations of every row's first seed."""
    return [
        {
            **{text: now[text] for text in ("source", "reference")},
            **{
                row.name: (before if row.name in joined.from_kept else now)[row.name]
                for row in joined.rows
            },
        }
        for before, now in zip(kept.samples, new.samples, strict=True)
    ]


KIND = Kind(
    record=TranslationRecord,
    scoring=TranslationScoring,
    task="translation",
    figures=figures,
    join=join,
)
