"""Systems on raw test sets: translations, scores and comparisons as one record."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import fairseq
import sacrebleu
import torch

from preprocess.files import write_whole
from scripts.lab.options import option
from scripts.lab.score.bleu import compare, score
from scripts.lab.score.prepared import Prepared
from scripts.lab.score.systems import file_name, parse_systems
from scripts.lab.score.translate import (
    DEFAULT_SEARCH,
    MAX_LEN_A,
    MAX_LEN_B,
    Search,
    System,
    load_system,
)
from tiednmt.errors import UserError


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


def load_systems(texts: Sequence[str], options: Options, prepared: Prepared) -> list[System]:
    """The systems that a command line names, once all that can be checked before is checked.

    Args:
        texts: ``[NAME=]CHECKPOINT[:CHECKPOINT…]`` each.
        options: what is to be done with them.
        prepared: the folder ``options.data``.

    Raises:
        UserError: a name given twice, an unknown baseline or subset, several systems for one text,
            a checkpoint that cannot be used.
        OSError: where nothing can be written.
    """
    named = parse_systems(texts)
    if options.input is not None and len(named) > 1:
        raise UserError("--input translates with one system")
    for baseline in options.baseline:
        if baseline not in named:
            raise UserError(f"--baseline {baseline}: no such system, only {', '.join(named)}")
    for folder in (options.json and options.json.parent, options.output):
        if folder:
            _require_writable(folder)
    for subset in options.subset:
        prepared.pairs(subset)
    return [
        load_system(name, paths, prepared, options.cpu, int8=options.int8)
        for name, paths in named.items()
    ]


@dataclass(frozen=True)
class _Translated:
    """What a system made of a subset."""

    hypotheses: list[str]
    seconds: float


def evaluate(
    systems: Sequence[System],
    prepared: Prepared,
    subsets: Sequence[str],
    output: Path | None = None,
    search: Search = DEFAULT_SEARCH,
    baselines: Sequence[str] = (),
) -> dict[str, Any]:
    """Translate and score each subset with each system, and compare with each baseline.

    Returns the record that ``--json`` writes: ``subset`` → ``systems`` (scores with ``mean``,
    ``ci`` and ``signature``, translation ``seconds``) and ``comparisons``, those with the first
    baseline first.

    Args:
        systems: with distinct names.
        prepared: the folder of the raw sources and references.
        subsets: names of the manifest, or test sets that sacreBLEU knows.
        output: folder for the translations, a file per system and subset.
        search: how to translate.
        baselines: names of systems; by default the first one.

    Raises:
        UserError: no such subset.
    """
    pairs = {subset: prepared.pairs(subset) for subset in subsets}
    translated: dict[str, dict[str, _Translated]] = {subset: {} for subset in subsets}
    for system in systems:
        with closing(system):
            for subset, (source, _) in pairs.items():
                translated[subset][system.name] = _translate(system, source, search, subset)
    return {
        "subset": {
            subset: {
                "systems": [
                    _row(system, translated[subset][system.name], references)
                    | _written(system, translated[subset][system.name], subset, prepared, output)
                    for system in systems
                ],
                "comparisons": _comparisons(
                    {name: each.hypotheses for name, each in translated[subset].items()},
                    references,
                    baselines or [systems[0].name],
                ),
            }
            for subset, (_, references) in pairs.items()
        },
        "beam": search.beam,
        "lenpen": search.lenpen,
        "max_len": {"a": MAX_LEN_A, "b": MAX_LEN_B},
        "versions": {
            "fairseq": fairseq.__version__,
            "sacrebleu": sacrebleu.__version__,
            "torch": torch.__version__,
        },
    }


def _require_writable(folder: Path) -> None:
    """Fail before hours of work and not after."""
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryFile(dir=folder):
        pass


def _translate(system: System, source: Sequence[str], search: Search, subset: str) -> _Translated:
    started = time.perf_counter()
    hypotheses = system.translate(source, search, f"{system.name}, {subset}")
    return _Translated(hypotheses, time.perf_counter() - started)


def _row(system: System, translated: _Translated, references: Sequence[str]) -> dict[str, Any]:
    scores = score(translated.hypotheses, references)
    return {
        "name": system.name,
        "checkpoint": ":".join(map(str, system.checkpoints)),
        "parameters": system.parameters,
        "tie": system.tie_signature,
        **{metric: asdict(each) for metric, each in scores.items()},
        "seconds": round(translated.seconds, 3),
        "sentences": len(references),
        "device": system.device.type,
    }


def _written(
    system: System, translated: _Translated, subset: str, prepared: Prepared, output: Path | None
) -> dict[str, str]:
    """Where the translations are, if they are to be kept."""
    if output is None:
        return {}
    name = f"{file_name(system.name)}.{file_name(subset)}.{prepared.pipeline.target}"
    with write_whole(output / name) as file:
        file.writelines(line + "\n" for line in translated.hypotheses)
    return {"translations": str(output / name)}


def _comparisons(
    translations: Mapping[str, Sequence[str]],
    references: Sequence[str],
    baselines: Sequence[str],
) -> list[dict[str, Any]]:
    """Every system with every baseline."""
    if len(translations) < 2:
        return []
    comparisons = []
    for baseline in baselines:
        first = {baseline: translations[baseline]}
        comparisons += compare({**first, **translations}, references)
    return [asdict(comparison) for comparison in comparisons]
