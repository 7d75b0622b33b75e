"""Text read whole: one clear line for damaged files, and every sentence in a batch.

fairseq trusts the sizes and token counts in a file: it fails at the first sentence that they do not
fit, or reads another one.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from itertools import count
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
from fairseq.data import Dictionary, bucket_pad_length_dataset, data_utils, indexed_dataset
from fairseq.data.indexed_dataset import IndexedCachedDataset, IndexedDataset
from fairseq.tasks import translation
from fairseq_cli import generate as generate_command

from tiednmt.errors import UserError
from tiednmt.patches.patch import patch

_AGAIN = "binarise the text again, or copy the folder again"
_MAGIC, _HEADER = b"MMIDIDX\x00\x00", struct.Struct("<9sQBQ")
_MAGIC_OF_CACHED, _HEADER_OF_CACHED = b"TNTIDX\x00\x00", struct.Struct("<8sQQQQQ")
_ITEMS: dict[int, type[np.integer]] = {
    **{1: np.uint8, 2: np.int8, 3: np.int16, 4: np.int32, 5: np.int64},
    **{8: np.uint16, 9: np.uint32, 10: np.uint64},
}
_AT_A_TIME = 1 << 22  # tokens, which bounds the memory


def check_dictionaries() -> None:
    """Name the file in the error of a dictionary that cannot be read."""

    def read_checked(read: Callable[..., None], self: Dictionary, f: Any) -> None:
        if not isinstance(f, str):
            read(self, f)
            return
        before = len(self)
        try:
            read(self, f)
        except OSError:
            raise
        except Exception as error:
            # fairseq's reasons, which name the line but not the file
            raise UserError(f"{f}: not a dictionary of fairseq ({error}); {_AGAIN}") from error
        if len(self) == before:
            raise UserError(f"{f}: a dictionary without entries; {_AGAIN}")

    patch(Dictionary, "add_from_file", read_checked)


def check_binarised_text() -> None:
    """Refuse binarised text whose two files do not fit each other, or do not fit the dictionary."""

    def load_checked(
        load: Callable[..., Any],
        path: str,
        dictionary: Any = None,
        dataset_impl: str | None = None,
        *args: Any,
        **kwargs: Any,
    ) -> Any:
        _require_format(path, dataset_impl)
        for number in count():
            one = Path(f"{path}{number or ''}.idx")
            if not one.is_file():
                break
            require_whole(one, None if dictionary is None else len(dictionary))
        return load(path, dictionary, dataset_impl, *args, **kwargs)

    patch(data_utils, "load_indexed_dataset", load_checked)


def _require_format(path: str, wanted: str | None) -> None:
    """Refuse ``--dataset-impl`` of another format than the text is in."""
    there = indexed_dataset.infer_dataset_impl(path)
    there_is_wanted = there == ("cached" if wanted == "lazy" else wanted)  # two ways to read one
    if wanted is not None and there is not None and not there_is_wanted:
        raise UserError(
            f"--dataset-impl {wanted}: {path} is in the format of {there}; leave the option out,"
            " and it is read as what it is"
        )


def read_what_is_not_cached() -> None:
    """Let text of ``--dataset-impl cached`` be read before fairseq caches it.

    fairseq collates a first batch before it caches the sentences of an epoch.
    """

    def get(get_cached: Callable[..., Any], self: IndexedCachedDataset, i: int) -> Any:
        if i in self.cache_index:
            return get_cached(self, i)
        return IndexedDataset.__getitem__(self, i)

    patch(IndexedCachedDataset, "__getitem__", get)


def require_whole(index: Path, vocab_size: int | None = None) -> None:
    """Refuse binarised text that is not as ``fairseq-preprocess`` wrote it.

    Args:
        index: the ``.idx`` of its two files.
        vocab_size: size of the dictionary, which bounds the tokens; None: tokens are not checked.

    Raises:
        UserError: a file has another format, or another size than its partner says, or a token
            is outside the dictionary.
    """
    content, text = index.read_bytes(), index.with_suffix(".bin")
    if content.startswith(_MAGIC):
        item, tokens, first = (*_layout(index, content), 0)
    elif content.startswith(_MAGIC_OF_CACHED):
        item, tokens, first = (*_layout_of_cached(index, content), 1)  # as Lua counts
    elif content.startswith(_huffman_magic()):
        return  # which holds nothing to compare
    else:
        raise UserError(f"{index}: not an index of binarised text; {_AGAIN}")
    length, wanted = text.stat().st_size if text.is_file() else 0, tokens * item.itemsize
    if not wanted or not length:
        raise UserError(f"{text}: holds no text; {_AGAIN}")
    if length != wanted:
        raise UserError(f"{text}: of {length:,} bytes, but {index} says {wanted:,}; {_AGAIN}")
    if vocab_size is not None:
        _require_known_tokens(text, item, first, vocab_size)


def _layout(index: Path, content: bytes) -> tuple[np.dtype, int]:
    """The type and number of tokens, from an index of ``--dataset-impl mmap``."""
    if len(content) < _HEADER.size:
        raise UserError(f"{index}: cut short; {_AGAIN}")
    _, version, code, sentences = _HEADER.unpack_from(content)
    wanted = _HEADER.size + sentences * (4 + 8)
    if version != 1 or code not in _ITEMS or len(content) != wanted:
        raise UserError(f"{index}: damaged; {_AGAIN}")
    item = np.dtype(_ITEMS[code])
    sizes = np.frombuffer(content, np.int32, sentences, _HEADER.size).astype(np.int64)
    starts = np.frombuffer(content, np.int64, sentences, _HEADER.size + 4 * sentences)
    ends = sizes.cumsum() * item.itemsize
    if (sizes < 0).any() or not np.array_equal(starts, ends - sizes * item.itemsize):
        raise UserError(f"{index}: damaged; {_AGAIN}")
    return item, int(sizes.sum())


def _layout_of_cached(index: Path, content: bytes) -> tuple[np.dtype, int]:
    """The type and number of tokens, from an index of ``--dataset-impl cached`` or ``lazy``."""
    if len(content) < _HEADER_OF_CACHED.size:
        raise UserError(f"{index}: cut short; {_AGAIN}")
    _, version, code, width, sentences, dimensions = _HEADER_OF_CACHED.unpack_from(content)
    item = np.dtype(_ITEMS.get(code, np.void))
    wanted = _HEADER_OF_CACHED.size + 8 * (3 * sentences + 2)
    fits = (version, dimensions, width, wanted) == (1, sentences, item.itemsize, len(content))
    if not fits or code not in _ITEMS:
        raise UserError(f"{index}: damaged; {_AGAIN}")
    numbers = np.frombuffer(content, np.int64, offset=_HEADER_OF_CACHED.size)
    each, starts, sizes = np.split(numbers, [sentences + 1, 2 * (sentences + 1)])
    if (
        (sizes < 0).any()
        or not np.array_equal(each, np.arange(sentences + 1))
        or not np.array_equal(starts, np.concatenate([[0], sizes.cumsum()]))
    ):
        raise UserError(f"{index}: damaged; {_AGAIN}")
    return item, int(sizes.sum())


def _require_known_tokens(text: Path, item: np.dtype, first: int, vocab_size: int) -> None:
    tokens = np.memmap(text, item, "r")
    for start in range(0, len(tokens), _AT_A_TIME):
        part = tokens[start : start + _AT_A_TIME]
        if part.max() >= first + vocab_size or part.min() < first:
            raise UserError(
                f"{text}: holds tokens that are not in the dictionary of {vocab_size:,} entries; "
                f"damaged, or of another dictionary; {_AGAIN}"
            )


def _huffman_magic() -> bytes:
    magic: bytes = indexed_dataset.HuffmanMMapIndex._HDR_MAGIC
    return magic[:8]


def provide_old_number() -> None:
    """Provide ``numpy.compat.long``, which is gone since numpy 2.3.

    fairseq's datasets of single sentences need it, and so does ``fairseq-interactive`` with a
    language model.
    """
    if not hasattr(np, "compat"):
        np.compat = SimpleNamespace(long=int)  # type: ignore[attr-defined]


def read_all_parts() -> None:
    """Let text in several parts (``train``, ``train1``, …) be read without ``--upsample-primary``.

    The default of that option is −1, as often as which no part can be read.
    """

    def load_parts(
        load: Callable[..., Any], *args: Any, upsample_primary: int = 1, **kwargs: Any
    ) -> Any:
        times = 1 if upsample_primary == -1 else upsample_primary
        return load(*args, upsample_primary=times, **kwargs)

    patch(translation, "load_langpair_dataset", load_parts)


def find_buckets() -> None:
    """Let ``--num-batch-buckets`` ask numpy in today's words: its ``interpolation`` is gone."""

    def get_buckets(_: Callable[..., Any], sizes: Any, num_buckets: int) -> Any:
        parts = np.linspace(0, 100, num_buckets + 1)
        return np.unique(np.percentile(sizes, parts, method="lower")[1:])

    patch(bucket_pad_length_dataset, "get_buckets", get_buckets)


