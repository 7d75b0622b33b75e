"""The figures that a page must show for a record, written as the page writes them."""

from __future__ import annotations

import math

import pytest

from tests.scripts.lab.show.html.reading import axis, error_bars, pictures, positions, table
from tiednmt.seeds import over_seeds as statistics
from tiednmt.translation.significance import RunScore, difference, mean_of_test_sets, mean_score


def minus(text):
    return text.replace("-", "−")


def _signed(difference):
    """To two decimals; what rounds to nothing is +0.00 from either side."""
    text = minus(f"{difference:+.2f}")
    return "+0.00" if text == "−0.00" else text


def require_figures(page, html, record):
    """The tables and pictures of ``page`` (of one record) hold what ``record`` does."""
    for require in REQUIRED[record["kind"]]:
        require(page, html, record)
    code = [element.text for element in page.all("code")]
    for row in record.get("rows", ()):
        assert row["training_command"] in code
    assert record["command"] in code
    versions = dict(table(page, "Versions")[1:])
    assert versions == {**record["versions"], "Python": record["machine"]["python"]}


def _mean_and_sd(figure, places):
    if figure is None:
        return "–"
    sd = "" if figure["sd"] is None else f" ± {figure['sd']:.{places}f}"
    return minus(f"{figure['mean']:.{places}f}{sd}")


def _falls(order, values):
    """yes or no: the means of the names in ``order`` fall."""
    means = [values[name] and values[name]["mean"] for name in order.split(" > ")]
    if None in means:
        return "–"
    return "yes" if means == sorted(set(means), reverse=True) else "no"


def _letters(record):
    return [*next(iter(record["similarity"].values()))["rho"]]


def _require_similarity(page, html, record):
    order = record["paper"].get("similarity")
    head, *lines = table(page, "Word similarity: Spearman")
    assert head == ["", "pairs covered", *_letters(record), *[f"paper: {order}"] * bool(order)]
    assert lines == [
        [
            name,
            f"{one['covered']:,} of {one['pairs']:,}",
            *(_mean_and_sd(figure, 3) for figure in one["rho"].values()),
            *([_falls(order, one["rho"])] if order else []),
        ]
        for name, one in record["similarity"].items()
    ]


def _require_correlation(page, html, record):
    correlation, order = record.get("correlation"), record["paper"].get("correlation")
    if not correlation:
        return
    head, line = table(page, "Likeness: Spearman")
    expected = {f"ρ({two})": _mean_and_sd(figure, 3) for two, figure in correlation.items()}
    if order:
        expected[f"paper: {order}"] = _falls(order, correlation)
    assert dict(zip(head, line, strict=True)) == expected


def _require_directions(page, html, record):
    """The findings that stand first."""
    cards = [
        card.text for cards in page.all("ul", aria_label="Findings") for card in cards.all("li")
    ]
    order = record["paper"].get("similarity")
    if order:
        answers = [_falls(order, one["rho"]) for one in record["similarity"].values()]
        known = [answer for answer in answers if answer != "–"]
        sets = "set" if len(known) == 1 else "sets"
        outcome = f"{known.count('yes')} of {len(known)} {sets} in this order"
        card = cards.pop(0)
        assert f"Word similarity: {order} {outcome if known else 'not known'} " in card
    order = record["paper"].get("correlation")
    if order and record.get("correlation"):
        (card,) = cards
        assert f"Likeness: {order} {_falls(order, record['correlation'])} " in card
        for name in order.split(" > "):
            assert minus(f"ρ({name}){record['correlation'][name]['mean']:.3f}") in card


def _require_dots(page, html, record):
    figures = [figure for one in record["similarity"].values() for figure in one["rho"].values()]
    figures = [figure for figure in figures if figure is not None]
    drawn = dict(pictures(html))
    if not figures:
        assert "Word similarity" not in drawn
        return
    svg = drawn["Word similarity"]
    x = axis(svg, "x")
    places = [x(at) for at, _ in positions(svg)]
    assert places == pytest.approx([figure["mean"] for figure in figures], abs=2e-3)
    bars = [path for path in svg.iter("path") if path.get("class") == "bar"]
    assert len(bars) == sum(figure["sd"] is not None for figure in figures)


METRICS = {
    "bleu": "BLEU",
    "tokenised_bleu": "BLEU of lower-cased tokens",
    "chrf": "chrF",
    "ter": "TER",
}


def _places(record):
    subsets = [*record["rows"][0]["test"]]
    return [*subsets, "mean"] if len(subsets) > 1 else subsets


