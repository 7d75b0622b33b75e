"""The experiments tying-lab: which rows there are, and that they are equal in size."""

import functools
import json

import pytest

from scripts.lab import architectures
from scripts.lab.architectures import model_size
from scripts.lab.run.specs import ROOT, load_experiment
from scripts.lab.runner import scoring_of

ROWS = (
    *("three-way", "inputs", "decoder", "P", "P + penalty", "partial", "joint", "residual"),
    *("factorised", "low-rank", "gradient x 0.5", "gradient x 2"),
)
SIZES = {"embed_dim", "encoder_hidden_size", "decoder_hidden_size", "attention_size"}


@pytest.mark.parametrize(
    ("name", "corpus", "plain"),
    [("tying-lab", "demo", 557_216), ("tying-lab-multi30k", "multi30k-en-de", 3_392_272)],
)
def test_rows_are_equal_in_size_and_data(name, corpus, plain, tmp_path, monkeypatch):
    """Within 1% of plain three-way, with the vocabulary that the corpus has."""
    monkeypatch.setattr(
        architectures, "numbered_dictionary", functools.cache(architectures.numbered_dictionary)
    )
    experiment = load_experiment(name)
    assert tuple(experiment.rows) == ROWS
    assert scoring_of(experiment).baselines == ("three-way",)
    record = json.loads((ROOT / "results" / f"{corpus}.json").read_text(encoding="utf-8"))
    vocabulary = record["vocabulary"]
    units = tmp_path / "shared-units.txt"
    units.write_text("".join(f"joint{4 + i}\n" for i in range(vocabulary["both"])))
    totals = {}
    for row, recipe in experiment.rows.items():
        model = dict(recipe["model"])
        architecture, tying = model.pop("_name"), model.pop("tying")
        assert model["input_scale"] == "4"
        if "private_units" in model:
            assert model["private_units"] == units.name
            model["private_units"] = str(units)
        joint = vocabulary["joint"]
        totals[row] = model_size(architecture, tying, joint, joint, **model).total
    assert totals["three-way"] == plain
    assert totals == {row: pytest.approx(plain, rel=0.01) for row in ROWS}


@pytest.mark.parametrize("name", ["tying-lab", "tying-lab-multi30k"])
def test_rows_differ_in_the_way_and_in_sizes_alone(name):
    rows = load_experiment(name).rows
    for row, recipe in rows.items():
        for group, values in rows["three-way"].items():
            if group not in ("model", "criterion"):
                assert recipe[group] == values, row
        changed = {k for k, v in recipe["model"].items() if rows["three-way"]["model"].get(k) != v}
        ways = {"tying", "projection", "private_units", "embedding_rank", "input_gradient_scale"}
        assert changed - SIZES <= ways | {k for k in changed if k.startswith("output_map")}, row
