"""No foreign file can run code in fairseq; ``SECURITY.md`` says what is promised."""

from __future__ import annotations

import logging
import os
import sys
from argparse import Namespace
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

from fairseq import checkpoint_utils, models, tasks
from fairseq.data import indexed_dataset
from fairseq.data.fasta_dataset import FastaDataset
from fairseq.models import ARCH_MODEL_REGISTRY, MODEL_REGISTRY
from omegaconf.errors import OmegaConfBaseException

from tiednmt.errors import CheckpointError, UserError
from tiednmt.literals import value_of
from tiednmt.patches.patch import patch

logger = logging.getLogger(__name__)

# Stock models that a checkpoint may ask for: none reads another file or runs what its options say.
STOCK_MODELS = (
    *("lstm", "lstm_lm", "transformer", "transformer_align", "transformer_lm"),
    *("lightconv", "lightconv_lm", "multilingual_transformer", "bart"),
    *("nonautoregressive_transformer", "cmlm_transformer", "levenshtein_transformer"),
)
_UNCHECKED = "TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD"

# what builders of stock models raise if an option has the wrong type, which they do not check
_OF_ODD_VALUES = (TypeError, ValueError, AttributeError, KeyError, AssertionError)

_path_of_checkpoint: ContextVar[str | None] = ContextVar("path_of_checkpoint", default=None)


def keep_the_check_of_pickles() -> None:
    """Undo a setting that would let ``torch.load`` run code from a file."""
    if os.environ.pop(_UNCHECKED, None) is not None:
        logger.warning(f"{_UNCHECKED} is ignored: it would let checkpoints run code")


def read_literals_only() -> None:
    """Let fairseq's modules read literals where they would ``eval`` strings of a configuration."""
    for name, module in list(sys.modules.items()):
        if name.startswith("fairseq.") and not hasattr(module, "eval"):
            module.eval = value_of  # type: ignore[attr-defined]


def refuse_fasta() -> None:
    """Refuse data in the FASTA format: fairseq gives the names of its files to a shell."""

    def build_index(_: Callable[..., Any], __: FastaDataset, path: str) -> None:
        raise UserError(f"{path}.fasta: data in this format is not read; binarise the text")

    def make_builder(
        make: Callable[..., Any], out_file: str, impl: str, *args: Any, **kwargs: Any
    ) -> Any:
        if impl == "fasta":
            raise UserError("--dataset-impl fasta: no such text is written; leave the option out")
        return make(out_file, impl, *args, **kwargs)

    patch(FastaDataset, "_build_index", build_index)
    patch(indexed_dataset, "make_builder", make_builder)


def build_known_architectures() -> None:
    """From a checkpoint, build only architectures that run nothing of its configuration."""

    def load_known(
        load: Callable[..., Any], filenames: list[str], *args: Any, **kwargs: Any
    ) -> Any:
        with _building(", ".join(map(str, filenames))):
            return load(filenames, *args, **kwargs)

    def build_known(build: Callable[..., Any], cfg: Any, *args: Any, **kwargs: Any) -> Any:
        if (path := _path_of_checkpoint.get()) is not None:
            _require_known(path, cfg)
        return _of_configuration(path, build, cfg, *args, **kwargs)

    def setup_known(setup: Callable[..., Any], cfg: Any, **kwargs: Any) -> Any:
        return _of_configuration(_path_of_checkpoint.get(), setup, cfg, **kwargs)

    patch(checkpoint_utils, "load_model_ensemble_and_task", load_known)
    patch(models, "build_model", build_known)
    patch(tasks, "setup_task", setup_known)


@contextmanager
def _building(path: str) -> Iterator[None]:
    before = _path_of_checkpoint.set(path)
    try:
        yield
    finally:
        _path_of_checkpoint.reset(before)


def _of_configuration(path: str | None, make: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    """Call ``make``; values of a checkpoint's configuration that it cannot use become one line."""
    try:
        return make(*args, **kwargs)
    except UserError:
        raise
    except (OmegaConfBaseException, *_OF_ODD_VALUES) as error:
        if path is None:
            raise
        reason = next(iter(str(error).splitlines()), type(error).__name__)
        raise CheckpointError(f"{path}: its configuration is not fairseq's ({reason})") from error


def _require_known(path: str, cfg: Any) -> None:
    """Refuse a configuration that names an architecture that is not on the list, in any field."""
    names = [getattr(cfg, "_name", None), getattr(cfg, "arch", None)]
    if not any(names) and not isinstance(cfg, Namespace):
        names = list(cfg)
    for name in filter(None, names):
        model = ARCH_MODEL_REGISTRY.get(name) or MODEL_REGISTRY.get(name)
        if model is not None and not is_known(model):
            raise CheckpointError(
                f"{path}: its architecture {name} is not one that is built from a checkpoint, since"
                " its builder runs what options say; ours are, and fairseq's lstm and transformer"
            )


def is_known(model: type) -> bool:
    """Whether a checkpoint may ask for a model: one of :data:`STOCK_MODELS`, or none of fairseq."""
    theirs = model.__module__.partition(".")[0] == "fairseq"
    return not theirs or model in {MODEL_REGISTRY.get(name) for name in STOCK_MODELS}
