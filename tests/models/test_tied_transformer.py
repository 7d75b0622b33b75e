"""The Transformer beside fairseq's own with the same weights; its options and sizes."""

from argparse import Namespace
from types import SimpleNamespace

import pytest
import torch
import torch.nn.functional as F
from fairseq import modules, utils
from fairseq.criterions.label_smoothed_cross_entropy_with_alignment import (
    LabelSmoothedCrossEntropyCriterionWithAlignment,
)
from fairseq.models import ARCH_CONFIG_REGISTRY, ARCH_MODEL_REGISTRY
from fairseq.sequence_generator import SequenceGenerator

import tiednmt.plugin  # noqa: F401
from scripts.lab.architectures import empty_model, model_config, numbered_dictionary
from tests.models.contract import build, inputs_for, loss_of, scores_of, steps_of
from tests.support.searches import assert_same, hypotheses, sentences
from tests.support.small_models import JOINT, batch
from tiednmt.errors import CheckpointError, UserError
from tiednmt.models.tied_transformer import STOCK
from tiednmt.tasks.sequence_generator import TiedSequenceGenerator
from tiednmt.tying import DECODER, NONE, THREE_WAY

ARCH = "tied_transformer"
SIZES = {
    f"{side}_{name}": size
    for side in ("encoder", "decoder")
    for name, size in {"layers": 2, "attention_heads": 2, "ffn_embed_dim": 7}.items()
}
VARIANTS = {
    "as it comes": {},
    "pre-norm": {"encoder_normalize_before": True, "decoder_normalize_before": True},
    "one side pre-norm": {"encoder_normalize_before": True, "activation_fn": "gelu"},
    "learned positions": {"encoder_learned_pos": True, "decoder_learned_pos": True},
    "norm of embeddings": {"layernorm_embedding": True, "activation_fn": "gelu_accurate"},
    "no positions": {"no_token_positional_embeddings": True, "activation_fn": "tanh"},
    "unscaled": {"no_scale_embedding": True, "activation_fn": "linear"},
}
FLAGS = {
    NONE: {},
    DECODER: {"share_decoder_input_output_embed": True},
    THREE_WAY: {"share_all_embeddings": True},
}
every_variant = pytest.mark.parametrize("options", VARIANTS.values(), ids=VARIANTS)


@pytest.fixture(autouse=True)
def fairseq_in_float64(monkeypatch):
    """It computes the softmax of attention and GELU in single precision, whatever it is given."""
    monkeypatch.setattr(utils, "softmax", lambda x, dim, onnx_trace=False: x.softmax(dim))
    monkeypatch.setattr(modules, "gelu", F.gelu)


def fairseqs(tying=NONE, dtype=torch.float64, seed=3, dim=6, **options):
    """fairseq's own model, with numbers in every parameter."""
    args = Namespace(
        **SIZES, **FLAGS[tying], encoder_embed_dim=dim, max_source_positions=20,
        max_target_positions=20, **{"dropout": 0.0, **options},
    )  # fmt: skip
    ARCH_CONFIG_REGISTRY["transformer"](args)
    task = SimpleNamespace(source_dictionary=JOINT, target_dictionary=JOINT)
    torch.manual_seed(seed)
    model = ARCH_MODEL_REGISTRY["transformer"].build_model(args, task).to(dtype)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.2 * torch.randn_like(parameter))
    return model


def pair(tying=NONE, dtype=torch.float64, **options):
    """fairseq's model, and ours with its weights."""
    theirs = fairseqs(tying, dtype, **options)
    unscaled = options.pop("no_scale_embedding", False)
    given = {"input_scale": "1" if unscaled else "sqrt-dim", **SIZES, **options}
    given |= {"max_source_positions": 20, "max_target_positions": 20}
    ours = build(ARCH, tying, dtype, projection=False, **given)
    ours.load_state_dict(theirs.state_dict())
    return ours, theirs


