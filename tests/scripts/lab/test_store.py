"""Records are checked on their way to disk and back, joined when kept, and shown by the pages."""

import json
from dataclasses import replace

import pytest

from scripts import record as command
from scripts.lab import store
from scripts.lab.kinds import KINDS
from tests.support import records
from tiednmt.errors import UserError

KEPT = sorted(store.RESULTS.glob("*.json"))


@pytest.fixture
def results(monkeypatch, tmp_path):
    """An empty folder of results."""
    monkeypatch.setattr(store, "RESULTS", tmp_path / "results")
    store.RESULTS.mkdir()
    return store.RESULTS


@pytest.fixture
def run(tmp_path):
    """The folder of a run that left this record."""

    def make(content):
        folder = tmp_path / "run"
        folder.mkdir(exist_ok=True)
        (folder / "record.json").write_text(json.dumps(content))
        return folder

    return make


def without(content, *, rows=(), seeds=None):
    """A record without some rows, or with so many seeds."""
    content = json.loads(json.dumps(content))
    content["rows"] = [row for row in content["rows"] if row["name"] not in rows]
    for row in rows:
        del content["curves"][row]
    if seeds:
        for row in content["rows"]:
            row["seeds"] = row["seeds"][:seeds]
        content["curves"] = {name: of_row[:seeds] for name, of_row in content["curves"].items()}
        content["seeds"] = seeds
    return content


# --- reading and writing -----------------------------------------------------------------------


@pytest.mark.parametrize("path", KEPT, ids=lambda path: path.stem)
def test_kept_records_read_and_are_written_the_same(path, tmp_path):
    record = store.read_record(path)
    assert store.write_record(tmp_path / "again.json", record) == record
    assert (tmp_path / "again.json").read_text() == path.read_text()


@pytest.mark.parametrize(
    "make", [records.translation, records.embeddings], ids=lambda f: f.__name__
)
def test_a_malformed_record_is_not_written(make, run, tmp_path):
    record = store.read_record(run(make()) / "record.json")
    row = replace(record.rows[0], parameters="many")
    path = tmp_path / "new.json"
    with pytest.raises(
        UserError, match=r"new.json: rows\[0\].parameters is 'many', not a whole number, so"
    ):
        store.write_record(path, replace(record, rows=[row, *record.rows[1:]]))
    assert not path.exists()


def test_the_table_of_kinds_has_a_record_for_every_kept_one():
    kinds = {store.read_record(path).kind for path in KEPT}
    assert kinds == set(KINDS)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{'a': 1", "not JSON, cut short or damaged"),
        ('{"a": 1}', "no record of an experiment"),
        ("[]", "no record of an experiment"),
        (
            '{"experiment": "some"}',
            "a record of no format, and this version reads format 1; remove",
        ),
        ('{"format": 2}', "a record of format 2, and this version reads format 1; remove it and"),
        ('{"format": 1, "kind": "speech"}', "kind 'speech'; there are translation, "),
    ],
)
def test_damaged_records_are_named(tmp_path, results, text, message):
    (tmp_path / "record.json").write_text(text)
    with pytest.raises(UserError, match=f"record.json: {message}"):
        store.keep(tmp_path)
    assert not [*results.iterdir()]


# --- keeping -----------------------------------------------------------------------------------


def test_figures_of_a_record_come_through(results, run):
    assert store.keep(run(records.translation())) == results / "some.json"
    table = store.with_tables("before\n<!-- table: some -->\nold\n<!-- end -->\nafter")
    assert "old" not in table
    assert table.startswith("before\n") and table.endswith("\nafter")
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in table.split("\n")[4:6]]
    assert rows == [
        ["none", "2,000,000", "100.0%", "31.25", "", "", ""],
        ["three-way", "1,000,000", "50.0%", "31.00", "-0.25", "0.98", "0.504"],
    ]
    assert "one run each says nothing of other seeds" in table


