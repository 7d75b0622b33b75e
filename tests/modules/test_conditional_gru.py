"""The conditional GRU against the formulas of docs/cgru.pdf, step by step in float64."""

import gc

import pytest
import torch

from tests.support.kernel_paths import DEVICE, use_cpu_kernels, use_gpu_kernels, use_plain_torch
from tiednmt.modules import ConditionalGRU


@pytest.fixture(params=["torch", "compiled", "triton"], autouse=True)
def path(request, monkeypatch):
    """Plain steps, the kernels of a CPU and those of a GPU."""
    if request.param == "triton":
        use_gpu_kernels(monkeypatch)
        with torch.device(DEVICE):
            yield request.param
        return
    if request.param == "compiled":
        use_cpu_kernels()
    else:
        use_plain_torch(monkeypatch)
    yield request.param


SHAPES = [(4, 3, 5), (1, 1, 1), (1, 3, 4), (5, 1, 2), (3, 2, 1)]  # steps, batch, source length


def cell():
    torch.manual_seed(1)
    result = ConditionalGRU(input_size=3, annotation_size=4, hidden_size=5, attention_size=6)
    with torch.no_grad():
        for parameter in result.parameters():
            parameter.copy_(torch.randn_like(parameter) * 0.5)
    return result.double()


def arguments(steps, batch, length, lengths=None):
    torch.manual_seed(2)
    embedded = torch.randn(steps, batch, 3, dtype=torch.float64, requires_grad=True)
    annotations = torch.randn(batch, length, 4, dtype=torch.float64, requires_grad=True)
    state = torch.randn(batch, 5, dtype=torch.float64, requires_grad=True)
    lengths = torch.tensor(lengths or [max(1, length - i) for i in range(batch)])
    padding = torch.arange(length)[None] >= lengths[:, None]
    return embedded, annotations, padding, state


def gru(weights, x, h):
    """Cho et al. (2014), with the reset gate on the projected state as in dl4mt and cuDNN."""
    w = weights
    wr, wz, wn = w.weight_ih.chunk(3)
    ur, uz, un = w.weight_hh.chunk(3)
    br, bz, bn = w.bias_ih.chunk(3)
    cr, cz, cn = w.bias_hh.chunk(3)
    r = 1 / (1 + torch.exp(-(wr @ x + br + ur @ h + cr)))
    z = 1 / (1 + torch.exp(-(wz @ x + bz + uz @ h + cz)))
    n = torch.tanh(wn @ x + bn + r * (un @ h + cn))
    return (1 - z) * n + z * h


def reference(c, embedded, annotations, padding, state):
    """One sentence, one step, one source position at a time."""
    states, contexts, attention = [], [], []
    for b in range(annotations.size(0)):
        source = [h for h, pad in zip(annotations[b], padding[b], strict=True) if not pad]
        h = state[b]
        rows = []
        for y in embedded[:, b]:
            middle = gru(c.transition_1, y, h)
            energies = torch.stack(
                [
                    c.score @ torch.tanh(c.query.weight @ middle + c.key.weight @ a + c.key.bias)
                    for a in source
                ]
            )
            alpha = torch.exp(energies) / torch.exp(energies).sum()
            context = sum(w * a for w, a in zip(alpha, source, strict=True))
            h = gru(c.transition_2, context, middle)
            rows.append((h, context, torch.nn.functional.pad(alpha, (0, int(padding[b].sum())))))
        for collected, column in zip(
            (states, contexts, attention), zip(*rows, strict=True), strict=True
        ):
            collected.append(torch.stack(column))
    return [torch.stack(x, 1) for x in (states, contexts, attention)]


def forward(c, embedded, annotations, padding, state, sizes=None):
    """All sentences over all steps (T × B × …), or the first ``sizes[t]`` of them at step t."""
    sizes = sizes or (len(state),) * len(embedded)
    decoded = c(of_steps(embedded, sizes), sizes, c.read(annotations, padding), state)
    if set(sizes) == {len(state)}:
        return type(decoded)(*(rows.unflatten(0, embedded.shape[:2]) for rows in decoded))
    return decoded


def of_steps(padded, sizes):
    return torch.cat([row[:size] for row, size in zip(padded, sizes, strict=True)])


@pytest.mark.parametrize("shape", SHAPES)
def test_forward(shape):
    c, args = cell(), arguments(*shape)
    for ours, theirs in zip(forward(c, *args), reference(c, *args), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-12)


RAGGED = [(4, 3, 3, 1), (4, 1), (4, 4, 2)]  # sentences at each step, of 4


@pytest.mark.parametrize("sizes", RAGGED)
def test_sentences_that_end_early(sizes):
    c, args = cell(), arguments(len(sizes), 4, 3)
    for ours, theirs in zip(forward(c, *args, sizes), reference(c, *args), strict=True):
        torch.testing.assert_close(ours, of_steps(theirs, sizes), rtol=0, atol=1e-12)


