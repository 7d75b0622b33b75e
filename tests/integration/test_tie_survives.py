"""What may come between a model and its use must not part its tied matrices."""

from __future__ import annotations

import copy
import pickle

import pytest
import torch
from fairseq.data import Dictionary
from fairseq.dataclass.configs import EMAConfig
from fairseq.models.ema import build_ema
from omegaconf import OmegaConf
from torch import nn
from torch.nn.utils import parametrize

from tiednmt.models.tied_gru import TiedGRUConfig, TiedGRUModel

WORDS = 30


@pytest.fixture(scope="module")
def dictionary():
    dictionary = Dictionary()
    for word in range(WORDS):
        dictionary.add_symbol(f"w{word}")
    return dictionary


@pytest.fixture
def build(dictionary):
    def build(seed=1):
        torch.manual_seed(seed)
        changes = {"tying": "three-way", "projection": True, "embed_dim": 8, "dropout": 0.0}
        config = OmegaConf.create({"model": {**vars(TiedGRUConfig()), **changes}})
        return TiedGRUModel.build(config.model, dictionary, dictionary)

    return build


@pytest.fixture
def model(build):
    return build()


@pytest.fixture
def batch(dictionary):
    source = torch.tensor([[5, 9, 7, 2], [6, 8, 2, 1]])
    previous = torch.tensor([[2, 11, 12], [2, 13, 1]])
    return {
        "src_tokens": source,
        "src_lengths": source.ne(dictionary.pad()).sum(1),
        "prev_output_tokens": previous,
    }


def assert_one(model):
    """The three uses see one tensor: a change of one is a change of all."""
    source, target = model.encoder.embedding, model.decoder.embedding
    assert source.weight is target.weight
    assert target.weight is model.output_layer.embedding.weight
    tied = [p for p in model.parameters() if p.shape == (len(model.encoder.dictionary), 8)]
    assert len(tied) <= 1


def scores(model, batch):
    with torch.no_grad():
        return model.eval()(**batch)[0]


@pytest.mark.parametrize("assign", [False, True])
def test_load_state_dict(build, batch, assign):
    model, other = build(), build(seed=2)
    assert not torch.equal(scores(model, batch), scores(other, batch))
    weights = {name: value.clone() for name, value in model.state_dict().items()}
    nn.Module.load_state_dict(other, weights, strict=True, assign=assign)
    assert_one(other)
    assert torch.equal(scores(model, batch), scores(other, batch))


def test_load_through_fairseq_leaves_the_state_it_was_given_usable(build, batch):
    model, first, second = build(), build(seed=2), build(seed=3)
    weights = model.state_dict()
    first.load_state_dict(weights)
    second.load_state_dict(weights)
    for loaded in (first, second):
        assert_one(loaded)
        assert torch.equal(scores(model, batch), scores(loaded, batch))


@pytest.mark.parametrize("twin", [copy.deepcopy, lambda model: pickle.loads(pickle.dumps(model))])
def test_copies(model, batch, twin):
    other = twin(model)
    assert_one(other)
    assert other.encoder.embedding.weight is not model.encoder.embedding.weight
    assert torch.equal(scores(model, batch), scores(other, batch))
    assert other.state_dict().keys() == model.state_dict().keys()
    other.load_state_dict(model.state_dict())


def test_changes_of_type_and_device(model):
    for change in ("half", "float", "bfloat16", "double", "cpu", "float"):
        getattr(model, change)()
        assert_one(model)
    assert_one(model.to_empty(device="cpu"))


def test_training_keeps_one_matrix(model, batch):
    optimiser = torch.optim.SGD(model.parameters(), lr=0.1)
    model(**batch)[0].logsumexp(-1).sum().backward()
    before = model.encoder.embedding.weight.detach().clone()
    optimiser.step()
    assert not torch.equal(before, model.encoder.embedding.weight)
    assert_one(model)


def test_parametrisation_is_seen_by_all_three_uses(model, batch):
    class Halved(nn.Module):
        def forward(self, weight):
            return weight / 2

    expected = copy.deepcopy(model)
    with torch.no_grad():
        expected.encoder.embedding.weight.div_(2)
    parametrize.register_parametrization(model.encoder.embedding, "weight", Halved())
    assert model.encoder.embedding is model.decoder.embedding is model.output_layer.embedding
    assert torch.equal(scores(model, batch), scores(expected, batch))


def test_moving_average(model):
    average = build_ema(model, EMAConfig(store_ema=True, ema_decay=0.5), "cpu")
    assert_one(average.model)
    with torch.no_grad():
        model.encoder.embedding.weight.add_(1)
    old = average.model.encoder.embedding.weight.detach().clone()
    average.step(model)
    torch.testing.assert_close(average.model.encoder.embedding.weight, old + 0.5)
    assert_one(average.model)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_dynamic_quantisation_of_linear_layers(model, batch):
    # by name: the cell's own linear layers are parts of one product and no modules to be swapped
    layers = {"decoder.output.projection", "decoder.readout_state", "decoder.initial"}
    quantised = torch.ao.quantization.quantize_dynamic(model.eval(), layers, torch.qint8)
    assert_one(quantised)
    assert not isinstance(quantised.output_layer.projection, nn.Linear)
    torch.testing.assert_close(scores(quantised, batch), scores(model, batch), atol=0.1, rtol=0)


def test_bfloat16_trains_close_to_float32(model, batch):
    target = torch.tensor([11, 12, 2, 13, 2, 1])

    def loss_and_gradient(model):
        features, _ = model(**batch, features_only=True)
        loss = model.output_layer.loss(features.flatten(0, 1), target, 1, label_smoothing=0.1).loss
        loss.backward()
        return loss.item(), model.encoder.embedding.weight.grad.float()

    loss, gradient = loss_and_gradient(copy.deepcopy(model))
    rough_loss, rough_gradient = loss_and_gradient(copy.deepcopy(model).bfloat16())
    assert rough_loss == pytest.approx(loss, rel=0.02)
    assert (rough_gradient - gradient).norm() < 0.05 * gradient.norm()
