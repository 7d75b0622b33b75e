"""Options that users of fairseq's own models type by habit, translated to those of this package.

An option that an architecture has under the same name means the same as in fairseq. The others
below are translated, or refused with the nearest alternative, before the architecture sets its own
values for options that were not given (:mod:`tiednmt.patches.architectures`).
"""

from __future__ import annotations

import argparse
from collections.abc import Collection, Mapping
from typing import Any

from tiednmt.errors import UserError
from tiednmt.models.model_options import names_of_options
from tiednmt.modes import DECODER, THREE_WAY
from tiednmt.options import option_name

# fairseq's → the --tying that means the same; if both are given, the strictest counts
TIES = {"share_decoder_input_output_embed": DECODER, "share_all_embeddings": THREE_WAY}
# fairseq's → ours, with the same value
SAME = {
    "encoder_embed_dim": "embed_dim",
    "decoder_embed_dim": "embed_dim",
    "decoder_input_dim": "embed_dim",
    "decoder_output_dim": "embed_dim",
    "decoder_out_embed_dim": "embed_dim",
    "decoder_hidden_size": "hidden_size",
    "decoder_layers": "layers",
    "relu_dropout": "activation_dropout",
}
UNSCALED = "no_scale_embedding"

_TRANSFORMER = "--arch tied_transformer has it"
_ADAPTIVE = "--criterion tied_cross_entropy never holds all scores, and --tying saves the weights"
_FROZEN = "--freeze-embeddings leaves all matrices as they are"
_DROPOUTS = "see --dropout and the options below it in docs/options.md"
# fairseq's → the value that turns it off, and the nearest alternative
NOT_OFFERED: dict[str, tuple[Any, str]] = {
    "adaptive_input": (False, _ADAPTIVE),
    "adaptive_softmax_cutoff": (None, _ADAPTIVE),
    "adaptive_softmax_dropout": (0.0, _ADAPTIVE),
    "adaptive_softmax_factor": (4.0, _ADAPTIVE),
    "tie_adaptive_weights": (False, _ADAPTIVE),
    "tie_adaptive_proj": (False, _ADAPTIVE),
    "merge_src_tgt_embed": (
        False,
        "prepare the data with fairseq-preprocess --joined-dictionary and use --tying three-way",
    ),
    "encoder_freeze_embed": (False, _FROZEN),
    "decoder_freeze_embed": (False, _FROZEN),
    "encoder_layers_to_keep": (None, "train fewer --encoder-layers"),
    "decoder_layers_to_keep": (None, "train fewer --decoder-layers"),
    "encoder_xformers_att_config": (None, "attention is torch's scaled_dot_product_attention"),
    "decoder_xformers_att_config": (None, "attention is torch's scaled_dot_product_attention"),
    "offload_activations": (False, "--checkpoint-activations saves memory"),
    "no_cross_attention": (False, "every layer of a decoder attends to the source"),
    "cross_self_attention": (False, "layers attend to the source apart from the target"),
    "no_decoder_final_norm": (False, "--decoder-normalize-before normalises the last sum"),
    "quant_noise_pq": (0.0, "--task tied_translation --int8 rounds a trained model"),
    "quant_noise_pq_block_size": (8, "--task tied_translation --int8 rounds a trained model"),
    "quant_noise_scalar": (0.0, "--task tied_translation --int8 rounds a trained model"),
    "min_params_to_wrap": (10**8, "data parallelism is that of --ddp-backend legacy_ddp"),
    "char_inputs": (False, "prepare the data in subword units"),
    "base_layers": (0, "train more --decoder-layers"),
    "base_sublayers": (1, "train more --decoder-layers"),
    "base_shuffle": (1, "train more --decoder-layers"),
    "export": (False, "layers are torch's own"),
    "full_context_alignment": (False, "--alignment-layer alone"),
    "residuals": (False, _TRANSFORMER),
    **{
        f"{side}_{option}": (off, _TRANSFORMER)
        for side in ("encoder", "decoder")
        for option, off in {
            "attention_heads": None,
            "ffn_embed_dim": None,
            "normalize_before": False,
            "learned_pos": False,
            "layerdrop": 0.0,
        }.items()
    },
    **{
        f"{side}_dropout_{place}": (None, _DROPOUTS)
        for side in ("encoder", "decoder")
        for place in ("in", "out")
    },
    "attention_dropout": (0.0, _DROPOUTS),
    "activation_dropout": (0.0, _DROPOUTS),
    "relu_dropout": (0.0, _DROPOUTS),
    "activation_fn": (None, _TRANSFORMER),
    "layernorm_embedding": (False, _TRANSFORMER),
    "no_token_positional_embeddings": (False, _TRANSFORMER),
    "checkpoint_activations": (False, _TRANSFORMER),
    "alignment_layer": (None, _TRANSFORMER),
    "alignment_heads": (None, _TRANSFORMER),
    "encoder_bidirectional": (False, "--arch tied_gru is, always"),
    "decoder_attention": (None, "every decoder attends to the source"),
    "decoder_layers": (1, f"its decoder has one layer; {_TRANSFORMER}"),
    "encoder_hidden_size": (None, "--embed-dim is the size of all layers"),
    "decoder_hidden_size": (None, "--embed-dim is the size of all layers"),
}


