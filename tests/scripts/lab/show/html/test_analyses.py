"""What ``tiednmt analyse`` left, alone and in the folder of a run."""

import copy
import json

import pytest

from scripts.report import main
from tests.scripts.lab.show.html.reading import axis, pictures, positions, read, table, tables
from tests.support.records import gradients

BANDS = [[1, 10], [11, 100], [101, 250]]


def matrix(mean):
    return {
        "words": 250,
        "dim": 4,
        "norms": [{"ranks": band, "mean": mean + i / 4} for i, band in enumerate(BANDS)],
        "neighbours": {"<b>": [["&amp;", 0.75], ["year", 0.5]], "nowhere": []},
        "map": {"method": "pca", "words": ["year"], "points": [[0.0, 1.0]]},
    }


ANALYSIS = {
    "format": 1,
    "checkpoints": [
        {
            "name": "none",
            "path": "runs/none/checkpoint_best.pt",
            "architecture": "tied_lstm_lm_small",
            "tie_map": {
                "matrices": [
                    {"names": ["input embedding"], "shape": [254, 4]},
                    {"names": ["output embedding"], "shape": [254, 4]},
                ],
                "others": {"output bias": 254, "projection P": 0, "the rest": 640},
                "bytes_per_parameter": 4,
            },
            "subwords": False,
            "matrices": {"U": matrix(0.5), "V": matrix(1.5)},
            "gradients": gradients(),
            "row_movement": {
                "updates": 10,
                "matrices": {
                    "V": [
                        {"ranks": band, "rows": 9, "moved": 8.5, "distance": 0.0125}
                        for band in BANDS
                    ]
                },
            },
        },
        {
            "name": "vectors",
            "path": "some.vec",
            "subwords": False,
            "matrices": {"U": {**matrix(2.5), "norms": matrix(2.5)["norms"][:2]}},
            "attention": [
                {
                    "source": ["ein", "Hund"],
                    "target": ["a", "dog", "<b>"],
                    "weights": [[0.9, 0.1], [0.25, 0.75], [0.5, 0.5]],
                    "alignment": [[0, 0], [1, 1], [2, 0]],
                }
            ],
        },
    ],
    "similarity": {
        "SimLex-999": {
            "pairs": 999,
            "by": {
                "none U": {"rho": 0.1234, "covered": 420},
                "none V": {"rho": -0.2, "covered": 420},
                "vectors U": {"rho": None, "covered": 0},
            },
        }
    },
    "likeness": {
        "words": 250,
        "pairs": 1000,
        "exact": False,
        "by": [
            {"of": ["none U", "none V"], "rho": 0.4567, "error": 0.0012},
            {"of": ["none U", "vectors U"], "rho": None, "error": 0.0},
            {"of": ["none V", "vectors U"], "rho": -0.25, "error": 0.01},
        ],
    },
    "versions": {"scipy": "1.17.1"},
}


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "embeddings").mkdir()
    (tmp_path / "embeddings" / "analysis.json").write_text(json.dumps(ANALYSIS))
    return tmp_path / "embeddings"


def html_of(*runs, out):
    main([*map(str, runs), "--out", str(out)])
    return out.read_text(encoding="utf-8")


def require_tables(page):
    assert table(page, "Word similarity") == [
        ["set", "pairs covered", "none U", "none V", "vectors U"],
        ["SimLex-999", "0–420 of 999", "0.123|420 known", "−0.200|420 known", "–|0 known"],
    ]
    assert table(page, "Likeness") == [
        ["embedding", "none U", "none V"],
        ["none V", "0.457|± 0.0012", ""],
        ["vectors U", "–", "−0.250|± 0.0100"],
    ]
    assert table(page, "Mean norm") == [
        ["embedding", "1–10", "11–100", "101–250"],
        ["none U", "0.50", "0.75", "1.00"],
        ["none V", "1.50", "1.75", "2.00"],
        ["vectors U", "2.50", "2.75", "–"],
    ]
    assert table(page, "Rows that an update moves")[1:] == [["none, V", "8.5", "8.5", "8.5"]]
    assert table(page, "How far")[1:] == [["none, V", "0.0125", "0.0125", "0.0125"]]
    _, *lines = table(page, "Nearest neighbours")
    nearest = {"<b>": "&amp; 0.75, year 0.50", "nowhere": "not in the vocabulary"}
    names = ("none U", "none V", "vectors U")
    assert lines == [[word, name, text] for word, text in nearest.items() for name in names]


def test_an_analysis_alone(folder, tmp_path):
    html = html_of(folder, out=tmp_path / "page.html")
    page = read(html)
    (title,) = page.all("h2")
    assert title.text == "Embeddings: embeddings"
    require_tables(page)
    assert table(page, "Parameters by matrix") == [
        [
            *("model", "input embedding", "output embedding", "output bias", "the rest"),
            *("total", "without tying"),
        ],
        [
            *("none", "1,016|254 × 4", "1,016|254 × 4", "254", "640"),
            *("2,926|0.0 MB stored", "2,926"),
        ],
    ]
    assert "none: tie:none|vocab:254|dim:4|matrices:2|proj:no|params:2926" in page.text
    assert table(page, "Versions")[1:] == [["scipy", "1.17.1"]]


