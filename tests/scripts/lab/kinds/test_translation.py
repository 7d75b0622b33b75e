"""Which scores of a translation experiment are kept; how further rows and seeds join a record."""

import copy
import json
import os
import shutil
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import pytest
import yaml

from scripts import record as command
from scripts.lab import store
from scripts.lab.kinds import translation
from scripts.lab.kinds.kind import Trained
from scripts.lab.kinds.translation import TranslationScoring
from scripts.lab.records.schema import TrainedRow, TranslationRecord
from scripts.lab.run import processes, specs
from scripts.lab.run.specs import load_experiment
from scripts.lab.run.training import Run
from scripts.lab.runner import scoring_of
from tests.support import records
from tiednmt.errors import UserError
from tiednmt.typed import from_json, to_json


@pytest.fixture
def keep(monkeypatch, tmp_path):
    """``scripts.record`` of runs that left these records, one after the other; what is kept."""
    monkeypatch.setattr(store, "RESULTS", tmp_path / "results")
    monkeypatch.setattr(store, "PAGES", ())
    store.RESULTS.mkdir()

    def make(*contents):
        for i, content in enumerate(contents):
            folder = tmp_path / f"run-{i}"
            folder.mkdir()
            (folder / "record.json").write_text(json.dumps(content))
            monkeypatch.setattr("sys.argv", ["record", str(folder)])
            command.main()
        return json.loads((store.RESULTS / "some.json").read_text())

    return make


def only(content, seeds, rows=None):
    """What a run of these seeds and rows would have left."""
    content = copy.deepcopy(content)
    chosen = [seed - 1 for seed in seeds]
    content["rows"] = [row for row in content["rows"] if rows is None or row["name"] in rows]
    for row in content["rows"]:
        row["seeds"] = [*seeds]
        for scores in row["test"].values():
            for score in scores.values():
                score["seeds"] = [score["seeds"][i] for i in chosen]
                values = [seed["score"] for seed in score["seeds"]]
                score["over_seeds"] = records.over_seeds(values)
    content["curves"] = {
        row["name"]: [content["curves"][row["name"]][i] for i in chosen] for row in content["rows"]
    }
    content["command"] += f" --seeds {seeds}"
    return content


WHOLE = records.translation(seeds=3, subsets=("test", "other"))


def of_scores(content):
    return {row["name"]: (row["seeds"], row["share"], row["test"]) for row in content["rows"]}


def test_seeds_join_one_after_the_other(keep):
    kept = keep(only(WHOLE, [1]), only(WHOLE, [2, 3]))
    assert of_scores(kept) == of_scores(WHOLE)
    assert kept["curves"] == WHOLE["curves"]
    assert [one["command"] for one in kept["earlier"]] == [WHOLE["command"] + " --seeds [1]"]
    record = from_json(TranslationRecord, {k: v for k, v in kept.items() if k != "format"})
    assert to_json(record)["rows"] == kept["rows"]
    at_once = {**WHOLE, "command": kept["command"]}
    del at_once["format"]
    assert store.summary_of(record) == store.summary_of(from_json(TranslationRecord, at_once))


def test_all_seeds_again_take_the_place_of_what_was_kept(keep):
    kept = keep(only(WHOLE, [1]), WHOLE)
    assert of_scores(kept) == of_scores(WHOLE)
    assert "earlier" not in kept


def test_a_baseline_of_which_the_seeds_are_known_stays_as_it_was_kept(keep):
    """The other row's further seed comes with the baseline's, which was kept before."""
    first = only(WHOLE, [1, 2, 3])
    first["rows"][1] = only(WHOLE, [1])["rows"][1]
    first["curves"]["three-way"] = only(WHOLE, [1])["curves"]["three-way"]
    kept = keep(first, only(WHOLE, [2]))
    assert [row["seeds"] for row in kept["rows"]] == [[1, 2, 3], [1, 2]]
    assert kept["rows"][0] == WHOLE["rows"][0]
    assert kept["curves"]["none"] == WHOLE["curves"]["none"]


def test_another_run_of_a_known_seed_is_refused(keep):
    other = only(WHOLE, [2])
    other["curves"]["none"] = only(WHOLE, [3])["curves"]["none"]
    with pytest.raises(SystemExit, match=r"none: seeds 2 would replace 1, 2, 3; run"):
        keep(WHOLE, other)


def test_some_of_the_seeds_again_are_refused(keep):
    with pytest.raises(SystemExit, match=r"none: seeds 1, 3 would replace 1, 2; run"):
        keep(only(WHOLE, [1, 2]), only(WHOLE, [1, 3]))


