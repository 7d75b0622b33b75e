"""What fairseq's configuration says, whatever form it has."""

from __future__ import annotations

from typing import Any

from fairseq.models import ARCH_MODEL_REGISTRY
from omegaconf import OmegaConf

from tiednmt.checkpoints import registered_name
from tiednmt.models.tied_model import TiedModel


def arch(cfg: Any) -> str | None:
    """The name of the architecture; None where no model is configured."""
    return registered_name(getattr(cfg, "model", None))


def is_tied(cfg: Any) -> bool:
    """Whether the model to build is one of this package."""
    return issubclass(ARCH_MODEL_REGISTRY.get(arch(cfg), object), TiedModel)


def options_of_part(part: Any) -> dict[str, Any]:
    """The options of a part of fairseq's configuration, which may be a namespace or a dataclass."""
    if OmegaConf.is_config(part):
        part = OmegaConf.to_container(part)
    return part if isinstance(part, dict) else vars(part) if hasattr(part, "__dict__") else {}
