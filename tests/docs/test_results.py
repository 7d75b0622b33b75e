"""docs/results.md lists all experiments, says which have a record, and has all speeds."""

import re

from scripts.lab.run.specs import ROOT

PAGE = (ROOT / "docs" / "results.md").read_text(encoding="utf-8")
RESULTS = ROOT / "results"
ROWS = re.findall(r"^\| (`[^|]+`) \|[^|]*\| (yes|none yet) \|$", PAGE, re.MULTILINE)
LISTED = {name: record for names, record in ROWS for name in re.findall("`([^`]+)`", names)}


def test_every_experiment_is_listed():
    experiments = {path.stem for path in (ROOT / "configs" / "experiments").glob("*.yaml")}
    assert LISTED.keys() == experiments


def test_the_list_says_which_experiments_have_a_record():
    kept = {path.stem for path in RESULTS.glob("*.json")}
    wrong = [name for name, record in LISTED.items() if (record == "yes") != (name in kept)]
    assert wrong == []


def test_every_benchmark_is_in_one_table():
    asked = "+".join(re.findall(r"<!-- table: benchmarks:(\S+) -->", PAGE)).split("+")
    shown = [path for name in asked for path in RESULTS.glob(f"benchmark-{name}.json")]
    assert sorted(shown) == sorted(RESULTS.glob("benchmark-*.json"))
