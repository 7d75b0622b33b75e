"""Language-model experiments: the record, the table beside the paper's, and a run of one."""

import json
import math
import random
import re
import shutil
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest

from scripts import report, reproduce
from scripts.lab.kinds import language_model as language_model_kind
from scripts.lab.kinds.kind import Trained
from scripts.lab.kinds.language_model import LanguageModelScoring, join
from scripts.lab.records.schema import LanguageModelRecord, TrainedRow
from scripts.lab.run import specs as recipes
from scripts.lab.run.specs import Experiment, load_experiment
from scripts.lab.run.training import Run
from scripts.lab.runner import run_experiment, scoring_of
from scripts.lab.store import figures_of, summary_of, write_figures
from tests.scripts.lab.show.html.figures import require_figures
from tests.scripts.lab.show.html.reading import read
from tests.scripts.lab.show.html.reading import table as table_of_page
from tests.support import records
from tiednmt.embeddings.gradients import GradientShares
from tiednmt.errors import UserError
from tiednmt.seeds import over_seeds
from tiednmt.typed import from_json, to_json

EXPERIMENT = """
title: A page
kind: tied_language_modeling
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
def call(forks, tmp_path_factory):
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
def folder(call):
    """The folder of a run with two seeds; its record is that of the last call."""
    return call(seeds=2)


@pytest.fixture(scope="module")
def out(folder, tmp_path_factory):
    """The folder as the first call left it."""
    return shutil.copytree(folder, tmp_path_factory.mktemp("first") / "out")


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
    statistics = row["perplexity"]["test"]
    assert statistics["mean"] == pytest.approx(np.mean(values), abs=1e-3)
    assert statistics["sd"] == pytest.approx(np.std(values, ddof=1), abs=1e-3)
    assert statistics["seeds"] == 2
    assert scores[0]["tokens"] == TOKENS["test"]
    assert row["paper"] == {"parameters": "1K", "valid": 20.5, "test": 21.0}


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
    assert record["kind"] == "tied_language_modeling"
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
    head, (name, *cells) = table_of_page(read(html), "Parameters by matrix")
    embedding = f"{TYPES * HIDDEN}|{TYPES} × {HIDDEN}"
    assert name == "wt+pr"
    expected = {
        "input embedding": embedding,
        "output embedding": embedding,
        "output bias": str(TYPES),
        "projection P": str(HIDDEN * HIDDEN),
        "the rest": f"{2 * 4 * (2 * HIDDEN * HIDDEN + 2 * HIDDEN):,}",
        "total": f"{record['rows'][0]['parameters']:,}",
    }
    assert expected.items() <= dict(zip(head[1:], cells, strict=True)).items()


@pytest.mark.slow
def test_fewer_seeds_train_and_score_nothing_and_show_no_spread(out, folder, call):
    made = {path: path.stat().st_mtime for path in folder.glob("*/[cp]*")}
    assert {path.suffix for path in made} == {".pt", ".json", ".log"}
    call(seeds=1)
    assert made == {path: path.stat().st_mtime for path in made}
    table = (folder / "table.md").read_text()
    scores = json.loads((folder / "wt+pr" / "perplexity-test.json").read_text())
    assert f"| {scores['perplexity']:.1f} | 21.0 |" in table
    assert "±" not in table


def test_a_mean_of_checkpoints_has_scores_of_its_own(tmp_path, monkeypatch):
    """Also where that of the lowest loss is older than them."""

    def scored(starts, jobs):
        for start in starts:
            _, command, _ = start.args
            checkpoint = Path(command[command.index("scripts.perplexity") + 1])
            scores = Path(command[command.index("--json") + 1])
            value = {"checkpoint_best": 100.0, "mean_of_last_2": 90.0}[checkpoint.stem]
            scores.write_text(json.dumps({"perplexity": value}))
            made.append(value)

    made = []
    monkeypatch.setattr(language_model_kind, "side_by_side", scored)
    best = Run("wt", tmp_path, ())
    mean = replace(best, average_last=2)
    for run in (best, mean):
        run.checkpoint.touch()
    row = from_json(TrainedRow, records.row("wt", 1_000, 1))
    found = []
    for run in (best, mean, best):
        trained = Trained([row], {"wt": [run]}, tmp_path, tmp_path, (1,), 1)
        (scores,) = LanguageModelScoring(subsets=["test"]).score(trained)["rows"]
        found.append(scores.perplexity["test"].mean)
    assert found == [100.0, 90.0, 100.0]
    assert made == [100.0, 90.0]


def language_model(*rows, **changes):
    """A record of rows that were trained on a CPU."""
    made = records.language_model()
    machine = {**made["machine"], "runs_side_by_side": 4}
    curves = {row["name"]: [[VALIDATION]] * len(row["seeds"]) for row in rows}
    made.update(rows=[*rows], curves=curves, machine=machine, title="Some corpus", **changes)
    for key in ("format", "kind"):
        del made[key]
    return from_json(LanguageModelRecord, {"kind": "tied_language_modeling", **made})


VALIDATION = {"update": 250, "epoch": 1, "nll": 6.0}


def row(name, values, seeds=(), recipe=None, **paper):
    """Trained with seeds that gave these perplexities on the test set."""
    base = records.language_model()["rows"][0]
    return {
        **base,
        "name": name,
        "parameters": 4653200,
        "epochs": 13,
        "training_seconds": 1800,
        "seeds": seeds or list(range(1, len(values) + 1)),
        "recipe": recipe or {"model": {"tying": "decoder"}},
        "perplexity": {
            "valid": asdict(over_seeds([value + 4 for value in values])),
            "test": asdict(over_seeds(values)),
        },
        "paper": paper,
    }


def lines_of(text):
    return [re.split(r" *\| *", line)[1:-1] for line in text.split("\n") if line[:1] == "|"]


def test_table_beside_the_paper():
    text = summary_of(
        language_model(
            row("none", [114.15, 114.77], parameters="4.65M", valid=120.7, test=114.5),
            row("ours", [99.84, 100.04]),
        )
    )
    cells = lines_of(text)
    assert cells[0] == [
        *("", "parameters", "paper", "valid", "paper", "test", "paper", "epochs", "training")
    ]
    assert cells[2] == [
        *("none", "4,653,200", "4.65M", "118.5 ± 0.4", "120.7", "114.5 ± 0.4", "114.5"),
        *("13", "30 min"),
    ]
    assert cells[3][2::2] == ["–", "–", "–", "30 min"]
    assert "standard deviation of 2 seeds" in text
    assert "trained on Some CPU (CPU, 1 thread(s) per run), 4 run(s) in parallel. Nota" in text


def test_table_without_a_paper():
    text = summary_of(language_model(row("none", [114.46])))
    cells = lines_of(text)
    assert cells[0] == ["", "parameters", "valid", "test", "epochs", "training"]
    assert cells[2][2:4] == ["118.5", "114.5"]
    assert "deviation" not in text


def test_without_a_test_set_the_last_text_counts():
    rows = [row("none", [114.46]), row("wt", [110.0])]
    for one in rows:
        del one["perplexity"]["test"]
    made = figures_of(language_model(*rows))
    assert "perplexity 118.5 on valid" in made.lead
    assert [what for what, _ in made.findings[0].details] == ["perplexity, valid"]


def test_spread_of_some_rows():
    text = summary_of(language_model(row("none", [114.4]), row("wt+pr", [101.1, 101.9, 102.7])))
    assert "its state carried; mean ± standard deviation of 3 seeds where a spread is shown" in text


def trained(name, values, seeds, command="some", **changes):
    """A record of one row, whose validations tell the seeds."""
    curves = {name: [[{**VALIDATION, "nll": float(seed)}] for seed in seeds]}
    record = language_model(row(name, values, seeds, **changes))
    given = to_json(record) | {"curves": curves, "command": command}
    return from_json(LanguageModelRecord, json.loads(json.dumps(given)))


def test_further_seeds_join():
    kept = trained("wt", [100.0], [1], command="first")
    record = join(kept, trained("wt", [103.0, 102.0], [2, 3], command="second"))
    (found,) = record.rows
    for subset, more in (("test", 0), ("valid", 4)):
        expected = over_seeds([value + more for value in (100.0, 103.0, 102.0)])
        assert asdict(found.perplexity[subset]) == pytest.approx(asdict(expected), abs=2e-4)
    assert found.seeds == [1, 2, 3]
    assert [points[0].nll for points in record.curves["wt"]] == [1, 2, 3]
    assert [part.command for part in record.earlier] == ["first"]
    again = join(record, trained("wt", [101.0], [4]))
    assert again.rows[0].perplexity["test"].seeds == 4
    assert [part.command for part in again.earlier] == ["first", "second"]


def test_the_time_of_further_seeds_is_the_mean_over_all_of_them():
    def taking(seconds, values, seeds):
        record = trained("wt", values, seeds)
        return replace(record, rows=[replace(record.rows[0], training_seconds=seconds)])

    record = join(taking(1000, [100.0], [1]), taking(1600, [103.0, 102.0], [2, 3]))
    assert record.rows[0].training_seconds == 1400


def with_gradients(record, *outputs, scales=None):
    """The record, as if each seed had measured its gradients and learned its scales."""
    measured = [from_json(GradientShares, records.gradients(output=[norm] * 3)) for norm in outputs]
    rows = [
        replace(row, input_scales={"input embedding": over_seeds(scales)}) for row in record.rows
    ]
    return replace(record, rows=rows, gradients={"wt": measured})


def test_what_further_seeds_measured_joins():
    kept = with_gradients(trained("wt", [100.0], [1]), 1.0, scales=[3.0])
    new = with_gradients(trained("wt", [103.0, 102.0], [2, 3]), 2.0, 3.0, scales=[4.0, 5.0])
    record = join(kept, new)
    norms = [run.uses["output embedding"].norms[0] for run in record.gradients["wt"]]
    assert norms == [1.0, 2.0, 3.0]
    scales = record.rows[0].input_scales["input embedding"]
    assert asdict(scales) == pytest.approx(asdict(over_seeds([3.0, 4.0, 5.0])), abs=2e-4)
    assert join(kept, trained("wt", [103.0], [2])).gradients is None  # not of all seeds
    other = trained("wt", [99.0], [1], recipe={"optimization": {"lr": [0.5]}})
    assert join(kept, other).gradients is None
    assert join(kept, trained("none", [110.0], [1])).gradients == kept.gradients


def test_seeds_are_not_lost():
    kept, again = trained("wt", [100.0, 103.0], [1, 2]), trained("wt", [100.0], [1])
    joined = join(kept, again)
    assert [*joined.rows] == [*kept.rows] and joined.curves == kept.curves
    other = replace(again, curves={"wt": [[replace(again.curves["wt"][0][0], nll=5.0)]]})
    with pytest.raises(UserError, match=r"^wt: seeds 1 would replace 1, 2; run the oth"):
        join(kept, other)


@pytest.mark.parametrize(
    "changes", [{"seeds": [1, 2]}, {"recipe": {"optimization": {"lr": [0.5]}}}], ids=str
)
def test_another_training_takes_the_place_of_a_row(changes):
    new = trained("wt", [103.0, 102.0], **{"seeds": [2, 3], **changes})
    record = join(trained("wt", [100.0], [1]), new)
    assert record.rows == [*new.rows]
    assert record.curves == new.curves
    assert not record.earlier


def test_other_rows_stay():
    record = join(trained("none", [110.0], [1]), trained("wt", [100.0], [1]))
    assert record.row_names == [*record.curves] == ["none", "wt"]
    assert [row.perplexity["test"].mean for row in record.rows] == [110.0, 100.0]


def test_a_run_is_named_once():
    record = trained("none", [110.0], [1], "first")
    for _ in range(3):
        record = join(record, trained("wt", [100.0], [1], "second"))
        assert record.command == "second"
        assert [run.command for run in record.earlier] == ["first"]


def begun():
    """A model after 250 and 1,000 updates."""
    points = [VALIDATION, {"update": 1000, "epoch": 1, "nll": 5.0}]
    given = to_json(language_model({**row("wt", [1.0]), "perplexity": {}}))
    given |= {"kind": "first-updates", "experiment": "e", "title": "Begun"}
    given["curves"] = {"wt": [points]}
    return from_json(LanguageModelRecord, json.loads(json.dumps(given)))


def test_first_updates_beside_each_other():
    head, _, line, _, text = summary_of(begun()).split("\n")
    assert head.endswith("| parameters | 250 updates | 1,000 updates |")
    assert line == "| wt | 4,653,200 | 403 | 148 |"  # e⁶ and e⁵
    where = "trained on Some CPU (CPU, 1 thread(s) per run), 4 run(s) in parallel"
    assert text == f"Begun; {where}. `python -m scripts.reproduce e`"


def test_first_updates_are_those_of_every_seed_and_row():
    """``none`` was not validated after 250 updates, and its two seeds after 500 and 1,000."""
    given = to_json(begun())
    given["rows"].append({**given["rows"][0], "name": "none", "seeds": [1, 2]})
    at_500, at_1000 = ({"update": n, "epoch": 1, "nll": math.log(200)} for n in (500, 1000))
    given["curves"]["none"] = [[at_500, at_1000], [at_500, {**at_1000, "nll": math.log(100)}]]
    record = from_json(LanguageModelRecord, json.loads(json.dumps(given)))
    head, _, wt, none, *_ = lines_of(summary_of(record))
    assert head[2:] == ["250 updates", "500 updates", "1,000 updates"]
    assert (wt[2:], none[2:]) == (["403", "–", "148"], ["–", "200", "150"])


def test_first_updates_are_drawn_over_updates(tmp_path):
    write_figures(begun(), tmp_path)
    assert "updates" in (tmp_path / "perplexity-over-updates.svg").read_text()


def test_a_loss_beyond_all_numbers_is_drawn(tmp_path):
    record = begun()
    last = replace(record.curves["wt"][0][-1], nll=9e9)
    write_figures(replace(record, curves={"wt": [[last]]}), tmp_path)
    assert (tmp_path / "perplexity-over-updates.svg").exists()


def test_figures_of_the_paper():
    """Press and Wolf (2017): test perplexity of the rows."""
    figures = {
        "ptb-small": {"none": 114.5, "wt": 112.4, "pr": 111.7, "wt+pr": 100.9},
        "ptb-large": {"none": 78.4, "wt": 74.3, "bd+wd": 75.2, "bd+wt": 73.2, "rhn+bd+wt": 66.0},
    }
    for name, rows in figures.items():
        experiment = load_experiment(name)
        paper = scoring_of(experiment).paper
        assert {row: given.test for row, given in paper.items()} == rows
        assert list(experiment.rows) == list(rows)


def test_what_an_experiment_may_say():
    def scoring(kind, **given):
        return scoring_of(Experiment("mine", "Mine", kind, ("preprocess.ptb",), {}, given))

    assert scoring("tied_language_modeling", subsets=["test"]).subsets == ("test",)
    with pytest.raises(UserError, match=r"^mine: settings: it has papre, which is not known"):
        scoring("tied_language_modeling", papre={})
    with pytest.raises(UserError, match=r"^mine: settings: subsets must be a list"):
        scoring("tied_language_modeling", subsets="test")
    with pytest.raises(UserError, match=r"^mine: settings: paper\.wt\.test is '100', not a finite"):
        scoring("tied_language_modeling", paper={"wt": {"test": "100"}})
    with pytest.raises(UserError, match=r"^mine: kind speech; .* tied_language_modeling, "):
        scoring("speech")
    with pytest.raises(UserError, match=r"^mine: kind benchmark; "):
        scoring("benchmark")


def test_rows_of_another_task_are_not_trained(tmp_path):
    rows = {"wt": {"task": {"_name": "translation"}}}
    given = ("mine", "Mine", "tied_language_modeling", ("preprocess.ptb",))
    with pytest.raises(UserError, match=r"^mine: the row wt is of the task translation; the kind"):
        run_experiment(Experiment(*given, rows, {}), tmp_path, "")
    with pytest.raises(UserError, match=r"^mine: has no rows to train"):
        run_experiment(Experiment(*given, {}, {}), tmp_path, "")
    assert not [*tmp_path.iterdir()]
