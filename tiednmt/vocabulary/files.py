"""Read models from disk, and write changed ones into new folders.

A model folder becomes a model folder. From a checkpoint and its prepared folder, one new folder is
made with the checkpoint, the dictionaries (``data-bin``), the segmentation (``bpe``,
``manifest.json``) and the raw held-out sets, so that it can be used like a prepared folder. A
folder gets its name when it is complete.
"""

from __future__ import annotations

import json
import math
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from fairseq.models import ARCH_MODEL_REGISTRY
from omegaconf import OmegaConf

from tiednmt.checkpoints import (
    AVERAGES,
    configuration,
    data_of,
    plain_options,
    read_checkpoint,
    registered_name,
    write_checkpoint,
)
from tiednmt.errors import UserError
from tiednmt.export.model_folder import read_model_folder, write_model_folder
from tiednmt.export.reading import is_folder
from tiednmt.export.trained import TrainedModel
from tiednmt.files import folder_when_whole, refuse_what_fairseq_cuts
from tiednmt.models.model_options import OF_TRAINING
from tiednmt.models.parameters import PRIVATE_UNITS
from tiednmt.models.tied_model import TiedModel
from tiednmt.patches.optimizers import BAD_EPOCHS
from tiednmt.patches.training_end import PROGRESS
from tiednmt.tasks.tied_translation import TiedTranslationConfig, TiedTranslationTask
from tiednmt.text.counts import read_counts
from tiednmt.text.manifest import (
    MANIFEST,
    RAW,
    SEGMENTED,
    read_manifest,
    reference_file,
    words_file,
)
from tiednmt.text.pipeline import SENTENCEPIECE, TextPipeline, TextSettings
from tiednmt.vocabulary.byte_pairs import BytePairSubwords
from tiednmt.vocabulary.model import ModelState
from tiednmt.vocabulary.moments import Moments
from tiednmt.vocabulary.segmentation import Segmentation, WhiteSpace
from tiednmt.vocabulary.sentence_pieces import SentencePieceSubwords
from tiednmt.vocabulary.subwords import Subwords

CHECKPOINT = "checkpoint.pt"


@dataclass(frozen=True)
class StoredModel:
    """A model that was read from disk.

    Attributes:
        model: what surgery works on.
        segmentation: of raw text into units; by white space if there is no prepared folder.
        languages: source and target; empty for a language model.
        path: the checkpoint or the model folder.
        origin: the state of the checkpoint, or what was read from the model folder.
        prepared: the prepared folder of a checkpoint; None if it has only dictionaries, and for a
            model folder.
    """

    model: ModelState
    segmentation: Segmentation
    languages: tuple[str, ...]
    path: Path
    origin: Mapping[str, Any] | TrainedModel
    prepared: Path | None = None

    @property
    def is_folder(self) -> bool:
        """Whether it is a model folder, not a checkpoint."""
        return isinstance(self.origin, TrainedModel)

    @property
    def is_int8(self) -> bool:
        """Whether it is a model folder with int8 weights."""
        return isinstance(self.origin, TrainedModel) and self.origin.int8

    def model_in(self, output: Path) -> Path:
        """The path of the changed model in the folder ``output``, as commands take it."""
        return output if self.is_folder else output / CHECKPOINT

    def unit_counts(self) -> tuple[dict[str, int], dict[str, int]] | None:
        """How often the training text of each side has each unit, if known."""
        if not isinstance(self.segmentation, Subwords):
            return None
        source, target = map(self.segmentation.counts, self.languages)
        return source, target

    def old_tokens(self, language: str) -> dict[str, int] | None:
        """The tokens of the training text in a language and their counts, if they were kept."""
        if self.prepared is None or not isinstance(self.segmentation, Subwords):
            return None
        words = words_file(self.prepared, language)
        return dict(read_counts(words)) if words.is_file() else None


# --- reading -----------------------------------------------------------------------------------


def read(path: Path, data: Path | None = None) -> StoredModel:
    """Read a model of this package and the dictionaries it was trained with.

    Args:
        path: a model folder or a checkpoint.
        data: for a checkpoint, its prepared folder or data-bin; by default the one it was trained
            on.

    Raises:
        UserError: something is missing or damaged, or the dictionaries belong to another model.
    """
    return _read_folder(path) if is_folder(path, data) else _read_checkpoint(path, data)


def _read_folder(path: Path) -> StoredModel:
    trained = read_model_folder(path)
    model = ModelState(
        architecture=trained.architecture,
        options=trained.options,
        weights=trained.model.state_dict(),
        source=trained.source,
        target=trained.target,
    )
    pipeline = trained.pipeline
    segmentation = read_subwords(pipeline.folder, pipeline.settings)
    return StoredModel(model, segmentation, pipeline.languages, path, trained)


