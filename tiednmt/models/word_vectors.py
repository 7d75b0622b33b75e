"""Word vectors as text: what embedding matrices start from."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

import torch
from torch import Tensor

from tiednmt.errors import UserError
from tiednmt.tying import Embeddings, Vocabulary

VECTORS = ("encoder_embed_path", "decoder_embed_path")  # options of fairseq's own models


def read_vectors(path: Path, wanted: Collection[str] | None = None) -> dict[str, Tensor]:
    """The vectors of these units, or of all: one unit and its numbers per line, as word2vec writes.

    The first line may have the two sizes.

    Raises:
        UserError: the file is missing or is not such a one.
    """
    units = None if wanted is None else set(wanted)
    vectors: dict[str, Tensor] = {}
    size = None
    try:
        with path.open(encoding="utf-8", newline="\n") as file:
            for number, line in enumerate(file, start=1):
                unit, *values = line.rstrip().split(" ")
                if number == 1 and len(values) == 1 and unit.isdecimal():
                    continue
                size = size or len(values)
                if len(values) != size:
                    raise ValueError(f"{len(values)} numbers, while others have {size}")
                if units is None or unit in units:
                    vectors[unit] = torch.tensor([float(value) for value in values])
    except FileNotFoundError:
        raise UserError(f"{path}: no such file of word vectors") from None
    except ValueError as error:
        raise UserError(
            f"{path}, line {number}: not word vectors as text ({error}); export them with "
            "tiednmt analyse --export word2vec, or with gensim's save_word2vec_format"
        ) from None
    return vectors


def start_from_vectors(
    embeddings: Embeddings,
    paths: tuple[str, str],
    source: Vocabulary | None,
    target: Vocabulary,
) -> str | None:
    """Let the rows of the input embeddings start from word vectors, tied ones from one file.

    Args:
        embeddings: of the model.
        paths: what ``--encoder-embed-path`` and ``--decoder-embed-path`` say; may be empty.
        source: the source dictionary; None of a language model.
        target: the target dictionary.

    Returns:
        What to say where a file is missing: it is, where a trained model is used elsewhere.

    Raises:
        UserError: a file is not what it should be, its vectors are of another size, or two files
            disagree on a row of one matrix.
    """
    known: dict[int, dict[str, Tensor]] = {}  # by matrix
    sides = ((embeddings.source, source), (embeddings.target, target))
    for (embedding, vocabulary), option, name in zip(sides, VECTORS, paths, strict=True):
        if not name:
            continue
        flag = f"--{option.replace('_', '-')} {name}"
        if embedding is None or vocabulary is None:
            raise UserError(f"{flag}: a language model has no source; use --decoder-embed-path")
        if not Path(name).is_file():
            return f"{flag}: no such file of word vectors"
        vectors = read_vectors(Path(name), vocabulary.symbols)
        before = known.setdefault(id(embedding), {})
        entries = {symbol: row for row, symbol in enumerate(vocabulary.symbols)}
        for unit, vector in vectors.items():
            if len(vector) != embedding.embedding_dim:
                raise UserError(
                    f"{flag}: vectors of {len(vector)} numbers, but rows have "
                    f"{embedding.embedding_dim}; give the model that size"
                )
            if unit in before and not torch.equal(before[unit], vector):
                raise UserError(
                    f"{flag}: another vector of {unit!r} than in --encoder-embed-path {paths[0]}, "
                    "and the two sides share one matrix; give one file"
                )
            before[unit] = vector
            with torch.no_grad():
                embedding.weight[entries[unit]] = vector.to(embedding.weight.dtype)
    return None
