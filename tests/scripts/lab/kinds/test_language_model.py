"""Language-model experiments: the record, the table beside the paper's, and a run of one."""

import json
import math
import random
import re

import numpy as np
import pytest

from scripts import report, reproduce
from scripts.lab.kinds.language_model import FirstUpdatesResults, LanguageModelResults
from scripts.lab.records.seeds import over_seeds
from scripts.lab.run import specs as recipes
from scripts.lab.run.specs import Experiment, load_experiment
from scripts.lab.runner import results_of
from tests.scripts.lab.show.html.figures import require_figures
from tests.scripts.lab.show.html.reading import read
from tests.scripts.lab.show.html.reading import table as table_of_page
from tiednmt.errors import UserError

EXPERIMENT = """
title: A page
prepare: [preprocess.ptb]
recipe: tied_lstm_lm_small
rows:
  wt+pr:
    common: {log_interval: 1}
    task: {tokens_per_sample: 8}
    model: {tying: decoder, projection: true, embed_dim: 8, hidden_size: 8}
    criterion: {projection_penalty: 0.15}
    optimization: {max_epoch: 2}
    dataset: {batch_size: 4}
subsets: [test]
paper:
  wt+pr: {parameters: 1K, valid: 20.5, test: 21.0}
"""
HIDDEN, TYPES = 8, 10 + 4  # fairseq's symbols
TOKENS = {"train": 40 * 7, "test": 12 * 7}  # ends of lines too


@pytest.fixture(scope="module")
def call(tmp_path_factory):
    """``reproduce`` of the experiment above, on a corpus of a page, with so many seeds."""
    folder = tmp_path_factory.mktemp("language model")
    (folder / "page.yaml").write_text(EXPERIMENT)
    raw, dice = folder / "raw", random.Random(1)
    raw.mkdir()
    for subset, lines in (("train", 40), ("valid", 12), ("test", 12)):
        text = (" ".join(dice.choices("abcdefghij", k=6)) for _ in range(lines))
        (raw / f"ptb.{subset}.txt").write_text("\n".join(text) + "\n")

    def run(seeds):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(recipes, "EXPERIMENTS", folder)
            options = ["--raw", raw, "--out", folder / "run", "--seeds", seeds, "--jobs", 2]
            reproduce.main(["page", *map(str, options)])
        return folder / "run"

    return run


@pytest.fixture(scope="module")
def out(call):
    return call(seeds=2)


@pytest.fixture(scope="module")
def record(out):
    return json.loads((out / "record.json").read_text())


@pytest.mark.slow
def test_scores_are_those_of_all_seeds(record, out):
    (row,) = record["rows"]
    folders = (out / "wt+pr", out / "wt+pr-seed-2")
    scores = [json.loads((folder / "perplexity-test.json").read_text()) for folder in folders]
    values = [math.exp(score["nll"]) for score in scores]
    assert values[0] != values[1]
    assert row["test"]["mean"] == pytest.approx(np.mean(values), abs=1e-3)
    assert row["test"]["sd"] == pytest.approx(np.std(values, ddof=1), abs=1e-3)
    assert row["test"]["seeds"] == 2
    assert scores[0]["tokens"] == TOKENS["test"]
    assert row["paper"] == 21.0


@pytest.mark.slow
def test_the_row_says_what_was_trained(record):
    (row,) = record["rows"]
    lstm = 2 * 4 * (2 * HIDDEN * HIDDEN + 2 * HIDDEN)
    assert row["parameters"] == TYPES * HIDDEN + TYPES + HIDDEN * HIDDEN + lstm
    windows = math.ceil(TOKENS["train"] / 4 / 8)
    assert (row["epochs"], row["updates"]) == (2, 2 * windows)
    assert "--seed 1 " in row["training_command"]
    curves = record["curves"]["wt+pr"]
    assert [[point["epoch"] for point in points] for points in curves] == [[1, 2]] * 2
    assert record["task"] == "tied_language_modeling"
    assert record["command"] == "python -m scripts.reproduce page --seeds 2 --jobs 2"


@pytest.mark.slow
def test_files(record, out):
    for name in ("perplexity-over-epochs.png", "perplexity-over-epochs.svg"):
        assert (out / name).stat().st_size > 200
    assert re.search(r"\| wt\+pr \|.* ± ", (out / "table.md").read_text())


