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


@pytest.fixture(scope="module")
def prepared(tmp_path_factory):
    """A prepared folder of two languages, see :func:`tests.support.translators.prepared_folder`."""
    from tests.support.translators import prepared_folder

    return prepared_folder(tmp_path_factory.mktemp("data") / "prepared")


@pytest.fixture(scope="module")
def checkpoint(prepared, tmp_path_factory):
    """A checkpoint of a model of it that was not trained."""
    from tests.support.translators import save_translator

    path = tmp_path_factory.mktemp("run") / "checkpoint.pt"
    save_translator(path, prepared)
    return path


@pytest.fixture(scope="module")
def folder(prepared, checkpoint):
    """And its model folder."""
    from tiednmt.export.model_folder import write_model_folder
    from tiednmt.export.reading import read_trained

    write_model_folder(checkpoint.parent / "folder", read_trained(checkpoint, prepared))
    return checkpoint.parent / "folder"
