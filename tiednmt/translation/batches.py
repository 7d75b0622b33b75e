"""Sentences in batches for beam search, each translated as it would be alone."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch
from fairseq.data import Dictionary, data_utils
from fairseq.dataclass.configs import GenerationConfig
from fairseq.tasks.translation import TranslationTask
from torch import Tensor

from tiednmt.tasks.sequence_generator import TiedSequenceGenerator
from tiednmt.translation.settings import MAX_LEN_A, MAX_LEN_B, Search

logger = logging.getLogger(__name__)

Ranked = list[dict[str, Any]]  # fairseq's hypotheses for a sentence, the best first


def build_generator(
    task: TranslationTask, models: Sequence[Any], search: Search, nbest: int = 1
) -> Any:
    """The generator of a search; each translation is limited by the length of its own source."""
    config = GenerationConfig(
        beam=search.beam,
        nbest=nbest,
        lenpen=search.lenpen,
        max_len_a=MAX_LEN_A,
        max_len_b=MAX_LEN_B,
    )
    generator = task.build_generator(models, config)
    if isinstance(generator, TiedSequenceGenerator):
        generator.own_limits = True
    return generator


def source_tokens(line: str, dictionary: Dictionary, limit: int) -> Tensor:
    """The indices of a line's units and of the end of sentence, at most ``limit`` of them.

    Units that the dictionary lacks are unknown. A longer line is cut, with a warning.
    """
    tokens: Tensor = dictionary.encode_line(line, add_if_not_exist=False).long()
    if len(tokens) <= limit:
        return tokens
    logger.warning(
        "a line of %s subword units is longer than the model takes; only the first %s are "
        "translated: %.60s…",
        f"{len(tokens) - 1:,}",
        f"{limit - 1:,}",
        line,
    )
    return torch.cat([tokens[: limit - 1], tokens[-1:]])


def batches_for(
    generator: Any, sources: Mapping[int, Tensor], max_tokens: int, max_sentences: int | None = None
) -> Iterator[list[int]]:
    """Batches of sentences, the longest first.

    Lengths are mixed only if the search limits each translation by its own source. fairseq's search
    takes the limit from the longest source of the batch, so with it each batch has one length.

    Args:
        generator: of :func:`build_generator`.
        sources: the tokens of each sentence, by its number.
        max_tokens: tokens of a batch with its padding, at most, unless one sentence has more.
        max_sentences: sentences of a batch, at most.
    """
    mixes = isinstance(generator, TiedSequenceGenerator) and generator.is_plain
    batch: list[int] = []
    for number in sorted(sources, key=lambda number: -len(sources[number])):
        longest = len(sources[batch[0]]) if batch else 0
        is_full = len(batch) == max_sentences or (len(batch) + 1) * longest > max_tokens
        if batch and (is_full or not (mixes or len(sources[number]) == longest)):
            yield batch
            batch = []
        batch.append(number)
    if batch:
        yield batch


def search_batch(
    task: TranslationTask, models: Sequence[Any], generator: Any, sources: Sequence[Tensor]
) -> list[Ranked]:
    """The hypotheses for each of ``sources``, as fairseq has them.

    Their attention is over the tokens of the source, without padding.
    """
    dictionary, left_pad = task.source_dictionary, task.cfg.left_pad_source
    padded = data_utils.collate_tokens(sources, dictionary.pad(), left_pad=left_pad)
    lengths = torch.tensor([*map(len, sources)])
    device = next(models[0].parameters()).device
    sample = {"net_input": {"src_tokens": padded.to(device), "src_lengths": lengths.to(device)}}
    ranked: list[Ranked] = task.inference_step(generator, models, sample)
    for source, hypotheses in zip(sources, ranked, strict=True):
        of_source = slice(-len(source), None) if left_pad else slice(len(source))
        for hypothesis in hypotheses:
            if hypothesis["attention"] is not None:
                hypothesis["attention"] = hypothesis["attention"][of_source]
    return ranked
