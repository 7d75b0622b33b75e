"""Translate raw test sets with one or more systems and score them with sacreBLEU.

The raw source goes through the tokeniser and the subword model stored in the prepared folder; the
translations are detokenised and scored against the raw references. With --input, translate plain
text instead: one line out for each line in.

  python -m scripts.evaluate none=a/checkpoint_best.pt three-way=b/checkpoint_best.pt \\
      --data data/multi30k-en-de --subset test_2016_flickr
  echo "A dog runs." | python -m scripts.evaluate a/checkpoint_best.pt --data … --input -
"""

from __future__ import annotations

import argparse
import io
import logging
import os
import re
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict
from itertools import islice
from pathlib import Path
from typing import Any

import fairseq
import sacrebleu
import torch

from preprocess.files import read_lines, write_json, write_whole
from scripts.common import positive
from scripts.lab.score.bleu import compare, score
from scripts.lab.score.translate import (
    DEFAULT_SEARCH,
    MAX_LEN_A,
    MAX_LEN_B,
    Prepared,
    Search,
    System,
    load_system,
)
from tiednmt.errors import UserError, one_line_errors

LINES_AT_ONCE = 2000


def evaluate(
    systems: Sequence[System],
    prepared: Prepared,
    subsets: Sequence[str],
    output: Path | None = None,
    search: Search = DEFAULT_SEARCH,
) -> dict[str, Any]:
    """Translate and score each subset with each system; the first system is the baseline.

    Returns the record that ``--json`` writes: ``subset`` → ``systems`` (scores with ``mean``,
    ``ci`` and ``signature``, translation ``seconds``) and ``comparisons``.

    Args:
        systems: with distinct names.
        prepared: the folder of the raw sources and references.
        subsets: names of the manifest.
        output: folder for the translations, a file a system and subset.
        search: how to translate.
    """
    pairs = {subset: prepared.pairs(subset) for subset in subsets}
    record: dict[str, Any] = {
        "subset": {},
        "beam": search.beam,
        "lenpen": search.lenpen,
        "max_len": {"a": MAX_LEN_A, "b": MAX_LEN_B},
        "versions": {
            "fairseq": fairseq.__version__,
            "sacrebleu": sacrebleu.__version__,
            "torch": torch.__version__,
        },
    }
    for subset, (source, references) in pairs.items():
        rows, translations = [], {}
        for system in systems:
            started = time.perf_counter()
            hypotheses = system.translate(source, search, f"{system.name}, {subset}")
            seconds = time.perf_counter() - started
            translations[system.name] = hypotheses
            row = {
                "name": system.name,
                "checkpoint": ":".join(map(str, system.checkpoints)),
                "parameters": system.parameters,
                **{name: asdict(found) for name, found in score(hypotheses, references).items()},
                "seconds": round(seconds, 3),
                "sentences": len(source),
                "device": system.device.type,
            }
            if output:
                name = f"{file_name(system.name)}.{file_name(subset)}"
                path = output / f"{name}.{prepared.pipeline.target}"
                with write_whole(path) as file:
                    file.writelines(line + "\n" for line in hypotheses)
                row["translations"] = str(path)
            rows.append(row)
        comparisons = compare(translations, references) if len(systems) > 1 else []
        record["subset"][subset] = {
            "systems": rows,
            "comparisons": [asdict(comparison) for comparison in comparisons],
        }
    return record


def report(record: dict[str, Any]) -> str:
    """The record as text: a table a subset, the signatures and the comparisons."""
    blocks = []
    for subset, result in record["subset"].items():
        head = ["system", "parameters", "BLEU", "chrF", "TER", "seconds", "sentences/s"]
        rows = [
            [
                row["name"],
                f"{row['parameters']:,}",
                *(f"{row[metric]['score']:.2f}" for metric in ("bleu", "chrf", "ter")),
                f"{row['seconds']:.1f}",
                f"{row['sentences'] / max(row['seconds'], 0.001):.1f}",
            ]
            for row in result["systems"]
        ]
        first = result["systems"][0]
        blocks.append(
            f"{subset}: {first['sentences']:,} sentences, beam {record['beam']}, "
            f"length penalty {record['lenpen']}\n{_columns([head, *rows])}"
        )
        if result["comparisons"]:
            head = ["system", "metric", "difference", "mean", "95% interval", "p"]
            rows = [
                [
                    c["system"],
                    NAMES[c["metric"]],
                    f"{c['delta']:+.2f}",
                    f"{c['mean']:.2f}",
                    "{:.2f} to {:.2f}".format(*c["ci"]),
                    f"{c['p_value']:.4f}",
                ]
                for c in result["comparisons"]
            ]
            baseline = result["comparisons"][0]["baseline"]
            blocks.append(
                f"against {baseline}, paired bootstrap (for TER, less is better)\n"
                f"{_columns([head, *rows])}"
            )
        blocks.append("\n".join(f"{NAMES[m]}: {first[m]['signature']}" for m in NAMES))
    return "\n\n".join(blocks)


