"""Multi-head attention (Vaswani et al. 2017): of tokens to their own sentence, or to a source."""

from __future__ import annotations

import math
from functools import lru_cache
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tiednmt.modules.dropout import Dropout
from tiednmt.modules.linear import linear
from tiednmt.modules.packed_attention import attend_packed, attends_packed
from tiednmt.modules.packing import Packing


class KeysAndValues(NamedTuple):
    """The keys and values that a layer attends to, each B × heads × length × dim / heads."""

    keys: Tensor
    values: Tensor


class SelfAttention(nn.Module):
    """Tokens attend to tokens of their own sentence; one product makes queries, keys and values.

    Args:
        dim: numbers per token.
        heads: a divisor of ``dim``.
        dropout: on the weights.
        owner: see :class:`~tiednmt.modules.dropout.Dropping`.
    """

    def __init__(
        self, dim: int, heads: int, dropout: float = 0.0, owner: str | None = None
    ) -> None:
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(dim, 3 * dim)
        self.dropout = Dropout(dropout, owner)
        self.out = nn.Linear(dim, dim)
        _initialise(self.qkv, parts=3)
        _initialise_output(self.out)

    def forward(self, rows: Tensor, packing: Packing, causal: bool = False) -> Tensor:
        """The output for each token of ``packing``, N × dim; if ``causal``, none looks ahead."""
        qkv = linear(self.qkv, rows)
        if attends_packed(qkv, packing):
            context = attend_packed(qkv, packing, self.heads, causal=causal, dropout=self.dropout)
            return linear(self.out, context)
        query, keys, values = split_heads(packing.padded(qkv), self.heads, parts=3)
        mask = None if causal else packing.mask  # all padding is ahead of all tokens
        context = attend(query, keys, values, mask, causal, self.dropout)
        return linear(self.out, packing.rows(merge_heads(context)))

    def over(
        self, past: KeysAndValues | None, rows: Tensor, packing: Packing, biases: Tensor
    ) -> tuple[Tensor, KeysAndValues]:
        """The output for each token of ``packing`` (N × dim) over a past and the tokens themselves.

        Also keys and values of both. ``biases`` (heads × T × length of both) are added to scores.
        """
        padded = packing.padded(linear(self.qkv, rows))
        query, keys, values = split_heads(padded, self.heads, parts=3)
        if past is not None:
            keys, values = torch.cat((past.keys, keys), 2), torch.cat((past.values, values), 2)
        context = attend(query, keys, values, biases, dropout=self.dropout)
        update = linear(self.out, packing.rows(merge_heads(context)))
        return update, KeysAndValues(keys, values)

    def step(
        self, rows: Tensor, kept: KeysAndValues, first: int, visible: Tensor | None
    ) -> tuple[Tensor, KeysAndValues]:
        """The output for the last tokens (B × K × dim), and the kept keys and values with theirs.

        ``first`` is their first slot; ``visible`` is B × 1 × K × slots, added to the scores.
        """
        query, *new = split_heads(linear(self.qkv, rows), self.heads, parts=3)
        kept = KeysAndValues(*(_put(*pair, first) for pair in zip(kept, new, strict=True)))
        slots = first + rows.size(1)
        keys, values = (part[:, :, :slots] for part in kept)
        context = attend(query, keys, values, visible, dropout=self.dropout)
        return linear(self.out, merge_heads(context)), kept


class SourceAttention(nn.Module):
    """Tokens attend to those of a source, whose keys and values are computed once.

    Args:
        dim: numbers per token.
        heads: a divisor of ``dim``.
        dropout: on the weights.
        owner: see :class:`~tiednmt.modules.dropout.Dropping`.
    """

    def __init__(
        self, dim: int, heads: int, dropout: float = 0.0, owner: str | None = None
    ) -> None:
        super().__init__()
        self.heads = heads
        self.query = nn.Linear(dim, dim)
        self.key_value = nn.Linear(dim, 2 * dim)
        self.dropout = Dropout(dropout, owner)
        self.out = nn.Linear(dim, dim)
        _initialise(self.query, parts=1)
        _initialise(self.key_value, parts=2)
        _initialise_output(self.out)

    def read(self, rows: Tensor) -> Tensor:
        """Keys and values (N × 2·dim) of a source's tokens (N × dim)."""
        return linear(self.key_value, rows)

    def spread(self, read: Tensor, packing: Packing) -> KeysAndValues:
        """The result of :meth:`read`, split by source and head."""
        return KeysAndValues(*split_heads(packing.padded(read), self.heads, parts=2))

    def forward(
        self,
        rows: Tensor,
        packing: Packing,
        source: Tensor,
        source_packing: Packing,
        aligned_heads: int = 0,
    ) -> tuple[Tensor, Tensor | None]:
        """The output for each token of ``packing`` (N × dim) over what was read of the source.

        Also the mean of the weights of the first ``aligned_heads``, B × T × S, if any.
        """
        if not aligned_heads and attends_packed(rows, packing, source_packing):
            query, read = linear(self.query, rows), (source, source_packing)
            context = attend_packed(query, packing, self.heads, read, dropout=self.dropout)
            return linear(self.out, context), None
        spread = self.spread(source, source_packing)
        padded = packing.padded(rows)
        update, attention = self.step(padded, spread, source_packing.mask, aligned_heads)
        return packing.rows(update), attention

    def step(
        self, rows: Tensor, source: KeysAndValues, mask: Tensor | None, aligned_heads: int = 0
    ) -> tuple[Tensor, Tensor | None]:
        """The output for B × T × dim over the source, where ``mask`` (B × 1 × 1 × S) is not False.

        Also the mean of the weights of the first ``aligned_heads``, B × T × S, if any.
        """
        (query,) = split_heads(linear(self.query, rows), self.heads)
        if not aligned_heads:
            context = attend(query, *source, mask, dropout=self.dropout)
            return linear(self.out, merge_heads(context)), None
        weights = attention_weights(query, source.keys, mask)
        context = self.dropout(weights) @ source.values
        return linear(self.out, merge_heads(context)), weights[:, :aligned_heads].mean(1)


