"""What decoders share whose steps begin with something that depends on their token alone."""

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

    In decoding that is looked up, where the vocabulary is small.

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
        """What a step computes of embedded tokens, … × dim, alone."""
        raise NotImplementedError

    def projecting(self) -> tuple[Tensor, ...]:
        """The parameters that :meth:`project` reads."""
        raise NotImplementedError

    def embed(self, tokens: Tensor) -> Tensor:
        """What the steps read of target tokens, … × dim."""
        embedded: Tensor = self.embedding_dropout(self.input_scale(self.embedding(tokens)))
        return embedded

    def from_tokens(self, tokens: Tensor) -> Tensor:
        """:meth:`project` of a step's tokens (B × K), by the shortest way."""
        table = self._table_now()
        if table is None:
            if self.embedding_dropout.drops:
                return self.project(self.embed(tokens))
            # hypotheses often end in the same token
            distinct, tokens = tokens.unique(return_inverse=True)
            table = self.project(self.input_scale(self.embedding(distinct)))
        return F.embedding(tokens, table)

    def look_up_tokens(self, numbers: int | None) -> None:
        """Look up what depends on a token alone, ``numbers`` each, if it is not too much.

        With ``None`` compute it again.
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
