"""Tables as Markdown."""

from tiednmt.show import markdown
from tiednmt.show.figures import Bullets, Cell, Code, Figures, Part, Picture, Table

TABLE = Table(
    ["model", "U", "V", "BLEU"],
    [
        ["none", "1", "2", Cell("36.5", "35.0–38.0", strong=True)],
        ["a|b", Cell("3", "1 × 3", span=2), "-7.25"],
    ],
    caption="Sizes",
)


def test_table():
    assert markdown.table(TABLE).splitlines() == [
        "| model | U | V | BLEU |",
        "| --- | --: | --: | --: |",
        "| none | 1 | 2 | 36.5 |",
        r"| a\|b | 3 | = | -7.25 |",
    ]


def test_what_stands_below_figures():
    lines = markdown.table(TABLE, below=True).splitlines()
    assert lines[2:] == [
        "| none | 1 | 2 | 36.5 (35.0–38.0) |",
        r"| a\|b | 3 (1 × 3) | = | -7.25 |",
    ]


def test_page():
    figures = Figures(
        "Title",
        summary=[Picture("some", []), "A sentence.", Bullets(["one", "two"])],
        parts=[
            Part("Part", [TABLE, Code("python -m x", "Train")]),
            Part("Drawn", [Picture("p", [])]),
        ],
        samples=[{"source": "ein", "reference": "one"}],
    )
    assert markdown.page(figures).split("\n\n") == [
        "# Title",
        "A sentence.",
        "- one\n- two",
        "## Part",
        "Sizes:",
        markdown.table(TABLE, below=True),
        "Train",
        "```\npython -m x\n```",
        "## Samples",
        "- source: ein\n- reference: one\n",
    ]
