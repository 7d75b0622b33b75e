"""The LSTM language model of Zaremba et al. (2014) and Press & Wolf (2017), section 4.

With its further options it is the AWD-LSTM of Merity et al. (2018).
"""

from argparse import Namespace
from dataclasses import dataclass, field
from typing import Optional

from fairseq.models import register_model, register_model_architecture

from tiednmt.models.language_model import RecurrentLanguageModel, RecurrentLanguageModelConfig
from tiednmt.models.model_options import preset
from tiednmt.modules import RecurrentNetwork, StackedLSTM
from tiednmt.options import natural, number_field, positive, rate


@dataclass
class TiedLSTMLanguageModelConfig(RecurrentLanguageModelConfig):
    """Options of ``--arch tied_lstm_lm``; the defaults are Zaremba's small model."""

    layers: int = number_field(2, "LSTM layers", positive)
    single_bias: bool = field(
        default=False,
        metadata={
            "help": "use one bias per gate, as TensorFlow does (PyTorch has two, which doubles "
            "the effective learning rate of the bias)"
        },
    )
    last_hidden_size: int = number_field(
        0, "state size of the last layer (0: --hidden-size)", natural
    )
    hidden_dropout: Optional[float] = number_field(  # noqa: UP045
        None, "dropout between layers, instead of --dropout", rate
    )
    weight_dropout: float = number_field(
        0.0,
        "dropout on the entries of the recurrent matrices, once per window for all "
        "streams (weight drop); keeps the fused kernel",
        rate,
    )


@register_model("tied_lstm_lm", dataclass=TiedLSTMLanguageModelConfig)
class TiedLSTMLanguageModel(RecurrentLanguageModel):
    """Stacked LSTM between the two embeddings."""

    @classmethod
    def build_network(cls, cfg: TiedLSTMLanguageModelConfig) -> RecurrentNetwork:
        """The LSTM layers."""
        return StackedLSTM(
            cfg.embed_dim,
            cfg.hidden_size,
            cfg.layers,
            dropout=cfg.dropout if cfg.hidden_dropout is None else cfg.hidden_dropout,
            recurrent_dropout=cfg.recurrent_dropout,
            variational=cfg.variational_dropout,
            single_bias=cfg.single_bias,
            owner=cls.__name__,
            weight_dropout=cfg.weight_dropout,
            last_size=cfg.last_hidden_size,
        )


@register_model_architecture("tied_lstm_lm", "tied_lstm_lm_small")
def tied_lstm_lm_small(args: Namespace) -> None:
    """Zaremba's non-regularised model."""
    preset(args, embed_dim=200, hidden_size=200, layers=2, dropout=0.0, init_range=0.1)


@register_model_architecture("tied_lstm_lm", "tied_lstm_lm_medium")
def tied_lstm_lm_medium(args: Namespace) -> None:
    """Zaremba's medium model."""
    preset(args, embed_dim=650, hidden_size=650, layers=2, dropout=0.5, init_range=0.05)


@register_model_architecture("tied_lstm_lm", "tied_lstm_lm_large")
def tied_lstm_lm_large(args: Namespace) -> None:
    """Zaremba's large model."""
    preset(args, embed_dim=1500, hidden_size=1500, layers=2, dropout=0.65, init_range=0.04)


@register_model_architecture("tied_lstm_lm", "tied_lstm_lm_awd")
def tied_lstm_lm_awd(args: Namespace) -> None:
    """Merity et al.'s AWD-LSTM for Penn Treebank; tie it with ``--tying decoder``."""
    preset(
        args,
        embed_dim=400,
        hidden_size=1150,
        last_hidden_size=400,
        layers=3,
        dropout=0.4,
        hidden_dropout=0.25,
        word_dropout=0.1,
        weight_dropout=0.5,
        variational_dropout=True,
        activation_penalty=2.0,
        temporal_activation_penalty=1.0,
        init_range=0.04,
    )
