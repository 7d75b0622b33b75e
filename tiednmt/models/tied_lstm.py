"""The attentional LSTM encoder-decoder of Luong et al. (2015), with fairseq's options and sizes."""

from argparse import Namespace
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch.nn.functional as F
from fairseq.data import Dictionary
from fairseq.models import (
    register_model,
    register_model_architecture,
)
from omegaconf import II
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from tiednmt.errors import UserError
from tiednmt.models.embedding_options import embeddings_of, lookup_scale_of
from tiednmt.models.encoder_decoder import (
    EncoderOut,
    Sources,
    TiedEncoder,
    TiedEncoderDecoderModel,
    select_sentences,
)
from tiednmt.models.model_options import TiedModelConfig, input_scale_field, preset
from tiednmt.models.parameters import LSTM, OURS, matrices_of
from tiednmt.models.recurrent_decoder import RecurrentDecoder
from tiednmt.models.stock import Rule, StockModel
from tiednmt.modules import AttentionalLSTM, PackedLSTM
from tiednmt.modules.attentional_lstm import LSTMState
from tiednmt.modules.dropout import Dropout
from tiednmt.modules.frozen_linear import FrozenLinear
from tiednmt.modules.general_attention import GeneralMemory
from tiednmt.modules.linear import kept_exact, linear
from tiednmt.modules.lstm import initialise_lstm
from tiednmt.modules.packing import (
    move_padding_right,
    pack_steps,
    restore_columns,
    unpack_steps,
)
from tiednmt.options import number_field, positive, rate
from tiednmt.search.stepper import StepOutput
from tiednmt.tying import SOURCE_INPUT, TARGET_INPUT, Dims, Embeddings


@dataclass
class TiedLSTMConfig(TiedModelConfig):
    """Options of ``--arch tied_lstm``: the names and defaults of fairseq's ``lstm``, and ours."""

    input_scale: str = input_scale_field("4")  # experiment demo-lstm-input-scale
    embed_dim: int = number_field(512, "size of the three embeddings", positive)
    encoder_embed_dim: int = number_field(
        II("model.embed_dim"), "size of the source input embedding", positive
    )
    encoder_hidden_size: int = number_field(
        II("model.encoder_embed_dim"), "hidden size of the encoder (in each direction)", positive
    )
    encoder_layers: int = number_field(1, "number of encoder layers", positive)
    encoder_bidirectional: bool = field(
        default=False, metadata={"help": "make all layers of the encoder bidirectional"}
    )
    decoder_embed_dim: int = number_field(
        II("model.embed_dim"), "size of the target input embedding", positive
    )
    decoder_hidden_size: int = number_field(
        II("model.decoder_embed_dim"), "hidden size of the decoder", positive
    )
    decoder_layers: int = number_field(
        II("model.encoder_layers"),
        "number of decoder layers, which start from the encoder's final states",
        positive,
    )
    decoder_out_embed_dim: int = number_field(
        II("model.embed_dim"), "size of the output embedding", positive
    )
    decoder_attention: str = field(default="1", metadata={"help": "attend to the source: 1 or 0"})
    no_input_feeding: bool = field(
        default=False,
        metadata={
            "help": "do not feed the decoder its previous output (fairseq's lstm always does); the "
            "LSTM is then one operation per sentence"
        },
    )
    dropout: float = number_field(0.1, "default for the four dropouts below", rate)
    encoder_dropout_in: float = number_field(
        II("model.dropout"), "dropout on the source input embedding", rate
    )
    encoder_dropout_out: float = number_field(
        II("model.dropout"), "dropout on the encoder's output and between its layers", rate
    )
    decoder_dropout_in: float = number_field(
        II("model.dropout"), "dropout on the target input embedding", rate
    )
    decoder_dropout_out: float = number_field(
        II("model.dropout"), "dropout on the decoder's output and between its layers", rate
    )
    max_source_positions: int = number_field(
        1024, "longest source sentence, in subword units", positive
    )
    max_target_positions: int = number_field(
        1024, "longest target sentence, in subword units", positive
    )


