"""What the embeddings of trained models learned: tables, pictures and JSON in one folder.

Reads checkpoints of fairseq-train (this package's models and stock lstm, lstm_lm, transformer,
transformer_lm) and word vectors of word2vec or gensim. U is an input embedding, V an output
embedding, S a tied one, P·V the output embedding behind a projection.

  python -m scripts.analyse none=runs/ptb-small/none/checkpoint_best.pt \\
      tied=runs/ptb-small/wt/checkpoint_best.pt --data runs/ptb-small/data \\
      --similarity data/wordsim --words money year --out runs/analysis
"""

from __future__ import annotations

import argparse
import logging
from collections.abc import Sequence
from pathlib import Path

from preprocess.files import named_when_whole, read_lines, write_json, write_whole
from scripts.common import positive
from scripts.lab.records.names import file_name, parse_system
from scripts.lab.score.embeddings import Options, Subject, analyse, load, read_sets
from scripts.lab.show.analysis_page import page
from scripts.lab.show.analysis_pictures import plot
from tiednmt.analysis.geometry import PCA, PROJECTIONS
from tiednmt.analysis.word_vectors import EXPORTS
from tiednmt.errors import UserError, one_line_errors


def export(subjects: Sequence[Subject], form: str, out: Path) -> None:
    """Write every embedding to ``out`` as ``word2vec`` text or numpy's ``.npz``."""
    save, suffix = EXPORTS[form]
    for subject in subjects:
        for embedding in subject.embeddings:
            name = file_name(f"{subject.name}-{embedding.name.replace('·', '')}")
            with named_when_whole(out / (name + suffix)) as partial:
                save(embedding, partial)


def _arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m scripts.analyse",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "checkpoints", nargs="+", metavar="[NAME=]CHECKPOINT", help="what to analyse"
    )
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="folder to fill")
    parser.add_argument(
        "--data",
        type=Path,
        metavar="PREPARED",
        help="folder of preprocess.*, or a data-bin (default: where a checkpoint says)",
    )
    parser.add_argument(
        "--similarity",
        type=Path,
        nargs="+",
        default=[],
        metavar="PATH",
        help="word-similarity sets, or folders of them (python -m preprocess.wordsim)",
    )
    parser.add_argument(
        "--words", nargs="+", default=[], metavar="WORD", help="show their nearest neighbours"
    )
    parser.add_argument(
        "--map", choices=PROJECTIONS, default=PCA, help="the map's method (default: %(default)s)"
    )
    parser.add_argument(
        "--map-words",
        type=positive,
        default=Options.map_words,
        metavar="N",
        help="so many of the most frequent words on the map (default: %(default)s)",
    )
    parser.add_argument(
        "--sentences",
        type=Path,
        metavar="FILE",
        help="raw source text, a sentence a line: show the attention of its translation",
    )
    parser.add_argument("--export", choices=EXPORTS, help="write the embeddings for other tools")
    parser.add_argument("--cpu", action="store_true", help="leave the GPU alone")
    return parser.parse_args(argv)


@one_line_errors
def main(argv: Sequence[str] | None = None) -> None:
    """Run the command line ``argv`` (default: the process's own arguments)."""
    args = _arguments(argv)
    for package in ("fairseq", "tiednmt"):
        logging.getLogger(package).setLevel(logging.WARNING)
    sets = read_sets(args.similarity)
    subjects: list[Subject] = []
    for name, paths in map(parse_system, args.checkpoints):
        name = name.removesuffix("/checkpoint_best")  # which one of a run is not said of the best
        if len(paths) > 1:
            raise UserError(f"{name}: an ensemble; give its checkpoints one by one")
        if any(name == subject.name for subject in subjects):
            raise UserError(f"two checkpoints are called {name}; write NAME=CHECKPOINT")
        subjects.append(load(name, paths[0], args.data))
    options = Options(
        words=args.words,
        map_words=args.map_words,
        projection=args.map,
        sentences=list(read_lines(args.sentences)) if args.sentences else (),
        cpu=args.cpu,
    )
    record = analyse(subjects, sets, options)
    args.out.mkdir(parents=True, exist_ok=True)
    if args.export:
        export(subjects, args.export, args.out)
    plot(record, args.out)
    write_json(args.out / "analysis.json", record)
    with write_whole(args.out / "tables.md") as file:
        file.write(page(record))
    print(page(record))
    print(f"tables, pictures and analysis.json: {args.out}")


if __name__ == "__main__":
    main()
