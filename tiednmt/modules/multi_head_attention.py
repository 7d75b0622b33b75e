"""Multi-head attention (Vaswani et al. 2017): of tokens to their own sentence, or to a source."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import cached_property, lru_cache
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tiednmt.kernels import decoding_kernels_for
from tiednmt.modules.dropout import Dropout
from tiednmt.modules.linear import linear
from tiednmt.modules.packed_attention import attend_packed, attends_packed
from tiednmt.modules.packing import Packing


class KeysAndValues(NamedTuple):
    """The keys and values that a layer attends to, each B × length × dim."""

    keys: Tensor
    values: Tensor


class Reach:
    """Which keys and values each of K hypotheses for each of B sources attends to.

    Args:
        places: where they stand, B × K × t.
        counts: how many of the places count, from the first on; B.
        mask: makes what says the same to :func:`attend`.
    """

    def __init__(self, places: Tensor, counts: Tensor, mask: Callable[[], Tensor | None]) -> None:
        self.places, self.counts, self._mask = places, counts, mask

    @cached_property
    def mask(self) -> Tensor | None:
        """What broadcasts to B × heads × K × length; None if all are attended to."""
        return self._mask()


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
        query, *read = packing.padded(qkv).chunk(3, 2)
        mask = None if causal else packing.mask  # causal attention sees no padding, which is behind
        context = attend(query, KeysAndValues(*read), self.heads, mask, causal, self.dropout)
        return linear(self.out, packing.rows(context))

    def over(
        self, past: KeysAndValues | None, rows: Tensor, packing: Packing, biases: Tensor
    ) -> tuple[Tensor, KeysAndValues]:
        """The output for each token of ``packing`` (N × dim) over a past and the tokens themselves.

        Also keys and values of both. ``biases`` (heads × T × length of both) are added to scores.
        """
        query, *new = packing.padded(linear(self.qkv, rows)).chunk(3, 2)
        reached = KeysAndValues(*new)
        if past is not None:
            both = zip(past, reached, strict=True)
            reached = KeysAndValues(*(torch.cat(parts, 1) for parts in both))
        context = attend(query, reached, self.heads, biases, dropout=self.dropout)
        return linear(self.out, packing.rows(context)), reached

    def step(
        self, rows: Tensor, kept: KeysAndValues, first: int, reach: Reach
    ) -> tuple[Tensor, KeysAndValues]:
        """The output for the last tokens (B × K × dim), and the kept keys and values with theirs.

        ``first`` is their first place.
        """
        query, *new = linear(self.qkv, rows).chunk(3, 2)
        kept = KeysAndValues(*(_put(*pair, first) for pair in zip(kept, new, strict=True)))
        used = KeysAndValues(*(part[:, : first + rows.size(1)] for part in kept))
        context, _ = attend_places(query, used, self.heads, reach, self.dropout)
        return linear(self.out, context), kept


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
        """The result of :meth:`read`, split by source."""
        return KeysAndValues(*packing.padded(read).chunk(2, 2))

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
        query = linear(self.query, rows)
        if not aligned_heads and attends_packed(query, packing, source_packing):
            given = source, source_packing
            context = attend_packed(query, packing, self.heads, given, dropout=self.dropout)
            return linear(self.out, context), None
        query, read = packing.padded(query), self.spread(source, source_packing)
        how = query, read, self.heads, source_packing.mask
        if aligned_heads:
            context, attention = attend_aligned(*how, aligned_heads, self.dropout)
        else:
            context, attention = attend(*how, dropout=self.dropout), None
        return linear(self.out, packing.rows(context)), attention

    def step(
        self, rows: Tensor, source: KeysAndValues, reach: Reach, aligned_heads: int = 0
    ) -> tuple[Tensor, Tensor | None]:
        """The output for the last tokens (B × K × dim) over the source.

        Also the mean of the weights of the first ``aligned_heads``, B × K × S, if any.
        """
        query = linear(self.query, rows)
        given = query, source, self.heads, reach, self.dropout
        context, attention = attend_places(*given, aligned_heads)
        return linear(self.out, context), attention


def attend_places(
    query: Tensor,
    read: KeysAndValues,
    heads: int,
    reach: Reach,
    dropout: Dropout,
    aligned_heads: int = 0,
) -> tuple[Tensor, Tensor | None]:
    """:func:`attend` for one token (B × K × dim) of each hypothesis, or :func:`attend_aligned`."""
    kernels = decoding_kernels_for(query)
    if kernels and not dropout.drops_any:
        places = reach.places, reach.counts
        found: tuple[Tensor, Tensor | None] = kernels.attend_places(
            query, *read, *places, heads, aligned_heads
        )
        return found
    if aligned_heads:
        return attend_aligned(query, read, heads, reach.mask, aligned_heads, dropout)
    return attend(query, read, heads, reach.mask, dropout=dropout), None


def attend(
    query: Tensor,
    read: KeysAndValues,
    heads: int,
    mask: Tensor | None = None,
    causal: bool = False,
    dropout: Dropout | None = None,
) -> Tensor:
    """Scaled dot-product attention: weighted means of the values, B × T × dim.

    Args:
        query: B × T × dim.
        read: keys and values, B × S × dim.
        heads: a divisor of dim.
        mask: (of what broadcasts to B × heads × T × S) either False where nothing is attended to,
            or added to the scores.
        causal: at position t, attend only to the first t + 1.
        dropout: on the weights.
    """
    query, keys, values = (split_heads(part, heads) for part in (query, *read))
    if dropout is None or not dropout.drops_any:
        context = F.scaled_dot_product_attention(query, keys, values, mask, is_causal=causal)
        return merge_heads(context)
    if causal:  # torch's own dropout takes more time
        mask = torch.ones(query.size(2), keys.size(2), dtype=torch.bool, device=query.device).tril()
    return merge_heads(dropout(attention_weights(query, keys, mask)) @ values)


def attend_aligned(
    query: Tensor,
    read: KeysAndValues,
    heads: int,
    mask: Tensor | None,
    aligned_heads: int,
    dropout: Dropout,
) -> tuple[Tensor, Tensor]:
    """:func:`attend`, and the mean of the weights of the first ``aligned_heads``, B × T × S."""
    query, keys, values = (split_heads(part, heads) for part in (query, *read))
    weights = attention_weights(query, keys, mask)
    return merge_heads(dropout(weights) @ values), weights[:, :aligned_heads].mean(1)


def attention_weights(query: Tensor, keys: Tensor, mask: Tensor | None = None) -> Tensor:
    """The weights of :func:`attend`, B × heads × T × S, of queries and keys split by head."""
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


def split_heads(rows: Tensor, heads: int) -> Tensor:
    """B × T × dim as B × heads × T × dim / heads."""
    return rows.unflatten(2, (heads, -1)).transpose(1, 2)


def merge_heads(rows: Tensor) -> Tensor:
    """B × heads × T × dim / heads as B × T × dim."""
    return rows.transpose(1, 2).flatten(2)


def _put(kept: Tensor, new: Tensor, first: int) -> Tensor:
    """``kept`` (B × places × dim) with ``new`` (B × K × dim) from ``first`` on."""
    if torch.is_grad_enabled():
        return torch.cat((kept[:, :first], new), 1)
    kept = with_room(kept, first, new.size(1))
    kept[:, first : first + new.size(1)] = new
    return kept


def with_room(kept: Tensor, first: int, count: int) -> Tensor:
    """``kept`` (B × places × dim), or a larger copy if it lacks ``count`` places from ``first``."""
    needed = first + count
    if needed <= kept.size(1):
        return kept
    roomy = kept.new_empty(len(kept), 2 * needed, kept.size(2))  # so that this is rare
    roomy[:, :first] = kept[:, :first]
    return roomy


def _initialise(layer: nn.Linear, parts: int) -> None:
    """Initialise queries, keys and values each by themselves, as fairseq does."""
    for part in layer.weight.chunk(parts):
        nn.init.xavier_uniform_(part, gain=2**-0.5)


def _initialise_output(layer: nn.Linear) -> None:
    nn.init.xavier_uniform_(layer.weight)
    nn.init.zeros_(layer.bias)
