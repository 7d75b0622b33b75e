"""Text in one language, from raw files to a data-bin that a language model is trained on.

:func:`prepare` runs the stages; each is a function of its own. A corpus is a file beside this one
that says where its text comes from and calls
:func:`preprocess.command.monolingual_command`. No more than a few lines of text
are held in memory at a time.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from tqdm import tqdm

from preprocess.manifest import package_version, write_manifest
from preprocess.options import CommonOptions
from preprocess.parallel import map_in_order
from preprocess.stages import Stage, Stages, corpus_key, one_writer
from preprocess.vocabulary import PADDING_FACTOR
from tiednmt.errors import UserError
from tiednmt.files import named_when_whole, refuse_what_is_no_file, write_whole
from tiednmt.options import natural, option, positive
from tiednmt.text.lines import read_lines
from tiednmt.text.manifest import TOKENISED
from tiednmt.text.moses import MosesTokeniser
from tiednmt.text.normalise import normalise

SUBSETS = ("train", "valid", "test")
FORMAT = 1  # of a manifest

# special symbols, which fairseq would take for its own; <unk> in the text is meant to be <unk>
_RESERVED = re.compile(r"(?<!\S)(<s>|<pad>|</s>)(?!\S)")

SubsetLine = tuple[str, str]  # subset, line of text


@dataclass(frozen=True)
class MonolingualCorpus:
    """Where the text of a corpus lies, and what its words are.

    Attributes:
        name: of the corpus.
        subsets: the subsets that it has.
        sources: the files that ``lines`` reads.
        lines: yields subset and line, in the order of training.
        language: use Moses' rules for this language; by default, white space separates words.
        line_ends: make the end of a line a token, ``</s>``.
        padding_factor: pad the dictionary with unused entries to a multiple of this.
        files: the files of each subset, if it consists of all their lines.
    """

    name: str
    subsets: tuple[str, ...]
    sources: list[Path]
    lines: Callable[[], Iterable[SubsetLine]]
    language: str | None = None
    line_ends: bool = True
    padding_factor: int = PADDING_FACTOR
    files: Mapping[str, Sequence[Path]] = field(default_factory=dict)

    def place(self, subset: str, number: int) -> str:
        """The place of a line of a subset, by its number from 1, and the file if it is known."""
        where: object = self.name
        for path in self.files.get(subset, ()):
            lines = sum(1 for _ in read_lines(path))
            where = path
            if number <= lines:
                break
            number -= lines
        return f"{where}, line {number} of the {subset} text"


@dataclass(frozen=True)
class Options(CommonOptions):
    """Which words of the training text a model knows; the rest become ``<unk>``."""

    vocabulary: int = option(
        "keep the N most frequent words of the training text (0: all)", default=0, within=natural
    )
    min_count: int = option(
        "keep words that occur at least N times in the training text", default=1, within=positive
    )


def corpus_of_files(
    name: str,
    files: Mapping[str, Sequence[Path]],
    language: str | None = None,
    padding_factor: int = PADDING_FACTOR,
) -> MonolingualCorpus:
    """A corpus whose subsets are text files, compressed or not, one after the other."""
    return MonolingualCorpus(
        name=name,
        subsets=tuple(files),
        sources=[path for paths in files.values() for path in paths],
        lines=partial(_lines_of_files, files),
        language=language,
        padding_factor=padding_factor,
        files=files,
    )


def _lines_of_files(files: Mapping[str, Sequence[Path]]) -> Iterator[SubsetLine]:
    for subset, paths in files.items():
        for path in paths:
            for line in read_lines(path):
                yield subset, line


def prepare(corpus: MonolingualCorpus, dest: Path, options: Options) -> None:
    """Fill ``dest`` from the raw files and print a summary.

    Stages that are up to date are skipped; killed at any moment and called again, it leaves the
    same bytes.

    Raises:
        UserError: a file is bad, the folder cannot be written or a subset is empty.
    """
    for path in corpus.sources:
        refuse_what_is_no_file(path)
    with one_writer(dest):
        _fill(corpus, dest, options)


def _fill(corpus: MonolingualCorpus, dest: Path, options: Options) -> None:
    stages = Stages(dest, corpus_key(corpus.name))
    texts = {subset: dest / TOKENISED / f"{subset}.txt" for subset in corpus.subsets}
    dictionary = dest / "data-bin" / "dict.txt"
    stages.run(_reading(corpus, texts, options))
    vocabulary = stages.run(_counting(corpus, texts["train"], dictionary, options))
    counts = {
        subset: stages.run(_binarising(corpus, subset, text, dictionary))
        for subset, text in texts.items()
    }
    files = stages.finish()
    write_manifest(
        dest,
        {
            "format": FORMAT,
            "kind": "language model",
            "corpus": corpus.name,
            "subsets": {subset: subset for subset in corpus.subsets if subset != "train"},
            "options": {
                **options.of_content(),
                "language": corpus.language,
                "line_ends": corpus.line_ends,
                "padding_factor": corpus.padding_factor,
            },
            "counts": counts,
            "vocabulary": vocabulary,
        },
        packages=("fairseq", "sacremoses"),
        files=files,
    )
    print(report(counts, vocabulary))


def _reading(corpus: MonolingualCorpus, texts: dict[str, Path], options: Options) -> Stage:
    return Stage(
        "read",
        partial(read, corpus, texts, options.processes),
        inputs=corpus.sources,
        outputs=list(texts.values()),
        options={
            "corpus": corpus.name,
            "language": corpus.language,
            # the inputs are recorded once each, whatever the sets that they are read for
            "files": {
                subset: [corpus.sources.index(path) for path in paths]
                for subset, paths in corpus.files.items()
            },
            "version": corpus.language and package_version("sacremoses"),
        },
    )


def _counting(corpus: MonolingualCorpus, text: Path, dictionary: Path, options: Options) -> Stage:
    return Stage(
        "count",
        partial(write_dictionary, text, dictionary, options, corpus.padding_factor),
        inputs=[text],
        outputs=[dictionary],
        options={
            **options.of_content(),
            "padding_factor": corpus.padding_factor,
            "version": package_version("fairseq"),
        },
    )


def _binarising(corpus: MonolingualCorpus, subset: str, text: Path, dictionary: Path) -> Stage:
    prefix = dictionary.with_name(subset)
    return Stage(
        f"binarise {subset}",
        partial(binarise_lines, text, dictionary, prefix, corpus.line_ends),
        inputs=[text, dictionary],
        outputs=[prefix.with_suffix(".bin"), prefix.with_suffix(".idx")],
        options={"line_ends": corpus.line_ends, "version": package_version("fairseq")},
    )


def read(corpus: MonolingualCorpus, texts: dict[str, Path], workers: int) -> None:
    """Write the words of each subset, space-separated, to its file, line by line.

    Raises:
        UserError: the text is bad or a subset holds no words.
    """
    words = line_splitter(corpus.language)
    workers = workers if corpus.language else 1
    lines = map_in_order(partial(_words, words), corpus.lines(), workers, "read", "lines")
    numbers: Counter[str] = Counter()
    filled = set()
    with ExitStack() as stack:
        files = {subset: stack.enter_context(write_whole(path)) for subset, path in texts.items()}
        for subset, line, bad in lines:
            numbers[subset] += 1
            refuse_reserved_words(bad, partial(corpus.place, subset, numbers[subset]))
            files[subset].write(line + "\n")
            if line:
                filled.add(subset)
        for subset in texts:
            if subset not in filled:
                raise UserError(f"{corpus.name}: the {subset} text holds no words")


def line_splitter(language: str | None) -> Callable[[str], str]:
    """The function that splits a raw line into words, by white space or Moses' rules."""
    if language is None:
        return _white_space
    return partial(_moses_words, MosesTokeniser(language, joiners=False))


