r"""Translate raw test sets with one or more systems, score them with sacreBLEU and compare them.

A system is a model folder (tiednmt export), or a checkpoint of fairseq-train. The raw source goes
through the tokeniser and the subword model that it was trained with; the translations are
detokenised and scored against the raw references. With --input, translate plain text instead: one
line out for each line in.

  {command} none=a/checkpoint_best.pt three-way=b/checkpoint_best.pt \
      --data data/multi30k-en-de --subset test_2016_flickr
  {command} none=a1.pt,a2.pt,a3.pt three-way=b1.pt,b2.pt,b3.pt --data …
  echo "A dog runs." | {command} a/checkpoint_best.pt --data … --input -
"""

from __future__ import annotations

from collections.abc import Sequence

from tiednmt.commandline import command_parser, quiet_libraries
from tiednmt.errors import one_line_errors
from tiednmt.options import add_options, from_arguments
from tiednmt.translation.settings import Evaluation, ScoringOptions, Search


@one_line_errors
def main(argv: Sequence[str] | None = None, command: str = "tiednmt evaluate") -> None:
    """Run the command line ``argv`` (default: the process's own arguments)."""
    parser = command_parser(command, (__doc__ or "").replace("{command}", command))
    parser.add_argument(
        "systems",
        nargs="+",
        metavar="[NAME=]MODEL[:MODEL…][,MODEL…]",
        help="a system; commas separate its runs with several seeds, and models "
        "joined by : form an ensemble",
    )
    for each in (Evaluation, Search, ScoringOptions):
        add_options(parser, each)
    args = parser.parse_args(argv)
    options, search = from_arguments(Evaluation, args), from_arguments(Search, args)
    scoring = from_arguments(ScoringOptions, args)
    quiet_libraries()

    from tiednmt.files import write_json
    from tiednmt.translation.evaluation import evaluate, load_systems
    from tiednmt.translation.prepared import Prepared
    from tiednmt.translation.report import scores
    from tiednmt.translation.streams import translate_to_stdout

    prepared = Prepared(options.data)
    systems = load_systems(args.systems, options, prepared, scoring)
    if options.input is not None:
        return translate_to_stdout(systems[0], options.input, **vars(search))
    record = evaluate(
        systems, prepared, options.subset, options.output, search, options.baseline, scoring
    )
    if options.json:
        write_json(options.json, record)
    print(scores(record))


if __name__ == "__main__":
    main()
