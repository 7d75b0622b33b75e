"""What a model makes of source text: the hypotheses of its beam."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import torch
from fairseq.dataclass.configs import GenerationConfig

from tiednmt.tasks.tied_translation import (
    TiedTranslationConfig,
    TiedTranslationTask,
    quantise,
)
from tiednmt.translation.settings import DEFAULT_SEARCH, MAX_LEN_A, MAX_LEN_B
from tiednmt.translation.translator import equal_length_batches
from tiednmt.vocabulary.model import ModelState


def hypotheses(
    model: ModelState,
    lines: Iterable[Sequence[str]],
    beam: int = DEFAULT_SEARCH.beam,
    int8: bool = False,
) -> list[list[list[str]]]:
    """By line of source units, the beam's translations in units, the best first; none of none.

    Args:
        model: what translates.
        lines: units.
        beam: so many of each.
        int8: by products in 8 bits, as a model folder with such weights does.
    """
    source, target = model.source, model.target
    assert source is not None
    task = TiedTranslationTask(TiedTranslationConfig(), source, target)
    built = model.build().eval()
    if int8:
        quantise(built)
    config = GenerationConfig(beam=beam, nbest=beam, max_len_a=MAX_LEN_A, max_len_b=MAX_LEN_B)
    generator = task.build_generator([built], config)
    tokens = [source.encode_line(" ".join(line), add_if_not_exist=False).long() for line in lines]
    found: list[list[list[str]]] = [[] for _ in tokens]
    lengths = {number: len(line) for number, line in enumerate(tokens) if len(line) > 1}
    for batch in equal_length_batches(lengths, DEFAULT_SEARCH.max_tokens):
        sample = {
            "net_input": {
                "src_tokens": torch.stack([tokens[number] for number in batch]),
                "src_lengths": torch.tensor([lengths[number] for number in batch]),
            }
        }
        ranked = task.inference_step(generator, [built], sample)
        for number, of_line in zip(batch, ranked, strict=True):
            found[number] = [target.string(each["tokens"]).split() for each in of_line]
    if hasattr(generator, "close"):
        generator.close()
    return found


def likely_units(
    model: ModelState, ways: Iterable[tuple[Sequence[str], Sequence[str]]]
) -> list[str]:
    """All target units, those first that the model finds likely on the way of some translations.

    Args:
        model: asked.
        ways: source units and the units of a translation of them.
    """
    source, target = model.source, model.target
    assert source is not None
    built = model.build().eval()
    total = torch.zeros(len(target), dtype=torch.float64)
    with torch.no_grad():
        for units, translation in ways:
            tokens = source.encode_line(" ".join(units), add_if_not_exist=False).long()
            written = target.encode_line(" ".join(translation), add_if_not_exist=False).long()
            previous = torch.cat((written[-1:], written[:-1]))
            scores, _ = built(
                src_tokens=tokens[None],
                src_lengths=torch.tensor([len(tokens)]),
                prev_output_tokens=previous[None],
            )
            total += scores[0].double().softmax(dim=-1).sum(dim=0)
    return [target.symbols[row] for row in total.argsort(descending=True).tolist()]
