"""The base of language models: embeddings, output layer, and a state carried between windows."""

from dataclasses import dataclass, field
from typing import Any, NamedTuple, TypeVar

import torch
from fairseq.data import Dictionary
from fairseq.models import FairseqLanguageModel
from torch import Tensor, nn

from tiednmt.models.embedding_options import embeddings_of, lookup_scale_of
from tiednmt.models.model_options import TiedModelConfig
from tiednmt.models.stepping_decoder import IncrementalState, TiedDecoder
from tiednmt.models.tied_model import TiedModel
from tiednmt.modules import (
    CarriedState,
    RecurrentNetwork,
    SequenceDropout,
    State,
    WordDropout,
)
from tiednmt.modules.linear import linear
from tiednmt.modules.lookup import LookupScale
from tiednmt.options import not_negative, number_field, positive, rate
from tiednmt.tying import Embeddings

ANY_LENGTH = 100_000  # fairseq's own recurrent models say the same: there is no limit

Self = TypeVar("Self", bound="RecurrentLanguageModel")


class LanguageModel(TiedModel, FairseqLanguageModel):
    """A model over a :class:`LanguageModelDecoder`, which can read a text in windows."""

    @property
    def embeddings(self) -> Embeddings:
        """The two matrices, as tied."""
        return Embeddings(None, self.decoder.embedding, self.decoder.output)

    @property
    def carries_state(self) -> bool:
        """Whether a window starts from the state at the end of the one before.

        If so, how a text is cut into windows affects only the gradient.
        """
        carries: bool = self.decoder.carries_state
        return carries


class Window(NamedTuple):
    """The output of a decoder for a window."""

    features: Tensor  # B × T × embedding
    state: State  # after the window; dimension 1 of each of its parts is that of sentences
    penalty: Tensor | None = None  # added to the loss of each token in training


class LanguageModelDecoder(TiedDecoder):
    """Embeddings, and the state that is carried between windows and between steps of generation.

    Args:
        dictionary: of the text.
        embeddings: of the model.
        input_scale: the operations on looked-up rows.
        carries_state: whether a window starts from the state at the end of the one before.
    """

    def __init__(
        self,
        dictionary: Dictionary,
        embeddings: Embeddings,
        input_scale: LookupScale,
        carries_state: bool = True,
    ) -> None:
        super().__init__(dictionary, embeddings, ANY_LENGTH)
        self.input_scale = input_scale
        self.carries_state = carries_state

    def run(self, tokens: Tensor, state: State | None) -> Window:
        """Read tokens (B × T), starting from ``state``, or from the initial state if it is None."""
        raise NotImplementedError

    def extract_features(
        self,
        prev_output_tokens: Tensor,
        incremental_state: IncrementalState | None = None,
        carried: CarriedState | None = None,
        **_: Any,
    ) -> tuple[Tensor, dict[str, Tensor | None]]:
        """Features (B × T × embedding), and the ``activation_penalty``.

        Training adds that to the loss of each token; it may be None. ``attn`` always is.

        Args:
            prev_output_tokens: B × T.
            incremental_state: in generation, the cached state; only the last column is run.
            carried: the state at the end of the window before, which is replaced by that at the end
                of this one. Without it the window starts from zeros.
        """
        state = None
        if carried is not None:
            state = carried.read(prev_output_tokens.size(0), prev_output_tokens.device)
        if incremental_state is not None:
            prev_output_tokens = prev_output_tokens[:, -1:]
            state = self._cached(incremental_state)
        features, state, penalty = self.run(prev_output_tokens, state or None)
        if carried is not None:
            carried.keep(state if self.carries_state else ())
        if incremental_state is not None:
            self._cache(incremental_state, state)
        return features, {"attn": None, "activation_penalty": penalty}

    def _cached(self, incremental_state: IncrementalState) -> State | None:
        return (self.get_incremental_state(incremental_state, "network") or {}).get("state")

    def _cache(self, incremental_state: IncrementalState, state: State) -> None:
        self.set_incremental_state(incremental_state, "network", {"state": state})

    def reorder_incremental_state(
        self, incremental_state: IncrementalState, new_order: Tensor
    ) -> None:
        """Select and order the cached states, for beam search."""
        state = self._cached(incremental_state)
        if state is not None:
            self._cache(incremental_state, tuple(p.index_select(1, new_order) for p in state))


# --- recurrent ---------------------------------------------------------------------------------


