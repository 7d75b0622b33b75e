"""Kernels: the numbers of plain torch, and code that compilers take.

Those of a GPU by Triton's interpreter and compiler where there is none.
"""

import math
import os
import platform
import subprocess
import sys
from importlib.util import find_spec
from itertools import chain

import pytest
import torch

from tests.support.kernel_calls import LOSS, accepted, made, steps
from tests.support.kernel_paths import DEVICE, use_cpu_kernels, use_gpu_kernels, use_plain_torch
from tiednmt.kernels import cpu_kernels_for
from tiednmt.modules import ConditionalGRU, frozen_linear
from tiednmt.modules.cross_entropy import Smoothing, loss_of_chunk
from tiednmt.modules.frozen_linear import Int8Linear, round_rows
from tiednmt.modules.gru import GRUSteps
from tiednmt.modules.lstm import LSTMSteps

TYPES = [torch.float32, torch.bfloat16, torch.float16]
PATHS = [("compiled", torch.float32), *(("triton", kind) for kind in TYPES)]


@pytest.mark.parametrize(("path", "kind"), PATHS, ids=str)
@pytest.mark.parametrize("length", [1, 3, 40])
def test_wide_steps(monkeypatch, path, kind, length):
    """States, attention and all gradients, beside the plain steps in float64."""
    torch.manual_seed(4)
    cell = ConditionalGRU(input_size=5, annotation_size=270, hidden_size=260, attention_size=300)
    batch, sizes = 3, (3, 3, 1)
    lengths = torch.tensor([length, max(1, length - 1), 1])
    embedded, annotations, state = (
        torch.randn(7, 5),
        torch.randn(batch, length, 270),
        torch.randn(batch, 260),
    )
    padding = torch.arange(length)[None] >= lengths[:, None]

    device = DEVICE if path == "triton" else "cpu"

    def update(cell, kind):
        cell = cell.to(device, kind)
        inputs = [
            tensor.to(device, kind).requires_grad_() for tensor in (embedded, annotations, state)
        ]
        decoded = cell(inputs[0], sizes, cell.read(inputs[1], padding.to(device)), inputs[2])
        loss = decoded.states.double().square().sum() + decoded.contexts.double().square().sum()
        return [*decoded, *torch.autograd.grad(loss, [*inputs, *cell.parameters()])]

    cell = cell.to(kind).double()  # the same weights in both
    embedded, annotations, state = (
        tensor.to(kind).double() for tensor in (embedded, annotations, state)
    )
    with monkeypatch.context() as plainly:
        use_plain_torch(plainly)
        exact, plain = update(cell, torch.float64), update(cell, kind)
    if path == "triton":
        use_gpu_kernels(monkeypatch)
    else:
        use_cpu_kernels()
    assert_no_rougher(update(cell, kind), plain, exact, device, kind)


def assert_no_rougher(found, plain, exact, device, kind, units=1):
    """Kernels err by no more than plain torch does in the same dtype."""
    # the interpreter cuts off the bits of bfloat16 where a GPU rounds
    slack = 8 if (device, kind) == ("cpu", torch.bfloat16) else 1
    for ours, theirs, expected in zip(found, plain, exact, strict=True):
        error = (ours.double() - expected).norm()
        rounding = units * torch.finfo(kind).eps * expected.norm()
        assert error <= slack * max(2 * (theirs.double() - expected).norm(), rounding)


@pytest.mark.parametrize(("path", "kind"), PATHS, ids=str)
def test_wide_steps_of_an_lstm(monkeypatch, path, kind):
    """States, cells and gradients of two steps, beside the plain ones in float64."""
    torch.manual_seed(4)
    device = DEVICE if path == "triton" else "cpu"
    hidden, rows = 600, (slice(0, 3), slice(3, 5))
    drawn = torch.randn(5, 4 * hidden), *(torch.randn(3, hidden) for _ in range(3))
    drawn = [tensor.to(kind).double() for tensor in drawn]

    def run(kind):
        gates, first, grad, grad_cell = (tensor.to(device, kind, copy=True) for tensor in drawn)
        lstm, out = LSTMSteps(gates), gates.new_empty(5, hidden)
        cells = lstm.step(rows[0], first, out=out[rows[0]])
        lstm.step(rows[1], cells[:2], out=out[rows[1]])
        lstm.start_back()
        lstm.step_back(rows[1], grad[:2], grad_cell[:2])
        lstm.step_back(rows[0], grad, grad_cell)
        return out, lstm.cells, lstm.grad_gates, grad_cell

    with monkeypatch.context() as plainly:
        use_plain_torch(plainly)
        exact, plain = run(torch.float64), run(kind)
    if path == "triton":
        use_gpu_kernels(monkeypatch)
    else:
        use_cpu_kernels()
    assert_no_rougher(run(kind), plain, exact, device, kind)


