"""README's tables are those of the records."""

import json

import pytest

from scripts import record
from scripts.lab.records.seeds import over_seeds
from tiednmt.errors import UserError


@pytest.mark.parametrize("page", record.PAGES, ids=lambda page: page.name)
def test_pages_agree_with_the_records(page):
    text = page.read_text(encoding="utf-8")
    assert text.count("<!-- table: ") == text.count("<!-- end -->") > 0
    assert record.with_tables(text) == text


def test_every_record_is_shown():
    text = "".join(page.read_text(encoding="utf-8") for page in record.PAGES)
    for path in record.RESULTS.glob("*.json"):
        assert f"<!-- table: {path.stem} -->" in text


def test_missing_record_is_named():
    with pytest.raises(UserError, match=r"asks for the table nothing"):
        record.with_tables("<!-- table: nothing -->\nold\n<!-- end -->")


@pytest.mark.parametrize(
    ("text", "message"),
    [("{'a': 1", "not JSON, cut short or damaged"), ('{"a": 1}', "no record of an experiment")],
)
def test_damaged_records_are_named(tmp_path, text, message):
    (tmp_path / "record.json").write_text(text)
    with pytest.raises(UserError, match=f"record.json: {message}"):
        record.keep(tmp_path)


def test_an_empty_block_does_not_swallow_the_next(monkeypatch):
    monkeypatch.setattr(record, "table", lambda name: f"({name})")
    block = "<!-- table: {} -->\n{}<!-- end -->\nbetween\n"
    text = block.format("a", "") + block.format("b", "old\n\nold\n") + block.format("a", "")
    filled = "".join(block.format(name, f"({name})\n") for name in "aba")
    assert record.with_tables(text) == filled
    assert record.with_tables(filled) == filled


def test_figures_of_a_record_come_through(monkeypatch, tmp_path):
    monkeypatch.setattr(record, "RESULTS", tmp_path)
    run = tmp_path / "run"
    run.mkdir()
    (run / "record.json").write_text(json.dumps(RECORD))
    assert record.keep(run) == tmp_path / "some.json"
    table = record.with_tables("before\n<!-- table: some -->\nold\n<!-- end -->\nafter")
    assert "old" not in table
    assert table.startswith("before\n") and table.endswith("\nafter")
    cells = [cell.strip() for cell in table.split("\n")[4].split("|")]
    assert cells[1:-1] == ["none", "1,234", "100.0%", "5.0 MB", "31.25", "55.50", "90 s"]
    assert "three-way +0.50 (p = 0.250)" in table


def test_rows_that_are_begun_join(monkeypatch, tmp_path):
    """The other rows of ptb-large-begun stay."""
    monkeypatch.setattr(record, "RESULTS", tmp_path)
    for name in ("wt", "rhn"):
        row = {"name": name, "seeds": [1], "training_command": "fairseq-train data"}
        made = {
            **{"experiment": "begun", "task": "first-updates", "rows": [row]},
            **{"curves": {name: [[]]}, "machine": {}, "versions": {}, "command": name},
        }
        (tmp_path / "record.json").write_text(json.dumps(made))
        kept = json.loads(record.keep(tmp_path).read_text())
    assert [row["name"] for row in kept["rows"]] == ["wt", "rhn"]


def scores(bleu, chrf):
    return {
        "bleu": {"score": bleu, "signature": "case:mixed", "over_seeds": over_seeds([bleu])},
        "chrf": {"score": chrf, "signature": "nw:0", "over_seeds": over_seeds([chrf])},
    }


RECORD = {
    "experiment": "some",
    "task": "translation",
    "title": "Some corpus",
    "baseline": "none",
    "beam": 5,
    "rows": [
        {
            "name": "none",
            "parameters": 1234,
            "share": 1.0,
            "checkpoint_bytes": 5_000_000,
            "updates": 10,
            "training_seconds": 90,
            "test": {"test": scores(31.25, 55.5)},
        }
    ],
    "comparisons": {
        "test": [
            {
                "baseline": "none",
                "system": "three-way",
                "metric": "bleu",
                "delta": 0.5,
                "p_value": 0.25,
            }
        ]
    },
    "vocabulary": {"source": 10, "target": 12, "joint": 18},
    "machine": {
        "device": "CPU",
        "processor": "Some CPU",
        "threads_per_run": 1,
        "runs_side_by_side": 2,
    },
}
