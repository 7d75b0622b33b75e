"""What the models of this package share: their checkpoints, their tie map, checks of options."""

import logging
from argparse import Namespace
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from textwrap import shorten
from typing import Any

import torch
from fairseq.data import Dictionary
from fairseq.dataclass import ChoiceEnum
from fairseq.models import BaseFairseqModel
from omegaconf import DictConfig
from torch import Tensor

from tiednmt.errors import UserError
from tiednmt.memory import keep_few_kernels, keep_freed_memory
from tiednmt.modules import OutputLayer
from tiednmt.modules.fixed_linear import FixedLinear, PackedLinear
from tiednmt.modules.products import set_precision
from tiednmt.tying import (
    Embeddings,
    TyingConfig,
    drop_aliases,
    restore_aliases,
    tie_map,
    vocabulary_digest,
)

logger = logging.getLogger(__name__)


@dataclass
class TiedModelConfig(TyingConfig):
    """The options of every model of this package."""

    float32_matmul_precision: ChoiceEnum(("highest", "high", "medium")) = field(  # type: ignore[valid-type]
        default="highest",
        metadata={
            "help": "torch's setting of this name: medium lets the matrix products of training "
            "round to bfloat16 (CPU) or TF32 (GPU) where the machine has instructions for it, high "
            "to TF32; weights, states and gradients stay in single precision"
        },
    )


class TiedModel(BaseFairseqModel):
    """A model whose checkpoints hold a tied matrix once and fit one vocabulary alone."""

    num_updates = 0  # that training has made before the batch at hand

    def set_num_updates(self, num_updates: int) -> None:
        """fairseq tells every batch of training."""
        super().set_num_updates(num_updates)
        self.num_updates = num_updates

    @property
    def embeddings(self) -> Embeddings:
        """The embedding matrices, as tied."""
        raise NotImplementedError

    @property
    def output_layer(self) -> OutputLayer:
        """What turns the features of ``forward(features_only=True)`` into a loss."""
        return self.embeddings.output

    def fix(self, kind: type[FixedLinear] | None) -> None:
        """Decode with copies of the matrices, as they are now; see :meth:`OutputLayer.fix`."""
        self.output_layer.fix(kind)

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> "TiedModel":
        self.fix(None)  # copies cannot be moved or converted, as .cuda() or .half() do
        return super()._apply(fn, recurse)

    def prepare_for_inference_(self, cfg: DictConfig) -> None:
        """fairseq says that the model will not be trained any more."""
        super().prepare_for_inference_(cfg)
        if PackedLinear.serves(self.output_layer.embedding.weight):
            self.fix(PackedLinear)

    def bind(self, *dictionaries: Dictionary) -> None:
        """Tie the model's checkpoints to these dictionaries; to be called once it is built."""
        self.register_buffer(
            # fairseq's moving averages leave alone what has "version" in its name
            "vocabulary_version",
            vocabulary_digest(*dictionaries),
        )
        self.register_state_dict_post_hook(drop_aliases)
        self.register_load_state_dict_pre_hook(restore_aliases)

    def prepare(self, cfg: TiedModelConfig) -> None:
        """Set the precision of products and what becomes of freed memory; log which matrices are
        one and what that saves.
        """
        # fairseq does not complete the configuration of an older checkpoint
        precision = getattr(cfg, "float32_matmul_precision", "highest")
        set_precision(str(precision))
        keep_freed_memory()
        keep_few_kernels()
        logger.info("tying: %s\n%s", cfg.tying, tie_map(self.embeddings, self))

    def upgrade_state_dict_named(self, state_dict: dict[str, Any], name: str) -> None:
        """Refuse the checkpoint of another vocabulary."""
        stored = state_dict.get("vocabulary_version")
        if stored is not None and not torch.equal(stored.cpu(), self.vocabulary_version.cpu()):
            raise UserError(
                "the checkpoint was trained on other dictionaries than those of the data; "
                "use the data-bin it was trained on, or prepare the data with its dictionaries "
                "(fairseq-preprocess --srcdict, --tgtdict)"
            )

    def load_state_dict(self, *args: Any, **kwargs: Any) -> Any:
        """fairseq's, with a message that says what to do where the model is another."""
        try:
            return super().load_state_dict(*args, **kwargs)
        except RuntimeError as error:
            difference = shorten(" ".join(str(error).splitlines()[1:]), 160)
            raise UserError(
                "the checkpoint holds another model; give the --arch, --tying, --projection and "
                f"sizes that it was trained with: {difference}"
            ) from error


def check_ranges(cfg: Any, sizes: Iterable[str], dropouts: Iterable[str]) -> None:
    """Refuse sizes below 1 and dropouts outside [0, 1).

    Raises:
        UserError: with the name of the option.
    """
    for name in sizes:
        if getattr(cfg, name) < 1:
            raise UserError(f"{_option(name)} {getattr(cfg, name)}: must be 1 or more")
    for name in dropouts:
        if not 0 <= getattr(cfg, name) < 1:
            raise UserError(f"{_option(name)} {getattr(cfg, name)}: must be from 0 to below 1")


def preset(args: Namespace, **defaults: float) -> None:
    """Give an architecture's values to the options that were not given."""
    for name, value in defaults.items():
        setattr(args, name, getattr(args, name, value))


def _option(name: str) -> str:
    return "--" + name.replace("_", "-")
