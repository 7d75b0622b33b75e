"""``fairseq-eval-lm`` scores words where it is asked to."""

from __future__ import annotations

import math
from types import SimpleNamespace

import pytest
import torch
from fairseq.data import Dictionary
from fairseq_cli import eval_lm

import tiednmt.plugin  # noqa: F401


@pytest.mark.parametrize(("joined", "words"), [(None, 3), ("subword_nmt", 2), ("@@ ", 2)])
def test_the_units_of_a_word_count_once(joined, words, monkeypatch):
    dictionary = Dictionary()
    scored = {
        "tokens": torch.tensor([dictionary.add_symbol(unit) for unit in ("a@@", "b", "c")]),
        "positional_scores": torch.tensor([-1.0, -2.0, -3.0]),
    }
    scorer = SimpleNamespace(generate=lambda *_: [[scored]])
    monkeypatch.setattr(eval_lm, "SequenceScorer", lambda *_: scorer)
    text = [{"net_input": {}, "id": torch.tensor([0]), "ntokens": 3}]
    found = eval_lm.eval_lm([], dictionary, text, post_process=joined, device="cpu")
    assert float(found["loss"]) == pytest.approx(6 / words / math.log(2))
