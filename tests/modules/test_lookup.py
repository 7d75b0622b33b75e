"""The scale between an embedding matrix and the layers that read it."""

import math

import pytest
import torch

from tests.models.contract import (
    ARCHITECTURES,
    LANGUAGE_MODELS,
    build,
    evaluated,
    inputs_for,
    loss_of,
)
from tests.support.small_models import JOINT
from tiednmt.errors import UserError
from tiednmt.modules.lookup import LookupScale
from tiednmt.tying import DECODER, NONE, THREE_WAY


@pytest.mark.parametrize(
    ("option", "factor"),
    [("1", 1), ("4", 4), ("0.5", 0.5), ("sqrt-dim", math.sqrt(6)), ("learned", 3)],
)
def test_rows_and_their_gradients_are_multiplied(option, factor):
    scale, rows = LookupScale.of(option, 6, 3.0), torch.randn(2, 5, 6, requires_grad=True)
    scaled = scale(rows)
    torch.testing.assert_close(scaled, rows * factor)
    scaled.sum().backward()
    torch.testing.assert_close(rows.grad, torch.full_like(rows, factor))
    assert scale.value == pytest.approx(factor)
    if option == "learned":
        torch.testing.assert_close(scale.factor.grad, rows.detach().sum())


@pytest.mark.parametrize("option", ["0", "-1", "nan", "inf", "sqrt", ""])
def test_what_is_no_scale_is_refused(option):
    with pytest.raises(UserError, match="--input-scale"):
        LookupScale.of(option, 6, 1.0)


@pytest.mark.parametrize("scale", ["-1", "nan", "inf"])
def test_what_is_no_scale_of_a_gradient_is_refused(scale):
    with pytest.raises(UserError, match="--input-gradient-scale"):
        LookupScale.of("1", 6, 1.0, float(scale))


@pytest.mark.parametrize("arch", ARCHITECTURES)
@pytest.mark.parametrize("tying", [NONE, DECODER, THREE_WAY])
@pytest.mark.parametrize("option", ["1", "4", "sqrt-dim", "learned"])
def test_the_first_loss_is_that_of_a_flat_softmax(arch, tying, option):
    """ln V per token whatever the options, as long as the model is as it was made.

    A Transformer starts as fairseq's, whose scores have up to unit variance, which adds 1/2.
    """
    if arch in LANGUAGE_MODELS and tying == THREE_WAY:
        pytest.skip("a language model has one input embedding")
    model = build(arch, tying, noise=0.0, input_scale=option, embed_dim=64)
    given, target = inputs_for(arch)
    tokens = target.ne(JOINT.pad()).sum().item()
    with torch.no_grad():
        features, _ = model(**given, features_only=True)
        loss = model.output_layer.loss(features.flatten(0, 1), target.flatten(), JOINT.pad()).loss
    spread = 0.5 if arch in ("tied_transformer", "tied_transformer_lm") else 0
    above = loss.item() / tokens - math.log(len(JOINT))
    assert -0.25 < above < spread + 0.25


@pytest.mark.parametrize("arch", ARCHITECTURES)
def test_a_scale_is_the_same_as_longer_rows(arch):
    """In float64: with ``none``, rows of the input embeddings four times as long."""
    scaled, longer = (build(arch, NONE, input_scale=scale) for scale in ("4", "1"))
    with torch.no_grad():
        for embedding in {longer.embeddings.source, longer.embeddings.target} - {None}:
            embedding.weight.mul_(4)
    given, target = inputs_for(arch)
    torch.testing.assert_close(loss_of(scaled, given, target), loss_of(longer, given, target))


@pytest.mark.parametrize("arch", ARCHITECTURES)
@pytest.mark.parametrize("trained", ["1", "4", "learned"])
@pytest.mark.parametrize("built", ["1", "sqrt-dim", "learned"])
def test_the_scale_of_a_checkpoint_stands_whatever_the_options_say(arch, trained, built):
    """Rows that were trained with a scale mean nothing with another one."""
    one, other = build(arch, input_scale=trained), build(arch, seed=8, input_scale=built)
    scores = evaluated(one, arch)
    assert not torch.allclose(evaluated(other, arch), scores)
    other.load_state_dict(one.state_dict())
    torch.testing.assert_close(evaluated(other, arch), scores)


@pytest.mark.parametrize("arch", ARCHITECTURES)
def test_a_checkpoint_from_before_there_was_a_scale_has_none(arch):
    old, model = build(arch, input_scale="1"), build(arch, seed=8, input_scale="4")
    state = old.state_dict()
    assert not [name for name in state if "input_scale" in name]
    model.load_state_dict(state)
    torch.testing.assert_close(evaluated(model, arch), evaluated(old, arch))


@pytest.mark.parametrize("arch", ARCHITECTURES)
@pytest.mark.parametrize("option", ["4", "learned"])
def test_a_part_of_a_checkpoint_leaves_the_scale_alone(arch, option):
    model = build(arch, input_scale=option)
    state, scores = model.state_dict(), evaluated(model, arch)
    bias = {name: tensor for name, tensor in state.items() if name.endswith("output.bias")}
    assert bias
    for part in ({}, bias):
        model.load_state_dict(part, strict=False)
        assert torch.equal(evaluated(model, arch), scores)


def test_a_state_dict_is_left_as_it_was():
    scale = LookupScale.of("learned", 6, 4.0)
    state = LookupScale.of("2", 6, 4.0).state_dict()
    scale.load_state_dict(state)
    assert scale.value == 2
    assert [*state] == ["constant"]
