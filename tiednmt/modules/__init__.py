"""The layers, in plain torch: no module here imports fairseq."""

from tiednmt.modules.conditional_gru import ConditionalGRU
from tiednmt.modules.output_layer import OutputLayer, SequenceLoss

__all__ = ["ConditionalGRU", "OutputLayer", "SequenceLoss"]