@every_variant
@pytest.mark.parametrize("left_pad", [True, False])
def test_scores_and_attention_are_fairseqs(options, left_pad):
    ours, theirs = (model.eval() for model in pair(**options))
    given, _ = batch(left_pad=left_pad)
    kept = given["prev_output_tokens"].ne(JOINT.pad())
    scores, expected = (model(**given) for model in (ours, theirs))
    torch.testing.assert_close(scores[0][kept], expected[0][kept])
    torch.testing.assert_close(scores[1]["attn"][0][kept], expected[1]["attn"][0][kept])


@pytest.mark.parametrize("arch", [ARCH, "tied_transformer_lm"])
def test_autocast_on_a_cpu(arch, cpu_path):
    model, (given, target) = build(arch, dtype=torch.float32).train(), inputs_for(arch)
    parameters = list(model.parameters())
    exact = loss_of(model, given, target)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        loss = loss_of(model, given, target)
    torch.testing.assert_close(loss, exact, rtol=0.01, atol=0)
    wanted, found = (
        torch.cat([gradient.flatten() for gradient in torch.autograd.grad(one, parameters)])
        for one in (exact, loss)
    )
    assert (found - wanted).norm() < 0.03 * wanted.norm()


def test_targets_may_be_padded_on_the_left():
    ours, theirs = (model.eval() for model in pair())
    given, _ = batch()
    tokens = given["prev_output_tokens"]
    kept = tokens.ne(JOINT.pad())
    turned = torch.cat([torch.cat((row[row.eq(1)], row[row.ne(1)])).unsqueeze(0) for row in tokens])
    right, left = (ours(**{**given, "prev_output_tokens": t}) for t in (tokens, turned))
    for one, other in ((right[0], left[0]), (right[1]["attn"][0], left[1]["attn"][0])):
        torch.testing.assert_close(one[kept], other[turned.ne(JOINT.pad())])
    expected, _ = theirs(**{**given, "prev_output_tokens": turned})
    torch.testing.assert_close(left[0][turned.ne(1)], expected[turned.ne(1)])


def smoothed(scores, target):
    log_probabilities = scores.log_softmax(-1)
    nll = -log_probabilities.gather(2, target.unsqueeze(2)).squeeze(2)
    rest = -log_probabilities.sum(2) - nll
    return (0.9 * nll + 0.1 / (len(JOINT) - 1) * rest)[target.ne(JOINT.pad())].sum()


@every_variant
@pytest.mark.parametrize("tying", FLAGS)
def test_gradients_are_fairseqs(options, tying):
    """Of the loss without logits, each carried to fairseq's names as weights are."""
    ours, theirs = (model.train() for model in pair(tying, **options))
    given, target = batch()
    loss_of(ours, given, target).backward()
    smoothed(theirs(**given)[0], target).backward()
    of_ours = {name: p.grad for name, p in ours.named_parameters(remove_duplicate=False)}
    del of_ours["decoder.output.bias"]
    carried = STOCK.to_stock({**of_ours, "decoder.output.bias": torch.zeros(len(JOINT))})
    for name, parameter in theirs.named_parameters(remove_duplicate=False):
        gradient = parameter.grad
        if "embed_positions" in name:  # two rows that are never used
            gradient[:2] = 0
        torch.testing.assert_close(carried[name], gradient, msg=lambda m, n=name: f"{n}: {m}")


@every_variant
def test_steps_are_fairseqs(options):
    ours, theirs = (model.eval() for model in pair(**options))
    given, _ = batch()
    order = torch.tensor([2, 0, 0, 1])
    with torch.no_grad():
        found, expected = (steps_of(model, ARCH, given, order) for model in (ours, theirs))
    torch.testing.assert_close(found, expected)


@pytest.mark.parametrize("options", [{}, VARIANTS["pre-norm"]])
def test_translations_are_fairseqs(options):
    ours, theirs = (model.eval() for model in pair(DECODER, torch.float32, **options))
    sample, search = sentences(7, 6), {"beam_size": 4, "max_len_b": 12}
    assert_same(
        hypotheses(TiedSequenceGenerator, ours, sample, **search),
        hypotheses(SequenceGenerator, theirs, sample, **search),
    )


