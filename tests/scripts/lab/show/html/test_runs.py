"""What the page takes from a run's folder beside the record."""

import json

import pytest

from scripts.report import main
from tests.scripts.lab.show.html.figures import require_figures
from tests.scripts.lab.show.html.reading import read, tables

SOURCES = ["Eins.", "Zwei Hunde.", "Drei."]
REFERENCES = ["One.", "Two dogs.", "Three."]
TRANSLATIONS = {"none": ["One.", "Two dogs.", "Three."], "three-way": ["One.", "A cow.", "Tree."]}


@pytest.fixture
def run(translation, tmp_path):
    """The folder of a run without its checkpoints."""
    folder = tmp_path / "run"
    (folder / "data" / "raw").mkdir(parents=True)
    (folder / "translations").mkdir()
    (folder / "record.json").write_text(json.dumps(translation))
    manifest = {
        "source": "de",
        "target": "en",
        "subsets": {"test": "test"},
        "options": {"bpe": "subword-nmt", "vocabulary_threshold": 0},
    }
    (folder / "data" / "manifest.json").write_text(json.dumps(manifest))
    (folder / "data" / "raw" / "test.de").write_text("\n".join(SOURCES) + "\n")
    (folder / "data" / "raw" / "test.en").write_text("\n".join(REFERENCES) + "\n")
    for row, lines in TRANSLATIONS.items():
        (folder / "translations" / f"{row}.test.en").write_text("\n".join(lines) + "\n")
    return folder


def page_of(run):
    out = run / "page.html"
    main([str(run), "--out", str(out)])
    return out.read_text(encoding="utf-8")


def samples(html):
    return [found for found in tables(read(html)) if "each translation’s chrF" in found[0]]


def test_samples_are_those_where_the_rows_differ(run, translation):
    html = page_of(run)
    require_figures(read(html), html, translation)
    found = samples(html)
    assert [caption.partition(",")[0] for caption, _ in found] == [
        "Line 2 of 3",
        "Line 3 of 3",
        "Sentence",  # the recorded one
    ]
    assert [line[:2] for line in found[0][1]] == [
        ["source", "Zwei Hunde."],
        ["reference", "Two dogs."],
        ["none", "Two dogs."],
        ["three-way", "A cow."],
    ]
    assert "The 2 of 3 sentences of test where the models differ most" in read(html).text


def test_languages_are_told(run):
    (source, reference, *_) = read(page_of(run)).all("table", class_="samples")[0].all("tr")
    assert source.all("td")[0]["lang"] == "de"
    assert reference.all("td")[0]["lang"] == "en"


@pytest.mark.parametrize("lost", ["translations/none.test.en", "data/manifest.json"])
def test_without_the_texts_the_recorded_samples_are_shown(run, lost):
    (run / lost).unlink()
    ((caption, lines),) = samples(page_of(run))
    assert caption.startswith("Sentence") and lines[0][1] == 'He said "<unk>" & left.'


def test_translations_of_another_length(run, capsys):
    with (run / "translations" / "none.test.en").open("a") as file:
        file.write("Four.\n")
    with pytest.raises(SystemExit, match=r"none\.test\.en: 4 lines for 3 sources; "):
        page_of(run)


def test_damaged_checkpoint(run):
    (run / "data" / "data-bin").mkdir()
    (run / "none").mkdir()
    (run / "none" / "checkpoint_best.pt").write_bytes(b"half")
    with pytest.raises(SystemExit, match=r"none/checkpoint_best\.pt: not a whole checkpoint"):
        page_of(run)
