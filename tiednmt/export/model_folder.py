"""Model folders: everything that a translator needs, and nothing that can run code.

=====================  =========================================================================
``model.safetensors``  every matrix once; the metadata say which other names each has
``config.json``        architecture and options, the hash of each file but of the card
``dict.*.txt``         the dictionaries
``segmentation/``      how text is made into units: byte-pair codes or a model of sentencepiece
``card.json``          parameters, tie signature, size, scores
``README.md``          the card for people
=====================  =========================================================================

With int8 weights, a matrix is an integer table, NAME, and a scale per row, NAME.scale. The table of
a tied matrix serves both lookups and scores.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from fairseq.data import Dictionary
from fairseq.models import ARCH_MODEL_REGISTRY
from omegaconf.errors import OmegaConfBaseException
from torch import Tensor

from tiednmt import __version__
from tiednmt.errors import UserError
from tiednmt.export.card import FLOAT32, INT8, Origin, Scores, card, page
from tiednmt.export.int8 import rounded, unrounded
from tiednmt.export.safetensors import TensorFile, write_tensors
from tiednmt.export.trained import TrainedModel
from tiednmt.files import folder_when_whole, sha256, write_json
from tiednmt.models.model_options import as_config, not_read_again
from tiednmt.models.tied_model import TiedModel
from tiednmt.tasks.tied_translation import TiedTranslationConfig, TiedTranslationTask
from tiednmt.text.manifest import SEGMENTATION
from tiednmt.text.pipeline import TextPipeline
from tiednmt.tying import aliases

CONFIG, WEIGHTS = "config.json", "model.safetensors"
CARD, README = "card.json", "README.md"
FORMAT = 1


def is_model_folder(path: Path) -> bool:
    """Whether a path is that of a model folder."""
    return (path / CONFIG).is_file()


def write_model_folder(
    folder: Path,
    trained: TrainedModel,
    int8: bool = False,
    scores: Scores | None = None,
    origin: Origin | None = None,
) -> None:
    """Write a model folder, which appears under its name only when it is complete.

    Args:
        folder: to be made; an empty one may be there.
        trained: what to write.
        int8: round every matrix to 8 bits, with a scale per row; rows of a model that was read in
            8 bits keep their bytes.
        scores: of the model, for the card.
        origin: how it came to be, likewise.

    Raises:
        UserError: there is something of that name, or it cannot be written.
    """
    with folder_when_whole(folder) as partial:
        _fill(partial, trained, int8 or trained.int8, scores or {}, origin)


def _fill(
    folder: Path, trained: TrainedModel, int8: bool, scores: Scores, origin: Origin | None
) -> None:
    state = {name: tensor.detach().cpu() for name, tensor in trained.model.state_dict().items()}
    tensors = rounded(_single(state), trained.rounded or {}) if int8 else _single(state)
    write_tensors(folder / WEIGHTS, tensors, {"format": "pt", **other_names(trained.model)})
    pipeline = trained.pipeline
    for code, file in zip(pipeline.languages, trained.dictionaries, strict=True):
        shutil.copyfile(file, folder / f"dict.{code}.txt")
    pipeline.save(folder / SEGMENTATION)
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    write_json(
        folder / CONFIG,
        {
            "format": FORMAT,
            "tiednmt": __version__,
            "architecture": trained.architecture,
            "weights": INT8 if int8 else FLOAT32,
            "model": dict(trained.options),
            "files": {path.relative_to(folder).as_posix(): sha256(path) for path in files},
        },
    )
    size = sum(path.stat().st_size for path in files)
    content = card(trained, INT8 if int8 else FLOAT32, size, scores, origin)
    write_json(folder / CARD, content)
    (folder / README).write_text(page(content), encoding="utf-8")


def other_names(model: TiedModel) -> dict[str, str]:
    """Each further name of a tensor, and the one that it is stored under."""
    return dict(aliases(model))


def _single(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """In single precision, but for whole numbers and scalars."""
    return {
        name: tensor.float() if tensor.is_floating_point() and tensor.dim() else tensor
        for name, tensor in state.items()
    }


# --- reading -----------------------------------------------------------------------------------


def read_model_folder(folder: Path) -> TrainedModel:
    """Read what :func:`write_model_folder` wrote.

    Raises:
        UserError: no such folder, a later version of it, or a file that is not the one written.
    """
    config = _read_config(folder)
    for name, digest in config["files"].items():
        file = folder / name
        if not file.is_file() or sha256(file) != digest:
            raise UserError(
                f"{file}: not the file that was written, by the hash in {folder / CONFIG}; "
                "copy the folder again or export the model again"
            )
    pipeline = TextPipeline.saved(folder / SEGMENTATION)
    codes = pipeline.languages
    source, target = (folder / f"dict.{code}.txt" for code in codes)
    dictionaries = Dictionary.load(str(source)), Dictionary.load(str(target))
    tensors = TensorFile(folder / WEIGHTS).read_all()
    is_int8 = config["weights"] == INT8
    model = _build(folder, config, dictionaries)
    try:
        model.load_state_dict(unrounded(tensors) if is_int8 else tensors)
    except UserError as error:
        raise UserError(f"{folder}: {error}") from error
    longest = model.max_positions()
    task = TiedTranslationConfig(
        source_lang=codes[0],
        target_lang=codes[1],
        max_source_positions=longest[0],
        max_target_positions=longest[1],
    )
    return TrainedModel(
        architecture=config["architecture"],
        options=config["model"],
        model=model.eval(),
        task=TiedTranslationTask(task, *dictionaries),
        dictionaries=(source, target),
        pipeline=pipeline,
        rounded=tensors if is_int8 else None,
    )


def _build(
    folder: Path, config: Mapping[str, Any], dictionaries: tuple[Dictionary, Dictionary]
) -> TiedModel:
    name = config["architecture"]
    model_class: Any = ARCH_MODEL_REGISTRY.get(name)
    if model_class is None or not issubclass(model_class, TiedModel):
        raise UserError(
            f"{folder / CONFIG}: this version of tiednmt ({__version__}) knows no {name}; it was "
            f"written by {config['tiednmt']}"
        )
    given = config["model"]
    options = as_config({**given, **not_read_again(given)})
    try:
        model: TiedModel = model_class.build(options, *dictionaries)
    except UserError as error:
        raise UserError(f"{folder / CONFIG}: {error}") from error
    except (OmegaConfBaseException, TypeError) as error:  # an option is missing, or no number
        reason = str(error).splitlines()[0]
        raise UserError(f"{folder / CONFIG}: not the options of a {name} ({reason})") from error
    return model


def _read_config(folder: Path) -> dict[str, Any]:
    path = folder / CONFIG
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UserError(f"{path}: no such file, so {folder} is not a model folder") from None
    except (ValueError, RecursionError):
        raise UserError(f"{path}: not JSON; copy the folder again") from None
    fields = {"tiednmt": str, "architecture": str, "weights": str, "model": dict, "files": dict}
    if not isinstance(config, dict) or not isinstance(config.get("format"), int):
        raise UserError(f"{path}: not the configuration of a model folder of tiednmt export")
    if config["format"] > FORMAT:
        raise UserError(
            f"{path}: of format {config['format']}, not {FORMAT}; install the version of tiednmt "
            f"that wrote it ({config.get('tiednmt')})"
        )
    for name, kind in fields.items():
        if not isinstance(config.get(name), kind):
            raise UserError(f"{path}: {name} {config.get(name)!r}: not what a model folder has")
    if config["weights"] not in (FLOAT32, INT8):
        raise UserError(
            f"{path}: weights {config['weights']!r}: only {FLOAT32} and {INT8} are known"
        )
    if any(Path(name).is_absolute() or ".." in Path(name).parts for name in config["files"]):
        raise UserError(f"{path}: names files outside of the folder")
    return config
