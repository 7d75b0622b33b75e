"""Models; importing this package registers them with fairseq."""

from tiednmt.models.tied_gru import TiedGRUConfig, TiedGRUModel

__all__ = ["TiedGRUConfig", "TiedGRUModel"]