def refuse_reserved_words(line: str, place: Callable[[], str]) -> None:
    """Refuse a raw line with a word that fairseq takes for its own.

    Raises:
        UserError: there is one; the message names it and its ``place``.
    """
    reserved = _RESERVED.search(line)
    if reserved:
        raise UserError(
            f"{place()}: holds the word {reserved[0]}, which fairseq keeps for itself; remove it"
        )


def _words(words: Callable[[str], str], item: SubsetLine) -> tuple[str, str, str]:
    """Subset, the words of a line, and the line itself if one of its words is reserved."""
    subset, line = item
    return subset, words(line), line if _RESERVED.search(line) else ""


def _moses_words(tokenise: MosesTokeniser, line: str) -> str:
    return tokenise(normalise(line))


def _white_space(line: str) -> str:
    return " ".join(line.split())


def write_dictionary(
    text: Path, path: Path, options: Options, padding_factor: int
) -> dict[str, int]:
    """Write fairseq's dictionary of the words of ``text``, the most frequent first.

    Returns:
        ``types``, the words (fairseq's four symbols and padding not counted), and ``dictionary``,
        the vocabulary size, that is rows of an embedding.

    Raises:
        UserError: no word is frequent enough.
    """
    from fairseq.data import Dictionary

    words: Counter[str] = Counter()
    for line in tqdm(read_lines(text), "count", unit=" lines", disable=None):
        words.update(line.split())
    dictionary = Dictionary()
    for word, count in words.items():
        dictionary.add_symbol(word, count)
    most = options.vocabulary + dictionary.nspecial if options.vocabulary else len(dictionary)
    dictionary.finalize(options.min_count, most, padding_factor=1)
    known = len(dictionary) - dictionary.nspecial
    if known == 0:
        raise UserError(
            f"--min-count {options.min_count}: no word of the training text is that frequent"
        )
    dictionary.pad_to_multiple_(padding_factor)
    with write_whole(path) as file:
        dictionary.save(file)
    return {"types": known, "dictionary": len(dictionary)}


