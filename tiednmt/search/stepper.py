"""What beam search needs of a decoder.

Memory and state are trees: tensors in tuples, lists and dicts, or None. So a state may be one
tensor (GRU), a pair (LSTM) or keys and values of every layer (Transformer).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple, Protocol

import torch
from torch import Tensor

Tree = Any


class Shared(NamedTuple):
    """A part of the state, ``tree``, that a sentence's hypotheses share: its leaves are B × …."""

    tree: Tree


class StepOutput(NamedTuple):
    """One step of K hypotheses for each of B sentences.

    Attributes:
        features: B × K × dim, for the output layer.
        state: the next state; leaves B × K × …, except for :class:`Shared` parts.
        attention: B × K × S over the source as given, or None.
    """

    features: Tensor
    state: Tree
    attention: Tensor | None


class Stepper(Protocol):
    """A decoder, step by step. A sentence's hypotheses share its memory; each has its own state.

    Each state is passed to one step only, which may write into it.
    """

    def start(self, encoder_out: Any) -> tuple[Tree, Tree]:
        """Memory (leaves B × …) and state (leaves B × 1 × …) before the first step.

        Args:
            encoder_out: what the encoder returns.
        """

    def step(self, tokens: Tensor, memory: Tree, state: Tree, position: int) -> StepOutput:
        """Read the last token of every hypothesis.

        Args:
            tokens: B × K.
            memory: of :meth:`start`.
            state: of :meth:`start` or of the step before, for the same hypotheses.
            position: how many tokens each hypothesis has before this one.
        """


def map_tree(
    function: Callable[[Tensor], Tensor], tree: Tree, leave: type | tuple[()] = ()
) -> Tree:
    """The tree with ``function`` of every tensor; parts of the type ``leave`` stay as they are."""
    if tree is None or isinstance(tree, leave):
        return tree
    if isinstance(tree, Tensor):
        return function(tree)
    if isinstance(tree, dict):
        return {key: map_tree(function, value, leave) for key, value in tree.items()}
    values = [map_tree(function, value, leave) for value in tree]
    return type(tree)(*values) if hasattr(tree, "_fields") else type(tree)(values)


def keep(tree: Tree, sentences: Tensor) -> Tree:
    """The ``tree`` of these sentences only, in this order (indices of the first dimension)."""
    return map_tree(lambda leaf: leaf.index_select(0, sentences), tree)


def follow(state: Tree, parents: Tensor) -> Tree:
    """The ``state`` of the surviving hypotheses: for each sentence, of ``parents`` (B × K)."""

    def follow_leaf(leaf: Tensor) -> Tensor:
        batch, beam = leaf.shape[:2]
        if beam == parents.size(1) == 1:  # there is only one to follow
            return leaf
        rows = parents + torch.arange(batch, device=leaf.device).unsqueeze(1) * beam
        followed: Tensor = leaf.flatten(0, 1).index_select(0, rows.flatten())
        return followed.view(*parents.shape, *leaf.shape[2:])

    return map_tree(follow_leaf, state, leave=Shared)
