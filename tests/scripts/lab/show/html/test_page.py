"""The page holds the figures of the record, whole and by itself, and everybody can read it."""

import json
import re
from itertools import pairwise

import pytest

from scripts.lab.store import RESULTS
from tests.scripts.lab.show.html.figures import require_figures
from tests.scripts.lab.show.html.reading import axis, error_bars, pictures, read, table, tables
from tests.support import records

KEPT = sorted(RESULTS.glob("*.json"))


@pytest.mark.parametrize("path", KEPT, ids=lambda path: path.stem)
def test_figures_of_the_kept_records(path, make_page):
    record = json.loads(path.read_text(encoding="utf-8"))
    html = make_page(record)
    require_figures(read(html), html, record)


@pytest.mark.parametrize(
    "record",
    [
        records.translation(),
        records.translation(seeds=3),
        records.translation(seeds=3, subsets=("test", "other")),
    ],
    ids=["one seed", "three seeds", "two test sets"],
)
def test_figures_of_a_translation_experiment(record, make_page):
    html = make_page(record)
    require_figures(read(html), html, record)


def test_figures_of_a_language_model_experiment(language_model, make_page):
    html = make_page(language_model)
    require_figures(read(html), html, language_model)


def test_gradients_of_an_experiment(translation, make_page):
    """A chart per use whose lines are those of the rows, so that the page has one legend."""
    translation["gradients"] = {"three-way": [records.gradients()]}
    html = make_page(translation)
    svg = dict(pictures(html))["Gradient from the output"]
    x, y = axis(svg, "x"), axis(svg, "y")
    (line,) = svg.iter("polyline")
    points = [tuple(map(float, point.split(","))) for point in line.get("points").split()]
    assert [x(at) for at, _ in points] == pytest.approx([0, 100, 200], abs=0.5)
    assert [y(at) for _, at in points] == pytest.approx([75, 200 / 3, 50], abs=0.1)
    page = read(html)
    assert len(page.all("ul", class_="legend own")) == 0
    assert table(page, "Share of each use in the gradient of the rows")[0][2:] == [
        *("source only (5 rows)", "target only (6 rows)", "both (7 rows)")
    ]
    require_figures(page, html, translation)


def test_error_bars_over_seeds_are_students_interval(language_model, make_page):
    """Of 114, 115, 114.5: mean 114.5, deviation 0.5, and 4.3027 is Student's t for three."""
    _, svg = next(
        picture for picture in pictures(make_page(language_model)) if "test" in picture[0]
    )
    low, high = error_bars(svg)[0]
    half = 4.3027 * 0.5 / 3**0.5
    assert axis(svg, "y")(low) == pytest.approx(114.5 - half, abs=0.02)
    assert axis(svg, "y")(high) == pytest.approx(114.5 + half, abs=0.02)


def test_one_seed_of_a_language_model_has_no_interval(language_model, make_page):
    for row in language_model["rows"]:
        row["seeds"] = [1]
        for figure in row["perplexity"].values():
            figure.update(sd=None, seeds=1)
    language_model["curves"] = {row: of[:1] for row, of in language_model["curves"].items()}
    html = make_page(language_model)
    assert not any(error_bars(svg) for _, svg in pictures(html))
    assert "no confidence intervals" in read(html).text
    assert "±" not in read(html).text


def test_findings_stand_first(translation, make_page):
    page = read(make_page(translation))
    (findings,) = page.all("ul", aria_label="Findings")
    text = findings.text
    assert "50.0% of the parameters of none" in text
    # standard error .3406 with four degrees of freedom, whose t is 2.1318 at 95%
    told = "−0.2531.00, not worse by more than (95%): 0.98, p = 0.504"
    assert f"BLEU, test{told}" in text
    assert not findings.all("strong")  # p is above 0.05


def test_significant_change_is_bold(translation, make_page):
    none, three_way = (row["test"]["test"]["bleu"]["seeds"] for row in translation["rows"])
    three_way[0]["influences"] = none[0]["influences"].replace("310", "311")
    page = read(make_page(translation))
    (findings,) = page.all("ul", aria_label="Findings")
    assert [strong.text for strong in findings.all("strong")] == ["−0.25"]


def test_text_is_escaped(translation, make_page):
    """All that a record says comes through as text, letter by letter."""
    html = make_page(translation)
    page = read(html)
    assert not page.all("script")
    (sample,) = translation["samples"]
    shown = {line[0]: line[1] for line in table(page, "Sentence")}
    assert shown == {
        "source": sample["source"],
        "reference": sample["reference"],
        "none": sample["none"],
        "three-way": sample["three-way"],
    }
    (title,) = page.all("h2")
    assert title.text == translation["title"]