def binarise_lines(
    text: Path, dictionary_path: Path, prefix: Path, line_ends: bool
) -> dict[str, int]:
    """Write a text as fairseq's ``<prefix>.bin`` and ``.idx``, one item per line.

    Returns:
        Its ``lines``, ``tokens`` (ends of lines included where they are tokens) and how many of
        them are ``unknown``.
    """
    import torch
    from fairseq.data import Dictionary
    from fairseq.data.indexed_dataset import make_builder

    dictionary = Dictionary.load(str(dictionary_path))
    end = [dictionary.eos()] if line_ends else []
    counts = {"lines": 0, "tokens": 0, "unknown": 0}
    with (
        named_when_whole(prefix.with_suffix(".bin")) as data,
        named_when_whole(prefix.with_suffix(".idx")) as index,
    ):
        builder = make_builder(str(data), impl="mmap", vocab_size=len(dictionary))
        for line in tqdm(read_lines(text), prefix.name, unit=" lines", disable=None):
            tokens = [dictionary.index(word) for word in line.split()] + end
            builder.add_item(torch.tensor(tokens))
            counts["lines"] += 1
            counts["tokens"] += len(tokens)
            counts["unknown"] += tokens.count(dictionary.unk())
        builder.finalize(str(index))
    return counts


def report(counts: dict[str, dict[str, int]], vocabulary: dict[str, int]) -> str:
    """The sizes of the subsets and of the vocabulary as a small table."""
    lines = ["", f"{'':<10}{'lines':>12}{'tokens':>14}{'unknown':>12}"]
    for subset, count in counts.items():
        share = count["unknown"] / count["tokens"]
        lines.append(f"{subset:<10}{count['lines']:>12,}{count['tokens']:>14,}{share:>12.2%}")
    lines.append(
        f"{vocabulary['types']:,} words; {vocabulary['dictionary']:,} rows in the dictionary"
    )
    return "\n".join(lines)
