"""Docstrings in Markdown: what the site would otherwise show as it is written."""

from scripts.lab.docstrings import in_markdown
from tiednmt import tying
from tiednmt.export import model_folder

TABLE = """\
Which is which::

    load("en-cs")

=====  ==========
mode   one matrix
=====  ==========
none
three  S = U = V
=====  ==========

See :func:`~tiednmt.tying.tie_map` and :meth:`loss`.
"""


def test_tables_roles_and_colons():
    assert (
        in_markdown(TABLE)
        == """\
Which is which:

    load("en-cs")

| mode | one matrix |
| --- | --- |
| none |  |
| three | S = U = V |

See `tie_map` and `loss`.
"""
    )


def test_tables_without_a_head_and_two_in_one_text():
    text = "===  ===\na    b\n===  ===\n\ntext\n\n===  ===\nc    d\n===  ==="
    assert in_markdown(text) == (
        "|  |  |\n| --- | --- |\n| a | b |\n\ntext\n\n|  |  |\n| --- | --- |\n| c | d |"
    )


def test_those_that_there_are():
    shown = in_markdown(tying.__doc__)
    assert "| ``three-way`` | U_src = U_tgt = V | one joint vocabulary |" in shown
    assert "==" not in shown + in_markdown(model_folder.__doc__)


def test_text_without_any_of_it_stays():
    text = "Scores ``V (P h) + b``: x = y.\n\nArgs:\n    name: of one.\n"
    assert in_markdown(text) == text
