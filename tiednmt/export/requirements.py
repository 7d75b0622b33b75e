"""What an export needs of a model."""

from __future__ import annotations

from typing import Any

from fairseq.models import MODEL_REGISTRY

from tiednmt.errors import UserError
from tiednmt.models.tied_model import TiedModel
from tiednmt.models.tied_transformer import TiedTransformerModel
from tiednmt.tying import PROJECTION


def require_plain_matrices(model: TiedModel, engine: str, linear_layers: bool = False) -> None:
    """Refuse what stands between a matrix and its uses, but for a factor.

    Args:
        model: to be exported.
        engine: that is to read it.
        linear_layers: whether it can have P, and the layers of factorised embeddings.

    Raises:
        UserError: names what is in the way.
    """
    tie_map = model.tie_map
    between = [part for part in tie_map.between.split("|") if part]
    if linear_layers:
        between = [part for part in between if not part.startswith("embed:")]
    if between:
        raise UserError(
            f"{engine} has nothing between a matrix and its uses, as the model has "
            f"({', '.join(between)}); it can be exported as a model folder"
        )
    if tie_map.others[PROJECTION] and not linear_layers:
        raise UserError(
            f"{engine} has no matrix P before the output embedding, as the model has "
            "(--projection); it can be exported as a model folder"
        )


def require_transformer(model: Any, engine: str) -> TiedTransformerModel:
    """The model, which is to be a Transformer.

    Raises:
        UserError: it is none.
    """
    if not isinstance(model, TiedTransformerModel):
        name = next((n for n, known in MODEL_REGISTRY.items() if known is type(model)), "this")
        raise UserError(
            f"{engine} supports only Transformers, not {name}; ONNX supports all architectures"
        )
    return model