def test_words_that_the_reference_lacks_are_marked(translation, make_page):
    translation["samples"] = [
        {
            "source": "A dog runs home.",
            "reference": "Ein Hund läuft heim.",
            "none": "Ein Hund läuft heim.",
            "three-way": "Ein großer Hund läuft weg.",
        }
    ]
    page = read(make_page(translation))
    (sample,) = page.all("table", class_="samples")
    assert [mark.text for mark in sample.all("mark")] == ["großer", "weg."]
    assert [line[2] for line in table(page, "Sentence")][2] == "100.0"


def test_several_runs(translation, language_model, make_page):
    html = make_page(translation, language_model)
    page = read(html)
    assert [title.text for title in page.all("h2")] == [translation["title"]] * 2
    (nav,) = page.all("nav")
    targets = [link["href"] for link in nav.all("a")]
    assert targets == [f"#{section['id']}" for section in page.all("section")]
    for section, record in zip(page.all("section"), (translation, language_model), strict=True):
        names = [line[0] for line in table(section, "Sizes and")[1:]]
        assert names == [row["name"] for row in record["rows"]]
    (_, first), (_, second) = tables(nav)
    assert first == [["three-way", "50.0%", "−0.25"]]
    assert second == [["wt", "57.0%", "−2.0"]]


def test_settings(translation, make_page):
    page = read(make_page(translation))
    assert table(page, "Settings that differ")[1:] == [["--tying", "none", "three-way"]]
    assert ["--cpu", "yes"] in table(page, "Settings of every model")[1:]
    assert ["--max-tokens", "100"] in table(page, "Settings of every model")[1:]


def test_nothing_is_fetched(translation, make_page):
    html = make_page(translation)
    page = read(html)
    assert not page.all("script", "link", "img", "iframe", "object")
    for element in page.walk():
        assert not element.attributes.keys() & {"src", "onclick", "onload"}
        assert element.attributes.get("href", "#").startswith("#")
    assert not re.search(r"url\(|@import|https?:", page.all("style")[0].children[0])
    (policy,) = page.all("meta", http_equiv="Content-Security-Policy")
    assert "default-src 'none'" in policy["content"]


def test_structure_for_screen_readers(translation, language_model, make_page):
    require_structure(read(make_page(translation, language_model)))


def test_structure_of_the_page_of_all_kept_records(make_page):
    kept = [json.loads(path.read_text(encoding="utf-8")) for path in KEPT]
    page = read(make_page(*kept))
    assert len(page.all("section")) == len(KEPT) >= 23
    require_structure(page)


def require_structure(page):
    assert page.all("html")[0]["lang"] == "en"
    levels = [int(element.tag[1]) for element in page.all("h1", "h2", "h3", "h4")]
    assert levels[0] == 1 and levels.count(1) == 1
    assert all(b <= a + 1 for a, b in pairwise(levels))
    ids = [element["id"] for element in page.walk() if "id" in element.attributes]
    assert len(ids) == len(set(ids))
    for element in page.walk():
        for name in ("aria-labelledby", "aria-describedby"):
            assert element.attributes.get(name, ids[0]) in ids
    for picture in page.all("svg"):
        named = {"aria-label", "aria-labelledby"} & picture.attributes.keys()
        assert (
            named if picture.attributes.get("role") == "img" else picture["aria-hidden"] == "true"
        )
    for one in page.all("table"):
        assert one.all("caption")
        assert all("scope" in head.attributes for head in one.all("th"))


def _luminance(colour):
    parts = (int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5))
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def _contrast(one, other):
    """WCAG 2.1."""
    dark, light = sorted((_luminance(one), _luminance(other)))
    return (light + 0.05) / (dark + 0.05)


@pytest.mark.parametrize("scheme", [0, 1], ids=["light", "dark"])
def test_contrast(scheme, translation, make_page):
    style = read(make_page(translation)).all("style")[0].children[0]
    colours = dict(
        re.findall(
            r"--([\w-]+): (#[0-9a-f]{6})", re.findall(r":root \{(.*?)\}", style, re.S)[scheme]
        )
    )
    assert {"paper", "panel", "off", "look-5"} <= colours.keys()
    for ink in ("ink", "soft", "link"):
        for ground in ("paper", "panel"):
            assert _contrast(colours[ink], colours[ground]) >= 4.5
    assert _contrast(colours["ink"], colours["off"]) >= 4.5
    for i in range(6):
        assert _contrast(colours[f"look-{i}"], colours["paper"]) >= 3
    assert _contrast(colours["paper"], colours["look-0"]) >= 4.5  # letters in the bars


def test_one_row_is_compared_with_nothing(translation, make_page):
    translation["rows"] = translation["rows"][:1]
    del translation["curves"]["three-way"]
    html = make_page(translation)
    page = read(html)
    require_figures(page, html, translation)
    assert "Against" not in page.text and "Score less" not in page.text
