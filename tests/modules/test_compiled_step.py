"""When a step of a Transformer's decoder is one kernel, and with which weights.

That it computes what the layers do is tested with them, in test_transformer.py.
"""

import copy
import gc
import pickle
import weakref

import pytest
import torch

from tests.support.kernel_paths import use_cpu_kernels, use_plain_torch
from tiednmt.kernels.tuning import COMPILED_STEP_NUMBERS, COMPILED_STEP_WEIGHTS
from tiednmt.modules import frozen_linear
from tiednmt.modules.dropout import Dropout
from tiednmt.modules.frozen_linear import Int8Linear, PackedLinear
from tiednmt.modules.linear import freeze
from tiednmt.modules.multi_head_attention import KeysAndValues
from tiednmt.modules.transformer import DecoderStack, Source
from tiednmt.modules.transformer_layers import DecoderLayer, FeedForward, LayerOptions

DIM, LENGTH = 16, 4


@pytest.fixture(autouse=True)
def kernels():
    return use_cpu_kernels()


def stack_of(dim=DIM, kind=PackedLinear, **changes):
    torch.manual_seed(2)
    options = LayerOptions(**{"dim": dim, "heads": 2, "ffn_dim": 24, **changes})
    stack = DecoderStack(2, options).eval()
    for module in stack.modules():
        if type(module) is torch.nn.Linear:
            freeze(module, kind)
    stack.freeze(kind)
    return stack


def step(stack, sources=1, dtype=torch.float32):
    """Whether a step is the kernel's, and its result."""
    torch.manual_seed(1)
    dim = stack.layers[0].self_attention.qkv.in_features
    rows, both = torch.randn(sources, 1, dim), torch.randn(2, sources, LENGTH, 2 * dim)
    read = tuple(KeysAndValues(*one.to(dtype).chunk(2, 2)) for one in both)
    source = Source(read, torch.full((sources,), LENGTH), None)
    past = stack.start(source)
    weights = stack.compiled and stack.compiled.weights_for(rows.to(dtype), read[0].keys)
    return weights is not None, stack.step(rows.to(dtype), source, past)[0]


@torch.no_grad()
def features(stack):
    """Those of the kernel, which are those of the layers."""
    compiled, found = step(stack)
    assert compiled
    layers = copy.deepcopy(stack)  # whose linear layers are frozen as those of the stack
    layers.compiled = None
    torch.testing.assert_close(found, step(layers)[1], rtol=1e-5, atol=1e-5)
    return found


@pytest.mark.parametrize("sums_integers", [False, True])
def test_int8_is_that_of_the_layers(monkeypatch, sums_integers):
    """Where CPUs sum products of int8 and where not; neither is what single precision gives."""
    monkeypatch.setattr(frozen_linear, "_sums_integers", lambda: sums_integers)
    found = features(stack_of(kind=Int8Linear))
    exact = features(stack_of())
    assert 1e-3 < (found - exact).norm() / exact.norm() < 0.1


@torch.no_grad()
def test_what_is_no_number_stays_so():
    """A model that has diverged translates nothing, instead of without what it computed."""
    stack = stack_of()
    stack.layers[0].feed_forward.up.bias[3] = torch.nan
    compiled, found = step(stack)
    assert compiled
    assert found.isnan().all()


def changed_in_place(stack):
    stack.layers[1].feed_forward.down.weight.mul_(2)


def changed_norm(stack):
    stack.layers[0].source_residual.norm.bias.add_(1)


def other_tensor(stack):
    layer = stack.layers[0].self_attention.out
    layer.weight = torch.nn.Parameter(2 * layer.weight)


@pytest.mark.parametrize("change", [changed_in_place, changed_norm, other_tensor])
def test_a_changed_weight_counts_from_the_next_search_on(change):
    stack = stack_of()
    before = features(stack)
    with torch.no_grad():
        change(stack)
    assert not torch.allclose(features(stack), before)


