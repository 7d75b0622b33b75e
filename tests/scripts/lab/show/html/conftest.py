"""Small records, and the page that the command makes of them."""

from __future__ import annotations

import json

import pytest

from scripts.report import main
from tests.support import records


@pytest.fixture
def translation():
    """Two rows on one test set; texts that HTML must not take for its own."""
    return records.translation()


@pytest.fixture
def language_model():
    """Two rows of three seeds beside a paper's figures."""
    return records.language_model()


@pytest.fixture
def embeddings():
    """U, V and S of three seeds: in the paper's order, in another, and in a set not covered."""
    return records.embeddings()


@pytest.fixture
def skip_gram():
    """As ``embeddings``, but nothing was trained by fairseq; one seed of U and V."""
    return records.skip_gram()


@pytest.fixture
def make_page(tmp_path):
    """The text of the page that the command makes of these records."""

    def make(*records):
        paths = []
        for i, record in enumerate(records):
            paths.append(tmp_path / f"record-{i}.json")
            paths[-1].write_text(json.dumps(record))
        out = tmp_path / "page.html"
        main([*map(str, paths), "--out", str(out)])
        return out.read_text(encoding="utf-8")

    return make
