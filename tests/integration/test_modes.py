"""Every way of tying through the whole chain: train, resume, generate, interactive, evaluate."""

from __future__ import annotations

import json
import math
import re
import zipfile

import pytest
import torch
from fairseq import checkpoint_utils

import tiednmt.plugin  # noqa: F401
from tests.support.commandline import PLUGIN, Background, run, train

MODES = {
    "none": (),
    "inputs": ("--tying", "inputs"),
    "decoder": ("--tying", "decoder"),
    "three-way": ("--tying", "three-way", "--projection", "--projection-penalty", "2"),
}
MATRICES = {"none": 3, "inputs": 2, "decoder": 2, "three-way": 1}
CUT, WHOLE = 9, 14  # updates; an epoch has six, so the second start is within the second one

pytestmark = pytest.mark.slow


def _train_in_one_go_and_in_two(data, folder, options):
    whole = train(data, folder / "whole", *options, "--max-update", WHOLE).check()
    for updates in (CUT, WHOLE):
        train(data, folder / "resumed", *options, "--max-update", updates).check()
    return whole


@pytest.fixture(scope="session")
def trainings(data_bin, work, background: Background):
    """Mode → the log of the uninterrupted run, once it and the resumed one are done."""
    return {
        mode: background.start(_train_in_one_go_and_in_two, data_bin, work / mode, options)
        for mode, options in MODES.items()
    }


@pytest.fixture(params=MODES)
def mode(request, trainings):
    """A mode whose models are trained."""
    trainings[request.param].result()
    return request.param


@pytest.fixture
def checkpoint(mode, work):
    return work / mode / "resumed" / "checkpoint_last.pt"


def load(path):
    return torch.load(path, map_location="cpu")


def test_a_resumed_run_ends_with_the_weights_of_an_uninterrupted_one(mode, work):
    whole, resumed = (
        load(work / mode / name / "checkpoint_last.pt") for name in ("whole", "resumed")
    )
    assert whole["optimizer_history"][-1]["num_updates"] == WHOLE
    assert resumed["optimizer_history"][-1]["num_updates"] == WHOLE
    for name, value in whole["model"].items():
        assert torch.equal(value, resumed["model"][name]), name
    moments = (run["last_optimizer_state"]["state"] for run in (whole, resumed))
    for one, other in zip(*(state.values() for state in moments), strict=True):
        assert torch.equal(one["exp_avg"], other["exp_avg"])


def test_the_start_up_log_prints_the_tie_map(mode, trainings):
    log = trainings[mode].result().output
    groups = {
        "none": ("source input embedding ", "target input embedding ", "output embedding "),
        "inputs": ("source input embedding = target input embedding ", "output embedding "),
        "decoder": ("source input embedding ", "target input embedding = output embedding "),
        "three-way": ("source input embedding = target input embedding = output embedding ",),
    }
    for group in groups[mode]:
        assert re.search(rf"^  {group} *\d+ x 128", log, re.MULTILINE), group
    assert f"tying: {mode}" in log


def test_the_penalty_is_logged_apart_from_the_likelihood(trainings):
    log = trainings["three-way"].result().output
    penalty, nll = (
        float(re.search(rf"train_inner.* {key}=([\d.]+)", log)[1])
        for key in ("penalty", "nll_loss")
    )
    assert penalty > 10  # ½·2·‖P‖², P of 128 × 128 drawn from ±1/√128: a third of 128
    assert nll < 10
    assert " penalty=" not in trainings["none"].result().output


def test_the_tied_matrices_are_one_object_after_a_load(mode, checkpoint):
    (model,), _, _ = checkpoint_utils.load_model_ensemble_and_task([str(checkpoint)])
    source, target = model.encoder.embedding.weight, model.decoder.embedding.weight
    output = model.output_layer.embedding.weight
    assert (target is output) == (mode in ("decoder", "three-way"))
    assert (source is target) == (mode in ("inputs", "three-way"))
    assert len({id(weight) for weight in (source, target, output)}) == MATRICES[mode]
    assert (model.output_layer.projection is not None) == (mode == "three-way")


