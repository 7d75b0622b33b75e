"""Malformed inputs by kind. Each kind makes one input of a random source, and says what must be."""

from __future__ import annotations

import argparse
import json
import math
import os
import pickle
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any

import torch
import yaml
from omegaconf import OmegaConf

import tiednmt
from tests.faults.archives import archive
from tests.faults.commands import options_of, options_of_fairseq
from tests.faults.world import World
from tests.support import records

USER_DIR = str(Path(tiednmt.__file__).parent)


@dataclass(frozen=True)
class Case:
    """A command with its arguments, and whether it must refuse its input (None: either)."""

    command: str
    arguments: list[str]
    refused: bool | None = None
    largest: int | None = None  # bytes of a file, as where the disk is full


RECORDS = (
    *(records.translation, records.language_model, records.embeddings, records.skip_gram),
    lambda: records.translation(seeds=3),
)
RUNS = "__import__('os').mkdir('RAN')"
ODD_WORDS = (
    *("nan", "inf", "-inf", "1e308", "-1", "0", "1e999", "10**13", "9" * 40, "9" * 5000, "", " "),
    *("\x1b[31m", "é", "../..", "/", "a,b", "a:b", "=", "-", "None", "[]", "{}", "%s", "$x", "1-9"),
    *("1-1000000000", "3-2", "a" * 300, "\u202e", "--", "/dev/null/x", "*"),
)
ODD_VALUES: tuple[Any, ...] = (
    *(None, True, -1, 0, 10**30, 0.5, math.nan, math.inf, "", "text", "../../x", "\x1b[31m"),
    *([], [1], ["a"], [[]], {}, {"a": 1}, {"": None}),
)


class Hostile:
    """Unpickled, it makes a folder."""

    def __reduce__(self) -> Any:
        return os.mkdir, ("RAN",)


def bytes_of(chance: Random, content: bytes) -> bytes:
    """The content with a flipped bit, cut, doubled, or with other bytes somewhere."""
    way, place = chance.randrange(6), chance.randrange(max(len(content), 1))
    if way == 0 and content:
        return flipped(chance, content)
    if way == 1:
        return content[:place]
    if way == 2:
        return content[:place] + chance.randbytes(chance.randint(1, 20)) + content[place:]
    if way == 3:
        return content[:place] + content[place + chance.randint(1, 50) :]
    if way == 4:
        return chance.randbytes(chance.choice((0, 1, 9, 100)))
    lines = content.splitlines(keepends=True)
    chance.shuffle(lines)
    return b"".join(lines)


def flipped(chance: Random, content: bytes) -> bytes:
    changed = bytearray(content)
    changed[chance.randrange(len(content))] ^= 1 << chance.randrange(8)
    return bytes(changed)


def fields_of(chance: Random, content: Any, depth: int = 0) -> Any:
    """The content with one field of it, at any depth, of another type, twice or left out."""
    if isinstance(content, dict) and content and chance.random() < 0.85 - depth / 10:
        key = chance.choice(list(content))
        changed = dict(content)
        way = chance.random()
        if way < 0.1:
            del changed[key]
        elif way < 0.15:
            changed[f"{key}x"] = changed.pop(key)
        else:
            changed[key] = fields_of(chance, changed[key], depth + 1)
        return changed
    if isinstance(content, list) and content and chance.random() < 0.6:
        place = chance.randrange(len(content))
        return [
            *content[:place],
            fields_of(chance, content[place], depth + 1),
            *content[place + 1 :],
        ]
    return chance.choice(ODD_VALUES)


def _copy(world: World, folder: Path) -> Path:
    shutil.copytree(world.prepared, folder / "prepared")
    return folder / "prepared"


def _using_checkpoint(chance: Random, world: World, path: Path, refused: bool | None) -> Case:
    data = str(world.prepared)
    uses = {
        "average": [str(path), "--output", str(path.with_name("mean.pt"))],
        "inspect": [str(path)],
        "translate": [
            str(path),
            "--data",
            data,
            "--cpu",
            "--input",
            str(world.folder / "input.txt"),
        ],
        "export": [str(path), "--data", data, "--out", str(path.with_name("exported"))],
        "generate": [
            *(f"{data}/data-bin", "--user-dir", USER_DIR, "--path", str(path), "--cpu"),
            *("--gen-subset", "test", "--max-len-b", "5", "--source-lang", "en"),
            *("--target-lang", "de", "--beam", "1"),
        ],
    }
    command = chance.choice(list(uses))
    return Case(command, uses[command], refused)


