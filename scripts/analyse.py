"""What the embeddings of trained models learned: tables, pictures and JSON in one folder.

Reads checkpoints of fairseq-train (this package's models and stock lstm, lstm_lm, transformer,
transformer_lm) and word vectors of word2vec or gensim. U is an input embedding, V an output
embedding, S a tied one, P·V the output embedding behind a projection.

  python -m scripts.analyse none=runs/ptb-small/none/checkpoint_best.pt \\
      tied=runs/ptb-small/wt/checkpoint_best.pt --data runs/ptb-small/data \\
      --similarity data/wordsim --words money year --out runs/analysis
"""

from __future__ import annotations

from collections.abc import Sequence

from preprocess.files import write_whole
from scripts.lab.commandline import command_parser, quiet_libraries
from scripts.lab.figures.analysis import figures
from scripts.lab.options import add_options, from_arguments
from scripts.lab.records.analysis import FILE, write_analysis
from scripts.lab.score.embeddings import Options, analyse, export, load_all, read_sets
from scripts.lab.show.markdown import page
from scripts.lab.show.pictures import draw
from tiednmt.errors import one_line_errors


@one_line_errors
def main(argv: Sequence[str] | None = None) -> None:
    """Run the command line ``argv`` (default: the process's own arguments)."""
    parser = command_parser("python -m scripts.analyse", __doc__)
    parser.add_argument(
        "checkpoints", nargs="+", metavar="[NAME=]CHECKPOINT", help="what to analyse"
    )
    add_options(parser, Options)
    args = parser.parse_args(argv)
    quiet_libraries()
    options = from_arguments(Options, args)
    sets = read_sets(options.similarity)
    subjects = load_all(args.checkpoints, options.data)
    record = analyse(subjects, sets, options)
    options.out.mkdir(parents=True, exist_ok=True)
    if options.export:
        export(subjects, options.export, options.out)
    shown = figures(record)
    draw(shown.pictures, options.out)
    write_analysis(options.out / FILE, record)
    with write_whole(options.out / "tables.md") as file:
        file.write(page(shown))
    print(page(shown))
    print(f"tables, pictures and {FILE}: {options.out}")


if __name__ == "__main__":
    main()
