"""Criterions; importing this package registers them with fairseq."""

from tiednmt.criterions.tied_cross_entropy import TiedCrossEntropy, TiedCrossEntropyConfig

__all__ = ["TiedCrossEntropy", "TiedCrossEntropyConfig"]