def _read_checkpoint(path: Path, data: Path | None) -> StoredModel:
    state = read_checkpoint(path)
    config = configuration(path, state)
    name = registered_name(config["model"]) or ""
    kind = ARCH_MODEL_REGISTRY.get(name)
    if kind is None or not issubclass(kind, TiedModel):
        raise UserError(
            f"{path}: a model of the architecture {name}, and only those of this package can be "
            "changed; make it one with python -m scripts.convert_checkpoint"
        )
    trained = data_of(path, state, data)
    dictionaries = trained.dictionaries
    model = ModelState(
        architecture=name,
        options=plain_options(config["model"]),
        weights=dict(state["model"]),
        source=dictionaries[0] if trained.languages else None,
        target=dictionaries[-1],
        averages={k: dict(w) for k in AVERAGES if (w := state["extra_state"].get(k))},
    )
    model = replace(model, moments=_moments(path, model, state.get("last_optimizer_state")))
    segmentation: Segmentation = WhiteSpace()
    if trained.prepared is not None:
        manifest = read_manifest(trained.prepared)
        settings = TextSettings.from_manifest(manifest, trained.prepared / MANIFEST)
        segmentation = read_subwords(trained.prepared / SEGMENTED, settings)
    return StoredModel(model, segmentation, trained.languages, path, state, trained.prepared)


def read_subwords(folder: Path, settings: TextSettings) -> Subwords:
    """The segmentation of a prepared folder, whose ``bpe`` folder this is.

    Raises:
        UserError: a file is missing or damaged.
    """
    TextPipeline(settings, folder).load_tools()  # raises the errors
    is_sentencepiece = settings.segmentation == SENTENCEPIECE
    kind: type[Subwords] = SentencePieceSubwords if is_sentencepiece else BytePairSubwords
    return kind.read(folder, settings)


def trained_names(model: ModelState) -> dict[str, torch.Size]:
    """The shapes of the trained parameters by name, in the order of the model."""
    built = model.build(as_trained=True)
    named = built.named_parameters()
    return {name: parameter.shape for name, parameter in named if parameter.requires_grad}


def _moments(path: Path, model: ModelState, optimizer: Any) -> Moments | None:
    """The optimizer's state. Builds the model, so that misfits are found before any work."""
    try:
        shapes = trained_names(model)
    except UserError as error:
        raise UserError(f"{path}: {error}") from error
    return None if not optimizer else Moments.read(optimizer, shapes)


# --- writing -----------------------------------------------------------------------------------


def write(
    stored: StoredModel,
    model: ModelState,
    output: Path,
    segmentation: Segmentation | None = None,
    languages: tuple[str, ...] | None = None,
    lists: Mapping[str, str] | None = None,
) -> str | None:
    """Write a changed model into a new folder.

    Args:
        stored: the model before.
        model: the model after the change.
        output: the folder, which must not exist.
        segmentation: its segmentation; by default as before.
        languages: its languages; by default as before.
        lists: further text files beside a checkpoint, by name.

    Returns:
        A message on how to continue training if the optimizer's state is lost, else None.

    Raises:
        UserError: the folder exists or cannot be written.
    """
    require_new(output)
    if not stored.is_folder:
        refuse_what_fairseq_cuts(output, "choose another --output")
    segmentation = segmentation or stored.segmentation
    ready = _ready_to_train(model)
    if isinstance(stored.origin, TrainedModel):
        assert isinstance(segmentation, Subwords)
        _write_folder(stored.origin, ready, output, segmentation)
        return None
    languages = stored.languages if languages is None else languages
    names = list(trained_names(ready))  # builds the model, so what is written can be loaded
    optimizer = None if model.moments is None else model.moments.write(names)
    with folder_when_whole(output) as partial:
        data_bin = partial / "data-bin"
        data_bin.mkdir()
        for language, dictionary in zip(languages or (None,), model.dictionaries, strict=True):
            name = "dict.txt" if language is None else f"dict.{language}.txt"
            dictionary.save(str(data_bin / name))
        private = _write_private_units(model, data_bin)
        if isinstance(segmentation, Subwords) and stored.prepared is not None:
            segmentation.write(partial / SEGMENTED)
            if model.is_joint:
                model.target.save(str(partial / SEGMENTED / "dict.txt"))
            _write_manifest(stored.prepared, segmentation.settings, partial)
        for name, text in (lists or {}).items():
            (partial / name).write_text(text, encoding="utf-8")
        options = {**ready.options, **private}
        before = stored.origin
        state = _state(before, model, options, optimizer, output / "data-bin", languages)
        write_checkpoint(partial / CHECKPOINT, state)
    if optimizer is None and before.get("last_optimizer_state"):
        return (
            "the optimizer's state is lost: continue training with --finetune-from-model "
            f"{output / CHECKPOINT}"
        )
    return None


