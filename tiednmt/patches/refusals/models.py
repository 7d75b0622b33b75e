"""Models and texts that do not go together, and models that cannot be split."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from fairseq.tasks import TASK_REGISTRY
from fairseq.tasks.multilingual_translation import MultilingualTranslationTask
from fairseq.utils import split_paths

from tiednmt.checkpoints import registered_name
from tiednmt.errors import UserError
from tiednmt.patches.refusals.configuration import arch, is_tied, options_of_part


def require_same_dictionaries(cfg: Any) -> None:
    """Refuse folders of text whose dictionaries differ: fairseq reads all text by the first's."""
    data = options_of_part(cfg.get("task")).get("data")
    first, *others = (Path(folder) for folder in split_paths(str(data or ".")))
    for file in (file for folder in others for file in sorted(folder.glob("dict*.txt"))):
        known = first / file.name
        if known.is_file() and _entries(known) != _entries(file):
            raise UserError(
                f"{file}: differs from {known}, by which the text of all folders is read; binarise"
                " the text again with that dictionary (fairseq-preprocess --srcdict, --tgtdict)"
            )


def _entries(dictionary: Path) -> list[bytes]:
    """The units of a dictionary, whose counts may differ."""
    return [line.rpartition(b" ")[0] for line in dictionary.read_bytes().splitlines()]


def require_one_model(cfg: Any) -> None:
    """Refuse tasks that join the models of several pairs by the parts of fairseq's own."""
    task = registered_name(getattr(cfg, "task", None))
    if is_tied(cfg) and issubclass(TASK_REGISTRY.get(task, object), MultilingualTranslationTask):
        raise UserError(
            f"--task {task}: joins fairseq's own architectures, one for each pair; for one tied"
            " model of several pairs, train on the text of all with --task translation"
        )


def require_whole_models(cfg: Any) -> None:
    """Refuse to split a model of this package: every process has the whole of it.

    fairseq's ways of splitting a model need packages that are not installed with it, or fail later.
    """
    if not is_tied(cfg):
        return
    parallel, model = cfg.distributed_training, f"a model of --arch {arch(cfg)}"
    splits = {
        "--pipeline-model-parallel": parallel.pipeline_model_parallel,
        "--model-parallel-size": cfg.common.model_parallel_size > 1,
        "--ddp-backend fully_sharded": parallel.ddp_backend == "fully_sharded",
    }
    for option, given in splits.items():
        if given:
            raise UserError(
                f"{option}: {model} is not split over devices; every one trains the whole of it, "
                "with --ddp-backend legacy_ddp or pytorch_ddp"
            )
    if parallel.find_unused_parameters:  # torch would miss those in the loss
        raise UserError(
            f"--find-unused-parameters: {model} uses all of its parameters, those of the output "
            "layer outside of its forward pass; leave the option out (layerdrop needs "
            "--ddp-backend legacy_ddp instead)"
        )
    backend = parallel.ddp_backend
    if parallel.distributed_world_size > 1 and backend not in ("legacy_ddp", "no_c10d"):
        for side in ("encoder", "decoder"):
            if getattr(cfg.model, f"{side}_layerdrop", 0):
                raise UserError(
                    f"--{side}-layerdrop: with several workers it needs --ddp-backend legacy_ddp; "
                    f"{backend} waits for the gradients of every layer"
                )