def checkpoint_bits(chance: Random, world: World, folder: Path) -> Case:
    path = folder / "flipped.pt"
    path.write_bytes(flipped(chance, world.checkpoint.read_bytes()))
    return _using_checkpoint(chance, world, path, None)


def checkpoint_bytes(chance: Random, world: World, folder: Path) -> Case:
    path = folder / "damaged.pt"
    content = world.checkpoint.read_bytes()
    path.write_bytes(changed := bytes_of(chance, content))
    return _using_checkpoint(chance, world, path, None if changed == content else True)


def checkpoint_contents(chance: Random, world: World, folder: Path) -> Case:
    state = torch.load(world.checkpoint)
    state["cfg"] = OmegaConf.to_container(state["cfg"])
    state["model"] = dict(state["model"])
    if chance.random() < 0.4:
        name = chance.choice([n for n, w in state["model"].items() if w.is_floating_point()])
        weight = state["model"][name].clone()
        weight.view(-1)[chance.randrange(weight.numel())] = chance.choice((math.nan, math.inf))
        odd = (
            weight,
            weight.to_sparse(),
            weight.int(),
            weight.view(-1)[:1],
            weight.double(),
            None,
            "text",
        )
        state["model"][name] = chance.choice(odd)
    else:
        state = fields_of(chance, state)
    torch.save(state, folder / "contents.pt")
    return _using_checkpoint(chance, world, folder / "contents.pt", None)


def checkpoint_hostile(chance: Random, world: World, folder: Path) -> Case:
    path, state = folder / "hostile.pt", torch.load(world.checkpoint)
    state["cfg"] = OmegaConf.to_container(state["cfg"])
    way = chance.randrange(3)
    if way == 0:
        names = ("fconv", "fconv_self_att", "fconv_iwslt_de_en", "lstm", "transformer", "lightconv")
        fields = (
            "encoder_layers",
            "decoder_layers",
            "decoder_attention",
            "adaptive_softmax_cutoff",
        )
        options = dict.fromkeys(fields, RUNS)
        paths = dict.fromkeys(("encoder_embed_path", "decoder_embed_path"))
        state["cfg"]["model"] = argparse.Namespace(arch=chance.choice(names), **options, **paths)
        torch.save(state, path)
    elif way == 1:
        state[chance.choice(list(state))] = Hostile()
        torch.save(state, path, _use_new_zipfile_serialization=chance.random() < 0.5)
    else:
        path.write_bytes(pickle.dumps({"model": Hostile()}, chance.choice((0, 2, 4))))
    return _using_checkpoint(chance, world, path, None if way == 0 else True)


def data_bin(chance: Random, world: World, folder: Path) -> Case:
    prepared = _copy(world, folder)
    names = [f"test.en-de.{code}.{kind}" for code in ("en", "de") for kind in ("bin", "idx")]
    path = prepared / "data-bin" / chance.choice(names)
    path.write_bytes(bytes_of(chance, path.read_bytes()))
    arguments = [
        *(str(prepared / "data-bin"), "--user-dir", USER_DIR, "--path", str(world.checkpoint)),
        *("--cpu", "--gen-subset", "test", "--max-len-b", "5", "--beam", "1"),
    ]
    return Case("generate", arguments)


def prepared_files(chance: Random, world: World, folder: Path) -> Case:
    prepared = _copy(world, folder)
    names = ("bpe/codes", "bpe/vocab.en", "data-bin/dict.en.txt", "raw/test.de")
    path = prepared / chance.choice(names)
    before = path.read_bytes()
    path.write_bytes(changed := bytes_of(chance, before))
    return _evaluate(world, prepared, refused=True if changed != before else None)


def _evaluate(world: World, prepared: Path, refused: bool | None) -> Case:
    arguments = [str(world.checkpoint), "--data", str(prepared), "--subset", "test", "--cpu"]
    return Case("evaluate", arguments, refused)


def manifest(chance: Random, world: World, folder: Path) -> Case:
    prepared = _copy(world, folder)
    path = prepared / "manifest.json"
    if chance.random() < 0.2:
        path.write_bytes(bytes_of(chance, path.read_bytes()))
    else:
        path.write_text(json.dumps(fields_of(chance, json.loads(path.read_text()))))
    return _evaluate(world, prepared, None)