def keep_the_last_batch() -> None:
    """Keep a last batch of which ``--required-batch-size-multiple`` does not divide the size.

    fairseq 0.12.3 leaves it out, so that ``fairseq-generate`` translates only a part of a test set,
    and training never sees the longest sentences. Its documentation says, and earlier versions do:
    "require batch size to be less than N or a multiple of N".
    """

    def batch_all(make: Callable[..., Any], indices: Any, *args: Any, **kwargs: Any) -> Any:
        indices = np.fromiter(indices, np.int64)
        batches = make(indices, *args, **kwargs)
        left_out = indices[sum(map(len, batches)) :]
        return [*batches, left_out] if len(left_out) else batches

    patch(data_utils, "batch_by_size", batch_all)


def share_sets_among_shards() -> None:
    """Let ``fairseq-generate`` heed ``--num-shards`` and ``--shard-id``, which it does not read.

    Every shard would translate all sentences.

    Raises:
        UserError: there is no such shard.
    """

    def generate(run: Callable[..., Any], cfg: Any, *args: Any) -> Any:
        shards, shard = cfg.dataset.num_shards, cfg.dataset.shard_id
        if not 0 <= shard < shards:
            raise UserError(f"--shard-id {shard}: must be from 0 to below --num-shards ({shards})")
        workers = cfg.distributed_training
        if workers.distributed_world_size == 1:
            workers.distributed_world_size, workers.distributed_rank = shards, shard
        return run(cfg, *args)

    patch(generate_command, "_main", generate)
