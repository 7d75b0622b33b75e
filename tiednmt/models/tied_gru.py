"""The attentional encoder-decoder of Press & Wolf (2017), section 5: the dl4mt conditional GRU."""

from argparse import Namespace
from dataclasses import dataclass, field
from typing import Any

import torch
import torch.nn.functional as F
from fairseq.data import Dictionary
from fairseq.models import (
    FairseqEncoder,
    FairseqEncoderDecoderModel,
    FairseqIncrementalDecoder,
    register_model,
    register_model_architecture,
)
from fairseq.tasks import FairseqTask
from omegaconf import II
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from tiednmt.models.tied_model import TiedModel, TiedModelConfig, check_ranges, preset
from tiednmt.modules import BidirectionalGRU, ConditionalGRU, OutputLayer
from tiednmt.modules.conditional_gru import Decoded, Memory, StepMemory
from tiednmt.modules.dropout import Dropout
from tiednmt.modules.fixed_linear import FixedLinear
from tiednmt.modules.products import through
from tiednmt.tying import Embeddings, build_embeddings

EncoderOut = dict[str, list[Tensor]]
IncrementalState = dict[str, dict[str, Tensor | None]]


@dataclass
class TiedGRUConfig(TiedModelConfig):
    """Options of ``--arch tied_gru``; the defaults fit a corpus of Multi30k's size."""

    embed_dim: int = field(default=256, metadata={"help": "size of the three embeddings"})
    encoder_hidden_size: int = field(
        default=128, metadata={"help": "hidden size of the encoder in each direction"}
    )
    encoder_layers: int = field(default=1, metadata={"help": "bidirectional encoder layers"})
    decoder_hidden_size: int = field(default=256, metadata={"help": "size of the decoder's state"})
    attention_size: int = field(
        default=256, metadata={"help": "size of the hidden layer of the additive attention"}
    )
    dropout: float = field(
        default=0.3, metadata={"help": "dropout where none of the three below says otherwise"}
    )
    embedding_dropout: float = field(
        default=II("model.dropout"), metadata={"help": "dropout on both input embeddings"}
    )
    state_dropout: float = field(
        default=II("model.dropout"),
        metadata={"help": "dropout on the annotations and on the states that enter the readout"},
    )
    readout_dropout: float = field(
        default=II("model.dropout"), metadata={"help": "dropout between readout and output layer"}
    )
    max_source_positions: int = field(
        default=1024, metadata={"help": "longest source sentence, in subword units"}
    )
    max_target_positions: int = field(
        default=1024, metadata={"help": "longest target sentence, in subword units"}
    )


@register_model("tied_gru", dataclass=TiedGRUConfig)
class TiedGRUModel(TiedModel, FairseqEncoderDecoderModel):
    """Bidirectional GRU encoder, conditional GRU decoder, one to three embedding matrices."""

    def __init__(self, encoder: "TiedGRUEncoder", decoder: "TiedGRUDecoder") -> None:
        super().__init__(encoder, decoder)
        self.bind(encoder.dictionary, decoder.dictionary)

    @classmethod
    def build_model(cls, cfg: TiedGRUConfig, task: FairseqTask) -> "TiedGRUModel":
        """Build from the task's dictionaries and log the tie map."""
        model = cls.from_dictionaries(cfg, task.source_dictionary, task.target_dictionary)
        model.prepare(cfg)
        return model

    @classmethod
    def from_dictionaries(
        cls, cfg: TiedGRUConfig, source: Dictionary, target: Dictionary
    ) -> "TiedGRUModel":
        """Build without a task.

        Raises:
            UserError: three-way tying over dictionaries that differ, or an option out of range.
        """
        check_ranges(cfg, _SIZES, _DROPOUTS)
        embeddings = build_embeddings(cfg, source, target, cfg.embed_dim)
        assert embeddings.source is not None
        encoder = TiedGRUEncoder(cfg, source, embeddings.source)
        decoder = TiedGRUDecoder(cfg, target, embeddings.target, embeddings.output)
        return cls(encoder, decoder)

    @property
    def embeddings(self) -> Embeddings:
        """The three matrices, as tied."""
        return Embeddings(self.encoder.embedding, self.decoder.embedding, self.decoder.output)

    def fix(self, kind: type[FixedLinear] | None) -> None:
        """Score, and run the decoder's steps, with copies of the matrices from now on."""
        super().fix(kind)
        self.decoder.fix(kind)


