"""The Transformer with fairseq's options and sizes (Vaswani et al. 2017)."""

import math
from argparse import Namespace
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Optional

import torch
from fairseq.data import Dictionary
from fairseq.dataclass import ChoiceEnum
from fairseq.models import (
    register_model,
    register_model_architecture,
)
from omegaconf import II
from torch import Tensor, nn

from tiednmt.errors import UserError
from tiednmt.models.embedding_options import embeddings_of, lookup_scale_of
from tiednmt.models.encoder_decoder import (
    EncoderOut,
    Sources,
    TiedEncoder,
    TiedEncoderDecoderModel,
)
from tiednmt.models.model_options import TiedModelConfig, input_scale_field, preset
from tiednmt.models.parameters import TRANSFORMER
from tiednmt.models.stepping_decoder import SteppingDecoder
from tiednmt.models.stock import Rule, StockModel
from tiednmt.modules.lookup import SQRT_DIM
from tiednmt.modules.packing import (
    Packing,
    move_padding_right,
)
from tiednmt.modules.transformer import (
    DecoderStack,
    EncoderStack,
    InputLayer,
    LearnedPositions,
    Past,
    SinusoidalPositions,
    SourceRows,
)
from tiednmt.modules.transformer_layers import ACTIVATIONS, LayerOptions
from tiednmt.options import number_field, positive, rate
from tiednmt.search.stepper import Shared, StepOutput
from tiednmt.tying import Embeddings


@dataclass
class TransformerLayersConfig(TiedModelConfig):
    """Options of all layers, with the names and defaults of fairseq's own."""

    input_scale: str = input_scale_field(SQRT_DIM)  # as in fairseq
    embed_dim: int = number_field(512, "size of the embeddings and of all layers", positive)
    activation_fn: ChoiceEnum(list(ACTIVATIONS)) = field(  # type: ignore[valid-type]
        default="relu", metadata={"help": "activation of the feed-forward networks"}
    )
    dropout: float = number_field(0.1, "dropout on the output of each sublayer", rate)
    attention_dropout: float = number_field(0.0, "dropout on attention weights", rate)
    activation_dropout: float = number_field(
        0.0, "dropout after the activation", rate, argparse_alias="--relu-dropout"
    )
    layernorm_embedding: bool = field(
        default=False, metadata={"help": "apply layer norm to what the first layer reads"}
    )
    checkpoint_activations: bool = field(
        default=False,
        metadata={"help": "recompute activations in the backward pass to save memory"},
    )


@dataclass
class TransformerEncoderConfig(TransformerLayersConfig):
    """Options of the encoder and of all layers."""

    encoder_layers: int = number_field(6, "number of encoder layers", positive)
    encoder_attention_heads: int = number_field(
        8, "number of attention heads of the encoder", positive
    )
    encoder_ffn_embed_dim: int = number_field(
        2048, "hidden size of the encoder's feed-forward networks", positive
    )
    encoder_normalize_before: bool = field(
        default=False, metadata={"help": "apply layer norm before each encoder sublayer"}
    )
    encoder_learned_pos: bool = field(
        default=False, metadata={"help": "learn the encoder's positions (default: sinusoids)"}
    )
    encoder_layerdrop: float = number_field(
        0.0, "probability of skipping an encoder layer in training", rate
    )
    no_token_positional_embeddings: bool = field(
        default=False, metadata={"help": "use no positional embeddings"}
    )
    max_source_positions: int = number_field(
        1024, "longest source sentence, in subword units", positive
    )


@dataclass
class TiedTransformerConfig(TransformerEncoderConfig):
    """Options of ``--arch tied_transformer``, with the names and defaults of fairseq's own."""

    decoder_layers: int = number_field(6, "number of decoder layers", positive)
    decoder_attention_heads: int = number_field(
        8, "number of attention heads of the decoder", positive
    )
    decoder_ffn_embed_dim: int = number_field(
        II("model.encoder_ffn_embed_dim"),
        "hidden size of the decoder's feed-forward networks",
        positive,
    )
    decoder_normalize_before: bool = field(
        default=False, metadata={"help": "apply layer norm before each decoder sublayer"}
    )
    decoder_learned_pos: bool = field(
        default=False, metadata={"help": "learn the decoder's positions (default: sinusoids)"}
    )
    decoder_layerdrop: float = number_field(
        0.0, "probability of skipping a decoder layer in training", rate
    )
    alignment_layer: Optional[int] = field(  # noqa: UP045
        default=None,
        metadata={"help": "decoder layer whose attention is shown, from 0 (default: the last)"},
    )
    alignment_heads: Optional[int] = field(  # noqa: UP045
        default=None, metadata={"help": "how many of its heads are averaged (default: all)"}
    )
    max_target_positions: int = number_field(
        1024, "longest target sentence, in subword units", positive
    )


