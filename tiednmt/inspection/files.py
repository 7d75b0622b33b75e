"""Files of models as tensors and a configuration, read without running anything that they hold."""

from __future__ import annotations

import json
import pickle
from argparse import Namespace
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from tiednmt.errors import UserError
from tiednmt.export.safetensors import TensorFile
from tiednmt.torch_files import checked_meanwhile
from tiednmt.tying import is_dense

CONFIGURATIONS = ("config.json", "config.yaml", "config.yml", "model.npz.yml")
_MARIAN_CONFIGURATION = "special:model.yml"


@dataclass(frozen=True)
class InspectedFile:
    """What a file holds.

    Attributes:
        path: of the file.
        kind: of the file: ``torch``, ``safetensors`` or ``npz``.
        tensors: by name.
        aliases: further names, and those that the tensors are stored under.
        config: what it or a file beside it says of the model; empty where nothing does.
        fairseq: whether it is a checkpoint of fairseq's.
    """

    path: Path
    kind: str
    tensors: Mapping[str, Tensor]
    aliases: Mapping[str, str] = field(default_factory=dict)
    config: Mapping[str, Any] = field(default_factory=dict)
    fairseq: bool = False


def read_model(path: Path) -> InspectedFile:
    """Read a file, or the file of weights of a folder.

    Raises:
        UserError: no such file, damaged, of an unknown kind, or one that could run code; a folder
            of several.
    """
    path = _file_in(path) if path.is_dir() else path
    return _read_shards(path) if path.name.endswith(".index.json") else _read_file(path)


def _read_file(path: Path) -> InspectedFile:
    if not path.is_file():
        raise UserError(f"{path}: no such file")
    with open(path, "rb") as file:
        start = file.read(16)
    if path.suffix == ".npz":
        return _read_npz(path)
    if start[8:9] == b"{":  # first, since the length before it may begin as the others do
        stored = TensorFile(path)
        aliases = {name: of for name, of in stored.metadata.items() if of in stored.shapes}
        return InspectedFile(path, "safetensors", stored.read_all(), aliases, _config_beside(path))
    if start[:2] == b"PK" or start[:1] == b"\x80":  # a zip, or a pickle as torch wrote before
        return _read_torch(path)
    raise UserError(f"{path}: neither of safetensors, nor of torch, nor a .npz")


def _file_in(folder: Path) -> Path:
    wanted = (
        *("*.safetensors.index.json", "model.safetensors", "*.safetensors"),
        *("pytorch_model.bin.index.json", "pytorch_model.bin"),
        *("model.npz", "*.npz"),
    )
    for pattern in wanted:
        files = sorted(folder.glob(pattern))
        if len(files) > 1:
            several = ", ".join(file.name for file in files)
            raise UserError(f"{folder}: holds several files of weights ({several}); name one")
        if files:
            return files[0]
    raise UserError(f"{folder}: holds no file of weights; name the file")


def _read_shards(index: Path) -> InspectedFile:
    """All files that an index of Hugging Face's names: no folders, and no further indices."""
    if not index.is_file():
        raise UserError(f"{index}: no such file")
    try:
        names = set(json.loads(index.read_text(encoding="utf-8"))["weight_map"].values())
    except (ValueError, KeyError, AttributeError, TypeError, RecursionError):
        names = set()
    if not names or not all(isinstance(name, str) and name for name in names):
        raise UserError(f"{index}: not an index of files of weights")
    if any(Path(name).name != name or name == ".." for name in names):
        raise UserError(f"{index}: names files outside of its folder")
    parts = [_read_file(index.with_name(name)) for name in sorted(names)]
    tensors = {name: tensor for part in parts for name, tensor in part.tensors.items()}
    return InspectedFile(index, parts[0].kind, tensors, config=_config_beside(index))


def _read_npz(path: Path) -> InspectedFile:
    """A file of Marian's; its configuration is a tensor of bytes."""
    tensors: dict[str, Tensor] = {}
    config: dict[str, Any] = {}
    try:
        with np.load(path, allow_pickle=False) as arrays:
            for name in arrays.files:
                array = arrays[name]
                if name == _MARIAN_CONFIGURATION:
                    config = _yaml(bytes(array.tobytes()).rstrip(b"\0"), path)
                else:
                    tensors[name] = torch.from_numpy(array)
    except UserError:
        raise
    except Exception as error:  # numpy, zipfile and zlib have each their own of what is damaged
        raise UserError(
            f"{path}: not an .npz of plain numbers ({_why(error)}); copy it again"
        ) from None
    return InspectedFile(path, "npz", tensors, config=config or _config_beside(path))


