"""Systems on raw test sets: translations, scores and comparisons as one record."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any

import fairseq
import sacrebleu
import torch

from tiednmt.errors import UserError
from tiednmt.export.model_folder import is_model_folder
from tiednmt.files import file_name, write_whole
from tiednmt.options import option_name
from tiednmt.text.lines import read_lines
from tiednmt.translation.comet import Comet
from tiednmt.translation.loading import load_translator
from tiednmt.translation.prepared import Prepared
from tiednmt.translation.scoring import (
    Scores,
    Scoring,
    compare,
    compare_means,
    score,
    score_by_all,
    tokenizer_for,
)
from tiednmt.translation.settings import (
    DEFAULT_SCORING_OPTIONS,
    DEFAULT_SEARCH,
    MAX_LEN_A,
    MAX_LEN_B,
    Evaluation,
    ScoringOptions,
    Search,
)
from tiednmt.translation.systems import parse_systems, run_name
from tiednmt.translation.tokenised import TOKENISED_BLEU, tokenised_bleu
from tiednmt.translation.translator import Translator


def load_systems(
    texts: Sequence[str],
    options: Evaluation,
    prepared: Prepared,
    scoring: ScoringOptions = DEFAULT_SCORING_OPTIONS,
) -> list[Translator]:
    """The systems that a command line names, once all that can be checked before is checked.

    The runs of one system follow each other and have its name.

    Args:
        texts: ``[NAME=]CHECKPOINT[:CHECKPOINT…][,CHECKPOINT…]`` each.
        options: what is to be done with them.
        prepared: the folder ``options.data``.
        scoring: how they are to be scored.

    Raises:
        UserError: a name given twice, an unknown baseline or subset, several systems for one text,
            a checkpoint that cannot be used, scoring that cannot be done.
        OSError: where nothing can be written.
    """
    named = parse_systems(texts)
    if options.input is not None and sum(map(len, named.values())) > 1:
        raise UserError("--input translates with one system")
    if options.input is not None and scoring != DEFAULT_SCORING_OPTIONS:
        given = (one for one in fields(scoring) if getattr(scoring, one.name) != one.default)
        names = " and ".join(option_name(one.name) for one in given)
        raise UserError(f"{names}: goes with --subset; --input only translates")
    for baseline in options.baseline:
        if baseline not in named:
            raise UserError(f"--baseline {baseline}: no such system, only {', '.join(named)}")
    for folder in (options.json and options.json.parent, options.output):
        if folder:
            _require_writable(folder)
    if scoring.domains and len(options.subset) != 1:
        raise UserError(f"--domains {scoring.domains}: needs exactly one --subset")
    _comet(scoring, options.cpu)
    for subset in options.subset:
        _set(prepared, subset, scoring)
    prepared.require_as_prepared(options.subset)
    systems = [
        load_system(name, paths, prepared, options.cpu, options.int8)
        for name, runs in named.items()
        for paths in runs
    ]
    prepared.require_dictionaries_as_prepared()
    return systems


def load_system(
    name: str,
    paths: Sequence[Path],
    prepared: Prepared,
    cpu: bool = False,
    int8: bool = False,
    attention: bool = False,
) -> Translator:
    """Load checkpoints or model folders, several as an ensemble, to translate ``prepared``.

    See :func:`~tiednmt.translation.loading.load_translator`.

    Raises:
        UserError: they cannot be loaded, or translate another pair of languages.
    """
    # the folder has the test sets in any case
    data = None if all(map(is_model_folder, paths)) else prepared.folder
    translator = load_translator(
        paths, data, name=name, int8=int8 or None, cpu=cpu, attention=attention
    )
    if translator.languages != prepared.pipeline.languages:
        trained, wanted = (" to ".join(p.languages) for p in (translator, prepared.pipeline))
        raise UserError(f"{paths[0]}: translates {trained}, but {prepared.folder} holds {wanted}")
    return translator


@dataclass(frozen=True)
class _Set:
    """A test set and how it is scored; ``domains``: label → the numbers of its lines, from 0."""

    source: list[str]
    references: list[list[str]]
    scoring: Scoring
    domains: Mapping[str, Sequence[int]]
    comet: Comet | None
    language: str  # of the references

    def score(self, hypotheses: Sequence[str], lines: Sequence[int] | None = None) -> Scores:
        """The scores of all hypotheses, or of those of some lines."""
        texts = [hypotheses, *self.references, self.source]
        if lines is not None:
            texts = [[text[i] for i in lines] for text in texts]
        first, second, *more, source = texts
        if lines is None:
            scores = score(first, second, self.scoring, more)
        else:  # of which few may look like what a whole text does not
            scores = score_by_all(first, [second, *more], self.scoring)
        if self.scoring.tokenize == "13a":  # and not a tokeniser of some language's own
            note = self.scoring.note
            scores[TOKENISED_BLEU] = tokenised_bleu(first, [second, *more], self.language, note)
        if self.comet:
            note = self.scoring.note + (f"|reference:1 of {1 + len(more)}" if more else "")
            scores["comet"] = self.comet.score(first, source, second, note)
        return scores


def _comet(options: ScoringOptions, cpu: bool) -> Comet | None:
    return Comet(options.comet, cpu) if options.comet else None


def _set(
    prepared: Prepared, subset: str, options: ScoringOptions, comet: Comet | None = None
) -> _Set:
    """A test set, its references in the form that translations have.

    Where they have what no translation can have (’ for ', say, decomposed letters), this is taken
    out of them, and the signatures say so.

    Raises:
        UserError: there is none of that name, it cannot be scored so, or has not as many lines as
            ``options.domains``.
    """
    texts, pipeline = prepared.test_set(subset), prepared.pipeline
    written = [
        [pipeline.as_written(line, pipeline.target) for line in lines] for lines in texts.references
    ]
    changed = written != [[" ".join(line.split()) for line in lines] for lines in texts.references]
    references = written if changed else texts.references
    scoring = Scoring(
        options.tokenize or tokenizer_for(pipeline.target, references[0]),
        options.lowercase,
        options.chrf_word_order,
        "+".join(pipeline.settings.normalisation) if changed else "",
    )
    domains: dict[str, list[int]] = {}
    if options.domains:
        for i, label in enumerate(_labels(options.domains, len(texts.source))):
            domains.setdefault(label, []).append(i)
    return _Set(texts.source, references, scoring, domains, comet, pipeline.target)


def _labels(path: Path, lines: int) -> list[str]:
    labels = [label.strip() for label in read_lines(path)]
    if len(labels) != lines:
        raise UserError(f"--domains {path}: {len(labels):,} labels for {lines:,} lines")
    return labels


@dataclass(frozen=True)
class _Scored:
    """What a run of a system made of a subset."""

    system: Translator
    hypotheses: list[str]
    written: Path | None  # where they are kept
    seconds: float
    scores: Scores


def evaluate(
    systems: Sequence[Translator],
    prepared: Prepared,
    subsets: Sequence[str],
    output: Path | None = None,
    search: Search = DEFAULT_SEARCH,
    baselines: Sequence[str] = (),
    options: ScoringOptions = DEFAULT_SCORING_OPTIONS,
) -> dict[str, Any]:
    """Translate and score each subset with each system, and compare with each baseline.

    Returns the record that ``--json`` writes: ``subset`` → ``systems`` (an entry per run: scores
    with ``mean``, ``ci``, ``signature`` and ``influences``, translation ``seconds``) and
    ``comparisons``, those with the first baseline first; ``mean`` → ``comparisons`` of the mean
    over all subsets.

    Args:
        systems: those of one name are runs of one system.
        prepared: the folder of the raw sources and references.
        subsets: names of the manifest, or test sets that sacreBLEU knows.
        output: folder for the translations, a file per run and subset.
        search: how to translate.
        baselines: names of systems; by default the first one.
        options: how to score.

    Raises:
        UserError: no such subset, or it cannot be scored so.
    """
    comet = _comet(options, systems[0].device.type == "cpu")
    if comet:
        comet.load()
    sets = {subset: _set(prepared, subset, options, comet) for subset in subsets}
    scored: dict[str, list[_Scored]] = {subset: [] for subset in subsets}
    for system, run in zip(systems, _run_names(systems), strict=True):
        with closing(system):
            for subset, test_set in sets.items():
                scored[subset].append(_score(system, run, search, subset, test_set, output))
    by_system = {subset: _by_system(of) for subset, of in scored.items()}
    means = compare_means(by_system.values(), baselines) if len(subsets) > 1 else []
    return {
        "subset": {
            subset: {
                "systems": [_row(one) for one in of],
                "comparisons": [asdict(one) for one in compare(by_system[subset], baselines)],
                **_by_domain(of, sets[subset], baselines),
            }
            for subset, of in scored.items()
        },
        "mean": {"comparisons": [asdict(one) for one in means]},
        "beam": search.beam,
        "lenpen": search.lenpen,
        "max_len": {"a": MAX_LEN_A, "b": MAX_LEN_B},
        "versions": {
            "fairseq": fairseq.__version__,
            "sacrebleu": sacrebleu.__version__,
            "torch": torch.__version__,
        },
    }


def _run_names(systems: Sequence[Translator]) -> list[str]:
    """What each run is called in the names of files."""
    names = [system.name for system in systems]
    return [run_name(name, names[:i].count(name)) for i, name in enumerate(names)]


def _by_system(scored: Sequence[_Scored]) -> dict[str, list[Scores]]:
    """The scores of all runs by the name of their system."""
    by_name: dict[str, list[Scores]] = {}
    for one in scored:
        by_name.setdefault(one.system.name, []).append(one.scores)
    return by_name


def _require_writable(folder: Path) -> None:
    """Fail before hours of work and not after."""
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryFile(dir=folder):
        pass


def _score(
    system: Translator,
    run: str,
    search: Search,
    subset: str,
    test_set: _Set,
    output: Path | None,
) -> _Scored:
    """Translate and score; what is to be kept is written before anything else can fail."""
    started = time.perf_counter()
    progress = f"{run}, {subset}"
    hypotheses = system.translate(test_set.source, progress=progress, **vars(search))
    seconds = time.perf_counter() - started
    written = output and output / f"{file_name(run)}.{file_name(subset)}.{test_set.language}"
    if written:
        with write_whole(written) as file:
            file.writelines(line + "\n" for line in hypotheses)
    return _Scored(system, hypotheses, written, seconds, test_set.score(hypotheses))


def _by_domain(
    scored: Sequence[_Scored], test_set: _Set, baselines: Sequence[str]
) -> dict[str, Any]:
    """The scores and comparisons of each domain, if there are any."""
    by_domain = {}
    for domain, lines in test_set.domains.items():
        parts = [replace(one, scores=test_set.score(one.hypotheses, lines)) for one in scored]
        compared = compare(_by_system(parts), baselines)
        by_domain[domain] = {
            "sentences": len(lines),
            "systems": [
                {"name": one.system.name, **{name: asdict(s) for name, s in one.scores.items()}}
                for one in parts
            ],
            "comparisons": [asdict(one) for one in compared],
        }
    return {"domains": by_domain} if by_domain else {}


def _row(scored: _Scored) -> dict[str, Any]:
    system = scored.system
    return {
        "name": system.name,
        "checkpoint": ":".join(map(str, system.paths)),
        "parameters": system.parameters,
        "tie": system.tie_signature,
        **{metric: asdict(each) for metric, each in scored.scores.items()},
        "seconds": round(scored.seconds, 3),
        "sentences": len(scored.hypotheses),
        "device": system.device.type,
        "weights": system.weights,
        **({"translations": str(scored.written)} if scored.written else {}),
    }
