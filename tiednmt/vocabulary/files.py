"""Models on disk: a checkpoint of fairseq with its prepared folder, read and written beside.

All of a changed model is in one new folder: the checkpoint, the dictionaries (``data-bin``), the
segmentation (``bpe``, ``manifest.json``) and the raw held-out sets, so that it can be used like a
prepared folder. The folder gets its name when it is complete.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from fairseq.data import Dictionary
from fairseq.data.data_utils import infer_language_pair
from fairseq.models import ARCH_MODEL_REGISTRY
from omegaconf import DictConfig, OmegaConf

from tiednmt.checkpoints import read_checkpoint, registered_name, write_checkpoint
from tiednmt.errors import CheckpointError, UserError
from tiednmt.models.tied_model import TiedModel
from tiednmt.text.lines import read_lines
from tiednmt.text.manifest import MANIFEST, data_bins, read_manifest, reference_file
from tiednmt.text.pipeline import TextSettings
from tiednmt.tying import DIGEST, vocabulary_digest
from tiednmt.vocabulary.model import TrainedModel
from tiednmt.vocabulary.moments import Moments
from tiednmt.vocabulary.segmentation import Segmentation, Subwords, WhiteSpace

CHECKPOINT = "checkpoint.pt"
_AVERAGES = ("ema", "ema_fp32_params")
# options of a model that say how it was trained, and of what rows or files
_OF_TRAINING = {
    "train_rows": "",
    "freeze_embeddings": False,
    "encoder_embed_path": "",
    "decoder_embed_path": "",
}


@dataclass(frozen=True)
class Folder:
    """A model as it was found.

    Attributes:
        model: what surgery works on.
        segmentation: from raw text to units; white space where there is no prepared folder.
        languages: source and target; empty of a language model.
        path: of the checkpoint.
        state: all else that is in it.
        prepared: the prepared folder; None where there are dictionaries alone.
    """

    model: TrainedModel
    segmentation: Segmentation
    languages: tuple[str, ...]
    path: Path
    state: Mapping[str, Any]
    prepared: Path | None

    @property
    def bytes(self) -> int:
        """Of the weights."""
        return sum(w.numel() * w.element_size() for w in self.model.weights.values())

    def unit_counts(self) -> tuple[dict[str, int], dict[str, int]] | None:
        """How often the training text of each side has each unit, where that is known."""
        if not isinstance(self.segmentation, Subwords):
            return None
        vocabularies = self.segmentation.vocabularies
        source, target = (dict(vocabularies.get(language, {})) for language in self.languages)
        return source, target

    def old_tokens(self, language: str) -> dict[str, int] | None:
        """The tokens of the training text of a language and their counts, where they are kept."""
        if self.prepared is None or not isinstance(self.segmentation, Subwords):
            return None
        words = self.prepared / "tokenised" / f"words.{language}"
        if self.segmentation.model or not words.is_file():
            return None
        pairs = (line.rsplit(" ", 1) for line in read_lines(words))
        return {word: int(count) for word, count in pairs}


# --- reading -----------------------------------------------------------------------------------


def read(path: Path, data: Path | None = None) -> Folder:
    """Read a checkpoint of this package, and the dictionaries it was trained with.

    Args:
        path: of the checkpoint.
        data: a prepared folder or a data-bin; by default the one the checkpoint was trained on.

    Raises:
        UserError: something is missing or damaged, or the dictionaries are another model's.
    """
    state = read_checkpoint(path)
    if state["cfg"] is None:
        raise UserError(f"{path}: holds no configuration, so it is no checkpoint of fairseq-train")
    name = registered_name(state["cfg"]["model"]) or ""
    kind = ARCH_MODEL_REGISTRY.get(name)
    if kind is None or not issubclass(kind, TiedModel):
        raise UserError(
            f"{path}: a model of the architecture {name}, and only those of this package can be "
            "changed; make it one with python -m scripts.convert_checkpoint"
        )
    options = _plain(state["cfg"]["model"])
    if data is None and (path.parent / "data-bin").is_dir():  # a folder that surgery wrote
        data = path.parent / "data-bin"
    data = data or Path(str(state["cfg"]["task"].data).split(os.pathsep)[0])
    prepared = _prepared_folder(data)
    data_bin = data if prepared is None else data_bins(prepared)[0]
    translates = "encoder." in "".join(state["model"])
    languages = _languages(state["cfg"]["task"], data_bin, path) if translates else ()
    files = [data_bin / f"dict.{language}.txt" for language in languages]
    dictionaries = [_dictionary(file) for file in files or [data_bin / "dict.txt"]]
    digest = state["model"].get(DIGEST)
    if digest is not None and not torch.equal(digest.cpu(), vocabulary_digest(*dictionaries)):
        raise CheckpointError(
            f"{path}: was trained on other dictionaries than those in {data_bin}; give the "
            "prepared folder that it was trained on as --data"
        )
    model = TrainedModel(
        architecture=name,
        options=options,
        weights=dict(state["model"]),
        source=dictionaries[0] if translates else None,
        target=dictionaries[-1],
        averages={k: dict(w) for k in _AVERAGES if (w := state["extra_state"].get(k))},
    )
    model = replace(model, moments=_moments(path, model, state.get("last_optimizer_state")))
    segmentation: Segmentation = WhiteSpace()
    if prepared is not None and translates:
        settings = TextSettings.from_manifest(read_manifest(prepared), prepared / MANIFEST)
        segmentation = Subwords.read(prepared / "bpe", settings)
    return Folder(model, segmentation, languages, path, state, prepared if translates else None)


def _plain(config: Any) -> dict[str, Any]:
    if not isinstance(config, DictConfig):
        return dict(vars(config))
    plain = OmegaConf.to_container(config, resolve=True, enum_to_str=True)
    assert isinstance(plain, dict)
    return {str(key): value for key, value in plain.items()}


def _prepared_folder(data: Path) -> Path | None:
    """The prepared folder that ``data`` is, or is the data-bin of."""
    for folder in (data, data.parent, data.parent.parent):
        if (folder / MANIFEST).is_file() and (folder / "bpe").is_dir():
            return folder
    if not data.is_dir():
        raise UserError(f"{data}: no such folder; give the prepared folder or data-bin as --data")
    return None


def _languages(task: Any, data_bin: Path, path: Path) -> tuple[str, str]:
    source, target = getattr(task, "source_lang", None), getattr(task, "target_lang", None)
    if source is None or target is None:
        with suppress(OSError):
            source, target = infer_language_pair(str(data_bin))
    if source is None or target is None:
        names = sorted(file.name.split(".")[1] for file in data_bin.glob("dict.*.txt"))
        raise UserError(
            f"{path}: does not say which languages it translates, and {data_bin} has "
            f"{', '.join(names) or 'none'}; train with --source-lang and --target-lang"
        )
    return str(source), str(target)


def _dictionary(path: Path) -> Dictionary:
    try:
        return Dictionary.load(str(path))
    except FileNotFoundError:
        raise UserError(
            f"{path}: no such dictionary; give the prepared folder or data-bin that the model was "
            "trained on as --data"
        ) from None
    except (ValueError, RuntimeError) as error:
        raise UserError(f"{path}: not a dictionary of fairseq ({error})") from None


def trained_names(model: TrainedModel) -> dict[str, torch.Size]:
    """The parameters that are trained, in the order of the model, with their shapes."""
    built = model.build()
    named = built.named_parameters()
    return {name: parameter.shape for name, parameter in named if parameter.requires_grad}


def _moments(path: Path, model: TrainedModel, optimizer: Any) -> Moments | None:
    """What the optimizer keeps; builds the model, so that what does not fit is found at once."""
    try:
        shapes = trained_names(model)
    except UserError as error:
        raise UserError(f"{path}: {error}") from error
    return None if not optimizer else Moments.read(optimizer, shapes)


# --- writing -----------------------------------------------------------------------------------


def write(
    found: Folder,
    model: TrainedModel,
    output: Path,
    segmentation: Segmentation | None = None,
    languages: tuple[str, ...] | None = None,
) -> str | None:
    """Write a changed model into a new folder.

    Args:
        found: what it was before.
        model: what it is now.
        output: the folder, which must not be there.
        segmentation: what goes with it; by default as before.
        languages: of the folder; by default as before.

    Returns:
        What to know about going on with its training, if something is lost.

    Raises:
        UserError: the folder is there, or cannot be written.
    """
    require_new(output)
    segmentation = segmentation or found.segmentation
    languages = found.languages if languages is None else languages
    names = list(trained_names(_ready_to_train(model)))  # loads it: what is written is whole
    optimizer = None if model.moments is None else model.moments.write(names)
    partial = output.with_name(output.name + ".partial")
    shutil.rmtree(partial, ignore_errors=True)
    try:
        data_bin = partial / "data-bin"
        data_bin.mkdir(parents=True)
        for language, dictionary in zip(languages or (None,), model.dictionaries, strict=True):
            name = "dict.txt" if language is None else f"dict.{language}.txt"
            dictionary.save(str(data_bin / name))
        private = _write_private_units(model, data_bin)
        if isinstance(segmentation, Subwords) and found.prepared is not None:
            segmentation.write(partial / "bpe")
            if model.is_joint:
                model.target.save(str(partial / "bpe" / "dict.txt"))
            _write_manifest(found.prepared, segmentation.settings, partial)
        options = {**_ready_to_train(model).options, **private}
        state = _state(found, model, options, optimizer, output / "data-bin", languages)
        write_checkpoint(partial / CHECKPOINT, state)
        os.replace(partial, output)
    except BaseException as error:
        shutil.rmtree(partial, ignore_errors=True)
        if isinstance(error, OSError):
            raise UserError(f"{output}: cannot be written: {error.strerror or error}") from error
        raise
    if optimizer is None and found.state.get("last_optimizer_state"):
        return (
            "the optimizer's state could not be kept: train on with --finetune-from-model "
            f"{output / CHECKPOINT}"
        )
    return None


def require_new(output: Path) -> None:
    """Refuse to write over something."""
    if output.exists():
        raise UserError(f"--output {output}: is there already; choose another name, or remove it")


def _ready_to_train(model: TrainedModel) -> TrainedModel:
    """All rows are trained again unless told otherwise, and nothing is read anew."""
    options = {name: _OF_TRAINING.get(name, value) for name, value in model.options.items()}
    return replace(model, options=options)


def _state(
    found: Folder,
    model: TrainedModel,
    options: Mapping[str, Any],
    optimizer: Any,
    data_bin: Path,
    languages: tuple[str, ...],
) -> dict[str, Any]:
    whole = OmegaConf.to_container(found.state["cfg"], resolve=True, enum_to_str=True)
    assert isinstance(whole, dict)
    task = {**whole["task"], "data": str(data_bin)}
    if languages:
        task |= {"source_lang": languages[0], "target_lang": languages[1]}
    extra = {**found.state["extra_state"], **(model.averages or {})}
    # another vocabulary has other batches and another loss: what was best is best no longer
    extra = {key: value for key, value in extra.items() if key not in ("best", "val_loss")}
    extra["train_iterator"] = {**extra["train_iterator"], "iterations_in_epoch": 0}
    return {
        **found.state,
        "cfg": {**whole, "model": dict(options), "task": task},
        "model": model.weights,
        "extra_state": extra,
        "last_optimizer_state": optimizer,
    }


def _write_private_units(model: TrainedModel, data_bin: Path) -> dict[str, str]:
    """The list of units that have private rows; the option that names it."""
    name = str(model.options.get("private_units", ""))
    if not name or model.source is None:
        return {}
    units = model.weights["encoder.input_scale.private.units_version"].tolist()
    lines = (f"{model.source.symbols[unit]}\n" for unit in units)
    base = Path(name).name
    (data_bin / base).write_text("".join(lines), encoding="utf-8")
    return {"private_units": base}


def _write_manifest(prepared: Path, settings: TextSettings, folder: Path) -> None:
    manifest = read_manifest(prepared)
    pair = settings.source, settings.target
    same = pair == (manifest["source"], manifest["target"])
    subsets = dict(manifest.get("subsets") or {}) if same else {}
    for subset in subsets:
        references = (manifest.get("references") or {}).get(subset, 1)
        target = prepared / "raw" / f"{subset}.{pair[1]}"
        files = [prepared / "raw" / f"{subset}.{pair[0]}"]
        files += [reference_file(target, number) for number in range(1, references + 1)]
        for file in files:
            if file.is_file():
                (folder / "raw").mkdir(exist_ok=True)
                shutil.copyfile(file, folder / "raw" / file.name)
    # what else it says is of the text that was prepared, and of the files made of it
    gone = ("files", "counts", "vocabulary", "overlap", "originals")
    changed = {key: value for key, value in manifest.items() if key not in gone}
    changed |= {"source": pair[0], "target": pair[1], "subsets": subsets}
    if manifest.get("format") != 1:
        changed["text"] = settings.for_manifest()
    text = json.dumps(changed, ensure_ascii=False, indent=2) + "\n"
    (folder / MANIFEST).write_text(text, encoding="utf-8")