class TiedGRUEncoder(FairseqEncoder):
    """Bidirectional GRU; its annotations are the concatenated states of both directions."""

    def __init__(self, cfg: TiedGRUConfig, dictionary: Dictionary, embedding: nn.Embedding) -> None:
        super().__init__(dictionary)
        self.embedding = embedding
        self.max_source_positions = cfg.max_source_positions
        self.embedding_dropout = Dropout(cfg.embedding_dropout)
        self.state_dropout = Dropout(cfg.state_dropout)
        self.rnn = BidirectionalGRU(
            cfg.embed_dim, cfg.encoder_hidden_size, cfg.encoder_layers, cfg.state_dropout
        )

    def forward(self, src_tokens: Tensor, src_lengths: Tensor, **_: Any) -> EncoderOut:
        """Encode ``src_tokens`` (B × S), padded on any side.

        Returns:
            ``annotations`` (B × S × 2·hidden) and ``padding`` (B × S), both with the padding moved
            to the right, and ``columns`` (B × S): where each stood in ``src_tokens``.
        """
        padding = src_tokens.eq(self.dictionary.pad())
        columns = padding.to(torch.uint8).argsort(dim=1, stable=True)
        tokens, padding = src_tokens.gather(1, columns), padding.gather(1, columns)
        embedded = self.embedding_dropout(self.embedding(tokens.t()))
        packed = pack_padded_sequence(embedded, (~padding).sum(1).cpu(), enforce_sorted=False)
        states, _lengths = pad_packed_sequence(
            self.rnn(packed), batch_first=True, total_length=tokens.size(1)
        )
        return {
            "annotations": [self.state_dropout(states)],
            "padding": [padding],
            "columns": [columns],
        }

    def reorder_encoder_out(self, encoder_out: EncoderOut, new_order: Tensor) -> EncoderOut:
        """Select and order sentences, for beam search."""
        return reordered(encoder_out, new_order)

    def max_positions(self) -> int:
        """Longest source sentence, in subword units."""
        return self.max_source_positions


