"""Kernels that a GPU would launch for one update, counted on a CPU.

  python -m scripts.lab.benchmarks.launches

It counts the operations that reach torch's dispatcher and are more than a view. A kernel of
:mod:`tiednmt.kernels.gpu` counts as one, as does cuDNN's GRU per direction of time and the fused
dropout of a GPU. An operation on a list of tensors counts as often as a GPU splits it. All
sentences have one length, so that nothing is counted that only a CPU does to skip padding.
"""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from types import SimpleNamespace
from typing import Any
from unittest.mock import patch

import torch
from fairseq.data import Dictionary
from fairseq.models import ARCH_MODEL_REGISTRY, MODEL_DATACLASS_REGISTRY
from fairseq.optim.adam import Adam
from fairseq.utils import clip_grad_norm_
from torch import Tensor
from torch.nn.utils.rnn import PackedSequence
from torch.utils._python_dispatch import TorchDispatchMode

import tiednmt.plugin  # noqa: F401
from scripts.lab.run.specs import load_recipe
from tiednmt.models.model_options import as_config
from tiednmt.modules import additive_attention, cross_entropy, dropout, gru, lstm
from tiednmt.modules.bidirectional_gru import BidirectionalGRU

RECIPES = ("tied_gru_multi30k", "tied_transformer_multi30k")
SENTENCES, LENGTH, VOCABULARY = 48, 14, 1_000  # a batch as Multi30k has them
KERNELS = ("step", "step_back", "lstm_step", "lstm_step_back", "attend", "attend_back")
NO_LAUNCH = ("aten::empty", "aten::new_empty", "aten::detach", "aten::_local_scalar", "profiler::")
TENSORS_OF_A_LAUNCH = (110, 64, 48, 36, 30)  # by lists that an operation takes (MultiTensorApply)


class Launches(TorchDispatchMode):
    """Counts what reaches the dispatcher."""

    def __init__(self) -> None:
        super().__init__()
        self.count = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = func._schema.name
        if name.startswith("aten::_foreach"):
            lists = [arg for arg in args if isinstance(arg, list | tuple)]
            self.count += -(-len(lists[0]) // TENSORS_OF_A_LAUNCH[len(lists) - 1])
        elif not func.is_view and not name.startswith(NO_LAUNCH):
            self.count += 1
        return func(*args, **(kwargs or {}))


def of_an_update(recipe: str) -> Counter[str]:
    """Launches of the second update of a recipe's model, by what it does."""
    options = load_recipe(recipe)["model"]
    words = Dictionary()
    for number in range(VOCABULARY):
        words.add_symbol(str(number))
    defaults = vars(MODEL_DATACLASS_REGISTRY[options["_name"]]())
    config = as_config({**defaults, **options, "tying": "three-way"})
    model = ARCH_MODEL_REGISTRY[options["_name"]].build(config, words, words).train()
    tokens = torch.randint(4, VOCABULARY, (SENTENCES, LENGTH))
    optimizer = Adam(model.parameters())
    counts: Counter[str] = Counter()
    with _as_on_a_gpu() as launches:

        def counted(part: str, function: Callable[[], Any]) -> Any:
            before = launches.count
            outcome = function()
            counts[part] = launches.count - before
            return outcome

        given = (tokens, torch.full((SENTENCES,), LENGTH))
        layer = model.output_layer
        for _ in range(2):
            encoded = counted("encoder", partial(model.encoder, *given))
            decode = partial(model.decoder, tokens, encoded, features_only=True)
            rows = counted("decoder", decode)[0].flatten(0, 1)
            loss = counted("loss", partial(layer.loss, rows, tokens.flatten(), words.pad(), 0.1))
            counted("backward pass", loss.loss.backward)
            counted("norm of the gradient", partial(clip_grad_norm_, model.parameters(), 1.0))
            counted("Adam", optimizer.step)
            optimizer.zero_grad()
    return counts


class CuDNN(torch.autograd.Function):
    """A network that is one call, forward and backward; its numbers mean nothing."""

    @staticmethod
    def forward(ctx: Any, launches: Launches, size: int, rows: Tensor, *weights: Tensor) -> Tensor:
        """Rows of ``size`` numbers."""
        launches.count += 1
        ctx.launches = launches
        ctx.save_for_backward(rows, *weights)
        return rows.new_empty(len(rows), size)

    @staticmethod
    def backward(ctx: Any, _: Tensor) -> Any:
        """A gradient for each."""
        ctx.launches.count += 1
        return None, None, *map(torch.empty_like, ctx.saved_tensors)


@contextmanager
def _as_on_a_gpu() -> Iterator[Launches]:
    """Let the modules compute as they do on a GPU, as far as a CPU can."""
    launches = Launches()

    def launch(gates: Tensor, *_: Tensor) -> None:
        launches.count += 1 if gates.dim() < 3 else len(gates)  # one for each direction

    def attend(*_: Tensor) -> None:
        launches.count += 1

    def loss_of_chunk(products: Tensor, bias: Tensor, _: Tensor, counts: Tensor, *__: Any) -> Any:
        launches.count += 1
        losses = torch.empty_like(counts), torch.empty_like(counts)
        return *losses, products.sum(0, dtype=bias.dtype)

    kernels = SimpleNamespace(**dict.fromkeys(KERNELS, launch), DTYPES=(torch.float32,))
    kernels.attend = kernels.attend_back = attend
    kernels.loss_of_chunk = loss_of_chunk

    def dropped(tensor: Tensor, rate: float, training: bool = True) -> Tensor:
        return torch.native_dropout(tensor, rate, True)[0] if training and rate else tensor

    def run_gru(network: BidirectionalGRU, packed: PackedSequence) -> PackedSequence:
        size = 2 * network.hidden_size
        states = CuDNN.apply(launches, size, packed.data, *network.parameters())
        return packed._replace(data=states)

    with ExitStack() as stack:
        stack.enter_context(patch.object(BidirectionalGRU, "forward", run_gru))
        for module in (additive_attention, cross_entropy, gru, lstm):
            stack.enter_context(patch.object(module, "kernels_for", lambda _: kernels))
        stack.enter_context(patch("tiednmt.kernels._cpu_kernels", lambda: None))
        for name, module in [*sys.modules.items()]:
            ours = name.startswith("tiednmt.") and module is not dropout
            if ours and getattr(module, "dropout", None) is dropout.dropout:
                stack.enter_context(patch.object(module, "dropout", dropped))
        stack.enter_context(patch.object(dropout, "dropout", dropped))
        stack.enter_context(launches)
        yield launches


def main() -> None:
    """Print a table."""
    counts = {recipe: of_an_update(recipe) for recipe in RECIPES}
    print("| launches per update | " + " | ".join(counts) + " |")
    print("| --- |" + " --: |" * len(counts))
    for part in next(iter(counts.values())):
        print(f"| {part} | " + " | ".join(f"{of[part]:,}" for of in counts.values()) + " |")
    print("| together | " + " | ".join(f"{of.total():,}" for of in counts.values()) + " |")


if __name__ == "__main__":
    main()
