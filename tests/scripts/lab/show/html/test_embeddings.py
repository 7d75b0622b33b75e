"""Records of experiments on embeddings: word similarity, likeness, and the paper's directions."""

import copy
import json

import pytest

from scripts.report import main
from tests.scripts.lab.show.html.figures import require_figures
from tests.scripts.lab.show.html.reading import axis, pictures, read, table, tables


def test_figures(embeddings, make_page):
    html = make_page(embeddings)
    require_figures(read(html), html, embeddings)


def test_figures_of_skip_gram(skip_gram, make_page):
    html = make_page(skip_gram)
    page = read(html)
    require_figures(page, html, skip_gram)
    assert "Likeness" not in page.text
    assert skip_gram["training_command"] in [code.text for code in page.all("code")]
    assert "threads per run" not in page.text  # gensim trains on one, whatever there are


def test_directions_by_hand(embeddings, make_page):
    """V > U in the first set, not in the second, unknown in the third."""
    page = read(make_page(embeddings))
    (findings,) = page.all("ul", aria_label="Findings")
    similarity, likeness = findings.all("li")
    assert "1 of 2 sets in this order" in similarity.text
    assert "yes" in likeness.text and "ρ(V,S)0.700" in likeness.text
    answers = [line[-1] for line in table(page, "Word similarity: Spearman")[1:]]
    assert answers == ["yes", "no", "–"]


def test_error_bars_are_students_interval(embeddings, make_page):
    """Of 0.1, 0.12, 0.11: mean 0.11, deviation 0.01, and 4.3027 is Student's t for three."""
    svg = dict(pictures(make_page(embeddings)))["Word similarity"]
    bar = next(path.get("d") for path in svg.iter("path") if path.get("class") == "bar")
    low, high = (float(end) for end in bar[1:].partition("M")[0].replace("H", " ").split()[::2])
    half = 4.3027 * 0.01 / 3**0.5
    x = axis(svg, "x")
    assert [x(low), x(high)] == pytest.approx([0.11 - half, 0.11 + half], abs=2e-3)


def test_without_an_order_of_the_paper_none_is_shown(embeddings, make_page):
    embeddings["paper"] = {}
    html = make_page(embeddings)
    page = read(html)
    require_figures(page, html, embeddings)
    assert "paper" not in page.text.replace("Press and Wolf", "")
    assert not page.all("ul", aria_label="Findings")


def test_no_word_of_any_set(skip_gram, make_page):
    skip_gram["similarity"]["Set"].update(covered=0, rho={"U": None, "V": None})
    html = make_page(skip_gram)
    page = read(html)
    require_figures(page, html, skip_gram)
    assert "0 of 0 sets" not in page.text and "not known" in page.text


def test_beside_other_runs(translation, embeddings, skip_gram, make_page):
    page = read(make_page(translation, embeddings, skip_gram))
    (nav,) = page.all("nav")
    findings = [[line[:2] for line in lines] for _, lines in tables(nav)]
    assert findings[1:] == [
        [
            ["Word similarity: V > U", "1 of 2 sets"],
            ["Likeness: V,S > U,S > U,V", "yes"],
        ],
        [["Word similarity: U > V", "1 of 1 set"]],
    ]
    for section in page.all("section")[1:]:
        captions = [caption for caption, _ in tables(section)]
        assert any(caption.startswith("Word similarity") for caption in captions)


@pytest.mark.parametrize(
    ("keys", "value", "fault"),
    [
        (["similarity"], {}, "similarity is empty"),
        (["similarity", "Other"], {"pairs": 3, "rho": {}}, "similarity.Other lacks covered"),
        (["similarity", "Other", "rho"], {"U": None}, "sets are not of the same embeddings"),
        (
            ["similarity", "Other", "rho", "V"],
            {"sd": None, "seeds": 1},
            "similarity.Other.rho.V lacks mean",
        ),
        (["paper", "similarity"], "W > U", "paper: W > U names W, which is not measured"),
        (["paper", "correlation"], "V,W > U,V", "names V,W, which is not measured"),
        (["seeds"], "three", "seeds is 'three'"),
    ],
)
def test_damaged(embeddings, tmp_path, keys, value, fault):
    record = part = copy.deepcopy(embeddings)
    *way, last = keys
    for key in way:
        part = part[key]
    part[last] = value
    path = tmp_path / "some.json"
    path.write_text(json.dumps(record))
    with pytest.raises(SystemExit) as stop:
        main([str(path), "--out", str(tmp_path / "page.html")])
    line = str(stop.value)
    assert line.startswith(f"error: {path}: ") and fault in line and "\n" not in line