class _FirstLayer(Rule):
    """The input weights of the decoder's first layer; in fairseq's, it always reads o as well."""

    def to_stock(self, weights: Mapping[str, Tensor]) -> Iterator[tuple[str, Tensor]]:
        """Without input feeding, the weights of o are zero."""
        embedded = matrices_of(weights, OURS)[TARGET_INPUT].size(1)
        for name, weight in super().to_stock(weights):
            hidden = len(weight) // 4
            yield name, F.pad(weight, (0, embedded + hidden - weight.size(1)))


_CELL, _LAYER = "decoder.cell.rnn.", "decoder.layers."
STOCK = StockModel(
    architecture="lstm",
    names=LSTM,
    rules=(
        Rule("encoder.rnn.*", "encoder.lstm.*"),
        Rule("decoder.initial_hidden.*", "decoder.encoder_hidden_proj.*"),
        Rule("decoder.initial_cells.*", "decoder.encoder_cell_proj.*"),
        *(
            Rule(f"{_CELL}{name}_l*", f"{_LAYER}*.{name}")
            for name in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
        ),
        _FirstLayer(f"{_CELL}weight_ih_l0", f"{_LAYER}0.weight_ih"),
        Rule("decoder.cell.attention.query.*", "decoder.attention.input_proj.*"),
        Rule("decoder.cell.attention.mix.*", "decoder.attention.output_proj.*"),
        Rule("decoder.readout.*", "decoder.additional_fc.*"),
    ),
    constants={},
    biased=True,
    names_tied_output=False,
    readers={
        SOURCE_INPUT: ("encoder.rnn.weight_ih_l0", "encoder.rnn.weight_ih_l0_reverse"),
        TARGET_INPUT: (f"{_CELL}weight_ih_l0",),
    },
)


@register_model("tied_lstm", dataclass=TiedLSTMConfig)
class TiedLSTMModel(TiedEncoderDecoderModel):
    """LSTM encoder, LSTM decoder with attention, one to three embedding matrices."""

    stock = STOCK

    @classmethod
    def assemble(
        cls, cfg: TiedLSTMConfig, source: Dictionary | None, target: Dictionary
    ) -> "TiedLSTMModel":
        """See :meth:`TiedModel.assemble`."""
        if cfg.encoder_layers != cfg.decoder_layers:
            raise UserError(
                f"--encoder-layers {cfg.encoder_layers} must match --decoder-layers "
                f"{cfg.decoder_layers}, whose states start as the encoder's ended"
            )
        dims = Dims(cfg.encoder_embed_dim, cfg.decoder_embed_dim, cfg.decoder_out_embed_dim)
        embeddings = embeddings_of(cfg, source, target, dims)
        assert source is not None and embeddings.source is not None
        encoder = TiedLSTMEncoder(cfg, source, embeddings.source)
        decoder = TiedLSTMDecoder(cfg, target, embeddings, encoder.output_size)
        return cls(encoder, decoder)