def test_a_row_is_added_with_its_own_seeds(keep):
    """The baseline has three seeds, the other row one."""
    one = only(WHOLE, [1])
    one["rows"][0] = only(WHOLE, [1, 2, 3])["rows"][0]
    one["curves"]["none"] = WHOLE["curves"]["none"]
    first = only(WHOLE, [1, 2, 3], rows=["none"])
    kept = keep(first, only(WHOLE, [1]) | {"rows": one["rows"], "curves": one["curves"]})
    assert [len(row["seeds"]) for row in kept["rows"]] == [3, 1]
    shown = store.table("some")
    assert "mean ± standard deviation of 3 seeds where a spread is shown" in shown
    assert "Differences: over seeds and test sentences\n" in shown


def test_another_recipe_takes_the_place_and_the_other_row_stays(keep):
    changed = only(WHOLE, [1])
    changed["rows"][0]["recipe"]["model"]["embed_dim"] = 8
    changed["rows"][0]["parameters"] = 1_600_000
    changed["samples"][0]["none"] = "Anders."
    changed["rows"] = changed["rows"][:1]
    del changed["curves"]["three-way"]
    kept = keep(WHOLE, changed)
    none, three_way = kept["rows"]
    assert (none["seeds"], three_way["seeds"]) == ([1], [1, 2, 3])
    assert (none["share"], three_way["share"]) == (1, 0.625)
    assert kept["samples"] == [{**WHOLE["samples"][0], "none": "Anders."}]


def test_a_row_of_other_teachers_takes_the_place_and_is_joined_by_further_seeds(keep):
    taught = [only(WHOLE, [seed], rows=["three-way"]) for seed in (2, 3)]
    for content in taught:
        content["rows"][0]["teachers"] = ["none"]
    none, three_way = keep(WHOLE, *taught)["rows"]
    assert (none["seeds"], three_way["seeds"]) == ([1, 2, 3], [2, 3])
    assert (none.get("teachers"), three_way["teachers"]) == (None, ["none"])
    assert "- Knowledge distillation: three-way from none\n" in store.table("some")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda new: new.update(beam=4), "some: beam 4, but 5 in the kept record; run all"),
        (
            lambda new: new["samples"][0].update(source="Another."),
            "some: the test sets are not those of the kept record; run all of its",
        ),
        (
            lambda new: [row["test"].pop("other") for row in new["rows"]],
            "its rows do not have the same test sets",
        ),
        (
            lambda new: [
                seed.update(influences="1 2 3")
                for row in new["rows"]
                for scores in row["test"].values()
                for score in scores.values()
                for seed in score["seeds"]
            ],
            "its rows were not scored on the same sentences of test",
        ),
    ],
)
def test_what_cannot_be_compared_does_not_join(keep, change, message):
    kept = only(WHOLE, [1])
    new = only(WHOLE, [2, 3])
    change(new)
    with pytest.raises(SystemExit, match=message) as stopped:
        keep(kept, new)
    assert "\n" not in str(stopped.value)
    assert of_scores(json.loads((store.RESULTS / "some.json").read_text())) == of_scores(kept)


def with_tokenised(content, by=1.25):
    """Each score of BLEU of cased text, and one of lower-cased tokens that is higher."""
    content = copy.deepcopy(content)
    for row in content["rows"]:
        for scores in row["test"].values():
            more = copy.deepcopy(scores["bleu"]) | {"signature": "nrefs:1|case:lc|tok:none"}
            for seed in more["seeds"]:
                seed["score"] += by
            more["over_seeds"] = records.over_seeds([seed["score"] for seed in more["seeds"]])
            scores["tokenised_bleu"] = more
    return content


def test_both_scorings_stand_in_the_table(keep):
    keep(with_tokenised(WHOLE))
    text = store.table("some")
    assert "| BLEU | BLEU of lower-cased tokens | against none |" in text
    none = next(line for line in text.splitlines() if line.startswith("| none | test |"))
    cased, lower = (float(cell.split()[0]) for cell in none.split("|")[5:7])
    assert lower == pytest.approx(cased + 1.25, abs=0.011)
    assert "- BLEU of lower-cased tokens: `nrefs:1|case:lc|tok:none`" in text


def test_a_scoring_that_an_older_row_lacks_is_not_shown(keep):
    kept = keep(only(WHOLE, [1], rows=["none"]), with_tokenised(only(WHOLE, [1], ["three-way"])))
    assert [*kept["rows"][1]["test"]["test"]][-1] == "tokenised_bleu"
    text = store.table("some")
    assert "| BLEU | against none |" in text and "lower-cased" not in text


def test_further_seeds_of_a_row_that_lacks_a_scoring(keep):
    kept = keep(only(WHOLE, [1]), with_tokenised(only(WHOLE, [2, 3])))
    assert of_scores(kept) == of_scores(WHOLE)


