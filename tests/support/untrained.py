"""Checkpoints as fairseq saves them, of models that were not trained: quick, and of any --arch."""

from __future__ import annotations

import copy
from functools import cache

import torch
from fairseq import checkpoint_utils, options, tasks
from fairseq.dataclass.utils import convert_namespace_to_omegaconf
from omegaconf import OmegaConf

import tiednmt.plugin  # noqa: F401

DATA = "DATA"  # in the place of a data-bin, which differs from test to test


def save_untrained(path, data_bin, *arguments, seed=1, noise=0.0, **changes):
    """Build the model of a ``fairseq-train`` command line, save it and return it.

    With ``noise`` its padding rows and biases are not zero. ``changes`` are options of the model
    that are set after hydra, for tests of many models of one command line.
    """
    cfg = configuration(data_bin, arguments, **changes)
    task = tasks.setup_task(cfg.task)
    torch.manual_seed(seed)
    model = task.build_model(cfg.model)
    with torch.no_grad():
        for parameter in model.parameters() if noise else ():
            parameter.add_(noise * torch.randn_like(parameter))
    torch.save(checkpoint_of(model, cfg), path)
    return model


def configuration(data_bin, arguments, **changes):
    """fairseq's configuration of a command line, with other options of the model."""
    cfg = copy.deepcopy(base(tuple(map(str, arguments))))
    for part in (cfg.task, cfg.model):  # the model's, too, where an architecture has no dataclass
        if getattr(part, "data", None) == DATA:
            part.data = str(data_bin)
    for name, value in changes.items():
        OmegaConf.update(cfg.model, name, value)
    return cfg


@cache
def base(arguments):
    """The same for any folder of data; hydra takes half a second for it."""
    args = options.parse_args_and_arch(options.get_training_parser(), [DATA, *arguments])
    return convert_namespace_to_omegaconf(args)


def load_built(path, data):
    """The models of a checkpoint, its configuration and its task."""
    return checkpoint_utils.load_model_ensemble_and_task([str(path)], {"data": str(data)})


def checkpoint_of(model, cfg=None):
    """What fairseq saves of a model before its first update."""
    return {
        "args": None,
        "cfg": cfg,
        "model": model.state_dict(),
        "optimizer_history": [
            {
                "criterion_name": "CrossEntropyCriterion",
                "optimizer_name": "FairseqAdam",
                "lr_scheduler_state": {},
                "num_updates": 0,
            }
        ],
        "last_optimizer_state": None,
        "task_state": {},
        "extra_state": {"train_iterator": {"epoch": 1}, "previous_training_time": 0},
    }


def write_dictionaries(folder, *names, words):
    """A data-bin that holds dictionaries alone, of ``words`` in this order of frequency."""
    folder.mkdir(parents=True, exist_ok=True)
    lines = [f"{word} {1000 - i}\n" for i, word in enumerate(words)]
    for name in names:
        (folder / name).write_text("".join(lines))
    return folder
