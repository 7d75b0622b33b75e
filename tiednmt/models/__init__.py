"""Models; importing this package registers them with fairseq."""

from tiednmt.models.tied_gru import TiedGRUConfig, TiedGRUModel
from tiednmt.models.tied_lstm_lm import TiedLSTMLanguageModel, TiedLSTMLanguageModelConfig
from tiednmt.models.tied_rhn_lm import TiedRHNLanguageModel, TiedRHNLanguageModelConfig

__all__ = [
    "TiedGRUConfig",
    "TiedGRUModel",
    "TiedLSTMLanguageModel",
    "TiedLSTMLanguageModelConfig",
    "TiedRHNLanguageModel",
    "TiedRHNLanguageModelConfig",
]
