"""A Transformer language model whose attention reaches over the borders of windows."""

import math
from argparse import Namespace
from dataclasses import dataclass, field

from fairseq.data import Dictionary
from fairseq.models import register_model, register_model_architecture
from torch import Tensor

from tiednmt.models.embedding_options import embeddings_of, lookup_scale_of
from tiednmt.models.language_model import LanguageModel, LanguageModelDecoder, Window
from tiednmt.models.model_options import preset
from tiednmt.models.tied_transformer import TransformerLayersConfig, check_heads, layer_options
from tiednmt.modules import State
from tiednmt.modules.packing import Packing
from tiednmt.modules.transformer import InputLayer, WindowStack
from tiednmt.options import natural, number_field, positive
from tiednmt.tying import Embeddings


@dataclass
class TiedTransformerLanguageModelConfig(TransformerLayersConfig):
    """Options of ``--arch tied_transformer_lm``, with the names and defaults of fairseq's own."""

    decoder_layers: int = number_field(6, "number of layers", positive)
    decoder_attention_heads: int = number_field(8, "number of attention heads", positive)
    decoder_ffn_embed_dim: int = number_field(
        2048, "hidden size of the feed-forward networks", positive
    )
    decoder_normalize_before: bool = field(
        default=False, metadata={"help": "apply layer norm before each sublayer"}
    )
    attention_span: int = number_field(
        0,
        "how many preceding tokens a token attends to, including earlier windows, "
        "whose keys and values are carried along (0: its own window only)",
        natural,
    )


@register_model("tied_transformer_lm", dataclass=TiedTransformerLanguageModelConfig)
class TiedTransformerLanguageModel(LanguageModel):
    """Transformer layers between the two embeddings."""

    @classmethod
    def assemble(
        cls,
        cfg: TiedTransformerLanguageModelConfig,
        source: Dictionary | None,
        target: Dictionary,
    ) -> "TiedTransformerLanguageModel":
        """See :meth:`TiedModel.assemble`."""
        check_heads(cfg, "decoder")
        embeddings = embeddings_of(cfg, source, target, cfg.embed_dim)
        return cls(TransformerLanguageModelDecoder(cfg, target, embeddings))


class TransformerLanguageModelDecoder(LanguageModelDecoder):
    """Predicts each next token from those that its attention reaches."""

    def __init__(
        self,
        cfg: TiedTransformerLanguageModelConfig,
        dictionary: Dictionary,
        embeddings: Embeddings,
    ) -> None:
        scale = lookup_scale_of(cfg, learned_from=math.sqrt(cfg.embed_dim))
        super().__init__(dictionary, embeddings, scale, carries_state=cfg.attention_span > 0)
        owner = type(self).__name__
        norm = cfg.embed_dim if cfg.layernorm_embedding else None
        self.inputs = InputLayer(None, norm, cfg.dropout, owner)
        self.stack = WindowStack(
            cfg.decoder_layers,
            layer_options(cfg, "decoder", owner),
            cfg.attention_span,
            cfg.checkpoint_activations,
        )

    def run(self, tokens: Tensor, state: State | None) -> Window:
        """See :class:`LanguageModelDecoder`; padding is on the right."""
        packing = Packing(tokens.eq(self.dictionary.pad()))
        units = packing.rows(tokens)
        embedded = self.input_scale(self.embedding(units))
        rows = self.inputs(embedded, packing.positions, tokens.size(1))
        rows, state = self.stack(rows, packing, state)
        return Window(packing.padded(rows), state)


@register_model_architecture("tied_transformer_lm", "tied_transformer_lm_small")
def tied_transformer_lm_small(args: Namespace) -> None:
    """For corpora of Penn Treebank's size."""
    preset(
        args,
        embed_dim=256,
        decoder_layers=4,
        decoder_attention_heads=4,
        decoder_ffn_embed_dim=512,
        decoder_normalize_before=True,
        attention_span=128,
    )