@pytest.mark.parametrize(
    ("shape", "sizes"),
    [(shape, None) for shape in SHAPES] + [((len(sizes), 4, 3), sizes) for sizes in RAGGED],
)
def test_gradients(shape, sizes):
    c, args = cell(), arguments(*shape)
    inputs = [args[0], args[1], args[3], *c.parameters()]
    torch.manual_seed(3)
    gradients = []
    ours, theirs = forward(c, *args, sizes)[:2], reference(c, *args)[:2]
    if sizes:
        theirs = [of_steps(padded, sizes) for padded in theirs]
    weights = [torch.randn_like(rows) for rows in ours]
    for outcome in (ours, theirs):
        loss = sum((w * o).sum() for w, o in zip(weights, outcome, strict=True))
        gradients.append(torch.autograd.grad(loss, inputs))
    for ours, theirs in zip(*gradients, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-11)


class Whole(torch.nn.Module):
    def __init__(self, c):
        super().__init__()
        self.cell = c

    def forward(self, *args):
        return forward(self.cell, *args)[:2]


@pytest.mark.parametrize("sizes", [None, (2, 2, 1)])
def test_gradcheck(path, sizes):
    whole, (embedded, annotations, padding, state) = Whole(cell()), arguments(3, 2, 4)
    names = [name for name, _ in whole.named_parameters()]

    def run(embedded, annotations, state, *parameters):
        values = dict(zip(names, parameters, strict=True))
        inputs = embedded, annotations, padding, state, sizes
        return torch.func.functional_call(whole, values, inputs)

    inputs = (embedded, annotations, state, *whole.parameters())
    slow = path == "triton"  # where its interpreter runs the kernels
    assert torch.autograd.gradcheck(run, inputs, fast_mode=slow, check_undefined_grad=not slow)


def test_padding_changes_nothing():
    c = cell()
    embedded, annotations, _, state = arguments(4, 1, 3, [3])
    alone = forward(c, embedded, annotations, torch.zeros(1, 3, dtype=torch.bool), state)
    noise = torch.full((1, 2, 4), 1e3, dtype=torch.float64)
    longer = forward(
        c,
        embedded,
        torch.cat((annotations, noise), 1),
        torch.tensor([[False, False, False, True, True]]),
        state,
    )
    torch.testing.assert_close(longer.states, alone.states)
    torch.testing.assert_close(longer.contexts, alone.contexts)
    assert longer.attention[..., 3:].abs().max() == 0


@torch.no_grad()
def test_steps_one_by_one_equal_all_at_once():
    c, (embedded, annotations, padding, state) = cell(), arguments(5, 3, 4)
    memory = c.read(annotations, padding)
    whole = forward(c, embedded, annotations, padding, state)
    reader, state = torch.randn(2, 4, dtype=torch.float64), state.unsqueeze(1)
    prepared = c.prepare(memory, reader)
    for t in range(5):
        step = c.step(from_token(c, embedded[t].unsqueeze(1)), prepared, state)
        state = step.states
        torch.testing.assert_close(state.squeeze(1), whole.states[t])
        torch.testing.assert_close(step.contexts.squeeze(1), whole.contexts[t] @ reader.t())
        torch.testing.assert_close(step.attention.squeeze(1), whole.attention[t])


@torch.no_grad()
def test_hypotheses_of_a_source_do_not_see_each_other():
    c, (embedded, annotations, padding, state) = cell(), arguments(4, 3, 4)
    prepared = c.prepare(c.read(annotations, padding), torch.eye(4, dtype=torch.float64))
    states = torch.stack([state + k for k in range(4)], 1)
    together = c.step(from_token(c, embedded.transpose(0, 1)), prepared, states)
    for k in range(4):
        alone = c.step(from_token(c, embedded[k].unsqueeze(1)), prepared, states[:, k : k + 1])
        for one, of_all in zip(alone, together, strict=True):
            torch.testing.assert_close(one.squeeze(1), of_all[:, k])


def test_nothing_is_left_of_an_update():
    c, args = cell(), arguments(3, 4, 3)
    alive = []
    gc.disable()  # a cycle would keep an update's tensors until it is found
    try:
        for _ in range(5):
            states, contexts, _ = forward(c, *args, (4, 3, 1))
            (states.sum() + contexts.sum()).backward()
            del states, contexts, _
            alive.append(sum(issubclass(type(o), torch.Tensor) for o in gc.get_objects()))
    finally:
        gc.enable()
    assert alive[1] == alive[-1]


def from_token(c, embedded):
    return embedded @ c.transition_1.weight_ih.t() + c.transition_1.bias_ih
