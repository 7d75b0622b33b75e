"""Words to subword units: count the words, learn joint units from them, apply them to the text."""

from __future__ import annotations

import re
import shutil
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from functools import partial
from heapq import merge, nlargest
from io import BytesIO
from itertools import chain, groupby
from operator import itemgetter
from pathlib import Path
from typing import Any

from tqdm import tqdm

from preprocess.duplicates import unmarked_lines
from preprocess.files import may_open
from preprocess.overlap import Overlap
from preprocess.pairs import Pair
from preprocess.parallel import map_in_order
from preprocess.vocabulary import PADDING_FACTOR, vocabulary_sizes
from tiednmt.errors import UserError
from tiednmt.files import named_when_whole, write_whole
from tiednmt.text.bpe import learn_merges, write_codes
from tiednmt.text.counts import Count, ranked, read_counts, write_counts
from tiednmt.text.lines import LONGEST_LINE
from tiednmt.text.pipeline import TextPipeline
from tiednmt.text.subwords import CODES, PIECES, SentencePiece, load_codes, vocabulary_file

WORDS_IN_MEMORY = 500_000  # counted by a process before it writes them down, about 60 MB
WORTH_PROCESSES = 10_000_000  # bytes of text
LEARNED_WORDS = 1_000_000  # the most frequent; merges are learnt from these, in about 2 GB


@dataclass(frozen=True)
class TextPart:
    """The tokenised text of a subset or of a part of it.

    ``marks`` is the file that says which pairs to skip (see :mod:`preprocess.duplicates`).
    """

    sides: tuple[Path, Path]
    marks: Path | None = None

    @property
    def files(self) -> list[Path]:
        """The files of both sides and the marks."""
        return [*self.sides, *([self.marks] if self.marks else [])]

    def pairs(self) -> Iterator[Pair]:
        """The pairs to use."""
        yield from zip(*(unmarked_lines(side, self.marks) for side in self.sides), strict=True)


# --- counting ----------------------------------------------------------------------------------


def count_words(parts: Sequence[TextPart], outputs: Sequence[Path], workers: int) -> None:
    """Write the words of each side in alphabetical order, with their counts.

    This takes 60 MB of memory per worker; what does not fit is written to temporary files.
    """
    folder = outputs[0].with_name("words.partial")
    shutil.rmtree(folder, ignore_errors=True)
    jobs = [
        (side, part.marks, folder / f"{language}.{number}")
        for number, part in enumerate(parts)
        for language, side in enumerate(part.sides)
    ]
    is_small = sum(side.stat().st_size for side, _, _ in jobs) < WORTH_PROCESSES
    workers = 1 if is_small else workers
    try:
        folder.mkdir(parents=True)
        counted = map_in_order(_count_file, jobs, workers, "count", "files", len(jobs), 1, least=2)
        runs = list(counted)
        for language, output in enumerate(outputs):
            sorted_runs = [*chain.from_iterable(runs[language::2])]
            may_open(len(sorted_runs), "raise the limit (ulimit -n)")
            write_counts(output, merged_counts(*map(read_counts, sorted_runs)))
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _count_file(job: tuple[Path, Path | None, Path]) -> list[Path]:
    """Write sorted counts to files, each of as many words as memory may hold."""
    text, marks, prefix = job
    runs: list[Path] = []
    words: Counter[str] = Counter()

    def write_down() -> None:
        runs.append(prefix.with_name(f"{prefix.name}.{len(runs)}"))
        write_counts(runs[-1], sorted(words.items()))
        words.clear()

    for line in unmarked_lines(text, marks):
        words.update(line.split())
        if len(words) > WORDS_IN_MEMORY:
            write_down()
    write_down()
    return runs


def merged_counts(*counts: Iterable[Count]) -> Iterator[Count]:
    """Merge sorted counts; those of the same word are added up."""
    for word, same in groupby(merge(*counts, key=itemgetter(0)), key=itemgetter(0)):
        yield word, sum(count for _, count in same)


