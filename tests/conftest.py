"""What all tests share."""

import os
from pathlib import Path

import pytest

if not Path("/dev/nvidiactl").exists():  # no GPU: Triton's kernels run in NumPy
    os.environ["TRITON_INTERPRET"] = "1"  # read when triton is imported, perhaps by torch

DEFAULT_DATA = Path(__file__).resolve().parents[2] / "shared" / "data"


@pytest.fixture(scope="session")
def data_folder() -> Path:
    """The folder of real corpora; tests that ask for it are skipped where there is none."""
    folder = Path(os.environ.get("TIEDNMT_DATA", DEFAULT_DATA))
    if not folder.is_dir():
        pytest.skip(f"no folder {folder}; set TIEDNMT_DATA to the folder of real corpora")
    return folder


@pytest.fixture(params=["torch", "compiled"])
def cpu_path(request, monkeypatch):
    """Plain torch, and the compiled kernels of a CPU."""
    # here, so that tests of what does without torch start without it
    from tests.support.kernel_paths import use_cpu_kernels, use_plain_torch

    if request.param == "torch":
        use_plain_torch(monkeypatch)
    else:
        use_cpu_kernels()
    return request.param
