"""The figures that a page must show for a record, written as the page writes them."""

from __future__ import annotations

import math

from tests.scripts.report.reading import axis, error_bars, pictures, positions, table


def minus(text):
    return text.replace("-", "−")


def require_figures(page, html, record):
    """The tables and pictures of ``page`` (of one record) hold what ``record`` does."""
    if "similarity" in record:
        _require_similarity(page, record)
        _require_directions(page, record)
        _require_dots(html, record)
    else:
        language_model = "perplexity" in record["rows"][0]
        (_require_perplexities if language_model else _require_scores)(page, record)
        _require_comparisons(page, record)
        _require_pictures(html, record)
        _require_curves(page, record)
    for row in record["rows"]:
        assert row["training_command"] in [code.text for code in page.all("code")]
    assert record["command"] in [code.text for code in page.all("code")]
    versions = dict(table(page, "Versions")[1:])
    assert versions == {**record["versions"], "Python": record["machine"]["python"]}


def _mean_and_sd(figure):
    if figure is None:
        return "–"
    sd = "" if figure["sd"] is None else f"|± {figure['sd']:.3f}"
    return minus(f"{figure['mean']:.3f}{sd}")


def _falls(order, values):
    """yes or no: the means of the names in ``order`` fall."""
    found = [values[name] and values[name]["mean"] for name in order.split(" > ")]
    if None in found:
        return "–"
    return "yes" if found == sorted(set(found), reverse=True) else "no"


def _letters(record):
    return [*next(iter(record["similarity"].values()))["rho"]]


def _require_similarity(page, record):
    order = record["paper"].get("similarity")
    head, *lines = table(page, "Word similarity: Spearman")
    assert head == ["set", "pairs covered", *_letters(record), *[f"paper: {order}"] * bool(order)]
    expected = [
        [
            name,
            f"{found['covered']:,}|of {found['pairs']:,}",
            *map(_mean_and_sd, found["rho"].values()),
            *([_falls(order, found["rho"])] if order else []),
        ]
        for name, found in record["similarity"].items()
    ]
    assert lines == expected
    if "correlation" not in record:
        return
    _, *lines = table(page, "Likeness: Spearman")
    spread, order = record["correlation"], record["paper"].get("correlation")
    expected = [[two.replace(",", ", "), _mean_and_sd(figure)] for two, figure in spread.items()]
    if order:
        expected.append([f"paper: {order}", _falls(order, record["correlation"])])
    assert lines == expected


def _require_directions(page, record):
    """The findings that stand first."""
    cards = [
        card.text for cards in page.all("ul", aria_label="Findings") for card in cards.all("li")
    ]
    order = record["paper"].get("similarity")
    if order:
        answers = [_falls(order, found["rho"]) for found in record["similarity"].values()]
        known = [answer for answer in answers if answer != "–"]
        sets = "set" if len(known) == 1 else "sets"
        outcome = f"{known.count('yes')} of {len(known)} {sets} in this order"
        card = cards.pop(0)
        assert f"Word similarity: {order} {outcome if known else 'not known'} " in card
    order = record["paper"].get("correlation")
    if order and "correlation" in record:
        (card,) = cards
        assert f"Likeness: {order} {_falls(order, record['correlation'])} " in card
        for name in order.split(" > "):
            assert minus(f"ρ({name}){record['correlation'][name]['mean']:.3f}") in card


def _require_dots(html, record):
    figures = [
        figure for found in record["similarity"].values() for figure in found["rho"].values()
    ]
    figures = [figure for figure in figures if figure is not None]
    means = [figure["mean"] for figure in figures]
    found = dict(pictures(html))
    if not means:
        assert "Word similarity" not in found
        return
    svg = found["Word similarity"]
    x = axis(svg, "x")
    drawn = [x(at) for at, _ in positions(svg)]
    assert len(drawn) == len(means)
    for at, mean in zip(drawn, means, strict=True):
        assert math.isclose(at, mean, abs_tol=2e-3)
    bars = [path for path in svg.iter("path") if path.get("class") == "bar"]
    assert len(bars) == sum(figure["sd"] is not None for figure in figures)


