"""A corpus as one sequence of tokens, cut into streams that are read side by side.

With B streams, stream s holds the s-th part of the corpus. An update reads the next T tokens of
every stream, and the recurrent state continues from the previous update (Zaremba et al. 2014). If
the corpus has r tokens more than B equal streams hold, the first r streams are one token longer,
and the epoch ends with a window of only these r tokens: every token is predicted once, without
padding.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from fairseq.data import FairseqDataset
from fairseq.data.iterators import EpochBatchIterator
from fairseq.distributed import utils as distributed_utils
from torch import Tensor

from tiednmt.errors import UserError
from tiednmt.modules import CarriedState, State

Batch = dict[str, Any]


class TokenStream(FairseqDataset):
    """The tokens of a split in order, read from its sentences as they are needed.

    Args:
        sentences: a dataset of fairseq's whose items are the tokens of a sentence.
        name: what messages call it.
    """

    def __init__(self, sentences: Any, name: str) -> None:
        self.sentences = sentences
        self.name = name
        self.ends = np.cumsum(sentences.sizes, dtype=np.int64)

    def __len__(self) -> int:
        return int(self.ends[-1]) if len(self.ends) else 0

    def __getitem__(self, index: int) -> Tensor:
        return self.read(index, index + 1)[0]

    def read(self, start: int, end: int) -> Tensor:
        """Tokens ``start`` to before ``end``."""
        first = int(np.searchsorted(self.ends, start, side="right"))
        last = int(np.searchsorted(self.ends, end, side="left"))
        parts = []
        for i in range(first, last + 1):
            begin = int(self.ends[i - 1]) if i else 0
            parts.append(self.sentences[i][max(0, start - begin) : end - begin])
        return torch.cat(parts)


class StreamWindows(torch.utils.data.Dataset[Batch]):
    """The batches of an epoch: a window of the streams of one worker each.

    Batch i is window i // workers of worker i % workers, so that fairseq's sharding deals them to
    the workers in turn.

    Args:
        tokens: the corpus.
        streams: streams of one worker.
        workers: data-parallel workers; together they have ``workers * streams`` streams.
        window: tokens of a stream in a batch.
        before: the token before the first one of the corpus.

    Raises:
        UserError: fewer tokens than streams, or a window longer than a stream.
    """

    def __init__(
        self, tokens: TokenStream, streams: int, workers: int, window: int, before: int
    ) -> None:
        self.tokens = tokens
        self.streams = streams
        self.workers = workers
        self.window = window
        self.before = before
        self.length, self.rest = divmod(len(tokens), streams * workers)
        if not self.length:
            raise UserError(
                f"{tokens.name}: {len(tokens):,} tokens are fewer than {streams * workers:,} "
                "streams (--batch-size, or --batch-size-valid, times workers); lower it"
            )
        if window > self.length:
            raise UserError(
                f"--tokens-per-sample {window}: longer than a stream of {tokens.name} "
                f"({len(tokens):,} tokens in {streams * workers:,} streams); lower it, or "
                "--batch-size"
            )
        self.windows = -(-self.length // window)

    def __len__(self) -> int:
        return self.windows * self.workers + -(-self.rest // self.streams)

    def __getitem__(self, index: int) -> Batch:
        window, worker = divmod(index, self.workers)
        rows = range(worker * self.streams, (worker + 1) * self.streams)
        if window < self.windows:
            start = window * self.window
            end = min(start + self.window, self.length)
        else:
            start, end = self.length, self.length + 1
            rows = range(rows.start, min(rows.stop, self.rest))
        text = torch.stack([self._read(row, start, end) for row in rows])
        return {
            "id": torch.arange(rows.start, rows.stop),
            "nsentences": len(rows),
            "ntokens": len(rows) * (end - start),
            "net_input": {
                "src_tokens": text[:, :-1],
                "src_lengths": torch.full((len(rows),), end - start),
            },
            "target": text[:, 1:].contiguous(),
            "window": window,
            "whole": window < self.windows,  # every stream of every worker has a part in it
        }

    def _read(self, stream: int, start: int, end: int) -> Tensor:
        """Tokens ``start`` to before ``end`` of a stream, and the one before them."""
        offset = stream * self.length + min(stream, self.rest)
        if offset + start:
            return self.tokens.read(offset + start - 1, offset + end)
        return torch.cat([torch.tensor([self.before]), self.tokens.read(0, end)])


def collate(batches: list[Batch]) -> Batch:
    """A window is a batch already; at the end, a worker may be left without one."""
    return batches[0] if batches else {}


class CarriedStreams(CarriedState):
    """The carried state of one worker, and for checkpoints that of all workers.

    Only the first worker of fairseq saves, so each keeps the state of all.
    """

    def __init__(self) -> None:
        super().__init__()
        self.everybody: tuple[Tensor, ...] | None = None
        self._update = -1
        self._starts: dict[int, State | None] = {}  # what the windows of that update started from

    def begin(self, window: int, update: int) -> None:
        """Go back to what the window started from, if its update is made again.

        fairseq makes one again if a gradient overflows under ``--amp``.
        """
        if update != self._update:
            self._update, self._starts = update, {}
        self.state = self._starts.setdefault(window, self.state)

    def copy(self) -> CarriedState:
        """The same state, to start from and to be forgotten."""
        copied = CarriedState()
        copied.state = self.state
        return copied

    def gather(self) -> None:
        """Collect the state of all workers, each of which has to call this after the same update.

        Not between the batches of an update: some workers may have a batch less, so that they
        would already be waiting for the gradients of the others.
        """
        assert self.state is not None
        if distributed_utils.get_data_parallel_world_size() == 1:
            self.everybody = self.state
            return
        group = distributed_utils.get_data_parallel_group()
        self.everybody = tuple(
            torch.cat(distributed_utils.all_gather(part.contiguous(), group), dim=1)
            for part in self.state
        )

    def restore(self, everybody: tuple[Tensor, ...], worker: int, workers: int) -> None:
        """Take this worker's part of what :meth:`gather` collected."""
        self.everybody = tuple(everybody)
        self.state = tuple(part.chunk(workers, dim=1)[worker] for part in everybody)


