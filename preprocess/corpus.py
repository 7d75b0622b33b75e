"""A parallel corpus, from raw files to everything that training and scoring need.

:func:`prepare` runs the stages; each is a function of its own. A corpus is a file beside this one
that says where its text comes from and calls it.
"""

from __future__ import annotations

import argparse
import os
import shutil
import sys
from collections import Counter
from contextlib import ExitStack, nullcontext, redirect_stderr
from dataclasses import dataclass
from functools import partial
from io import BytesIO, StringIO
from pathlib import Path

from preprocess.files import named_when_whole, read_lines, write_whole
from preprocess.manifest import package_version, write_manifest
from preprocess.options import CommonOptions, add_common_arguments
from preprocess.parallel import map_in_order
from preprocess.pipeline import SUBWORD_METHODS, TextPipeline
from preprocess.stages import Stages
from preprocess.vocabulary import PADDING_FACTOR, count_types, report
from tiednmt.errors import UserError

Pair = tuple[str, str]


@dataclass(frozen=True)
class Corpus:
    """Where the raw text of a language pair lies.

    ``files``: subset → language → path, plain or ``.gz``. ``train`` and ``valid`` must be there;
    every other subset is a test set, in the order given.
    """

    name: str
    source: str
    target: str
    files: dict[str, dict[str, Path]]


