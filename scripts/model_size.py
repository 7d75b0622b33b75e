"""How large a model is under each tying, from vocabulary sizes alone."""

from __future__ import annotations

import argparse
import json
from argparse import Namespace
from pathlib import Path

import torch
from fairseq.data import Dictionary
from fairseq.models import ARCH_CONFIG_REGISTRY, ARCH_MODEL_NAME_REGISTRY
from omegaconf import OmegaConf

from preprocess.manifest import read_manifest
from tiednmt.errors import UserError, one_line_errors
from tiednmt.models.tied_gru import TiedGRUConfig, TiedGRUModel
from tiednmt.tying import THREE_WAY, TYINGS, TieMap, tie_map

ARCHITECTURES = [a for a, model in ARCH_MODEL_NAME_REGISTRY.items() if model == "tied_gru"]


def model_size(
    architecture: str, tying: str, source: int, target: int, projection: bool = False
) -> TieMap:
    """The tie map of ``architecture`` for vocabularies of these sizes; nothing is allocated."""
    overrides = Namespace()
    ARCH_CONFIG_REGISTRY[architecture](overrides)
    config = OmegaConf.create(
        {
            "model": {
                **vars(TiedGRUConfig()),
                **vars(overrides),
                "tying": tying,
                "projection": projection,
            }
        }
    )
    source_dictionary = _dictionary("source", source)
    same = tying == THREE_WAY
    target_dictionary = source_dictionary if same else _dictionary("target", target)
    with torch.device("meta"):
        model = TiedGRUModel.build(config.model, source_dictionary, target_dictionary)
    return tie_map(model.embeddings, model)


def _dictionary(option: str, types: int) -> Dictionary:
    dictionary = Dictionary()
    if types < len(dictionary):
        raise UserError(f"--{option} {types}: at least the {len(dictionary)} special types")
    for index in range(len(dictionary), types):
        dictionary.add_symbol(f"{option}{index}")
    return dictionary


def _sizes(parser: argparse.ArgumentParser, args: Namespace) -> tuple[int, int, int]:
    """Types of the source, the target and the joint vocabulary."""
    sizes = args.source, args.target, args.joint
    if args.data is None:
        if None in sizes:
            parser.error("--source, --target and --joint are needed, or --data alone")
        return sizes
    if sizes != (None, None, None):
        parser.error("--data goes without --source, --target and --joint")
    vocabulary = read_manifest(args.data)["vocabulary"]
    return vocabulary["source"], vocabulary["target"], vocabulary["joint"]


@one_line_errors
def main() -> None:
    """Print the tie map of every tying."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--arch", choices=ARCHITECTURES, default="tied_gru_press_wolf")
    parser.add_argument(
        "--data", type=Path, metavar="DIR", help="take the vocabulary of this prepared folder"
    )
    parser.add_argument("--source", type=int, help="source types, specials included")
    parser.add_argument("--target", type=int, help="target types, specials included")
    parser.add_argument("--joint", type=int, help="types of the joint vocabulary, for three-way")
    parser.add_argument("--projection", action="store_true", help="with a matrix P")
    parser.add_argument("--json", action="store_true", help="print the totals as JSON")
    args = parser.parse_args()
    source, target, joint = _sizes(parser, args)
    maps = {}
    for tying in TYINGS:
        sizes = (joint, joint) if tying == THREE_WAY else (source, target)
        maps[tying] = model_size(args.arch, tying, *sizes, args.projection)
    if args.json:
        print(json.dumps({tying: {"total": tie.total} for tying, tie in maps.items()}, indent=1))
        return
    whole = maps[TYINGS[0]].total
    for tying, tie in maps.items():
        print(f"{tying}: {tie.total / whole:.1%} of {TYINGS[0]}\n{tie}\n")


if __name__ == "__main__":
    main()
