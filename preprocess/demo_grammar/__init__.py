"""A small feature grammar that writes English sentences and their German translations."""

from .clauses import Clause, Sentence, translate
from .sampler import sentence_pairs

__all__ = ["Clause", "Sentence", "sentence_pairs", "translate"]
