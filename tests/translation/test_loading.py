"""Checkpoints with a folder that says what they do not."""

import torch

import tiednmt
from tests.support.translators import LINES


def test_languages_come_from_the_folder(prepared, checkpoint, tmp_path):
    """fairseq-train without -s and -t stores none, and the folder may hold no text to see them."""
    state = torch.load(checkpoint, weights_only=False)
    state["cfg"]["task"]["source_lang"] = state["cfg"]["task"]["target_lang"] = None
    torch.save(state, tmp_path / "checkpoint.pt")
    found = tiednmt.load(tmp_path / "checkpoint.pt", data=prepared)
    assert found.languages == ("en", "de")
    assert found.translate(LINES) == tiednmt.load(checkpoint, data=prepared).translate(LINES)


def test_a_data_bin_stands_for_its_prepared_folder(prepared, checkpoint):
    expected = tiednmt.load(checkpoint, data=prepared).translate(LINES)
    assert tiednmt.load(checkpoint, data=prepared / "data-bin").translate(LINES) == expected
