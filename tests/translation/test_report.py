"""Tables for a terminal."""

import pytest

from tiednmt.translation.report import columns, scores

COMPARED = {
    "baseline": "a",
    "system": "b",
    "metric": "chrf",
    "difference": 1.0,
    "interval": (0.5, 1.5),
    "not_worse_by": -0.6,
    "p_value": 0.01,
    "over_seeds": False,
}


@pytest.mark.parametrize(("order", "name"), [(0, "chrF"), (1, "chrF"), (2, "chrF++")])
def test_chrf_with_pairs_of_words_is_called_so_everywhere(order, name):
    chrf = {"score": 50.0, "signature": f"nrefs:1|nw:{order}|space:no"}
    systems = [
        {"name": n, "parameters": 1, "tie": None, "seconds": 1, "sentences": 2, "chrf": chrf}
        for n in ("a", "b")
    ]
    text = scores(
        {
            "subset": {"news": {"systems": systems, "comparisons": [COMPARED]}},
            "mean": {"comparisons": [COMPARED]},
            "beam": 5,
            "lenpen": 1.0,
        }
    )
    assert text.replace("chrF++", "chrF").count("chrF") == 4 == text.count(name)
    assert ("chrF++" in text) == (order == 2)


def test_columns():
    head, line = columns(["a", "long", "c"], [["xyz", "1", "22"]]).splitlines()
    assert head == "a    long   c"
    assert line == "xyz     1  22"
