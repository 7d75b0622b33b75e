"""Translate raw test sets with one or more systems, score them with sacreBLEU and compare them.

The raw source goes through the tokeniser and the subword model stored in the prepared folder; the
translations are detokenised and scored against the raw references. With --input, translate plain
text instead: one line out for each line in.

  python -m scripts.evaluate none=a/checkpoint_best.pt three-way=b/checkpoint_best.pt \\
      --data data/multi30k-en-de --subset test_2016_flickr
  python -m scripts.evaluate none=a1.pt,a2.pt,a3.pt three-way=b1.pt,b2.pt,b3.pt --data …
  echo "A dog runs." | python -m scripts.evaluate a/checkpoint_best.pt --data … --input -
"""

from __future__ import annotations

from collections.abc import Sequence

from preprocess.files import write_json
from scripts.lab.commandline import command_parser, quiet_libraries
from scripts.lab.options import add_options, from_arguments
from scripts.lab.score.evaluate import Options, ScoringOptions, evaluate, load_systems
from scripts.lab.score.prepared import Prepared
from scripts.lab.score.translate import Search, translate_to_stdout
from scripts.lab.show.plain_text import scores
from tiednmt.errors import one_line_errors


@one_line_errors
def main(argv: Sequence[str] | None = None) -> None:
    """Run the command line ``argv`` (default: the process's own arguments)."""
    parser = command_parser("python -m scripts.evaluate", __doc__)
    parser.add_argument(
        "systems",
        nargs="+",
        metavar="[NAME=]CHECKPOINT[:CHECKPOINT…][,CHECKPOINT…]",
        help="a system; after commas further runs of it, trained with other seeds; checkpoints "
        "joined by : are an ensemble",
    )
    for each in (Options, Search, ScoringOptions):
        add_options(parser, each)
    args = parser.parse_args(argv)
    quiet_libraries()
    options, search = from_arguments(Options, args), from_arguments(Search, args)
    scoring = from_arguments(ScoringOptions, args)
    prepared = Prepared(options.data)
    systems = load_systems(args.systems, options, prepared, scoring)
    if options.input is not None:
        return translate_to_stdout(systems[0], options.input, search)
    record = evaluate(
        systems, prepared, options.subset, options.output, search, options.baseline, scoring
    )
    if options.json:
        write_json(options.json, record)
    print(scores(record))


if __name__ == "__main__":
    main()
