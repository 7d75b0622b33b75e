"""The recurrent highway network language model of Zilly et al. (2017)."""

from dataclasses import dataclass, field

from fairseq.data import Dictionary
from fairseq.models import register_model
from torch import nn

from tiednmt.models.language_model import RecurrentLanguageModel, RecurrentLanguageModelConfig
from tiednmt.modules import RecurrentHighwayNetwork, RecurrentNetwork


@dataclass
class TiedRHNLanguageModelConfig(RecurrentLanguageModelConfig):
    """Options of ``--arch tied_rhn_lm``; the defaults are the sizes of the paper's last row."""

    embed_dim: int = field(default=830, metadata={"help": "size of the two embeddings"})
    hidden_size: int = field(default=830, metadata={"help": "size of the recurrent state"})
    depth: int = field(default=10, metadata={"help": "highway layers between two steps"})
    transform_bias: float = field(
        default=-2.0,
        metadata={"help": "start of the transform gates' bias; below zero the state is carried"},
    )
    init_range: float = field(
        default=0.04,
        metadata={"help": "every other parameter starts uniform between minus this and this"},
    )


@register_model("tied_rhn_lm", dataclass=TiedRHNLanguageModelConfig)
class TiedRHNLanguageModel(RecurrentLanguageModel):
    """Recurrent highway network between the two embeddings."""

    SIZES = ("depth",)

    @classmethod
    def from_dictionary(
        cls, cfg: TiedRHNLanguageModelConfig, dictionary: Dictionary
    ) -> "TiedRHNLanguageModel":
        """Build without a task; the gates' bias starts at a value of its own."""
        model = super().from_dictionary(cfg, dictionary)
        for layer in model.decoder.network.layers:
            nn.init.constant_(layer.bias[cfg.hidden_size :], cfg.transform_bias)
        return model

    @classmethod
    def build_network(cls, cfg: TiedRHNLanguageModelConfig) -> RecurrentNetwork:
        """The highway layers."""
        return RecurrentHighwayNetwork(
            cfg.embed_dim, cfg.hidden_size, cfg.depth, cfg.recurrent_dropout
        )