def test_a_search_longer_than_the_table_of_positions_to_begin_with():
    model = build(ARCH).eval()
    sample, search = sentences(2, 2), {"beam_size": 2, "min_len": 100, "max_len_b": 100}
    (ours, _), (theirs, _) = (
        hypotheses(kind, model, sample, **search)
        for kind in (TiedSequenceGenerator, SequenceGenerator)
    )
    for one, other in zip(ours, theirs, strict=True):
        assert one["tokens"].tolist() == other["tokens"].tolist()
        torch.testing.assert_close(one["score"], other["score"], atol=1e-5, rtol=0)


# --- options ------------------------------------------------------------------------------------


@pytest.mark.parametrize(("layer", "heads"), [(0, 1), (1, 2), (None, 1), (0, None)])
def test_the_attention_told_is_that_of_a_layer_and_of_its_first_heads(layer, heads):
    ours, theirs = (model.eval() for model in pair())
    asked = build(
        ARCH, NONE, projection=False, alignment_layer=layer, alignment_heads=heads, **SIZES
    )
    asked.load_state_dict(ours.state_dict())
    given, _ = batch()
    kept = given["prev_output_tokens"].ne(JOINT.pad())
    found = asked.eval()(**given)[1]["attn"][0]
    expected = theirs(**given, alignment_layer=layer, alignment_heads=heads)[1]["attn"][0]
    torch.testing.assert_close(found[kept], expected[kept])


def test_a_head_learns_alignments_by_fairseqs_criterion():
    task = SimpleNamespace(target_dictionary=JOINT)
    criterion = LabelSmoothedCrossEntropyCriterionWithAlignment(task, False, 0.1, 0.5)
    given, target = batch()
    sample = {
        "net_input": given,
        "target": target,
        "ntokens": int(target.ne(JOINT.pad()).sum()),
        "align_weights": torch.ones(3, dtype=torch.float64),
    }
    query, gradients = "decoder.stack.layers.0.source_attention.query.weight", []
    for alignments in (torch.tensor([[0, 1], [2, 0], [5, 3]]), None):
        model = build(ARCH, alignment_layer=0, alignment_heads=1).train()
        loss, _, told = criterion(model, {**sample, "alignments": alignments})
        loss.backward()
        gradients.append(model.get_parameter(query).grad)
        assert (told.get("alignment_loss", 0) > 0) == (alignments is not None)
    assert not torch.allclose(*gradients)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"encoder_attention_heads": 4}, r"--encoder-attention-heads 4: must divide --embed-dim 6"),
        ({"decoder_layers": 0}, r"--decoder-layers 0: must be 1 or more"),
        ({"decoder_ffn_embed_dim": 0}, r"--decoder-ffn-embed-dim 0"),
        ({"attention_dropout": 1.0}, r"--attention-dropout 1.0: must be from 0 to below 1"),
        ({"encoder_layerdrop": -0.1}, r"--encoder-layerdrop -0.1"),
        ({"alignment_layer": 2}, r"--alignment-layer 2: must be from 0 to 1"),
        ({"alignment_heads": 3}, r"--alignment-heads 3: must be from 1 to 2"),
    ],
)
def test_options_out_of_range(options, message):
    with pytest.raises(UserError, match=message):
        build(ARCH, **options)


@pytest.mark.parametrize(
    ("option", "sides"),
    [
        ("dropout", "both"),
        ("attention_dropout", "both"),
        ("activation_dropout", "both"),
        ("encoder_layerdrop", "encoder"),
        ("decoder_layerdrop", "decoder"),
    ],
)
def test_each_dropout_has_an_option(option, sides):
    model = build(ARCH, **{option: 0.5}).train()
    given, _ = batch()
    source = given["src_tokens"], given["src_lengths"]
    encoder_out = model.eval().encoder(*source)
    model.train()
    drawn = 12  # a layer may be kept several times in a row
    states = [model.encoder(*source)["states"][0] for _ in range(drawn)]
    scores = [model.decoder(given["prev_output_tokens"], encoder_out)[0] for _ in range(drawn)]
    for side, found in (("encoder", states), ("decoder", scores)):
        differ = any(not torch.equal(found[0], other) for other in found[1:])
        assert differ == (sides in ("both", side))


