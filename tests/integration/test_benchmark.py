"""The benchmarks that train, on a tiny corpus; no test looks at a time alone."""

from __future__ import annotations

import json
from contextlib import nullcontext

import pytest

from scripts import benchmark
from scripts.lab.benchmarks import gradients, start_up


@pytest.mark.nightly  # a minute, for most of which processes start
def test_training_beside_stock(prepared, tmp_path):
    path, batch = tmp_path / "record.json", 200
    words = ["train", "--profile", "--updates", "20", "--max-tokens", str(batch), "--runs", "1"]
    benchmark.main([*words, "--data", str(prepared), "--json", str(path)])
    record = json.loads(path.read_text(encoding="utf-8"))
    ours, against = record["ours"], record["against"]
    assert record["ratio"]["median"] == pytest.approx(ours["median"] / against["median"], rel=0.02)
    for side in (ours, against):
        # tokens per second times seconds per update: at most a batch, and most of one
        tokens = side["median"] * sum(side["parts"].values()) / 1000
        assert batch / 4 < tokens < batch * 1.2
    limit = record["limit"]
    achieved = ours["median"] * limit["gflops_per_token"]
    assert limit["share"] == pytest.approx(
        achieved / limit["gflops_per_second"]["highest"], abs=0.001
    )


@pytest.mark.slow
@pytest.mark.nightly  # what is measured of its lines is tested with the lab
def test_a_training_of_one_update_logs_the_line_that_ends_its_start_up(prepared):
    options = start_up.StartUp(data=prepared, max_tokens=200)
    assert start_up._start_ups(options.stock_recipe(), options).rate > 0


@pytest.mark.slow
def test_gradients_are_measured_and_written(prepared, monkeypatch, tmp_path):
    """A batch to warm up and two that count, each measured twice."""
    kept = nullcontext(str(tmp_path))
    monkeypatch.setattr(gradients.tempfile, "TemporaryDirectory", lambda: kept)
    options = gradients.Batches(data=prepared, experiment="demo", max_tokens=200, batches=2)
    seconds = gradients.measure_batches(options)
    assert len(seconds) == 2 and all(0 < more < update for update, more in seconds)
    written = (tmp_path / "gradient-shares.jsonl").read_text()
    assert len(written.splitlines()) == 3 * 2