def _require_scores(page, record):
    subsets = list(record["rows"][0]["test"])
    first, second, *lines = table(page, "Sizes and scores")
    assert first[4:-2] == [subset for subset in subsets for _ in "12"]
    assert second[4:-2] == ["BLEU", "chrF"] * len(subsets)
    assert [line[0] for line in lines] == [row["name"] for row in record["rows"]]
    for line, row in zip(lines, record["rows"], strict=True):
        assert line[1] == f"{row['parameters']:,}"
        assert line[2] == f"{row['share'] * 100:.1f} %"
        expected = []
        for subset in subsets:
            for metric in ("bleu", "chrf"):
                score = row["test"][subset][metric]
                low, high = score["ci"]
                expected.append(f"{score['over_seeds']['mean']:.2f}|{low:.2f}–{high:.2f}")
        assert line[4:-2] == expected
        assert line[-2] == f"{row['updates']:,}"


def _require_perplexities(page, record):
    subsets = [s for s in ("train", "valid", "test") if s in record["rows"][0]["perplexity"]]
    first, _, *lines = table(page, "Sizes and scores")
    papers = [row.get("paper", {}) for row in record["rows"]]
    compared = any(paper.get(s) is not None for paper in papers for s in subsets)
    assert first[4:-2] == [subset for subset in subsets for _ in range(1 + compared)]
    for line, row, papers_of_row in zip(lines, record["rows"], papers, strict=True):
        assert line[:2] == [row["name"], f"{row['parameters']:,}"]
        expected = []
        for subset in subsets:
            figure = row["perplexity"][subset]
            sd = "" if figure["sd"] is None else f" ± {figure['sd']:.1f}"
            expected.append(f"{figure['mean']:.1f}{sd}")
            if compared:
                paper = papers_of_row.get(subset)
                expected.append("–" if paper is None else str(paper))
        assert [cell.partition("|")[0] for cell in line[4:-2]] == expected


def _require_comparisons(page, record):
    for baseline in {c["baseline"] for of in record.get("comparisons", {}).values() for c in of}:
        first, second, *lines = table(page, f"Score less that of {baseline}; p")
        shown = {
            (line[0], subset, metric.lower()): cell
            for line in lines
            for subset, metric, cell in zip(first[1:], second[1:], line[1:], strict=True)
        }
        expected = {
            (c["system"], subset, c["metric"]): minus(f"{c['delta']:+.2f}")
            + f"|p = {c['p_value']:.3f}"
            for subset, comparisons in record["comparisons"].items()
            for c in comparisons
            if c["baseline"] == baseline and c["metric"] != "ter"
        }
        assert shown == expected


def _require_pictures(html, record):
    """The marks lie where the axes say that the record's figures are."""
    *panels, (caption, curves) = pictures(html)
    assert caption == "Learning curves"
    for caption, svg in panels:
        metric, subset = caption.split(", ")
        x, y = axis(svg, "x"), axis(svg, "y")
        bars = error_bars(svg)
        for i, (row, (at_x, at_y)) in enumerate(zip(record["rows"], positions(svg), strict=True)):
            assert math.isclose(x(at_x), row["parameters"] / 1e6, rel_tol=1e-3)
            found = row["test"][subset]["bleu"] if metric == "BLEU" else row["perplexity"][subset]
            mean = found.get("over_seeds", found)["mean"]
            assert math.isclose(y(at_y), mean, rel_tol=1e-3)
            if "ci" in found:
                for end, value in zip(bars[i], found["ci"], strict=True):
                    assert math.isclose(y(end), value, rel_tol=1e-3)
    drawn = [line for line in curves.iter("polyline")]
    runs = [points for seeds in record["curves"].values() for points in seeds]
    assert [len(line.get("points").split()) for line in drawn] == list(map(len, runs))


def _require_curves(page, record):
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