@pytest.mark.slow
def test_report_of_the_run(record, out, tmp_path):
    """Scores of both seeds, and the tie map of the checkpoint."""
    page = tmp_path / "page.html"
    report.main([str(out), "--out", str(page)])
    html = page.read_text()
    require_figures(read(html), html, record)
    head, (name, *counts, total) = table_of_page(read(html), "Parameters by matrix")
    embedding = f"{TYPES * HIDDEN}|{TYPES} × {HIDDEN}"
    assert dict(zip(head[1:], counts, strict=False)) == {
        "input embedding": embedding,
        "output embedding": embedding,
        "output bias": str(TYPES),
        "projection P": str(HIDDEN * HIDDEN),
        "the rest": f"{2 * 4 * (2 * HIDDEN * HIDDEN + 2 * HIDDEN):,}",
    }
    assert (name, total) == ("wt+pr", f"{record['rows'][0]['parameters']:,}")


@pytest.mark.slow
def test_fewer_seeds_train_and_score_nothing_and_show_no_spread(record, out, call):
    made = {path: path.stat().st_mtime for path in out.glob("*/[cp]*")}
    assert {path.suffix for path in made} == {".pt", ".json", ".log"}
    call(seeds=1)
    assert made == {path: path.stat().st_mtime for path in made}
    table = (out / "table.md").read_text()
    scores = json.loads((out / "wt+pr" / "perplexity-test.json").read_text())
    assert f"| {scores['perplexity']:.1f} | 21.0 |" in table
    assert "±" not in table


def row(name, mean, sd, seeds, **paper):
    return {
        "name": name,
        "parameters": 4653200,
        "epochs": 13,
        "training_seconds": 1800,
        "valid": {"mean": mean + 4, "sd": sd, "seeds": seeds},
        "test": {"mean": mean, "sd": sd, "seeds": seeds},
        "paper_parameters": paper.get("parameters"),
        "paper_valid": paper.get("valid"),
        "paper": paper.get("test"),
    }


def table(*rows):
    machine = {
        "device": "CPU",
        "processor": "Some CPU",
        "threads_per_run": 1,
        "runs_side_by_side": 4,
    }
    record = {"title": "Some corpus", "rows": rows, "note": "Nota bene.", "machine": machine}
    text = LanguageModelResults.table(record)
    return [re.split(r" *\| *", line)[1:-1] for line in text.split("\n") if line[:1] == "|"], text


def test_table_beside_the_paper():
    cells, text = table(
        row("none", 114.46, 0.31, 3, parameters="4.65M", valid=120.7, test=114.5),
        row("ours", 99.94, 0.1, 3),
    )
    assert cells[0] == [
        *("", "parameters", "paper", "valid", "paper", "test", "paper", "epochs", "training")
    ]
    assert cells[2] == [
        *("none", "4,653,200", "4.65M", "118.5 ± 0.3", "120.7", "114.5 ± 0.3", "114.5"),
        *("13", "30 min"),
    ]
    assert cells[3][2::2] == ["–", "–", "–", "30 min"]
    assert "standard deviation of 3 seeds" in text
    assert "trained on Some CPU (CPU, 1 thread(s) a run), 4 run(s) side by side. Nota" in text


def trained(name, values, seeds, options="", folder="runs/some"):
    """A record of one row, from perplexities by seed."""
    command = (
        f"fairseq-train {folder}/data-bin --seed {seeds[0]} {options} --save-dir {folder}/{name}"
    )
    found = {
        **row(name, 0.0, None, 1),
        "valid": over_seeds([value + 4 for value in values]),
        "test": over_seeds(values),
        "training_command": command,
        "seeds": seeds,
    }
    of_it = {"command": f"seeds {seeds}", "machine": {"device": folder}, "versions": {}}
    curves = {name: [[{"update": 5, "nll": seed}] for seed in seeds]}
    return {"rows": [found], "curves": curves, **of_it}


def test_further_seeds_join():
    kept = trained("wt", [100.0], [1])
    del kept["rows"][0]["seeds"]  # as older records are
    record = LanguageModelResults.joined(
        kept, trained("wt", [103.0, 102.0], [2, 3], folder="/elsewhere", options="--cpu")
    )
    (found,) = record["rows"]
    assert found["test"] == pytest.approx(over_seeds([100.0, 103.0, 102.0]), abs=2e-4)
    assert found["valid"]["mean"] == pytest.approx(found["test"]["mean"] + 4, abs=2e-4)
    assert found["seeds"] == [1, 2, 3]
    assert [points[0]["nll"] for points in record["curves"]["wt"]] == [1, 2, 3]
    assert [part["command"] for part in record["earlier"]] == ["seeds [1]"]
    again = LanguageModelResults.joined(record, trained("wt", [101.0], [4]))
    assert again["rows"][0]["test"]["seeds"] == 4
    assert [part["command"] for part in again["earlier"]] == ["seeds [1]", "seeds [2, 3]"]