def count_units(
    words: Iterable[Count], segment: Callable[[str], str], workers: int
) -> Counter[str]:
    """How often each unit occurs in a text of these words; ``segment`` splits a word."""
    units: Counter[str] = Counter()
    segmented = map_in_order(
        partial(_segment_word, segment), words, workers, "count units", "words"
    )
    for word_units, count in segmented:
        for unit in word_units.split():
            units[unit] += count
    return units


def _segment_word(segment: Callable[[str], str], word_count: Count) -> Count:
    return segment(word_count[0]), word_count[1]


# --- learning ----------------------------------------------------------------------------------


def learn_subword_nmt(
    words: Sequence[Path], folder: Path, languages: tuple[str, str], merges: int, workers: int
) -> None:
    """Learn joint codes from the words of both sides, and count each side's units.

    Args:
        words: of each side, from :func:`count_words`.
        folder: gets ``codes`` and ``vocab.<language>``.
        languages: of the two sides.
        merges: how many at most.
        workers: processes.

    Raises:
        UserError: there is nothing to merge.
    """
    learn_codes(words, folder / CODES, merges)
    _write_vocabularies(words, folder, languages, load_codes(folder / CODES).segment, workers)


def _write_vocabularies(
    words: Sequence[Path],
    folder: Path,
    languages: tuple[str, str],
    segment: Callable[[str], str],
    workers: int,
) -> None:
    """Write how often each side has each unit, the most frequent first."""
    for path, language in zip(words, languages, strict=True):
        units = count_units(read_counts(path), segment, workers)
        write_counts(vocabulary_file(folder, language), ranked(units))


def learn_codes(words: Sequence[Path], codes: Path, merges: int) -> None:
    """Write the joint merges of all sides as ``subword-nmt learn-bpe`` does.

    ``words``: those of each side, from :func:`count_words`.

    Raises:
        UserError: there is nothing to merge.
    """
    joint = merged_counts(*map(read_counts, words))
    frequent = nlargest(LEARNED_WORDS, joint, key=lambda item: (item[1], item[0]))
    merged = learn_merges(frequent, merges)
    learnt = list(tqdm(merged, "learn", merges, unit=" merges", disable=None))
    if not learnt:
        raise UserError(
            f"{' and '.join(map(str, words))}: too little text to learn merges from: no two "
            "characters are seen together twice; give more training text"
        )
    write_codes(codes, learnt)


def learn_sentencepiece(
    parts: Sequence[TextPart],
    words: Sequence[Path],
    folder: Path,
    languages: tuple[str, str],
    vocab_size: int,
    workers: int,
    near: bool = False,
) -> None:
    """Learn a joint sentencepiece BPE model on both sides. It holds the text in memory.

    Args:
        parts: of the text.
        words: of each side, from :func:`count_words`.
        folder: gets ``sentencepiece.model`` and ``vocab.<language>``.
        languages: of the two sides.
        vocab_size: size of the joint vocabulary.
        workers: processes.
        near: if the text does not allow a vocabulary of that size, learn the nearest possible one.

    Raises:
        UserError: the text does not allow so large a vocabulary, or has more characters than it.
    """
    try:
        content = _trained(parts, vocab_size, workers, near)
    except RuntimeError as error:
        least = _TOO_FEW.search(str(error))
        if not (near and least):
            raise UserError(
                f"sentencepiece cannot learn a vocabulary of {vocab_size} (--merges):"
                f" {_reason(str(error))}"
            ) from None
        content = _trained(parts, int(least[1]), workers, near)
    model = folder / PIECES
    with named_when_whole(model) as partial_model:
        partial_model.write_bytes(content)
    _write_vocabularies(words, folder, languages, SentencePiece(model).segment, workers)


_TOO_FEW = re.compile(r"smaller than required_chars\. \d+ vs (\d+)")
_TOO_MANY = re.compile(r"value <= (\d+)")