def test_rows_without_their_baseline_show_no_difference(keep):
    alone = only(WHOLE, [1, 2], rows=["three-way"])
    del alone["rows"][0]["share"]
    keep(alone)
    text = store.table("some")
    assert "| three-way | test | 1,000,000 |" in text
    assert "against" not in text and "of none" not in text and "Differences" not in text


def test_the_baseline_may_join_later(keep):
    kept = keep(only(WHOLE, [1, 2], rows=["three-way"]), only(WHOLE, [1, 2, 3], rows=["none"]))
    shares = [(row["name"], row["share"]) for row in kept["rows"]]
    assert shares == [("three-way", 0.5), ("none", 1)]
    text = store.table("some")
    assert "| against none | not worse by more than (95%) | p |" in text
    assert "Differences: over seeds and test sentences" in text


def test_without_the_first_baseline_the_next_one_counts(keep):
    kept = keep({**copy.deepcopy(WHOLE), "baseline": "other", "also_compared_with": ["three-way"]})
    assert [row["share"] for row in kept["rows"]] == [1, 0.5]  # as the run had them
    assert "| against three-way | not worse" in store.table("some")


@pytest.mark.parametrize(("updates", "text"), [(30, "30 updates"), (1300, "30 to 1,300 updates")])
def test_how_many_updates_the_rows_made(keep, updates, text):
    content = copy.deepcopy(WHOLE)
    content["rows"][1]["updates"] = updates
    keep(content)
    assert f"seeds; {text} per row" in store.table("some")


def test_a_third_row_that_others_are_compared_with(keep):
    content = records.translation(seeds=3)
    extra = copy.deepcopy(content["rows"][1]) | {"name": "lstm"}
    for seed in extra["test"]["test"]["bleu"]["seeds"]:
        seed["score"] -= 2
    extra["test"]["test"]["bleu"]["over_seeds"] = records.over_seeds([29.0, 29.5, 28.75])
    content["rows"].append(extra)
    content["curves"]["lstm"] = content["curves"]["none"]
    content["samples"][0]["lstm"] = "Er."
    content["also_compared_with"] = ["lstm"]
    keep(content)
    text = store.table("some")
    assert "- test, BLEU against lstm: none +2.25 (p = 0.0" in text
    assert ", three-way +2.00 (p = 0.0" in text


# --- scores of an earlier call -----------------------------------------------------------------


@pytest.fixture
def trained(tmp_path):
    """A row whose training has ended, over two test sets of five lines."""
    data, folder = tmp_path / "data", tmp_path / "none"
    (data / "raw").mkdir(parents=True)
    folder.mkdir()
    for subset in ("test", "other"):
        for code in ("en", "de"):
            text = "".join(f"{subset} {code} {i}\n" for i in range(5))
            (data / "raw" / f"{subset}.{code}").write_text(text)
    vocabulary = records.translation()["vocabulary"]
    manifest = {"source": "en", "target": "de", "options": {}, "vocabulary": vocabulary}
    (data / "manifest.json").write_text(json.dumps({"format": 2, **manifest}))
    for name in ("checkpoint_best.pt", "mean_of_last_2.pt"):
        (folder / name).touch()

    def of(average_last=0):
        row = from_json(TrainedRow, records.row("none", 2_000_000, 1))
        run = Run("none", folder, (), average_last=average_last)
        return Trained([row], {"none": [run]}, data, tmp_path, (1,), 1)

    return of


@pytest.fixture
def score(trained, monkeypatch):
    """Score as a configuration says; how often ``scripts.evaluate`` was started for it."""

    def evaluate(command):
        given = {}
        for word, value in pairwise(command):
            given.setdefault(word, []).append(value)
        name, _, checkpoint = command[3].partition("=")
        (scores,), (output,), (beam,) = given["--json"], given["--output"], given["--beam"]
        metrics = records.translation()["rows"][0]["test"]["test"]
        row = {
            metric: {**of, "score": float(beam), "influences": [0.5, 0.25, -0.5, -0.25, 0.0]}
            for metric, of in metrics.items()
        }
        subsets = {}
        for subset in given["--subset"]:
            text = Path(output) / f"{name}.{subset}.de"
            text.parent.mkdir(exist_ok=True)
            text.write_text("".join(f"{subset} translated {i}\n" for i in range(5)))
            system = {"name": name, "checkpoint": checkpoint, "translations": str(text), **row}
            subsets[subset] = {"systems": [system]}
        content = {"subset": subsets, "beam": int(beam), "lenpen": 1.0}
        Path(scores).write_text(json.dumps(content))
        started.append(command)

    def side_by_side(starts, jobs):
        for start in starts:
            evaluate(start.args[1])

    started = []
    monkeypatch.setattr(translation, "side_by_side", side_by_side)

    def of(beam=5, subsets=("test", "other"), average_last=0):
        before = len(started)
        scored = TranslationScoring(["none"], subsets, beam).score(trained(average_last))
        return scored, len(started) - before

    return of


