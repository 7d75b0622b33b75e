"""The options that every model has, and what presets and checks of options share."""

from argparse import Namespace
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Any

from fairseq.dataclass import ChoiceEnum, FairseqDataclass
from omegaconf import DictConfig, OmegaConf

from tiednmt.modes import NONE, TYINGS
from tiednmt.modules.linear import PRECISIONS
from tiednmt.modules.output_maps import NO_MAP, OUTPUT_MAPS


def input_scale_field(default: str) -> Any:
    """The option ``--input-scale`` with the default of a family of models."""
    return field(
        default=default,
        metadata={
            "help": "multiply what an input embedding looks up: a number, "
            "sqrt-dim, or learned (one scalar per input embedding)"
        },
    )


@dataclass
class TiedModelConfig(FairseqDataclass):
    """The options of every model of this package."""

    tying: ChoiceEnum(TYINGS) = field(  # type: ignore[valid-type]
        default=NONE,
        metadata={
            "help": "which embeddings share one matrix: none; inputs: source input = target input; "
            "decoder: target input = output; three-way: source input = target input = output "
            "(inputs and three-way need a joint dictionary)"
        },
    )
    projection: bool = field(
        default=False,
        metadata={
            "help": "put a matrix P (embedding x embedding) before the output embedding; "
            "see --projection-penalty of the criterion tied_cross_entropy"
        },
    )
    projection_bias: bool = field(
        default=False,
        metadata={"help": "give P a bias, as the paper's released code does"},
    )
    no_output_bias: bool = field(
        default=False,
        metadata={"help": "leave the output bias at zero; fairseq's Transformer has none"},
    )
    input_scale: str = input_scale_field("1")
    input_gradient_scale: float = field(
        default=1.0,
        metadata={"help": "multiply the input embeddings' part of a matrix's gradient"},
    )
    output_map: ChoiceEnum(OUTPUT_MAPS) = field(  # type: ignore[valid-type]
        default=NO_MAP,
        metadata={
            "help": "map between the output embedding's matrix E and the scores: none; joint: map "
            "E and the features into a joint space; residual: deep residual layers on E (DRILL); "
            "low-rank: add a low-rank matrix to E"
        },
    )
    output_map_size: int = field(
        default=0, metadata={"help": "size of the joint space, or rank of the low-rank matrix"}
    )
    output_map_depth: int = field(default=0, metadata={"help": "layers of the residual map"})
    output_map_dropout: float = field(
        default=0.0,
        metadata={"help": "dropout before each residual layer, with one mask for all rows"},
    )
    embedding_rank: int = field(
        default=0,
        metadata={
            "help": "factorise the embeddings: rows have this size; lookups are projected up to "
            "--embed-dim, and features down before scoring (0: off)"
        },
    )
    private_units: str = field(
        default="",
        metadata={
            "help": "file of units, one per line, whose rows are not shared: the source side has "
            "its own (needs --tying inputs or three-way). A name that does not exist as given is "
            "looked up in the data-bin, which has shared-units.txt, the units that both "
            "languages use"
        },
    )
    train_rows: str = field(
        default="",
        metadata={
            "help": "train only these rows of the embedding matrices and of the output bias: "
            "FROM:TO (without row TO), or a file of units, one per line; everything else stays "
            "unchanged, bit for bit"
        },
    )
    freeze_embeddings: bool = field(
        default=False, metadata={"help": "do not train the embedding matrices"}
    )
    encoder_embed_path: str = field(
        default="",
        metadata={
            "help": "word vectors that initialise the source input embedding (text: the two sizes "
            "on the first line, then a unit and its row per line); a tied matrix takes one file"
        },
    )
    decoder_embed_path: str = field(
        default="",
        metadata={"help": "the same for the target input embedding"},
    )
    float32_matmul_precision: ChoiceEnum(PRECISIONS) = field(  # type: ignore[valid-type]
        default="highest",
        metadata={
            "help": "matmul precision in training: medium rounds the factors to bfloat16 (CPU) or "
            "TF32 (GPU) if the hardware supports it, high to TF32; weights, states and gradients "
            "stay in float32"
        },
    )


def as_config(options: Mapping[str, Any]) -> DictConfig:
    """The options of a model where those that read their value from another find it."""
    return OmegaConf.create({"model": options}).model


# What an option meant before there was one, where its default is another by now.
_BEFORE = {"input_scale": "1", "decoder_input_scale": "1"}


def names_of_options(model: type) -> Collection[str]:
    """The names of the options of a registered model; none if it has no dataclass."""
    return getattr(options_of(model), "__dataclass_fields__", {})


def options_of(model: type) -> type[FairseqDataclass] | None:
    """The dataclass that a model is registered with, if any."""
    return getattr(model, "__dataclass", None)


def with_all_options(cfg: Any, model: type) -> Any:
    """The configuration of a model, with what an older checkpoint lacks.

    An option that it lacks has the value that the models had then, not today's default where that
    differs.

    Args:
        cfg: the configuration, of omegaconf.
        model: the registered class.
    """
    options = options_of(model)
    if options is None:
        return cfg
    fields = vars(options())
    if all(name in cfg for name in fields if not name.startswith("_")):
        return cfg
    before = {name: value for name, value in _BEFORE.items() if name in fields}
    given: Any = OmegaConf.to_container(cfg, resolve=True)
    return as_config({**fields, **before, **given})


# which rows train, and files that they start from → what trains all rows and reads no file
OF_TRAINING = {
    "train_rows": "",
    "freeze_embeddings": False,
    "encoder_embed_path": "",
    "decoder_embed_path": "",
}
_IN_THE_WEIGHTS = "those of the checkpoint"  # of private units: no file


def not_read_again(options: Mapping[str, Any]) -> dict[str, str]:
    """What replaces options that name files of a model's training, once it has its weights.

    The files may have changed since, or be missing where the model is used.

    Args:
        options: of the model.
    """
    files = [name for name, neutral in OF_TRAINING.items() if neutral == ""]
    replaced = {name: "" for name in files if options.get(name)}
    if options.get("private_units"):
        replaced["private_units"] = _IN_THE_WEIGHTS
    return replaced


def preset(args: Namespace, **defaults: Any) -> None:
    """Give an architecture's values to the options that were not given."""
    for name, value in defaults.items():
        setattr(args, name, getattr(args, name, value))
