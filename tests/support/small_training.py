"""fairseq's training on a corpus of a few lines, in this process: a second or so."""

from __future__ import annotations

import copy
import random
from functools import lru_cache

from fairseq import options
from fairseq.dataclass.utils import convert_namespace_to_omegaconf
from fairseq.optim import OPTIMIZER_DATACLASS_REGISTRY
from fairseq_cli.train import main
from omegaconf import open_dict

import tiednmt.plugin  # noqa: F401
from tests.support.untrained import write_dictionaries

SIZES = (
    *("--arch", "tied_gru", "--embed-dim", "6", "--encoder-hidden-size", "4"),
    *("--decoder-hidden-size", "5", "--attention-size", "7", "--dropout", "0"),
)
RECIPE = (
    *("--cpu", "--no-progress-bar", "--num-workers", "0", "--dataset-impl", "raw"),
    *("--criterion", "tied_cross_entropy", "--optimizer", "adam", "--lr", "0.01", "--seed", "1"),
    *("--batch-size", "4", "--required-batch-size-multiple", "1", "--log-format", "none"),
)
WORDS = [f"w{i}" for i in range(19)]


def write_corpus(folder, words=WORDS, lines=16, source=None):
    """Dictionaries and raw text of two languages; the target is the source backwards."""
    chance = random.Random(5)
    write_dictionaries(folder, "dict.en.txt", words=source or words)
    write_dictionaries(folder, "dict.de.txt", words=words)
    for split in ("train", "valid"):
        rows = [chance.choices(source or words, k=chance.randint(1, 6)) for _ in range(lines)]
        write_text(folder / f"{split}.en-de.en", rows)
        write_text(folder / f"{split}.en-de.de", [row[::-1] for row in rows])
    return folder


def write_text(path, rows):
    path.write_text("".join(" ".join(row) + "\n" for row in rows))


@lru_cache
def base(sizes):
    """fairseq's configuration, which takes hydra seconds to put together."""
    parser = options.get_training_parser()
    args = options.parse_args_and_arch(parser, [".", *RECIPE, *sizes])
    return convert_namespace_to_omegaconf(args)


def train(data, save_dir, sizes=SIZES, optimizer=None, **parts):
    """``fairseq-train`` for a few updates; the path of the last checkpoint.

    ``parts`` and ``optimizer``: options by the part of fairseq's configuration that they are in.
    """
    cfg = copy.deepcopy(base(sizes))
    with open_dict(cfg):
        if optimizer:  # as vars of the dataclass: interpolations stay what they are
            registered = OPTIMIZER_DATACLASS_REGISTRY.get(optimizer["_name"])
            defaults = vars(registered()) if registered else {"lr": ""}
            rate = {"lr": "${optimization.lr}"} if "lr" in defaults else {}
            cfg.optimizer = {**defaults, **rate, **optimizer}
        for name, values in parts.items():
            cfg[name] = values if "_name" in values else {**cfg[name], **values}
        cfg.task.data = str(data)
        cfg.checkpoint.save_dir = str(save_dir)
        cfg.checkpoint.no_epoch_checkpoints = True
    main(cfg)
    return save_dir / "checkpoint_last.pt"