def test_pictures_of_pages_are_drawn_beside_the_record(monkeypatch, tmp_path, results, run):
    (tmp_path / "page.md").write_text("![Shares](../results/some-gradient-shares.svg)\n")
    store.keep(run(records.translation()))
    monkeypatch.setattr(store, "PAGES", [tmp_path / "page.md"])
    store.keep(run(records.translation()))
    assert [path.name for path in results.iterdir()] == ["some.json"]
    store.keep(run({**records.translation(), "gradients": {"none": [records.gradients()]}}))
    names = sorted(path.name for path in results.iterdir())
    assert names == ["some-gradient-shares.png", "some-gradient-shares.svg", "some.json"]
    table = store.with_tables("<!-- table: some -->\n<!-- end -->")
    assert "| % of the gradient, at update | use | 0 | 100 | 200 |" in table


def test_rows_of_embeddings_are_not_lost(results, run):
    kept = records.embeddings()
    store.keep(run(kept))
    last = kept["rows"][-1]["name"]
    with pytest.raises(UserError, match=f"^some: the row {last} of the kept record would"):
        store.keep(run(without(kept, rows=[last])))
    assert json.loads((results / "some.json").read_text())["rows"] == kept["rows"]


def test_seeds_of_embeddings_are_not_lost(results, run):
    store.keep(run(records.embeddings()))
    with pytest.raises(UserError, match=r"^none: seeds 1 would replace 1, 2, 3; "):
        store.keep(run(without(records.embeddings(), seeds=1)))
    store.keep(run({**records.skip_gram(), "experiment": "vectors", "seeds": 3}))
    with pytest.raises(UserError, match=r"^vectors: 1 seeds would replace 3; "):
        store.keep(run({**records.skip_gram(), "experiment": "vectors"}))


def test_another_recipe_takes_the_place_of_fewer_seeds(results, run):
    store.keep(run(records.embeddings()))
    new = without(records.embeddings(), seeds=1)
    for row in new["rows"]:
        row["recipe"]["model"]["embed_dim"] = 8
    store.keep(run(new))
    assert store.read_record(results / "some.json").seeds == 1


def test_rows_that_are_begun_join(results, run):
    """The other rows of ptb-large-begun stay."""
    whole = {**records.language_model(), "kind": "first-updates"}
    for row in whole["rows"]:
        row["perplexity"] = {}
    for left_out in ("wt", "none"):
        store.keep(run(without(whole, rows=[left_out])))
    assert store.read_record(results / "some.json").row_names == ["none", "wt"]


def test_kinds_do_not_join(results, run):
    store.keep(run(records.translation()))
    with pytest.raises(UserError, match=r"some.json: of the kind translation, not embeddings"):
        store.keep(run(records.embeddings()))


# --- pages -------------------------------------------------------------------------------------


WITH_TABLES = [page for page in store.PAGES if "<!-- table: " in page.read_text(encoding="utf-8")]


@pytest.mark.parametrize("page", WITH_TABLES, ids=lambda page: page.name)
def test_pages_agree_with_the_records(page):
    text = page.read_text(encoding="utf-8")
    assert store.with_tables(text) == text


def test_every_record_is_shown():
    text = "".join(page.read_text(encoding="utf-8") for page in store.PAGES)
    for path in KEPT:
        assert f"<!-- table: {path.stem} -->" in text


def test_a_table_of_the_mean_over_experiments(results, run):
    for name, subsets in (("one", ("a", "b")), ("two", ("c", "d"))):
        store.keep(run({**records.translation(seeds=3, subsets=subsets), "experiment": name}))
    *lines, _, about = store.table("one+two").split("\n")
    assert about == "Differences: over seeds and test sentences"
    head, _, none, three_way = ([cell.strip() for cell in line.split("|")[1:-1]] for line in lines)
    assert head == ["", "mean BLEU", "against none", "not worse by more than (95%)", "p"]
    assert none == ["none", "28.83", "", "", ""]
    alone = store.table("one").split("\n")[7].split("|")
    assert "mean" in alone[2] and three_way[:3] == ["three-way", "28.58", "-0.25"]
    assert float(three_way[3]) < float(alone[7])  # two corpora tell more than one
    store.keep(run({**records.translation(subsets=("c", "d")), "experiment": "one seed"}))
    about = store.table("one+one seed").split("\n")[-1]
    title = records.translation()["title"]
    assert about.endswith(f"{title}: over test sentences; one run each says nothing of other seeds")
    store.keep(run({**records.translation(), "baseline": "three-way", "experiment": "apart"}))
    with pytest.raises(UserError, match=r"^apart: its baseline is not that of one, so that it is"):
        store.table("one+apart")
    store.keep(run({**records.embeddings(), "experiment": "other"}))
    with pytest.raises(UserError, match=r"^only translation experiments have a table"):
        store.table("one+other")