def test_norms_are_drawn(folder, tmp_path):
    svg = dict(pictures(html_of(folder, out=tmp_path / "page.html")))[
        "Mean norm of a row, by word frequency"
    ]
    y = axis(svg, "y")
    drawn = [
        [y(float(point.split(",")[1])) for point in line.get("points").split()]
        for line in svg.iter("polyline")
    ]
    expected = [[0.5, 0.75, 1.0], [1.5, 1.75, 2.0], [2.5, 2.75]]
    assert [pytest.approx(line, abs=0.01) for line in expected] == drawn


def test_gradients_by_use_are_drawn_and_named(folder, tmp_path):
    """Three lines of one model, which the section's legend does not know."""
    html = html_of(folder, out=tmp_path / "page.html")
    svg = dict(pictures(html))["none: shares of the gradient"]
    y = axis(svg, "y")
    ends = [y(float(line.get("points").split()[-1].split(",")[1])) for line in svg.iter("polyline")]
    assert ends == pytest.approx([25, 25, 50], abs=0.1)
    (figure,) = (
        figure
        for figure in read(html).all("figure")
        if figure.all("figcaption")[0].text == "none: shares of the gradient"
    )
    (legend,) = figure.all("ul")
    assert [one.text.strip() for one in legend.all("li")] == [
        *("source input", "target input", "output")
    ]
    colours = [one["class"] for one in legend.all("svg")]
    assert colours == ["key look-0", "key look-1", "key look-2"]
    assert table(read(html), "Share of each use in the gradient, over")[-1] == [
        *("none", "output", "75", "67", "50")
    ]


def test_similarity_is_drawn(folder, tmp_path):
    svg = dict(pictures(html_of(folder, out=tmp_path / "page.html")))["Word similarity"]
    x = axis(svg, "x")
    assert [x(at) for at, _ in positions(svg)] == pytest.approx([0.1234, -0.2], abs=1e-3)


def test_signs_of_many_embeddings_differ(tmp_path):
    """Seven or more share colours, but not colour and shape."""
    analysis = copy.deepcopy(ANALYSIS)
    (analysis["checkpoints"][0])["matrices"] = {f"U{i}": matrix(i) for i in range(14)}
    analysis.update(similarity={})
    del analysis["likeness"]
    (tmp_path / "analysis.json").write_text(json.dumps(analysis))
    page = read(html_of(tmp_path, out=tmp_path / "page.html"))
    legend = page.all("ul", class_="legend")[-1]
    signs = [(svg["class"], svg.all("path")[0]["d"]) for svg in legend.all("svg")]
    assert len(signs) == len(set(signs)) == 15


def test_pairs_that_all_cover_are_told_once(tmp_path):
    analysis = copy.deepcopy(ANALYSIS)
    by = analysis["similarity"]["SimLex-999"]["by"]
    del by["vectors U"]
    (tmp_path / "analysis.json").write_text(json.dumps(analysis))
    page = read(html_of(tmp_path, out=tmp_path / "page.html"))
    assert table(page, "Word similarity") == [
        ["set", "pairs covered", "none U", "none V"],
        ["SimLex-999", "420 of 999", "0.123", "−0.200"],
    ]
    assert "Left out, since the sets are English: vectors U." in page.text


def test_in_the_folder_of_a_run(folder, translation, tmp_path):
    run = tmp_path / "run"
    run.mkdir()
    (run / "record.json").write_text(json.dumps(translation))
    folder.rename(run / "analysis")
    page = read(html_of(run, out=tmp_path / "page.html"))
    assert len(page.all("h2")) == 1
    require_tables(page)


def test_beside_a_run(folder, translation, tmp_path):
    record = tmp_path / "some.json"
    record.write_text(json.dumps(translation))
    page = read(html_of(record, folder, out=tmp_path / "page.html"))
    first, second = page.all("section")
    assert "Word similarity" not in first.text
    require_tables(second)
    (nav,) = page.all("nav")
    assert [link["href"] for link in nav.all("a")] == ["#run-1", "#run-2"]
    assert len(tables(nav)) == 1


@pytest.mark.parametrize(
    ("keys", "fault"),
    [
        (["checkpoints"], "it lacks checkpoints"),
        (["checkpoints", 0, "tie_map", "others"], "checkpoints[0].tie_map lacks others"),
        (["similarity", "SimLex-999", "pairs"], "similarity.SimLex-999 lacks pairs"),
    ],
)
def test_damaged(folder, tmp_path, keys, fault):
    analysis = part = copy.deepcopy(ANALYSIS)
    *way, last = keys
    for key in way:
        part = part[key]
    del part[last]
    (folder / "analysis.json").write_text(json.dumps(analysis))
    with pytest.raises(SystemExit) as stop:
        html_of(folder, out=tmp_path / "page.html")
    line = str(stop.value)
    assert line.startswith(f"error: {folder / 'analysis.json'}: {fault}, so it is damaged")
    assert "\n" not in line
