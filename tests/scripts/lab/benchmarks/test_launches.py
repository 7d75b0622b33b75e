"""What an update would launch on a GPU; the numbers of docs/gpu.md."""

import re
from pathlib import Path

import pytest
import torch

from scripts.lab.benchmarks import launches

PAGE = Path(__file__).resolve().parents[4] / "docs" / "gpu.md"


@pytest.fixture(scope="module")
def table():
    """The rows of the page: a part of an update, and its launches for each recipe."""
    text = PAGE.read_text(encoding="utf-8")
    head = re.search(r"^\| launches per update \|(.*)\|$", text, re.MULTILINE)
    recipes = [name.strip(" `") for name in head[1].split("|")]
    rows = re.findall(r"^\| ([\w ]+) \| ([\d,]+) \| ([\d,]+) \|$", text, re.MULTILINE)
    numbers = {part: [int(n.replace(",", "")) for n in counts] for part, *counts in rows}
    return {name: {part: n[i] for part, n in numbers.items()} for i, name in enumerate(recipes)}


@pytest.mark.skipif(not torch.__version__.startswith("2.13."), reason="counted with torch 2.13")
@pytest.mark.parametrize("recipe", launches.RECIPES)
def test_an_update_launches_what_the_page_says(recipe, table):
    counts = launches.of_an_update(recipe)
    assert {**counts, "together": counts.total()} == table[recipe]