def _read_torch(path: Path) -> InspectedFile:
    """A file of ``torch.save``, read with its check of pickles on."""
    import tiednmt.plugin  # noqa: F401  says which types of fairseq's are harmless

    try:
        with checked_meanwhile(path):
            content = torch.load(path, map_location="cpu", weights_only=True)
    except UserError:
        raise
    except pickle.UnpicklingError:
        raise UserError(
            f"{path}: refused, since it holds more than tensors and plain settings (a pickle may "
            "run any code); save its tensors alone, or as safetensors"
        ) from None
    except Exception as error:  # a damaged pickle may do whatever torch does not expect
        raise UserError(
            f"{path}: not a complete file of torch ({_why(error)}); copy it again"
        ) from None
    if not isinstance(content, Mapping):
        raise UserError(f"{path}: holds a {type(content).__name__}, not the tensors of a model")
    tensors = dict(_tensors(content))
    odd = next((name for name, tensor in tensors.items() if not is_dense(tensor)), None)
    if odd is not None:
        raise UserError(f"{path}: {odd} is a sparse matrix or one without numbers")
    if not tensors:
        raise UserError(f"{path}: holds no tensors of a model")
    config, fairseq = _config_within(content)
    return InspectedFile(path, "torch", tensors, {}, config or _config_beside(path), fairseq)


def _why(error: Exception) -> str:
    """The first line of its message."""
    return str(error).splitlines()[0][:100] if str(error) else type(error).__name__


def _tensors(content: Mapping[str, Any]) -> Iterator[tuple[str, Tensor]]:
    """Those of the model, wherever the toolkit keeps them: not those of an optimizer."""
    inner = next((content[n] for n in ("model", "model_state", "state_dict") if n in content), None)
    state = inner if isinstance(inner, Mapping) else content
    yield from ((str(name), value) for name, value in state.items() if isinstance(value, Tensor))
    generator = content.get("generator")  # OpenNMT-py keeps it apart
    if isinstance(generator, Mapping):
        for name, value in generator.items():
            if isinstance(value, Tensor):
                yield f"generator.{name}", value


def _config_within(content: Mapping[str, Any]) -> tuple[dict[str, Any], bool]:
    """The configuration of the model, and whether it is fairseq's."""
    from omegaconf import DictConfig

    from tiednmt.checkpoints import plain_options

    cfg, args, opt = (content.get(name) for name in ("cfg", "args", "opt"))
    if isinstance(cfg, Mapping) and "model" in cfg:
        model = cfg["model"]
        if isinstance(model, Namespace | DictConfig):
            model = plain_options(model)
        return dict(model) if isinstance(model, dict) else {}, True
    if isinstance(args, Namespace) and "optimizer_history" in content:
        return vars(args), True
    if isinstance(opt, Namespace):
        return vars(opt), False
    return (dict(opt), False) if isinstance(opt, Mapping) else ({}, "optimizer_history" in content)


def _config_beside(path: Path) -> dict[str, Any]:
    """The model's configuration in a file next to it: JSON or YAML."""
    names = [f"{path.name}.yml", *CONFIGURATIONS]
    file = next((path.with_name(n) for n in names if path.with_name(n).is_file()), None)
    if file is None:
        return {}
    text = file.read_bytes()
    if file.suffix != ".json":
        return _yaml(text, file)
    try:
        config = json.loads(text)
    except (ValueError, RecursionError):
        raise UserError(f"{file}: no JSON") from None
    return config if isinstance(config, dict) else {}


def _yaml(text: bytes, path: Path) -> dict[str, Any]:
    import yaml

    try:
        config = yaml.safe_load(text.decode("utf-8"))
    except Exception:  # PyYAML makes dates and numbers of text, with whatever error these have
        raise UserError(f"{path}: its configuration is not YAML") from None
    return config if isinstance(config, dict) else {}
