"""A small feature grammar that writes English sentences and their German translations."""

from .phrases import Clause, Sentence
from .sampler import sentence_pairs
from .sentences import translate

__all__ = ["Clause", "Sentence", "sentence_pairs", "translate"]
