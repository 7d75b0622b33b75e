"""Raw text to raw text: checkpoints, the text pipeline they were fed by, and beam search."""

from __future__ import annotations

import io
import logging
import os
import sys
from argparse import Namespace
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, fields
from itertools import islice
from pathlib import Path
from typing import Any

import torch
from fairseq import utils
from fairseq.data import data_utils
from fairseq.dataclass.configs import GenerationConfig
from fairseq.dataclass.utils import overwrite_args_by_name
from fairseq.tasks.translation import TranslationTask
from omegaconf import OmegaConf
from tqdm import tqdm

import tiednmt.plugin  # noqa: F401
from scripts.lab.options import option, positive
from scripts.lab.score.prepared import Prepared
from tiednmt.checkpoints import build, preferred_device, read_checkpoint, require_task
from tiednmt.errors import UserError
from tiednmt.models.tied_model import TiedModel
from tiednmt.tasks.sequence_generator import TiedSequenceGenerator
from tiednmt.tasks.tied_translation import TiedTranslationConfig, TiedTranslationTask, quantise
from tiednmt.text.lines import read_lines
from tiednmt.text.pipeline import TextPipeline

logger = logging.getLogger(__name__)

# A translation has at most 1.2 · n + 10 units for n source units, the end of sentence included:
# captions and sentences stay far below it, and a model that repeats itself stops soon.
MAX_LEN_A, MAX_LEN_B = 1.2, 10


LINES_AT_ONCE = 2000  # of a text that is not typed


@dataclass(frozen=True)
class Search:
    """How beam search goes, and how much of it at a time."""

    beam: int = option("hypotheses kept at each step", default=5, type=positive)
    lenpen: float = option(
        "scores are divided by length to this power: above 1.0 favours long output",
        default=1.0,
        metavar="X",
    )
    max_tokens: int = option(
        "source units per batch; a longer sentence is a batch alone", default=4000, type=positive
    )
    max_sentences: int | None = option("sentences per batch", default=None, type=positive)


DEFAULT_SEARCH = Search()


@dataclass(frozen=True)
class System:
    """A model, or an ensemble that votes at every step, with the text pipeline it was fed by."""

    name: str
    checkpoints: tuple[Path, ...]
    models: Sequence[Any]
    task: TranslationTask
    pipeline: TextPipeline
    device: torch.device
    _generators: dict[Search, Any] = field(default_factory=dict, init=False, repr=False)

    @property
    def parameters(self) -> int:
        """Parameters of one model of the ensemble, shared ones counted once."""
        return sum(parameter.numel() for parameter in self.models[0].parameters())

    @property
    def tie_signature(self) -> str | None:
        """What is tied in the first model; None of a stock model."""
        model = self.models[0]
        return model.tie_map.signature if isinstance(model, TiedModel) else None

    def translate(
        self, lines: Sequence[str], search: Search = DEFAULT_SEARCH, progress: str | None = None
    ) -> list[str]:
        """Translate raw lines: one out for each in, in order, blank ones blank.

        Args:
            lines: raw text of the source language.
            search: how.
            progress: shown before a bar on stderr; no bar without it.

        """
        pipeline = self.pipeline
        units = [pipeline.encode(line, pipeline.source) for line in lines]
        translations = self.translate_units(units, search, progress)
        return [pipeline.decode(units, pipeline.target) for units in translations]

    def translate_units(
        self, lines: Sequence[str], search: Search = DEFAULT_SEARCH, progress: str | None = None
    ) -> list[str]:
        """As :meth:`translate`, from subword units to subword units, separated by spaces.

        A line longer than the models' limit is cut there, with a warning.
        """
        translations = [""] * len(lines)
        for i, _source, best in self.hypotheses(lines, search, progress):
            translations[i] = self.task.target_dictionary.string(best["tokens"].cpu())
        return translations

    def hypotheses(
        self, lines: Sequence[str], search: Search = DEFAULT_SEARCH, progress: str | None = None
    ) -> Iterator[tuple[int, torch.Tensor, dict[str, Any]]]:
        """The number, the source's indices and fairseq's best hypothesis of each line.

        As :meth:`translate_units`, but the longest first, and nothing for blank lines.
        """
        generator = self._generator(search)
        sources = {i: self._source(line) for i, line in enumerate(lines) if line.strip()}
        with tqdm(
            total=len(sources),
            desc=progress,
            unit=" sentences",
            mininterval=0.5,
            disable=progress is None,
        ) as bar:
            lengths = {i: len(source) for i, source in sources.items()}
            for batch in equal_length_batches(lengths, search.max_tokens, search.max_sentences):
                tokens = torch.stack([sources[i] for i in batch]).to(self.device)
                sizes = torch.full((len(batch),), tokens.size(1), device=self.device)
                sample = {"net_input": {"src_tokens": tokens, "src_lengths": sizes}}
                ranked = self.task.inference_step(generator, self.models, sample)
                for i, (best, *_) in zip(batch, ranked, strict=True):
                    yield i, sources[i], best
                bar.update(len(batch))

    def close(self) -> None:
        """End the processes that share the search; the next translation starts others."""
        for generator in self._generators.values():
            if isinstance(generator, TiedSequenceGenerator):
                generator.close()
        self._generators.clear()

    def _generator(self, search: Search) -> Any:
        """The generator of a search, built once: the processes that share its work stay."""
        if search not in self._generators:
            config = GenerationConfig(
                beam=search.beam, lenpen=search.lenpen, max_len_a=MAX_LEN_A, max_len_b=MAX_LEN_B
            )
            self.close()
            self._generators[search] = self.task.build_generator(self.models, config)
        return self._generators[search]

    def _source(self, line: str) -> torch.Tensor:
        """The units' indices and the end of sentence; what the dictionary lacks is unknown."""
        tokens = self.task.source_dictionary.encode_line(line, add_if_not_exist=False).long()
        limit = utils.resolve_max_positions(
            self.task.max_positions(), *(model.max_positions() for model in self.models)
        )[0]
        if len(tokens) > limit:
            logger.warning(
                "warning: a line of %s subword units is longer than the model takes; only the "
                "first %s are translated: %.60s…",
                f"{len(tokens) - 1:,}",
                f"{limit - 1:,}",
                line,
            )
            tokens = torch.cat([tokens[: limit - 1], tokens[-1:]])
        return tokens


