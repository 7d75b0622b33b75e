"""Which tying fits a language pair: measurements from the kept records, and the advice."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean

from fairseq.models import ARCH_MODEL_NAME_REGISTRY

from preprocess.corpus import Options as Preparation
from preprocess.overlap import scripts_of
from scripts.lab.architectures import (
    VocabularySizes,
    is_language_model,
    model_size,
    model_sizes,
    tied_architectures,
)
from scripts.lab.figures.advice import figures
from scripts.lab.records import settings
from scripts.lab.records.schema import TranslationRecord, TranslationRow
from scripts.lab.run.specs import options as options_of
from scripts.lab.score.advice import Difference, MeasuredPair, MeasuredRow, advise
from scripts.lab.score.overlap import pair_in
from scripts.lab.store import RESULTS, read_record
from tiednmt.metrics import BETTER
from tiednmt.modes import NONE, TYINGS
from tiednmt.options import option, positive
from tiednmt.show.figures import Figures
from tiednmt.translation.significance import difference

TRANSLATION = tuple(name for name in tied_architectures() if not is_language_model(name))


@dataclass(frozen=True)
class Options:
    """The languages to advise on, and the model."""

    advise: tuple[Path, ...] = option(
        "recommend a tying for the languages of a prepared folder, a data-bin, or "
        "two text files (source, target)",
        default=(),
    )
    arch: str = option("with --advise: the architecture", default="tied_gru", choices=TRANSLATION)
    merges: int = option(
        "with --advise: number of merges for raw text",
        default=Preparation.merges,
        type=positive,
    )


def advice_on(asked: Options, results: Path = RESULTS) -> Figures:
    """What the languages have in common, the sizes under each tying, and which one to take.

    Raises:
        UserError: there is no such pair, or a record cannot be read.
    """
    pair, overlap = pair_in(asked.advise, asked.merges)
    sizes = pair.vocabulary
    apart = VocabularySizes(sizes["target"], sizes["source"], sizes["joint"])
    joint = {t: model_size(asked.arch, t, sizes["joint"], sizes["joint"]) for t in TYINGS}
    measured = measured_pairs(results)
    parameters = {tying: size.total for tying, size in joint.items()}
    advice = advise(pair, measured, parameters, _kind(asked.arch))
    return figures(
        pair, overlap, asked.arch, joint, model_sizes(asked.arch, apart), measured, advice
    )


# --- what was measured -------------------------------------------------------------------------


def measured_pairs(results: Path) -> list[MeasuredPair]:
    """The kept translation experiments that have both an untied row of ours and a tied one."""
    records = map(read_record, sorted(results.glob("*.json")))
    pairs = (_measured(one) for one in records if isinstance(one, TranslationRecord))
    return [pair for pair in pairs if pair is not None]


def _measured(record: TranslationRecord) -> MeasuredPair | None:
    by_tying: dict[str, list[TranslationRow]] = {}
    for row in record.rows:
        by_tying.setdefault(str(row.recipe["model"].get("tying")), []).append(row)
    ours = [row for tying in TYINGS for row in by_tying.get(tying, ())]
    if NONE not in by_tying or len(ours) == len(by_tying[NONE]):
        return None
    untied = max(by_tying[NONE], key=_mean_bleu)
    apart = _options_apart(ours)
    sides = [
        scripts_of({sample[side]: 1 for sample in record.samples})
        for side in ("source", "reference")
    ]
    return MeasuredPair(
        name=record.experiment,
        vocabulary=vars(record.vocabulary),
        scripts=(sides[0], sides[1]),
        model=_kind(str(untied.recipe["model"].get("_name"))),
        tokens=untied.updates * _tokens_of_a_batch(untied),
        rows=[
            MeasuredRow(
                name=row.name,
                tying=str(row.recipe["model"]["tying"]),
                share=row.parameters / untied.parameters,
                differences={subset: _difference(row, untied, subset) for subset in row.test},
                options=apart[row.name],
            )
            for row in ours
            if row not in by_tying[NONE]
        ],
    )


def _kind(architecture: str) -> str:
    """The name of the model that an architecture is a preset of."""
    return ARCH_MODEL_NAME_REGISTRY.get(architecture, architecture)


def _tokens_of_a_batch(row: TranslationRow) -> int:
    most = row.recipe.get("dataset", {}).get("max_tokens")
    return most if isinstance(most, int) else 1


def _mean_bleu(row: TranslationRow) -> float:
    return fmean(scores.bleu.over_seeds.mean for scores in row.test.values())


def _difference(row: TranslationRow, untied: TranslationRow, subset: str) -> Difference:
    """Over seeds and sentences."""
    runs = ([seed.run for seed in each.test[subset].bleu.seeds] for each in (row, untied))
    found = difference(*runs)
    return Difference(found.value, found.p_value, found.not_worse_by(BETTER["bleu"]))


def _options_apart(rows: Sequence[TranslationRow]) -> Mapping[str, str]:
    """Per row, the model options other than --tying that other rows do not have."""
    models = [{"model": row.recipe["model"]} for row in rows]
    apart = settings.compare(models).apart
    return {
        row.name: " ".join(
            f"{name} {' '.join(words)}".strip()
            for name, words in options_of(model).items()
            if name in apart and name != "--tying"
        )
        for row, model in zip(rows, models, strict=True)
    }
