"""The bidirectional GRU against torch's, whose parameters it has."""

import pytest
import torch
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from tests.support.kernel_paths import DEVICE, use_gpu_kernels
from tiednmt.modules import BidirectionalGRU

pytestmark = pytest.mark.usefixtures("cpu_path")

LENGTHS = [(5, 5, 5), (5, 3, 3, 1), (1, 4, 2), (1,), (6,), (1, 1)]


def networks(layers=1):
    torch.manual_seed(1)
    ours = BidirectionalGRU(3, 4, layers).double()
    with torch.no_grad():
        for parameter in ours.parameters():
            parameter.copy_(torch.randn_like(parameter) * 0.5)
    theirs = torch.nn.GRU(3, 4, layers, bidirectional=True).double()
    theirs.load_state_dict(ours.state_dict())
    return ours, theirs


def sentences(lengths):
    torch.manual_seed(2)
    return torch.randn(max(lengths), len(lengths), 3, dtype=torch.float64, requires_grad=True)


def packed(padded, lengths):
    return pack_padded_sequence(padded, torch.tensor(lengths), enforce_sorted=False)


@pytest.mark.parametrize("layers", [1, 2])
@pytest.mark.parametrize("lengths", LENGTHS)
def test_values_and_gradients_are_those_of_torch(lengths, layers):
    ours, theirs = networks(layers)
    words = sentences(lengths)
    found = pad_packed_sequence(ours(packed(words, lengths)))[0]
    expected = pad_packed_sequence(theirs(packed(words, lengths))[0])[0]
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-12)
    weights = torch.randn_like(found)
    gradients = [
        torch.autograd.grad((weights * states).sum(), (words, *network.parameters()))
        for states, network in ((found, ours), (expected, theirs))
    ]
    for one, other in zip(*gradients, strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=1e-11)


def test_retained_dropout_on_a_gpu(monkeypatch):
    """torch's own GRU knows no such thing, so that the steps run there too."""
    ours, words = networks(2)[0], packed(sentences((3, 1, 2)), (3, 1, 2))
    expected = ours(words).data
    use_gpu_kernels(monkeypatch)
    ours, words = ours.to(DEVICE), words.to(DEVICE)
    ours.eval()
    ours.dropout, ours.retained = 1e-9, True
    torch.testing.assert_close(ours(words).data.cpu(), expected, atol=1e-5, rtol=1e-5)


def test_gradcheck():
    network, lengths = networks()[0], (3, 1, 2)
    names = [name for name, _ in network.named_parameters()]

    def run(words, *parameters):
        values = dict(zip(names, parameters, strict=True))
        return torch.func.functional_call(network, values, (packed(words, lengths),)).data

    assert torch.autograd.gradcheck(run, (sentences(lengths), *network.parameters()))


def test_dropout_between_layers_in_training_alone():
    network = BidirectionalGRU(3, 4, layers=2, dropout=0.5).double()
    words = packed(sentences((3, 2)), (3, 2))
    assert not torch.equal(network(words).data, network(words).data)
    network.eval()
    assert torch.equal(network(words).data, network(words).data)


def test_a_seed_repeats_it():
    network, words = BidirectionalGRU(3, 4, layers=2, dropout=0.5).double(), sentences((3, 2))
    found = []
    for _ in range(2):
        torch.manual_seed(3)
        found.append(network(packed(words, (3, 2))).data)
    assert torch.equal(*found)
