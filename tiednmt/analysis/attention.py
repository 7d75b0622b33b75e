"""Where a translation model looked, unit by unit."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from fairseq.data import Dictionary
from numpy.typing import NDArray
from torch import Tensor

from tiednmt.errors import UserError


@dataclass(frozen=True)
class Attention:
    """One sentence; ``weights`` is target units × source units, its rows sum to one."""

    source: Sequence[str]
    target: Sequence[str]
    weights: NDArray[np.float32]

    @property
    def alignment(self) -> list[tuple[int, int]]:
        """(target, source) of each target unit's greatest weight."""
        return [(i, int(row.argmax())) for i, row in enumerate(self.weights)]


def attention_of(
    source: Tensor, hypothesis: dict[str, Any], dictionaries: tuple[Dictionary, Dictionary]
) -> Attention:
    """The attention that fairseq's beam search kept with a hypothesis.

    Args:
        source: token ids, the end of sentence included.
        hypothesis: of ``SequenceGenerator``, for this source.
        dictionaries: of source and target.

    Raises:
        UserError: the model gave none.
    """
    weights = hypothesis["attention"]
    if weights is None or not weights.numel():
        raise UserError("the model gives no attention; leave --sentences out")
    tokens = (source.tolist(), hypothesis["tokens"].tolist())
    read, written = ([d[i] for i in ids] for d, ids in zip(dictionaries, tokens, strict=True))
    return Attention(read, written, weights.t().float().cpu().numpy())
