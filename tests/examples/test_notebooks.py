"""The notebooks, run from top to bottom in a real kernel."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path

import pytest

from tests.support.commandline import ROOT, SCRIPTS

NOTEBOOKS = sorted((ROOT / "examples" / "notebooks").glob("*.ipynb"))
# what the reader is promised to see
SAID = {
    "tie-a-model": (
        r"[\d,]+ parameters; untied it would have [\d,]+",
        r"one matrix \(claimed tied\)",
        r"S \(\d+, 128\)",
    ),
    "your-own-text": (r"--tying three-way", r"BLEU", r"en-de: 0\.\d MB, tie:three-way"),
    "shrink-a-vocabulary": (r"parameters, the same 20 translations",),
}


def test_there_is_one_for_each_promise():
    assert {path.stem for path in NOTEBOOKS} == set(SAID)


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_outputs_are_not_kept(path):
    for cell in json.loads(path.read_text(encoding="utf-8"))["cells"]:
        assert cell.get("outputs", []) == [] and cell.get("execution_count") is None


@pytest.mark.nightly
@pytest.mark.slow
@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_it_runs_and_shows_what_it_says(path: Path, tmp_path, monkeypatch):
    nbformat = pytest.importorskip("nbformat", reason="nbformat is not installed")
    nbclient = pytest.importorskip("nbclient", reason="nbclient is not installed")
    monkeypatch.setenv("PATH", f"{SCRIPTS}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    notebook = nbformat.read(path, as_version=4)
    nbformat.validate(notebook)
    client = nbclient.NotebookClient(
        notebook, timeout=600, resources={"metadata": {"path": path.parent}}
    )
    client.execute()
    outputs = [one for cell in notebook.cells for one in cell.get("outputs", [])]
    text = "".join(
        one["text"] if one["output_type"] == "stream" else one["data"].get("text/plain", "")
        for one in outputs
    )
    assert not re.search(r"^error|Traceback|not found", text, re.MULTILINE), text
    for promise in SAID[path.stem]:
        assert re.search(promise, text), f"{promise} is not in:\n{text}"
