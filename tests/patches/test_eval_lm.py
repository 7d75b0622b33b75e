"""``fairseq-eval-lm`` scores words where it is asked to."""

from __future__ import annotations

import math
from types import SimpleNamespace

import pytest
import torch
from fairseq.data import Dictionary
from fairseq_cli import eval_lm

import tiednmt.plugin  # noqa: F401
from tiednmt.tasks.streams import StreamWindows, TokenStream


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


@pytest.mark.parametrize("window", [1, 2, 3, 4, 6, 12])
@pytest.mark.parametrize("streams", [1, 2])
def test_a_word_in_several_windows_of_a_stream_counts_once(window, streams, monkeypatch):
    dictionary = Dictionary()
    text = ["a@@", "b@@", "c", "d", "a@@", "c", "d", "d", "b@@", "a@@", "b@@", "c"]
    tokens = torch.tensor([dictionary.add_symbol(unit) for unit in text])
    length = min(window, len(text) // streams)
    stream = TokenStream(Sentences(tokens), "text")
    windows = StreamWindows(stream, streams, 1, length, dictionary.eos())
    batches = [windows[number] for number in range(len(windows))]
    scorer = SimpleNamespace(
        generate=lambda _, batch: [
            [{"tokens": row, "positional_scores": torch.full(row.shape, -1.0)}]
            for row in batch["target"]
        ]
    )
    monkeypatch.setattr(eval_lm, "SequenceScorer", lambda *_: scorer)
    for joined, count in ((None, 12), ("subword_nmt", 6)):
        found = eval_lm.eval_lm([], dictionary, batches, post_process=joined, device="cpu")
        assert float(found["loss"]) == pytest.approx(12 / count / math.log(2))
        assert float(found["perplexity"]) == pytest.approx(math.exp(12 / count))


class Sentences(list):
    """A text of one sentence."""

    def __init__(self, tokens):
        super().__init__([tokens])
        self.sizes = [len(tokens)]