_LAYERS = "*.stack.layers.*."
_STOCK_LAYERS = "*.layers.*."
_STOCK_OF_LAYER = {
    "self_attention.qkv": ("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"),
    "self_attention.out": ("self_attn.out_proj",),
    "self_residual.norm": ("self_attn_layer_norm",),
    "source_attention.query": ("encoder_attn.q_proj",),
    "source_attention.key_value": ("encoder_attn.k_proj", "encoder_attn.v_proj"),
    "source_attention.out": ("encoder_attn.out_proj",),
    "source_residual.norm": ("encoder_attn_layer_norm",),
    "feed_forward.up": ("fc1",),
    "feed_forward.down": ("fc2",),
    "ffn_residual.norm": ("final_layer_norm",),
}
STOCK = StockModel(
    architecture="transformer",
    names=TRANSFORMER,
    rules=(
        *(
            Rule(f"{_LAYERS}{ours}.*", *(f"{_STOCK_LAYERS}{name}.*" for name in stock))
            for ours, stock in _STOCK_OF_LAYER.items()
        ),
        Rule("*.stack.norm.*", "*.layer_norm.*"),
        Rule("*.inputs.norm.*", "*.layernorm_embedding.*"),
        # fairseq counts positions from the index after that of padding
        Rule("*.inputs.positions.weight", "*.embed_positions.weight", left_out=2),
    ),
    constants={f"{side}.version": torch.tensor([3.0]) for side in ("encoder", "decoder")},
    scales_lookups=True,
)


@register_model("tied_transformer", dataclass=TiedTransformerConfig)
class TiedTransformerModel(TiedEncoderDecoderModel):
    """Encoder and decoder of Transformer layers, one to three embedding matrices."""

    stock = STOCK
    fits_cuda_graphs = True

    @classmethod
    def assemble(
        cls, cfg: TiedTransformerConfig, source: Dictionary | None, target: Dictionary
    ) -> "TiedTransformerModel":
        """See :meth:`TiedModel.assemble`."""
        _check(cfg)
        embeddings = embeddings_of(cfg, source, target, cfg.embed_dim)
        assert source is not None and embeddings.source is not None
        encoder = TiedTransformerEncoder(cfg, source, embeddings.source)
        decoder = TiedTransformerDecoder(cfg, target, embeddings)
        return cls(encoder, decoder)


class TiedTransformerEncoder(TiedEncoder):
    """Transformer layers over the source.

    Args:
        cfg: options of the model.
        dictionary: of the source language.
        embedding: of source tokens.
    """

    def __init__(
        self, cfg: TransformerEncoderConfig, dictionary: Dictionary, embedding: nn.Embedding
    ) -> None:
        input_scale = lookup_scale_of(cfg, dictionary, learned_from=math.sqrt(cfg.embed_dim))
        super().__init__(dictionary, embedding, input_scale, cfg.max_source_positions)
        owner = type(self).__name__
        self.inputs = _input_layer(
            cfg, cfg.encoder_learned_pos, cfg.max_source_positions, dictionary, owner
        )
        self.stack = EncoderStack(
            cfg.encoder_layers,
            layer_options(cfg, "encoder", owner),
            cfg.encoder_layerdrop,
            cfg.checkpoint_activations,
        )

    def forward(self, src_tokens: Tensor, src_lengths: Tensor, **_: Any) -> EncoderOut:
        """Encode ``src_tokens`` (B × S), padded on any side.

        Returns:
            ``states`` (B × S × dim) and ``padding`` (B × S), both with the padding moved to the
            right, and ``columns`` (B × S): where each stood in ``src_tokens``.
        """
        tokens, padding, columns = move_padding_right(src_tokens, self.dictionary.pad())
        packing = Packing(padding)
        embedded = self.look_up(packing.rows(tokens))
        rows = self.inputs(embedded, packing.positions, tokens.size(1))
        states = packing.padded(self.stack(rows, packing))
        return {"states": [states], "padding": [padding], "columns": [columns]}