@pytest.mark.parametrize("kind", TYPES)
@pytest.mark.parametrize("vocabulary", [7, 5000])
def test_the_loss_of_a_gpu(kind, vocabulary):
    """Losses and gradients, beside the plain ones in float64."""
    pytest.importorskip("triton")
    from tiednmt.kernels import gpu

    torch.manual_seed(9)
    products = (4 * torch.randn(5, vocabulary)).to(DEVICE, kind)
    bias = torch.randn(vocabulary, device=DEVICE)
    target = torch.randint(0, vocabulary, (5,), device=DEVICE)
    counts = torch.tensor([1.0, 0.0, 1.0, 1.0, 1.0], device=DEVICE)
    smoothing = Smoothing.over(vocabulary, 0.1)

    def run(function, kind, single):
        grad = products.to(kind, copy=True)
        given = grad, bias.to(single), target, counts.to(single), smoothing
        losses = function(*given, False)[:2]
        *again, of_bias = function(*given, True)
        assert all(map(torch.equal, losses, again))
        return *losses, of_bias, grad

    exact = run(loss_of_chunk, torch.float64, torch.float64)
    plain = run(loss_of_chunk, kind, torch.float32)
    found = run(gpu.loss_of_chunk, kind, torch.float32)
    assert_no_rougher(found, plain, exact, DEVICE, kind, units=4)  # other sums, other rounding


@pytest.mark.parametrize("flags", [(), ("-O",)], ids=["", "-O"])
def test_what_they_cannot_read_is_refused(flags):
    """In another process, since a kernel that reads it would end this one."""
    use_cpu_kernels()
    command = [sys.executable, *flags, "-m", "tests.support.kernel_calls"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout.strip()) == (0, ""), done.stdout + done.stderr


def test_what_those_of_a_gpu_cannot_read_is_refused(monkeypatch):
    use_gpu_kernels(monkeypatch)
    from tiednmt.kernels import gpu

    with torch.device(DEVICE):
        assert not accepted(gpu, steps(), but=("another dtype", "float16", "float64"))
        assert not accepted(gpu, LOSS, but=("float16", "float64"))


COMPILE = """
import sys, torch, triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource
from tests.support.kernel_calls import LOSS, made, steps
from tiednmt.kernels import gpu

POINTERS = {torch.float32: "*fp32", torch.bfloat16: "*bf16", torch.uint8: "*u8"}
POINTERS[torch.int64] = "*i64"
compiled = set()

class Compiled:  # in the place of a kernel: compiles it for what it is launched with
    def __init__(self, kernel):
        self.kernel = kernel
    def __getitem__(self, grid):
        return self
    def __call__(self, *given, num_warps=4, **constants):
        numbers = {int: "i32", float: "fp32"}
        kinds = [
            POINTERS[one.dtype] if torch.is_tensor(one) else numbers[type(one)] for one in given
        ]
        names = self.kernel.arg_names
        signature = dict(zip(names, kinds)) | dict.fromkeys(constants, "constexpr")
        assert list(signature) == names
        key = self.kernel, *kinds, *constants.values()
        if key in compiled:
            return
        compiled.add(key)
        source = ASTSource(self.kernel, signature, constants)
        found = triton.compile(source, target=GPUTarget("cuda", int(sys.argv[1]), 32))
        assert found.asm["cubin"]
        assert found.metadata.shared <= 48 * 1024  # what every GPU has

NAMES = "_step", "_step_back", "_lstm_step", "_lstm_step_back", "_attend", "_attend_back"
for name in (*NAMES, "_loss_of_token"):
    setattr(gpu, name, Compiled(getattr(gpu, name)))
for kind in (torch.float32, torch.bfloat16):
    for length in (16, 1024):
        for kernel, arguments in steps(length).items():
            getattr(gpu, kernel)(**{name: made(what, kind) for name, what in arguments.items()})
    given = {name: made(what) for name, what in LOSS["loss_of_chunk"].items()}
    gpu.loss_of_chunk(**{**given, "products": given["products"].to(kind)})
assert len(compiled) == 2 * (4 + 2 * 2 + 1)
"""


