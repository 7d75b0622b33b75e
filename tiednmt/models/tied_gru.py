"""The attentional encoder-decoder of Press & Wolf (2017), section 5: the dl4mt conditional GRU."""

from argparse import Namespace
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from fairseq.data import Dictionary
from fairseq.models import (
    register_model,
    register_model_architecture,
)
from omegaconf import II
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from tiednmt.models.embedding_options import embeddings_of, lookup_scale_of
from tiednmt.models.encoder_decoder import (
    EncoderOut,
    Sources,
    TiedEncoder,
    TiedEncoderDecoderModel,
    select_sentences,
)
from tiednmt.models.model_options import TiedModelConfig, input_scale_field, preset
from tiednmt.models.recurrent_decoder import RecurrentDecoder
from tiednmt.modules import BidirectionalGRU, ConditionalGRU
from tiednmt.modules.conditional_gru import AdditiveMemory, AdditiveStepMemory, ConditionalGRUOutput
from tiednmt.modules.dropout import Dropout
from tiednmt.modules.frozen_linear import FrozenLinear
from tiednmt.modules.linear import is_plain, kept_exact, linear
from tiednmt.modules.lookup import LookupScale
from tiednmt.modules.packing import (
    keeps_padding,
    move_padding_right,
    pack_steps,
    restore_columns,
    unpack_steps,
)
from tiednmt.options import number_field, positive, rate
from tiednmt.search.stepper import StepOutput
from tiednmt.tying import Embeddings


@dataclass
class GRUDecoderConfig(TiedModelConfig):
    """Options of the conditional GRU decoder."""

    decoder_hidden_size: int = number_field(256, "size of the decoder's state", positive)
    attention_size: int = number_field(
        256, "size of the hidden layer of the additive attention", positive
    )
    embedding_dropout: float = number_field(
        II("model.dropout"), "dropout on the input embeddings that a GRU reads", rate
    )
    state_dropout: float = number_field(
        II("model.dropout"),
        "dropout on the states that the readout reads, and on those of a GRU encoder",
        rate,
    )
    readout_dropout: float = number_field(
        II("model.dropout"), "dropout between readout and output layer", rate
    )
    max_target_positions: int = number_field(
        1024, "longest target sentence, in subword units", positive
    )


@dataclass
class TiedGRUConfig(GRUDecoderConfig):
    """Options of ``--arch tied_gru``; the defaults fit a corpus of Multi30k's size."""

    input_scale: str = input_scale_field("4")  # experiment demo-input-scale
    embed_dim: int = number_field(256, "size of the three embeddings", positive)
    encoder_hidden_size: int = number_field(
        128, "hidden size of the encoder in each direction", positive
    )
    encoder_layers: int = number_field(1, "bidirectional encoder layers", positive)
    dropout: float = number_field(
        0.3, "default for --embedding-dropout, --state-dropout and --readout-dropout", rate
    )
    max_source_positions: int = number_field(
        1024, "longest source sentence, in subword units", positive
    )


@register_model("tied_gru", dataclass=TiedGRUConfig)
class TiedGRUModel(TiedEncoderDecoderModel):
    """Bidirectional GRU encoder, conditional GRU decoder, one to three embedding matrices."""

    fits_cuda_graphs = True

    @classmethod
    def assemble(
        cls, cfg: TiedGRUConfig, source: Dictionary | None, target: Dictionary
    ) -> "TiedGRUModel":
        """See :meth:`TiedModel.assemble`."""
        embeddings = embeddings_of(cfg, source, target, cfg.embed_dim)
        assert source is not None and embeddings.source is not None
        encoder = TiedGRUEncoder(cfg, source, embeddings.source)
        annotation_size = 2 * cfg.encoder_hidden_size
        decoder = TiedGRUDecoder(cfg, target, embeddings, annotation_size, lookup_scale_of(cfg))
        return cls(encoder, decoder)


