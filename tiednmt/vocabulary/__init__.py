"""Vocabulary surgery on a trained model: trim, extend, join, tie, untie, report.

:mod:`~tiednmt.vocabulary.rows` and :mod:`~tiednmt.vocabulary.model` change a model's rows; they
work on tensors and dictionaries only. :mod:`~tiednmt.vocabulary.subwords` changes how text is
split into units. Only :mod:`~tiednmt.vocabulary.files` reads and writes models.
"""