class TiedLSTMEncoder(TiedEncoder):
    """LSTM in one direction or both; its annotations are the states of its last layer.

    Args:
        cfg: options of the model.
        dictionary: of the source language.
        embedding: of source tokens.
    """

    def __init__(
        self, cfg: TiedLSTMConfig, dictionary: Dictionary, embedding: nn.Embedding
    ) -> None:
        input_scale = lookup_scale_of(cfg, dictionary, dim=cfg.encoder_embed_dim)
        super().__init__(dictionary, embedding, input_scale, cfg.max_source_positions)
        owner = type(self).__name__
        self.dropout_in = Dropout(cfg.encoder_dropout_in, owner)
        self.dropout_out = Dropout(cfg.encoder_dropout_out, owner)
        self.rnn = PackedLSTM(
            cfg.encoder_embed_dim,
            cfg.encoder_hidden_size,
            cfg.encoder_layers,
            cfg.encoder_bidirectional,
            cfg.encoder_dropout_out,
            owner,
        )
        self.output_size = cfg.encoder_hidden_size * (2 if cfg.encoder_bidirectional else 1)

    def forward(self, src_tokens: Tensor, src_lengths: Tensor, **_: Any) -> EncoderOut:
        """Encode ``src_tokens`` (B × S), padded on any side.

        Returns:
            ``annotations`` (B × S × size) and ``padding`` (B × S), both with the padding moved to
            the right; ``columns`` (B × S): where each stood in ``src_tokens``; ``hidden`` and
            ``cells`` (B × layers × size): states and cells after the last step of each direction.
        """
        tokens, padding, columns = move_padding_right(src_tokens, self.dictionary.pad())
        embedded = self.dropout_in(self.look_up(tokens.t()))
        packed = pack_padded_sequence(embedded, (~padding).sum(1).cpu(), enforce_sorted=False)
        rows, (hidden, cells) = self.rnn(packed)
        states, _lengths = pad_packed_sequence(rows, batch_first=True, total_length=tokens.size(1))
        return {
            "annotations": [self.dropout_out(states)],
            "padding": [padding],
            "columns": [columns],
            "hidden": [self._of_layers(hidden)],
            "cells": [self._of_layers(cells)],
        }

    def _of_layers(self, parts: Tensor) -> Tensor:
        """Layers · directions × B × hidden as B × layers × size."""
        directions = self.output_size // self.rnn.hidden_size
        return parts.unflatten(0, (-1, directions)).permute(2, 0, 1, 3).flatten(2)


class TiedLSTMDecoder(RecurrentDecoder):
    """LSTM with general attention and input feeding, output layer.

    Args:
        cfg: options of the model.
        dictionary: of the target language.
        embeddings: of the model.
        annotation_size: numbers of an annotation.
    """

    def __init__(
        self,
        cfg: TiedLSTMConfig,
        dictionary: Dictionary,
        embeddings: Embeddings,
        annotation_size: int,
    ) -> None:
        super().__init__(
            dictionary,
            embeddings,
            lookup_scale_of(cfg, dim=cfg.decoder_embed_dim),
            cfg.decoder_dropout_in,
            cfg.max_target_positions,
        )
        owner, hidden_size = type(self).__name__, cfg.decoder_hidden_size
        self.dropout_out = Dropout(cfg.decoder_dropout_out, owner)
        self.initial_hidden = self.initial_cells = self.readout = None
        if annotation_size != hidden_size:
            self.initial_hidden = kept_exact(nn.Linear(annotation_size, hidden_size))
            self.initial_cells = kept_exact(nn.Linear(annotation_size, hidden_size))
        self.cell = AttentionalLSTM(
            cfg.decoder_embed_dim,
            annotation_size,
            hidden_size,
            cfg.decoder_layers,
            attention=_is_on(cfg.decoder_attention),
            input_feeding=not cfg.no_input_feeding,
            dropout=cfg.decoder_dropout_out,
            owner=owner,
        )
        if hidden_size != cfg.decoder_out_embed_dim:
            self.readout = nn.Linear(hidden_size, cfg.decoder_out_embed_dim)
        for layer in (self.initial_hidden, self.initial_cells, self.readout):
            if layer is not None:
                initialise_lstm(layer)

    def decode(
        self, prev_output_tokens: Tensor, encoder_out: EncoderOut
    ) -> tuple[Tensor, Tensor | None]:
        """Features (B × T × dim), and the attention (B × T × S), if there is one."""
        order, positions, sizes = pack_steps(prev_output_tokens, self.dictionary.pad())
        memory, hidden, cells = self.begin(select_sentences(encoder_out, order))
        embedded = self.embed(prev_output_tokens.flatten()[positions])
        outputs, attention = self.cell(embedded, sizes, memory, hidden, cells)
        shape = prev_output_tokens.shape
        features = unpack_steps(self.read_out(outputs), positions, shape)
        if attention is None:
            return features, None
        attention = unpack_steps(attention, positions, shape)
        return features, restore_columns(attention, encoder_out["columns"][0])

    def begin(self, encoder_out: EncoderOut) -> tuple[GeneralMemory, Tensor, Tensor]:
        """What all steps attend to; states and cells before the first (layers × B × hidden)."""
        memory = GeneralMemory(encoder_out["annotations"][0], encoder_out["padding"][0])
        hidden, cells = (
            parts if layer is None else linear(layer, parts)
            for layer, parts in (
                (self.initial_hidden, encoder_out["hidden"][0]),
                (self.initial_cells, encoder_out["cells"][0]),
            )
        )
        return memory, hidden.transpose(0, 1).contiguous(), cells.transpose(0, 1).contiguous()

    def read_out(self, outputs: Tensor) -> Tensor:
        """Features (… × dim) of what the cell yields (… × hidden)."""
        if self.readout is None:
            return outputs
        features: Tensor = self.dropout_out(linear(self.readout, outputs))
        return features

    # --- step by step: tiednmt.search.stepper.Stepper ------------------------------------------

    def start(self, encoder_out: EncoderOut) -> tuple[Sources, LSTMState]:
        """Memory of the sources, and the state before the first step."""
        memory, hidden, cells = self.begin(encoder_out)
        sources = Sources.of(encoder_out, self.cell.prepare(memory))
        return sources, self.cell.state_of(hidden, cells)

    def step(self, tokens: Tensor, memory: Sources, state: LSTMState, position: int) -> StepOutput:
        """One step of K hypotheses for each of B sources; see :class:`Stepper`."""
        outputs, state, attention = self.cell.step(self.from_tokens(tokens), memory.attended, state)
        if attention is not None:
            attention = memory.as_given(attention)
        return StepOutput(self.read_out(outputs), state, attention)

    def project(self, embedded: Tensor) -> Tensor:
        """The part of the first layer's gates that depends on a token alone."""
        return self.cell.from_token(embedded)

    def projecting(self) -> tuple[Tensor, ...]:
        """The parameters that :meth:`project` reads."""
        weight, _, bias_ih, bias_hh = self.cell.rnn.parameters_of(0)
        return weight, bias_ih, bias_hh

    def freeze(self, kind: type[FrozenLinear] | None) -> None:
        """Look up what depends on a token alone, where there are few tokens, or (``None``) not."""
        self.look_up_tokens(None if kind is None else 4 * self.cell.hidden_size)


