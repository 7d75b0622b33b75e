"""Recurrent networks over a window of text whose state is handed to the next window."""

from __future__ import annotations

import itertools
from typing import Protocol

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tiednmt.modules.dropout import Dropping, SequenceDropout, dropout
from tiednmt.modules.linear import linear, matmul_of, multiply, set_cudnn_precision
from tiednmt.modules.masked_lstm import masked_lstm

State = tuple[Tensor, ...]  # each layers × B × hidden


class CarriedState:
    """The state of a network between two windows of the streams it reads."""

    def __init__(self) -> None:
        self.state: State | None = None

    def read(self, streams: int, device: torch.device) -> State | None:
        """The state of the first ``streams`` streams, on ``device``; None at their start."""
        if self.state is None:
            return None
        return tuple(part[:, :streams].to(device) for part in self.state)

    def keep(self, state: State) -> None:
        """Keep the state after a window; no gradient flows back through it."""
        self.state = tuple(part.detach() for part in state)

    def clear(self) -> None:
        """Start from an empty state."""
        self.state = None


class RecurrentNetwork(Protocol):
    """What a language model needs of its recurrent network."""

    hidden_size: int
    output_size: int

    def __call__(self, sequence: Tensor, state: State | None = None) -> tuple[Tensor, State]:
        """Run T × B × input; return T × B × output and the state after the last step."""


class StackedLSTM(nn.Module):
    """LSTM layers with dropout on what passes between them.

    Each layer runs over the whole window in one call of torch's fused kernel, or in a loop over
    steps if recurrent connections are dropped, which that kernel cannot do.

    Args:
        input_size: size of the first layer's input.
        hidden_size: size of every layer's state.
        layers: number of layers.
        dropout: between layers (Zaremba et al. 2014).
        recurrent_dropout: on the state handed to the next step, with one mask per window and stream
            (Gal & Ghahramani 2016), the same for all gates.
        variational: ``dropout`` too draws one mask per window.
        single_bias: use one bias per gate. PyTorch has two, which doubles the effective learning
            rate of their sum under SGD.
        owner: see :class:`~tiednmt.modules.dropout.Dropping`.
        weight_dropout: on the entries of the recurrent matrices, drawn once per window for all
            streams (DropConnect; Merity et al. 2018).
        last_size: size of the last layer's state; 0: ``hidden_size``.
    """

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        layers: int = 1,
        *,
        dropout: float = 0.0,
        recurrent_dropout: float = 0.0,
        variational: bool = False,
        single_bias: bool = False,
        owner: str | None = None,
        weight_dropout: float = 0.0,
        last_size: int = 0,
    ) -> None:
        super().__init__()
        self.hidden_size = hidden_size
        sizes = [input_size, *[hidden_size] * (layers - 1), last_size or hidden_size]
        self.output_size = sizes[-1]
        self.layers = nn.ModuleList(
            _LSTMLayer(before, size, recurrent_dropout, weight_dropout, single_bias, owner)
            for before, size in itertools.pairwise(sizes)
        )
        self.dropout = SequenceDropout(dropout, variational, owner)

    def forward(self, sequence: Tensor, state: State | None = None) -> tuple[Tensor, State]:
        """Run T × B × input; return T × B × output and the state (h, c), each layers × B × hidden.

        Without ``state`` the first step starts from zeros. A last layer of another size leaves the
        rest of its rows empty.
        """
        if state is None:
            width = max(self.hidden_size, self.output_size)
            zeros = sequence.new_zeros(len(self.layers), sequence.size(1), width)
            state = zeros, zeros
        after = []
        for i, layer in enumerate(self.layers):
            before = tuple(part[i : i + 1, :, : layer.hidden_size].contiguous() for part in state)
            sequence, left = layer(self.dropout(sequence) if i else sequence, before)
            after.append([_padded(part, state[0].size(2)) for part in left])
        return sequence, tuple(torch.cat(parts) for parts in zip(*after, strict=True))


def _padded(part: Tensor, width: int) -> Tensor:
    """The tensor with its rows extended by zeros to ``width``."""
    return part if part.size(2) == width else F.pad(part, (0, width - part.size(2)))