@dataclass(frozen=True)
class Options(CommonOptions):
    """How a corpus is prepared. The defaults suit a corpus of some tens of thousands of pairs.

    8,000 merges give a joint vocabulary of about as many types, each seen often enough to learn;
    a larger corpus affords 30,000 and more. A unit seen fewer than ``vocabulary_threshold`` times
    in a language is split further there: it is mostly a word of the other language, and its
    embedding would be trained on next to nothing. ``max_length`` counts tokens before subword
    segmentation, ``max_ratio`` bounds the longer side of a pair over the shorter.
    """

    bpe: str = "subword-nmt"
    merges: int = 8000
    vocabulary_threshold: int = 5
    max_length: int = 100
    max_ratio: float = 5.0

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.bpe not in SUBWORD_METHODS:
            raise UserError(f"--bpe {self.bpe}: choose one of {', '.join(SUBWORD_METHODS)}")
        self.require_at_least(1, "merges", "max_length", "max_ratio")
        self.require_at_least(0, "vocabulary_threshold")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options that every corpus command has."""
    add_common_arguments(parser)
    parser.add_argument(
        "--bpe",
        default=Options.bpe,
        metavar="METHOD",
        help=f"subword segmentation: {' or '.join(SUBWORD_METHODS)} (default: %(default)s)",
    )
    parser.add_argument(
        "--merges",
        type=int,
        default=Options.merges,
        metavar="N",
        help="joint merges, or types with sentencepiece (default: %(default)s)",
    )
    parser.add_argument(
        "--vocabulary-threshold",
        type=int,
        default=Options.vocabulary_threshold,
        metavar="N",
        help="split units a language has fewer times than this (default: %(default)s)",
    )
    parser.add_argument(
        "--max-length",
        type=int,
        default=Options.max_length,
        metavar="N",
        help="drop training pairs with more tokens on a side (default: %(default)s)",
    )
    parser.add_argument(
        "--max-ratio",
        type=float,
        default=Options.max_ratio,
        metavar="R",
        help="drop training pairs whose lengths differ by more (default: %(default)s)",
    )


def options_from(args: argparse.Namespace) -> Options:
    """The options as given on the command line.

    :raises UserError: where one is out of range.
    """
    return Options(
        bpe=args.bpe,
        merges=args.merges,
        vocabulary_threshold=args.vocabulary_threshold,
        max_length=args.max_length,
        max_ratio=args.max_ratio,
        workers=args.workers,
    )


def prepare(corpus: Corpus, dest: Path, options: Options) -> None:
    """Fill ``dest`` from the raw files and print the vocabulary report.

    Stages that are up to date are skipped; killed at any moment and called again, it leaves the
    same bytes.

    :raises UserError: where a file is bad, the folder cannot be written or nothing is left to
        train on.
    """
    _check(corpus, dest)
    stages = Stages(dest)
    languages = (corpus.source, corpus.target)
    subsets = list(corpus.files)
    pipeline = TextPipeline(
        corpus.source, corpus.target, options.bpe, dest / "bpe", options.vocabulary_threshold
    )

    def files(kind: str, *names: str) -> list[Path]:
        return [dest / kind / f"{name}.{language}" for name in names for language in languages]

    counts: dict[str, dict[str, int]] = {}
    for subset in subsets:
        originals = [corpus.files[subset][language] for language in languages]
        stages.run(
            f"read {subset}",
            partial(read_pair, originals, files("raw", subset)),
            inputs=originals,
            outputs=files("raw", subset),
            options={},
        )
        limits = {"max_length": options.max_length, "max_ratio": options.max_ratio}
        counts[subset] = stages.run(
            f"tokenise {subset}",
            partial(
                tokenise_pair,
                files("raw", subset),
                files("tokenised", subset),
                pipeline,
                options,
                filtered=subset == "train",
            ),
            inputs=files("raw", subset),
            outputs=files("tokenised", subset),
            options={
                "tokeniser": options.bpe,
                "version": package_version("sacremoses"),
                **(limits if subset == "train" else {}),
            },
        )
    if counts["train"]["kept"] == 0:
        raise UserError(
            f"{corpus.name}: no training pair is left after filtering; look at --max-length"
            " and --max-ratio"
        )
    train = files("tokenised", "train")
    if options.bpe == "subword-nmt":
        model = [dest / "bpe" / "codes", *(dest / "bpe" / f"vocab.{code}" for code in languages)]
        learn = partial(learn_subword_nmt, train, dest / "bpe", languages, options.merges)
    else:
        model = [dest / "bpe" / "sentencepiece.model"]
        learn = partial(learn_sentencepiece, train, model[0], options)
    stages.run(
        "learn",
        learn,
        inputs=train,
        outputs=model,
        options={
            "bpe": options.bpe,
            "merges": options.merges,
            "version": package_version(options.bpe),
        },
    )
    for subset in subsets:
        stages.run(
            f"apply {subset}",
            partial(
                apply_pair, files("tokenised", subset), files("bpe", subset), pipeline, options
            ),
            inputs=files("tokenised", subset) + model,
            outputs=files("bpe", subset),
            options={"threshold": options.vocabulary_threshold},
        )
    splits = split_names(subsets)
    stages.run(
        "binarise",
        partial(binarise, dest, corpus, splits, options.processes),
        inputs=files("bpe", *subsets),
        outputs=_data_bin_files(dest / "data-bin", corpus, splits),
        options={"splits": splits, "version": package_version("fairseq")},
    )
    stages.finish()
    vocabulary = count_types(*files("bpe", "train"))
    print(report(corpus.source, corpus.target, vocabulary))
    write_manifest(
        stages,
        {
            "corpus": corpus.name,
            "source": corpus.source,
            "target": corpus.target,
            "subsets": {name: split for name, split in splits.items() if name != "train"},
            "options": {
                "bpe": options.bpe,
                "merges": options.merges,
                "vocabulary_threshold": options.vocabulary_threshold,
                "max_length": options.max_length,
                "max_ratio": options.max_ratio,
            },
            "counts": counts,
            "vocabulary": vocabulary,
        },
        packages=("fairseq", "sacremoses", "subword-nmt", "sentencepiece"),
    )


def _check(corpus: Corpus, dest: Path) -> None:
    if "," in str(dest):
        raise UserError(f"{dest}: fairseq-preprocess takes no comma in a path; rename --dest")
    for subset in ("train", "valid"):
        if subset not in corpus.files:
            raise UserError(f"{corpus.name}: the subset {subset} is missing")
    for paths in corpus.files.values():
        for path in paths.values():
            if not path.exists():
                raise UserError(f"{path}: no such file")


def split_names(subsets: list[str]) -> dict[str, str]:
    """Subset → the name fairseq gives it in data-bin: train, valid, test, test1, …"""
    tests = [subset for subset in subsets if subset not in ("train", "valid")]
    names = {subset: f"test{number or ''}" for number, subset in enumerate(tests)}
    return {subset: names.get(subset, subset) for subset in subsets}


def read_pair(originals: list[Path], outputs: list[Path]) -> None:
    """Decode both sides strictly and write them line by line.

    :raises UserError: where a side is bad or one has more lines than the other.
    """
    lines = [read_lines(path) for path in originals]
    numbers = [0, 0]
    with ExitStack() as stack:
        files = [stack.enter_context(write_whole(path)) for path in outputs]
        for side, (side_lines, file) in enumerate(zip(lines, files, strict=True)):
            for line in side_lines:
                file.write(line + "\n")
                numbers[side] += 1
        if numbers[0] != numbers[1]:
            raise UserError(
                f"{originals[0]} has {numbers[0]} lines and {originals[1]} has {numbers[1]}:"
                " line N of one must be the translation of line N of the other"
            )


def tokenise_pair(
    inputs: list[Path],
    outputs: list[Path],
    pipeline: TextPipeline,
    options: Options,
    filtered: bool,
) -> dict[str, int]:
    """Tokenise both sides; where ``filtered``, drop pairs that would harm training.

    Returns pairs ``read`` and ``kept`` and, where ``filtered``, dropped for each reason.
    """
    counts = {"read": 0}
    if filtered:
        counts.update(empty=0, over_long=0, ratio=0)
    counts["kept"] = 0
    with ExitStack() as stack:
        files = [stack.enter_context(write_whole(path)) for path in outputs]
        pairs = zip(*(read_lines(path) for path in inputs), strict=True)
        tokenise = partial(_tokenise_both, pipeline)
        for pair in map_in_order(tokenise, pairs, options.processes, "tokenise", "pairs"):
            counts["read"] += 1
            fault = pair_fault(pair, options) if filtered else None
            counts[fault or "kept"] += 1
            if fault is None:
                for file, line in zip(files, pair, strict=True):
                    file.write(line + "\n")
    return counts


def pair_fault(pair: Pair, options: Options) -> str | None:
    """Why a pair of tokenised lines is not to be trained on; None where it is."""
    shorter, longer = sorted(len(line.split()) for line in pair)
    if shorter == 0:
        return "empty"
    if longer > options.max_length:
        return "over_long"
    if longer > options.max_ratio * shorter:
        return "ratio"
    return None


def learn_subword_nmt(
    inputs: list[Path], folder: Path, languages: tuple[str, str], merges: int
) -> None:
    """Learn BPE codes on both sides at once, and count each side's units for the threshold."""
    from subword_nmt.apply_bpe import BPE
    from subword_nmt.learn_bpe import learn_bpe

    words = [Counter(word for line in read_lines(path) for word in line.split()) for path in inputs]
    codes = StringIO()
    try:
        with nullcontext() if sys.stderr.isatty() else redirect_stderr(StringIO()):  # its progress
            learn_bpe(
                [f"{word} {count}" for word, count in sorted((words[0] + words[1]).items())],
                codes,
                merges,
                is_dict=True,
            )
    except ValueError:
        # max() of nothing: pairs of symbols ran out, which the library meets only in tiny text.
        raise UserError(
            f"{inputs[0]} and {inputs[1]}: too little text for --merges {merges}; ask for fewer"
        ) from None
    segmenter = BPE(codes)
    for side_words, language in zip(words, languages, strict=True):
        units: Counter[str] = Counter()
        for word, count in side_words.items():
            for unit in segmenter.segment_tokens([word]):
                units[unit] += count
        with write_whole(folder / f"vocab.{language}") as file:
            for unit, count in sorted(units.items(), key=lambda item: (-item[1], item[0])):
                file.write(f"{unit} {count}\n")
    with write_whole(folder / "codes") as file:
        file.write(codes.getvalue())


