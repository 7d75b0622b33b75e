"""The loss of a large vocabulary on a GPU: its memory, its numbers, no waiting."""

import copy

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from tiednmt.modules import OutputLayer

PAD = 1
TOKENS, VOCABULARY, DIM = 8_192, 94_000, 512


def memory_of(function, device):
    """Bytes beyond what was there before; of a rehearsal none."""
    if device.type != "cuda":
        function()
        return 0
    torch.cuda.synchronize()
    torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated()
    function()
    torch.cuda.synchronize()
    return torch.cuda.max_memory_allocated() - before


def inputs(device, dtype):
    tokens, vocabulary = (TOKENS, VOCABULARY) if device.type == "cuda" else (200, 900)
    torch.manual_seed(2)
    layer = OutputLayer(nn.Embedding(vocabulary, DIM)).to(device, dtype)
    features = torch.randn(tokens, DIM, device=device, dtype=dtype, requires_grad=True)
    return layer, features, torch.randint(2, vocabulary, (tokens,), device=device)


def test_it_takes_a_tenth_of_the_memory(device):
    layer, features, target = inputs(device, torch.bfloat16)

    def ours():
        layer.loss(features, target, PAD).loss.backward()

    def plainly():
        scores = layer(features).float()
        F.cross_entropy(scores, target, ignore_index=PAD, reduction="sum").backward()

    ours(), plainly()  # the gradients are there before anything is counted
    assert memory_of(ours, device) <= 0.1 * memory_of(plainly, device)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_its_numbers(device, dtype):
    layer, features, target = inputs(device, dtype)
    loss = layer.loss(features, target, PAD).loss
    loss.backward()
    exact = features.detach().double().requires_grad_()
    scores = F.linear(exact, layer.embedding.weight.detach().double())
    expected = F.cross_entropy(scores, target, ignore_index=PAD, reduction="sum")
    expected.backward()
    places = 60 * torch.finfo(dtype).eps  # of sums over the vocabulary
    torch.testing.assert_close(loss.double(), expected.detach(), rtol=places, atol=0)
    error = (features.grad.double() - exact.grad).norm() / exact.grad.norm()
    assert error <= places


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_the_numbers_of_r_drop(device, dtype):
    """On the CPU, in float64."""
    layer, _, _ = inputs(device, dtype)
    exact_layer = copy.deepcopy(layer).double().cpu()
    vocabulary = layer.embedding.num_embeddings
    pairs = torch.randn(100, 2, DIM, device=device, dtype=dtype).mul_(0.1).requires_grad_()
    exact = pairs.detach().double().cpu().requires_grad_()
    target = torch.randint(2, vocabulary, (100,))
    target[::7] = PAD
    found = layer.pair_loss(pairs, target.to(device), PAD, 0.1, 5.0)
    expected = exact_layer.pair_loss(exact, target, PAD, 0.1, 5.0)
    places = 60 * torch.finfo(dtype).eps
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one.double().cpu(), other, rtol=places, atol=0)
    found.loss.backward()
    expected.loss.backward()
    error = (pairs.grad.double().cpu() - exact.grad).norm() / exact.grad.norm()
    assert error <= places


def test_nothing_waits_for_it(device):
    layer, features, target = inputs(device, torch.float32)
    layer.loss(features, target, PAD).loss.backward()
    if device.type == "cuda":
        torch.cuda.set_sync_debug_mode("error")
    try:
        layer.loss(features, target, PAD).loss.backward()
    finally:
        if device.type == "cuda":
            torch.cuda.set_sync_debug_mode("default")
