"""fairseq's checkpoints: read with torch's check of pickles left on, and never left half written.

Since torch 2.6 ``torch.load`` lets only tensors and plain containers in unless told otherwise, and
fairseq does not tell. The check stays on; the harmless types that its checkpoints hold are let in.
"""

from __future__ import annotations

import argparse
import shutil
from collections import defaultdict
from pathlib import Path
from typing import Any

import numpy
import torch
from fairseq.distributed.utils import _TensorPlaceholder
from fairseq.file_io import PathManager
from omegaconf import DictConfig, ListConfig
from omegaconf.base import ContainerMetadata, Metadata
from omegaconf.nodes import AnyNode


def allow_fairseq_types() -> None:
    """Let the types in that stand in fairseq's checkpoints beside tensors and plain containers.

    The arrays of numbers are what ``--eval-bleu`` leaves in the meters. The configuration as an
    object is what the first of several workers sends the others when training goes on.
    """
    rebuild = [numpy.empty(0).__reduce__()[0], numpy.float64(0).__reduce__()[0]]
    numbers = [type(numpy.dtype(kind)) for kind in ("float64", "float32", "int64", "int32", "bool")]
    configuration = [DictConfig, ListConfig, AnyNode, ContainerMetadata, Metadata, Any]
    torch.serialization.add_safe_globals(
        [
            *(argparse.Namespace, numpy.ndarray, numpy.dtype, *numbers, *rebuild),
            *(*configuration, defaultdict, dict, list, int, _TensorPlaceholder),
        ]
    )


def copy_checkpoints_whole() -> None:
    """Let fairseq's copies of a checkpoint take their name once they are whole.

    It writes ``checkpoint_last.pt`` by copying the newest checkpoint over it, so that a run killed
    in that moment would be left with half a file to go on from.
    """
    copy = PathManager.copy

    def copy_whole(src_path: str, dst_path: str, overwrite: bool = False) -> Any:
        if "://" in dst_path:  # not a file of this machine's
            return copy(src_path, dst_path, overwrite=overwrite)
        partial = Path(f"{dst_path}.partial")
        try:
            shutil.copyfile(src_path, partial)
            return partial.replace(dst_path)
        except BaseException:
            partial.unlink(missing_ok=True)
            raise

    PathManager.copy = staticmethod(copy_whole)
