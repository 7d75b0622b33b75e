"""An experiment from start to end, cut off and started again, through the real commands."""

import fcntl
import json
import math
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace
from itertools import pairwise

import pytest
import torch

import tiednmt
from scripts.lab import store
from scripts.lab.benchmarks import generation
from scripts.lab.kinds.translation import join
from scripts.lab.records import settings
from scripts.lab.run.distillation import translate
from scripts.lab.run.specs import ROOT, Experiment, load_recipe, merge, without_seed
from scripts.lab.run.summary import read_summary
from scripts.lab.run.training import Run, log_entries, train
from scripts.lab.runner import Options, run_experiment
from scripts.lab.store import read_record
from tests.support.pictures import drawn
from tiednmt.errors import UserError
from tiednmt.text.lines import read_lines

PAIR = ("en", "de")

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("forks")]


def experiment(updates=6):
    recipe = merge(
        load_recipe("tied_gru_demo"),
        {
            "optimization": {"max_update": updates},
            "common": {"log_interval": 1},
            "checkpoint": {"save_interval_updates": 2, "keep_interval_updates": 2},
        },
    )
    rows = {
        "none": {"model": {"tying": "none"}},
        "three-way": {
            "model": {"tying": "three-way", "input_scale": "learned"},
            "criterion": {"measure_gradients": 2},
            # is another task of fairseq's and the same kind of experiment
            "task": {"_name": "tied_translation"},
        },
    }
    return Experiment(
        name="tiny",
        title="Tiny",
        kind="translation",
        prepare=("preprocess.demo", "--pairs", "200", "--merges", "200"),
        rows={name: merge(recipe, changes) for name, changes in rows.items()},
        settings={"baselines": ["none"], "subsets": ["test"], "beam": 1},
        average_last=2,
    )


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Where the experiment is run; its record is that of the last call."""
    return tmp_path_factory.mktemp("experiment") / "tiny run"


@pytest.fixture(scope="module")
def record(folder, forks):
    return run_experiment(experiment(), folder, "the command")


def call_again(*arguments):
    """A later call, which draws nothing: tests look at the pictures of the first."""
    with drawn(by=store):
        return run_experiment(*arguments)


@pytest.fixture(scope="module")
def out(record, folder, tmp_path_factory):
    """The folder as the first call left it."""
    return shutil.copytree(folder, tmp_path_factory.mktemp("first") / "out")


def made(folder):
    """When the checkpoints and the scores of the first seed were made."""
    files = (*folder.glob("*/*.pt"), folder / "scores.json")
    return {path: path.stat().st_mtime for path in files if "seed" not in path.parent.name}


def test_record(record, out):
    none, three_way = record.rows
    assert [none.name, three_way.name] == ["none", "three-way"]
    assert none.updates == three_way.updates == 6
    assert none.epochs == record.curves["none"][0][-1].epoch
    assert three_way.share == round(three_way.parameters / none.parameters, 4) < 0.9
    assert three_way.checkpoint_bytes < none.checkpoint_bytes
    assert "case:mixed|eff:no|tok:13a" in none.test["test"].bleu.signature
    assert record.curves["none"][0][-1].update == 6
    assert len(record.samples) == 5
    assert set(record.samples[0]) == {"source", "reference", "none", "three-way"}
    assert record.command == "the command"
    assert read_record(out / "record.json") == record


def test_the_mean_of_the_last_checkpoints_is_scored(record, out):
    mean = torch.load(out / "none" / "mean_of_last_2.pt", map_location="cpu")
    last = torch.load(out / "none" / "checkpoint_last.pt", map_location="cpu")
    assert mean["last_optimizer_state"] is None
    one, other = (state["model"]["decoder.output.bias"] for state in (mean, last))
    assert not torch.equal(one, other)
    assert [row.averaged for row in record.rows] == [2, 2]
    scores = json.loads((out / "scores.json").read_text())
    scored = [system["checkpoint"] for system in scores["subset"]["test"]["systems"]]
    assert [path.rpartition("/")[2] for path in scored] == ["mean_of_last_2.pt"] * 2
    table = (out / "table.md").read_text()
    assert "Scores are those of the mean of the last 2 checkpoints" in table


def test_a_recipe_that_keeps_too_few_checkpoints_is_refused_at_once(tmp_path):
    more = replace(experiment(), average_last=3)
    with pytest.raises(UserError, match=r"average_last is 3.*row none keeps fewer"):
        run_experiment(more, tmp_path / "out", "the command")
    assert not (tmp_path / "out").exists()


def test_a_teacher_that_keeps_too_few_checkpoints_is_refused_at_once(tmp_path):
    """It is trained too, although only its student is asked for."""
    more = {"checkpoint": {"keep_interval_updates": 3}}
    taught = taught_experiment()
    student = {"student": merge(taught.rows["student"], more)}
    alone = replace(taught, average_last=3, rows={**taught.rows, **student}).only(["student"])
    with pytest.raises(UserError, match=r"average_last is 3.*row none keeps fewer"):
        run_experiment(alone, tmp_path / "out", "the command")
    assert not (tmp_path / "out").exists()


def test_what_was_measured_in_training(record, out):
    """Of the row that was trained with --measure-gradients, and learned its scales."""
    none, three_way = record.rows
    assert none.input_scales is None
    state = torch.load(out / "three-way" / "checkpoint_last.pt", map_location="cpu")["model"]
    for use, part in (("source", "encoder"), ("target", "decoder")):
        ended = three_way.input_scales[f"{use} input embedding"]
        assert ended.mean == pytest.approx(float(state[f"{part}.input_scale.factor"]), abs=1e-3)
        assert f"{use} input {ended.mean:.2f}" in (out / "table.md").read_text()
    (shares,) = record.gradients["three-way"]
    assert [*record.gradients] == ["three-way"] and list(shares.updates) == [0, 2, 4]
    lines = (out / "three-way" / "gradient-shares.jsonl").read_text().splitlines()
    for i, line in enumerate(map(json.loads, lines)):
        for use, found in line["uses"].items():
            assert shares.uses[use].norms[i] == pytest.approx(found["norm"], rel=1e-3)
            assert shares.shares[use][i] == pytest.approx(found["share"], abs=1e-3)
            for side, norm in found["sides"].items():
                assert shares.uses[use].sides[side][i] == pytest.approx(norm, rel=1e-3)
    assert (out / "gradient-shares.svg").stat().st_size > 200


def test_the_recipe_is_what_was_trained(record):
    for row, recipe in zip(record.rows, experiment().rows.values(), strict=True):
        assert settings.compare([row.recipe, without_seed(recipe)]).apart == {}
        words = shlex.split(row.training_command)
        assert words[0] == "fairseq-train"
        given = {*pairwise(words)}
        assert ("--task", recipe["task"]["_name"]) in given and ("--seed", "1") in given


def test_what_a_run_says_of_itself_is_what_it_saved(record, out):
    """Size, updates and validations, beside the checkpoint's and fairseq's log."""
    for row in record.rows:
        summary = read_summary(out / row.name)
        saved = torch.load(out / row.name / "checkpoint_last.pt", map_location="cpu")
        assert summary.updates == saved["optimizer_history"][-1]["num_updates"] == row.updates
        seconds = saved["extra_state"]["previous_training_time"]
        assert summary.training_seconds == pytest.approx(seconds, abs=1)
        log = (out / row.name / "train.log").read_text()
        counts = re.findall(r"num. shared model params: ([\d,]+)", log)
        assert f"{summary.parameters:,}" == counts[-1]
        entries = [*log_entries(out / row.name / "train.log", "valid")]
        points = [(int(e["valid_num_updates"]), float(e["valid_nll_loss"])) for e in entries]
        assert [(p.update, p.nll) for p in summary.validations] == [
            (update, pytest.approx(bits * math.log(2), abs=1e-4)) for update, bits in points
        ]


def test_files(record, out):
    for name in ("table.md", "learning-curves.png", "bleu-over-parameters.svg"):
        assert (out / name).stat().st_size > 200
    assert "| three-way |" in (out / "table.md").read_text()


def test_second_call_trains_and_scores_nothing(record, folder):
    before = made(folder)
    others = Options(jobs=record.machine.runs_side_by_side + 1)  # trained nothing
    for options in (None, others):
        assert call_again(experiment(), folder, "the command", options) == record
    assert made(folder) == before


def test_other_recipe_in_the_same_folder_is_refused(record, folder):
    with pytest.raises(UserError, match="another command line"):
        run_experiment(experiment(updates=7), folder, "the command")


def test_further_seeds_leave_the_first_alone(record, folder):
    before = made(folder)
    more = call_again(experiment(), folder, "the command", Options(seeds=(1, 2)))
    assert made(folder) == before
    for name, seed in (("three-way", 1), ("three-way-seed-2", 2)):
        saved = torch.load(folder / name / "checkpoint_last.pt", map_location="cpu")
        assert saved["cfg"]["common"]["seed"] == seed
    for first, both in zip(record.rows, more.rows, strict=True):
        assert both.seeds == (1, 2)
        one, two = first.test["test"].bleu, both.test["test"].bleu
        assert two.score == one.score == one.over_seeds.mean
        assert one.over_seeds.sd is None
        assert two.over_seeds.seeds == 2
        assert two.seeds[0] == one.seeds[0] != two.seeds[1]
    table = (folder / "table.md").read_text()
    assert "Differences: over seeds and test sentences" in table and " ± " in table
    second = call_again(experiment(), folder, "the command", Options(seeds=(2,)))
    assert [row.test["test"].bleu.seeds for row in second.rows] == [
        row.test["test"].bleu.seeds[1:] for row in more.rows
    ]
    joined = join(record, second)
    assert [row.test for row in joined.rows] == [row.test for row in more.rows]
    assert [*joined.samples] == [*record.samples]


def test_scores_that_do_not_say_what_is_needed_are_made_anew(record, folder):
    scores = folder / "scores.json"
    text = scores.read_text()
    old = json.loads(text)
    for system in old["subset"]["test"]["systems"]:
        del system["bleu"]["influences"]
    scores.write_text(json.dumps(old))
    again = call_again(experiment(), folder, "the command")
    assert again.rows[0].test == record.rows[0].test
    assert json.loads(scores.read_text())["subset"]["test"]["comparisons"]


def test_a_row_alone_is_compared_with_a_baseline_of_an_earlier_call(record, folder):
    call_again(experiment(), folder, "all rows")
    alone = experiment().only(["three-way"])
    again = call_again(alone, folder, "one row")
    assert {row.name: row.test for row in again.rows} == {r.name: r.test for r in record.rows}
    assert [one.command for one in again.earlier] == ["all rows"] and again.command == "one row"
    assert "| against none |" in (folder / "table.md").read_text()
    other = replace(alone, left_out={"none": experiment(updates=9).rows["none"]})
    assert call_again(other, folder, "one row").row_names == ["three-way"]
    (folder / "record.json").write_text("{}")  # of another version, or damaged
    assert call_again(alone, folder, "one row").row_names == ["three-way"]
    assert "against" not in (folder / "table.md").read_text()


def test_scores_of_other_rows_do_not_cover_those_asked_for(record, folder):
    """A row that was trained before, and is scored now."""
    scores = json.loads((folder / "scores.json").read_text())
    for of in scores["subset"].values():
        of["systems"] = [system for system in of["systems"] if system["name"] == "none"]
    (folder / "scores.json").write_text(json.dumps(scores))
    again = call_again(experiment(), folder, "the command")
    assert [row.test for row in again.rows] == [row.test for row in record.rows]


def taught_experiment():
    """The first row alone, and a student of both."""
    of_both = experiment()
    rows = {**of_both.rows, "student": of_both.rows["none"]}
    return replace(of_both, rows=rows, teachers={"student": ["none", "three-way"]})


def test_a_student_learns_from_its_teachers_translations(record, folder):
    before = {path: time for path, time in made(folder).items() if path.suffix == ".pt"}
    taught = call_again(taught_experiment().only(["none", "student"]), folder, "the command")
    assert {path: time for path, time in made(folder).items() if path in before} == before
    assert [(row.name, [*row.teachers]) for row in taught.rows] == [
        ("none", []),
        ("student", ["none", "three-way"]),
    ]
    assert "Knowledge distillation: student from none + three-way" in (
        folder / "table.md"
    ).read_text(encoding="utf-8")
    source, target = (list(read_lines(folder / "data/raw" / f"train.{code}")) for code in PAIR)
    means = [folder / row / "mean_of_last_2.pt" for row in ("none", "three-way")]
    with tiednmt.load(means, folder / "data") as teachers:
        translations = teachers.translate(source)
    prepared = folder / "taught-by-none+three-way" / "data"
    pairs = [*zip(source, target, strict=True), *zip(source, translations, strict=True)]
    wanted = [pair for pair in pairs if all(text.strip() for text in pair)]
    sides = (read_lines(prepared / "tokenised" / f"train.{code}") for code in PAIR)
    assert len([*zip(*sides, strict=True)]) == len(wanted)
    log = (folder / "student" / "train.log").read_text(encoding="utf-8")
    assert f"{len(wanted)} examples from" in log
    alone = call_again(taught_experiment().only(["student"]), folder, "the command")
    assert alone.rows[-1].test == taught.rows[-1].test


def test_a_teacher_goes_on_where_it_was_interrupted(record, folder, tmp_path):
    source = tmp_path / "source"
    lines = list(read_lines(folder / "data/raw/valid.en"))[:6]
    source.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    teachers = [folder / "none" / "checkpoint_best.pt"]
    whole, begun = tmp_path / "whole.de", tmp_path / "cut.de.begun"
    translate(folder / "data", source, whole, teachers)
    first, second, third = whole.read_text(encoding="utf-8").splitlines()[:3]
    assert first + second + third
    begun.write_text(f"kept\n{second}\n{third[:1]}", encoding="utf-8")
    translate(folder / "data", source, tmp_path / "cut.de", teachers)
    continued = (tmp_path / "cut.de").read_text(encoding="utf-8").splitlines()
    assert continued == ["kept", *whole.read_text(encoding="utf-8").splitlines()[1:]]
    assert not begun.exists()
    begun.write_text("of another model\n", encoding="utf-8")
    os.utime(begun, (0, 0))
    translate(folder / "data", source, tmp_path / "cut.de", teachers)
    assert (tmp_path / "cut.de").read_text() == whole.read_text()


def test_only_translation_models_have_teachers(tmp_path):
    other = replace(taught_experiment(), kind="tied_language_modeling", settings={})
    with pytest.raises(UserError, match="teachers: only translation models have them"):
        run_experiment(other, tmp_path / "out", "the command")


@pytest.fixture
def as_fast_as_the_beam_is_wide(monkeypatch):
    """``fairseq-generate``; the commands, as options with what follows them."""
    commands = []

    def generate(words, threads, log):
        commands.append(dict(pairwise(words)))
        beam = commands[-1]["--beam"]
        log.write_text(f"Translated 1 sentences in 1.0s ({beam}.00 sentences/s, 9 tokens/s)")

    monkeypatch.setattr(generation, "run_module", generate)
    return commands


@pytest.mark.usefixtures("as_fast_as_the_beam_is_wide")
def test_a_benchmark_of_its_searches_with_two_beams(record, out):
    options = {"run": out, "row": "three-way", "against": "none", "runs": 2}
    for beams, sides in (
        (
            {"beam": 1, "against_beam": 3},
            [("tied_gru_tiny three-way, beam 1", 1), ("none, beam 3", 3)],
        ),
        ({}, [("tied_gru_tiny three-way", 5), ("none", 5)]),
    ):
        found = generation.measure(generation.Generation(**options, **beams))
        shown = [(found[side]["name"], found[side]["median"]) for side in ("ours", "against")]
        assert shown == sides


def test_a_benchmark_of_two_rows_by_one_search(record, out, as_fast_as_the_beam_is_wide):
    rows = {"row": "three-way", "against_row": "none"}
    found = generation.measure(generation.Generation(run=out, **rows, runs=1))
    names = [found[side]["name"] for side in ("ours", "against")]
    assert names == ["tied_gru_tiny three-way", "tied_gru_tiny none"]
    searches = {command.get("--task") for command in as_fast_as_the_beam_is_wide}
    assert searches == {"tied_translation"}


def test_a_run_without_a_summary_is_named(record, out):
    summary = out / "none" / "run.json"
    text = summary.read_text()
    for damage, message in ((None, "no such file"), ('{"parameters": 1}', "damaged .it lacks")):
        summary.unlink() if damage is None else summary.write_text(damage)
        with pytest.raises(UserError, match=f"run.json: {message}"):
            read_summary(out / "none")
    summary.write_text(text)


def test_failed_run_shows_its_end(record, out, tmp_path):
    bad = Run("bad", tmp_path / "bad", (str(out / "data" / "data-bin"), "--arch", "no-such"))
    with pytest.raises(UserError, match=r"(?s)training of bad failed.*no-such"):
        train([bad], 1)


SMALL = """
title: Small
kind: translation
prepare: [preprocess.demo, --pairs, "200", --merges, "200"]
recipe: tied_gru_demo
rows: {none: {common: {log_interval: 1}}}
baselines: [none]
subsets: [test]
beam: 1
"""


def test_interrupted_call_stops_its_training_and_says_how_to_go_on(tmp_path):
    (tmp_path / "small.yaml").write_text(SMALL)
    code = (
        "import sys; from pathlib import Path; from scripts import reproduce; "
        "from scripts.lab.run import specs; specs.EXPERIMENTS = Path(sys.argv[1]); "
        "reproduce.main(['small', '--out', sys.argv[2]])"
    )
    command = [sys.executable, "-c", code, str(tmp_path), str(tmp_path / "run")]
    with subprocess.Popen(
        command, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
    ) as process:
        log = tmp_path / "run" / "none" / "train.log"
        deadline = time.monotonic() + 480
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
    with open(run.log, "ab") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        with pytest.raises(UserError, match="another process"):
            train([run], 1)
