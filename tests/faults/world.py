"""Good files that every fault is made of: a prepared folder, models of it, measurements."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from fairseq.data import Dictionary, indexed_dataset

from tests.support.translators import LINES, prepared_folder, save_translator
from tiednmt.export.model_folder import write_model_folder
from tiednmt.export.reading import read_trained
from tiednmt.files import sha256

EXPERIMENT = """title: Toy
kind: translation
prepare: [demo]
recipe: tied_gru_demo
rows:
  none: {model: {tying: none}}
  three-way: {model: {tying: three-way}}
"""
VECTORS = "4 3\nthe 1 2 3\ncat 4 5 6\ndog 7 8 9\nsees 1 0 1\n"
MOVEMENT = {"update": 1, "matrices": {"U": [{"ranks": [1, 2], "moved": 1, "distance": 0.5}]}}

_OF_USE = {"norm": 1.5, "bands": [{"ranks": [1, 2], "norm": 1.0}], "sides": {"both": 1.5}}
GRADIENTS = {
    "update": 1,
    "uses": {"target input": _OF_USE, "output": _OF_USE},
    "cosines": {"target input, output": 0.5},
    "rows": {"both": 2},
}


@dataclass(frozen=True)
class World:
    """A folder of good files."""

    folder: Path

    @property
    def prepared(self) -> Path:
        return self.folder / "prepared"

    @property
    def checkpoint(self) -> Path:
        return self.folder / "model.pt"

    @property
    def model_folder(self) -> Path:
        return self.folder / "model"


def make(folder: Path) -> World:
    world = World(folder)
    prepared_folder(world.prepared)
    save_translator(world.checkpoint, world.prepared)
    _binarise(world.prepared)
    _describe(world.prepared)
    write_model_folder(world.model_folder, read_trained(world.checkpoint, world.prepared))
    (folder / "odd.yaml").write_text(EXPERIMENT)
    (folder / "words.vec").write_text(VECTORS)
    (folder / "row-movement.jsonl").write_text(f"{json.dumps(MOVEMENT)}\n" * 2)
    (folder / "gradient-shares.jsonl").write_text(f"{json.dumps(GRADIENTS)}\n" * 2)
    (folder / "input.txt").write_text("\n".join(LINES) + "\n")
    return world


def _binarise(prepared: Path) -> None:
    dictionary = Dictionary.load(str(prepared / "data-bin" / "dict.en.txt"))
    for language in ("en", "de"):
        prefix = str(prepared / "data-bin" / f"test.en-de.{language}")
        builder = indexed_dataset.make_builder(f"{prefix}.bin", "mmap", len(dictionary))
        for line in LINES[:2] + LINES[3:]:
            units = dictionary.encode_line(line, line_tokenizer=str.split, add_if_not_exist=False)
            builder.add_item(units)
        builder.finalize(f"{prefix}.idx")
        (prepared / "raw").mkdir(exist_ok=True)
        (prepared / "raw" / f"test.{language}").write_text("\n".join(LINES[3:] * 2) + "\n")


def _describe(prepared: Path) -> None:
    manifest = json.loads((prepared / "manifest.json").read_text())
    files = [path for path in prepared.rglob("*") if path.is_file() and "manifest" not in path.name]
    manifest["subsets"] = {"test": "test"}
    manifest["files"] = {str(path.relative_to(prepared)): sha256(path) for path in files}
    (prepared / "manifest.json").write_text(json.dumps(manifest, indent=1))
