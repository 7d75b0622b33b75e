"""The base of decoders whose steps begin with a projection of their token."""

from __future__ import annotations

import torch.nn.functional as F
from fairseq.data import Dictionary
from torch import Tensor

from tiednmt.kernels.tuning import DECODING_TABLE
from tiednmt.models.stepping_decoder import SteppingDecoder
from tiednmt.modules.dropout import Dropout
from tiednmt.modules.frozen_linear import Frozen, frozen_value
from tiednmt.modules.lookup import LookupScale
from tiednmt.tying import Embeddings


class RecurrentDecoder(SteppingDecoder):
    """A decoder that projects its embedded tokens before the loop over its steps.

    In decoding, the projections of a small vocabulary are looked up in a table.

    Args:
        dictionary: of the target language.
        embeddings: of the model.
        input_scale: of the target input embedding.
        embedding_dropout: rate of the dropout on embedded tokens.
        max_target_positions: longest target sentence, in subword units.
    """

    def __init__(
        self,
        dictionary: Dictionary,
        embeddings: Embeddings,
        input_scale: LookupScale,
        embedding_dropout: float,
        max_target_positions: int,
    ) -> None:
        super().__init__(dictionary, embeddings, max_target_positions)
        self.input_scale = input_scale
        self.embedding_dropout = Dropout(embedding_dropout, type(self).__name__)
        self.token_table: Frozen[Tensor] | None = None

    def project(self, embedded: Tensor) -> Tensor:
        """The part of a step that depends only on its embedded tokens (… × dim)."""
        raise NotImplementedError

    def projecting(self) -> tuple[Tensor, ...]:
        """The parameters that :meth:`project` reads."""
        raise NotImplementedError

    def embed(self, tokens: Tensor) -> Tensor:
        """Target tokens as the steps read them, … × dim."""
        embedded: Tensor = self.embedding_dropout(self.input_scale(self.embedding(tokens)))
        return embedded

    def from_tokens(self, tokens: Tensor) -> Tensor:
        """:meth:`project` of a step's tokens (B × K), from the table if there is one."""
        table = self._table_now()
        if table is None:
            if self.embedding_dropout.drops:
                return self.project(self.embed(tokens))
            # hypotheses often end in the same token
            distinct, tokens = tokens.unique(return_inverse=True)
            table = self.project(self.input_scale(self.embedding(distinct)))
        return F.embedding(tokens, table)

    def look_up_tokens(self, numbers: int | None) -> None:
        """Look projections up in a table from now on, unless it would be too large.

        Args:
            numbers: the size of a projected token; None computes projections again.
        """
        self.token_table = None
        if numbers is not None and self.embedding.num_embeddings * numbers <= DECODING_TABLE:
            self.token_table = Frozen(self._make_table, *self._table_parameters())

    def _table_now(self) -> Tensor | None:
        if self.embedding_dropout.drops:
            return None
        return frozen_value(self.token_table, *self._table_parameters())

    def _table_parameters(self) -> tuple[Tensor, ...]:
        return self.embedding.weight, *self.projecting(), *self.input_scale.parameters()

    def _make_table(self, embeddings: Tensor, *_: Tensor) -> Tensor:
        return self.project(self.input_scale(embeddings))
