"""What all tests share."""

import os
from collections import Counter
from pathlib import Path

import pytest

if not Path("/dev/nvidiactl").exists():  # no GPU: Triton's kernels run in NumPy
    os.environ["TRITON_INTERPRET"] = "1"  # read when triton is imported, perhaps by torch


def pytest_addoption(parser):
    parser.addoption("--nightly", action="store_true", help="run also what takes minutes")


def pytest_collection_modifyitems(config, items):
    if not config.getoption("--nightly"):
        left_out = [item for item in items if item.get_closest_marker("nightly")]
        config.hook.pytest_deselected(items=left_out)
        items[:] = [item for item in items if item not in left_out]
    # files with slow tests first, then those with many, so that no process waits for another's last
    slow = {item.path for item in items if item.get_closest_marker("slow")}
    sizes = Counter(item.path for item in items)
    items.sort(key=lambda item: (item.path not in slow, -sizes[item.path], str(item.path)))


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
