"""Word vectors as text, from which embedding matrices are initialised."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from pathlib import Path

import torch
from torch import Tensor, nn

from tiednmt.errors import UserError
from tiednmt.modules.lookup import PrivateRows
from tiednmt.options import option_name
from tiednmt.tying import Embeddings, Vocabulary
from tiednmt.word2vec_text import read_text

VECTORS = ("encoder_embed_path", "decoder_embed_path")  # options of fairseq's own models


def read_vectors(path: Path, wanted: Collection[str] | None = None) -> dict[str, Tensor]:
    """The vectors in a file of word2vec's text format, of the ``wanted`` units or of all.

    Raises:
        UserError: the file is missing or has another format.
    """
    try:
        vectors = read_text(path, wanted)
    except FileNotFoundError:
        raise UserError(f"{path}: no such file of word vectors") from None
    except ValueError as error:
        raise UserError(
            f"{path}: not word vectors as text ({error}); export them with "
            "tiednmt analyse --export word2vec, or with gensim's save_word2vec_format"
        ) from None
    return {unit: torch.from_numpy(vector) for unit, vector in vectors.items()}


def start_from_vectors(
    embeddings: Embeddings,
    paths: tuple[str, str],
    source: Vocabulary | None,
    target: Vocabulary,
    private: PrivateRows | None = None,
) -> str | None:
    """Initialise rows of the input embeddings from word vectors; a tied matrix takes one file.

    Args:
        embeddings: of the model.
        paths: the values of ``--encoder-embed-path`` and ``--decoder-embed-path``; may be empty.
        source: the source dictionary; None in a language model.
        target: the target dictionary.
        private: the rows that the source looks up instead of those of the matrix.

    Returns:
        An error message if a file is missing. It is not raised, since a trained model that is used
        on another machine needs no vectors.

    Raises:
        UserError: a file has another format, its vectors have another size than the rows, or two
            files disagree on a row of one matrix.
    """
    vectors_of: dict[int, dict[str, Tensor]] = {}  # of each matrix, those read so far
    sides = ((embeddings.source, source, private), (embeddings.target, target, None))
    for (embedding, vocabulary, own), option, name in zip(sides, VECTORS, paths, strict=True):
        if not name:
            continue
        flag = f"{option_name(option)} {name}"
        if embedding is None or vocabulary is None:
            raise UserError(f"{flag}: a language model has no source; use --decoder-embed-path")
        if not Path(name).is_file():
            return f"{flag}: no such file of word vectors"
        vectors = read_vectors(Path(name), vocabulary.symbols)
        if any(len(vector) != embedding.embedding_dim for vector in vectors.values()):
            raise UserError(
                f"{flag}: vectors of {len(next(iter(vectors.values())))} numbers, but rows have "
                f"{embedding.embedding_dim}; give the model that size"
            )
        if own is not None:
            _put_private_rows(own, vocabulary, vectors)
        before = vectors_of.setdefault(id(embedding), {})
        for unit, vector in vectors.items():
            if unit in before and not torch.equal(before[unit], vector):
                raise UserError(
                    f"{flag}: another vector of {unit!r} than in --encoder-embed-path {paths[0]}, "
                    "and the two sides share one matrix; give one file"
                )
        before |= vectors
        _put_rows(embedding, vocabulary, vectors)
    return None


def _put_private_rows(
    private: PrivateRows, vocabulary: Vocabulary, vectors: dict[str, Tensor]
) -> None:
    """Use the vectors of units with a private row, and remove them from ``vectors``."""
    with torch.no_grad():
        for place, row in enumerate(private.listed or ()):
            if (vector := vectors.pop(vocabulary.symbols[row], None)) is not None:
                private.weight[place] = vector.to(private.weight.dtype)


def _put_rows(
    embedding: nn.Embedding, vocabulary: Vocabulary, vectors: Mapping[str, Tensor]
) -> None:
    entries = {symbol: row for row, symbol in enumerate(vocabulary.symbols)}
    with torch.no_grad():
        for unit, vector in vectors.items():
            embedding.weight[entries[unit]] = vector.to(embedding.weight.dtype)
