"""Systems on raw test sets: translations, scores and comparisons as one record."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import fairseq
import sacrebleu
import torch

from preprocess.files import write_whole
from scripts.lab.options import option
from scripts.lab.score.bleu import (
    Scores,
    Scoring,
    compare,
    compare_means,
    score,
    tokenizer_for,
)
from scripts.lab.score.comet import Comet
from scripts.lab.score.prepared import Prepared
from scripts.lab.score.systems import file_name, parse_systems, run_name
from scripts.lab.score.tokenised import TOKENISED_BLEU, tokenised_bleu
from scripts.lab.score.translate import (
    DEFAULT_SEARCH,
    MAX_LEN_A,
    MAX_LEN_B,
    Search,
    System,
    load_system,
)
from tiednmt.errors import UserError
from tiednmt.text.lines import read_lines


@dataclass(frozen=True, kw_only=True)
class ScoringOptions:
    """How test sets are scored."""

    tokenize: str | None = option(
        "sacreBLEU's tokeniser for BLEU (default: by target language zh, ja-mecab, ko-mecab, char"
        " where words are not set apart, else 13a)",
        default=None,
        metavar="NAME",
    )
    lowercase: bool = option("score without regard to case", default=False)
    chrf_word_order: int = option("2 makes chrF++ of chrF", default=0)
    comet: str | None = option(
        "score by this model of COMET too, such as Unbabel/wmt22-comet-da, or a checkpoint file of"
        " one that you trust (pip install unbabel-comet)",
        default=None,
        metavar="MODEL",
    )
    domains: Path | None = option(
        "a label per line of the subset: lines of one label are scored by themselves too",
        default=None,
        metavar="FILE",
    )


DEFAULT_SCORING_OPTIONS = ScoringOptions()


@dataclass(frozen=True, kw_only=True)
class Options:
    """Options of ``scripts.evaluate``, beside the systems and the search.

    Raises:
        UserError: options that exclude each other.
    """

    data: Path = option("folder of preprocess.*", metavar="PREPARED")
    subset: tuple[str, ...] = option(
        "test set to score, of the folder or of sacreBLEU (wmt14/full); may be repeated",
        default=(),
        repeated=True,
    )
    input: str | None = option(
        "plain text to translate instead; - reads stdin", default=None, metavar="FILE"
    )
    baseline: tuple[str, ...] = option(
        "system that the others are compared with; may be repeated (default: the first)",
        default=(),
        repeated=True,
    )
    cpu: bool = option("run on the CPU, even with a GPU", default=False)
    int8: bool = option("decode with int8 weights, on the CPU", default=False)
    json: Path | None = option("write scores as JSON", default=None, metavar="FILE")
    output: Path | None = option(
        "write translations, a file per system and subset", default=None, metavar="DIR"
    )

    def __post_init__(self) -> None:
        if bool(self.subset) == (self.input is not None):
            raise UserError("give either --subset, to score, or --input, to translate")
        if self.input is not None and (self.json or self.output):
            raise UserError("--json and --output go with --subset; --input writes to stdout")
        if self.json and self.json.is_dir():
            raise UserError(f"--json {self.json}: a folder; give the name of a file")


def load_systems(
    texts: Sequence[str],
    options: Options,
    prepared: Prepared,
    scoring: ScoringOptions = DEFAULT_SCORING_OPTIONS,
) -> list[System]:
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
    for baseline in options.baseline:
        if baseline not in named:
            raise UserError(f"--baseline {baseline}: no such system, only {', '.join(named)}")
    for folder in (options.json and options.json.parent, options.output):
        if folder:
            _require_writable(folder)
    if scoring.domains and len(options.subset) != 1:
        raise UserError(f"--domains {scoring.domains}: goes with one --subset")
    _comet(scoring, options.cpu)
    for subset in options.subset:
        _set(prepared, subset, scoring)
    prepared.require_as_prepared(options.subset)
    systems = [
        load_system(name, paths, prepared, options.cpu, int8=options.int8)
        for name, runs in named.items()
        for paths in runs
    ]
    prepared.require_dictionaries_as_prepared()
    return systems


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
        scores = score(first, second, self.scoring, more)
        if self.scoring.tokenize == "13a":  # and not a tokeniser of some language's own
            note = self.scoring.note
            scores[TOKENISED_BLEU] = tokenised_bleu(first, [second, *more], self.language, note)
        if self.comet:
            scores["comet"] = self.comet.score(first, source, second, self.scoring.normalised)
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
    found, pipeline = prepared.test_set(subset), prepared.pipeline
    written = [
        [pipeline.as_written(line, pipeline.target) for line in lines] for lines in found.references
    ]
    changed = written != [[" ".join(line.split()) for line in lines] for lines in found.references]
    references = written if changed else found.references
    scoring = Scoring(
        options.tokenize or tokenizer_for(pipeline.target, references[0]),
        options.lowercase,
        options.chrf_word_order,
        "+".join(pipeline.settings.normalisation) if changed else "",
    )
    domains: dict[str, list[int]] = {}
    if options.domains:
        for i, label in enumerate(_labels(options.domains, len(found.source))):
            domains.setdefault(label, []).append(i)
    return _Set(found.source, references, scoring, domains, comet, pipeline.target)


def _labels(path: Path, lines: int) -> list[str]:
    labels = [label.strip() for label in read_lines(path)]
    if len(labels) != lines:
        raise UserError(f"--domains {path}: {len(labels):,} labels for {lines:,} lines")
    return labels


@dataclass(frozen=True)
class _Scored:
    """What a run of a system made of a subset."""

    system: System
    run: str  # what it is called in the names of files
    hypotheses: list[str]
    seconds: float
    scores: Scores


def evaluate(
    systems: Sequence[System],
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
    sets = {subset: _set(prepared, subset, options, comet) for subset in subsets}
    scored: dict[str, list[_Scored]] = {subset: [] for subset in subsets}
    for system, run in zip(systems, _run_names(systems), strict=True):
        with closing(system):
            for subset, test_set in sets.items():
                scored[subset].append(_score(system, run, search, subset, test_set))
    by_system = {subset: _by_system(of) for subset, of in scored.items()}
    means = compare_means(by_system.values(), baselines) if len(subsets) > 1 else []
    return {
        "subset": {
            subset: {
                "systems": [_row(one) | _written(one, subset, prepared, output) for one in of],
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


def _run_names(systems: Sequence[System]) -> list[str]:
    """What each run is called in the names of files."""
    names = [system.name for system in systems]
    return [run_name(name, names[:i].count(name)) for i, name in enumerate(names)]


def _by_system(scored: Sequence[_Scored]) -> dict[str, list[Scores]]:
    """The scores of all runs by the name of their system."""
    found: dict[str, list[Scores]] = {}
    for one in scored:
        found.setdefault(one.system.name, []).append(one.scores)
    return found


def _require_writable(folder: Path) -> None:
    """Fail before hours of work and not after."""
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryFile(dir=folder):
        pass


def _score(
    system: System,
    run: str,
    search: Search,
    subset: str,
    test_set: _Set,
) -> _Scored:
    started = time.perf_counter()
    hypotheses = system.translate(test_set.source, search, f"{run}, {subset}")
    seconds = time.perf_counter() - started
    return _Scored(system, run, hypotheses, seconds, test_set.score(hypotheses))


def _by_domain(
    scored: Sequence[_Scored], test_set: _Set, baselines: Sequence[str]
) -> dict[str, Any]:
    """The scores and comparisons of each domain, if there are any."""
    found = {}
    for domain, lines in test_set.domains.items():
        parts = [replace(one, scores=test_set.score(one.hypotheses, lines)) for one in scored]
        compared = compare(_by_system(parts), baselines)
        found[domain] = {
            "sentences": len(lines),
            "systems": [
                {"name": one.system.name, **{name: asdict(s) for name, s in one.scores.items()}}
                for one in parts
            ],
            "comparisons": [asdict(one) for one in compared],
        }
    return {"domains": found} if found else {}


def _row(scored: _Scored) -> dict[str, Any]:
    system = scored.system
    return {
        "name": system.name,
        "checkpoint": ":".join(map(str, system.checkpoints)),
        "parameters": system.parameters,
        "tie": system.tie_signature,
        **{metric: asdict(each) for metric, each in scored.scores.items()},
        "seconds": round(scored.seconds, 3),
        "sentences": len(scored.hypotheses),
        "device": system.device.type,
    }


def _written(
    scored: _Scored, subset: str, prepared: Prepared, output: Path | None
) -> dict[str, str]:
    """Where the translations are, if they are to be kept."""
    if output is None:
        return {}
    name = f"{file_name(scored.run)}.{file_name(subset)}.{prepared.pipeline.target}"
    with write_whole(output / name) as file:
        file.writelines(line + "\n" for line in scored.hypotheses)
    return {"translations": str(output / name)}
