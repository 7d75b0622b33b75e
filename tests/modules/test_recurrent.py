"""The recurrent networks against their equations, step by step, and the masks of their dropout."""

from __future__ import annotations

import pytest
import torch

from tiednmt.modules import (
    CarriedState,
    RecurrentHighwayNetwork,
    SequenceDropout,
    StackedLSTM,
    WordDropout,
)
from tiednmt.modules.dropout import dropout
from tiednmt.modules.linear import Matmul
from tiednmt.modules.masked_lstm import masked_lstm

STEPS, STREAMS, INPUT, HIDDEN = 5, 3, 4, 6


def networks(**options):
    torch.manual_seed(3)
    return {
        "lstm": StackedLSTM(INPUT, HIDDEN, layers=2, **options).double(),
        "rhn": RecurrentHighwayNetwork(INPUT, HIDDEN, depth=3, **options).double(),
    }


def lstm_by_hand(network, inputs, state):
    outputs, hidden, cell = layers_by_hand(network, inputs, *state)
    return outputs, (torch.stack(hidden), torch.stack(cell))


def layers_by_hand(network, inputs, hidden, cell, recurrent=None):
    """Hochreiter & Schmidhuber (1997) with forget gates, as torch documents it."""
    hidden, cell, outputs = list(hidden), list(cell), []
    recurrent = recurrent or [layer.weight_hh_l0 for layer in network.layers]
    for x in inputs:
        for i, layer in enumerate(network.layers):
            gates = x @ layer.weight_ih_l0.T + layer.bias_ih_l0
            gates = gates + hidden[i] @ recurrent[i].T + layer.bias_hh_l0
            enter, forget, candidate, leave = gates.chunk(4, dim=1)
            cell[i] = forget.sigmoid() * cell[i] + enter.sigmoid() * candidate.tanh()
            hidden[i] = x = leave.sigmoid() * cell[i].tanh()
        outputs.append(x)
    return torch.stack(outputs), hidden, cell


def rhn_by_hand(network, inputs, state):
    """Zilly et al. (2017), equations 6 to 9, with c = 1 - t."""
    s = state[0][0]
    outputs = []
    for x in inputs:
        from_input = x @ network.input.weight.T
        for i, layer in enumerate(network.layers):
            gates = s @ layer.weight.T + layer.bias + (from_input if i == 0 else 0)
            h, t = gates[:, :HIDDEN].tanh(), gates[:, HIDDEN:].sigmoid()
            s = h * t + s * (1 - t)
        outputs.append(s)
    return torch.stack(outputs), (s[None],)


BY_HAND = {"lstm": lstm_by_hand, "rhn": rhn_by_hand}
PARTS = {"lstm": (2, 2), "rhn": (1, 1)}  # tensors of the state, and their layers


@pytest.mark.parametrize("name", BY_HAND)
def test_the_equations(name):
    network = networks()[name]
    inputs = torch.randn(STEPS, STREAMS, INPUT, dtype=torch.float64)
    parts, layers = PARTS[name]
    state = tuple(torch.randn(layers, STREAMS, HIDDEN, dtype=torch.float64) for _ in range(parts))
    for given in (state, tuple(map(torch.zeros_like, state))):
        outputs, left = network(inputs, given)
        expected, expected_left = BY_HAND[name](network, inputs, given)
        torch.testing.assert_close(outputs, expected)
        torch.testing.assert_close(left, expected_left)
    torch.testing.assert_close(network(inputs)[0], outputs)  # no state: zeros


@pytest.mark.parametrize("name", BY_HAND)
def test_two_windows_are_one(name):
    network = networks()[name]
    inputs = torch.randn(STEPS, STREAMS, INPUT, dtype=torch.float64)
    whole, at_the_end = network(inputs)
    first, state = network(inputs[:2])
    second, left = network(inputs[2:], state)
    torch.testing.assert_close(torch.cat([first, second]), whole)
    torch.testing.assert_close(left, at_the_end)