@pytest.mark.parametrize("copied", [copy.deepcopy, lambda stack: pickle.loads(pickle.dumps(stack))])
def test_copies_have_weights_of_their_own(copied):
    stack = stack_of()
    before = features(stack)
    other = copied(stack)
    with torch.no_grad():
        changed_in_place(other)
    assert not torch.allclose(features(other), before)
    assert torch.equal(features(stack), before)


def dropping(stack):
    for module in stack.modules():
        if isinstance(module, Dropout):
            module.retained = True


def another_forward(stack):
    network = stack.layers[1].feed_forward
    network.forward = lambda rows: 2 * FeedForward.forward(network, rows)


class Doubling(DecoderLayer):
    def feed(self, rows):
        return 2 * super().feed(rows)


class Squaring(FeedForward):
    def forward(self, rows):
        return super().forward(rows) ** 2


def of_another_class(part, kind):
    part.__class__ = kind


CHANGES = {
    "dropout in evaluation": dropping,
    "hook of a linear layer": lambda stack: stack.layers[
        1
    ].self_attention.out.register_forward_hook(lambda module, given, found: 2 * found),
    "hook of a network": lambda stack: stack.layers[1].feed_forward.register_forward_hook(
        lambda module, given, found: 2 * found
    ),
    "hook of a dropout": lambda stack: stack.layers[0].ffn_residual.dropout.register_forward_hook(
        lambda module, given, found: 2 * found
    ),
    "another forward": another_forward,
    "subclass of a layer": lambda stack: of_another_class(stack.layers[0], Doubling),
    "subclass of a network": lambda stack: of_another_class(stack.layers[0].feed_forward, Squaring),
    "activation": lambda stack: setattr(stack.layers[1].feed_forward, "activation", "gelu"),
    "eps of a norm": lambda stack: setattr(stack.layers[1].ffn_residual.norm, "eps", 0.5),
    "order of a norm": lambda stack: setattr(stack.layers[1].ffn_residual, "pre_norm", True),
    "heads": lambda stack: setattr(stack.layers[1].self_attention, "heads", 4),
    "adapter in a network": lambda stack: setattr(
        stack.layers[0].feed_forward, "up", torch.nn.Sequential(stack.layers[0].feed_forward.up)
    ),
    "adapter behind a network": lambda stack: setattr(
        stack.layers[0],
        "feed_forward",
        torch.nn.Sequential(stack.layers[0].feed_forward, torch.nn.Linear(DIM, DIM)),
    ),
    "no bias": lambda stack: setattr(
        stack.layers[0].self_attention, "out", torch.nn.Linear(DIM, DIM, bias=False)
    ),
    "norm without gain": lambda stack: setattr(
        stack.layers[0].self_residual, "norm", torch.nn.LayerNorm(DIM, elementwise_affine=False)
    ),
    "narrower network": lambda stack: setattr(
        stack.layers[1], "feed_forward", FeedForward(LayerOptions(DIM, 2, 12))
    ),
    "fewer layers than the aligned one": lambda stack: setattr(stack, "layers", stack.layers[:1]),
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_layers_that_compute_something_else_are_run_themselves(change):
    """Changed after the stack was frozen, with the same result as if it had not been."""
    stack = stack_of(dropout=0.5)
    with torch.no_grad():
        assert step(stack)[0]
        change(stack)
        torch.manual_seed(1)
        compiled, found = step(stack)
        assert not compiled
        layers = copy.deepcopy(stack)
        layers.compiled = None
        torch.manual_seed(1)
        assert torch.equal(found, step(layers)[1])


@pytest.mark.parametrize("activation", ["gelu", "tanh"])
def test_another_activation_is_torch_s(activation):
    with torch.no_grad():
        assert not step(stack_of(activation=activation))[0]


def test_int8_of_double_precision_is_torch_s(monkeypatch):
    monkeypatch.setattr(frozen_linear, "_sums_integers", lambda: True)
    stack = stack_of(kind=None).double()
    stack.freeze(Int8Linear)
    with torch.no_grad():
        assert not step(stack, dtype=torch.float64)[0]


def test_autocast_is_torch_s():
    """Keys and values of the source are rounded there, the tokens are not."""
    stack = stack_of()
    torch.manual_seed(1)
    read = tuple(
        KeysAndValues(*torch.randn(1, LENGTH, 2 * DIM).bfloat16().chunk(2, 2)) for _ in range(2)
    )
    source = Source(read, torch.tensor([LENGTH]), None)
    with torch.no_grad(), torch.autocast("cpu", dtype=torch.bfloat16):
        found = stack.step(torch.randn(1, 1, DIM), source, stack.start(source))[0]
    assert found.isfinite().all()


@torch.no_grad()
def test_weights_that_change_within_a_search_count_from_the_next_on():
    """All of them: the copy has none of the old weights together with new biases."""
    stack, rows = stack_of(), torch.ones(1, 1, DIM)
    read = (KeysAndValues(torch.ones(1, LENGTH, DIM), torch.ones(1, LENGTH, DIM)),) * 2
    source = Source(read, torch.tensor([LENGTH]), None)
    before = stack.step(rows, source, stack.start(source))[0]
    past = stack.start(source)
    for parameter in stack.parameters():
        parameter.mul_(2)
    assert torch.equal(stack.step(rows, source, past)[0], before)
    assert not torch.allclose(stack.step(rows, source, stack.start(source))[0], before)


def test_a_stack_lives_no_longer_than_it_is_used():
    """Its weights are freed at once, not when Python next looks for circles."""
    stack = stack_of()
    left = weakref.ref(stack)
    gc.disable()
    try:
        del stack
        assert left() is None
    finally:
        gc.enable()


def test_without_frozen_weights_nothing_is_compiled():
    with torch.no_grad():
        assert not step(stack_of(kind=None))[0]


def test_integers_that_single_precision_cannot_hold_are_not_compiled(monkeypatch):
    """1,041 products of 127 and 127 are beyond 2²⁴."""
    monkeypatch.setattr(frozen_linear, "_sums_integers", lambda: True)
    with torch.no_grad():
        assert step(stack_of(kind=Int8Linear, ffn_dim=1040))[0]
        assert not step(stack_of(kind=Int8Linear, ffn_dim=1041))[0]
        assert step(stack_of(ffn_dim=1041))[0]


def test_gradients_are_not_compiled():
    compiled, found = step(stack_of())
    assert not compiled and found.requires_grad


def test_many_rows_and_large_layers_are_torch_s():
    most = COMPILED_STEP_NUMBERS // DIM
    with torch.no_grad():
        assert step(stack_of(), sources=most)[0] and not step(stack_of(), sources=most + 1)[0]
        assert not step(stack_of(ffn_dim=COMPILED_STEP_WEIGHTS // (2 * DIM)))[0]


def test_without_kernels_and_in_half_precision(monkeypatch):
    with torch.no_grad():
        assert not step(stack_of().bfloat16(), dtype=torch.bfloat16)[0]
        use_plain_torch(monkeypatch)
        assert not step(stack_of())[0]


def test_threads_change_no_bit():
    """Enough numbers that the products are divided among them."""
    stack, before, found = stack_of(dim=256, ffn_dim=1000), torch.get_num_threads(), []
    for threads in (1, 2, 3):
        torch.set_num_threads(threads)
        try:
            with torch.no_grad():
                compiled, rows = step(stack, sources=9)
        finally:
            torch.set_num_threads(before)
        assert compiled
        found.append(rows)
    assert torch.equal(found[0], found[1]) and torch.equal(found[0], found[2])


@torch.no_grad()
def test_a_search_goes_on_while_others_begin(monkeypatch):
    """Another begins while weights are copied, and one that records gradients at any time."""
    stack, rows, within = stack_of(), torch.zeros(1, 1, DIM), []
    step(stack)
    copied = stack.compiled._copy.make

    def as_another_thread_sees_it(*parameters):
        within.append(stack.compiled.weights_for(rows, rows))
        return copied(*parameters)

    monkeypatch.setattr(stack.compiled._copy, "make", as_another_thread_sees_it)
    changed_in_place(stack)
    step(stack)
    with torch.enable_grad():
        step(stack)
    assert within[0] is not None and stack.compiled.weights_for(rows, rows) is not None


# --- the kernel ---------------------------------------------------------------------------------

SHAPES = [(12, 4), (4, 4), (4,), (4, 4), (4, 4), (4,), (5, 4), (4, 5), (4,)]  # of weights


def given(**changes):
    """The arguments of a call, two hypotheses for each of two sources."""
    return {
        "rows": torch.ones(2, 2, 4),
        "past": [(torch.ones(2, 6, 4), torch.ones(2, 6, 4))],
        "slots": torch.tensor([[[0, 4], [1, 5]]] * 2),
        "first": 4,
        "source": [(torch.ones(2, 3, 4), torch.ones(2, 3, 4))],
        "lengths": torch.tensor([3, 1]),
        **changes,
    }


def layer():
    return [(torch.ones(shape), None, torch.ones(shape[0])) for shape in SHAPES]


@pytest.mark.parametrize(
    ("wrong", "reason"),
    [
        ({"slots": torch.full((2, 2, 2), 6)}, "a place that is none of 6"),
        ({"slots": torch.full((2, 2, 2), -1)}, "a place that is none of 6"),
        ({"slots": torch.zeros(2, 1, 2, dtype=torch.int64)}, "in the place of one of"),
        ({"slots": torch.zeros(2, 2, 2)}, "in the place of one of"),
        ({"lengths": torch.tensor([4, 1])}, "a count that is none of 3 places"),
        ({"lengths": torch.tensor([0, 1])}, "a count that is none of 3 places"),
        ({"first": 5}, "2 tokens of 4 numbers from place 5"),
        ({"first": -1}, "from place -1"),
        ({"past": []}, "0 layers instead of 1"),
        ({"source": []}, "layers"),
        ({"past": [(torch.ones(2, 6, 4), torch.ones(2, 5, 4))]}, "in the place of one of"),
        ({"source": [(torch.ones(2, 3, 4), torch.ones(2, 3, 3))]}, "in the place of one of"),
        ({"rows": torch.ones(2, 2, 4, dtype=torch.float64)}, "tokens of 4 numbers"),
        ({"rows": torch.ones(2, 2, 3)}, "3"),
    ],
    ids=str,
)
def test_what_is_not_there_is_refused(kernels, wrong, reason):
    weights = kernels.DecoderWeights(layer(), heads=2, aligned=(0, 2))
    kernels.decoder_step(weights=weights, **given())
    with pytest.raises(ValueError, match=f"kernel decoder_step.*{reason}"):
        kernels.decoder_step(weights=weights, **given(**wrong))


@pytest.mark.parametrize(
    ("wrong", "reason"),
    [
        ({"heads": 3}, "0 of 3 heads of 4 numbers"),
        ({"aligned": (0, 3)}, "3 of 2 heads"),
        ({"aligned": (1, 1)}, "layer 1 of 1"),
    ],
    ids=str,
)
def test_heads_and_layers_that_are_not_there_are_refused(kernels, wrong, reason):
    with pytest.raises(ValueError, match=f"kernel decoder_step: {reason}"):
        kernels.DecoderWeights(layer(), **{"heads": 2, **wrong})


@pytest.mark.parametrize(
    ("place", "weight", "scale"),
    [
        (0, torch.ones(4, 4), None),
        (1, torch.ones(4, 4).double(), None),
        (2, torch.ones(3), None),
        (7, torch.ones(5, 4), None),
        (1, torch.ones(4, 4), torch.ones(4)),
        (1, torch.ones(4, 4, dtype=torch.int8), None),
        (1, torch.ones(4, 4, dtype=torch.int8), torch.ones(3)),
    ],
)
def test_weights_of_another_shape_or_kind_are_refused(kernels, place, weight, scale):
    parts = layer()
    parts[place] = (weight, scale, parts[place][2])
    with pytest.raises(ValueError, match="kernel decoder_step: a weight of shape"):
        kernels.DecoderWeights(parts, heads=2)
