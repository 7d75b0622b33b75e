"""What an analysis can be asked for; standard library only, since options name it."""

from __future__ import annotations

PROJECTIONS = PCA, UMAP = "pca", "umap"  # of a map
EXPORT_FORMATS = WORD2VEC, NUMPY = "word2vec", "numpy"  # of embeddings for other tools
