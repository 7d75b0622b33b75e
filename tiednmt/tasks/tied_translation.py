"""fairseq's translation task, decoding faster."""

from dataclasses import dataclass, field
from typing import Any

from fairseq.tasks import register_task
from fairseq.tasks.translation import TranslationConfig, TranslationTask

from tiednmt.errors import UserError
from tiednmt.models.tied_model import TiedModel
from tiednmt.modules.frozen_linear import Int8Linear
from tiednmt.tasks.sequence_generator import TiedSequenceGenerator


@dataclass
class TiedTranslationConfig(TranslationConfig):
    """Options of ``--task tied_translation``: those of ``translation``, and how it decodes."""

    int8: bool = field(
        default=False,
        metadata={"help": "decode with int8 weights (on a CPU)"},
    )


@register_task("tied_translation", dataclass=TiedTranslationConfig)
class TiedTranslationTask(TranslationTask):
    """``translation`` with this package's beam search."""

    cfg: TiedTranslationConfig

    def build_model(self, cfg: Any, from_checkpoint: bool = False) -> Any:
        """The model, to be trained unless it comes from a checkpoint.

        Raises:
            UserError: int8 weights asked of training.
        """
        if self.cfg.int8 and not from_checkpoint:
            raise UserError("--int8: is for decoding; leave it out of fairseq-train")
        return super().build_model(cfg, from_checkpoint)

    def build_generator(
        self, models: Any, args: Any, seq_gen_cls: Any = None, **options: Any
    ) -> Any:
        """A generator for ``args``; fairseq's own where more than plain beam search is asked.

        Raises:
            UserError: int8 weights asked of another model than this package's, or off the CPU.
        """
        if self.cfg.int8:
            for model in models:
                quantise(model)
        if seq_gen_cls is None and not getattr(args, "print_alignment", False):
            seq_gen_cls = TiedSequenceGenerator
        return super().build_generator(models, args, seq_gen_cls=seq_gen_cls, **options)


def quantise(model: Any) -> None:
    """Let ``model`` decode with int8 weights.

    Raises:
        UserError: it is not a model of this package, or not on the CPU.
    """
    if not isinstance(model, TiedModel):
        raise UserError("--int8 needs a model of this plugin")
    if model.output_layer.bias.device.type != "cpu":
        raise UserError("--int8 is for decoding on a CPU; add --cpu")
    model.freeze_for_decoding(Int8Linear)
