"""The commands of ``tiednmt vocabulary``: from files to a new folder, and what to say of it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from fairseq.data import Dictionary

from tiednmt.errors import UserError
from tiednmt.export.model_folder import WEIGHTS
from tiednmt.models.word_vectors import read_vectors
from tiednmt.text.lines import read_lines
from tiednmt.vocabulary import ties
from tiednmt.vocabulary import trim as trimming
from tiednmt.vocabulary.choices import BOTH, MEAN, SOURCE, TARGET, VECTORS
from tiednmt.vocabulary.extend import Start, extend
from tiednmt.vocabulary.files import Found, require_new, write
from tiednmt.vocabulary.model import ModelState, units_of
from tiednmt.vocabulary.search import hypotheses, likely_units
from tiednmt.vocabulary.segmentation import Segmentation, Subwords, is_character, language_of

Say = Callable[[str], None]
FURTHER_UNITS = 8  # kept where a translation would change; twice as many each time


def trim_files(
    found: Found,
    output: Path,
    texts: Sequence[Path] = (),
    keep: int | None = None,
    translate: bool = False,
    characters: bool = True,
    units: Path | None = None,
    say: Say = print,
) -> ModelState:
    """Write the model with the units of some texts, or the most frequent ones, alone.

    Args:
        found: the model.
        output: a new folder.
        texts: raw text, each in the language that its name ends in.
        keep: so many of the most frequent units, too.
        translate: keep the units of the model's own translations of source text, too, and compare
            them with those of the smaller model.
        characters: keep all units that are single characters.
        units: a dictionary, or a list of units: keep these alone, without further characters.
        say: what is told.

    Raises:
        UserError: a text is empty or of no language of the model's; nothing is asked for.
    """
    require_new(output)
    if not texts and keep is None and units is None:
        raise UserError("say what to keep: --text FILE…, --keep N, or --units FILE")
    model = found.model
    lines = {path: _lines(path) for path in texts}
    known = {symbol for dictionary in model.dictionaries for symbol in dictionary.symbols}
    kept = set() if keep is None else trimming.most_frequent(model, keep)
    if units is not None:
        kept.update(line.rsplit(" ", 1)[0] for line in _lines(units))
        characters = False
    tokens: dict[str, Counter[str]] = {}
    sources: list[list[str]] = []
    for path, of_path in lines.items():
        language = _language(path, found)
        segmented = [found.segmentation.units(line, language) for line in of_path]
        kept.update(unit for line in segmented for unit in line)
        if isinstance(found.segmentation, Subwords):
            of_language = tokens.setdefault(language, Counter())
            for line in of_path:
                of_language.update(found.segmentation.tokens(line, language))
        if found.languages and language == found.languages[0]:
            sources += segmented
    if characters:
        kept.update(unit for unit in known if is_character(unit))
    told = ""
    if translate:
        if not sources:
            raise UserError("--translate: no --text is in the source language")
        further, told = _of_own_translations(found, sources, kept, known, say)
        kept |= further
    trimmed = trimming.trim(model, kept & known)
    segmentation = found.segmentation
    if isinstance(segmentation, Subwords):
        written = (token for of_language in tokens.values() for token in of_language)
        segmentation = segmentation.trimmed(kept, written)
        _require_same(found.segmentation, segmentation, tokens)
    note = write(found, trimmed, output, segmentation)
    _say_sizes(say, found, trimmed, output)
    _say_coverage(say, found, trimmed, segmentation)
    if told:
        say(told)
    if note:
        say(note)
    return trimmed


def _of_own_translations(
    found: Found, sources: Sequence[Sequence[str]], kept: set[str], known: set[str], say: Say
) -> tuple[set[str], str]:
    """The units of the model's own hypotheses, and how many translations stay as they were.

    What a smaller model does not know has no part in its probabilities, so two hypotheses of about
    one score may change places. Where that happens, further units are kept: those that had most of
    the probability. In the end that would be all, so it ends.
    """
    model, int8 = found.model, found.is_int8
    before = hypotheses(model, sources, int8=int8)
    units = _units_in(before)
    further = FURTHER_UNITS
    while True:
        smaller = trimming.trim(model, (kept | units) & known)
        after = hypotheses(smaller, sources, int8=int8)
        pairs = enumerate(zip(before, after, strict=True))
        others = [line for line, (one, other) in pairs if one[:1] != other[:1]]
        if not others:
            return units, f"translations: all of {len(sources):,} lines are the same as before"
        rows = len(smaller.target)
        say(f"{rows:,} rows: {len(others):,} of {len(sources):,} translations differ; keeping more")
        ways = [(sources[i], way) for i in others for way in (*before[i][:1], *after[i][:1])]
        ranked = likely_units(model, ways)
        gone = [unit for unit in ranked if unit not in smaller.target.indices]
        units |= set(gone[:further])
        further *= 2


def _units_in(lines: Sequence[Sequence[Sequence[str]]]) -> set[str]:
    return {unit for line in lines for hypothesis in line for unit in hypothesis}


def _lines(path: Path) -> list[str]:
    lines = list(read_lines(path))
    if not any(line.strip() for line in lines):
        raise UserError(f"{path}: holds no text")
    return lines


def _language(path: Path, found: Found) -> str:
    """The language of a text; of a model of one, or without segmentation, it does not matter."""
    if not isinstance(found.segmentation, Subwords):
        return ""
    return language_of(path, list(found.segmentation.vocabularies))


def _require_same(
    before: Segmentation, after: Segmentation, tokens: Mapping[str, Mapping[str, int]]
) -> None:
    """What the smaller segmentation is proved by: the text is written in the same units."""
    assert isinstance(before, Subwords) and isinstance(after, Subwords)
    for language, of_language in tokens.items():
        for token in of_language:
            was, now = (each.units_of_token(token, language) for each in (before, after))
            if was != now:
                raise AssertionError(f"{token}: {was} became {now}")


def _say_sizes(say: Say, found: Found, model: ModelState, output: Path) -> None:
    rows = [" + ".join(f"{len(d):,}" for d in of) for of in _distinct(found.model, model)]
    if found.is_folder:
        sizes = [(folder / WEIGHTS).stat().st_size for folder in (found.path, output)]
    else:
        sizes = [each.bytes for each in (found.model, model)]
    say(
        f"{found.model_in(output)}: {rows[0]} → {rows[1]} rows, {found.model.parameters:,} → "
        f"{model.parameters:,} parameters, {sizes[0] / 1e6:,.2f} → {sizes[1] / 1e6:,.2f} MB"
    )


def _distinct(*models: ModelState) -> list[tuple[Dictionary, ...]]:
    return [m.dictionaries[:1] if m.is_joint else m.dictionaries for m in models]


def _say_coverage(say: Say, found: Found, model: ModelState, segmentation: Segmentation) -> None:
    """What is no longer covered of the text that the model was trained on."""
    for side, language in enumerate(found.languages):
        tokens = found.old_tokens(language)
        if tokens is None:
            continue
        assert isinstance(found.segmentation, Subwords) and isinstance(segmentation, Subwords)
        before = {token: found.segmentation.units_of_token(token, language) for token in tokens}
        after = {token: segmentation.units_of_token(token, language) for token in tokens}
        known = found.model.dictionaries[side].symbols
        covered = trimming.coverage(tokens, before, after, known, model.dictionaries[side].symbols)
        say(f"training text, {language}: {covered}")


# --- extend ------------------------------------------------------------------------------------


def extend_by_text(
    found: Found,
    output: Path,
    texts: Sequence[Path],
    start: Start,
    merges: int = 0,
    language: str | None = None,
    pair: tuple[str, str] | None = None,
    resegment: bool = False,
    say: Say = print,
) -> ModelState:
    """Write the model with the units that further text is written in.

    Args:
        found: the model.
        output: a new folder.
        texts: raw text of one language.
        start: how the new rows begin.
        merges: further merges, at most.
        language: of the text, where it is one that the model does not know, or its name does not
            end in it.
        pair: of the new folder; the model's own by default.
        resegment: let words of the old text have the new units, too.
        say: what is told.

    Raises:
        UserError: a text is empty, the language is none of the pair's, or there is nothing new.
    """
    require_new(output)
    lines = [line for path in texts for line in _lines(path)]
    model, segmentation = found.model, found.segmentation
    languages = pair or found.languages
    if not isinstance(segmentation, Subwords):
        if merges:
            raise UserError(
                "--merges: there is no segmentation to continue; give the prepared folder as "
                "--data, or segmented text without --merges"
            )
        counts = Counter(unit for line in lines for unit in line.split())
        parts_of: Callable[[str], Sequence[str]] = lambda unit: ()  # noqa: E731, ARG005
    else:
        language = language or language_of(texts[0], list(segmentation.vocabularies))
        if language not in languages and language not in segmentation.vocabularies:
            raise UserError(
                f"--language {language}: the model translates {' to '.join(found.languages)}; say "
                f"which side it takes, as --pair {found.languages[0]}-{language}"
            )
        old = None if resegment else found.old_tokens(language)
        if old is None and not resegment and language in segmentation.vocabularies:
            say(f"the old text of {language} is not at hand: it may be segmented otherwise now")
        extended = segmentation.extended(lines, language, merges, old)
        counts = Counter(unit for line in lines for unit in extended.units(line, language))
        known = {symbol for dictionary in model.dictionaries for symbol in dictionary.symbols}

        def parts_of(unit: str) -> Sequence[str]:
            return extended.parts_of(unit, known)

        if pair:
            settings = replace(extended.settings, source=pair[0], target=pair[1])
            extended = replace(extended, settings=settings)
        segmentation = extended
    side = _side(found, languages, language)
    old_units = {s for d in _changed(model, side) for s in d.symbols}
    new = {u: c for u, c in counts.most_common() if u not in old_units}
    return _extend(found, output, new, parts_of, start, side, segmentation, languages, say)


def _side(found: Found, languages: Sequence[str], language: str | None) -> str:
    """Which dictionary text of a language goes into."""
    model = found.model
    if model.source is None or model.is_joint or language not in languages:
        return BOTH
    return SOURCE if language == languages[0] else TARGET


def _changed(model: ModelState, side: str) -> tuple[Dictionary, ...]:
    return {SOURCE: model.dictionaries[:1], TARGET: model.dictionaries[1:]}.get(
        side, model.dictionaries
    )


def extend_by_symbols(
    found: Found,
    output: Path,
    symbols: Path,
    start: Start,
    side: str = BOTH,
    say: Say = print,
) -> ModelState:
    """Write the model with units of one's own, such as tags of languages.

    No text is segmented otherwise: they are put into segmented text.

    Args:
        found: the model.
        output: a new folder.
        symbols: a unit per line.
        start: how the new rows begin.
        side: which dictionary, where there are two.
        say: what is told.

    Raises:
        UserError: none are given, or one is there already.
    """
    require_new(output)
    units = [line.strip() for line in _lines(symbols) if line.strip()]
    for unit in units:
        if len(unit.split()) > 1:
            raise UserError(f"{symbols}: {unit!r} is more than one unit; write one per line")
        if any(unit in d.indices for d in _changed(found.model, side)):
            raise UserError(f"{symbols}: {unit!r} is a unit of the model already")
    known = {symbol for dictionary in found.model.dictionaries for symbol in dictionary.symbols}

    def parts_of(unit: str) -> Sequence[str]:
        segmentation = found.segmentation
        return segmentation.spelled(unit, known) if isinstance(segmentation, Subwords) else ()

    new = dict.fromkeys(units, 1)
    return _extend(
        found, output, new, parts_of, start, side, found.segmentation, found.languages, say
    )


def _extend(
    found: Found,
    output: Path,
    units: Mapping[str, int],
    parts_of: Callable[[str], Sequence[str]],
    start: Start,
    side: str,
    segmentation: Segmentation,
    languages: tuple[str, ...],
    say: Say,
) -> ModelState:
    extended = extend(found.model, units, parts_of, start, side)
    note = write(found, extended, output, segmentation, languages)
    _say_sizes(say, found, extended, output)
    first = len(found.model.target)
    if len(extended.target) > first and not found.is_folder:
        say(f"the new rows: --train-rows {first}:{len(extended.target)}")
    if note:
        say(note)
    return extended


def start_from(kind: str, vectors: Path | None, seed: int = 1) -> Start:
    """How new rows begin, with the vectors of a file.

    Raises:
        UserError: ``vectors`` goes without a file, or a file without it.
    """
    if (kind == VECTORS) != (vectors is not None):
        raise UserError("--start vectors and --vectors FILE go together")
    return Start(kind, None if vectors is None else read_vectors(vectors), seed)


# --- tie ---------------------------------------------------------------------------------------


def join_files(source: Path, target: Path, output: Path, say: Say = print) -> Dictionary:
    """Write the joint dictionary of two."""
    require_new(output)
    dictionaries = [Dictionary.load(str(path)) for path in (source, target)]
    joint = ties.join(*dictionaries)
    joint.save(str(output))
    both = set(units_of(dictionaries[0])) & set(units_of(dictionaries[1]))
    sizes = [len(dictionary) for dictionary in dictionaries]
    say(f"{output}: {sizes[0]:,} and {sizes[1]:,} entries → {len(joint):,}, {len(both):,} in both")
    return joint


def tie_files(
    found: Found, output: Path, tying: str, origin: str = MEAN, say: Say = print
) -> ModelState:
    """Write the model with more of its matrices tied."""
    require_new(output)
    tied = ties.tie(found.model, tying, origin, found.unit_counts())
    return _write_tied(found, tied, output, say)


def untie_files(found: Found, output: Path, tying: str, say: Say = print) -> ModelState:
    """Write the model with less of its matrices tied; it scores as before."""
    require_new(output)
    return _write_tied(found, ties.untie(found.model, tying), output, say)


def _write_tied(found: Found, tied: ModelState, output: Path, say: Say) -> ModelState:
    note = write(found, tied, output)
    _say_sizes(say, found, tied, output)
    changed = [d.symbols for d in tied.dictionaries] != [
        d.symbols for d in found.model.dictionaries
    ]
    if changed and not found.is_folder:
        say(f"the dictionaries are joined: binarise the text anew with {output / 'data-bin'}")
    if note:
        say(note)
    return tied
