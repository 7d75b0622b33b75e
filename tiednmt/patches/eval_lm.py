"""``fairseq-eval-lm`` scores words where it is asked to."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from fairseq_cli import eval_lm as eval_lm_command

from tiednmt.patches.patch import patch


def join_units_of_words() -> None:
    """Let ``--remove-bpe`` of ``fairseq-eval-lm`` find the units that a word goes on after.

    Its value is ``subword_nmt``, which fairseq takes for the mark at the end of such units. None
    has it, so the perplexity would be that of units.
    """

    def score(
        evaluate: Callable[..., Any], *args: Any, post_process: str | None = None, **kwargs: Any
    ) -> Any:
        mark = "@@ " if post_process == "subword_nmt" else post_process
        return evaluate(*args, post_process=mark, **kwargs)

    patch(eval_lm_command, "eval_lm", score)