def equal_length_batches(
    lengths: dict[int, int], max_tokens: int, max_sentences: int | None = None
) -> Iterator[list[int]]:
    """Batches of sentences of one length, the longest first.

    Without padding, a translation depends on nothing but its own sentence: fairseq takes the
    limit of a translation's length from the padded batch.

    Args:
        lengths: length of each sentence, by its number.
        max_tokens: tokens of a batch, at most, unless one sentence has more.
        max_sentences: sentences of a batch, at most.
    """
    by_length: dict[int, list[int]] = {}
    for i, length in lengths.items():
        by_length.setdefault(length, []).append(i)
    for length, group in sorted(by_length.items(), reverse=True):
        size = max(1, min(max_tokens // length, max_sentences or len(group)))
        for start in range(0, len(group), size):
            yield group[start : start + size]


def translate_to_stdout(system: System, source: str, search: Search) -> None:
    """Translate a file, or stdin for ``-``: as many lines out as in.

    Lines are answered one by one at a terminal, else some thousands at a time. That a reader has
    seen enough is no error.
    """
    stdin = source == "-"
    at_once = 1 if stdin and sys.stdin.isatty() else LINES_AT_ONCE
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(encoding="utf-8", newline="\n")
    lines = read_lines(Path("/dev/stdin" if stdin else source))
    try:
        while chunk := list(islice(lines, at_once)):
            print(*system.translate(chunk, search), sep="\n", flush=True)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


# --- loading -----------------------------------------------------------------------------------


def load_system(
    name: str,
    paths: Iterable[Path],
    prepared: Prepared,
    cpu: bool = False,
    attention: bool = False,
    int8: bool = False,
) -> System:
    """Load one checkpoint, or several as an ensemble; a GPU is used where there is one.

    Args:
        name: what tables call it.
        paths: checkpoints of ``fairseq-train``.
        prepared: the folder whose dictionaries they were trained with.
        cpu: even with a GPU.
        attention: let stock models keep theirs with the hypotheses (ours always do).
        int8: decode with int8 weights, on the CPU.

    Raises:
        UserError: a checkpoint is missing, damaged, unsafe, of an unknown architecture, no
            translation model, or does not fit the dictionaries; int8 weights of a stock model.
    """
    device = preferred_device(cpu or int8)
    models, task = [], None
    generation = {"no_beamable_mm": True, "print_alignment": attention}
    paths = tuple(paths)
    for path in paths:
        state = read_checkpoint(path)
        _require_translation_model(path, state, prepared)
        overwrite_args_by_name(state["cfg"], {"data": str(prepared.data_bin), "eval_bleu": False})
        model, task = build(path, state, prepared.data_bin, task)
        model.to(device)
        model.prepare_for_inference_(OmegaConf.create({"generation": generation}))
        if int8:
            quantise(model)
        models.append(model)
    # its tools are loaded at first use, which is not to count as translating
    prepared.pipeline.load_tools()
    return System(name, paths, models, _with_our_search(task), prepared.pipeline, device)


def _with_our_search(task: TranslationTask) -> TranslationTask:
    """The task of our search in place of fairseq's ``translation``, of which most checkpoints are.

    Which generator serves a search is for the task alone to say; others keep their own.
    """
    if type(task) is not TranslationTask:
        return task
    given = vars(task.cfg) if isinstance(task.cfg, Namespace) else task.cfg
    names = [each.name for each in fields(TiedTranslationConfig) if each.name in given]
    config = TiedTranslationConfig(**{name: given[name] for name in names})
    return TiedTranslationTask(config, task.source_dictionary, task.target_dictionary)


def _direction(task: Any) -> tuple[str | None, str | None]:
    """The languages that a model was trained on, None where neither it nor its data says so.

    ``fairseq-train`` without -s and -t finds them out by its data-bin and does not store them.
    """
    data_bin = str(task.data).split(os.pathsep)[0]
    if task.source_lang is None and os.path.isdir(data_bin):
        source, target = data_utils.infer_language_pair(data_bin)
        return source, target
    return task.source_lang, task.target_lang


def _require_translation_model(path: Path, state: dict[str, Any], prepared: Prepared) -> None:
    require_task(path, state, TranslationTask, "translation models")
    wanted = prepared.pipeline.languages
    trained = _direction(state["cfg"].task)
    if trained not in (wanted, (None, None)):
        raise UserError(
            f"{path}: translates {trained[0]} to {trained[1]}, but {prepared.folder} holds "
            f"{wanted[0]} to {wanted[1]}"
        )
