"""Every architecture on a GPU: the numbers of the CPU, in every dtype, the same ones each time."""

import copy

import pytest
import torch

from tests.models.contract import (
    CASES,
    build,
    every_architecture,
    every_translator,
    inputs_for,
    loss_of,
)
from tests.support.searches import assert_same, hypotheses, sentences
from tests.support.small_models import JOINT
from tiednmt.modules.linear import set_matmul_precision
from tiednmt.tasks.sequence_generator import TiedSequenceGenerator

BATCHES = {"lengths": (5, 9, 1, 7), "target_lengths": (4, 6, 1, 11)}


def moved(inputs, device):
    return {name: tensor.to(device) for name, tensor in inputs.items()}


def loss_and_gradients(model, arch, device):
    given, target = inputs_for(arch, **BATCHES)
    model = copy.deepcopy(model).to(device).train()
    loss = loss_of(model, moved(given, device), target.to(device))
    loss.backward()
    return loss.item(), {n: p.grad.cpu() for n, p in model.named_parameters() if p.grad is not None}


@pytest.mark.parametrize(("arch", "tying"), CASES)
def test_loss_and_gradients_are_those_of_the_cpu(arch, tying, device):
    model = build(arch, tying)
    expected_loss, expected = loss_and_gradients(model, arch, "cpu")
    loss, gradients = loss_and_gradients(model, arch, device)
    assert loss == pytest.approx(expected_loss, rel=1e-9)
    assert gradients.keys() == expected.keys()
    for name, gradient in gradients.items():
        torch.testing.assert_close(gradient, expected[name], rtol=1e-7, atol=1e-9, msg=name)


@every_architecture
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_lower_precision_errs_by_rounding_alone(arch, dtype, device):
    """The error of loss and gradients, in units of the dtype's last place."""
    model = build(arch).to(dtype)
    exact_loss, exact = loss_and_gradients(model.double(), arch, "cpu")
    loss, gradients = loss_and_gradients(model.to(dtype), arch, device)
    places = 30 * torch.finfo(dtype).eps
    assert loss == pytest.approx(exact_loss, rel=places)
    whole = torch.cat([gradient.double().flatten() for gradient in exact.values()])
    found = torch.cat([gradients[name].double().flatten() for name in exact])
    assert (found - whole).norm() <= places * whole.norm()


@every_architecture
def test_training_twice_gives_the_same_bits(arch, device):
    def trained():
        torch.manual_seed(5)
        model = build(arch, dtype=torch.float32, dropout=0.2).to(device).train()
        optimizer = torch.optim.Adam(model.parameters(), 0.01)
        given, target = inputs_for(arch, **BATCHES)
        for _ in range(5):
            optimizer.zero_grad()
            loss_of(model, moved(given, device), target.to(device)).backward()
            optimizer.step()
        return [parameter.detach().cpu() for parameter in model.parameters()]

    for once, again in zip(trained(), trained(), strict=True):
        assert torch.equal(once, again)


@every_translator
@pytest.mark.parametrize("beam", [1, 4])
def test_translations_are_those_of_the_cpu(arch, beam, device):
    model = build(arch).eval()
    sample = sentences(9, 12)
    options = {"beam_size": beam, "max_len_b": 20}  # rounding decides between sums of hundreds
    expected = hypotheses(TiedSequenceGenerator, model, sample, **options)
    on_device = {"net_input": moved(sample["net_input"], device)}
    found = hypotheses(TiedSequenceGenerator, copy.deepcopy(model).to(device), on_device, **options)
    assert_same(
        [[_on_cpu(one) for one in beam] for beam in found],
        [[_on_cpu(one) for one in beam] for beam in expected],
    )


@every_translator
@pytest.mark.parametrize("precision", ["fp16", "medium"])
def test_a_search_in_lower_precision_errs_by_rounding_alone(arch, precision, device):
    model, sample = build(arch).eval(), sentences(9, 12)
    options = {"beam_size": 4, "max_len_b": 20}
    expected = hypotheses(TiedSequenceGenerator, model, sample, **options)
    lower = copy.deepcopy(model).to(device)
    if precision == "fp16":
        lower.half()
    else:
        set_matmul_precision(lower.float(), precision)
    on_device = {"net_input": moved(sample["net_input"], device)}
    found = hypotheses(TiedSequenceGenerator, lower, on_device, **options)
    for ours, exact in zip(found, expected, strict=True):
        assert ours[0]["score"].item() == pytest.approx(exact[0]["score"].item(), rel=5e-3)


def _on_cpu(hypothesis):
    return {n: v.cpu() if isinstance(v, torch.Tensor) else v for n, v in hypothesis.items()}


@every_architecture
def test_tied_matrices_stay_tied(arch, device):
    model = build(arch).to(device)
    embeddings = model.embeddings
    assert embeddings.target.weight is embeddings.output.embedding.weight
    assert embeddings.target.weight.device.type == device.type
    assert len(JOINT) == len(embeddings.target.weight)