class StreamIterator(EpochBatchIterator):
    """fairseq's iterator over the windows in order; a checkpoint keeps the carried state with it.

    Args:
        windows: the batches of an epoch.
        carried: the state of this worker's streams.
        shard_id: which worker this is.
        options: fairseq's own for an iterator.
    """

    def __init__(
        self, windows: StreamWindows, carried: CarriedStreams, shard_id: int, **options: Any
    ) -> None:
        super().__init__(
            dataset=windows,
            collate_fn=collate,
            batch_sampler=[[i] for i in range(len(windows))],
            num_shards=windows.workers,
            shard_id=shard_id,
            disable_shuffling=True,
            **options,
        )
        self.carried = carried

    @property
    def layout(self) -> dict[str, int]:
        """The layout of the streams; a position is only valid for the same layout."""
        windows = self.dataset
        return {
            "tokens": len(windows.tokens),
            "streams": windows.streams * windows.workers,
            "window": windows.window,
        }

    def state_dict(self) -> dict[str, Any]:
        """The position and, within an epoch, the carried state of all workers."""
        state = super().state_dict()
        if state["iterations_in_epoch"]:
            state.update(layout=self.layout, carried=self.carried.everybody)
        return state

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Continue from a saved position.

        Raises:
            UserError: the corpus was cut into other streams.
        """
        if state_dict["iterations_in_epoch"]:
            before, now = state_dict.get("layout"), self.layout
            if before != now:
                raise UserError(
                    "the checkpoint stopped within an epoch over other streams "
                    f"({_words(before)}; now {_words(now)}); give the --tokens-per-sample and "
                    "--batch-size times workers that it was trained with, or --reset-dataloader"
                )
            self.carried.restore(state_dict["carried"], self.shard_id, self.num_shards)
        super().load_state_dict(state_dict)


def _words(layout: dict[str, int] | None) -> str:
    if layout is None:
        return "another task's"
    return "{tokens:,} tokens, {streams} streams, windows of {window}".format(**layout)
