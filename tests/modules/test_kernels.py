"""The kernels of a GPU: the numbers of the plain steps, and code that a GPU's compiler takes.

Where there is none, Triton's interpreter and its compiler, which do without.
"""

import os
import subprocess
import sys
from importlib.util import find_spec

import pytest
import torch

from tests.interpreted import DEVICE, use_kernels, use_plain_steps
from tiednmt.modules import ConditionalGRU

TYPES = [torch.float32, torch.bfloat16, torch.float16]


@pytest.mark.parametrize("kind", TYPES, ids=str)
@pytest.mark.parametrize("length", [1, 3, 40])
def test_steps_wider_than_a_block(monkeypatch, kind, length):
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

    def update(cell, kind):
        cell = cell.to(DEVICE, kind)
        inputs = [
            tensor.to(DEVICE, kind).requires_grad_() for tensor in (embedded, annotations, state)
        ]
        decoded = cell(inputs[0], sizes, cell.read(inputs[1], padding.to(DEVICE)), inputs[2])
        loss = decoded.states.double().square().sum() + decoded.contexts.double().square().sum()
        return [*decoded, *torch.autograd.grad(loss, [*inputs, *cell.parameters()])]

    cell = cell.to(kind).double()  # the same weights in both
    embedded, annotations, state = (
        tensor.to(kind).double() for tensor in (embedded, annotations, state)
    )
    use_plain_steps(monkeypatch)
    exact, plain = update(cell, torch.float64), update(cell, kind)
    use_kernels(monkeypatch)
    # the interpreter cuts off the bits of bfloat16 where a GPU rounds
    slack = 8 if (DEVICE, kind) == ("cpu", torch.bfloat16) else 1
    for ours, theirs, expected in zip(update(cell, kind), plain, exact, strict=True):
        error = (ours.double() - expected).norm()
        rounding = torch.finfo(kind).eps * expected.norm()
        assert error <= slack * max(2 * (theirs.double() - expected).norm(), rounding)


COMPILE = """
import triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource
from tiednmt.modules import kernels

NUMBERS = ("stride", "hidden", "length", "size", "width")

def compiled(kernel, kind, capability, **constants):
    signature = {
        name: "constexpr" if name in constants else "i32" if name.endswith(NUMBERS) else "*" + kind
        for name in kernel.arg_names
    }
    signature |= {"padding": "*u8"} if "padding" in signature else {}
    source = ASTSource(kernel, signature, {**constants, "KIND": kernels.tl.float32})
    return triton.compile(source, target=GPUTarget("cuda", capability, 32))

for capability in (80, 90):
    for kind in ("fp32", "bf16"):
        for kernel in (kernels._step, kernels._step_back):
            assert compiled(kernel, kind, capability, BLOCK=256).asm["cubin"]
        for kernel in (kernels._attend, kernels._attend_back):
            for length, block in ((16, 256), (1024, 4)):
                found = compiled(kernel, kind, capability, LENGTH=length, BLOCK=block)
                assert found.metadata.shared <= 48 * 1024  # what every GPU has
"""


@pytest.mark.skipif(not find_spec("triton"), reason="Triton is not installed")
def test_compilers_of_gpus_take_them(tmp_path):
    environment = {**os.environ, "TRITON_CACHE_DIR": str(tmp_path)}
    environment.pop("TRITON_INTERPRET", None)
    command = [sys.executable, "-c", COMPILE]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
