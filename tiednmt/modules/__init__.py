"""The layers, in plain torch: no module here imports fairseq."""

from tiednmt.modules.attentional_lstm import AttentionalLSTM
from tiednmt.modules.bidirectional_gru import BidirectionalGRU
from tiednmt.modules.conditional_gru import ConditionalGRU
from tiednmt.modules.cross_entropy import SequenceLoss
from tiednmt.modules.dropout import SequenceDropout, WordDropout
from tiednmt.modules.output_layer import OutputLayer
from tiednmt.modules.packed_lstm import PackedLSTM
from tiednmt.modules.recurrent import (
    CarriedState,
    RecurrentHighwayNetwork,
    RecurrentNetwork,
    StackedLSTM,
    State,
)

__all__ = [
    "AttentionalLSTM",
    "BidirectionalGRU",
    "CarriedState",
    "ConditionalGRU",
    "OutputLayer",
    "PackedLSTM",
    "RecurrentHighwayNetwork",
    "RecurrentNetwork",
    "SequenceDropout",
    "SequenceLoss",
    "StackedLSTM",
    "State",
    "WordDropout",
]
