"""Checkpoints as fairseq saves them, of models that were not trained: quick, and of any --arch."""

from __future__ import annotations

import torch
from fairseq import checkpoint_utils, options, tasks
from fairseq.dataclass.utils import convert_namespace_to_omegaconf

import tiednmt.plugin  # noqa: F401


def save_untrained(path, data_bin, *arguments, seed=1, noise=0.0):
    """Build the model of a ``fairseq-train`` command line, save it and return it.

    With ``noise`` its padding rows and biases are not zero.
    """
    args = [str(data_bin), *map(str, arguments)]
    cfg = convert_namespace_to_omegaconf(
        options.parse_args_and_arch(options.get_training_parser(), args)
    )
    task = tasks.setup_task(cfg.task)
    torch.manual_seed(seed)
    model = task.build_model(cfg.model)
    with torch.no_grad():
        for parameter in model.parameters() if noise else ():
            parameter.add_(noise * torch.randn_like(parameter))
    torch.save(checkpoint_of(model, cfg), path)
    return model


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
