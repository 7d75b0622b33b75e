"""What the embeddings of trained models learned, as ``tiednmt analyse`` tells it: record, figures.

The measures themselves are in :mod:`tiednmt.analysis`.
"""