class TiedGRUEncoder(TiedEncoder):
    """Bidirectional GRU; its annotations are the concatenated states of both directions."""

    def __init__(self, cfg: TiedGRUConfig, dictionary: Dictionary, embedding: nn.Embedding) -> None:
        input_scale = lookup_scale_of(cfg, dictionary)
        super().__init__(dictionary, embedding, input_scale, cfg.max_source_positions)
        owner = type(self).__name__
        self.embedding_dropout = Dropout(cfg.embedding_dropout, owner)
        self.state_dropout = Dropout(cfg.state_dropout, owner)
        self.rnn = BidirectionalGRU(
            cfg.embed_dim, cfg.encoder_hidden_size, cfg.encoder_layers, cfg.state_dropout, owner
        )

    def forward(self, src_tokens: Tensor, src_lengths: Tensor, **_: Any) -> EncoderOut:
        """Encode ``src_tokens`` (B × S), padded on any side.

        Returns:
            ``annotations`` (B × S × 2·hidden) and ``padding`` (B × S), both with the padding moved
            to the right, and ``columns`` (B × S): where each stood in ``src_tokens``.
        """
        tokens, padding, columns = move_padding_right(src_tokens, self.dictionary.pad())
        embedded = self.embedding_dropout(self.look_up(tokens.t()))
        states = self._states(embedded, padding)
        return {
            "annotations": [self.state_dropout(states)],
            "padding": [padding],
            "columns": [columns],
        }

    def _states(self, embedded: Tensor, padding: Tensor) -> Tensor:
        """B × S × 2·hidden, zeros where there is padding."""
        if keeps_padding():
            return self.rnn.over_padded(embedded, padding)
        packed = pack_padded_sequence(embedded, (~padding).sum(1).cpu(), enforce_sorted=False)
        states, _lengths = pad_packed_sequence(
            self.rnn(packed), batch_first=True, total_length=padding.size(1)
        )
        return states