@pytest.mark.parametrize("changes", [{"checkpoint_activations": True}, {"encoder_layerdrop": 0.5}])
def test_the_tie_holds_when_layers_are_computed_twice_or_left_out(changes):
    model = build(ARCH, THREE_WAY, decoder_layerdrop=0.3, dropout=0.2, **changes).train()
    given, target = batch()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    for _ in range(3):
        optimizer.zero_grad()
        loss_of(model, given, target).backward()
        optimizer.step()
    uses = (model.embeddings.source, model.embeddings.target, model.output_layer.embedding)
    assert len({id(use.weight) for use in uses}) == 1
    assert uses[0].weight.grad.abs().sum() > 0


@pytest.mark.parametrize(
    "changes", [{"dropout": 0.3, "attention_dropout": 0.2}, {"encoder_layerdrop": 0.5}]
)
def test_a_seed_repeats_an_update(changes):
    given, target = batch()
    gradients = []
    for _ in range(2):
        model = build(ARCH, **changes).train()
        torch.manual_seed(5)
        loss_of(model, given, target).backward()
        gradients.append([p.grad for p in model.parameters() if p.grad is not None])
    assert all(torch.equal(*each) for each in zip(*gradients, strict=True))


TRANSFORMER_SIZES = ("layers", "attention_heads", "ffn_embed_dim", "normalize_before")
PRESETS = {
    "tied_transformer": "transformer",
    "tied_transformer_base": "transformer",
    "tied_transformer_iwslt_de_en": "transformer_iwslt_de_en",
    "tied_transformer_big": "transformer_vaswani_wmt_en_de_big",
}


@pytest.mark.parametrize("arch", PRESETS)
def test_presets_have_fairseqs_values(arch):
    theirs = Namespace()
    ARCH_CONFIG_REGISTRY[PRESETS[arch]](theirs)
    theirs.embed_dim = theirs.encoder_embed_dim
    shared = {name: value for name, value in model_config(arch).items() if hasattr(theirs, name)}
    sizes = {f"{side}_{name}" for side in ("encoder", "decoder") for name in TRANSFORMER_SIZES}
    assert shared.keys() >= {"embed_dim", "dropout", "attention_dropout", "activation_fn", *sizes}
    for name, value in shared.items():
        expected = getattr(theirs, name)
        assert value == expected or (value, expected) == ("", None), name


@pytest.mark.parametrize(
    ("arch", "millions"), [("tied_transformer_tiny", 2.2), ("tied_transformer_small", 7.4)]
)
def test_sizes(arch, millions):
    """On the joint dictionary of Multi30k."""
    dictionary = numbered_dictionary(7440, "joint")
    tie_map = empty_model(arch, dictionary, dictionary, tying=THREE_WAY).tie_map
    assert tie_map.total / 1e6 == pytest.approx(millions, abs=0.1)


# --- fairseq's checkpoints ----------------------------------------------------------------------


@every_variant
@pytest.mark.parametrize("tying", FLAGS)
def test_weights_of_fairseqs_model_and_back(options, tying):
    ours, theirs = pair(tying, **options)
    assert ours.tie_map.tying == tying
    state = STOCK.to_stock(ours.state_dict())
    again = fairseqs(tying, seed=9, **options)
    again.load_state_dict(state, strict=True)
    given, _ = batch()
    expected = scores_of(theirs.eval(), given)
    assert torch.equal(scores_of(again.eval(), given), expected)
    assert STOCK.scales(ours.state_dict()) == (not options.get("no_scale_embedding", False))


