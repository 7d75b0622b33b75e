"""An experiment from start to end, cut off and started again, through the real commands."""

import os
import signal
import subprocess
import sys
import time

import pytest
import torch

from scripts.lab.run.specs import ROOT, Experiment, load_recipe, merge
from scripts.lab.run.training import Run, train
from scripts.lab.runner import run_experiment
from tiednmt.errors import UserError

pytestmark = pytest.mark.slow


def experiment(updates=6):
    recipe = merge(
        load_recipe("tied_gru_demo"),
        {"optimization": {"max_update": updates}, "common": {"log_interval": 1}},
    )
    return Experiment(
        name="tiny",
        title="Tiny",
        prepare=("preprocess.demo", "--pairs", "200", "--merges", "200"),
        rows={t: merge(recipe, {"model": {"tying": t}}) for t in ("none", "three-way")},
        settings={"baselines": ["none"], "subsets": ["test"], "beam": 1},
    )


@pytest.fixture(scope="module")
def out(tmp_path_factory):
    return tmp_path_factory.mktemp("experiment") / "tiny run"


@pytest.fixture(scope="module")
def record(out):
    return run_experiment(experiment(), out, "the command")


def test_record(record):
    none, three_way = record["rows"]
    assert [none["name"], three_way["name"]] == ["none", "three-way"]
    assert none["updates"] == three_way["updates"] == 6
    assert three_way["share"] == round(three_way["parameters"] / none["parameters"], 4) < 0.9
    assert three_way["checkpoint_bytes"] < none["checkpoint_bytes"]
    assert "case:mixed|eff:no|tok:13a" in none["test"]["test"]["bleu"]["signature"]
    assert record["curves"]["none"][0][-1]["update"] == 6
    assert len(record["samples"]) == 5
    assert set(record["samples"][0]) == {"source", "reference", "none", "three-way"}
    assert record["command"] == "the command"


def test_files(record, out):
    for name in ("table.md", "learning-curves.png", "bleu-over-parameters.svg"):
        assert (out / name).stat().st_size > 200
    assert "| three-way |" in (out / "table.md").read_text()


def test_second_call_trains_and_scores_nothing(record, out):
    made = {path: path.stat().st_mtime for path in (*out.glob("*/*.pt"), out / "scores.json")}
    assert run_experiment(experiment(), out, "the command") == record
    assert made == {path: path.stat().st_mtime for path in made}


def test_other_recipe_in_the_same_folder_is_refused(record, out):
    with pytest.raises(UserError, match="another command line"):
        run_experiment(experiment(updates=7), out, "the command")


def test_further_seeds_leave_the_first_alone(record, out):
    made = {path: path.stat().st_mtime for path in (*out.glob("*/*.pt"), out / "scores.json")}
    more = run_experiment(experiment(), out, "the command", seeds=(1, 2))
    assert made == {path: path.stat().st_mtime for path in made}
    for name, seed in (("three-way", 1), ("three-way-seed-2", 2)):
        saved = torch.load(out / name / "checkpoint_last.pt", map_location="cpu")
        assert saved["cfg"]["common"]["seed"] == seed
    for before, after in zip(record["rows"], more["rows"], strict=True):
        first, both = before["test"]["test"]["bleu"], after["test"]["test"]["bleu"]
        assert both["score"] == first["score"] == first["over_seeds"]["mean"]
        assert first["over_seeds"]["sd"] is None
        assert both["over_seeds"]["seeds"] == 2
    assert more["comparisons"] == record["comparisons"]
    table = (out / "table.md").read_text()
    assert "of the first seed" in table and " ± " in table


def test_failed_run_shows_its_end(record, out, tmp_path):
    bad = Run("bad", tmp_path / "bad", (str(out / "data" / "data-bin"), "--arch", "no-such"))
    with pytest.raises(UserError, match=r"(?s)training of bad failed.*no-such"):
        train([bad], 1)


def test_interrupted_call_stops_its_training_and_says_how_to_go_on(tmp_path):
    command = [sys.executable, "-m", "scripts.quickstart", "--out", str(tmp_path / "run")]
    with subprocess.Popen(
        command, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
    ) as process:
        log = tmp_path / "run" / "none" / "train.log"
        deadline = time.monotonic() + 240
        while not (log.exists() and "train_inner" in log.read_text()):
            assert process.poll() is None, process.stderr.read()
            assert time.monotonic() < deadline
            time.sleep(0.2)
        process.send_signal(signal.SIGTERM)
        _, errors = process.communicate(timeout=60)
    assert process.returncode != 0
    assert "run the same command again" in errors
    assert "Traceback" not in errors
    size = log.stat().st_size
    time.sleep(3)
    assert log.stat().st_size == size, "training went on"
    assert not _alive(str(tmp_path))


def _alive(text):
    found = subprocess.run(["ps", "-eo", "args"], capture_output=True, text=True, check=True)
    return [line for line in found.stdout.splitlines() if text in line and "fairseq" in line]


def test_two_calls_do_not_train_in_one_folder(record, out, tmp_path):
    run = Run("again", tmp_path / "again", ("--help",))
    run.folder.mkdir()
    holder = subprocess.Popen(
        ["flock", str(run.log), "sleep", "30"], stdout=subprocess.DEVNULL, start_new_session=True
    )
    try:
        time.sleep(0.5)
        with pytest.raises(UserError, match="another process"):
            train([run], 1)
    finally:
        os.killpg(holder.pid, signal.SIGKILL)
        holder.wait()
