"""``fairseq-eval-lm`` scores words where it is asked to."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any

import torch
from fairseq.data import Dictionary
from fairseq_cli import eval_lm as eval_lm_command

from tiednmt.patches.patch import patch


def join_units_of_words() -> None:
    """Let ``--remove-bpe`` of ``fairseq-eval-lm`` find the units that a word goes on after.

    Its value is ``subword_nmt``, which fairseq takes for the mark at the end of such units. None
    has it, so the perplexity would be that of units. In streams, a word that goes on in the next
    window counts once; fairseq counts its part in each.
    """

    def score(
        evaluate: Callable[..., Any],
        models: Any,
        source_dictionary: Dictionary,
        batch_iterator: Iterable[Any],
        *args: Any,
        post_process: str | None = None,
        **kwargs: Any,
    ) -> Any:
        mark = "@@ " if post_process == "subword_nmt" else post_process
        words = _Words(batch_iterator, source_dictionary, mark)
        scores = evaluate(models, source_dictionary, words, *args, post_process=mark, **kwargs)
        if not words.divided:
            return scores
        loss = scores["loss"] * words.counted / (words.counted - words.divided)
        return {"loss": loss, "perplexity": 2**loss}

    patch(eval_lm_command, "eval_lm", score)


class _Words:
    """Batches, and how many words of streams they have.

    Attributes:
        counted: as fairseq counts them: parts in different windows are words of their own.
        divided: how many go on in another window.
    """

    def __init__(self, batches: Iterable[Any], dictionary: Dictionary, mark: str | None) -> None:
        self.batches = batches
        self.goes_on = torch.tensor(
            [mark is not None and unit.endswith(mark.rstrip()) for unit in dictionary.symbols]
        )
        self.counted = self.divided = 0

    def __iter__(self) -> Iterator[Any]:
        for batch in self.batches:
            if "window" in batch:
                goes_on = self.goes_on[batch["target"]]
                self.counted += goes_on.numel() - int(goes_on[:, :-1].sum())
                self.divided += int(goes_on[:, -1].sum())
            yield batch