def learn_sentencepiece(inputs: list[Path], model: Path, options: Options) -> None:
    """Learn a joint sentencepiece BPE model of ``options.merges`` types on both sides."""
    from sentencepiece import SentencePieceTrainer

    content = BytesIO()
    try:
        SentencePieceTrainer.train(
            sentence_iterator=(line for path in inputs for line in read_lines(path)),
            model_writer=content,
            model_type="bpe",
            vocab_size=options.merges,
            character_coverage=1.0,
            normalization_rule_name="identity",
            num_threads=options.processes,
            minloglevel=2,
        )
    except RuntimeError as error:
        reason = " ".join(str(error).split())
        raise UserError(
            f"sentencepiece cannot learn --merges {options.merges} types: {reason}"
        ) from None
    with named_when_whole(model) as partial_model:
        partial_model.write_bytes(content.getvalue())


def apply_pair(
    inputs: list[Path], outputs: list[Path], pipeline: TextPipeline, options: Options
) -> None:
    """Segment both tokenised sides into subword units."""
    pairs = zip(*(read_lines(path) for path in inputs), strict=True)
    segment = partial(_segment_both, pipeline)
    with ExitStack() as stack:
        files = [stack.enter_context(write_whole(path)) for path in outputs]
        for pair in map_in_order(segment, pairs, options.processes, "segment", "pairs"):
            for file, line in zip(files, pair, strict=True):
                file.write(line + "\n")


