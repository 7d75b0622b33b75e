"""Model folders out of a finished run: which checkpoint, what its card says."""

import json

import pytest

from scripts import model_folder
from scripts.lab import model_folders
from scripts.lab.model_folders import Wanted, best_seed, make, wanted_models
from scripts.lab.records.schema import TranslationRecord
from scripts.lab.run.specs import load_experiment
from scripts.lab.store import read_record
from tests.support import records
from tests.support.small_prepared import prepare
from tests.support.translators import save_translator
from tiednmt.errors import UserError
from tiednmt.export.model_folder import read_model_folder
from tiednmt.export.reading import read_trained
from tiednmt.typed import from_json


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """Of the experiment demo, with two seeds; the second has the lower loss."""
    run = tmp_path_factory.mktemp("runs") / "demo"
    prepare(run / "data")
    for seed, folder in ((1, "three-way"), (2, "three-way-seed-2")):
        (run / folder).mkdir()
        save_translator(run / folder / "checkpoint_best.pt", run / "data", seed=seed)
    record = {**records.translation(seeds=2), "experiment": "demo"}
    (run / "record.json").write_text(json.dumps(record))
    return run


@pytest.fixture(scope="module")
def made(run, tmp_path_factory):
    return make(run, tmp_path_factory.mktemp("models"))


def test_it_is_the_seed_of_the_lowest_validation_loss(run, made):
    rounded = read_model_folder(made.folder).model.embeddings.source.weight
    distances = [
        (read_trained(path, run / "data").model.embeddings.source.weight - rounded).abs().max()
        for path in (
            run / name / "checkpoint_best.pt" for name in ("three-way-seed-2", "three-way")
        )
    ]
    assert distances[0] < 0.01 and distances[1] > 1  # rounding; other numbers


def test_a_mean_of_checkpoints_is_judged_by_where_training_ended():
    record = records.translation(seeds=2)
    row = record["rows"][0]
    points = [[9.0, 1.0, 4.0], [9.0, 2.0, 3.0]]
    record["curves"][row["name"]] = [
        [{"update": i, "epoch": i, "nll": nll} for i, nll in enumerate(of, start=1)]
        for of in points
    ]
    chosen = {}
    for averaged in (0, 2):
        row["averaged"] = averaged
        fields = {name: value for name, value in record.items() if name != "format"}
        read = from_json(TranslationRecord, fields)
        chosen[averaged] = best_seed(read.rows[0], read.curves[row["name"]])
    assert chosen == {0: 1, 2: 2}


def test_the_card_has_the_scores_of_the_folder_and_the_training(run, made):
    card = json.loads((made.folder / "card.json").read_text())
    assert card["weights"] == "int8" and card["tying"] == "three-way"
    assert card["scores"]["test"]["bleu"]["score"] == made.bleu["test"]
    record = read_record(run / "record.json")
    assert card["origin"] == {
        "experiment": "demo",
        "row": "three-way",
        "seed": 2,
        "updates": 30,
        "command": record.command,
        "versions": dict(record.versions),
        "full_scores": {"test": 31.5},
    }
    page = (made.folder / "README.md").read_text()
    assert "seed 2, 30 updates" in page and record.command in page and "31.50 on test" in page


def test_what_is_no_finished_run(run, made, tmp_path):
    with pytest.raises(UserError, match=r"holds no record\.json"):
        make(tmp_path, tmp_path)
    with pytest.raises(UserError, match="demo-en-de"):  # it is there already
        make(run, made.folder.parent)
    record = {**records.translation(), "experiment": "some"}
    (tmp_path / "record.json").write_text(json.dumps(record))
    with pytest.raises(SystemExit, match=r"error: .*no model comes from some; one does from demo"):
        model_folder.main([str(tmp_path), "--out", str(tmp_path)])


def test_a_model_that_is_too_large_is_not_made(run, tmp_path, monkeypatch):
    small = {"demo": Wanted(folder="small", row="three-way", megabytes=0.001)}
    monkeypatch.setattr(model_folders, "wanted_models", lambda: small)
    with pytest.raises(UserError, match=r"more than the 0\.001"):
        make(run, tmp_path)
    assert [*tmp_path.iterdir()] == []


def test_every_wanted_model_is_a_row_of_an_experiment():
    wanted = wanted_models()
    assert {"multi30k-en-de", "multi30k-en-fr", "multi30k-en-cs"} <= set(wanted)
    for experiment, one in wanted.items():
        assert one.row in load_experiment(experiment).rows
    assert all(one.megabytes <= 4 for one in wanted.values())