def _is_on(option: str) -> bool:
    """The value of ``--decoder-attention``, in the spellings that fairseq accepts."""
    known = {"1": True, "true": True, "0": False, "false": False}
    if str(option).lower() not in known:
        raise UserError(f"--decoder-attention {option}: must be 1 or 0")
    return known[str(option).lower()]


@register_model_architecture("tied_lstm", "tied_lstm_tiny")
def tied_lstm_tiny(args: Namespace) -> None:
    """For tests and small corpora: as large as ``tied_gru_tiny``, read in both directions."""
    preset(
        args,
        embed_dim=128,
        encoder_hidden_size=64,
        encoder_bidirectional=True,
        decoder_hidden_size=128,
    )


@register_model_architecture("tied_lstm", "tied_lstm_wiseman_iwslt_de_en")
def tied_lstm_wiseman_iwslt_de_en(args: Namespace) -> None:
    """fairseq's ``lstm_wiseman_iwslt_de_en`` (Wiseman & Rush 2016)."""
    preset(
        args,
        embed_dim=256,
        encoder_dropout_in=0.0,
        encoder_dropout_out=0.0,
        decoder_dropout_in=0.0,
    )


@register_model_architecture("tied_lstm", "tied_lstm_luong_wmt_en_de")
def tied_lstm_luong_wmt_en_de(args: Namespace) -> None:
    """fairseq's ``lstm_luong_wmt_en_de`` (Luong et al. 2015)."""
    preset(args, embed_dim=1000, encoder_layers=4, encoder_dropout_out=0.0, decoder_dropout_out=0.0)
