"""The LSTM language model of Zaremba et al. (2014) and Press & Wolf (2017), section 4."""

from argparse import Namespace
from dataclasses import dataclass, field

from fairseq.models import register_model, register_model_architecture

from tiednmt.models.language_model import RecurrentLanguageModel, RecurrentLanguageModelConfig
from tiednmt.models.tied_model import preset
from tiednmt.modules import RecurrentNetwork, StackedLSTM


@dataclass
class TiedLSTMLanguageModelConfig(RecurrentLanguageModelConfig):
    """Options of ``--arch tied_lstm_lm``; the defaults are Zaremba's small model."""

    layers: int = field(default=2, metadata={"help": "LSTM layers"})
    single_bias: bool = field(
        default=False,
        metadata={
            "help": "use one bias per gate, as TensorFlow does (PyTorch has two, which doubles "
            "the effective learning rate of the bias)"
        },
    )


@register_model("tied_lstm_lm", dataclass=TiedLSTMLanguageModelConfig)
class TiedLSTMLanguageModel(RecurrentLanguageModel):
    """Stacked LSTM between the two embeddings."""

    SIZES = ("layers",)

    @classmethod
    def build_network(cls, cfg: TiedLSTMLanguageModelConfig) -> RecurrentNetwork:
        """The LSTM layers."""
        return StackedLSTM(
            cfg.embed_dim,
            cfg.hidden_size,
            cfg.layers,
            cfg.dropout,
            cfg.recurrent_dropout,
            cfg.variational_dropout,
            getattr(cfg, "single_bias", False),  # not in older checkpoints
            owner=cls.__name__,
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