def test_an_lstm_with_one_bias_a_gate():
    torch.manual_seed(3)
    single = StackedLSTM(INPUT, HIDDEN, layers=2, single_bias=True)
    twice = StackedLSTM(INPUT, HIDDEN, layers=2)
    counts = [sum(p.numel() for p in network.parameters()) for network in (twice, single)]
    assert counts[0] - counts[1] == 2 * 4 * HIDDEN
    twice.load_state_dict(single.state_dict(), strict=False)
    with torch.no_grad():
        for layer in twice.layers:
            layer.bias_hh_l0.zero_()
    inputs = torch.randn(STEPS, STREAMS, INPUT)
    single.double().float()  # what moves or converts a network leaves it whole
    torch.testing.assert_close(single(inputs)[0], twice(inputs)[0])
    single(inputs)[0].sum().backward()
    assert all(parameter.grad is not None for parameter in single.parameters())


LAST = 4  # size of a last layer that is smaller


def smaller_at_the_end(**options):
    torch.manual_seed(3)
    network = StackedLSTM(INPUT, HIDDEN, 3, last_size=LAST, **options).double()
    drawn = [torch.randn(3, STREAMS, HIDDEN, dtype=torch.float64) for _ in range(2)]
    for part in drawn:
        part[-1, :, LAST:] = 0
    by_layer = [[*part[:-1], part[-1, :, :LAST]] for part in drawn]
    return network, torch.randn(STEPS, STREAMS, INPUT, dtype=torch.float64), drawn, by_layer


def test_a_last_layer_of_another_size():
    network, inputs, state, by_layer = smaller_at_the_end()
    assert network.output_size == LAST
    outputs, left = network(inputs, tuple(state))
    expected, hidden, cell = layers_by_hand(network, inputs, *by_layer)
    torch.testing.assert_close(outputs, expected)
    for part, by_hand in zip(left, (hidden, cell), strict=True):
        torch.testing.assert_close([*part[:-1], part[-1, :, :LAST]], by_hand)
        assert part.shape == state[0].shape and not part[-1, :, LAST:].any()
    empty = [torch.zeros_like(layer) for layer in by_layer[0]]
    expected, *_ = layers_by_hand(network, inputs, empty, empty)
    torch.testing.assert_close(network(inputs)[0], expected)


@pytest.mark.parametrize("recurrent_dropout", [0.0, 1e-9])  # the fused kernel, and the loop
def test_weights_are_dropped_once_a_window(recurrent_dropout):
    """Merity et al. (2018): U becomes M ⊙ U / (1 − p), M the same for all steps and streams."""
    options = {"weight_dropout": 0.5, "recurrent_dropout": recurrent_dropout}
    network, inputs, state, by_layer = smaller_at_the_end(**options)
    dropped = {}

    def keep(weight, rate):
        if rate != 0.5:
            return weight  # the mask of the states
        dropped[id(weight)] = drawn = dropout(weight, rate)
        return drawn

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("tiednmt.modules.recurrent.dropout", keep)
        outputs, _ = network(inputs, tuple(state))
    weights = [layer.weight_hh_l0 for layer in network.layers]
    masks = [(dropped[id(weight)] / weight).detach() for weight in weights]
    for mask in masks:
        assert set(mask.unique().tolist()) == {0.0, 2.0}
    masked = [mask * weight for mask, weight in zip(masks, weights, strict=True)]
    expected, *_ = layers_by_hand(network, inputs, *by_layer, masked)
    torch.testing.assert_close(outputs, expected)
    parameters = list(network.parameters())
    torch.manual_seed(6)
    towards = torch.randn_like(outputs)
    torch.testing.assert_close(
        torch.autograd.grad((towards * outputs).sum(), parameters),
        torch.autograd.grad((towards * expected).sum(), parameters),
    )
    again, another = network(inputs)[0], network(inputs)[0]
    assert not torch.equal(again, another)
    network.eval()
    whole, *_ = layers_by_hand(network, inputs, *by_layer)
    torch.testing.assert_close(network(inputs, tuple(state))[0], whole)


