"""Perplexity of language models on a subset of a prepared corpus, or on plain text.

One stream from beginning to end with the recurrent state carried along, as the literature scores;
base e; every token counts, the ends of lines included.

  python -m scripts.perplexity runs/wt/checkpoint_best.pt --data data/ptb --subset test
  python -m scripts.perplexity runs/wt/checkpoint_best.pt --data data/ptb --input page.txt
"""

from __future__ import annotations

import argparse
import logging
import math
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from preprocess.files import read_lines, write_json
from tiednmt.errors import UserError, one_line_errors
from tiednmt.loading import build, preferred_device, read_checkpoint, require_task
from tiednmt.models.language_model import RecurrentLanguageModel
from tiednmt.tasks import TiedLanguageModelingTask
from tiednmt.tasks.streams import TokenStream

WINDOW = 500  # tokens at a time: bounds the memory, changes no figure


def perplexity(
    checkpoint: Path, prepared: Path, subset: str, cpu: bool = False
) -> dict[str, int | float]:
    """``tokens``, ``nll`` (nats a token) and ``perplexity`` of a subset of a prepared folder."""
    scorer = Scorer(checkpoint, prepared, cpu)
    return scorer.score(scorer.subset(subset))


class Scorer:
    """A language model that is asked how likely texts are.

    Args:
        checkpoint: of ``fairseq-train --task tied_language_modeling``.
        prepared: the folder (``python -m preprocess.*``) that it was trained on.
        cpu: leave the GPU alone.

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
        state = read_checkpoint(checkpoint, data=str(data_bin), sample_break_mode="none")
        require_task(checkpoint, state, TiedLanguageModelingTask, "language models")
        model, self.task = build(checkpoint, state, data_bin)
        self.device = preferred_device(cpu)
        self.model: RecurrentLanguageModel = model.to(self.device).eval()
        self.data_bin = data_bin

    def subset(self, name: str) -> TokenStream:
        """The tokens of a subset of the prepared folder."""
        if not (self.data_bin / f"{name}.bin").is_file():
            known = ", ".join(sorted(path.stem for path in self.data_bin.glob("*.bin")))
            raise UserError(f"--subset {name}: {self.data_bin} has only {known}")
        self.task.load_dataset(name)
        return self.task.dataset(name)

    def text(self, path: Path) -> TokenStream:
        """The tokens of a file, split at spaces, each line ended as in training."""
        dictionary = self.task.dictionary
        lines = [
            dictionary.encode_line(line, add_if_not_exist=False).long() for line in read_lines(path)
        ]
        if not lines:
            raise UserError(f"{path}: holds no text")
        return TokenStream(_Lines(lines), str(path))

    def score(self, tokens: TokenStream) -> dict[str, int | float]:
        """``tokens``, ``nll`` (nats a token) and ``perplexity`` of all tokens as one stream."""
        self.task.args.tokens_per_sample = min(WINDOW, len(tokens))
        batches = self.task.eval_lm_dataloader(tokens, num_workers=0, data_buffer_size=0)
        nll = 0.0
        with (
            torch.no_grad(),
            tqdm(total=len(tokens), desc=tokens.name, unit=" tokens", disable=None) as bar,
        ):
            for batch in batches:
                nll += self._nll(batch).item()
                bar.update(batch["ntokens"])
        mean = nll / len(tokens)
        return {"tokens": len(tokens), "nll": mean, "perplexity": math.exp(mean)}

    def _nll(self, batch: dict[str, Any]) -> Tensor:
        net_input = batch["net_input"]
        features, _ = self.model(
            net_input["src_tokens"].to(self.device),
            carried=net_input["carried"],
            features_only=True,
        )
        target = batch["target"].to(self.device).flatten()
        padding = self.task.dictionary.pad()
        return self.model.output_layer.loss(features.flatten(0, 1), target, padding).nll


class _Lines(list[Tensor]):
    """Sentences in memory, as fairseq's datasets show theirs."""

    @property
    def sizes(self) -> Any:
        return np.array([len(line) for line in self])


@one_line_errors
def main(argv: Sequence[str] | None = None) -> None:
    """Run the command line ``argv`` (default: the process's own arguments)."""
    parser = argparse.ArgumentParser(
        prog="python -m scripts.perplexity",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("checkpoint", type=Path, metavar="CHECKPOINT")
    parser.add_argument(
        "--data", type=Path, required=True, metavar="PREPARED", help="folder of preprocess.*"
    )
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("--subset", metavar="NAME", help="train, valid or test")
    what.add_argument(
        "--input", type=Path, metavar="FILE", help="tokenised text, a line a sentence"
    )
    parser.add_argument("--cpu", action="store_true", help="leave the GPU alone")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures as JSON")
    args = parser.parse_args(argv)
    for package in ("fairseq", "tiednmt"):
        logging.getLogger(package).setLevel(logging.WARNING)
    # fairseq's loader asks for pinned memory with or without a GPU
    warnings.filterwarnings("ignore", message=".*pin_memory.*")
    scorer = Scorer(args.checkpoint, args.data, args.cpu)
    found = scorer.score(scorer.subset(args.subset) if args.subset else scorer.text(args.input))
    if args.json:
        write_json(args.json, found)
    print(f"{found['tokens']:,} tokens, perplexity {found['perplexity']:.2f}")


if __name__ == "__main__":
    main()
