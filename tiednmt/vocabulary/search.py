"""A model's hypotheses for source text, and the units that it finds likely in translations."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from contextlib import closing

import torch

from tiednmt.tasks.tied_translation import (
    TiedTranslationConfig,
    TiedTranslationTask,
    quantise,
)
from tiednmt.translation.batches import batches_for, build_generator, search_batch, source_tokens
from tiednmt.translation.settings import DEFAULT_SEARCH, Search
from tiednmt.vocabulary.model import ModelState


def hypotheses(
    model: ModelState,
    lines: Iterable[Sequence[str]],
    beam: int = DEFAULT_SEARCH.beam,
    int8: bool = False,
) -> list[list[list[str]]]:
    """All translations in the final beam of each line, the best first; none for an empty line.

    Args:
        model: the model that translates.
        lines: each as source units. Lines longer than the model's limit are cut there.
        beam: beam size, and how many hypotheses per line.
        int8: use int8 products, as a model folder with int8 weights does.

    Returns:
        By line, each hypothesis as target units.
    """
    source, target = model.source, model.target
    assert source is not None
    task = TiedTranslationTask(TiedTranslationConfig(), source, target)
    built = model.build().eval()
    if int8:
        quantise(built)
    generator = build_generator(task, [built], Search(beam), nbest=beam)
    limit = built.max_positions()[0]
    sources = [source_tokens(" ".join(line), source, limit) for line in lines]
    translations: list[list[list[str]]] = [[] for _ in sources]
    some = {number: tokens for number, tokens in enumerate(sources) if len(tokens) > 1}
    with closing(generator):
        for batch in batches_for(generator, some, DEFAULT_SEARCH.max_tokens):
            ranked = search_batch(task, [built], generator, [some[number] for number in batch])
            for number, several in zip(batch, ranked, strict=True):
                translations[number] = [
                    target.string(one["tokens"].tolist()).split() for one in several
                ]
    return translations


def likely_units(
    model: ModelState, ways: Iterable[tuple[Sequence[str], Sequence[str]]]
) -> list[str]:
    """All target units, those first to which the model gives most probability in translations.

    Args:
        model: the model that scores the translations.
        ways: translations, each as its source units and its target units. Probabilities are summed
            over all positions of all of them.
    """
    source, target = model.source, model.target
    assert source is not None
    built = model.build().eval()
    limit = built.max_positions()[0]
    total = torch.zeros(len(target), dtype=torch.float64)
    with torch.no_grad():
        for units, translation in ways:
            tokens = source_tokens(" ".join(units), source, limit)
            written = target.encode_line(" ".join(translation), add_if_not_exist=False).long()
            previous = torch.cat((written[-1:], written[:-1]))
            scores, _ = built(
                src_tokens=tokens[None],
                src_lengths=torch.tensor([len(tokens)]),
                prev_output_tokens=previous[None],
            )
            total += scores[0].double().softmax(dim=-1).sum(dim=0)
    return [target.symbols[row] for row in total.argsort(descending=True).tolist()]
