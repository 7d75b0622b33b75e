"""What the embeddings of trained models learned: tables, pictures and JSON in one folder.

Reads checkpoints of fairseq-train (this package's models and stock lstm, lstm_lm, transformer,
transformer_lm) and word vectors of word2vec or gensim. U is an input embedding, V an output
embedding, S a tied one, P·V the output embedding behind a projection.

  python -m scripts.analyse none=runs/ptb-small/none/checkpoint_best.pt \\
      tied=runs/ptb-small/wt/checkpoint_best.pt --data runs/ptb-small/data \\
      --similarity data/wordsim --words money year --out runs/analysis

With --advise it says which tying fits a pair of languages, before anything is trained:

  python -m scripts.analyse --advise data/multi30k-en-de
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from scripts.lab.advice import Options as Advising
from scripts.lab.advice import advice_on
from scripts.lab.figures.analysis import figures
from scripts.lab.records.analysis import FILE, write_analysis
from scripts.lab.score.embeddings import Options, analyse, export, load_all, read_sets
from scripts.lab.show.markdown import page
from scripts.lab.show.pictures import draw
from tiednmt.commandline import command_parser, quiet_libraries
from tiednmt.errors import one_line_errors
from tiednmt.files import write_whole
from tiednmt.options import add_options, from_arguments


@one_line_errors
def main(argv: Sequence[str] | None = None) -> None:
    """Run the command line ``argv`` (default: the process's own arguments)."""
    parser = command_parser("python -m scripts.analyse", __doc__)
    parser.add_argument(
        "checkpoints", nargs="*", metavar="[NAME=]CHECKPOINT", help="what to analyse"
    )
    parser.add_argument("--out", type=Path, metavar="DIR", help="folder to fill")
    add_options(parser, Options)
    add_options(parser, Advising)
    args = parser.parse_args(argv)
    quiet_libraries()
    if args.advise:
        if args.checkpoints:
            parser.error("--advise goes without checkpoints")
        return print(page(advice_on(from_arguments(Advising, args))))
    if not args.checkpoints or not args.out:
        parser.error("give checkpoints and --out, or --advise")
    _analyse(args.checkpoints, from_arguments(Options, args), args.out)


def _analyse(checkpoints: Sequence[str], options: Options, out: Path) -> None:
    """Fill ``out`` with what is found of the checkpoints, and print the tables."""
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
