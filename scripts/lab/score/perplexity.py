"""Perplexity of language models: one stream with the state carried, or line by line."""

from __future__ import annotations

import tempfile
import warnings
from functools import partial
from pathlib import Path
from typing import Any

import torch
from fairseq.data import FairseqDataset
from torch import Tensor
from tqdm import tqdm

import tiednmt.plugin  # noqa: F401
from preprocess.monolingual import binarise_lines, line_splitter, refuse_reserved_words
from tiednmt.checkpoints import build, preferred_device, read_checkpoint, require_task
from tiednmt.errors import UserError
from tiednmt.files import write_whole
from tiednmt.models.language_model import LanguageModel
from tiednmt.show.figures import perplexity
from tiednmt.tasks.tied_language_modeling import TiedLanguageModelingTask
from tiednmt.text.lines import read_lines
from tiednmt.text.manifest import language, line_ends

# of a stream whose state is carried, or lines: bounds the memory, changes no figure
TOKENS_AT_A_TIME = 500
LINES_AT_A_TIME = 32

Figures = dict[str, int | float]


class Scorer:
    """A language model that scores texts.

    Args:
        checkpoint: of ``fairseq-train --task tied_language_modeling``.
        prepared: the folder (``python -m preprocess.*``) that it was trained on.
        cpu: run on the CPU even if there is a GPU.

    Raises:
        UserError: no such language model, or not of these dictionaries.
    """

    def __init__(self, checkpoint: Path, prepared: Path, cpu: bool = False) -> None:
        data_bin = prepared / "data-bin"
        if not (data_bin / "dict.txt").is_file():
            raise UserError(
                f"--data {prepared}: holds no data-bin/dict.txt; give a folder that python -m "
                "preprocess.ptb (or .text, …) has filled"
            )
        state = read_checkpoint(checkpoint, data=str(data_bin))
        require_task(checkpoint, state, TiedLanguageModelingTask, "language models")
        model, self.task = build(checkpoint, state, data_bin)
        self.device = preferred_device(cpu)
        self.model: LanguageModel = model.to(self.device).eval()
        self.prepared = prepared
        self.window: int = self.task.args.tokens_per_sample  # of training

    @property
    def tie_signature(self) -> str:
        """The signature of the model's ties."""
        return self.model.tie_map.signature

    def subset(self, name: str) -> Figures:
        """The figures of a subset of the folder.

        ``tokens``, how many of them are ``unknown``, ``nll`` (nats per token) and ``perplexity``.
        """
        data_bin = self.prepared / "data-bin"
        if not (data_bin / f"{name}.bin").is_file():
            known = (
                ", ".join(sorted(path.stem for path in data_bin.glob("*.bin"))) or "dictionaries"
            )
            raise UserError(
                f"--subset {name}: {data_bin} has only {known}; score raw text with --input FILE"
            )
        return self._score(data_bin, name)

    def text(self, path: Path) -> Figures:
        """The same of a raw text file, made into words and ended line by line as in training.

        Raises:
            UserError: it holds no words, or such as fairseq keeps for itself.
        """
        dictionary = self.prepared / "data-bin" / "dict.txt"
        words = line_splitter(language(self.prepared))
        with tempfile.TemporaryDirectory() as folder:
            split = Path(folder, "words")
            with write_whole(split) as file:
                for number, line in enumerate(read_lines(path), start=1):
                    refuse_reserved_words(line, partial("{}, line {}".format, path, number))
                    file.write(words(line) + "\n")
            counts = binarise_lines(
                split, dictionary, Path(folder, "text"), line_ends(self.prepared)
            )
            if not counts["tokens"]:
                raise UserError(f"{path}: holds no text")
            return self._score(Path(folder), "text")

    def _score(self, data_bin: Path, subset: str) -> Figures:
        self.task.args.data = str(data_bin)
        self.task.load_dataset(subset)
        nll, tokens, unknown = 0.0, 0, 0
        with torch.no_grad(), warnings.catch_warnings():
            # fairseq's loader asks for pinned memory with or without a GPU
            warnings.filterwarnings("ignore", message=".*pin_memory.*")
            batches = self._batches(self.task.dataset(subset))
            for batch in tqdm(batches, desc=subset, unit=" batches", disable=None):
                target = self._target(batch)
                nll += self._nll(batch["net_input"], target).item()
                tokens += int(target.ne(self.task.dictionary.pad()).sum())
                unknown += int(target.eq(self.task.dictionary.unk()).sum())
        mean = nll / tokens
        return {"tokens": tokens, "unknown": unknown, "nll": mean, "perplexity": perplexity(mean)}

    def _batches(self, dataset: FairseqDataset) -> Any:
        options: dict[str, Any] = {"num_workers": 0, "data_buffer_size": 0}
        if self.task.continuous:
            window = TOKENS_AT_A_TIME if self.model.carries_state else self.window
            self.task.args.tokens_per_sample = min(window, len(dataset))
        else:
            options.update(max_tokens=None, batch_size=LINES_AT_A_TIME)
        return self.task.eval_lm_dataloader(dataset, **options)

    def _target(self, batch: dict[str, Any]) -> Tensor:
        target: Tensor = batch["target"]
        if self.task.args.add_bos_token:  # what begins every line is no part of the text
            target[:, 0] = self.task.dictionary.pad()
        return target

    def _nll(self, net_input: dict[str, Any], target: Tensor) -> Tensor:
        features, _ = self.model(
            net_input["src_tokens"].to(self.device),
            carried=net_input.get("carried"),
            features_only=True,
        )
        target = target.to(self.device).flatten()
        padding = self.task.dictionary.pad()
        return self.model.output_layer.loss(features.flatten(0, 1), target, padding).nll