class TiedGRUDecoder(FairseqIncrementalDecoder):
    """Conditional GRU, readout tanh(W_s s_t + W_y y_{t-1} + W_c c_t), output layer."""

    def __init__(
        self,
        cfg: TiedGRUConfig,
        dictionary: Dictionary,
        embedding: nn.Embedding,
        output_layer: OutputLayer,
    ) -> None:
        super().__init__(dictionary)
        annotation_size = 2 * cfg.encoder_hidden_size
        self.embedding = embedding
        self.output = output_layer
        self.max_target_positions = cfg.max_target_positions
        self.embedding_dropout = Dropout(cfg.embedding_dropout)
        self.state_dropout = Dropout(cfg.state_dropout)
        self.readout_dropout = Dropout(cfg.readout_dropout)
        self.initial = nn.Linear(annotation_size, cfg.decoder_hidden_size)
        self.cell = ConditionalGRU(
            cfg.embed_dim, annotation_size, cfg.decoder_hidden_size, cfg.attention_size
        )
        self.readout_state = nn.Linear(cfg.decoder_hidden_size, cfg.embed_dim)
        self.readout_input = nn.Linear(cfg.embed_dim, cfg.embed_dim, bias=False)
        self.readout_context = nn.Linear(annotation_size, cfg.embed_dim, bias=False)
        self.fixed_readout: FixedLinear | None = None
        self.fixed_inputs: Tensor | None = None
        for linear in (
            self.initial,
            self.readout_state,
            self.readout_input,
            self.readout_context,
        ):
            nn.init.xavier_uniform_(linear.weight)
            if linear.bias is not None:
                nn.init.zeros_(linear.bias)

    def forward(
        self,
        prev_output_tokens: Tensor,
        encoder_out: EncoderOut,
        incremental_state: IncrementalState | None = None,
        features_only: bool = False,
        **_: Any,
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Scores (B × T × types), or features (B × T × embedding) if ``features_only``.

        The second value holds ``attn``, B × T × S over the columns of the source as given. With
        ``incremental_state`` only the last column of ``prev_output_tokens`` (B × T) is run.
        """
        features, extra = self.extract_features(prev_output_tokens, encoder_out, incremental_state)
        return (features if features_only else self.output_layer(features)), extra

    def extract_features(
        self,
        prev_output_tokens: Tensor,
        encoder_out: EncoderOut,
        incremental_state: IncrementalState | None = None,
        **_: Any,
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """The readout (B × T × embedding) and the attention."""
        if incremental_state is None:
            order, positions, sizes = by_step(prev_output_tokens, self.dictionary.pad())
            memory, state = self.begin(reordered(encoder_out, order))
            tokens = prev_output_tokens.flatten()[positions]
            embedded = self.embedding_dropout(self.embedding(tokens))
            decoded = self.cell(embedded, sizes, memory, state)
            readout, attention = (
                rows.new_zeros(prev_output_tokens.numel(), rows.size(1))
                .index_copy(0, positions, rows)
                .unflatten(0, prev_output_tokens.shape)
                for rows in (self.read_out(embedded, decoded), decoded.attention)
            )
        else:
            cached = self.get_incremental_state(incremental_state, "decoder")
            if cached is None:
                steps, state = self.begin_steps(encoder_out)
                cached = {**steps._asdict(), "state": state}
            state, steps = cached.pop("state").unsqueeze(1), StepMemory(**cached)
            readout, state, attention = self.step(prev_output_tokens[:, -1:], steps, state)
            cached = {**steps._asdict(), "state": state.squeeze(1)}
            self.set_incremental_state(incremental_state, "decoder", cached)
        return readout, {"attn": in_given_columns(attention, encoder_out["columns"][0])}

    def begin(self, encoder_out: EncoderOut) -> tuple[Memory, Tensor]:
        """What all steps attend to, and the state before the first: tanh of a projection of the
        mean annotation, B × hidden.
        """
        annotations, padding = encoder_out["annotations"][0], encoder_out["padding"][0]
        kept = (~padding).to(annotations.dtype)
        mean = torch.bmm(kept.unsqueeze(1), annotations).squeeze(1) / kept.sum(1, keepdim=True)
        return self.cell.read(annotations, padding), torch.tanh(self.initial(mean))

    def begin_steps(self, encoder_out: EncoderOut) -> tuple[StepMemory, Tensor]:
        """As :meth:`begin`, for :meth:`step`."""
        memory, state = self.begin(encoder_out)
        return self.cell.prepare(memory, self.readout_context.weight), state

    def step(
        self, tokens: Tensor, memory: StepMemory, state: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """One step of K hypotheses for each of B sources.

        Args:
            tokens: the last of each hypothesis, B × K.
            memory: of the sources.
            state: B × K × hidden.

        Returns:
            The readout (B × K × embedding), the state, and the attention (B × K × S).
        """
        from_token, to_readout = self._from_tokens(tokens)
        decoded = self.cell.step(from_token, memory, state)
        readout = (self.fixed_readout or self.readout_state)(self.state_dropout(decoded.states))
        readout += to_readout
        readout += decoded.contexts
        return self.readout_dropout(readout.tanh()), decoded.states, decoded.attention

    def _from_tokens(self, tokens: Tensor) -> tuple[Tensor, Tensor]:
        """What depends on a step's tokens (B × K) alone: their part of GRU_1's gates and of the
        readout, B × K × ….
        """
        if self.fixed_inputs is None:  # hypotheses often end in the same type
            types, tokens = tokens.unique(return_inverse=True)
            table = self._projected(self.embedding_dropout(self.embedding(types)))
        else:
            table = self.fixed_inputs
        gates = 3 * self.cell.transition_1.hidden_size
        from_token, to_readout = F.embedding(tokens, table).tensor_split((gates,), 2)
        return from_token, to_readout

    def _projected(self, embedded: Tensor) -> Tensor:
        one = self.cell.transition_1
        from_token = F.linear(embedded, one.weight_ih, one.bias_ih)
        return torch.cat((from_token, self.readout_input(embedded)), 1)

    def fix(self, kind: type[FixedLinear] | None) -> None:
        """From now on, let :meth:`step` multiply hypotheses' states with copies of the matrices,
        and look up what depends on a token alone where there are few types; or (``None``) neither.
        """
        self.cell.fix(kind)
        self.fixed_readout = self.fixed_inputs = None
        if kind is None:
            return
        self.fixed_readout = kind(self.readout_state.weight, self.readout_state.bias)
        width = 3 * self.cell.transition_1.hidden_size + self.embedding.embedding_dim
        if self.embedding.num_embeddings * width <= _LOOKED_UP:
            with torch.no_grad():
                self.fixed_inputs = self._projected(self.embedding.weight)

    def read_out(self, embedded: Tensor, decoded: Decoded) -> Tensor:
        """tanh(W_s s_t + W_y y_{t−1} + W_c c_t), … × embedding."""
        readout = torch.tanh(
            through(self.readout_state, self.state_dropout(decoded.states))
            + through(self.readout_input, embedded)
            + through(self.readout_context, decoded.contexts)
        )
        return self.readout_dropout(readout)

    def reorder_incremental_state(
        self, incremental_state: IncrementalState, new_order: Tensor
    ) -> None:
        """Select and order the cached states and keys, for beam search."""
        cached = self.get_incremental_state(incremental_state, "decoder")
        if cached is not None:
            reordered = {name: value.index_select(0, new_order) for name, value in cached.items()}
            self.set_incremental_state(incremental_state, "decoder", reordered)

    def output_layer(self, features: Tensor, **_: Any) -> Tensor:
        """Scores (… × types) of features (… × embedding)."""
        return self.output(features)

    def max_positions(self) -> int:
        """Longest target sentence, in subword units."""
        return self.max_target_positions


def reordered(encoder_out: EncoderOut, order: Tensor) -> EncoderOut:
    """What the encoder yields for these sentences in this order."""
    return {
        name: [tensor.index_select(0, order) for tensor in tensors]
        for name, tensors in encoder_out.items()
    }


def by_step(tokens: Tensor, pad: int) -> tuple[Tensor, Tensor, list[int]]:
    """The order in which to decode a padded batch, so that no step runs on padding alone.

    Returns:
        The sentences, longest first; which of ``tokens`` (B × T, flattened) each step reads, one
        step after another; and how many each step reads.
    """
    columns = torch.arange(1, tokens.size(1) + 1, device=tokens.device)
    lengths = (tokens.ne(pad) * columns).amax(1).clamp(min=1)
    lengths, order = lengths.sort(descending=True, stable=True)
    # sentences end in groups: matrix products of few distinct sizes, of whole vector registers
    groups = torch.arange(len(lengths), device=tokens.device) // _GROUP * _GROUP
    runs = columns[:, None] <= lengths[groups]  # T × B
    steps, sentences = runs.nonzero(as_tuple=True)
    positions = order[sentences] * tokens.size(1) + steps
    sizes = runs.sum(1)
    return order, positions, sizes[sizes > 0].tolist()


_GROUP = 16
_LOOKED_UP = 2**25  # numbers


def in_given_columns(attention: Tensor, columns: Tensor) -> Tensor:
    """Attention (B × T × S) over the columns of the source as it was given; see the encoder."""
    return torch.zeros_like(attention).scatter(
        2, columns.unsqueeze(1).expand_as(attention), attention
    )


_SIZES = (
    "embed_dim",
    "encoder_hidden_size",
    "encoder_layers",
    "decoder_hidden_size",
    "attention_size",
    "max_source_positions",
    "max_target_positions",
)
_DROPOUTS = ("dropout", "embedding_dropout", "state_dropout", "readout_dropout")


@register_model_architecture("tied_gru", "tied_gru_tiny")
def tied_gru_tiny(args: Namespace) -> None:
    """For tests and the quick start."""
    preset(
        args,
        embed_dim=128,
        encoder_hidden_size=64,
        decoder_hidden_size=128,
        attention_size=128,
    )


@register_model_architecture("tied_gru", "tied_gru_press_wolf")
def tied_gru_press_wolf(args: Namespace) -> None:
    """The paper's sizes: embedding 500, hidden 1000, attention as wide as an annotation."""
    preset(
        args,
        embed_dim=500,
        encoder_hidden_size=1000,
        decoder_hidden_size=1000,
        attention_size=2000,
    )