def model_folder(chance: Random, world: World, folder: Path) -> Case:
    shutil.copytree(world.model_folder, folder / "model")
    path = chance.choice(sorted(p for p in (folder / "model").rglob("*") if p.is_file()))
    before = path.read_bytes()
    if path.suffix == ".json" and chance.random() < 0.7:
        changed = json.dumps(fields_of(chance, json.loads(before))).encode()
    else:
        changed = bytes_of(chance, before)
    path.write_bytes(changed)
    hashed = changed != before and path.suffix not in (".json", ".md")
    arguments = [str(folder / "model"), "--cpu", "--input", str(world.folder / "input.txt")]
    return Case("translate", arguments, True if hashed else None)


def recipe(chance: Random, world: World, folder: Path) -> Case:
    text = (world.folder / "odd.yaml").read_text()
    if chance.random() < 0.3:
        content = bytes_of(chance, text.encode())
    else:
        content = yaml.safe_dump(fields_of(chance, yaml.safe_load(text))).encode()
    (folder / "odd.yaml").write_bytes(content)
    return Case("experiment", [str(folder), "odd"])


def vectors(chance: Random, world: World, folder: Path) -> Case:
    content = (world.folder / "words.vec").read_bytes()
    (folder / "words.vec").write_bytes(bytes_of(chance, content))
    return Case("vectors", [str(folder / "words.vec")])


def movement(chance: Random, world: World, folder: Path) -> Case:
    _measurement(chance, world, folder / "row-movement.jsonl")
    return Case("movement", [str(folder)])


def gradients(chance: Random, world: World, folder: Path) -> Case:
    _measurement(chance, world, folder / "gradient-shares.jsonl")
    return Case("gradients", [str(folder)])


def _measurement(chance: Random, world: World, path: Path) -> None:
    """The lines of a file of measurements damaged, or a field of the first one."""
    content = (world.folder / path.name).read_bytes()
    if chance.random() < 0.5:
        path.write_bytes(bytes_of(chance, content))
    else:
        first, *rest = content.splitlines()
        record = json.dumps(fields_of(chance, json.loads(first))).encode()
        path.write_bytes(b"\n".join((record, *rest)) + b"\n")


def record(chance: Random, world: World, folder: Path) -> Case:
    content = json.dumps(chance.choice(RECORDS)())
    if chance.random() < 0.2:
        (folder / "record.json").write_bytes(bytes_of(chance, content.encode()))
    else:
        (folder / "record.json").write_text(json.dumps(fields_of(chance, json.loads(content))))
    command, out = chance.choice((("report", folder / "page.html"), ("figures", folder / "out")))
    return Case(command, [str(folder), "--out", str(out)] if command == "report" else [str(folder)])


def packed_corpus(chance: Random, world: World, folder: Path) -> Case:
    """An archive of a corpus, damaged or with members that are not as published."""
    command, content = archive(chance)
    whole = chance.random() < 0.5
    path = folder / ("aclImdb_v1.tar.gz" if command == "reviews" else "wikitext-2-v1.zip")
    path.write_bytes(content if whole else bytes_of(chance, content))
    return Case(command, [str(path)])


def full_disk(chance: Random, world: World, folder: Path) -> Case:
    """Commands that write, where no file may grow beyond a part of what they would write."""
    model, data = str(world.checkpoint), ["--data", str(world.prepared)]
    changed = ["--output", str(folder / "changed")]
    test = ["--subset", "test", "--cpu"]
    uses = {
        "average": [model, "--output", str(folder / "mean.pt")],
        "export": [model, *data, "--out", str(folder / "exported")],
        "vocabulary": ["untie", model, *data, *changed, "--tying", "none"],
        "evaluate": [model, *data, *test, "--json", str(folder / "scores.json")],
    }
    command = chance.choice(list(uses))
    return Case(command, uses[command], None, chance.randint(2000, 6000))


def vocabulary(chance: Random, world: World, folder: Path) -> Case:
    """Vocabulary surgery on a good or damaged model, with texts and units of any bytes."""
    model, text, out = folder / "model.pt", folder / "test.en", str(folder / "changed")
    content = world.checkpoint.read_bytes()
    model.write_bytes(content if chance.random() < 0.7 else bytes_of(chance, content))
    text.write_bytes(bytes_of(chance, (world.folder / "input.txt").read_bytes()))
    given = [str(model), "--data", str(world.prepared)]
    uses = (
        ["trim", *given, "--output", out, "--text", str(text)],
        ["trim", *given, "--output", out, "--units", str(text)],
        ["trim", *given, "--output", out, "--keep", chance.choice(ODD_WORDS)],
        ["extend", *given, "--output", out, "--symbols", str(text)],
        ["extend", *given, "--output", out, "--text", str(text), "--merges", "3"],
        ["tie", *given, "--output", out, "--tying", chance.choice(("three-way", "decoder"))],
        ["untie", *given, "--output", out, "--tying", "none"],
        ["join", str(text), str(text), "--output", out],
        ["report", *given, "--text", str(text)],
    )
    return Case("vocabulary", chance.choice(uses))