def test_what_is_scored_is_not_scored_again(score):
    assert [score()[1], score()[1], score(subsets=["other"])[1]] == [1, 0, 0]


@pytest.mark.parametrize("change", [{"beam": 1}, {"average_last": 2}], ids=str)
def test_scores_of_other_settings_are_made_anew(score, change):
    score()
    (scored, started), (_, again) = score(**change), score(**change)
    assert (started, again) == (1, 0)
    assert scored["beam"] == change.get("beam", 5)


def test_seeds_are_scored_on_a_gpu_each(trained, tmp_path, monkeypatch):
    """``scripts.evaluate`` of each seed keeps what it is given, and the settings that it needs."""
    given = trained()
    runs = [Run(f"none-{seed}", tmp_path / f"none-{seed}", ()) for seed in (1, 2)]
    for run in runs:
        run.folder.mkdir()
        run.checkpoint.touch()
    trained = replace(given, runs={"none": runs}, seeds=(1, 2), jobs=2)
    code = (
        "import json, os, sys; path = sys.argv[1 + sys.argv.index('--json')]; "
        "json.dump({'gpu': os.environ.get('CUDA_VISIBLE_DEVICES')}, open(path, 'w'))"
    )
    monkeypatch.setattr(translation, "EVALUATE", ("-c", code))
    for module in (processes, translation):
        monkeypatch.setattr(module, "gpus", lambda: ["0", "1"])
    scores = TranslationScoring(["none"], ["test"], 5)._all_scores(trained)
    assert [of_seed["gpu"] for of_seed in scores] == ["0", "1"]


def test_scores_of_data_that_were_prepared_again_are_made_anew(score, trained):
    score()
    manifest = trained().data / "manifest.json"
    later = (trained().out / "scores.json").stat().st_mtime + 1
    os.utime(manifest, (later, later))
    assert score()[1] == 1


def test_scores_of_another_length_penalty_are_made_anew(score, trained):
    score()
    path = trained().out / "scores.json"
    path.write_text(path.read_text().replace('"lenpen": 1.0', '"lenpen": 0.6'))
    assert [score()[1], score()[1]] == [1, 0]


def cut(text):
    text.write_text(text.read_text().splitlines(keepends=True)[0])


@pytest.mark.parametrize("damage", [Path.unlink, cut])
def test_lost_translations_are_made_anew(score, trained, damage):
    score()
    damage(trained().out / "translations" / "none.other.de")
    assert [score()[1], score()[1]] == [1, 0]


def test_a_folder_that_was_copied_has_its_own_translations(score, trained, monkeypatch):
    """The scores name those of the folder that they were made in."""
    score()
    given = trained()
    copied = given.out / "copied"
    shutil.copytree(given.out / "translations", copied / "translations")
    shutil.copy2(given.out / "scores.json", copied)
    for text in (given.out / "translations").iterdir():
        text.write_text("changed\n" * 5)
    scoring = TranslationScoring(["none"], ["test", "other"], 5)
    samples = scoring.score(replace(given, out=copied))["samples"]
    assert samples[1]["none"] == "test translated 1"


def test_samples_are_of_the_first_test_set_of_the_configuration(score):
    score(subsets=["test", "other"])
    scored, started = score(subsets=["other", "test"])
    assert started == 0
    assert scored["samples"][1]["source"] == "other en 1"
    assert scored["samples"][1]["none"] == "other translated 1"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"baselines": []}, "baselines: at least one row"),
        ({"subsets": []}, "subsets: at least one test set"),
        ({"beam": 0}, "beam is 0; it must be 1 or more"),
        ({"baselines": "none"}, "baselines must be a list"),
        ({"baselines": 5}, "baselines must be a list"),
    ],
)
def test_what_an_experiment_may_say(changes, message, tmp_path, monkeypatch):
    """It is refused before anything is trained."""
    monkeypatch.setattr(specs, "EXPERIMENTS", tmp_path)
    settings = {"baselines": ["none"], "subsets": ["test"], "beam": 5, **changes}
    (tmp_path / "mine.yaml").write_text(
        "title: Mine\nkind: translation\nprepare: [preprocess.demo]\nrecipe: tied_gru_demo\n"
        "rows: {none: {model: {tying: none}}}\n" + yaml.safe_dump(settings)
    )
    with pytest.raises(UserError, match=f"^mine: settings: {message}"):
        scoring_of(load_experiment("mine"))