def test_the_mean_over_experiments_is_of_all_of_them(results, run):
    """Of scores and of differences, each experiment counts once."""
    for name, shift in (("one", 0.0), ("two", 10.0)):
        content = {**records.translation(), "experiment": name}
        for number, row in enumerate(content["rows"]):
            bleu = row["test"]["test"]["bleu"]
            for scored in (bleu, *bleu["seeds"]):
                scored["score"] += shift + number * shift / 5
        store.keep(run(content))
    _, _, none, three_way, *_ = (
        [cell.strip() for cell in line.split("|")[1:-1]]
        for line in store.table("one+two").split("\n")[:4]
    )
    assert none[1] == f"{31.25 + 5:.2f}"
    assert three_way[1:3] == [f"{31.0 + 6:.2f}", f"{(-0.25 + 1.75) / 2:+.2f}"]


def test_a_table_at_a_glance(results, run):
    store.keep(run({**records.translation(seeds=3, subsets=("a", "b")), "experiment": "one"}))
    store.keep(run({**records.translation(), "experiment": "two"}))
    lines = store.table("glance:one+two").split("\n")
    cells = [[cell.strip() for cell in line.split("|")[1:-1]] for line in lines]
    assert cells[0] == ["", "none", "three-way"]
    of_the_set = cells[3]
    alone = [cell.strip() for cell in store.table("one").split("\n")[3].split("|")[1:-1]]
    score, difference, bound = alone[4].split(" ")[0], *alone[5:7]
    assert of_the_set[2] == f"{score} ({difference}, at worst -{bound})"
    assert len(cells) == 3 + 2 + 1
    assert cells[-1][1:] == ["31.25", "31.00 (-0.25, at worst -0.98)"]


def test_a_table_of_some_benchmarks():
    every, two = store.table("benchmarks"), store.table("benchmarks:train+generate")
    assert len(two.split("\n")) == 4 and {*two.split("\n")} < {*every.split("\n")}
    with pytest.raises(UserError, match="asks for the benchmarks train, no-such"):
        store.table("benchmarks:train+no-such")


def test_missing_record_is_named():
    with pytest.raises(UserError, match=r"asks for the table nothing"):
        store.with_tables("<!-- table: nothing -->\nold\n<!-- end -->")


@pytest.mark.parametrize(
    "mark", ["<!-- table:some -->\n", "<!-- table: some --> \n", "<!-- table: some -->\r\n"]
)
def test_a_misspelt_mark_is_told(mark):
    with pytest.raises(UserError, match="a mark of a table is misspelt"):
        store.with_tables(f"{mark}old\n<!-- end -->\n")


def test_an_empty_block_does_not_swallow_the_next(monkeypatch):
    monkeypatch.setattr(store, "table", lambda name: f"({name})")
    block = "<!-- table: {} -->\n{}<!-- end -->\nbetween\n"
    text = block.format("a", "") + block.format("b", "old\n\nold\n") + block.format("a", "")
    filled = "".join(block.format(name, f"({name})\n") for name in "aba")
    assert store.with_tables(text) == filled
    assert store.with_tables(filled) == filled


@pytest.fixture
def page(results, run, tmp_path, monkeypatch):
    """A page with an old table, and the record of the new one."""
    store.keep(run(records.translation()))
    page = tmp_path / "page.md"
    page.write_text("<!-- table: some -->\nold\n<!-- end -->\n")
    monkeypatch.setattr(store, "PAGES", (page,))
    return page


def test_the_command_checks_and_renews_the_pages(page, monkeypatch):
    before = page.read_text()
    monkeypatch.setattr("sys.argv", ["record", "--check"])
    with pytest.raises(SystemExit, match=r"^error: page.md disagrees with results/; run python"):
        command.main()
    assert page.read_text() == before
    monkeypatch.setattr("sys.argv", ["record"])
    command.main()
    assert page.read_text() == store.with_tables(before) != before