def test_seeds_are_not_lost():
    kept = trained("wt", [100.0, 103.0], [1, 2])
    with pytest.raises(UserError, match=r"^wt: seeds 1 would take the place of 1, 2; run the oth"):
        LanguageModelResults.joined(kept, trained("wt", [100.0], [1]))


@pytest.mark.parametrize("changes", [{"seeds": [1, 2]}, {"options": "--lr 0.5"}])
def test_another_training_takes_the_place_of_a_row(changes):
    given = {"seeds": [2, 3], **changes}
    new = trained("wt", [103.0, 102.0], **given)
    record = LanguageModelResults.joined(trained("wt", [100.0], [1]), new)
    assert record["rows"] == new["rows"]
    assert record["curves"] == new["curves"]
    assert record["earlier"] == []


def test_other_rows_stay():
    new, kept = trained("wt", [100.0], [1]), trained("none", [110.0], [1])
    del kept["rows"][0]["seeds"]
    record = LanguageModelResults.joined(kept, new)
    assert [row["seeds"] for row in record["rows"]] == [[1], [1]]  # the report wants the same keys
    assert [row["name"] for row in record["rows"]] == ["none", "wt"]
    assert [row["test"]["mean"] for row in record["rows"]] == [110.0, 100.0]
    assert list(record["curves"]) == ["none", "wt"]


def test_spread_of_some_rows():
    _, text = table(row("none", 114.4, None, 1), row("wt+pr", 101.9, 0.8, 3))
    assert "its state carried; mean ± standard deviation of 3 seeds where a spread stands" in text


def test_first_updates_beside_each_other():
    points = [{"update": 250, "epoch": 1, "nll": 6.0}, {"update": 1000, "epoch": 1, "nll": 5.0}]
    machine = {"device": "Some GPU", "runs_side_by_side": 1}
    rows = [{"name": "wt", "parameters": 51_000_000}]
    record = {"title": "Begun", "rows": rows, "curves": {"wt": [points]}, "machine": machine}
    head, _, line, _, text = FirstUpdatesResults.page({**record, "experiment": "e"}).split("\n")
    assert head.endswith("| parameters | 250 updates | 1,000 updates |")
    assert line == "| wt | 51,000,000 | 403 | 148 |"  # e⁶ and e⁵
    where = "trained on Some GPU, 1 run(s) side by side"
    assert text == f"Begun; {where}. `python -m scripts.reproduce e`"


def test_first_updates_are_drawn_over_updates(tmp_path):
    points = [
        {"update": update, "epoch": 1, "nll": nll} for update, nll in ((250, 5.0), (500, 9e9))
    ]
    FirstUpdatesResults.plot({"title": "Begun", "curves": {"none": [points]}}, tmp_path)
    assert "updates" in (tmp_path / "perplexity-over-updates.svg").read_text()


def test_table_without_a_paper():
    cells, text = table(row("none", 114.46, None, 1))
    assert cells[0] == ["", "parameters", "valid", "test", "epochs", "training"]
    assert cells[2][2:4] == ["118.5", "114.5"]
    assert "deviation" not in text


def test_figures_of_the_paper():
    """Press and Wolf (2017): test perplexity of the rows."""
    figures = {
        "ptb-small": {"none": 114.5, "wt": 112.4, "pr": 111.7, "wt+pr": 100.9},
        "ptb-large": {"none": 78.4, "wt": 74.3, "bd+wd": 75.2, "bd+wt": 73.2, "rhn+bd+wt": 66.0},
    }
    for name, rows in figures.items():
        experiment = load_experiment(name)
        paper = results_of(experiment).paper
        assert {row: given["test"] for row, given in paper.items()} == rows
        assert list(experiment.rows) == list(rows)


def test_what_an_experiment_may_say():
    def settings(task, **given):
        rows = {"none": {"task": {"_name": task}}}
        return results_of(Experiment("mine", "Mine", ("preprocess.ptb",), rows, given))

    assert settings("tied_language_modeling", subsets=["test"]).subsets == ["test"]
    with pytest.raises(UserError, match=r"^mine: .*'papre'"):
        settings("tied_language_modeling", papre={})
    with pytest.raises(UserError, match=r"^mine: task speech; .* tied_language_modeling$"):
        settings("speech")