@pytest.mark.skipif(not find_spec("triton"), reason="Triton is not installed")
@pytest.mark.parametrize("capability", [90, pytest.param(80, marks=pytest.mark.nightly)])
def test_compilers_of_gpus_take_them(capability, tmp_path):
    environment = {**os.environ, "TRITON_CACHE_DIR": str(tmp_path)}
    environment.pop("TRITON_INTERPRET", None)
    command = [sys.executable, "-c", COMPILE, str(capability)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


X86 = sys.platform == "linux" and platform.machine() == "x86_64"


@pytest.mark.skipif(not X86, reason="not promised elsewhere")
def test_this_machine_has_compiled_kernels():
    assert cpu_kernels_for(torch.ones(1)) is not None


@pytest.mark.parametrize(
    ("kernel", "name"),
    [
        *(("attend", name) for name in ("keys", "annotations")),
        *(("attend_back", name) for name in ("keys", "annotations", "grad_keys")),
    ],
)
def test_matrices_with_gaps_between_their_rows_are_refused(kernel, name):
    arguments = {each: made(what) for each, what in steps()[kernel].items()}
    whole = arguments[name]
    arguments[name] = torch.cat((whole, whole), -1)[..., : whole.size(-1)]
    with pytest.raises(ValueError, match="without gaps"):
        getattr(use_cpu_kernels(), kernel)(**arguments)


def philox(counter, key):
    """Philox4x32-10 of Salmon et al. (2011), in Python's whole numbers."""
    c, k = [counter % 2**32, counter >> 32, 0, 0], [key % 2**32, key >> 32]
    for _ in range(10):
        one, two = 0xD2511F53 * c[0], 0xCD9E8D57 * c[2]
        c = [(two >> 32) ^ c[1] ^ k[0], two % 2**32, (one >> 32) ^ c[3] ^ k[1], one % 2**32]
        k = [(k[0] + 0x9E3779B9) % 2**32, (k[1] + 0xBB67AE85) % 2**32]
    return c


def test_dropout_draws_philox():
    assert [f"{word:08x}" for word in philox(0, 0)] == [
        *("6627e8d5", "e169c58d", "bc57ac4c", "9b00dbd8")  # from the authors' library, Random123
    ]
    compiled = use_cpu_kernels()
    seed, threshold, count = 0x123456789ABCDEF, 20_000, 1100  # three chunks of 64 counters
    words = [[philox(64 * chunk + i, seed) for i in range(64)] for chunk in range(3)]
    levels = [
        word >> shift & 0xFFFF
        for chunk in words
        for word in chain.from_iterable(zip(*chunk, strict=True))
        for shift in (0, 16)
    ]
    found = compiled.drop(torch.ones(count), threshold, 2.0, seed)
    assert found.tolist() == [2.0 * (level >= threshold) for level in levels[:count]]


def test_several_threads_do_what_one_does():
    compiled = use_cpu_kernels()
    torch.manual_seed(6)
    products, bias = torch.randn(7, 50), torch.randn(50)
    smoothing = Smoothing.over(50, 0.1)
    outcomes, before = [], torch.get_num_threads()
    for threads in (1, 3, 9):
        torch.set_num_threads(threads)
        try:
            grad = products.clone()
            target, counts = torch.arange(7), torch.ones(7)
            loss = compiled.loss_of_chunk(grad, bias, target, counts, smoothing, True)
            pairs = compiled.divergence_of_pairs(products[:6], bias, counts[:6])
            dropped = compiled.drop(torch.ones(70, 999), 30_000, 1.0, seed=5)
        finally:
            torch.set_num_threads(before)
        outcomes.append((grad, dropped, *pairs, *loss))
    for one, other in zip(outcomes[0] * 2, outcomes[1] + outcomes[2], strict=True):
        torch.testing.assert_close(one, other)


def test_whole_numbers_are_torchs(monkeypatch):
    """The same 8 bits; scores differ at most as a fused sum does from one that is rounded twice."""
    torch.manual_seed(7)
    monkeypatch.setattr(frozen_linear, "_sums_integers", lambda: True)
    weight, bias = torch.randn(50, 33), torch.randn(50)
    features = torch.randn(9, 70)[:, :33]
    weight[3] = features[2] = 0
    weight[4] *= 1e-40  # too small for a scale that is a normal number
    use_cpu_kernels()
    whole, scores = round_rows(weight), Int8Linear(weight, bias)(features)
    assert whole[1].min() >= torch.finfo(torch.float32).tiny
    use_plain_torch(monkeypatch)
    assert all(map(torch.equal, round_rows(weight), whole))
    torch.testing.assert_close(Int8Linear(weight, bias)(features), scores, rtol=1e-6, atol=2e-6)


def test_the_best_leaves_out_what_is_no_number():
    compiled = use_cpu_kernels()
    scores = torch.zeros(1, 2, 200)
    scores[0, 0, 7], scores[0, 1, 70], scores[0, 1, 199] = math.nan, 2.0, 1.0
    sums, places = compiled.best(scores, torch.tensor([[0.5, 0.0]]), 3)
    assert sums.tolist() == [[2.0, 1.0, 0.5]]
    assert places[0, :2].tolist() == [270, 399] and places[0, 2] < 200


@pytest.mark.parametrize("large", [1e4, math.inf])
def test_large_numbers_saturate(large):
    use_cpu_kernels()
    transition = GRUSteps(torch.tensor([[0.0, large, 1.0], [0.0, -large, 1.0]]))
    state, out = torch.tensor([[3.0], [3.0]]), torch.empty(2, 1)
    x = torch.tensor([[0.0, 0.0, large], [0.0, 0.0, -large]])
    transition.step(slice(0, 2), x, state, out)
    assert out.tolist() == [[3.0], [-1.0]]
    gates = [[-large, large, large, large], [large, -large, -large, large]]
    cells = LSTMSteps(torch.tensor(gates)).step(slice(0, 2), state, out)
    assert cells.tolist() == [[3.0], [-1.0]]
    torch.testing.assert_close(out, cells.tanh())


def test_what_is_no_number_stays_so():
    """fairseq's trainer stops where a loss is nan."""
    compiled = use_cpu_kernels()
    transition = GRUSteps(torch.full((1, 3), math.nan))
    out = torch.empty(1, 1)
    transition.step(slice(0, 1), torch.zeros(1, 3), torch.ones(1, 1), out)
    assert out.isnan().all()
    cells = LSTMSteps(torch.full((1, 4), math.nan)).step(slice(0, 1), torch.ones(1, 1), out.zero_())
    assert cells.isnan().all() and out.isnan().all()
    products = torch.zeros(2, 3, dtype=torch.bfloat16)
    products[0, 1] = math.nan
    target, counts = torch.tensor([0, 0]), torch.ones(2)
    nll, *_ = compiled.loss_of_chunk(
        products, torch.zeros(3), target, counts, Smoothing.over(3, 0.0), True
    )
    assert nll.isnan().tolist() == [True, False]
    assert products.isnan().tolist() == [[True] * 3, [False] * 3]
    between, _ = compiled.divergence_of_pairs(products, torch.zeros(3), counts)
    assert between.isnan()


def test_kernels_compiled_from_another_version_are_not_used(monkeypatch):
    """They would compute something else without a word."""
    compiled = use_cpu_kernels()
    monkeypatch.setattr(compiled, "VERSION", compiled.VERSION + 1)
    with pytest.raises(ImportError, match="another version"):
        compiled._load()