def _runs(record, name, place, metric):
    (row,) = (row for row in record["rows"] if row["name"] == name)
    subsets = [*row["test"]] if place == "mean" else [place]
    return mean_of_test_sets(
        [
            [
                RunScore(one["score"], [int(n) / 1000 for n in one["influences"].split()])
                for one in row["test"][subset][metric]["seeds"]
            ]
            for subset in subsets
        ]
    )


def _mean_and_interval(record, row, place, metric):
    runs = _runs(record, row["name"], place, metric)
    return vars(statistics([run.score for run in runs])), mean_score(runs).interval


def _score(record, row, place, metric):
    mean, (low, high) = _mean_and_interval(record, row, place, metric)
    return minus(f"{_mean_and_sd(mean, 2)}|{low:.2f}–{high:.2f}")


def _apart(record, name, baseline, place, metric):
    return difference(*(_runs(record, row, place, metric) for row in (name, baseline)))


def _p_text(found):
    return f"{found.p_value:.3f}" if found.p_value >= 0.0005 else "<0.001"


def _require_scores(page, html, record):
    head, *lines = table(page, "Sizes and scores")
    places, baseline = _places(record), record["baseline"]
    several, others = len(places) > 1, len(record["rows"]) > 1
    first = next(iter(record["rows"][0]["test"].values()))
    shown = [metric for metric in ("bleu", "tokenised_bleu") if metric in first]
    shares = "share" in record["rows"][0]
    assert head[: 2 + several] == ["", *["test set"] * several, "parameters"]
    columns = [f"against {baseline}", "not worse by more than (95%)", "p"]
    assert head[2 + several + shares + len(shown) :] == columns * others
    expected = []
    for place in places:
        for row in record["rows"]:
            line = [row["name"], *[place] * several, f"{row['parameters']:,}"]
            line += [f"{row['share'] * 100:.1f}%"] if shares else []
            line += [_score(record, row, place, metric) for metric in shown]
            if row["name"] == baseline or not others:
                expected.append(line + [""] * len(columns) * others)
                continue
            found = _apart(record, row["name"], baseline, place, "bleu")
            worst = found.not_worse_by("higher")
            line.append(_signed(found.value))
            line.append(f"{worst:.2f}" if worst > 0 else f"better by {-worst:.2f}")
            expected.append([*line, _p_text(found)])
    assert lines == expected


def _require_further_scores(page, html, record):
    subsets = list(record["rows"][0]["test"])
    head, *lines = table(page, "Checkpoints and further scores")
    every = [(subset, metric) for subset in subsets for metric in ("chrf", "ter")]
    assert head == ["", "checkpoint", "training", *(f"{s} {METRICS[m]}" for s, m in every)]
    for line, row in zip(lines, record["rows"], strict=True):
        assert line[0] == row["name"]
        assert line[3:] == [_score(record, row, subset, metric) for subset, metric in every]


def _require_perplexities(page, html, record):
    subsets = [s for s in ("train", "valid", "test") if s in record["rows"][0]["perplexity"]]
    head, *lines = table(page, "Sizes and perplexities")
    papers = [row.get("paper", {}) for row in record["rows"]]
    compared = [s for s in ("parameters", *subsets) if any(p.get(s) is not None for p in papers)]
    expected_head = [
        name for s in ("parameters", *subsets) for name in ((s, "paper") if s in compared else (s,))
    ]
    assert head[1:-2] == expected_head
    for line, row, paper in zip(lines, record["rows"], papers, strict=True):
        expected = [row["name"]]
        for what in ("parameters", *subsets):
            figure = row["perplexity"].get(what)
            expected.append(_mean_and_sd(figure, 1) if figure else f"{row['parameters']:,}")
            if what in compared:
                expected.append("–" if paper.get(what) is None else str(paper[what]))
        assert [cell.partition("|")[0] for cell in line[:-2]] == expected
        assert line[-2] == str(row["epochs"])


def _require_comparisons(page, html, record):
    if len(record["rows"]) == 1:
        return
    trained = {row["name"] for row in record["rows"]}
    wanted = [record["baseline"], *record.get("also_compared_with", [])]
    baselines = [name for name in wanted if name in trained]
    metrics = [m for m in METRICS if m in next(iter(record["rows"][0]["test"].values()))]
    for baseline in baselines:
        head, *lines = table(page, f"Score less that of {baseline}; ")
        assert head == ["", "test set", *(METRICS[metric] for metric in metrics)]
        expected = []
        for place in _places(record):
            for row in record["rows"]:
                if row["name"] == baseline:
                    continue
                cells = []
                for metric in metrics:
                    found = _apart(record, row["name"], baseline, place, metric)
                    interval = " to ".join(map(_signed, found.interval))
                    cells.append(f"{_signed(found.value)}|{interval}, p = {_p_text(found)}")
                expected.append([row["name"], place, *cells])
        assert lines == expected


