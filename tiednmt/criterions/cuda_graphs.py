"""The loss of a batch and all its gradients as one CUDA graph.

A small model spends most of an update on launching kernels: several hundred, each of which takes
longer to launch than to run. A graph launches them all at once, but only for the shapes that it was
captured with. So batches are padded to a few shapes; the first batch of a shape runs as usual, the
second is captured, and later ones replay the graph.

Source: "CUDA graphs" in PyTorch's notes on CUDA semantics.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch
from fairseq.distributed import utils as distributed_utils
from fairseq.models import MODEL_REGISTRY
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from tiednmt.errors import UserError
from tiednmt.kernels.tuning import GRAPH_SENTENCES, GRAPH_TOKENS, GRAPHS_AT_MOST
from tiednmt.modules.cross_entropy import SequenceLoss
from tiednmt.modules.packing import padding_stays


class Batch(NamedTuple):
    """The tensors of a batch that a translation model is trained on."""

    source: Tensor  # B × S
    previous: Tensor  # B × T, the target shifted by one
    target: Tensor  # B × T

    @classmethod
    def of(cls, sample: dict[str, Any]) -> Batch:
        """The tensors of a batch that fairseq collated."""
        inputs = sample["net_input"]
        return cls(inputs["src_tokens"], inputs["prev_output_tokens"], sample["target"])

    def padded(self, pad: int, eos: int, longest: tuple[int, int]) -> Batch:
        """This batch, padded to one of the few shapes; the sentences added have no target.

        Args:
            pad: index of padding.
            eos: index of the end of a sentence.
            longest: the longest source and the longest target that the model takes.
        """
        of_source, of_target = longest
        return Batch(
            _padded(self.source, pad, eos, of_source),
            _padded(self.previous, pad, eos, of_target),
            _padded(self.target, pad, pad, of_target),
        )

    @property
    def net_input(self) -> dict[str, Tensor]:
        """The arguments of the model, as fairseq names them."""
        lengths = torch.full_like(self.source[:, 0], self.source.size(1))
        return {
            "src_tokens": self.source,
            "src_lengths": lengths,
            "prev_output_tokens": self.previous,
        }


def _padded(tokens: Tensor, pad: int, first: int, longest: int) -> Tensor:
    """B × T, padded to one of the few shapes; sentences added are ``first`` and then padding."""
    batch, length = tokens.shape
    shape = _up_to(batch, GRAPH_SENTENCES), min(_up_to(length, GRAPH_TOKENS), longest)
    padded = tokens.new_full(shape, pad)
    padded[:batch, :length] = tokens
    padded[batch:, 0] = first  # attention needs something to attend to
    return padded


def _up_to(size: int, multiple: int) -> int:
    return -(-size // multiple) * multiple


LossOf = Callable[[Batch], SequenceLoss]


class _Graph(NamedTuple):
    graph: torch.cuda.CUDAGraph
    batch: Batch  # the tensors that it reads
    loss: SequenceLoss  # the tensors that it writes


class GraphedLoss:
    """The loss of a model's batches, computed by a graph when a shape occurs again.

    Args:
        model: the model that is trained.
        loss_of: computes the loss of a batch, without operations that wait for the GPU.
        pad: index of padding.
        eos: index of the end of a sentence.
    """

    def __init__(self, model: nn.Module, loss_of: LossOf, pad: int, eos: int) -> None:
        self.loss_of, self.pad, self.eos = loss_of, pad, eos
        self.longest: tuple[int, int] = model.max_positions()  # type: ignore[operator]
        self.parameters = [p for p in model.parameters() if p.requires_grad]
        self.gradients: list[Tensor] = []  # of the parameters; every graph writes into these
        self._seen: set[tuple[torch.Size, ...]] = set()
        self._graphs: dict[tuple[torch.Size, ...], _Graph] = {}
        self._pool: Any = None  # memory that the graphs share, since they never run at once

    def __call__(self, sample: dict[str, Any]) -> SequenceLoss:
        """The loss of a batch of fairseq's, to be differentiated once, before the next call."""
        # outside of autograd, since no parameter may be in use while a graph is captured
        loss, nll = self.run(Batch.of(sample).padded(self.pad, self.eos, self.longest))
        apply: Any = _Differentiated.apply
        return SequenceLoss(apply(loss, self.gradients, *self.parameters), nll)

    def run(self, batch: Batch) -> SequenceLoss:
        """The loss of a padded batch; its gradients are written to :attr:`gradients`."""
        if not self.gradients:
            self.gradients = [torch.zeros_like(p) for p in self.parameters]
        shapes = tuple(part.shape for part in batch)
        if shapes in self._graphs:
            graph = self._graphs[shapes]
        elif shapes in self._seen and len(self._graphs) < GRAPHS_AT_MOST and batch.source.is_cuda:
            graph = self._graphs[shapes] = self._capture(batch)
        else:
            self._seen.add(shapes)
            return self._compute(batch)
        for place, part in zip(graph.batch, batch, strict=True):
            place.copy_(part)
        graph.graph.replay()
        return SequenceLoss(*(value.clone() for value in graph.loss))

    def _capture(self, batch: Batch) -> _Graph:
        graph = torch.cuda.CUDAGraph()
        # the threads that load data may allocate memory meanwhile
        with torch.cuda.graph(graph, pool=self._pool, capture_error_mode="thread_local"):
            loss = self._compute(batch)
        self._pool = self._pool or graph.pool()
        return _Graph(graph, batch, loss)

    def _compute(self, batch: Batch) -> SequenceLoss:
        with torch.enable_grad(), padding_stays():
            loss = self.loss_of(batch)
        gradients = torch.autograd.grad(loss.loss, self.parameters, allow_unused=True)
        pairs = list(zip(self.gradients, gradients, strict=True))
        used = [(place, gradient) for place, gradient in pairs if gradient is not None]
        places, gradients = zip(*used, strict=True)
        torch._foreach_copy_(places, gradients)
        for place, gradient in pairs:
            if gradient is None:  # overwrite what a graph of another shape left
                place.zero_()
        return SequenceLoss(loss.loss.detach(), loss.nll)