class _LSTMLayer(nn.LSTM, Dropping):
    """One layer of torch's LSTM with dropout on the recurrent connections and their weights."""

    weight_ih_l0: Tensor
    weight_hh_l0: Tensor
    bias_ih_l0: Tensor
    bias_hh_l0: Tensor

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        recurrent_dropout: float,
        weight_dropout: float,
        single_bias: bool,
        owner: str | None,
    ) -> None:
        nn.LSTM.__init__(self, input_size, hidden_size)
        self.owner = owner
        self.recurrent_dropout = recurrent_dropout
        self.weight_dropout = weight_dropout
        if single_bias:  # the kernel takes two biases, so the second is a constant
            zeros = torch.zeros_like(self.bias_hh_l0, requires_grad=False)
            del self.bias_hh_l0
            self.register_buffer("bias_hh_l0", zeros, persistent=False)
            self._init_flat_weights()

    def forward(self, sequence: Tensor, state: State) -> tuple[Tensor, State]:  # type: ignore[override]
        hidden, cell = state
        set_cudnn_precision(self, sequence)
        if not self.drops or not (self.recurrent_dropout or self.weight_dropout):
            return nn.LSTM.forward(self, sequence, (hidden, cell))
        recurrent = dropout(self.weight_hh_l0, self.weight_dropout)
        if not self.recurrent_dropout:
            weights = [self.weight_ih_l0, recurrent, self.bias_ih_l0, self.bias_hh_l0]
            settings = (True, 1, 0.0, True, False, False)  # biases, layers … as nn.LSTM has them
            output, hidden, cell = torch.lstm(sequence, [hidden, cell], weights, *settings)
            return output, (hidden, cell)
        hidden, cell = hidden.squeeze(0), cell.squeeze(0)
        mask = dropout(torch.ones_like(hidden), self.recurrent_dropout)
        matmul = matmul_of(self, sequence)
        bias = self.bias_ih_l0 + self.bias_hh_l0
        inputs = multiply(sequence, self.weight_ih_l0, bias, matmul)
        output, left = masked_lstm(matmul, inputs, recurrent, mask, (hidden, cell))
        return output, tuple(part.unsqueeze(0) for part in left)


class RecurrentHighwayNetwork(nn.Module):
    """A highway network of some depth between one step and the next (Zilly et al. 2017).

    The carry gate is one minus the transform gate. There is no fused kernel for it: the loop over
    time and depth runs in Python.

    Args:
        input_size: size of a step's input.
        hidden_size: size of the state.
        depth: highway layers between two steps.
        recurrent_dropout: on the state wherever it enters a layer, one mask per window and stream.
        owner: see :class:`~tiednmt.modules.dropout.Dropping`.
    """

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        depth: int,
        recurrent_dropout: float = 0.0,
        owner: str | None = None,
    ) -> None:
        super().__init__()
        self.hidden_size = self.output_size = hidden_size
        self.input = nn.Linear(input_size, 2 * hidden_size, bias=False)
        self.layers = nn.ModuleList(nn.Linear(hidden_size, 2 * hidden_size) for _ in range(depth))
        self.dropout = SequenceDropout(recurrent_dropout, variational=True, owner=owner)

    def forward(self, sequence: Tensor, state: State | None = None) -> tuple[Tensor, State]:
        """Run T × B × input; return T × B × hidden and the state, 1 × B × hidden."""
        inputs = linear(self.input, sequence)
        if state is None:
            state = (sequence.new_zeros(1, sequence.size(1), self.hidden_size),)
        s = state[0][0]
        mask = self.dropout(torch.ones_like(state[0]))[0]
        outputs = []
        for step in inputs:
            for i, layer in enumerate(self.layers):
                gates = linear(layer, s * mask)
                if i == 0:
                    gates = gates + step
                candidate, transform = gates.chunk(2, dim=-1)
                s = torch.lerp(s, torch.tanh(candidate), torch.sigmoid(transform))
            outputs.append(s)
        return torch.stack(outputs), (s.unsqueeze(0),)
