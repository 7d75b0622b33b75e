"""Losses of batches padded to few shapes: those of the batches, on a CPU without a graph."""

import pytest
import torch
from fairseq.distributed import utils as distributed_utils
from omegaconf import OmegaConf

from tests.models.contract import build, inputs_for, loss_of
from tests.support.small_models import JOINT
from tiednmt.criterions.cuda_graphs import Batch, GraphedLoss, require_model
from tiednmt.criterions.tied_cross_entropy import TiedCrossEntropy, TiedCrossEntropyConfig
from tiednmt.errors import UserError
from tiednmt.kernels.tuning import GRAPH_TOKENS
from tiednmt.modules.cross_entropy import SequenceLoss
from tiednmt.modules.packing import keeps_padding

WITH_GRAPHS = ["tied_gru", "tied_transformer", "tied_transformer_gru"]


def graphed(model):
    """The loss of a model as a graph computes it, also where there is none."""

    def loss_of_batch(batch):
        assert keeps_padding()
        features, _ = model(**batch.net_input, features_only=True)
        rows, target = features.flatten(0, 1), batch.target.flatten()
        return model.output_layer.loss(rows, target, JOINT.pad(), 0.1)

    return GraphedLoss(model, loss_of_batch, JOINT.pad(), JOINT.eos())


def samples(arch, device="cpu"):
    """Batches of several shapes, padded on the left, each twice."""
    for lengths in ((5, 9, 1, 7), (3,), (2, 8), (5, 9, 1, 7), (2, 8), (3,), (2, 8), (5, 9, 1, 7)):
        given, target = inputs_for(arch, lengths=lengths, target_lengths=[n + 2 for n in lengths])
        given = {name: tensor.to(device) for name, tensor in given.items()}
        yield {"net_input": given, "target": target.to(device)}


def gradients(model):
    found = {n: p.grad for n, p in model.named_parameters() if p.grad is not None}
    model.zero_grad()
    return found


def assert_same_updates(model, arch, device="cpu"):
    graphs = graphed(model)
    for sample in samples(arch, device):
        expected = loss_of(model, sample["net_input"], sample["target"])
        (3 * expected).backward()
        expected = expected.detach()
        wanted = gradients(model)
        loss, nll = graphs(sample)
        assert not nll.requires_grad
        (3 * loss).backward()
        torch.testing.assert_close(loss, expected, rtol=1e-9, atol=0)
        found = gradients(model)
        for name, gradient in wanted.items():
            torch.testing.assert_close(found.pop(name), gradient, rtol=1e-7, atol=1e-9, msg=name)
        assert not any(gradient.any() for gradient in found.values())
    return graphs


@pytest.mark.parametrize("arch", WITH_GRAPHS)
def test_padding_changes_no_number(arch):
    assert_same_updates(build(arch).train(), arch)


def test_gradients_of_several_batches_add_up():
    model = build("tied_gru").train()
    graphs, given = graphed(model), list(samples("tied_gru"))[:3]
    for sample in given:
        graphs(sample).loss.backward()
    found = gradients(model)
    for sample in given:
        loss_of(model, sample["net_input"], sample["target"]).backward()
    for name, gradient in gradients(model).items():
        torch.testing.assert_close(found[name], gradient, rtol=1e-7, atol=1e-9)


def test_shapes_are_few():
    shapes = set()
    for length in range(1, 13):
        tokens = torch.full((length, length), 5)
        sample = {
            "net_input": {"src_tokens": tokens, "prev_output_tokens": tokens},
            "target": tokens,
        }
        batch = Batch.of(sample).padded(JOINT.pad(), JOINT.eos(), (99, 99))
        assert batch.source.eq(5).sum() == batch.target.eq(5).sum() == length**2
        assert batch.source.ne(JOINT.pad()).any(1).all()
        assert batch.target.ne(JOINT.pad()).any(1).sum() == length
        shapes.add(tuple(batch.source.shape))
    assert len(shapes) == 3


@pytest.mark.parametrize(
    ("arch", "changes", "named"),
    [
        ("tied_lstm", {}, "LSTM"),
        ("tied_lstm_lm", {}, "LSTM"),
        ("tied_transformer", {"encoder_layerdrop": 0.1}, "layerdrop"),
        ("tied_transformer", {"checkpoint_activations": True}, "--checkpoint-activations"),
    ],
)
def test_what_a_graph_cannot_repeat_is_refused(arch, changes, named):
    with pytest.raises(UserError, match=f"--cuda-graphs.*{named}"):
        require_model(build(arch, **changes))


def test_padding_does_not_exceed_the_positions_of_the_model():
    arch = "tied_transformer"
    longest = [
        max(sample["net_input"][name].size(1) for sample in samples(arch))
        for name in ("src_tokens", "prev_output_tokens")
    ]
    assert longest[0] % GRAPH_TOKENS
    limits = dict(zip(("max_source_positions", "max_target_positions"), longest, strict=True))
    model = build(arch, encoder_learned_pos=True, decoder_learned_pos=True, **limits)
    assert_same_updates(model, arch)


def test_a_parameter_that_a_batch_does_not_use_has_no_gradient_of_another():
    model = torch.nn.ParameterDict({"always": torch.ones(1), "long": torch.ones(1)})
    model.max_positions = lambda: (99, 99)

    def loss_of_batch(batch):
        used = model.values() if batch.source.size(1) > GRAPH_TOKENS else [model["always"]]
        loss = torch.cat([*used]).sum() * batch.source.size(1)
        return SequenceLoss(loss, loss.detach())

    graphs = GraphedLoss(model, loss_of_batch, JOINT.pad(), JOINT.eos())
    for length in (GRAPH_TOKENS + 1, 1):
        model.zero_grad()
        tokens = torch.full((1, length), JOINT.eos())
        given = {"src_tokens": tokens, "prev_output_tokens": tokens}
        graphs({"net_input": given, "target": tokens}).loss.sum().backward()
    assert model["always"].grad == GRAPH_TOKENS and model["long"].grad == 0


@pytest.mark.parametrize("option", ["fp16", "amp", "measure_gradients", "two workers"])
def test_what_options_leave_no_place_for_is_refused(option, monkeypatch):
    task = type(
        "Task", (), {"target_dictionary": JOINT, "source_dictionary": JOINT, "datasets": {}}
    )
    options = {"cuda_graphs": True, "fp16": False, "amp": False, "sentence_avg": False}
    config = OmegaConf.create({**vars(TiedCrossEntropyConfig()), **options, "update_freq": [1]})
    config.save_dir = config.train_subset = "none"
    if option == "two workers":
        monkeypatch.setattr(distributed_utils, "get_data_parallel_world_size", lambda: 2)
    else:
        config[option] = 1
    with pytest.raises(UserError, match="--cuda-graphs"):
        TiedCrossEntropy(config, task)
