"""The attentional LSTM against the formulas of Luong et al. (2015), step by step in float64."""

import copy
import gc
import itertools

import pytest
import torch

from tests.support.kernel_paths import DEVICE, use_gpu_kernels
from tiednmt.modules import AttentionalLSTM, attentional_lstm
from tiednmt.modules import linear as linear_module
from tiednmt.modules.general_attention import GeneralMemory
from tiednmt.modules.packing import steps

INPUT, ANNOTATION, HIDDEN = 3, 4, 5


pytestmark = pytest.mark.usefixtures("cpu_path")

# layers, whether there is an attention, whether its outcome is fed back
FED = [(1, True, True), (3, True, True)]
KINDS = [*FED, (2, False, True), (1, True, False), (2, True, False), (1, False, False)]
SIZES = [(3, 3, 2, 1), (1,), (4, 1)]  # sentences at each step
every_kind = pytest.mark.parametrize("kind", KINDS, ids=str)


def decoder(kind, dropout=0.0):
    torch.manual_seed(1)
    layers, attention, feeding = kind
    result = AttentionalLSTM(
        *(INPUT, ANNOTATION, HIDDEN, layers),
        attention=attention,
        input_feeding=feeding,
        dropout=dropout,
    )
    with torch.no_grad():
        for parameter in result.parameters():
            parameter.copy_(torch.randn_like(parameter) * 0.5)
    return result.double()


def arguments(sizes, layers, length=4):
    torch.manual_seed(2)

    def drawn(*shape):
        return torch.randn(shape, dtype=torch.float64, requires_grad=True)

    batch = sizes[0]
    lengths = torch.tensor([max(1, length - i) for i in range(batch)])
    padding = torch.arange(length)[None] >= lengths[:, None]
    memory = GeneralMemory(drawn(batch, length, ANNOTATION), padding)
    first = (drawn(layers, batch, HIDDEN), drawn(layers, batch, HIDDEN))
    return drawn(sum(sizes), INPUT), tuple(sizes), memory, *first


def differentiable(c, args):
    embedded, _, memory, hidden, cells = args
    return embedded, memory.annotations, hidden, cells, *c.parameters()


def lstm_by_hand(c, i, x, h, cell):
    weight_ih, weight_hh, bias_ih, bias_hh = c.rnn.parameters_of(i)
    gates = weight_ih @ x + bias_ih + weight_hh @ h + bias_hh
    enter, forget, candidate, leave = gates.split(HIDDEN)
    cell = forget.sigmoid() * cell + enter.sigmoid() * candidate.tanh()
    return leave.sigmoid() * cell.tanh(), cell


def attention_by_hand(c, s, annotations):
    query, mix = c.attention.query.weight, c.attention.mix.weight
    energies = torch.stack([(query @ s) @ a for a in annotations])
    weights = energies.exp() / energies.exp().sum()
    context = sum(weight * a for weight, a in zip(weights, annotations, strict=True))
    return torch.tanh(mix @ torch.cat((context, s))), weights


def reference(c, embedded, sizes, memory, hidden, cells, masks=None):
    """One sentence, one step at a time; ``masks`` are layers × N × hidden."""
    outputs, attention = [None] * sum(sizes), [None] * sum(sizes)
    layers = len(hidden)
    for b in range(sizes[0]):
        kept = ~memory.padding[b]
        states, cell = list(hidden[:, b]), list(cells[:, b])
        o = torch.zeros(HIDDEN, dtype=torch.float64)
        for rows, size in steps(sizes):
            if b >= size:
                break
            row = rows.start + b
            below = torch.cat((embedded[row], o)) if c.input_feeding else embedded[row]
            for i in range(layers):
                states[i], cell[i] = below, cell[i] = lstm_by_hand(c, i, below, states[i], cell[i])
                if masks is not None and i < layers - 1:
                    below = below * masks[i, row]
            o = below
            if c.attention is not None:
                o, weights = attention_by_hand(c, below, memory.annotations[b][kept])
                spread = torch.zeros(len(kept), dtype=torch.float64)
                attention[row] = spread.masked_scatter(kept, weights)
            o = o if masks is None else o * masks[-1, row]
            outputs[row] = o
    whole = None if c.attention is None else torch.stack(attention)
    return torch.stack(outputs), whole


@every_kind
@pytest.mark.parametrize("sizes", SIZES, ids=str)
def test_values_and_gradients(kind, sizes):
    assert_as_by_hand(kind, sizes)


@pytest.mark.parametrize("kind", FED, ids=str)
def test_values_and_gradients_on_a_gpu(monkeypatch, kind):
    use_gpu_kernels(monkeypatch)
    with torch.device(DEVICE):
        assert_as_by_hand(kind, SIZES[0])


def assert_as_by_hand(kind, sizes):
    c = decoder(kind)
    args = arguments(sizes, kind[0])
    outcomes = [c(*args), reference(c, *args)]
    torch.testing.assert_close(*map(tuple, outcomes), rtol=0, atol=1e-12)
    weights = torch.randn_like(outcomes[0][0])
    wanted = differentiable(c, args)
    ours, theirs = (
        torch.autograd.grad((weights * found[0]).sum(), wanted, allow_unused=True)
        for found in outcomes
    )
    for one, other in zip(ours, theirs, strict=True):
        if other is None:  # the sources, where nothing attends to them
            assert one is None or not one.any()
        else:
            torch.testing.assert_close(one, other, rtol=0, atol=1e-11)


