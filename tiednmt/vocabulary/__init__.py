"""Vocabulary surgery on a trained model: trim, extend, join, tie, untie, report.

What a change does to a model's rows is worked out on tensors and dictionaries alone
(:mod:`~tiednmt.vocabulary.rows`, :mod:`~tiednmt.vocabulary.model`); how units are cut out of text
is the affair of :mod:`~tiednmt.vocabulary.segmentation`; files are read and written in
:mod:`~tiednmt.vocabulary.files` alone.
"""
