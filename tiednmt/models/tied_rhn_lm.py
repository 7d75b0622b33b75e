"""The recurrent highway network language model of Zilly et al. (2017)."""

from dataclasses import dataclass, field

from fairseq.models import register_model
from torch import nn

from tiednmt.models.language_model import RecurrentLanguageModel, RecurrentLanguageModelConfig
from tiednmt.modules import RecurrentHighwayNetwork, RecurrentNetwork
from tiednmt.options import not_negative, number_field, positive


@dataclass
class TiedRHNLanguageModelConfig(RecurrentLanguageModelConfig):
    """Options of ``--arch tied_rhn_lm``; the defaults are the sizes of the paper's last row."""

    embed_dim: int = number_field(830, "size of the two embeddings", positive)
    hidden_size: int = number_field(830, "size of the recurrent state", positive)
    depth: int = number_field(10, "highway layers per time step", positive)
    transform_bias: float = field(
        default=-2.0,
        metadata={"help": "initial bias of the transform gates; negative values carry the state"},
    )
    init_range: float = number_field(
        0.04, "initialise all other parameters uniformly between minus this and this", not_negative
    )


@register_model("tied_rhn_lm", dataclass=TiedRHNLanguageModelConfig)
class TiedRHNLanguageModel(RecurrentLanguageModel):
    """Recurrent highway network between the two embeddings."""

    def initialise(self, cfg: TiedRHNLanguageModelConfig) -> None:
        """As all, but for the bias of the transform gates, which starts at ``transform_bias``."""
        super().initialise(cfg)
        for layer in self.decoder.network.layers:
            nn.init.constant_(layer.bias[cfg.hidden_size :], cfg.transform_bias)

    @classmethod
    def build_network(cls, cfg: TiedRHNLanguageModelConfig) -> RecurrentNetwork:
        """The highway layers."""
        return RecurrentHighwayNetwork(
            cfg.embed_dim, cfg.hidden_size, cfg.depth, cfg.recurrent_dropout, owner=cls.__name__
        )
