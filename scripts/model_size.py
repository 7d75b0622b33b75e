"""Show how large a model is under each tying, given only vocabulary sizes.

python -m scripts.model_size --source 87000 --target 92000 --joint 94000
python -m scripts.model_size --arch tied_lstm_lm_large --target 10000
python -m scripts.model_size --data data/wmt14-en-fr
python -m scripts.model_size … --picture docs/images/tie-map   # drawn, as .svg and .png
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping, Sequence
from pathlib import Path

from scripts.lab.architectures import (
    VocabularySizes,
    is_language_model,
    model_sizes,
    tied_architectures,
)
from tiednmt.commandline import command_parser
from tiednmt.errors import one_line_errors
from tiednmt.options import positive
from tiednmt.tying import TieMap


def _sizes(parser: argparse.ArgumentParser, args: argparse.Namespace) -> VocabularySizes:
    given = {"target": args.target, "source": args.source, "joint": args.joint}
    needed = ["target"] if is_language_model(args.arch) else list(given)
    if args.data is not None:
        if any(given.values()):
            parser.error("--data replaces --source, --target and --joint")
        return VocabularySizes.of_prepared(args.data, args.arch)
    if [name for name, size in given.items() if size is not None] != needed:
        parser.error(f"{args.arch} takes --{', --'.join(needed)} and no other, or --data alone")
    return VocabularySizes(**given)


def _draw(maps: Mapping[str, TieMap], path: Path) -> None:
    # matplotlib takes a while to load, and sizes alone do without
    from tiednmt.show.figures import Picture
    from tiednmt.show.parts import tie_bars
    from tiednmt.show.pictures import draw

    path.parent.mkdir(parents=True, exist_ok=True)
    draw([Picture(path.name, [tie_bars(maps)])], path.parent)


@one_line_errors
def main(argv: Sequence[str] | None = None) -> None:
    """Print the tie map of every tying."""
    parser = command_parser("python -m scripts.model_size", __doc__)
    parser.add_argument(
        "--arch", choices=tied_architectures(), default="tied_gru_press_wolf", help="architecture"
    )
    parser.add_argument(
        "--data", type=Path, metavar="DIR", help="prepared folder to take the sizes from"
    )
    for side in ("source", "target", "joint"):
        parser.add_argument(f"--{side}", type=positive, metavar="N", help=f"{side} vocabulary size")
    parser.add_argument("--projection", action="store_true", help="include a matrix P")
    parser.add_argument(
        "--picture", type=Path, metavar="PATH", help="draw the tie maps as PATH.svg and PATH.png"
    )
    parser.add_argument("--json", action="store_true", help="print the totals as JSON")
    args = parser.parse_args(argv)
    maps = model_sizes(args.arch, _sizes(parser, args), projection=args.projection)
    if args.picture:
        _draw(maps, args.picture)
    if args.json:
        return print(json.dumps({t: {"total": each.total} for t, each in maps.items()}, indent=1))
    for tying, each in maps.items():
        share = each.total / maps["none"].total
        print(f"{tying}: {share:.1%} of none\n{each}\n  {each.signature}\n")


if __name__ == "__main__":
    main()