def _require_panels(page, html, record):
    """The marks lie where the axes say that the record's figures are."""
    panels = [picture for picture in pictures(html) if ", " in picture[0]]
    assert panels
    for caption, svg in panels:
        metric, subset = caption.split(", ")
        x, y = axis(svg, "x"), axis(svg, "y")
        bars = error_bars(svg)
        for i, (row, (at_x, at_y)) in enumerate(zip(record["rows"], positions(svg), strict=True)):
            assert math.isclose(x(at_x), row["parameters"] / 1e6, rel_tol=1e-3)
            if metric == "BLEU":
                _, interval = _mean_and_interval(record, row, subset, "bleu")
                mean = row["test"][subset]["bleu"]["over_seeds"]["mean"]
                for end, value in zip(bars[i], interval, strict=True):
                    assert math.isclose(y(end), value, rel_tol=1e-3)
            else:
                mean = row["perplexity"][subset]["mean"]
            assert math.isclose(y(at_y), mean, rel_tol=1e-3)


def _require_curves(page, html, record):
    """A line per run, and its figures in a table."""
    _require_lines(html, [run for seeds in record["curves"].values() for run in seeds])
    (caption,) = {c.text for c in page.all("caption") if c.text.startswith("validation")}
    head, *lines = table(page, caption)
    perplexity = "perplexity" in caption
    x = "epoch" if "epochs" in head[0] else "update"
    runs = [points for seeds in record["curves"].values() for points in seeds]
    for column, points in enumerate(runs, start=1):
        shown = {line[0]: line[column] for line in lines if line[column] != "–"}
        height = {
            f"{p[x]:,}": f"{math.exp(p['nll']) if perplexity else p['nll']:.2f}" for p in points
        }
        assert shown == height


def _require_lines(html, runs):
    drawn = [*dict(pictures(html))["Learning curves"].iter("polyline")]
    assert [len(line.get("points").split()) for line in drawn] == list(map(len, runs))


def _require_first_updates(page, html, record):
    head, *lines = table(page, "Validation perplexity")
    points = record["curves"][record["rows"][0]["name"]][0]
    assert head[2:] == [f"{point['update']:,} updates" for point in points]
    for line, row in zip(lines, record["rows"], strict=True):
        nlls = [point["nll"] for point in record["curves"][row["name"]][0]]
        expected = [row["name"], f"{row['parameters']:,}", *(f"{math.exp(n):,.0f}" for n in nlls)]
        assert line == expected


def _require_variants(page, html, record):
    _, *lines = table(page, "Perplexity")
    for line, row in zip(lines, record["variants"], strict=True):
        assert (line[0], line[3]) == (row["name"], str(row["epochs"]))
        subsets = ("train", "valid", "test")
        assert line[4:] == [_mean_and_sd(row[s], 1) if s in row else "" for s in subsets]
    _require_lines(html, [run for row in record["variants"] for run in row["curves"]])


def _require_sides(page, html, record):
    head, *lines = table(page, record["title"].capitalize())
    ratio = "{median:.2f} ({min:.2f}–{max:.2f})".format(**record["ratio"])
    assert f"Ratio {ratio}" in page.text
    sides = ("ours", "against")
    if "cells" not in record:
        assert [line[:2] for line in lines] == [
            [record[side]["name"], f"{record[side]['median']:,}"] for side in sides
        ]
        return
    assert head[3:5] == [record[side]["name"] for side in sides]
    for line, cell in zip(lines, record["cells"], strict=True):
        speeds = [f"{cell[s]['median']:,}" if s in cell else "too little memory" for s in sides]
        assert line[3:5] == speeds
    assert len(pictures(html)) == 4  # speed and memory, along each size


_EMBEDDINGS = (_require_similarity, _require_correlation, _require_directions, _require_dots)
REQUIRED = {
    "translation": (
        _require_scores,
        _require_further_scores,
        _require_comparisons,
        _require_panels,
        _require_curves,
    ),
    "tied_language_modeling": (_require_perplexities, _require_panels, _require_curves),
    "first-updates": (_require_first_updates, _require_curves),
    "embeddings": _EMBEDDINGS,
    "skip-gram": _EMBEDDINGS,
    "projection-search": (_require_variants,),
    "benchmark": (_require_sides,),
}
