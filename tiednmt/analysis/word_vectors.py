"""Read and write word vectors of word2vec and gensim.

gensim's own files are pickles, which could run any code, so only the classes that its word models
consist of are loaded.
"""

from __future__ import annotations

import logging
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from tiednmt.analysis.choices import NUMPY, WORD2VEC
from tiednmt.analysis.embeddings import Embedding
from tiednmt.errors import UserError
from tiednmt.word2vec_text import read_text, sizes_in

if TYPE_CHECKING:  # loaded where a file needs it: it takes a second, and most commands read none
    from gensim.models import KeyedVectors

for _noisy in ("gensim", "smart_open"):  # fairseq opens the root logger
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
    if start.startswith(_PICKLE):
        return _TORCH not in start
    return sizes_in(start.partition(b"\n")[0]) is not None or _is_row(path)


def load(path: Path) -> tuple[Embedding, ...]:
    """U and, if the file holds a whole model with negative sampling, V.

    The file may have word2vec's format, text or binary, or be one that gensim's ``Word2Vec.save``
    or ``KeyedVectors.save`` wrote.

    Raises:
        UserError: the file is damaged, or is a pickle of something else.
    """
    is_pickle = _beginning(path).startswith(_PICKLE)
    try:
        model = _read_pickle(path) if is_pickle else _read_word2vec(path)
    except (ValueError, EOFError, AttributeError, pickle.UnpicklingError) as error:
        if isinstance(error, UserError):
            raise
        raise UserError(
            f"{path}: damaged or cut short ({error}); get the file again, or export it again"
        ) from error
    vectors = getattr(model, "wv", model)
    words = _words(path, getattr(vectors, "index_to_key", None))
    matrices = {"U": getattr(vectors, "vectors", None), "V": getattr(model, "syn1neg", None)}
    return tuple(
        Embedding(letter, words, _matrix(path, letter, matrix, len(words)))
        for letter, matrix in matrices.items()
        if letter == "U" or matrix is not None
    )


def _words(path: Path, words: Any) -> tuple[str, ...]:
    if not isinstance(words, list) or not all(isinstance(word, str) for word in words):
        raise UserError(f"{path}: damaged: its words are not text; export it again")
    return tuple(words)


def _matrix(path: Path, letter: str, matrix: Any, words: int) -> np.ndarray:
    if (
        not isinstance(matrix, np.ndarray)
        or matrix.ndim != 2
        or len(matrix) != words
        or not np.issubdtype(matrix.dtype, np.floating)
    ):
        raise UserError(f"{path}: damaged: {letter} has not a row of numbers for each word")
    return matrix


def save_word2vec(embedding: Embedding, path: Path) -> None:
    """Write word2vec's text format: a line of the two sizes, then one word and its row per line."""
    with path.open("w", encoding="utf-8", newline="\n") as file:
        file.write("{} {}\n".format(*embedding.vectors.shape))
        for word, row in zip(embedding.words, embedding.vectors, strict=True):
            file.write(f"{word} {' '.join(format(value, '.9g') for value in row)}\n")


def save_numpy(embedding: Embedding, path: Path) -> None:
    """Write an ``.npz`` of ``words`` (text) and ``vectors`` (words × dim, float32)."""
    with path.open("wb") as file:
        np.savez(file, words=np.array(embedding.words), vectors=embedding.vectors)


EXPORTS = {WORD2VEC: (save_word2vec, ".vec"), NUMPY: (save_numpy, ".npz")}


def _beginning(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(100)


def _is_row(path: Path) -> bool:
    """Whether the first line is a word and its numbers, as in GloVe's files."""
    with path.open("rb") as file:
        line = file.readline(100_000)
    word, *numbers = line.rstrip().split(b" ")
    try:
        return bool(word) and len(numbers) > 1 and len([float(each) for each in numbers]) > 1
    except ValueError:
        return False


def _read_word2vec(path: Path) -> KeyedVectors:
    from gensim.models import KeyedVectors

    with path.open("rb") as file:
        sizes = sizes_in(file.readline())
        second = file.readline()
    words, size = sizes or (0, 0)
    if words * (size + 2) > path.stat().st_size:  # less than a byte for each number
        raise ValueError(f"its first line says {words:,} words of {size:,} numbers")
    try:
        is_text = len([float(number) for number in second.rsplit(None, size)[1:]]) == size
    except ValueError:
        is_text = False
    if sizes and not is_text:
        return KeyedVectors.load_word2vec_format(str(path), binary=True)
    rows = read_text(path)
    matrix = np.stack([*rows.values()])
    vectors = KeyedVectors(matrix.shape[1])
    vectors.add_vectors([*rows], matrix)
    return vectors


def _read_pickle(path: Path) -> Any:
    """What gensim saved, read like its ``SaveLoad.load`` but checking what the files may hold."""
    from gensim.models import KeyedVectors, Word2Vec
    from gensim.utils import SaveLoad

    compressed, subname = SaveLoad._adapt_by_suffix(str(path))
    with path.open("rb") as file:
        model = _Checked(file, path).load()
    if not isinstance(model, Word2Vec | KeyedVectors):
        raise UserError(f"{path}: holds no Word2Vec or KeyedVectors of gensim")
    if compressed:
        raise UserError(f"{path}: its arrays are compressed; save it under a name without .gz")
    _read_arrays(model, str(path), subname)
    return model


# attributes in which gensim lists what it saved to separate files, or not at all
_PARTS, _ARRAYS = "__recursive_saveloads", "__numpys"
_SPARSE, _LEFT_OUT = "__scipys", "__ignoreds"


def _read_arrays(owner: Any, path: str, subname: Callable[..., str]) -> None:
    """Load the arrays that gensim saved to separate files.

    gensim's own ``_load_specials`` would unpickle a further file for every sparse array in its
    list, and does not check the names in its lists.
    """
    from gensim.models import KeyedVectors

    for listed in (_PARTS, _ARRAYS, _SPARSE, _LEFT_OUT):
        names = owner.__dict__.setdefault(listed, [])
        if not isinstance(names, list) or not all(
            isinstance(name, str) and name.isidentifier() for name in names
        ):
            raise UserError(f"{path}: damaged or malicious; its list {listed} is {names!r}")
    if owner.__dict__[_SPARSE]:
        raise UserError(
            f"{path}: refused, since more pickles are next to it ({owner.__dict__[_SPARSE]}), "
            "which no model of words has; export it as word2vec text"
        )
    for name in owner.__dict__[_PARTS]:
        part = owner.__dict__.get(name)
        if not isinstance(part, KeyedVectors):
            raise UserError(f"{path}: holds no vectors as {name}")
        _read_arrays(part, f"{path}.{name}", subname)
    for name in owner.__dict__[_ARRAYS]:
        file = Path(subname(path, name))
        if not file.is_file():
            raise UserError(f"{file}: no such file, though it belongs to {path}; copy it there")
        owner.__dict__[name] = np.load(file, allow_pickle=False)
    owner.__dict__.update(dict.fromkeys(owner.__dict__[_LEFT_OUT]))
    for listed in (_PARTS, _ARRAYS, _LEFT_OUT):
        owner.__dict__[listed] = []
    owner._load_specials(path, None, False, subname)  # only old names are left


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