def _trained(parts: Sequence[TextPart], vocab_size: int, workers: int, at_most: bool) -> bytes:
    from sentencepiece import SentencePieceTrainer

    content = BytesIO()
    soft: dict[str, Any] = {"hard_vocab_limit": False} if at_most else {}
    SentencePieceTrainer.train(
        sentence_iterator=(
            line
            for side in (0, 1)
            for part in parts
            for line in unmarked_lines(part.sides[side], part.marks)
        ),
        model_writer=content,
        model_type="bpe",
        vocab_size=vocab_size,
        character_coverage=1.0,
        normalization_rule_name="identity",
        max_sentence_length=LONGEST_LINE,
        num_threads=workers,
        minloglevel=2,
        **soft,
    )
    return content.getvalue()


def _reason(error: str) -> str:
    """The reason that sentencepiece gives, with a remedy in terms of this command."""
    too_few, too_many = _TOO_FEW.search(error), _TOO_MANY.search(error)
    if too_few:
        return f"the text has more characters; give --merges {too_few[1]} or more"
    if too_many:
        return f"the text has fewer; give --merges {too_many[1]} or less"
    return " ".join(error.split())


def write_dictionary(
    words: Sequence[Path], path: Path, shared: Path, pipeline: TextPipeline, workers: int
) -> dict[str, Any]:
    """Write fairseq's joint dictionary of the units of both sides.

    Units are those of single words, so that words and their counts are all that is read.

    Args:
        words: of each side, from :func:`count_words`.
        path: of the dictionary.
        shared: the file for the units that both sides use, one per line, in the same order.
        pipeline: splits words.
        workers: processes.

    Returns:
        What the two sides share: :func:`preprocess.vocabulary.vocabulary_sizes`, and under
        ``overlap`` a :class:`preprocess.overlap.Overlap` as JSON.
    """
    from fairseq.data import Dictionary

    source, target = (
        count_units(read_counts(side), partial(pipeline.segment, language=language), workers)
        for side, language in zip(words, pipeline.languages, strict=True)
    )
    dictionary = Dictionary()
    for unit, count in (source + target).items():
        dictionary.add_symbol(unit, count)
    for unit in pipeline.characters:  # other text may need those merged in this one
        dictionary.add_symbol(unit, 0)
    dictionary.finalize(padding_factor=PADDING_FACTOR)
    with write_whole(path) as file:
        dictionary.save(file)
    both = source.keys() & target.keys()
    with write_whole(shared) as file:
        file.writelines(f"{unit}\n" for unit in dictionary.symbols if unit in both)
    sizes = {**vocabulary_sizes(set(source), set(target)), "joint": len(dictionary)}
    return {**sizes, "overlap": asdict(Overlap.of(source, target))}


# --- applying ----------------------------------------------------------------------------------


def apply_pairs(
    part: TextPart,
    outputs: Sequence[Path],
    pipeline: TextPipeline,
    workers: int,
    total: int | None = None,
    tag: str = "",
) -> dict[str, Any]:
    """Segment both tokenised sides into subword units.

    Args:
        part: the text.
        outputs: the files to write for its sides.
        pipeline: segments it.
        workers: processes.
        total: pairs there are, for the progress bar.
        tag: a unit before each source line.

    Returns:
        ``units`` of each side, ``longest``: how many the longest line of the two has, and
        ``place``: the number of its pair, from 1.
    """
    counts, longest, place = [0, 0], 0, 0
    segmented = map_in_order(
        partial(_segment_both, pipeline, tag), part.pairs(), workers, "segment", "pairs", total
    )
    with ExitStack() as stack:
        files = [stack.enter_context(write_whole(path)) for path in outputs]
        for number, pair in enumerate(segmented, start=1):
            for side, line in enumerate(pair):
                files[side].write(line + "\n")
                units = line.count(" ") + bool(line)
                counts[side] += units
                if units > longest:
                    longest, place = units, number
    return {"units": counts, "longest": longest, "place": place}


def _segment_both(pipeline: TextPipeline, tag: str, pair: Pair) -> Pair:
    source = pipeline.segment(pair[0], pipeline.source)
    tagged = f"{tag} {source}".rstrip() if tag else source
    return tagged, pipeline.segment(pair[1], pipeline.target)