def _tokenise_both(pipeline: TextPipeline, pair: Pair) -> Pair:
    return pipeline.tokenise(pair[0], pipeline.source), pipeline.tokenise(pair[1], pipeline.target)


def _segment_both(pipeline: TextPipeline, pair: Pair) -> Pair:
    return pipeline.segment(pair[0], pipeline.source), pipeline.segment(pair[1], pipeline.target)


def binarise(dest: Path, corpus: Corpus, splits: dict[str, str], workers: int) -> None:
    """Run ``fairseq-preprocess`` with one dictionary for both sides."""
    folder = dest / "data-bin"
    partial_folder = dest / "data-bin.partial"
    shutil.rmtree(partial_folder, ignore_errors=True)
    tests = [str(dest / "bpe" / name) for name in splits if name not in ("train", "valid")]
    try:
        _fairseq_preprocess(
            *("--source-lang", corpus.source, "--target-lang", corpus.target),
            *("--trainpref", str(dest / "bpe" / "train")),
            *("--validpref", str(dest / "bpe" / "valid")),
            *(("--testpref", ",".join(tests)) if tests else ()),
            *("--joined-dictionary", "--thresholdsrc", "0", "--thresholdtgt", "0"),
            *("--padding-factor", str(PADDING_FACTOR)),
            *("--destdir", str(partial_folder), "--workers", str(workers)),
        )
    except BaseException as error:
        shutil.rmtree(partial_folder, ignore_errors=True)
        if isinstance(error, OSError):
            raise UserError(f"{folder}: cannot be written: {error.strerror or error}") from error
        raise
    # Its log holds the temporary folder's name and the number of workers: not the same each time.
    (partial_folder / "preprocess.log").unlink(missing_ok=True)
    shutil.rmtree(folder, ignore_errors=True)
    os.replace(partial_folder, folder)


def _fairseq_preprocess(*arguments: str) -> None:
    """The command in this process: fairseq is loaded already, which takes seconds."""
    from fairseq.options import get_preprocessing_parser
    from fairseq_cli import preprocess

    logger = preprocess.logger
    logger.propagate = False
    try:
        preprocess.main(get_preprocessing_parser().parse_args(list(arguments)))
    finally:
        for handler in list(logger.handlers):  # its log file stays open otherwise
            logger.removeHandler(handler)
            handler.close()


def _data_bin_files(folder: Path, corpus: Corpus, splits: dict[str, str]) -> list[Path]:
    languages = (corpus.source, corpus.target)
    return [folder / f"dict.{language}.txt" for language in languages] + [
        folder / f"{split}.{corpus.source}-{corpus.target}.{language}.{kind}"
        for split in splits.values()
        for language in languages
        for kind in ("bin", "idx")
    ]