NAMES = {"bleu": "BLEU", "chrf": "chrF", "ter": "TER"}


def _columns(rows: Sequence[Sequence[str]]) -> str:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join(
        "  ".join(
            cell.rjust(width) if i else cell.ljust(width)
            for i, (cell, width) in enumerate(zip(row, widths, strict=True))
        )
        for row in rows
    )


def file_name(name: str) -> str:
    """A system's name without what a file's name should not hold."""
    return re.sub(r"[^\w.+-]+", "-", name)


def parse_system(text: str) -> tuple[str, list[Path]]:
    """``[NAME=]CHECKPOINT[:CHECKPOINT…]`` → name and paths.

    The name is by default that of the first checkpoint with its folder: ``none/checkpoint_best``.
    """
    name, equals, paths = text.partition("=")
    if not equals or "/" in name:
        name, paths = "", text
    checkpoints = [Path(path) for path in paths.split(":")]
    first = checkpoints[0].absolute()
    return name or f"{first.parent.name}/{first.stem}", checkpoints


def translate_lines(system: System, source: str, search: Search) -> None:
    """Translate a file, or stdin for ``-``, to stdout; as many lines out as in.

    Lines are answered one by one at a terminal, else some thousands at a time.
    """
    stdin = source == "-"
    lines = read_lines(Path("/dev/stdin" if stdin else source))
    at_once = 1 if stdin and sys.stdin.isatty() else LINES_AT_ONCE
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(encoding="utf-8", newline="\n")
    while chunk := list(islice(lines, at_once)):
        for translation in system.translate(chunk, search):
            print(translation)
        sys.stdout.flush()


def _require_writable(folder: Path) -> None:
    """Fail before hours of work and not after."""
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryFile(dir=folder):
        pass


def _arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m scripts.evaluate",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "systems",
        nargs="+",
        metavar="[NAME=]CHECKPOINT[:CHECKPOINT…]",
        help="a system; checkpoints joined by : are an ensemble; the first system is the baseline",
    )
    parser.add_argument(
        "--data", type=Path, required=True, metavar="PREPARED", help="folder of preprocess.*"
    )
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument(
        "--subset",
        action="append",
        metavar="NAME",
        help="test set to score, of the folder or of sacreBLEU (wmt14/full); may be repeated",
    )
    what.add_argument("--input", metavar="FILE", help="plain text to translate; - reads stdin")
    parser.add_argument(
        "--beam", type=positive, default=Search.beam, metavar="N", help="default %(default)s"
    )
    parser.add_argument(
        "--lenpen",
        type=float,
        default=Search.lenpen,
        help="above 1.0 favours long output (default %(default)s)",
    )
    parser.add_argument(
        "--max-tokens",
        type=positive,
        default=Search.max_tokens,
        metavar="N",
        help="source units a batch (default %(default)s)",
    )
    parser.add_argument("--max-sentences", type=positive, metavar="N", help="sentences a batch")
    parser.add_argument("--cpu", action="store_true", help="leave the GPU alone")
    parser.add_argument(
        "--int8", action="store_true", help="decode with weights of 8 bits, on the CPU"
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="write scores as JSON")
    parser.add_argument(
        "--output", type=Path, metavar="DIR", help="write translations, a file a system and subset"
    )
    args = parser.parse_args(argv)
    if args.input is not None:
        if len(args.systems) > 1:
            parser.error("--input translates with one system")
        if args.json or args.output:
            parser.error("--json and --output go with --subset; --input writes to stdout")
    return args


@one_line_errors
def main(argv: Sequence[str] | None = None) -> None:
    """Run the command line ``argv`` (default: the process's own arguments)."""
    args = _arguments(argv)
    for package in ("fairseq", "tiednmt"):
        logging.getLogger(package).setLevel(logging.WARNING)
    specifications = [parse_system(text) for text in args.systems]
    names = [file_name(name) for name, _ in specifications]
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice:
        raise UserError(f"two systems are called {twice}; write NAME=CHECKPOINT to tell them apart")
    if args.json:
        if args.json.is_dir():
            raise UserError(f"--json {args.json}: a folder; give the name of a file")
        _require_writable(args.json.parent)
    if args.output:
        _require_writable(args.output)
    prepared = Prepared(args.data)
    for subset in args.subset or ():
        prepared.pairs(subset)
    systems = [
        load_system(name, paths, prepared, args.cpu, int8=args.int8)
        for name, paths in specifications
    ]
    search = Search(args.beam, args.lenpen, args.max_tokens, args.max_sentences)
    if args.input is not None:
        try:
            translate_lines(systems[0], args.input, search)
        except BrokenPipeError:  # the reader has seen enough
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return
    record = evaluate(systems, prepared, args.subset, args.output, search)
    if args.json:
        write_json(args.json, record)
    print(report(record))


if __name__ == "__main__":
    main()