def _write_folder(
    before: TrainedModel, model: ModelState, output: Path, segmentation: Subwords
) -> None:
    """Write a model folder; int8 rows that are kept have the same bytes, new ones are rounded."""
    assert model.source is not None
    settings = segmentation.settings
    task = TiedTranslationConfig(source_lang=settings.source, target_lang=settings.target)
    with TemporaryDirectory() as name:
        folder = Path(name)
        segmentation.write(folder / SEGMENTED)
        dictionaries = folder / "source.txt", folder / "target.txt"
        for dictionary, file in zip(model.dictionaries, dictionaries, strict=True):
            dictionary.save(str(file))
        changed = TrainedModel(
            architecture=model.architecture,
            options=model.options,
            model=model.build().eval(),
            task=TiedTranslationTask(task, model.source, model.target),
            dictionaries=dictionaries,
            pipeline=TextPipeline(settings, folder / SEGMENTED),
            rounded=before.rounded,
        )
        write_model_folder(output, changed)


def require_new(output: Path) -> None:
    """Refuse an output that exists."""
    if output.exists():
        raise UserError(f"--output {output}: already exists; choose another name, or remove it")


def _ready_to_train(model: ModelState) -> ModelState:
    """The model with options that train all rows and read no files of rows or vectors."""
    options = {name: OF_TRAINING.get(name, value) for name, value in model.options.items()}
    return replace(model, options=options)


def _state(
    before: Mapping[str, Any],
    model: ModelState,
    options: Mapping[str, Any],
    optimizer: Any,
    data_bin: Path,
    languages: tuple[str, ...],
) -> dict[str, Any]:
    whole = OmegaConf.to_container(before["cfg"], resolve=True, enum_to_str=True)
    assert isinstance(whole, dict)
    of_checkpoints = whole.get("checkpoint") or {}
    task = {**whole["task"], "data": str(data_bin)}
    if languages:
        task |= {"source_lang": languages[0], "target_lang": languages[1]}
    extra = {**before["extra_state"], **(model.averages or {})}
    # another vocabulary has other batches and another loss, so earlier values mean nothing
    gone = ("best", "val_loss", PROGRESS)
    extra = {key: value for key, value in extra.items() if key not in gone}
    extra["train_iterator"] = {**extra["train_iterator"], "iterations_in_epoch": 0}
    return {
        **before,
        "cfg": {**whole, "model": dict(options), "task": task},
        "model": model.weights,
        "extra_state": extra,
        "optimizer_history": _without_losses(before["optimizer_history"], of_checkpoints),
        "last_optimizer_state": optimizer,
    }


def _without_losses(
    history: Sequence[Mapping[str, Any]], options: Mapping[str, Any]
) -> list[dict[str, Any]]:
    """The history of training without what schedulers of the rate keep of validation losses."""
    worst = -math.inf if options.get("maximize_best_checkpoint_metric") else math.inf
    anew = {"best": worst, BAD_EPOCHS: 0, "losses": []}  # of a plateau, of tied_non_monotonic
    return [
        {**run, "lr_scheduler_state": {name: anew.get(name, kept) for name, kept in state.items()}}
        if isinstance(state := run.get("lr_scheduler_state"), Mapping)
        else dict(run)
        for run in history
    ]


def _write_private_units(model: ModelState, data_bin: Path) -> dict[str, str]:
    """Write the list of units with private rows; returns the option that names the file."""
    name = str(model.options.get("private_units", ""))
    if not name or model.source is None:
        return {}
    units = model.weights[PRIVATE_UNITS].tolist()
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
        target = prepared / RAW / f"{subset}.{pair[1]}"
        files = [prepared / RAW / f"{subset}.{pair[0]}"]
        files += [reference_file(target, number) for number in range(1, references + 1)]
        for file in files:
            if file.is_file():
                (folder / RAW).mkdir(exist_ok=True)
                shutil.copyfile(file, folder / RAW / file.name)
    # these describe the prepared text and the files made from it, which the new folder lacks
    gone = ("files", "counts", "vocabulary", "overlap", "originals")
    changed = {key: value for key, value in manifest.items() if key not in gone}
    changed |= {"source": pair[0], "target": pair[1], "subsets": subsets}
    if manifest.get("format") != 1:
        changed["text"] = settings.for_manifest()
        # which has the tag, if there is one
        changed["options"] = {k: v for k, v in manifest["options"].items() if k != "tag"}
    text = json.dumps(changed, ensure_ascii=False, indent=2) + "\n"
    (folder / MANIFEST).write_text(text, encoding="utf-8")
