"""Word vectors of word2vec and gensim, read and written.

gensim's own files are pickles, which may run any code: only the classes that its models of words
are made of are let in.
"""

from __future__ import annotations

import logging
import pickle
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from tiednmt.analysis.embeddings import Embedding
from tiednmt.errors import UserError

if TYPE_CHECKING:  # loaded where a file needs it: it takes a second, and most commands read none
    from gensim.models import KeyedVectors

for _noisy in ("gensim", "smart_open"):  # fairseq shows what others log as well
    logging.getLogger(_noisy).setLevel(logging.WARNING)

_PICKLE = b"\x80"  # how a pickle of any protocol since 2 begins
_TORCH = b"\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19"  # in the beginning of torch's, before it wrote zips
_ALLOWED = {
    ("gensim.models.word2vec", "Word2Vec"),
    ("gensim.models.keyedvectors", "KeyedVectors"),
    ("gensim.utils", "call_on_class_only"),
    ("collections", "defaultdict"),
    ("builtins", "int"),
    ("builtins", "hash"),
    ("numpy", "ndarray"),
    ("numpy", "dtype"),
    *((f"numpy.{core}.multiarray", "_reconstruct") for core in ("core", "_core")),
    ("numpy.random._pickle", "__randomstate_ctor"),
    ("numpy.random._pickle", "__bit_generator_ctor"),
    ("numpy.random._mt19937", "MT19937"),
}


def is_word_vectors(path: Path) -> bool:
    """Whether the file is one of word2vec's or gensim's, and no checkpoint of torch's."""
    start = _beginning(path)
    return (start.startswith(_PICKLE) and _TORCH not in start) or _sizes(start) is not None


def load(path: Path) -> tuple[Embedding, ...]:
    """U and, where the file holds a whole model of negative sampling, V.

    Read are word2vec's format, text or binary, and what gensim's ``Word2Vec.save`` and
    ``KeyedVectors.save`` write.

    Raises:
        UserError: the file is damaged, or a pickle of something else.
    """
    is_pickle = _beginning(path).startswith(_PICKLE)
    try:
        found = _read_pickle(path) if is_pickle else _read_word2vec(path)
    except (ValueError, EOFError, pickle.UnpicklingError) as error:
        if isinstance(error, UserError):
            raise
        raise UserError(
            f"{path}: damaged or cut short ({error}); get the file again, or export it again"
        ) from error
    vectors = getattr(found, "wv", found)
    words = tuple(vectors.index_to_key)
    embeddings = [Embedding("U", words, vectors.vectors)]
    if hasattr(found, "syn1neg"):
        embeddings.append(Embedding("V", words, found.syn1neg))
    return tuple(embeddings)


def save_word2vec(embedding: Embedding, path: Path) -> None:
    """Write word2vec's text format: a line of the two sizes, then a word and its row a line."""
    with path.open("w", encoding="utf-8", newline="\n") as file:
        file.write("{} {}\n".format(*embedding.vectors.shape))
        for word, row in zip(embedding.words, embedding.vectors, strict=True):
            file.write(f"{word} {' '.join(format(value, '.9g') for value in row)}\n")


def save_numpy(embedding: Embedding, path: Path) -> None:
    """Write an ``.npz`` of ``words`` (text) and ``vectors`` (words × dim, float32)."""
    with path.open("wb") as file:
        np.savez(file, words=np.array(embedding.words), vectors=embedding.vectors)


EXPORTS = {"word2vec": (save_word2vec, ".vec"), "numpy": (save_numpy, ".npz")}


def _beginning(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(100)


def _sizes(start: bytes) -> tuple[int, int] | None:
    """The two numbers that word2vec's files begin with."""
    parts = start.partition(b"\n")[0].split()
    if len(parts) != 2 or not all(part.isdigit() for part in parts):
        return None
    return int(parts[0]), int(parts[1])


def _read_word2vec(path: Path) -> KeyedVectors:
    from gensim.models import KeyedVectors

    with path.open("rb") as file:
        sizes = _sizes(file.readline())
        assert sizes is not None
        second = file.readline().split(b" ")
    try:
        is_text = len([float(number) for number in second[1:] if number.strip()]) == sizes[1]
    except ValueError:
        is_text = False
    return KeyedVectors.load_word2vec_format(str(path), binary=not is_text)


def _read_pickle(path: Path) -> Any:
    """What gensim saved; as its ``SaveLoad.load``, with the check of classes in between."""
    from gensim.models import KeyedVectors, Word2Vec
    from gensim.utils import SaveLoad

    compressed, subname = SaveLoad._adapt_by_suffix(str(path))
    with path.open("rb") as file:
        found = _Checked(file, path).load()
    if not isinstance(found, Word2Vec | KeyedVectors):
        raise UserError(f"{path}: holds no Word2Vec or KeyedVectors of gensim")
    found._load_specials(str(path), None, compressed, subname)
    return found


class _Checked(pickle.Unpickler):
    """Refuses every class that is not in ``_ALLOWED``."""

    def __init__(self, file: Any, path: Path) -> None:
        super().__init__(file, encoding="latin1")
        self.path = path

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in _ALLOWED:
            raise UserError(
                f"{self.path}: refused, since it is a pickle that asks for {module}.{name}, which "
                "no model of words is made of; export it as word2vec text"
            )
        return super().find_class(module, name)