@pytest.mark.parametrize("kind", FED, ids=str)
def test_dropout(kind, monkeypatch):
    """On what a layer hands up and on o, which is fed back as it is left."""
    layers = kind[0]
    c, args = decoder(kind, dropout=0.5), arguments(SIZES[0], layers)
    masks = (torch.rand(layers, sum(SIZES[0]), HIDDEN) < 0.5).double() * 2
    monkeypatch.setattr(attentional_lstm, "dropout", lambda ones, rate: ones * masks)
    ours, theirs = c(*args).outputs, reference(c, *args, masks)[0]
    torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-12)
    weights, wanted = torch.randn_like(ours), differentiable(c, args)
    gradients = [torch.autograd.grad((weights * o).sum(), wanted) for o in (ours, theirs)]
    torch.testing.assert_close(*gradients, rtol=0, atol=1e-11)


@every_kind
def test_where_dropout_is_drawn(kind):
    c, args = decoder(kind, dropout=0.5), arguments((3, 3, 2, 1), kind[0])
    found = []
    for seed in (3, 3, 4):
        torch.manual_seed(seed)
        found.append(c(*args).outputs)
    assert torch.equal(*found[:2]) and not torch.equal(*found[1:])
    assert (found[0] == 0).any()
    c.eval()
    torch.testing.assert_close(c(*args).outputs, reference(c, *args)[0])


def test_gradcheck():
    kind = (2, True, True)
    c, (embedded, sizes, memory, hidden, cells) = decoder(kind), arguments((2, 2, 1), kind[0])
    names = [name for name, _ in c.named_parameters()]

    def run(embedded, annotations, hidden, cells, *parameters):
        values = dict(zip(names, parameters, strict=True))
        given = embedded, sizes, memory._replace(annotations=annotations), hidden, cells
        return torch.func.functional_call(c, values, given).outputs

    inputs = embedded, memory.annotations, hidden, cells, *c.parameters()
    assert torch.autograd.gradcheck(run, inputs, fast_mode=True)


def test_a_graph_may_be_run_backwards_twice():
    c, args = decoder(FED[1]), arguments((3, 2), 3)
    loss = c(*args).outputs.square().sum()
    first = torch.autograd.grad(loss, differentiable(c, args), retain_graph=True)
    again = torch.autograd.grad(loss, differentiable(c, args))
    torch.testing.assert_close(first, again, rtol=0, atol=0)


@torch.no_grad()
@every_kind
def test_steps_one_by_one_equal_all_at_once(kind):
    c = decoder(kind)
    embedded, sizes, memory, hidden, cells = arguments((3,) * 4, kind[0])
    whole = c(embedded, sizes, memory, hidden, cells)
    attended, state = c.prepare(memory), c.state_of(hidden, cells)
    for rows, _ in steps(sizes):
        found = c.step(c.from_token(embedded[rows]).unsqueeze(1), attended, state)
        state = found.state
        torch.testing.assert_close(found.outputs.squeeze(1), whole.outputs[rows])
        if c.attention is not None:
            torch.testing.assert_close(found.attention.squeeze(1), whole.attention[rows])


@torch.no_grad()
@every_kind
def test_hypotheses_of_a_source_do_not_see_each_other(kind):
    c = decoder(kind)
    embedded, _, memory, hidden, cells = arguments((3,) * 4, kind[0])
    attended, tokens = c.prepare(memory), embedded.view(4, 3, INPUT).transpose(0, 1)
    apart = [c.state_of(hidden + k, cells - k) for k in range(4)]
    joined = type(apart[0])(
        *(
            tuple(torch.cat(parts, 1) for parts in zip(*of_all, strict=True))
            for of_all in zip(*(state[:2] for state in apart), strict=True)
        ),
        torch.cat([s.feed for s in apart], 1) if c.input_feeding else None,
    )
    together = c.step(c.from_token(tokens), attended, joined)
    for k in range(4):
        alone = c.step(c.from_token(tokens[:, k : k + 1]), attended, apart[k])
        torch.testing.assert_close(alone.outputs.squeeze(1), together.outputs[:, k])
        for ours, theirs in zip(
            itertools.chain(*alone.state[:2]), itertools.chain(*together.state[:2]), strict=True
        ):
            torch.testing.assert_close(ours.squeeze(1), theirs[:, k])


@pytest.mark.parametrize("layers", [1, 2])
def test_medium_rounds_what_is_multiplied(monkeypatch, layers):
    monkeypatch.setattr(linear_module, "has_bfloat16_products", lambda: True)
    c = decoder((layers, True, True)).float()
    embedded, sizes, memory, hidden, cells = arguments((3, 3, 1), layers)
    args = (embedded, sizes, memory._replace(annotations=memory.annotations.float()), hidden, cells)
    args = [a.detach().float() if torch.is_tensor(a) else a for a in args]
    exact = copy.deepcopy(c)
    linear_module.set_matmul_precision(c, "medium")

    def outcome(model):
        found = model(*args).outputs
        wanted = [model.rnn.bias_ih_l0, model.attention.mix.weight]
        return found, *torch.autograd.grad(found.square().sum(), wanted)

    rounded = outcome(c)
    for one, other in zip(rounded, outcome(exact), strict=True):
        assert 0 < (one - other).norm() < 0.02 * other.norm()
    with torch.no_grad():
        for parameter in c.parameters():
            if parameter.dim() == 2:
                parameter.copy_(parameter.bfloat16())
    # keys and values are products themselves, which the attention does not round again
    assert all(map(torch.equal, outcome(c), rounded))


def test_nothing_is_left_of_an_update():
    c, args = decoder(FED[1], dropout=0.3), arguments((4, 3, 1), 3)
    alive = []
    gc.disable()  # a cycle would keep an update's tensors until it is found
    try:
        for _ in range(5):
            c(*args).outputs.sum().backward()
            alive.append(sum(issubclass(type(o), torch.Tensor) for o in gc.get_objects()))
    finally:
        gc.enable()
    assert alive[1] == alive[-1]