def test_carried_state_is_detached_and_cut_to_the_streams_that_go_on():
    network = networks()["lstm"]
    carried = CarriedState()
    assert carried.read(STREAMS, torch.device("cpu")) is None
    _, left = network(torch.randn(STEPS, STREAMS, INPUT, dtype=torch.float64))
    carried.keep(left)
    for kept, part in zip(carried.read(2, torch.device("cpu")), left, strict=True):
        assert not kept.requires_grad
        assert torch.equal(kept, part[:, :2])
    carried.clear()
    assert carried.read(STREAMS, torch.device("cpu")) is None


def test_an_lstm_with_masks():
    """The equations by autograd, values and gradients, in float64."""
    torch.manual_seed(5)

    def drawn(*shape):
        return torch.randn(shape, dtype=torch.float64).requires_grad_()

    inputs, weight = drawn(STEPS, STREAMS, 4 * HIDDEN), drawn(4 * HIDDEN, HIDDEN)
    hidden, cell = drawn(STREAMS, HIDDEN), drawn(STREAMS, HIDDEN)
    mask = 2.0 * (torch.rand(STREAMS, HIDDEN) < 0.5).double()
    states, left = masked_lstm(Matmul(torch.float64), inputs, weight, mask, (hidden, cell))
    h, c, expected = hidden, cell, []
    for x in inputs:
        enter, forget, candidate, leave = (x + (h * mask) @ weight.T).split(HIDDEN, dim=1)
        c = forget.sigmoid() * c + enter.sigmoid() * candidate.tanh()
        h = leave.sigmoid() * c.tanh()
        expected.append(h)
    ours, theirs = (states, *left), (torch.stack(expected), h, c)
    wanted = (inputs, weight, hidden, cell)
    grads = []
    for outcome in (ours, theirs):
        torch.manual_seed(6)
        loss = sum((torch.randn_like(part) * part).sum() for part in outcome)
        grads.append(torch.autograd.grad(loss, wanted))
    torch.testing.assert_close(ours, theirs)
    torch.testing.assert_close(*grads)


def test_an_lstm_with_masks_of_ones_is_the_fused_one(monkeypatch):
    monkeypatch.setattr("tiednmt.modules.recurrent.dropout", lambda ones, rate: ones)
    torch.manual_seed(3)
    network = StackedLSTM(INPUT, HIDDEN, 2, recurrent_dropout=0.5, single_bias=True).double()
    inputs = torch.randn(STEPS, STREAMS, INPUT, dtype=torch.float64)
    outcomes = []
    for training in (True, False):
        outputs, left = network.train(training)(inputs)
        loss = outputs.square().sum() + sum(part.sum() for part in left)
        outcomes.append((outputs, left, torch.autograd.grad(loss, list(network.parameters()))))
    torch.testing.assert_close(*outcomes)


