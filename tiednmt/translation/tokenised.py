"""BLEU of lower-cased tokens, as papers on Multi30k report it.

The corpus is distributed as lower-cased text whose punctuation Moses' normaliser and whose tokens
its tokeniser made (``lc.norm.tok``), and what models make of that is compared token by token: so
do Wu et al. (2021), whose reference of test_2016_flickr has the 12,103 tokens that this gives it.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from importlib.metadata import version
from typing import Any

from sacrebleu.metrics import BLEU

from tiednmt.text.pipeline import base_language
from tiednmt.translation.scoring import Score, score_by

TOKENISED_BLEU = "tokenised_bleu"  # beside the keys of SACREBLEU


def tokenised_bleu(
    hypotheses: Sequence[str], references: Sequence[Sequence[str]], language: str, note: str = ""
) -> Score:
    """BLEU of detokenised text once all of it is lower-cased, normalised and tokenised.

    Args:
        hypotheses: one per line, cased.
        references: those of the same lines, cased; a list per reference.
        language: whose rules of Moses are followed.
        note: for the signature.
    """
    metric = BLEU(tokenize="none", lowercase=True, force=True)
    texts = [[tokens(line, language) for line in side] for side in (hypotheses, *references)]
    moses = f"|text:lc.norm.tok.{language}|sacremoses:{version('sacremoses')}"
    return score_by(metric, texts[0], texts[1:], moses + note)


def tokens(line: str, language: str) -> str:
    """A line as in the corpus' lower-cased, normalised, tokenised files."""
    normaliser, tokeniser = _moses(language)
    normal = normaliser.normalize(line.lower())
    return str(tokeniser.tokenize(normal, escape=False, return_str=True))


@cache
def _moses(language: str) -> tuple[Any, Any]:
    from sacremoses import MosesPunctNormalizer, MosesTokenizer  # takes a second

    code = base_language(language)
    return MosesPunctNormalizer(code), MosesTokenizer(code)