def add_options(parser: argparse.ArgumentParser, model: type) -> None:
    """Add the options that users of fairseq type by habit.

    Args:
        parser: that of ``fairseq-train``, with the model's own options.
        model: a registered model with a dataclass of options.
    """
    own = names_of_options(model)
    for name in (*TIES, UNSCALED):
        _add(parser, own, name, f"as in fairseq: {_as_ours(name)}", is_flag=True)
    for name, ours in SAME.items():
        if ours in own:
            _add(parser, own, name, f"as in fairseq: {option_name(ours)}", type=int)
    for name, (off, _) in NOT_OFFERED.items():
        _add(parser, own, name, argparse.SUPPRESS, is_flag=off is False)


def _add(
    parser: argparse.ArgumentParser,
    own: Collection[str],
    name: str,
    text: str,
    is_flag: bool = False,
    **kind: Any,
) -> None:
    if name not in own and option_name(name) not in parser._option_string_actions:
        options = {"action": "store_true"} if is_flag else kind
        parser.add_argument(option_name(name), default=argparse.SUPPRESS, help=text, **options)


def known_habits(own: Collection[str]) -> set[str]:
    """The options that :func:`translated` reads, without those that the architecture has itself."""
    return {*TIES, UNSCALED, *SAME, *NOT_OFFERED} - {*own}


def translated(options: Mapping[str, Any], own: Collection[str]) -> dict[str, Any]:
    """Translate options of fairseq's own models to those that an architecture has.

    Args:
        options: as typed, fairseq's and ours.
        own: names of the options that the architecture has.

    Returns:
        The values of our options that ``options`` gives under fairseq's names.

    Raises:
        UserError: one is not supported, or two of them contradict each other.
    """
    for name, (off, instead) in NOT_OFFERED.items():
        asked = options.get(name)
        if name in own or SAME.get(name) in own or _is_off(asked, off):
            continue
        value = "" if asked is True else f" {asked}"
        raise UserError(
            f"{option_name(name)}{value} is not supported by this architecture: {instead}"
        )
    values = _values(options, own)
    if options.get(UNSCALED):
        if options.get("input_scale") not in (None, "1"):
            raise _contradiction("input_scale", options["input_scale"], UNSCALED)
        values["input_scale"] = "1"
    return {**values, **_tying(options)}


def _values(options: Mapping[str, Any], own: Collection[str]) -> dict[str, Any]:
    values: dict[str, Any] = {}
    first: dict[str, str] = {}  # the option that set the value
    for name, ours in SAME.items():
        if ours not in own or name in own or _says_nothing(options.get(name)):
            continue
        if not _says_nothing(options.get(ours)):
            values.setdefault(ours, options[ours])
        if values.setdefault(ours, options[name]) != options[name]:
            known = f"{option_name(first.get(ours, ours))} {values[ours]}"
            raise UserError(
                f"{known} and {option_name(name)} {options[name]}: this architecture has one "
                "value for both; leave one out"
            )
        first.setdefault(ours, name)
    return values


def _says_nothing(value: Any) -> bool:
    """Whether an option was not given, or is a rate of zero, which another name may overrule."""
    return value is None or (isinstance(value, float) and value == 0)


def _tying(options: Mapping[str, Any]) -> dict[str, str]:
    flag = next((name for name in reversed(TIES) if options.get(name)), None)
    if flag is None:
        return {}
    wanted, given = TIES[flag], options.get("tying")
    if given in (None, wanted):
        return {"tying": wanted}
    if given == THREE_WAY:  # which includes DECODER
        return {}
    raise _contradiction("tying", given, flag)


def _contradiction(ours: str, given: Any, flag: str) -> UserError:
    return UserError(
        f"{option_name(ours)} {given} contradicts {option_name(flag)}, which is {_as_ours(flag)}; "
        "leave one out"
    )


def _is_off(asked: Any, off: Any) -> bool:
    if asked is None or asked is False or asked == off:
        return True
    try:
        return off is not None and float(asked) == float(off)
    except (TypeError, ValueError):
        return False


def _as_ours(flag: str) -> str:
    return "--input-scale 1" if flag == UNSCALED else f"--tying {TIES[flag]}"
