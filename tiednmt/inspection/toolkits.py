"""Where each toolkit keeps its matrices, and what its configuration claims about them.

===============  =================================================================================
fairseq          :mod:`tiednmt.models.parameters`; ``share_all_embeddings``,
                 ``share_decoder_input_output_embed``, ``tying`` of this package's models
Hugging Face     ``tie_word_embeddings``, and ``share_encoder_decoder_embeddings`` of Marian's
Marian           ``Wemb`` or a matrix each, ``ff_logit_out_W`` transposed; ``tied-embeddings``,
                 ``tied-embeddings-src``, ``tied-embeddings-all``
JoeyNMT          ``lut`` and ``output_layer``; ``tied_embeddings``, ``tied_softmax``
OpenNMT-py       ``emb_luts.0`` and ``generator``; ``share_embeddings``,
                 ``share_decoder_embeddings``
eole             ``src_emb``, ``tgt_emb`` and ``generator``; the same options
===============  =================================================================================

A matrix that is not stored is the one before it: the source input's, the target input's.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from tiednmt.inspection.files import InspectedFile
from tiednmt.models.parameters import KNOWN
from tiednmt.modes import DECODER, INPUTS, THREE_WAY

Config = Mapping[str, Any]


class Claim(NamedTuple):
    """Which matrices a configuration claims to tie; None if it says nothing."""

    inputs: bool | None  # source input = target input
    output: bool | None  # target input = output

    def __str__(self) -> str:
        words = {True: "tied", False: "not tied", None: "nothing said"}
        return f"inputs {words[self.inputs]}, output {words[self.output]}"


@dataclass(frozen=True)
class Layout:
    """Names of the matrices of a toolkit, for each the first that is stored.

    Attributes:
        toolkit: what it is called.
        source: source input embedding; none of a model of one side.
        target: target input embedding.
        output: output embedding.
        transposed: which of these are stored as dim × rows.
        claim: that of the configuration.
    """

    toolkit: str
    source: tuple[str, ...]
    target: tuple[str, ...]
    output: tuple[str, ...]
    claim: Callable[[Config], Claim]
    transposed: frozenset[str] = frozenset()

    def fits(self, stored: InspectedFile) -> bool:
        """Whether a file has an input embedding where this toolkit keeps it."""
        names = {*stored.tensors, *stored.aliases}
        return any(name in names for name in (*self.source, *self.target))


def _flag(config: Config, name: str) -> bool | None:
    value = config.get(name)
    return value if isinstance(value, bool) else None


def _either(one: bool | None, other: bool | None) -> bool | None:
    """Whether one of them is on; None where neither is said."""
    return None if one is None and other is None else bool(one or other)


def _inner(config: Config) -> Config:
    """The ``model`` section of a configuration."""
    inner = config.get("model")
    return inner if isinstance(inner, Mapping) else {}


def _of_fairseq(config: Config) -> Claim:
    config = {**config, **_inner(config)}  # a model folder has its options there
    tying = config.get("tying")
    if tying is not None:
        return Claim(tying in (INPUTS, THREE_WAY), tying in (DECODER, THREE_WAY))
    everything = _flag(config, "share_all_embeddings")
    output = _flag(config, "share_decoder_input_output_embed")
    return Claim(everything, _either(everything, output))


def _of_hugging_face(config: Config) -> Claim:
    shared = _flag(config, "share_encoder_decoder_embeddings")
    return Claim(shared, _flag(config, "tie_word_embeddings"))


def _of_marian(config: Config) -> Claim:
    everything = _flag(config, "tied-embeddings-all")
    source = _flag(config, "tied-embeddings-src")
    output = _flag(config, "tied-embeddings")
    return Claim(_either(everything, source), _either(everything, output))


def _of_joeynmt(config: Config) -> Claim:
    model = _inner(config)
    return Claim(_flag(model, "tied_embeddings"), _flag(model, "tied_softmax"))


def _of_opennmt(config: Config) -> Claim:
    config = {**config, **_inner(config)}
    return Claim(_flag(config, "share_embeddings"), _flag(config, "share_decoder_embeddings"))


def _fairseq() -> tuple[Layout, ...]:
    return tuple(
        Layout(
            "fairseq",
            (str(names.source),) if names.source else (),
            (names.target,),
            (str(names.output),),
            _of_fairseq,
        )
        for names in KNOWN
    )


_ONE_SIDED = (  # input and output of Hugging Face's encoders and language models
    ("model.embed_tokens.weight", "lm_head.weight"),
    ("transformer.wte.weight", "lm_head.weight"),
    ("wte.weight", "lm_head.weight"),
    ("gpt_neox.embed_in.weight", "embed_out.weight"),
    ("bert.embeddings.word_embeddings.weight", "cls.predictions.decoder.weight"),
    ("roberta.embeddings.word_embeddings.weight", "lm_head.decoder.weight"),
)
LAYOUTS = (
    *_fairseq(),
    Layout(
        "Hugging Face",
        (
            "model.encoder.embed_tokens.weight",
            "encoder.embed_tokens.weight",
            "model.shared.weight",
            "shared.weight",
        ),
        ("model.decoder.embed_tokens.weight", "decoder.embed_tokens.weight"),
        ("lm_head.weight",),
        _of_hugging_face,
    ),
    *(Layout("Hugging Face", (), (one,), (other,), _of_hugging_face) for one, other in _ONE_SIDED),
    Layout(
        "Marian",
        ("Wemb", "encoder_Wemb"),
        ("Wemb", "decoder_Wemb"),
        ("decoder_ff_logit_out_Wt", "decoder_ff_logit_out_W", "decoder_ff_logit_l2_W"),
        _of_marian,
        transposed=frozenset(("decoder_ff_logit_out_W", "decoder_ff_logit_l2_W")),
    ),
    Layout(
        "JoeyNMT",
        ("src_embed.lut.weight",),
        ("trg_embed.lut.weight",),
        ("decoder.output_layer.weight",),
        _of_joeynmt,
    ),
    Layout(
        "OpenNMT-py",
        ("encoder.embeddings.make_embedding.emb_luts.0.weight",),
        ("decoder.embeddings.make_embedding.emb_luts.0.weight",),
        ("generator.weight", "generator.0.weight"),
        _of_opennmt,
    ),
    Layout(
        "eole",
        ("src_emb.embeddings.weight",),
        ("tgt_emb.embeddings.weight",),
        ("generator.weight",),
        _of_opennmt,
    ),
)


def layout_of(stored: InspectedFile) -> Layout | None:
    """The layout of the toolkit that wrote a file; None where it is no known one.

    fairseq and Hugging Face share names: a checkpoint of fairseq's is told by what else is in it.
    Of those of fairseq, it is the one whose output embedding is stored.
    """
    fitting = [layout for layout in LAYOUTS if layout.fits(stored)]
    if not stored.fairseq and "model_type" in stored.config:
        fitting = [layout for layout in fitting if layout.toolkit == "Hugging Face"] or fitting
    stores_output = (
        layout for layout in fitting if any(name in stored.tensors for name in layout.output)
    )
    return next(stores_output, next(iter(fitting), None))
