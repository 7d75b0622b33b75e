r"""Show what the embeddings of trained models learned: tables, pictures and JSON in a folder.

Reads checkpoints of fairseq-train (this package's models and stock lstm, lstm_lm, transformer,
transformer_lm) and word vectors of word2vec or gensim. U is an input embedding, V an output
embedding, S a tied one, P·V the output embedding behind a projection.

  {command} none=runs/ptb-small/none/checkpoint_best.pt \
      tied=runs/ptb-small/wt/checkpoint_best.pt --data runs/ptb-small/data \
      --similarity data/wordsim --words money year --out runs/analysis

Needs gensim and matplotlib: pip install gensim matplotlib.
"""

from __future__ import annotations

from argparse import ArgumentParser
from collections.abc import Sequence
from pathlib import Path

from tiednmt.commandline import command_parser, quiet_libraries
from tiednmt.embeddings.settings import Options
from tiednmt.errors import one_line_errors
from tiednmt.options import add_options, from_arguments
from tiednmt.packages import optional_modules


@one_line_errors
def main(argv: Sequence[str] | None = None) -> None:
    """Run the command line ``argv`` (default: the process's own arguments)."""
    args = parser_of("tiednmt analyse").parse_args(argv)
    run(args.checkpoints, from_arguments(Options, args), args.out)


def parser_of(command: str, more: str = "") -> ArgumentParser:
    """The options; ``more`` tells of another use of the command, which takes no checkpoints."""
    parser = command_parser(command, (__doc__ or "").replace("{command}", command) + more)
    parser.add_argument(
        "checkpoints",
        nargs="*" if more else "+",
        metavar="[NAME=]CHECKPOINT",
        help="checkpoint or word vectors, with a name for the tables",
    )
    parser.add_argument(
        *("--out", "--output"), type=Path, required=not more, metavar="DIR", help="folder to fill"
    )
    add_options(parser, Options)
    return parser


def run(checkpoints: Sequence[str], options: Options, out: Path) -> None:
    """Analyse the checkpoints: write everything to ``out``, and print the tables.

    Raises:
        UserError: a package is not installed, or a checkpoint cannot be read.
    """
    quiet_libraries()
    optional_modules("tiednmt analyse", "gensim", "matplotlib")

    from tiednmt.embeddings.analyse import analyse, export, load_all, read_sets
    from tiednmt.embeddings.figures import figures
    from tiednmt.embeddings.record import FILE, write_analysis
    from tiednmt.files import write_whole
    from tiednmt.show.markdown import page
    from tiednmt.show.pictures import draw

    sets = read_sets(options.similarity)
    subjects = load_all(checkpoints, options.data)
    record = analyse(subjects, sets, options)
    out.mkdir(parents=True, exist_ok=True)
    if options.export:
        export(subjects, options.export, out)
    shown = figures(record)
    draw(shown.pictures, out)
    write_analysis(out / FILE, record)
    with write_whole(out / "tables.md") as file:
        file.write(page(shown))
    print(page(shown))
    print(f"tables, pictures and {FILE}: {out}")


if __name__ == "__main__":
    main()