def options(chance: Random, world: World, folder: Path) -> Case:
    """A command that would work or lack a file, with an odd value for an option of its parser."""
    none, data = str(folder / "none"), ["--data", str(world.prepared)]
    good = {
        "evaluate": [str(world.checkpoint), *data, "--subset", "test", "--cpu"],
        "translate": [str(world.model_folder), "--cpu", "--input", str(world.folder / "input.txt")],
        "export": [str(world.checkpoint), *data, "--out", str(folder / "exported")],
        "inspect": [str(world.checkpoint)],
        "average": [str(world.checkpoint), "--output", str(folder / "mean.pt")],
        "skip_gram": ["--text", str(world.folder / "input.txt"), "--out", str(folder / "vectors")],
        "model_size": ["--source", "10", "--target", "10", "--joint", "15"],
        "perplexity": [none, *data, "--subset", "test"],
        "analyse": [none, "--out", str(folder / "out")],
        "report": [none, "--out", str(folder / "page.html")],
        "bitext": [
            *("--source", "en", "--target", "de", "--train", none, none, "--valid", none, none),
            *("--dest", str(folder / "dest")),
        ],
        "text": ["--train", none, "--valid", none, "--test", none, "--dest", str(folder / "dest")],
        "multi30k": ["--raw", none, "--dest", str(folder / "dest")],
    }
    command = chance.choice(list(good))
    arguments = list(good[command])
    for _ in range(chance.randint(1, 2)):
        option = chance.choice(options_of(command))
        arguments += [option, *chance.choices(ODD_WORDS, k=chance.choice((0, 1, 1, 1, 2)))]
    return Case(command, arguments)


def training(chance: Random, world: World, folder: Path) -> Case:
    """A training of two updates, with an odd value for an option of its parser."""
    arguments = (
        *(str(world.prepared / "data-bin"), "--user-dir", USER_DIR, "--cpu"),
        *("--train-subset", "test", "--valid-subset", "test", "--arch", "tied_gru_tiny"),
        *("--criterion", "tied_cross_entropy", "--optimizer", "adam", "--lr", "0.01"),
        *("--batch-size", "2", "--max-update", "2", "--max-epoch", "2", "--num-workers", "0"),
        *("--save-dir", str(folder / "saved"), "--no-progress-bar"),
    )
    return _with_odd_options(chance, "train", arguments)


def generation(chance: Random, world: World, folder: Path) -> Case:
    """A translation by ``fairseq-generate``, with an odd value for an option of its parser."""
    arguments = (
        *(str(world.prepared / "data-bin"), "--user-dir", USER_DIR, "--cpu"),
        *("--path", str(world.checkpoint), "--gen-subset", "test", "--max-len-b", "5"),
        *("--beam", "1", "--num-workers", "0", "--results-path", str(folder / "results")),
    )
    return _with_odd_options(chance, "generate", arguments)


def _with_odd_options(chance: Random, command: str, arguments: tuple[str, ...]) -> Case:
    given = list(arguments)
    for _ in range(chance.randint(1, 2)):
        option = chance.choice(options_of_fairseq(command, arguments))
        given += [option, *chance.choices(ODD_WORDS, k=chance.choice((0, 1, 1, 1, 1, 2)))]
    return Case(command, given)


KINDS: dict[str, Callable[[Random, World, Path], Case]] = {
    "checkpoint, a bit": checkpoint_bits,
    "checkpoint, bytes": checkpoint_bytes,
    "checkpoint, contents": checkpoint_contents,
    "checkpoint, hostile": checkpoint_hostile,
    "data-bin": data_bin,
    "prepared folder": prepared_files,
    "manifest": manifest,
    "model folder": model_folder,
    "experiment": recipe,
    "word vectors": vectors,
    "row movement": movement,
    "gradient shares": gradients,
    "record": record,
    "corpus archive": packed_corpus,
    "vocabulary": vocabulary,
    "full disk": full_disk,
    "options": options,
    "options of training": training,
    "options of generation": generation,
}
