"""A Transformer encoder with the conditional GRU decoder.

It is deep where sentences are read at once, and cheap where they are written word by word, as the
fast students of translation on a CPU are (Kim et al. 2019, arXiv 1906.09833).
"""

from argparse import Namespace
from dataclasses import dataclass, field
from typing import Any

from fairseq.data import Dictionary
from fairseq.models import (
    register_model,
    register_model_architecture,
)
from omegaconf import II
from torch import Tensor

from tiednmt.models.embedding_options import embeddings_of, lookup_scale_of
from tiednmt.models.encoder_decoder import EncoderOut, TiedEncoderDecoderModel
from tiednmt.models.model_options import preset
from tiednmt.models.tied_gru import GRUDecoderConfig, TiedGRUDecoder
from tiednmt.models.tied_transformer import (
    TiedTransformerEncoder,
    TransformerEncoderConfig,
    check_heads,
)
from tiednmt.options import number_field, positive


@dataclass
class TiedTransformerGRUConfig(TransformerEncoderConfig, GRUDecoderConfig):
    """Options of ``--arch tied_transformer_gru``: those of its encoder and of its decoder."""

    decoder_input_scale: str = field(
        default=II("model.input_scale"),
        metadata={"help": "--input-scale of the decoder, whose states are smaller"},
    )
    decoder_hidden_size: int = number_field(
        II("model.embed_dim"), "size of the decoder's state", positive
    )
    attention_size: int = number_field(
        II("model.embed_dim"), "size of the hidden layer of the additive attention", positive
    )


@register_model("tied_transformer_gru", dataclass=TiedTransformerGRUConfig)
class TiedTransformerGRUModel(TiedEncoderDecoderModel):
    """Transformer encoder, conditional GRU decoder, one to three embedding matrices."""

    fits_cuda_graphs = True

    @classmethod
    def assemble(
        cls, cfg: TiedTransformerGRUConfig, source: Dictionary | None, target: Dictionary
    ) -> "TiedTransformerGRUModel":
        """See :meth:`TiedModel.assemble`."""
        check_heads(cfg, "encoder")
        embeddings = embeddings_of(cfg, source, target, cfg.embed_dim)
        assert source is not None and embeddings.source is not None
        encoder = TiedTransformerGRUEncoder(cfg, source, embeddings.source)
        input_scale = lookup_scale_of(cfg, option="decoder_input_scale")
        decoder = TiedGRUDecoder(cfg, target, embeddings, cfg.embed_dim, input_scale)
        return cls(encoder, decoder)


class TiedTransformerGRUEncoder(TiedTransformerEncoder):
    """Transformer layers over the source; its annotations are the states of the last one."""

    def forward(self, src_tokens: Tensor, src_lengths: Tensor, **_: Any) -> EncoderOut:
        """See :meth:`TiedTransformerEncoder.forward`; ``annotations`` is what it calls states."""
        encoder_out = super().forward(src_tokens, src_lengths)
        return {**encoder_out, "annotations": encoder_out.pop("states")}


# of the decoder's lookups; found for tied_gru (experiments multi30k-*-input-scale)
_DECODER_SCALE = "4"


def _small(dim: int, ffn: int, layers: int) -> dict[str, Any]:
    return {
        "embed_dim": dim,
        "encoder_layers": layers,
        "encoder_attention_heads": 4,
        "encoder_ffn_embed_dim": ffn,
        "decoder_input_scale": _DECODER_SCALE,
    }


@register_model_architecture("tied_transformer_gru", "tied_transformer_gru_tiny")
def tied_transformer_gru_tiny(args: Namespace) -> None:
    """For corpora of Multi30k's size: the encoder of ``tied_transformer_tiny``."""
    preset(args, **_small(dim=128, ffn=256, layers=4))


@register_model_architecture("tied_transformer_gru", "tied_transformer_gru_small")
def tied_transformer_gru_small(args: Namespace) -> None:
    """The encoder of ``tied_transformer_small``, with the layers that its decoder has as well."""
    preset(args, **_small(dim=256, ffn=1024, layers=6))
