"""NLL with label smoothing, and the penalty of projection regularisation logged apart from it."""

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from fairseq import utils
from fairseq.criterions import FairseqCriterion, register_criterion
from fairseq.dataclass import FairseqDataclass
from fairseq.distributed import utils as distributed_utils
from fairseq.logging import metrics
from fairseq.models import BaseFairseqModel
from fairseq.tasks import FairseqTask
from omegaconf import II
from torch import Tensor

from tiednmt.criterions.cuda_graphs import Batch, GraphedLoss, require_model, require_options
from tiednmt.criterions.gradient_shares import GradientShares
from tiednmt.criterions.row_movement import RowMovement
from tiednmt.errors import UserError
from tiednmt.modules import OutputLayer
from tiednmt.modules.cross_entropy import SequenceLoss
from tiednmt.options import natural, not_negative, number_field, rate, require_ranges
from tiednmt.tuned_process import tune_process
from tiednmt.tying import INPUT, SOURCE_INPUT, TARGET_INPUT

T = TypeVar("T")

SCALES = {  # learned ones in the log
    SOURCE_INPUT: "input_scale_source",
    TARGET_INPUT: "input_scale_target",
    INPUT: "input_scale",
}


@dataclass
class TiedCrossEntropyConfig(FairseqDataclass):
    """Options of ``--criterion tied_cross_entropy``."""

    label_smoothing: float = number_field(
        0.0, "epsilon for label smoothing, 0 means no label smoothing", rate
    )
    projection_penalty: float = number_field(
        0.0,
        "lambda of projection regularisation: adds (lambda/2) * ||P||^2 (Frobenius) "
        "to the summed loss of an update (needs --projection); each of its batches has its "
        "share, so that an epoch's last update, of fewer batches than --update-freq, has less",
        not_negative,
    )
    r_drop: float = number_field(
        0.0,
        "alpha of R-Drop: each batch passes through the model twice, under other "
        "dropout, and (alpha/2) times the symmetric divergence of the two predictions is added "
        "to their mean loss; an update takes the memory of two batches and about twice as long "
        "(0: off)",
        not_negative,
    )
    measure_rows: int = number_field(
        0,
        "every N updates, log to row-movement.jsonl in --save-dir how many rows of "
        "each embedding matrix changed and by how much (0: off); training stays the same",
        natural,
    )
    measure_gradients: int = number_field(
        0,
        "every N updates, log to gradient-shares.jsonl in --save-dir what each use of "
        "an embedding matrix adds to its gradient (0: off); training stays the same",
        natural,
    )
    cuda_graphs: bool = field(
        default=False,
        metadata={
            "help": "on one GPU, launch the kernels of a batch as one graph: batches are padded to "
            "few shapes, and the second batch of each is captured"
        },
    )
    train_subset: str = field(default=II("dataset.train_subset"))
    sentence_avg: bool = field(default=II("optimization.sentence_avg"))
    update_freq: list[int] = field(default=II("optimization.update_freq"))
    save_dir: str = field(default=II("checkpoint.save_dir"))
    fp16: bool = field(default=II("common.fp16"))
    amp: bool = field(default=II("common.amp"))


