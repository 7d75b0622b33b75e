"""The LSTM over packed sequences against torch's, whose parameters it has."""

import pytest
import torch
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from tests.support.kernel_paths import DEVICE, use_gpu_kernels, use_plain_torch
from tiednmt.modules import PackedLSTM
from tiednmt.modules import linear as linear_module

pytestmark = pytest.mark.usefixtures("cpu_path")

LENGTHS = [(5, 5, 5), (1, 4, 2, 2), (1,)]
SHAPES = [(1, False), (1, True), (3, True), (2, False)]  # layers, both directions


def networks(layers=1, bidirectional=True):
    torch.manual_seed(1)
    ours = PackedLSTM(3, 4, layers, bidirectional).double()
    with torch.no_grad():
        for parameter in ours.parameters():
            parameter.copy_(torch.randn_like(parameter) * 0.5)
    theirs = torch.nn.LSTM(3, 4, layers, bidirectional=bidirectional).double()
    theirs.load_state_dict(ours.state_dict())
    return ours, theirs


def sentences(lengths):
    torch.manual_seed(2)
    return torch.randn(max(lengths), len(lengths), 3, dtype=torch.float64, requires_grad=True)


def first_states(network, lengths):
    count = network.num_layers * (1 + network.bidirectional)
    return tuple(
        torch.randn(count, len(lengths), 4, dtype=torch.float64, requires_grad=True)
        for _ in range(2)
    )


def packed(padded, lengths):
    return pack_padded_sequence(padded, torch.tensor(lengths), enforce_sorted=False)


@pytest.mark.parametrize("given", [False, True], ids=["from zeros", "from a state"])
@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("lengths", LENGTHS, ids=str)
def test_values_and_gradients_are_those_of_torch(lengths, shape, given):
    both = networks(*shape)
    words = sentences(lengths)
    state = first_states(both[0], lengths) if given else None
    outcomes = []
    for network in both:
        rows, left = network(packed(words, lengths), state)
        found = pad_packed_sequence(rows)[0], *left
        torch.manual_seed(3)
        loss = sum((torch.randn_like(part) * part).sum() for part in found)
        wanted = (words, *(state or ()), *network.parameters())
        outcomes.append((*found, *torch.autograd.grad(loss, wanted)))
        with torch.no_grad():
            torch.testing.assert_close(network(packed(words, lengths), state), (rows, left))
    for one, other in zip(*outcomes, strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=1e-11)


def test_stacked_directions_on_a_gpu(monkeypatch):
    use_gpu_kernels(monkeypatch)
    network, lengths = networks()[0].to(DEVICE), (3, 1, 2)
    words = sentences(lengths).to(DEVICE)
    given = packed(words, lengths)
    with torch.no_grad():
        expected = network(given)[0].data
    zeros = words.new_zeros(2, 3, 4)
    rows, *_ = network._run(given, (zeros, zeros), 2)
    torch.testing.assert_close(rows, expected)
    wanted = list(network.parameters())
    gradients = torch.autograd.grad(rows.square().sum(), wanted)
    use_plain_torch(monkeypatch)
    rows, *_ = network._run(given, (zeros, zeros), 2)
    torch.testing.assert_close(gradients, torch.autograd.grad(rows.square().sum(), wanted))


def test_gradcheck():
    network, lengths = networks()[0], (3, 1, 2)
    names = [name for name, _ in network.named_parameters()]

    def run(words, hidden, cells, *parameters):
        values = dict(zip(names, parameters, strict=True))
        given = packed(words, lengths), (hidden, cells)
        rows, left = torch.func.functional_call(network, values, given)
        return rows.data, *left

    inputs = sentences(lengths), *first_states(network, lengths), *network.parameters()
    assert torch.autograd.gradcheck(run, inputs, fast_mode=True)


def test_a_graph_may_be_run_backwards_twice():
    network, lengths = networks()[0], (3, 1, 2)
    loss = network(packed(sentences(lengths), lengths))[0].data.square().sum()
    wanted = list(network.parameters())
    first = torch.autograd.grad(loss, wanted, retain_graph=True)
    torch.testing.assert_close(torch.autograd.grad(loss, wanted), first, rtol=0, atol=0)


def test_dropout_between_layers_where_it_is_wanted():
    network = PackedLSTM(3, 4, layers=2, dropout=0.5).double()
    words = packed(sentences((3, 2)), (3, 2))

    def differs():
        return not torch.equal(network(words)[0].data, network(words)[0].data)

    for graph in (True, False):
        with torch.set_grad_enabled(graph):
            network.retained = False
            assert differs()
            network.eval()
            assert not differs()
            network.retained = True
            assert differs()
            network.train()


def test_medium_rounds_what_is_multiplied(monkeypatch):
    monkeypatch.setattr(linear_module, "has_bfloat16_products", lambda: True)
    network, lengths = networks()[0].float(), (4, 2, 1)
    words = sentences(lengths).float().detach()
    weights = [p for p in network.parameters() if p.dim() == 2]

    def outcome():
        rows, _ = network(packed(words, lengths))
        return rows.data, *torch.autograd.grad(rows.data.sum(), [network.bias_ih_l0])

    linear_module.set_matmul_precision(network, "medium")
    before = outcome()
    with torch.no_grad():
        for weight in weights:
            weight.copy_(weight.bfloat16())
    assert all(map(torch.equal, outcome(), before))
    linear_module.set_matmul_precision(network, "highest")
    for exact, rounded in zip(outcome(), before, strict=True):
        assert 0 < (exact - rounded).norm() < 0.02 * exact.norm()