def test_what_fairseqs_model_has_not_is_refused():
    with pytest.raises(CheckpointError, match="--projection: fairseq's transformer has no P"):
        STOCK.to_stock(build(ARCH).state_dict())
    biased = build(ARCH, projection=False).state_dict()
    with pytest.raises(CheckpointError, match=r"output bias.*--no-output-bias"):
        STOCK.to_stock(biased)
    with pytest.raises(CheckpointError, match=r"--input-scale 4: .*by 1 and √dim alone"):
        STOCK.scales(build(ARCH, input_scale="4").state_dict())


def test_what_ours_has_not_is_refused():
    ours = build(ARCH, NONE, projection=False, **SIZES)
    state = fairseqs().state_dict()
    with pytest.raises(
        CheckpointError, match=r"parts that this arch.*encoder\.quant_noise\.weight"
    ):
        ours.load_state_dict({**state, "encoder.quant_noise.weight": torch.ones(6, 6)})
    lacking = {name: w for name, w in state.items() if "0.self_attn.k_proj.weight" not in name}
    with pytest.raises(
        CheckpointError, match=r"lacks encoder\.layers\.0\.self_attn\.k_proj\.weight"
    ):
        ours.load_state_dict(lacking)
    softmax = {n: w for n, w in state.items() if "output_projection" not in n}
    softmax["decoder.adaptive_softmax.head.word_proj.weight"] = torch.ones(5, 6)
    with pytest.raises(CheckpointError, match="adaptive softmax"):
        ours.load_state_dict(softmax)
    with pytest.raises(CheckpointError, match="ties less"):
        build(ARCH, THREE_WAY, projection=False, **SIZES).load_state_dict(state)


def test_older_versions_of_fairseq_store_less_and_elsewhere():
    tied, apart = fairseqs(DECODER), fairseqs(NONE)
    given, _ = batch()
    state = tied.state_dict()
    del state["decoder.output_projection.weight"], state["encoder.version"]
    state["decoder.embed_positions._float_tensor"] = torch.zeros(1)
    old = apart.state_dict()
    old["decoder.embed_out"] = old.pop("decoder.output_projection.weight")
    for tying, weights, model in ((DECODER, state, tied), (NONE, old, apart)):
        ours = build(ARCH, tying, projection=False, **SIZES)
        ours.load_state_dict(weights)
        kept = given["prev_output_tokens"].ne(JOINT.pad())
        expected = model.eval()(**given)[0]
        torch.testing.assert_close(ours.eval()(**given)[0][kept], expected[kept])


def test_a_model_without_an_output_bias_becomes_fairseqs():
    ours = build(ARCH, NONE, noise=0.0, projection=False, no_output_bias=True, **SIZES)
    theirs = fairseqs(seed=8)
    theirs.load_state_dict(STOCK.to_stock(ours.state_dict()))
    given, _ = batch()
    kept = given["prev_output_tokens"].ne(JOINT.pad())
    expected = theirs.eval()(**given)[0]
    torch.testing.assert_close(ours.eval()(**given)[0][kept], expected[kept])


# --- beside other architectures -----------------------------------------------------------------


def test_an_ensemble_with_another_architecture():
    """The score of a token is the logarithm of the mean of both models' probabilities."""
    models = [build(arch, dtype=torch.float32).eval() for arch in (ARCH, "tied_gru")]
    sample, search = sentences(4, 5), {"beam_size": 3, "max_len_b": 8}
    generator = TiedSequenceGenerator(models, JOINT, **search)
    with torch.no_grad():
        found = generator.generate(models, sample)
        for i, beam in enumerate(found):
            tokens = beam[0]["tokens"]
            given = {name: rows[i : i + 1] for name, rows in sample["net_input"].items()}
            given["prev_output_tokens"] = tokens.roll(1).unsqueeze(0)
            mean = sum(model(**given)[0].softmax(-1)[0] for model in models) / 2
            expected = mean.log().gather(1, tokens.unsqueeze(1)).squeeze(1)
            torch.testing.assert_close(beam[0]["positional_scores"], expected, atol=1e-5, rtol=0)
            assert beam[0]["attention"].sum(0).tolist() == pytest.approx([1] * len(tokens))