class TestDropout:
    def masks(self, fixed):
        torch.manual_seed(1)
        dropped = SequenceDropout(0.5, fixed)(torch.ones(50, 8, 100))
        assert set(dropped.unique().tolist()) == {0.0, 2.0}
        assert dropped.mean() == pytest.approx(1, abs=0.1)
        return dropped

    def test_a_fixed_mask_is_one_for_the_window_and_another_for_each_stream(self):
        masks = self.masks(fixed=True)
        assert (masks == masks[:1]).all()
        assert not (masks[0] == masks[0, :1]).all()

    def test_other_masks_change_from_step_to_step(self):
        masks = self.masks(fixed=False)
        assert not (masks == masks[:1]).all()

    def test_words_are_dropped_wherever_they_stand(self):
        torch.manual_seed(1)
        tokens = torch.randint(40, (30, 6))
        dropped = WordDropout(0.5)(torch.ones(30, 6, 3), tokens, vocab_size=40)
        seen = {
            word: set(dropped[tokens == word].flatten().tolist())
            for word in tokens.unique().tolist()
        }
        assert all(len(values) == 1 for values in seen.values())
        assert {value for values in seen.values() for value in values} == {0.0, 2.0}

    def test_recurrent_connections_of_the_lstm_are_dropped_for_the_whole_window(self):
        torch.manual_seed(1)
        size = 400
        network = StackedLSTM(1, size, recurrent_dropout=0.5)
        layer = network.layers[0]
        with torch.no_grad():  # h ← tanh(tanh(h · mask)): open gates, a cell that forgets
            for parameter in network.parameters():
                parameter.zero_()
            layer.bias_ih_l0.copy_(torch.tensor([50.0, -50.0, 0.0, 50.0]).repeat_interleave(size))
            layer.weight_hh_l0[2 * size : 3 * size].copy_(torch.eye(size))
        ones = torch.ones(1, 2, size)
        outputs, _ = network(torch.zeros(STEPS, 2, 1), (ones, 0 * ones))
        left = outputs != 0
        assert (left == left[:1]).all()  # masks of each step would leave fewer and fewer
        assert left.float().mean() == pytest.approx(0.5, abs=0.1)
        assert not torch.equal(left[0, 0], left[0, 1])

    def test_recurrent_connections_of_the_highway_network_are_dropped_for_the_whole_window(self):
        torch.manual_seed(1)
        size = 400
        network = RecurrentHighwayNetwork(1, size, depth=1, recurrent_dropout=0.5)
        with torch.no_grad():  # s ← tanh(s · mask)
            network.layers[0].weight.copy_(torch.cat([torch.eye(size), torch.zeros(size, size)]))
            network.layers[0].bias.copy_(torch.cat([torch.zeros(size), torch.full((size,), 50.0)]))
        outputs, _ = network(torch.zeros(STEPS, 2, 1), (torch.ones(1, 2, size),))
        left = outputs != 0
        assert (left == left[:1]).all()  # masks of each step would leave fewer and fewer
        assert left.float().mean() == pytest.approx(0.5, abs=0.1)
        assert not torch.equal(left[0, 0], left[0, 1])

    @pytest.mark.parametrize("variational", [False, True])
    def test_between_layers_of_the_lstm(self, variational):
        """The same units of the first layer reach the second all along the window, or others."""
        torch.manual_seed(1)
        size = 400
        network = StackedLSTM(1, size, layers=2, dropout=0.5, variational=variational)
        with torch.no_grad():  # each layer: h ← tanh(tanh(input)), of what the dropout leaves
            for parameter in network.parameters():
                parameter.zero_()
            for layer in network.layers:
                gates = torch.tensor([50.0, -50.0, 0.0, 50.0])
                layer.bias_ih_l0.copy_(gates.repeat_interleave(size))
                layer.weight_ih_l0[2 * size : 3 * size].copy_(torch.eye(size, layer.input_size))
            network.layers[0].weight_ih_l0[2 * size : 3 * size].fill_(1)
        left = network(torch.ones(STEPS, 2, 1))[0] > 0.1
        assert left.float().mean() == pytest.approx(0.5, abs=0.05)
        assert not torch.equal(left[0, 0], left[0, 1])
        assert (left == left[:1]).all().item() == variational

    @pytest.mark.parametrize("name", BY_HAND)
    def test_evaluation_drops_nothing(self, name):
        network = networks(recurrent_dropout=0.5)[name].eval()
        inputs = torch.randn(STEPS, STREAMS, INPUT, dtype=torch.float64)
        parts, layers = PARTS[name]
        state = tuple(
            torch.zeros(layers, STREAMS, HIDDEN, dtype=torch.float64) for _ in range(parts)
        )
        torch.testing.assert_close(network(inputs)[0], BY_HAND[name](network, inputs, state)[0])
        assert torch.equal(SequenceDropout(0.5).eval()(inputs), inputs)
        tokens = torch.zeros(STEPS, STREAMS, dtype=torch.long)
        assert torch.equal(WordDropout(0.5).eval()(inputs, tokens, 3), inputs)