class _Differentiated(torch.autograd.Function):
    """A loss whose gradients have been computed already."""

    @staticmethod
    def forward(ctx: Any, loss: Tensor, gradients: Sequence[Tensor], *_: Tensor) -> Tensor:
        ctx.gradients = gradients
        return loss.view_as(loss)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_loss: Tensor) -> Any:
        return None, None, *torch._foreach_mul(ctx.gradients, grad_loss)


def require_options(measure_gradients: int, r_drop: float) -> None:
    """Refuse options that need more than one graph of the whole loss.

    Raises:
        UserError: names the option.
    """
    if measure_gradients:
        raise UserError("--measure-gradients looks into the backward pass; not with --cuda-graphs")
    if r_drop:
        raise UserError("--r-drop: not with --cuda-graphs, which have one pass per batch")
    if distributed_utils.get_data_parallel_world_size() > 1:
        raise UserError("--cuda-graphs: with one GPU only; leave it out with several")


def require_model(model: nn.Module) -> None:
    """Refuse models whose training a graph cannot repeat.

    Raises:
        UserError: names the model, or the option.
    """
    if not getattr(model, "fits_cuda_graphs", False):
        fit = (n for n, kind in MODEL_REGISTRY.items() if getattr(kind, "fits_cuda_graphs", False))
        raise UserError(
            f"--cuda-graphs: not for {type(model).__name__}; on a single GPU, for one of "
            f"{', '.join(sorted(fit))}"
        )
    for module in model.modules():
        if getattr(module, "layerdrop", 0):
            raise UserError("--cuda-graphs: a graph always has the same layers; no layerdrop")
        if getattr(module, "checkpointing", False):
            raise UserError("--cuda-graphs: does not go with --checkpoint-activations")
