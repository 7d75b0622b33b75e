"""Prepared folders and checkpoints of translation models, quick to make: nothing is trained."""

from __future__ import annotations

import json
import shutil

from tests.models.contract import ARCHITECTURES
from tests.support.untrained import save_untrained

WORDS = [f"w{i}" for i in range(30)] + [".", "d@@", "og"]
TRANSLATORS = ("tied_gru", "tied_lstm", "tied_transformer", "tied_transformer_gru")
LINES = ["w3 w7 w1.", "w20", "", "w5 w5 w9 w11 w2 dog", "unseen w4"]
MERGES = (
    "o g</w>",
    *(f"w {i}</w>" for i in range(10)),
    *("w 1", "w 2"),
    *(f"w{i // 10} {i % 10}</w>" for i in range(10, 30)),
)


def prepared_folder(folder, words=WORDS, languages=("en", "de")):
    """A prepared folder of words that are units, and of ``dog``, which is two."""
    (folder / "bpe").mkdir(parents=True)
    (folder / "data-bin").mkdir()
    source, target = languages
    text = {"source": source, "target": target, "segmentation": "bpe", "threshold": 1, "version": 2}
    manifest = {"format": 2, "source": source, "target": target, "options": {}, "text": text}
    (folder / "manifest.json").write_text(json.dumps(manifest))
    (folder / "bpe" / "codes").write_text("\n".join(("#version: 0.2", *MERGES)) + "\n")
    counts = "".join(f"{word} {1000 - i}\n" for i, word in enumerate(words))
    for code in languages:
        (folder / "bpe" / f"vocab.{code}").write_text(counts)
        (folder / "data-bin" / f"dict.{code}.txt").write_text(counts)
    return folder


def in_parts(prepared):
    """Divide a prepared folder as ``--parts 2`` does: each part has the dictionaries."""
    whole = prepared / "data-bin"
    parts = whole.rename(prepared / "part0"), prepared / "part1"
    shutil.copytree(*parts)
    for number, part in enumerate(parts):
        whole.mkdir(exist_ok=True)
        part.rename(whole / f"shard{number}")
    return prepared


def save_translator(
    path, prepared, arch="tied_gru", *options, tying="three-way", data_bin="data-bin", **kwargs
):
    """A checkpoint of a model whose numbers are random, and the model.

    ``kwargs`` are those of :func:`tests.support.untrained.save_untrained`.
    """
    arguments = [*("--task", "translation", "--source-lang", "en", "--target-lang", "de")]
    for name, value in {**ARCHITECTURES.get(arch, {}), "dropout": 0.0}.items():
        option = "--" + name.replace("_", "-")
        arguments += [option] if value is True else [option, value]
    arguments += ["--arch", arch, *options]
    # hydra makes one configuration of an architecture, for every tying
    kwargs = {"noise": 0.4, **({"tying": tying} if tying else {}), **kwargs}
    return save_untrained(path, prepared / data_bin, *arguments, **kwargs).eval()
