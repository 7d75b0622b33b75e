"""fairseq's own models instead of ours: as large, in the same recipe, without the plugin."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from fairseq.models import ARCH_MODEL_NAME_REGISTRY

from scripts.lab.architectures import model_config
from scripts.lab.run.specs import Recipe, merge
from tiednmt.errors import UserError
from tiednmt.options import option_name


@dataclass(frozen=True)
class Sizes:
    """The sizes that a translation model takes over from another."""

    embed_dim: int
    encoder_hidden_size: int  # of each direction
    decoder_hidden_size: int
    layers: int  # of the encoder
    dropout: float
    decoder_layers: int
    ffn_dim: int  # inside of a Transformer's feed-forward networks
    heads: int
    bidirectional: bool = True  # the encoder

    @classmethod
    def of(cls, recipe: Recipe) -> Sizes:
        """The sizes of our model in ``recipe``; a state without one is as wide as the embeddings.

        A Transformer that is to match another model gets four heads and feed-forward networks of
        twice the embedding size.
        """
        config = config_of(recipe)
        embed_dim = config.embed_dim
        return cls(
            embed_dim=embed_dim,
            encoder_hidden_size=config.get("encoder_hidden_size", embed_dim // 2),
            decoder_hidden_size=config.get("decoder_hidden_size", embed_dim),
            layers=config.get("encoder_layers", 1),
            dropout=config.dropout,
            decoder_layers=config.get("decoder_layers", 1),
            ffn_dim=config.get("encoder_ffn_embed_dim", 2 * embed_dim),
            heads=config.get("encoder_attention_heads", 4),
            bidirectional=config.get("encoder_bidirectional", True),
        )


def config_of(recipe: Recipe) -> Any:
    """The complete configuration of the model in ``recipe``."""
    options = dict(recipe["model"])
    return model_config(options.pop("_name"), **options)


def _lstm(sizes: Sizes) -> dict[str, Any]:
    if sizes.layers != sizes.decoder_layers:
        raise UserError(
            f"--against lstm: fairseq's has as many layers in the decoder as in the encoder; "
            f"ours are {sizes.decoder_layers} and {sizes.layers}"
        )
    return {
        "share_all_embeddings": True,
        "encoder_embed_dim": sizes.embed_dim,
        "encoder_bidirectional": sizes.bidirectional,
        "encoder_hidden_size": sizes.encoder_hidden_size,
        "encoder_layers": sizes.layers,
        "decoder_embed_dim": sizes.embed_dim,
        "decoder_hidden_size": sizes.decoder_hidden_size,
        "decoder_out_embed_dim": sizes.embed_dim,
        "decoder_layers": sizes.layers,
    }


def _transformer(sizes: Sizes) -> dict[str, Any]:
    sides = {
        side: {
            f"{side}_embed_dim": sizes.embed_dim,
            f"{side}_ffn_embed_dim": sizes.ffn_dim,
            f"{side}_layers": layers,
            f"{side}_attention_heads": sizes.heads,
        }
        for side, layers in (("encoder", sizes.layers), ("decoder", sizes.decoder_layers))
    }
    return {"share_all_embeddings": True, **sides["encoder"], **sides["decoder"]}


TRANSLATION: dict[str, Callable[[Sizes], dict[str, Any]]] = {
    "lstm": _lstm,
    "transformer": _transformer,
}


def translation(recipe: Recipe, architecture: str) -> Recipe:
    """``recipe`` with one of ``TRANSLATION`` as large as our model, every embedding tied.

    Raises:
        UserError: fairseq's model cannot have these sizes.
    """
    sizes = Sizes.of(recipe)
    model = {"_name": architecture, "dropout": sizes.dropout, **TRANSLATION[architecture](sizes)}
    smoothing = recipe["criterion"].get("label_smoothing", 0.0)
    return {
        **_without_plugin(recipe),
        "task": {**recipe["task"], "_name": "translation"},
        "model": model,
        "criterion": {"_name": "label_smoothed_cross_entropy", "label_smoothing": smoothing},
    }


# options of tied_lstm_lm that others have too, or that change no figure of speed
_OF_ANY_LSTM = {
    *("tying", "embed_dim", "hidden_size", "layers", "dropout"),
    *("init_range", "float32_matmul_precision"),
}


def plain_lstm(recipe: Recipe) -> Any:
    """The complete configuration of our LSTM language model in ``recipe``.

    Raises:
        UserError: it is another network, or has an option that no other engine's LSTM has.
    """
    config, architecture = config_of(recipe), recipe["model"]["_name"]
    if ARCH_MODEL_NAME_REGISTRY[architecture] != "tied_lstm_lm":
        raise UserError(f"{architecture}: only LSTM language models (tied_lstm_lm) are compared")
    usual = model_config("tied_lstm_lm")
    own = [name for name in config if name not in _OF_ANY_LSTM and config[name] != usual[name]]
    if own:
        options = " ".join(map(option_name, own))
        raise UserError(f"{architecture} {options}: the other side lacks this; choose another row")
    return config


def lstm_lm(recipe: Recipe) -> Recipe:
    """``recipe`` with fairseq's LSTM language model, as large and tied as ours, on fairseq's task.

    Raises:
        UserError: ours has what fairseq's lacks.
    """
    config = plain_lstm(recipe)
    tied = {"share_decoder_input_output_embed": True} if config.tying == "decoder" else {}
    return {
        **_without_plugin(recipe),
        "task": {**recipe["task"], "_name": "language_modeling"},
        "model": {
            "_name": "lstm_lm",
            "decoder_embed_dim": config.embed_dim,
            "decoder_hidden_size": config.hidden_size,
            "decoder_out_embed_dim": config.embed_dim,
            "decoder_layers": config.layers,
            "dropout": config.dropout,
            **tied,
        },
        "criterion": {"_name": "cross_entropy"},
    }


def _without_plugin(recipe: Recipe) -> Recipe:
    return merge(recipe, {"common": {"user_dir": False}})