@dataclass
class RecurrentLanguageModelConfig(TiedModelConfig):
    """Options of every recurrent language model."""

    embed_dim: int = number_field(200, "size of the two embeddings", positive)
    hidden_size: int = number_field(
        200,
        "size of the recurrent state; if the last layer's differs from --embed-dim, a "
        "learned matrix without bias projects it before the output layer",
        positive,
    )
    dropout: float = number_field(
        0.0, "dropout on the input embedding, between layers and before the output", rate
    )
    variational_dropout: bool = field(
        default=False,
        metadata={
            "help": "variational dropout: sample one mask of --dropout per window instead of one "
            "per time step (Bayesian)"
        },
    )
    recurrent_dropout: float = number_field(
        0.0, "dropout on the recurrent state, one mask per window", rate
    )
    word_dropout: float = number_field(
        0.0, "dropout of whole input words, one mask per window", rate
    )
    activation_penalty: float = number_field(
        0.0,
        "alpha of activation regularisation: adds alpha * mean square of the dropped "
        "output of the network to the loss of each token in training (Merity et al. 2018)",
        not_negative,
    )
    temporal_activation_penalty: float = number_field(
        0.0,
        "beta of temporal activation regularisation: the same for the difference "
        "between the outputs of consecutive steps, before dropout",
        not_negative,
    )
    init_range: float = number_field(
        0.1, "initialise parameters uniformly between minus this and this", not_negative
    )


class RecurrentLanguageModel(LanguageModel):
    """Embedding, recurrent network, output layer."""

    @classmethod
    def assemble(cls: type[Self], cfg: Any, source: Dictionary | None, target: Dictionary) -> Self:
        """See :meth:`TiedModel.assemble`."""
        embeddings = embeddings_of(cfg, source, target, cfg.embed_dim)
        network = cls.build_network(cfg)
        model = cls(RecurrentLanguageModelDecoder(cfg, target, embeddings, network))
        model.initialise(cfg)
        return model

    def initialise(self, cfg: Any) -> None:
        """Initialise parameters uniformly between −``init_range`` and ``init_range``.

        The operations between a matrix and its uses keep the initialisation of their modules.
        """
        output = self.decoder.output
        apart = {
            id(parameter)
            for module in (self.decoder.input_scale, output.down, output.map)
            if module is not None
            for parameter in module.parameters()
        }
        for parameter in self.parameters():  # which yields tied ones once
            if id(parameter) not in apart:
                nn.init.uniform_(parameter, -cfg.init_range, cfg.init_range)

    @classmethod
    def build_network(cls, cfg: Any) -> RecurrentNetwork:
        """The recurrent network that reads ``embed_dim`` numbers per step."""
        raise NotImplementedError


class RecurrentLanguageModelDecoder(LanguageModelDecoder):
    """Predicts each next token from those before it."""

    def __init__(
        self,
        cfg: RecurrentLanguageModelConfig,
        dictionary: Dictionary,
        embeddings: Embeddings,
        network: RecurrentNetwork,
    ) -> None:
        super().__init__(dictionary, embeddings, lookup_scale_of(cfg))
        self.network = network
        owner = type(self).__name__
        self.word_dropout = WordDropout(cfg.word_dropout, owner)
        self.dropout = SequenceDropout(cfg.dropout, cfg.variational_dropout, owner)
        self.down = (
            nn.Linear(network.output_size, cfg.embed_dim, bias=False)
            if network.output_size != cfg.embed_dim
            else nn.Identity()
        )
        self.activation_penalty = cfg.activation_penalty
        self.temporal_activation_penalty = cfg.temporal_activation_penalty

    def run(self, tokens: Tensor, state: State | None) -> Window:
        """See :class:`LanguageModelDecoder`; each part of the state is layers × B × hidden."""
        tokens = tokens.t()
        looked_up = self.input_scale(self.embedding(tokens))
        embedded = self.word_dropout(looked_up, tokens, self.embedding.num_embeddings)
        outputs, state = self.network(self.dropout(embedded), state)
        dropped = self.dropout(outputs)
        features = linear(self.down, dropped).transpose(0, 1)
        return Window(features, state, self._penalty(outputs, dropped, tokens))

    def _penalty(self, outputs: Tensor, dropped: Tensor, tokens: Tensor) -> Tensor | None:
        """The penalty of Merity et al. (2018), section 4.5, on outputs of T × B × output."""
        if not self.training or not (self.activation_penalty or self.temporal_activation_penalty):
            return None
        real = tokens.ne(self.dictionary.pad())
        penalty = self.activation_penalty * _mean_square(dropped, real)
        if len(outputs) > 1:
            changes = outputs[1:] - outputs[:-1]
            penalty = penalty + self.temporal_activation_penalty * _mean_square(changes, real[1:])
        return penalty


def _mean_square(vectors: Tensor, counted: Tensor) -> Tensor:
    """The mean square of the numbers of those vectors (T × B × size) that count (T × B)."""
    weights = counted.to(torch.promote_types(vectors.dtype, torch.float32))
    return (vectors.square().mean(-1) * weights).sum() / weights.sum().clamp(min=1)
