"""The benchmarks that train, on a tiny corpus; no test looks at a time."""

from __future__ import annotations

import json

import pytest

from tests.support.commandline import run


@pytest.mark.slow
@pytest.mark.parametrize(
    ("arguments", "parts"),
    [
        (("train", "--profile", "--updates", 20), True),
        (("start-up",), False),
    ],
)
def test_training_beside_stock(prepared, tmp_path, arguments, parts):
    path = tmp_path / "record.json"
    common = ("--data", prepared, "--max-tokens", 200, "--runs", 1, "--json", path)
    run("-m", "scripts.benchmark", *arguments, *common).check()
    record = json.loads(path.read_text(encoding="utf-8"))
    assert record["ratio"].keys() == {"median", "min", "max"}
    for side in ("ours", "against"):
        assert ("parts" in record[side]) is parts
    if parts:
        for name in ("forward", "backward", "optimizer"):
            assert record["ours"]["parts"][name] > 0
