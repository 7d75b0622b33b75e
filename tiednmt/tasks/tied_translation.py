"""fairseq's translation task, decoding faster, and with BPE-dropout."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from fairseq import utils
from fairseq.tasks import register_task
from fairseq.tasks.translation import TranslationConfig, TranslationTask
from fairseq.utils import split_paths
from omegaconf import II

from tiednmt.errors import UserError
from tiednmt.models.tied_model import TiedModel
from tiednmt.modules.frozen_linear import Int8Linear
from tiednmt.options import number_field, rate, require_ranges
from tiednmt.tasks.drawn_units import DrawnUnits, Side, pipeline_of
from tiednmt.tasks.sequence_generator import TiedSequenceGenerator


@dataclass
class TiedTranslationConfig(TranslationConfig):
    """Options of ``--task tied_translation``: those of ``translation``, and our own."""

    int8: bool = field(
        default=False,
        metadata={"help": "decode with int8 weights (on a CPU)"},
    )
    bpe_dropout: float = number_field(
        0.0,
        "in training, split words anew in every epoch, leaving out each merge of their "
        "units with this probability (0: off); needs a folder of preprocess",
        rate,
    )
    seed: int = II("common.seed")


@register_task("tied_translation", dataclass=TiedTranslationConfig)
class TiedTranslationTask(TranslationTask):
    """``translation`` with this package's beam search, and BPE-dropout."""

    cfg: TiedTranslationConfig
    longest: tuple[int, int] | None = None  # source and target that task and model take

    def load_dataset(
        self, split: str, epoch: int = 1, combine: bool = False, **kwargs: Any
    ) -> None:
        """Load a subset; with ``--bpe-dropout``, that of training is split anew in every epoch.

        Raises:
            UserError: there are no merges to leave out, or alignments or buckets that are of the
                prepared units.
        """
        super().load_dataset(split, epoch, combine, **kwargs)
        cfg = self.cfg
        in_training = "task_cfg" not in kwargs  # which fairseq gives to what is scored
        if split != cfg.train_subset or not cfg.bpe_dropout or not in_training:
            return
        require_ranges(cfg, TiedTranslationConfig)
        if cfg.load_alignments:
            raise UserError("--bpe-dropout: --load-alignments has those of other units")
        if cfg.num_batch_buckets:
            raise UserError("--bpe-dropout: --num-batch-buckets pads to the lengths of other units")
        source, target = str(cfg.source_lang), str(cfg.target_lang)
        pipeline = pipeline_of(Path(split_paths(cfg.data)[0]), (source, target))
        longest = self.longest or (cfg.max_source_positions, cfg.max_target_positions)
        sides = {
            "source": Side(self.source_dictionary, source, longest[0] - 1),
            "target": Side(self.target_dictionary, target, longest[1] - 1),
        }
        pairs = self.datasets[split]
        self.datasets[split] = DrawnUnits(pairs, pipeline, sides, cfg.bpe_dropout, cfg.seed)

    def build_model(self, cfg: Any, from_checkpoint: bool = False) -> Any:
        """The model, to be trained unless it comes from a checkpoint.

        Raises:
            UserError: int8 weights asked of training.
        """
        if self.cfg.int8 and not from_checkpoint:
            raise UserError("--int8: is for decoding; leave it out of fairseq-train")
        model = super().build_model(cfg, from_checkpoint)
        self.longest = utils.resolve_max_positions(self.max_positions(), model.max_positions())
        return model

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
    bias = model.output_layer.bias
    if bias.device.type != "cpu":
        raise UserError("--int8 is for decoding on a CPU; add --cpu")
    if bias.dtype != torch.float32:
        raise UserError("--int8 rounds weights of single precision; leave --fp16 out")
    model.freeze_for_decoding(Int8Linear)