class _State(NamedTuple):
    """:class:`Past` in the form that the search takes; the hypotheses share keys and values."""

    slots: Tensor
    kept: Shared


class TiedTransformerDecoder(SteppingDecoder):
    """Transformer layers over the target, with attention to the source; output layer.

    Args:
        cfg: options of the model.
        dictionary: of the target language.
        embeddings: of the model.
    """

    def __init__(
        self, cfg: TiedTransformerConfig, dictionary: Dictionary, embeddings: Embeddings
    ) -> None:
        super().__init__(dictionary, embeddings, cfg.max_target_positions)
        owner = type(self).__name__
        self.input_scale = lookup_scale_of(cfg, learned_from=math.sqrt(cfg.embed_dim))
        self.inputs = _input_layer(
            cfg, cfg.decoder_learned_pos, cfg.max_target_positions, dictionary, owner
        )
        self.stack = DecoderStack(
            cfg.decoder_layers,
            layer_options(cfg, "decoder", owner),
            cfg.decoder_layerdrop,
            cfg.checkpoint_activations,
            -1 if cfg.alignment_layer is None else cfg.alignment_layer,
            cfg.alignment_heads or 0,
        )
        self.aligns_in_training = cfg.alignment_heads is not None

    def decode(
        self, prev_output_tokens: Tensor, encoder_out: EncoderOut
    ) -> tuple[Tensor, Tensor | None]:
        """Features (B × T × dim), and attention (B × T × S) in evaluation or if it is trained."""
        tokens, padding, columns = move_padding_right(prev_output_tokens, self.dictionary.pad())
        packing, source = Packing(padding), self._read(encoder_out)
        embedded = self.input_scale(self.embedding(packing.rows(tokens)))
        rows = self.inputs(embedded, packing.positions, tokens.size(1))
        align = self.aligns_in_training or not self.training
        rows, attention = self.stack(rows, packing, source, align)
        features = packing.padded(rows)
        # whether tokens were moved is not asked of a GPU, which would have to be waited for
        if tokens.device.type != "cpu" or not torch.equal(tokens, prev_output_tokens):
            order = columns.argsort(1).unsqueeze(2)
            features = features.gather(1, order.expand_as(features))
            if attention is not None:
                attention = attention.gather(1, order.expand_as(attention))
        if attention is not None:
            attention = Sources.of(encoder_out, source).as_given(attention)
        return features, attention

    def extract_features(self, *args: Any, **kwargs: Any) -> tuple[Tensor, dict[str, Any]]:
        """See :class:`SteppingDecoder`; the attention is in a list, as in fairseq's Transformer.

        fairseq's criterion that trains it on alignments expects that.
        """
        features, extra = super().extract_features(*args, **kwargs)
        return features, {"attn": [extra["attn"]]}

    def _read(self, encoder_out: EncoderOut) -> SourceRows:
        packing = Packing(encoder_out["padding"][0])
        return self.stack.read(packing.rows(encoder_out["states"][0]), packing)

    # --- step by step: tiednmt.search.stepper.Stepper ------------------------------------------

    def start(self, encoder_out: EncoderOut) -> tuple[Sources, _State]:
        """Keys and values of the sources, and a state without any of the target."""
        source = self.stack.spread(self._read(encoder_out))
        past = self.stack.start(source)
        return Sources.of(encoder_out, source), _State(past.slots, Shared(past.kept))

    def step(self, tokens: Tensor, memory: Sources, state: _State, position: int) -> StepOutput:
        """One step of K hypotheses for each of B sources; see :class:`Stepper`."""
        embedded = self.input_scale(self.embedding(tokens))
        rows = self.inputs(embedded, tokens.new_tensor(position), position + 1)
        past = Past(state.slots, state.kept.tree)
        features, past, attention = self.stack.step(rows, memory.attended, past)
        if attention is not None:
            attention = memory.as_given(attention)
        return StepOutput(features, _State(past.slots, Shared(past.kept)), attention)