def test_a_checkpoint_stores_each_matrix_once(mode, checkpoint):
    weights = load(checkpoint)["model"]
    ((types, dim),) = {tuple(weights[name].shape) for name in weights if "embedding.weight" in name}
    assert sum("embedding.weight" in name for name in weights) == MATRICES[mode]
    # in the file: the matrices themselves and Adam's two moments of each
    with zipfile.ZipFile(checkpoint) as archive:
        stored = [entry for entry in archive.infolist() if entry.file_size == 4 * types * dim]
    assert len(stored) == 3 * MATRICES[mode]


@pytest.fixture(scope="session")
def translations(trainings, data_bin, prepared, work, background):
    """Mode → fairseq-generate and fairseq-interactive over the same ten sentences."""
    text = (prepared / "bpe" / "test.en").read_text(encoding="utf-8")

    def translate(mode):
        trainings[mode].result()
        path = work / mode / "resumed" / "checkpoint_last.pt"
        options = (data_bin, *PLUGIN, "--path", path, "--beam", 3, "--max-len-b", 20)
        batched = ("--batch-size", 4)
        return (
            run("fairseq-generate", *options, *batched, "--gen-subset", "test").check(),
            run("fairseq-interactive", *options, text=text).check(),
        )

    return {mode: background.start(translate, mode) for mode in MODES}


def hypotheses(done):
    """Sentence → (score, text) of the lines that begin with H."""
    found = re.findall(r"^H-(\d+)\t(\S+)\t(.*)$", done.stdout, re.MULTILINE)
    return {int(number): (float(score), text) for number, score, text in found}


def test_generate_and_interactive_translate_alike(mode, translations):
    generated, typed = (hypotheses(done) for done in translations[mode].result())
    assert sorted(generated) == sorted(typed) == list(range(10))
    for number, (score, text) in generated.items():
        assert text == typed[number][1]
        assert math.isfinite(score)
        assert score == pytest.approx(typed[number][0], abs=1e-4)


def test_validate_finds_the_loss_that_training_logged(mode, checkpoint, data_bin):
    options = ("--path", checkpoint, "--task", "translation", "--batch-size", 4)
    done = run("fairseq-validate", data_bin, *PLUGIN, *options).check()
    loss = float(re.search(r"valid \| .*?\| loss ([\d.]+)", done.output)[1])
    assert loss == pytest.approx(load(checkpoint)["extra_state"]["val_loss"], abs=2e-3)


def test_evaluate_scores_all_modes_side_by_side(trainings, prepared, work):
    for training in trainings.values():
        training.result()
    systems = [f"{mode}={work / mode / 'resumed' / 'checkpoint_last.pt'}" for mode in MODES]
    options = ("--data", prepared, "--subset", "test", "--beam", 2, "--cpu")
    report, output = work / "scores.json", work / "translations"
    run("-m", "scripts.evaluate", *systems, *options, "--json", report, "--output", output).check()
    rows = json.loads(report.read_text(encoding="utf-8"))["subset"]["test"]["systems"]
    assert [row["name"] for row in rows] == list(MODES)
    # three-way: two matrices fewer and a P of 128 × 128 more
    types = load(work / "none" / "whole" / "checkpoint_last.pt")["model"]["decoder.output.bias"]
    sizes = {row["name"]: row["parameters"] for row in rows}
    for mode in ("inputs", "decoder"):
        assert sizes["none"] - sizes[mode] == len(types) * 128
    assert sizes["none"] - sizes["three-way"] == 2 * len(types) * 128 - 128 * 128
    files = sorted(output.rglob("*"))
    texts = [file.read_text(encoding="utf-8") for file in files if file.is_file()]
    assert len(texts) == len(MODES)
    assert all(text.count("\n") == 10 and "@@" not in text for text in texts)
