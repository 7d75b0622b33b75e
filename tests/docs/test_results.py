"""The list of experiments on docs/results.md: all of them, and which have a record."""

import re

from scripts.lab.run.specs import ROOT

ROWS = re.findall(
    r"^\| (`[^|]+`) \|[^|]*\| (yes|none yet) \|$",
    (ROOT / "docs" / "results.md").read_text(encoding="utf-8"),
    re.MULTILINE,
)
LISTED = {name: record for names, record in ROWS for name in re.findall("`([^`]+)`", names)}


def test_every_experiment_is_listed():
    experiments = {path.stem for path in (ROOT / "configs" / "experiments").glob("*.yaml")}
    assert LISTED.keys() == experiments


def test_the_list_says_which_experiments_have_a_record():
    kept = {path.stem for path in (ROOT / "results").glob("*.json")}
    wrong = [name for name, record in LISTED.items() if (record == "yes") != (name in kept)]
    assert wrong == []
