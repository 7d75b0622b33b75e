"""The closed forms of the gradient against autograd, in float64."""

from __future__ import annotations

import pytest
import torch
from omegaconf import OmegaConf

from tests.support.small_models import JOINT, batch, model
from tests.support.update_rule import feature_gradient, input_gradient, output_gradient
from tiednmt.models.tied_lstm_lm import TiedLSTMLanguageModel, TiedLSTMLanguageModelConfig

TYPES, DIM, STEPS = 11, 4, 30


def close(one, other):
    torch.testing.assert_close(one, other, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("tied", [False, True])
def test_skip_gram(tied):
    """h_t is the row that is read; a tied row gets the sum of both."""
    torch.manual_seed(1)
    u = torch.randn(TYPES, DIM, dtype=torch.float64, requires_grad=True)
    v = u if tied else torch.randn(TYPES, DIM, dtype=torch.float64, requires_grad=True)
    read, targets = torch.randint(TYPES - 2, (2, STEPS))
    scores = u[read] @ v.t()
    torch.nn.functional.cross_entropy(scores, targets, reduction="sum").backward()
    with torch.no_grad():
        p = scores.softmax(1)
        of_v = output_gradient(p, targets, u[read])
        of_u = input_gradient(read, feature_gradient(p, targets, v), TYPES)
    assert not of_u[-2:].any()  # never read
    assert of_v.any(dim=1).all()  # every row, whether it is a target or not
    if tied:
        close(u.grad, of_u + of_v)
    else:
        close(u.grad, of_u)
        close(v.grad, of_v)


def caught(embedding):
    """A list that every call of ``embedding`` adds to: what it read and the vectors it gave."""
    calls = []

    def keep(module, inputs, vectors):
        vectors.retain_grad()
        calls.append((inputs[0], vectors))

    embedding.register_forward_hook(keep)
    return calls


def features_of(layer, features):
    """What V reads, N × dim."""
    read = features if layer.projection is None else layer.projection(features)
    return read.flatten(0, 1)


def gradient_of_call(read, vectors):
    return input_gradient(read.flatten(), vectors.grad.flatten(0, -2), len(JOINT))


@pytest.mark.parametrize("projection", [False, True])
@pytest.mark.parametrize("tying", ["none", "decoder"])
def test_language_model(tying, projection):
    options = {**vars(TiedLSTMLanguageModelConfig()), "embed_dim": 6, "hidden_size": 5}
    config = OmegaConf.create({**options, "tying": tying, "projection": projection})
    torch.manual_seed(1)
    built = TiedLSTMLanguageModel.build(config, None, JOINT).double()
    words = torch.randint(4, len(JOINT) - 3, (3, 8))
    read, targets = words[:, :-1], words[:, 1:].flatten()
    embedded = caught(built.decoder.embedding)
    features, _ = built(read, features_only=True)
    layer = built.output_layer
    scores = layer(features).flatten(0, 1)
    torch.nn.functional.cross_entropy(scores, targets, reduction="sum").backward()
    with torch.no_grad():
        of_v = output_gradient(scores.softmax(1), targets, features_of(layer, features))
        ((read_by_step, vectors),) = embedded
        of_u = gradient_of_call(read_by_step, vectors)
    u, v = built.decoder.embedding.weight, layer.embedding.weight
    unread = [i for i in range(len(JOINT)) if i not in read]
    assert unread and not of_u[unread].any()
    assert of_v.any(dim=1).all()
    if tying == "none":
        close(u.grad, of_u)
        close(v.grad, of_v)
    else:
        assert u is v
        close(u.grad, of_u + of_v)


@pytest.mark.parametrize("tying", ["none", "decoder", "three-way"])
def test_translation(tying):
    built = model(tying)
    inputs, targets = batch()
    embedded = {
        name: caught(part.embedding)
        for name, part in (("source", built.encoder), ("target", built.decoder))
        if tying != "three-way"
    }
    if tying == "three-way":
        embedded["both"] = caught(built.encoder.embedding)
    features, _ = built(**inputs, features_only=True)
    layer = built.output_layer
    counted = targets.flatten().ne(JOINT.pad())
    scores = layer(features).flatten(0, 1)[counted]
    targets = targets.flatten()[counted]
    torch.nn.functional.cross_entropy(scores, targets, reduction="sum").backward()
    calls = [call for calls in embedded.values() for call in calls]
    with torch.no_grad():
        of_inputs = [gradient_of_call(*call) for call in calls]
        p = scores.softmax(1)
        of_v = output_gradient(p, targets, features_of(layer, features)[counted])
    for of_u in of_inputs:
        of_u[JOINT.pad()] = 0  # an embedding's padding row gets no gradient where it is read
    weights = {
        "source": built.encoder.embedding.weight,
        "target": built.decoder.embedding.weight,
        "output": layer.embedding.weight,
    }
    uses = dict(zip(weights, (*of_inputs, of_v), strict=True))
    for weight in weights.values():
        close(weight.grad, sum(uses[name] for name, other in weights.items() if other is weight))