def _input_layer(
    cfg: TransformerEncoderConfig, learned: bool, count: int, dictionary: Dictionary, owner: str
) -> InputLayer:
    positions: LearnedPositions | SinusoidalPositions | None
    if cfg.no_token_positional_embeddings:
        positions = None
    elif learned:
        positions = LearnedPositions(count, cfg.embed_dim)
    else:  # fairseq counts from the index after that of padding
        positions = SinusoidalPositions(dictionary.pad() + 1)
    norm = cfg.embed_dim if cfg.layernorm_embedding else None
    return InputLayer(positions, norm, cfg.dropout, owner)


def layer_options(cfg: TransformerLayersConfig, side: str, owner: str) -> LayerOptions:
    """The options of the layers of ``encoder`` or ``decoder``; ``owner`` owns the dropout."""
    return LayerOptions(
        dim=cfg.embed_dim,
        heads=getattr(cfg, f"{side}_attention_heads"),
        ffn_dim=getattr(cfg, f"{side}_ffn_embed_dim"),
        activation=str(cfg.activation_fn),
        pre_norm=getattr(cfg, f"{side}_normalize_before"),
        dropout=cfg.dropout,
        attention_dropout=cfg.attention_dropout,
        activation_dropout=cfg.activation_dropout,
        owner=owner,
    )


def check_heads(cfg: TransformerLayersConfig, side: str) -> None:
    """Refuse numbers of attention heads that do not divide the size of ``encoder`` or ``decoder``.

    Raises:
        UserError: with the name of the option.
    """
    heads = getattr(cfg, f"{side}_attention_heads")
    if cfg.embed_dim % heads:
        raise UserError(
            f"--{side}-attention-heads {heads}: must divide --embed-dim {cfg.embed_dim}"
        )


def _check(cfg: TiedTransformerConfig) -> None:
    for side in ("encoder", "decoder"):
        check_heads(cfg, side)
    layer, heads = cfg.alignment_layer, cfg.alignment_heads
    if layer is not None and not 0 <= layer < cfg.decoder_layers:
        raise UserError(f"--alignment-layer {layer}: must be from 0 to {cfg.decoder_layers - 1}")
    if heads is not None and not 0 < heads <= cfg.decoder_attention_heads:
        raise UserError(
            f"--alignment-heads {heads}: must be from 1 to {cfg.decoder_attention_heads}"
        )


def _sizes(dim: int, ffn: int, layers: int, heads: int) -> dict[str, int]:
    sides = {"layers": layers, "attention_heads": heads, "ffn_embed_dim": ffn}
    return {
        "embed_dim": dim,
        **{f"{side}_{name}": n for side in ("encoder", "decoder") for name, n in sides.items()},
    }


@register_model_architecture("tied_transformer", "tied_transformer_tiny")
def tied_transformer_tiny(args: Namespace) -> None:
    """For corpora of Multi30k's size (Wu et al. 2021)."""
    preset(args, **_sizes(dim=128, ffn=256, layers=4, heads=4))


@register_model_architecture("tied_transformer", "tied_transformer_small")
def tied_transformer_small(args: Namespace) -> None:
    """Between ``tied_transformer_tiny`` and the presets of fairseq."""
    preset(args, **_sizes(dim=256, ffn=1024, layers=3, heads=4))


@register_model_architecture("tied_transformer", "tied_transformer_iwslt_de_en")
def tied_transformer_iwslt_de_en(args: Namespace) -> None:
    """fairseq's ``transformer_iwslt_de_en``."""
    preset(args, **_sizes(dim=512, ffn=1024, layers=6, heads=4))


@register_model_architecture("tied_transformer", "tied_transformer_base")
def tied_transformer_base(args: Namespace) -> None:
    """fairseq's ``transformer``, the base model of the paper."""
    preset(args, **_sizes(dim=512, ffn=2048, layers=6, heads=8))


@register_model_architecture("tied_transformer", "tied_transformer_big")
def tied_transformer_big(args: Namespace) -> None:
    """fairseq's ``transformer_vaswani_wmt_en_de_big``, the big model of the paper."""
    preset(args, **_sizes(dim=1024, ffn=4096, layers=6, heads=16), dropout=0.3)