def attend(
    query: Tensor,
    keys: Tensor,
    values: Tensor,
    mask: Tensor | None = None,
    causal: bool = False,
    dropout: Dropout | None = None,
) -> Tensor:
    """Scaled dot-product attention: weighted means of the values, B × heads × T × size.

    Args:
        query: B × heads × T × size.
        keys: B × heads × S × size.
        values: B × heads × S × size.
        mask: either False where nothing is attended to, or added to the scores.
        causal: at position t, attend only to the first t + 1.
        dropout: on the weights.
    """
    if dropout is None or not dropout.rate or not dropout.drops:
        return F.scaled_dot_product_attention(query, keys, values, mask, is_causal=causal)
    if causal:  # torch's own dropout takes more time
        mask = torch.ones(query.size(2), keys.size(2), dtype=torch.bool, device=query.device).tril()
    return dropout(attention_weights(query, keys, mask)) @ values


def attention_weights(query: Tensor, keys: Tensor, mask: Tensor | None = None) -> Tensor:
    """The weights of :func:`attend`, B × heads × T × S."""
    scores = query * query.size(-1) ** -0.5 @ keys.transpose(2, 3)
    if mask is not None:
        scores = scores.masked_fill(~mask, -math.inf) if mask.dtype == torch.bool else scores + mask
    return scores.softmax(-1)


@lru_cache(maxsize=8)
def linear_biases(
    heads: int, length: int, before: int, span: int, device: torch.device, dtype: torch.dtype
) -> Tensor:
    """Terms for the scores of ``length`` tokens over ``before`` earlier ones and themselves.

    Heads × T × all tokens: minus the distance times the slope of the head, −∞ ahead of the token
    and beyond ``span``. Source: ALiBi (Press et al. 2022).
    """
    with torch.inference_mode(False), torch.no_grad():
        tokens = torch.arange(before + length, device=device)
        distances = tokens[before:, None] - tokens
        slopes = torch.tensor(_slopes(heads), device=device)[:, None, None]
        hidden = (distances < 0) | (distances > span)
        return (-slopes * distances).masked_fill(hidden, -math.inf).to(dtype)


def _slopes(heads: int) -> list[float]:
    """2^(−8i/p) for the first p heads, p the largest power of 2; the rest take slopes between."""
    power = 1 << (heads.bit_length() - 1)
    between = [2 ** (-4 * i / power) for i in range(1, 2 * (heads - power), 2)]
    return [2 ** (-8 * i / power) for i in range(1, power + 1)] + between


def split_heads(rows: Tensor, heads: int, parts: int = 1) -> tuple[Tensor, ...]:
    """B × T × (parts · dim) as ``parts`` tensors of B × heads × T × dim / heads."""
    return rows.unflatten(2, (parts, heads, -1)).permute(2, 0, 3, 1, 4).unbind()


def merge_heads(rows: Tensor) -> Tensor:
    """B × heads × T × dim / heads as B × T × dim."""
    return rows.transpose(1, 2).flatten(2)


def _put(kept: Tensor, new: Tensor, first: int) -> Tensor:
    """``kept`` (B × heads × slots × size) with ``new`` (B × heads × K × size) from ``first`` on."""
    if torch.is_grad_enabled():
        return torch.cat((kept[:, :, :first], new), 2)
    batch, heads, hypotheses, size = new.shape
    needed = first + hypotheses
    if needed > kept.size(2):  # rare, since the room is doubled
        roomy = kept.new_empty(batch, heads, 2 * needed, size)
        roomy[:, :, :first] = kept[:, :, :first]
        kept = roomy
    kept[:, :, first:needed] = new
    return kept


def _initialise(layer: nn.Linear, parts: int) -> None:
    """Initialise queries, keys and values each by themselves, as fairseq does."""
    for part in layer.weight.chunk(parts):
        nn.init.xavier_uniform_(part, gain=2**-0.5)


def _initialise_output(layer: nn.Linear) -> None:
    nn.init.xavier_uniform_(layer.weight)
    nn.init.zeros_(layer.bias)
