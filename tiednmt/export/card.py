"""The model card of a model folder, for programs and for people."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from tiednmt import __version__
from tiednmt.errors import UserError
from tiednmt.export.trained import TrainedModel
from tiednmt.metrics import metric_names
from tiednmt.typed import from_json

Scores = Mapping[str, Mapping[str, Mapping[str, Any]]]  # test set → metric → score and signature
FLOAT32, INT8 = "float32", "int8"  # weights


@dataclass(frozen=True, kw_only=True)
class Origin:
    """How a model came to be: ``full_scores`` are BLEU by test set before it was rounded."""

    experiment: str
    row: str
    seed: int
    updates: int
    command: str
    versions: Mapping[str, str]
    full_scores: Mapping[str, float]


def card(
    trained: TrainedModel, weights: str, size: int, scores: Scores, origin: Origin | None = None
) -> dict[str, Any]:
    """The card of a model whose files have ``size`` bytes, as JSON has it."""
    tie_map, settings = trained.model.tie_map, trained.pipeline.settings
    return {
        "source": settings.source,
        "target": settings.target,
        "architecture": trained.architecture,
        "tying": tie_map.tying,
        "tie": tie_map.signature,
        "tie_map": tie_map.to_json(),
        "parameters": tie_map.total,
        "parameters_untied": tie_map.untied_total,
        "weights": weights,
        "bytes": size,
        "segmentation": settings.segmentation,
        "vocabulary": {"source": len(trained.source), "target": len(trained.target)},
        "scores": scores,
        **({"origin": asdict(origin)} if origin else {}),
        "tiednmt": __version__,
    }


def scores_of(
    evaluation: Mapping[str, Any], model: Path, weights: str
) -> dict[str, dict[str, dict[str, Any]]] | None:
    """The scores of a model in what ``evaluate`` returned, by test set and metric.

    None if, on one of the test sets, no system is this model alone with weights of this dtype.
    """
    scores: dict[str, dict[str, dict[str, Any]]] = {}
    for subset, result in evaluation["subset"].items():
        for one in result["systems"]:
            same = Path(one["checkpoint"]).resolve() == model.resolve()
            if same and one.get("weights", FLOAT32) == weights:
                scores[subset] = {
                    name: {key: one[name][key] for key in ("score", "signature")}
                    for name in metric_names(one)
                }
    return scores if len(scores) == len(evaluation["subset"]) else None


@dataclass(frozen=True)
class _Score:
    score: float
    signature: str


def scores_in(path: Path, model: Path, weights: str) -> dict[str, dict[str, dict[str, Any]]]:
    """The scores of a model in what ``evaluate --json`` wrote, by test set and metric.

    Raises:
        UserError: no such file, or none of its systems is this model alone with such weights.
    """
    try:
        scores = scores_of(json.loads(path.read_text(encoding="utf-8")), model, weights)
        from_json(Mapping[str, Mapping[str, _Score]], scores or {})
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        raise UserError(f"--scores {path}: not what tiednmt evaluate --json wrote") from None
    if scores is None:
        option = " --int8" if weights == INT8 else ""
        raise UserError(
            f"--scores {path}: has none of {model} with {weights} weights; write them with "
            f"tiednmt evaluate{option} --json, or leave --scores out"
        )
    return scores


def page(content: Mapping[str, Any]) -> str:
    """The card as Markdown, with the front matter that model hubs read."""
    source, target = content["source"], content["target"]
    saved = 1 - content["parameters"] / content["parameters_untied"]
    rows = {
        "languages": f"{source} → {target}",
        "architecture": f"`{content['architecture']}`",
        "tying": content["tying"],
        "parameters": f"{content['parameters']:,}"
        + (f" ({saved:.0%} fewer than untied)" if saved else ""),
        "weights": content["weights"],
        "size": f"{content['bytes'] / 1e6:.1f} MB",
        "units": f"{content['segmentation']}, "
        + " and ".join(f"{size:,} {side}" for side, size in content["vocabulary"].items()),
        "tie signature": _code(content["tie"]),
    }
    scored = [
        f"| {subset} | {name} | {metrics[key]['score']:.2f} | {_code(metrics[key]['signature'])} |"
        for subset, metrics in content["scores"].items()
        for key, name in metric_names(metrics).items()
    ]
    table = ["", "## Scores", "", "| test set | metric | score | signature |", "|---|---|---|---|"]
    lines = [
        "---",
        f"language: {json.dumps([source, target])}",  # in quotes: no is false in YAML
        "library_name: tiednmt",
        "tags: [translation, weight-tying]",
        "---",
        "",
        f"# {source} → {target}, `{content['architecture']}`",
        "",
        "| | |",
        "|---|---|",
        *(f"| {name} | {value} |" for name, value in rows.items()),
        *([*table, *scored] if scored else []),
        *(_origin(content["origin"], content["weights"]) if "origin" in content else []),
        "",
        "## Use",
        "",
        "```python",
        "import tiednmt",
        "",
        'translator = tiednmt.load("FOLDER")  # this one',
        'print(translator.translate(["…"]))',
        "```",
        "",
    ]
    return "\n".join(lines)


def _origin(origin: Mapping[str, Any], weights: str) -> list[str]:
    scores = ", ".join(f"{score:.2f} on {name}" for name, score in origin["full_scores"].items())
    versions = ", ".join(f"{name} {version}" for name, version in origin["versions"].items())
    return [
        "",
        "## Training",
        "",
        f"The row {origin['row']} of the experiment {origin['experiment']}, seed {origin['seed']}, "
        f"{origin['updates']:,} updates; that seed has the lowest validation loss. Before the "
        f"weights were {weights} its BLEU was {scores}.",
        "",
        "```bash",
        origin["command"],
        "```",
        "",
        f"With {versions}.",
    ]


def _code(text: str) -> str:
    """In a cell of a table."""
    return f"`{text}`".replace("|", r"\|")