@register_criterion("tied_cross_entropy", dataclass=TiedCrossEntropyConfig)
class TiedCrossEntropy(FairseqCriterion):
    """The loss of every model of this package; computed by the model's output layer."""

    def __init__(self, cfg: TiedCrossEntropyConfig, task: FairseqTask) -> None:
        super().__init__(task)
        tune_process()
        require_ranges(cfg, TiedCrossEntropyConfig)
        self.sentence_avg = cfg.sentence_avg
        self.label_smoothing = cfg.label_smoothing
        self.projection_penalty = cfg.projection_penalty
        self.r_drop = getattr(cfg, "r_drop", 0.0)
        if self.projection_penalty and len(set(cfg.update_freq)) > 1:
            raise UserError(
                "--projection-penalty needs one value of --update-freq, since each of the "
                f"batches that make an update adds its share; got {list(cfg.update_freq)}"
            )
        self.batches_per_update = cfg.update_freq[0]
        self.graphs_wanted = getattr(cfg, "cuda_graphs", False)
        if self.graphs_wanted:
            _require_unscaled_loss(cfg, "--cuda-graphs")
            require_options(cfg.measure_gradients, self.r_drop)
        self.graphs: GraphedLoss | None = None
        self.row_movement = self._observer(RowMovement, "measure_rows", cfg)
        shares = partial(GradientShares, training_data=lambda: task.datasets.get(cfg.train_subset))
        self.gradient_shares = self._observer(shares, "measure_gradients", cfg)
        if cfg.measure_gradients:
            _require_unscaled_loss(cfg, "--measure-gradients")

    def _observer(
        self, kind: Callable[..., T], option: str, cfg: TiedCrossEntropyConfig
    ) -> T | None:
        """What measures every so many updates, on the first worker; None where it is off."""
        every = getattr(cfg, option)
        if not every or distributed_utils.get_global_rank() != 0:
            return None
        source, target = self.task.source_dictionary, self.task.target_dictionary
        return kind(every, Path(cfg.save_dir), source, target)

    @classmethod
    def build_criterion(cls, cfg: TiedCrossEntropyConfig, task: FairseqTask) -> "TiedCrossEntropy":
        """Build from fairseq's configuration."""
        return cls(cfg, task)

    def forward(
        self, model: BaseFairseqModel, sample: dict[str, Any], reduce: bool = True
    ) -> tuple[Tensor, int, dict[str, Any]]:
        """Summed loss, the sample size that divides it, and what to log (nats)."""
        layer = self._output_layer_of(model)
        if model.training:
            self._observe(model, model.num_updates)
        (loss, nll), extra = self._predicted(model, sample)
        sample_size = sample["target"].size(0) if self.sentence_avg else sample["ntokens"]
        log = {
            "nll_loss": nll.data,
            "ntokens": sample["ntokens"],
            "nsentences": sample["target"].size(0),
            "sample_size": sample_size,
            "batches": 1,
        }
        if self.projection_penalty and model.training:  # what is validated is the likelihood
            penalty = layer.penalty(self.projection_penalty)
            loss = loss + penalty / self._batches_that_share_an_update()
            log["penalty"] = penalty.data
        if (activation_penalty := extra.get("activation_penalty")) is not None:  # per token
            loss = loss + sample["ntokens"] * activation_penalty
            log["activation_penalty"] = activation_penalty.data
        if (divergence := extra.get("divergence")) is not None:
            log["divergence"] = divergence.data
        for use, scale in model.learned_scales.items():
            log[SCALES[use]] = scale.detach().clone()  # that of the batch, whatever its update does
        log["loss"] = loss.data
        return loss, sample_size, log

    def _output_layer_of(self, model: BaseFairseqModel) -> OutputLayer:
        layer = getattr(model, "output_layer", None)
        if not isinstance(layer, OutputLayer):
            raise UserError(
                "--criterion tied_cross_entropy needs a model of this plugin; "
                "use label_smoothed_cross_entropy with this --arch"
            )
        if self.projection_penalty and layer.projection is None:
            raise UserError("--projection-penalty has no P to act on; add --projection")
        return layer

    def end_update(self, model: BaseFairseqModel, updates: int) -> None:
        """Write what was measured of the last of so many updates.

        See :func:`tiednmt.patches.processes.end_updates_together`.
        """
        self._observe(model, updates)

    def _observe(self, model: BaseFairseqModel, updates: int) -> None:
        if self.row_movement is not None:
            self.row_movement.observe(updates, model.embeddings)
        if self.gradient_shares is not None:
            self.gradient_shares.observe(updates, model)

    def _predicted(
        self, model: BaseFairseqModel, sample: dict[str, Any]
    ) -> tuple[SequenceLoss, dict[str, Any]]:
        """The loss of what the model predicts, and what else its pass over the batch gives."""
        if self.graphs_wanted and model.training and sample["target"].is_cuda:
            return self._graphs_of(model)(sample), {}
        target = model.get_targets(sample, None)
        if self.r_drop and model.training:
            return self._predicted_twice(model, sample["net_input"], target)
        features, extra = model(**sample["net_input"], features_only=True)
        return self._loss(model.output_layer, features, target), extra

    def _predicted_twice(
        self, model: BaseFairseqModel, net_input: dict[str, Tensor], target: Tensor
    ) -> tuple[SequenceLoss, dict[str, Any]]:
        """The mean loss of two passes under different dropout, which are to agree.

        It is half of equation 4 of Liang et al. 2021, to compare with the loss of one pass.
        """
        if "prev_output_tokens" not in net_input:
            raise UserError("--r-drop: for translation models; leave it out for language models")
        # the two passes of a sentence side by side, so that the order by length remains
        inputs = {name: value.repeat_interleave(2, 0) for name, value in net_input.items()}
        features, extra = model(**inputs, features_only=True)
        pairs = features.unflatten(0, (-1, 2)).transpose(1, 2).flatten(0, 1)  # N × 2 × dim
        how = target.flatten(), self.padding_idx, self.label_smoothing, self.r_drop
        loss, nll, divergence = model.output_layer.pair_loss(pairs, *how)
        return SequenceLoss(loss / 2, nll / 2), {**extra, "divergence": divergence}

    def _loss(self, layer: OutputLayer, features: Tensor, target: Tensor) -> SequenceLoss:
        rows, targets = features.flatten(0, 1), target.flatten()
        return layer.loss(rows, targets, self.padding_idx, self.label_smoothing)

    def _graphs_of(self, model: BaseFairseqModel) -> GraphedLoss:
        if self.graphs is None:
            require_model(model)

            def loss_of(batch: Batch) -> SequenceLoss:
                features, _ = model(**batch.net_input, features_only=True)
                return self._loss(model.output_layer, features, batch.target)

            eos = self.task.target_dictionary.eos()
            self.graphs = GraphedLoss(model, loss_of, self.padding_idx, eos)
        return self.graphs

    def _batches_that_share_an_update(self) -> int:
        # fairseq sums the loss over workers and --update-freq; the penalty counts once per update,
        # but for an epoch's last, which may have fewer batches and does not say so
        return distributed_utils.get_data_parallel_world_size() * self.batches_per_update

    @classmethod
    def reduce_metrics(cls, logging_outputs: list[dict[str, Any]]) -> None:
        """Average over batches and workers; losses in bits, as fairseq logs them."""

        def total(key: str) -> float:
            return utils.item(sum(log.get(key, 0) for log in logging_outputs))

        tokens, samples = total("ntokens"), total("sample_size")
        metrics.log_scalar("loss", total("loss") / samples / math.log(2), samples, round=3)
        metrics.log_scalar("nll_loss", total("nll_loss") / tokens / math.log(2), tokens, round=3)
        if any("divergence" in log for log in logging_outputs):
            bits = total("divergence") / tokens / math.log(2)
            metrics.log_scalar("divergence", bits, tokens, round=3)
        metrics.log_derived("ppl", lambda meters: utils.get_perplexity(meters["nll_loss"].avg))
        for name in ("penalty", "activation_penalty", *SCALES.values()):
            if any(name in log for log in logging_outputs):
                metrics.log_scalar(name, total(name) / total("batches"), round=3)

    @staticmethod
    def logging_outputs_can_be_summed() -> bool:
        """True: every figure is a sum, so that workers need no pickles (nor CUDA) to share it."""
        return True


def _require_unscaled_loss(cfg: TiedCrossEntropyConfig, option: str) -> None:
    if cfg.fp16 or cfg.amp:
        raise UserError(
            f"{option}: the loss of --fp16 and --amp is scaled before it is differentiated, and so "
            "are its gradients; use single precision, or common.bf16=true of fairseq-hydra-train"
        )
