"""A small English–German corpus written by a grammar of our own, for trying things out offline.

The sentences are grammatical and real German morphology and word order are in them, but their
world is small and a word has one translation only: scores on them say that training works, not
how good a model is.
"""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import ExitStack
from functools import partial
from itertools import islice
from pathlib import Path

from tqdm import tqdm

from preprocess.command import parser_of
from preprocess.corpus import Options, corpus_of_files
from preprocess.demo.grammar import sentence_pairs
from preprocess.options import add_options
from preprocess.prepare import prepare
from preprocess.stages import Stage, Stages, claim, corpus_key, one_writer
from tiednmt.errors import UserError, one_line_errors
from tiednmt.files import write_whole
from tiednmt.options import Range, seed

SOURCE, TARGET = "en", "de"
PAIRS = 20_000
LEAST_PAIRS = 100
MERGES = 2000  # gives most words of so small a lexicon a unit of their own
HELD_OUT_SHARE, HELD_OUT_MOST = 20, 1000  # one of 20 pairs, 1,000 at most


Split = list[tuple[str, str]]
Files = dict[str, dict[str, Path]]  # subset → language → file


def generate(seed: int, pairs: int) -> dict[str, Split]:
    """``pairs`` training pairs, and a valid and a test set of a twentieth (1,000 at most) each.

    No English and no German sentence comes twice in all three, and the words of the held-out
    sentences are all in the training set.

    Raises:
        UserError: where ``pairs`` is below 100.
    """
    if pairs < LEAST_PAIRS:
        raise UserError(f"--pairs {pairs}: must be {LEAST_PAIRS} or more")
    sentences = sentence_pairs(seed)
    progress = tqdm(islice(sentences, pairs), "generate", pairs, unit=" pairs", disable=None)
    train = list(progress)
    known = (_words(source for source, _ in train), _words(target for _, target in train))
    held_out = (
        (source, target)
        for source, target in sentences
        if _words([source]) <= known[0] and _words([target]) <= known[1]
    )
    size = min(HELD_OUT_MOST, pairs // HELD_OUT_SHARE)
    return {
        "train": train,
        "valid": list(islice(held_out, size)),
        "test": list(islice(held_out, size)),
    }


def _words(sentences: Iterable[str]) -> set[str]:
    return {word.rstrip(".,?!") for sentence in sentences for word in sentence.split()}


def write_raw(files_of: Files, seed: int, pairs: int) -> None:
    """Generate the text and write the corpus' files."""
    for subset, split in generate(seed, pairs).items():
        with ExitStack() as stack:
            paths = files_of[subset]
            files = [stack.enter_context(write_whole(paths[code])) for code in (SOURCE, TARGET)]
            for pair in split:
                for file, sentence in zip(files, pair, strict=True):
                    file.write(sentence + "\n")


def files_in(folder: Path) -> Files:
    """Where the raw files of the demo corpus lie in ``folder``."""
    return {
        subset: {code: folder / f"{subset}.{code}" for code in (SOURCE, TARGET)}
        for subset in ("train", "valid", "test")
    }


@one_line_errors
def main(argv: list[str] | None = None) -> None:
    """The command line."""
    parser = parser_of("demo", __doc__)
    parser.add_argument(
        "--seed",
        type=seed,
        default=1,
        metavar="N",
        help="seed of the corpus (default: 1)",
    )
    parser.add_argument(
        "--pairs",
        type=int,
        default=PAIRS,
        metavar="N",
        help=f"training pairs, {LEAST_PAIRS} or more (default: %(default)s)",
    )
    add_options(parser, Options)
    parser.set_defaults(merges=MERGES)
    args = parser.parse_args(argv)
    options = Options.from_arguments(args)
    if fault := Range(LEAST_PAIRS, 10**8).fault(args.pairs):
        raise UserError(f"--pairs {args.pairs}: {fault}")
    claim(args.dest, corpus_key("demo", SOURCE, TARGET))
    folder = args.dest / "generated"
    files = files_in(folder)
    generate = Stage(
        "generate",
        partial(write_raw, files, args.seed, args.pairs),
        inputs=sorted((Path(__file__).parent / "grammar").glob("*.py")),
        outputs=[path for sides in files.values() for path in sides.values()],
        options={"seed": args.seed, "pairs": args.pairs},
    )
    with one_writer(args.dest):
        Stages(folder).run(generate)
    prepare(corpus_of_files("demo", SOURCE, TARGET, files), args.dest, options)
