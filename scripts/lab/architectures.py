"""The registered architectures of this package: their configuration and size, without training."""

from __future__ import annotations

from argparse import Namespace
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from fairseq.data import Dictionary
from fairseq.models import (
    ARCH_CONFIG_REGISTRY,
    ARCH_MODEL_NAME_REGISTRY,
    ARCH_MODEL_REGISTRY,
    MODEL_DATACLASS_REGISTRY,
    FairseqLanguageModel,
)
from omegaconf import DictConfig

import tiednmt.plugin  # noqa: F401
from tiednmt.errors import UserError
from tiednmt.models.model_options import as_config
from tiednmt.models.tied_model import TiedModel
from tiednmt.modes import TYINGS
from tiednmt.text.manifest import read_manifest, vocab_size
from tiednmt.tying import JOINT, TieMap, tie_map


def tied_architectures() -> list[str]:
    """The names that ``--arch`` takes for the models of this package."""
    return [name for name, model in ARCH_MODEL_REGISTRY.items() if issubclass(model, TiedModel)]


def is_language_model(architecture: str) -> bool:
    """Whether the architecture is a language model, with no source."""
    return issubclass(ARCH_MODEL_REGISTRY[architecture], FairseqLanguageModel)


def model_config(architecture: str, **options: Any) -> DictConfig:
    """The complete configuration of a model: ``options``, then the preset, then the defaults."""
    given = Namespace(**options)
    ARCH_CONFIG_REGISTRY[architecture](given)
    defaults = MODEL_DATACLASS_REGISTRY[ARCH_MODEL_NAME_REGISTRY[architecture]]()
    return as_config({**vars(defaults), **vars(given)})


def preset_of(architecture: str) -> dict[str, Any]:
    """The options that the name of an architecture sets, most of them sizes."""
    given = Namespace()
    ARCH_CONFIG_REGISTRY[architecture](given)
    return vars(given)


def numbered_dictionary(size: int, of: str) -> Dictionary:
    """A dictionary of ``size`` entries, fairseq's special symbols included.

    Args:
        size: the number of entries.
        of: the dictionary's side, which is also the option that sets the size.

    Raises:
        UserError: there are more special symbols than that.
    """
    dictionary = Dictionary()
    if size < len(dictionary):
        raise UserError(f"--{of} {size}: at least the {len(dictionary)} special symbols")
    for number in range(len(dictionary), size):
        dictionary.add_symbol(f"{of}{number}")
    return dictionary


def empty_model(
    architecture: str, source: Dictionary | None, target: Dictionary, **options: Any
) -> TiedModel:
    """The model without values (on torch's meta device), so that any size fits in memory."""
    model_class: Any = ARCH_MODEL_REGISTRY[architecture]
    with torch.device("meta"):
        model: TiedModel = model_class.build(model_config(architecture, **options), source, target)
    return model


def model_size(
    architecture: str, tying: str, source: int | None, target: int, **options: Any
) -> TieMap:
    """The tie map of a model with vocabularies of these sizes; nothing is allocated.

    Args:
        architecture: one of :func:`tied_architectures`.
        tying: one of ``TYINGS``.
        source: entries of the source dictionary; a language model has none.
        target: entries of the target dictionary, which is the source's too where ``tying`` needs
            a joint one.
        options: others of the model, such as ``projection``.

    Raises:
        UserError: fewer entries than special symbols, or a tying that the model cannot have.
    """
    target_dictionary = numbered_dictionary(target, "joint" if tying in JOINT else "target")
    if source is None:
        source_dictionary = None
    elif tying in JOINT:
        source_dictionary = target_dictionary
    else:
        source_dictionary = numbered_dictionary(source, "source")
    model = empty_model(architecture, source_dictionary, target_dictionary, tying=tying, **options)
    return tie_map(model.embeddings, model)


@dataclass(frozen=True)
class VocabularySizes:
    """Entries of the dictionaries, special symbols included."""

    target: int  # of a language model, its only one
    source: int | None = None
    joint: int | None = None

    @classmethod
    def of_prepared(cls, folder: Path, architecture: str) -> VocabularySizes:
        """The vocabulary sizes of a prepared corpus.

        Raises:
            UserError: the folder is not one for such a model.
        """
        if not is_language_model(architecture):
            sizes = read_manifest(folder)["vocabulary"]
            return cls(sizes["target"], sizes["source"], sizes["joint"])
        return cls(vocab_size(folder))


def model_sizes(architecture: str, sizes: VocabularySizes, **options: Any) -> dict[str, TieMap]:
    """The tie map under each tying that the model can have; see :func:`model_size`."""
    if is_language_model(architecture):
        tyings = [tying for tying in TYINGS if tying not in JOINT]
        return {t: model_size(architecture, t, None, sizes.target, **options) for t in tyings}
    assert sizes.source is not None and sizes.joint is not None
    pairs = {
        tying: (sizes.joint, sizes.joint) if tying in JOINT else (sizes.source, sizes.target)
        for tying in TYINGS
    }
    return {tying: model_size(architecture, tying, *two, **options) for tying, two in pairs.items()}