class TiedGRUDecoder(RecurrentDecoder):
    """Conditional GRU, readout tanh(W_s s_t + W_y y_{t-1} + W_c c_t), output layer.

    Args:
        cfg: options of the decoder.
        dictionary: of the target language.
        embeddings: of the model.
        annotation_size: numbers of an annotation.
        input_scale: of the target input embedding.
    """

    def __init__(
        self,
        cfg: GRUDecoderConfig,
        dictionary: Dictionary,
        embeddings: Embeddings,
        annotation_size: int,
        input_scale: LookupScale,
    ) -> None:
        super().__init__(
            dictionary, embeddings, input_scale, cfg.embedding_dropout, cfg.max_target_positions
        )
        owner, embed_dim = type(self).__name__, embeddings.output.dim
        self.state_dropout = Dropout(cfg.state_dropout, owner)
        self.readout_dropout = Dropout(cfg.readout_dropout, owner)
        self.initial = kept_exact(nn.Linear(annotation_size, cfg.decoder_hidden_size))
        self.cell = ConditionalGRU(
            embed_dim, annotation_size, cfg.decoder_hidden_size, cfg.attention_size
        )
        self.readout_state = nn.Linear(cfg.decoder_hidden_size, embed_dim)
        self.readout_input = nn.Linear(embed_dim, embed_dim, bias=False)
        self.readout_context = nn.Linear(annotation_size, embed_dim, bias=False)
        for linear_layer in (
            self.initial,
            self.readout_state,
            self.readout_input,
            self.readout_context,
        ):
            nn.init.xavier_uniform_(linear_layer.weight)
            if linear_layer.bias is not None:
                nn.init.zeros_(linear_layer.bias)

    def decode(self, prev_output_tokens: Tensor, encoder_out: EncoderOut) -> tuple[Tensor, Tensor]:
        """The readout (B × T × embedding) and the attention (B × T × S), without its padding."""
        order, positions, sizes = pack_steps(prev_output_tokens, self.dictionary.pad())
        memory, state = self.begin(select_sentences(encoder_out, order))
        tokens = prev_output_tokens.flatten()[positions]
        embedded = self.embed(tokens)
        decoded = self.cell(embedded, sizes, memory, state)
        readout, attention = (
            unpack_steps(rows, positions, prev_output_tokens.shape)
            for rows in (self.read_out(embedded, decoded), decoded.attention)
        )
        return readout, restore_columns(attention, encoder_out["columns"][0])

    def begin(self, encoder_out: EncoderOut) -> tuple[AdditiveMemory, Tensor]:
        """What all steps attend to, and the state before the first step (B × hidden).

        That state is the tanh of a projection of the mean annotation.
        """
        annotations, padding = encoder_out["annotations"][0], encoder_out["padding"][0]
        kept = (~padding).to(annotations.dtype)
        mean = torch.bmm(kept.unsqueeze(1), annotations).squeeze(1) / kept.sum(1, keepdim=True)
        initial = linear(self.initial, mean)
        return self.cell.read(annotations, padding), torch.tanh(initial)

    # --- step by step: tiednmt.search.stepper.Stepper ------------------------------------------

    def start(self, encoder_out: EncoderOut) -> tuple[Sources, Tensor]:
        """Memory of the sources, and the state before the first step (B × 1 × hidden)."""
        memory, state = self.begin(encoder_out)
        attended: AdditiveStepMemory | AdditiveMemory = memory
        # otherwise a part is wrapped or quantised, and has to be called
        if self.cell.is_plain and is_plain(self.readout_context):
            attended = self.cell.prepare(memory, self.readout_context.weight)
        return Sources.of(encoder_out, attended), state.unsqueeze(1)

    def step(self, tokens: Tensor, memory: Sources, state: Tensor, position: int) -> StepOutput:
        """One step of K hypotheses for each of B sources; see :class:`Stepper`."""
        attended = memory.attended
        if isinstance(attended, AdditiveMemory):
            embedded = self.embed(tokens)
            decoded = self.cell.step_by_parts(embedded, attended, state)
            readout = self.read_out(embedded, decoded)
        else:
            from_tokens = self.from_tokens(tokens)
            from_token, to_readout = from_tokens.tensor_split((self.cell.gate_size,), 2)
            decoded = self.cell.step(from_token, attended, state)
            readout = linear(self.readout_state, self.state_dropout(decoded.states))
            readout = readout.add_(to_readout).add_(decoded.contexts)
            readout = self.readout_dropout(readout.tanh())
        return StepOutput(readout, decoded.states, memory.as_given(decoded.attention))

    def project(self, embedded: Tensor) -> Tensor:
        """The part of GRU_1's gates and of the readout that depends on a token alone."""
        one = self.cell.transition_1
        from_token = F.linear(embedded, one.weight_ih, one.bias_ih)
        return torch.cat((from_token, self.readout_input(embedded)), -1)

    def projecting(self) -> tuple[Tensor, ...]:
        """The parameters that :meth:`project` reads."""
        one = self.cell.transition_1
        return one.weight_ih, one.bias_ih, *self.readout_input.parameters()

    def freeze(self, kind: type[FrozenLinear] | None) -> None:
        """Look up what depends on a token alone, where there are few tokens, or (``None``) not."""
        looks_up = kind is not None and self.cell.is_plain
        numbers = self.cell.gate_size + self.output.dim
        self.look_up_tokens(numbers if looks_up else None)

    def read_out(self, embedded: Tensor, decoded: ConditionalGRUOutput) -> Tensor:
        """tanh(W_s s_t + W_y y_{t−1} + W_c c_t), … × embedding."""
        readout = torch.tanh(
            linear(self.readout_state, self.state_dropout(decoded.states))
            + linear(self.readout_input, embedded)
            + linear(self.readout_context, decoded.contexts)
        )
        return self.readout_dropout(readout)


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
