"""Norms of embeddings by word frequency, and embeddings in two dimensions."""

from __future__ import annotations

import logging

import numpy as np
from numpy.typing import NDArray

from tiednmt.analysis.choices import PCA
from tiednmt.analysis.embeddings import Embedding, Vectors
from tiednmt.errors import UserError
from tiednmt.frequency import Band, bands
from tiednmt.packages import optional_modules


def norms_by_frequency(embedding: Embedding) -> dict[Band, float]:
    """The mean Euclidean norm of the rows, by band of frequency ranks."""
    norms = np.linalg.norm(embedding.vectors, axis=1)
    return {
        (first, last): float(norms[first - 1 : last].mean()) for first, last in bands(len(norms))
    }


def in_two_dimensions(vectors: Vectors, projection: str = PCA) -> NDArray[np.float64]:
    """Rows (N × dim) as points (N × 2).

    PCA: on the two directions of greatest variance, each signed so that its largest coordinate is
    above zero. UMAP: by cosine, with a fixed seed.

    Raises:
        UserError: fewer than three rows, or UMAP is not installed.
    """
    if len(vectors) < 3:
        raise UserError(f"a map of {len(vectors)} words; it takes three or more")
    return _pca(vectors) if projection == PCA else _umap(vectors)


def _pca(vectors: Vectors) -> NDArray[np.float64]:
    centred = vectors.astype(np.float64) - vectors.mean(axis=0, dtype=np.float64)
    _, _, directions = np.linalg.svd(centred, full_matrices=False)
    points = centred @ directions[:2].T
    points = np.pad(points, ((0, 0), (0, 2 - points.shape[1])))  # of rows of one number
    largest = np.abs(points).argmax(axis=0)
    signs = np.sign(points[largest, range(points.shape[1])])
    oriented: NDArray[np.float64] = points * np.where(signs, signs, 1.0)
    return oriented


def _umap(vectors: Vectors) -> NDArray[np.float64]:
    (umap,) = optional_modules("--map umap", "umap")
    logging.getLogger("numba").setLevel(logging.WARNING)  # fairseq opens the root logger
    points: NDArray[np.float64] = umap.UMAP(
        n_components=2, metric="cosine", random_state=1
    ).fit_transform(vectors)
    return points
