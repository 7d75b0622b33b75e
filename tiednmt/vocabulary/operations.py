"""The commands of ``tiednmt vocabulary``: from files to a new folder, with messages about it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from fairseq.data import Dictionary

from tiednmt.errors import UserError
from tiednmt.export.model_folder import WEIGHTS
from tiednmt.files import write_whole
from tiednmt.models.word_vectors import read_vectors
from tiednmt.options import language_code
from tiednmt.text.lines import read_lines
from tiednmt.text.pipeline import TextSettings
from tiednmt.text.subwords import SENTENCEPIECE_SPACE, SEPARATOR
from tiednmt.vocabulary import ties
from tiednmt.vocabulary import trim as trimming
from tiednmt.vocabulary.choices import BOTH, MEAN, SOURCE, TARGET, VECTORS
from tiednmt.vocabulary.extend import Start, extend
from tiednmt.vocabulary.files import StoredModel, require_new, write
from tiednmt.vocabulary.model import ModelState, units_of
from tiednmt.vocabulary.search import hypotheses, likely_units
from tiednmt.vocabulary.segmentation import Segmentation, is_character, language_of
from tiednmt.vocabulary.subwords import Subwords

Say = Callable[[str], None]
NEW_UNITS = "new-units.txt"  # of two dictionaries, for --train-rows
FURTHER_UNITS = 8  # kept where a translation would change; twice as many in each round


def trim_files(
    stored: StoredModel,
    output: Path,
    texts: Sequence[Path] = (),
    *,
    keep: int | None = None,
    translate: bool = False,
    characters: bool = True,
    units: Path | None = None,
    say: Say = print,
) -> ModelState:
    """Write the model with only the units of some texts, or only the most frequent ones.

    Args:
        stored: the model.
        output: a new folder.
        texts: raw text; the name of each file says its language.
        keep: also keep this many of the most frequent units.
        translate: also keep the units of the model's own translations of the source text, and
            compare them with those of the smaller model.
        characters: keep all units that are single characters.
        units: a dictionary, or a list of units: keep these, and no further characters.
        say: is called with each message.

    Raises:
        UserError: a text is empty or in none of the model's languages; nothing is to be kept.
    """
    require_new(output)
    if not texts and keep is None and units is None:
        raise UserError("say what to keep: --text FILE…, --keep N, or --units FILE")
    if translate and not isinstance(stored.segmentation, Subwords):
        raise UserError(
            "--translate: which text is in the source language is not known; give the prepared "
            "folder as --data"
            if stored.languages
            else "--translate: a language model does not translate"
        )
    read = [_read_text(path, stored) for path in texts]
    kept = _units_to_keep(stored, read, keep, characters, units)
    message = ""
    if translate:
        sources = [line for text in read if text.is_source for line in text.units]
        if not sources:
            raise UserError("--translate: no --text is in the source language")
        further, message = _of_own_translations(stored, sources, kept, _known(stored.model), say)
        kept |= further
    trimmed = trimming.trim(stored.model, kept & _known(stored.model))
    tokens = {token for text in read for token in text.tokens}
    segmentation = stored.segmentation.trimmed(kept, tokens)
    _require_same(stored.segmentation, segmentation, read)
    note = write(stored, trimmed, output, segmentation)
    _say_sizes(say, stored, trimmed, output)
    _say_coverage(say, stored, trimmed, segmentation)
    for line in filter(None, (message, note)):
        say(line)
    return trimmed


@dataclass(frozen=True)
class _Text:
    """A text to be covered.

    Attributes:
        language: its code; empty where all text is segmented alike.
        is_source: whether that is the source language.
        units: of each line.
        tokens: what it is segmented by, each once.
    """

    language: str
    is_source: bool
    units: Sequence[Sequence[str]]
    tokens: frozenset[str]


def _read_text(path: Path, stored: StoredModel) -> _Text:
    lines, segmentation = _lines(path), stored.segmentation
    language = segmentation.language(path)
    return _Text(
        language=language,
        is_source=language in stored.languages[:1],
        units=[segmentation.units(line, language) for line in lines],
        tokens=frozenset(t for line in lines for t in segmentation.tokens(line, language)),
    )


def _units_to_keep(
    stored: StoredModel,
    texts: Sequence[_Text],
    keep: int | None,
    characters: bool,
    units: Path | None,
) -> set[str]:
    """What :func:`trim_files` is asked to keep, but for the model's own translations."""
    kept = {unit for text in texts for line in text.units for unit in line}
    if isinstance(stored.segmentation, Subwords) and (tag := stored.segmentation.settings.tag):
        kept.add(tag)
    if keep is not None:
        kept |= trimming.most_frequent(stored.model, keep)
    if units is not None:
        kept |= {line.rsplit(" ", 1)[0] for line in _lines(units)}
    elif characters:
        kept |= {unit for unit in _known(stored.model) if is_character(unit)}
    return kept


def _known(model: ModelState) -> set[str]:
    return {symbol for dictionary in model.dictionaries for symbol in dictionary.symbols}


def _of_own_translations(
    stored: StoredModel, sources: Sequence[Sequence[str]], kept: set[str], known: set[str], say: Say
) -> tuple[set[str], str]:
    """The units of the model's own hypotheses, and a message that the translations are the same.

    Units that are removed no longer take a share of the probability, so two hypotheses with close
    scores may change places. Where that happens, further units are kept, those with the highest
    probability first. The loop ends at the latest when all units are kept.
    """
    model, int8 = stored.model, stored.is_int8
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


def _require_same(before: Segmentation, after: Segmentation, texts: Sequence[_Text]) -> None:
    """Prove the smaller segmentation: it splits the texts into the same units."""
    for text in texts:
        for token in text.tokens:
            was, now = (each.units_of_token(token, text.language) for each in (before, after))
            if was != now:
                raise AssertionError(f"{token}: {was} became {now}")


def _say_sizes(say: Say, stored: StoredModel, model: ModelState, output: Path) -> None:
    rows = [" + ".join(f"{len(d):,}" for d in of) for of in _distinct(stored.model, model)]
    if stored.is_folder:
        sizes = [(folder / WEIGHTS).stat().st_size for folder in (stored.path, output)]
    else:
        sizes = [each.bytes for each in (stored.model, model)]
    say(
        f"{stored.model_in(output)}: {rows[0]} → {rows[1]} rows, {stored.model.parameters:,} → "
        f"{model.parameters:,} parameters, {sizes[0] / 1e6:,.2f} → {sizes[1] / 1e6:,.2f} MB"
    )


def _distinct(*models: ModelState) -> list[tuple[Dictionary, ...]]:
    return [m.dictionaries[:1] if m.is_joint else m.dictionaries for m in models]


def _say_coverage(
    say: Say, stored: StoredModel, model: ModelState, segmentation: Segmentation
) -> None:
    """Say how much of the text that the model was trained on is no longer covered."""
    for side, language in enumerate(stored.languages):
        tokens = stored.old_tokens(language)
        if tokens is None:
            continue
        before = {token: stored.segmentation.units_of_token(token, language) for token in tokens}
        after = {token: segmentation.units_of_token(token, language) for token in tokens}
        known = stored.model.dictionaries[side].symbols
        covered = trimming.coverage(tokens, before, after, known, model.dictionaries[side].symbols)
        say(f"training text, {language}: {covered}")


# --- extend ------------------------------------------------------------------------------------


def extend_by_text(
    stored: StoredModel,
    output: Path,
    texts: Sequence[Path],
    start: Start,
    *,
    merges: int = 0,
    language: str | None = None,
    pair: tuple[str, str] | None = None,
    resegment: bool = False,
    say: Say = print,
) -> ModelState:
    """Write the model with the units that are new in a further text.

    Args:
        stored: the model.
        output: a new folder.
        texts: raw text of one language.
        start: how the new rows are initialised.
        merges: how many further merges to learn, at most.
        language: of the text; needed if the model does not know it, or if the names of the files
            do not say it.
        pair: of the new folder; by default the model's own.
        resegment: use the new units in words of the old text, too.
        say: is called with each message.

    Raises:
        UserError: a text is empty; the texts are in several languages, or in one that the pair
            lacks; nothing is new; an option needs what the model lacks.
    """
    require_new(output)
    model, segmentation = stored.model, stored.segmentation
    languages = pair or stored.languages
    if model.source is None and (pair or language):
        raise UserError(
            "--pair and --language are for translation models; this is a language model"
        )
    if language is not None:
        language = language_code(language, "--language ")
    lines = [line for path in texts for line in _lines(path)]
    if isinstance(segmentation, Subwords):
        language = _common_language(texts, list(segmentation.vocabularies), language)
        _require_side(language, [*languages, *segmentation.vocabularies], stored)
        old = None if resegment else stored.old_tokens(language)
        if old is None and not resegment and language in segmentation.vocabularies:
            say(f"the old text in {language} is not available: its segmentation may change")
        segmentation = segmentation.extended(lines, language, merges, old)
    elif merges or resegment:
        raise UserError(
            f"{'--merges' if merges else '--resegment'}: there is no segmentation to continue; "
            "give the prepared folder as --data, or segmented text without this option"
        )
    else:
        _require_side(language, languages, stored)
    counts = Counter(unit for line in lines for unit in segmentation.units(line, language or ""))
    parts_of = partial(segmentation.parts_of, known=_known(model))
    if pair and isinstance(segmentation, Subwords):
        segmentation = replace(segmentation, settings=_of_pair(segmentation.settings, pair, say))
    side = _side(stored, languages, language)
    old_units = {s for d in _changed(model, side) for s in d.symbols}
    new = {u: c for u, c in counts.most_common() if u not in old_units}
    return _extend(stored, output, new, parts_of, start, side, segmentation, languages, say)


def _of_pair(settings: TextSettings, pair: tuple[str, str], say: Say) -> TextSettings:
    """The settings of another pair, which has no tag yet; the old one may name its target."""
    if pair == (settings.source, settings.target):
        return settings
    if settings.tag:
        new = "-".join(pair)
        say(f"{settings.tag} begins no source sentence of {new}: give preprocess.like its --tag")
    return replace(settings, source=pair[0], target=pair[1], tag="")


def _common_language(texts: Sequence[Path], known: Sequence[str], language: str | None) -> str:
    """The language of all texts.

    Args:
        texts: whose names say it.
        known: the languages of the model.
        language: the one that is given, if any; names that say none or several are trusted then.

    Raises:
        UserError: a name says no language, or they say several.
    """
    if language is None:
        named = [language_of(path, known) for path in texts]
    else:
        named = []
        for path in texts:
            with suppress(UserError):
                named.append(language_of(path, list(dict.fromkeys((*known, language)))))
    distinct = list(dict.fromkeys(named))
    if len(distinct) > 1:
        raise UserError(
            f"--text: files of one language at a time, not {' and '.join(distinct)}; extend once "
            "per language"
        )
    return language or distinct[0]


def _require_side(language: str | None, known: Collection[str], stored: StoredModel) -> None:
    """Refuse a language that is neither the source nor the target."""
    if language is not None and language not in known:
        raise UserError(
            f"--language {language}: the model translates {' to '.join(stored.languages)}; say "
            f"which side it takes, as --pair {stored.languages[0]}-{language}"
        )


def _side(stored: StoredModel, languages: Sequence[str], language: str | None) -> str:
    """Which dictionary text of a language goes into."""
    model = stored.model
    if model.source is None or model.is_joint or language not in languages:
        return BOTH
    return SOURCE if language == languages[0] else TARGET


def _changed(model: ModelState, side: str) -> tuple[Dictionary, ...]:
    return {SOURCE: model.dictionaries[:1], TARGET: model.dictionaries[1:]}.get(
        side, model.dictionaries
    )


def extend_by_symbols(
    stored: StoredModel,
    output: Path,
    symbols: Path,
    start: Start,
    side: str = BOTH,
    say: Say = print,
) -> ModelState:
    """Write the model with units of one's own, such as language tags.

    They do not change how text is segmented: insert them into segmented text.

    Args:
        stored: the model.
        output: a new folder.
        symbols: a unit per line.
        start: how the new rows are initialised.
        side: which dictionary to extend, where there are two.
        say: is called with each message.

    Raises:
        UserError: the file holds no units, more than one on a line, or one that the model has.
    """
    require_new(output)
    units = [line.strip() for line in _lines(symbols) if line.strip()]
    for unit in units:
        if len(unit.split()) > 1:
            raise UserError(f"{symbols}: {unit!r} is more than one unit; write one per line")
        if unit in (SEPARATOR, SENTENCEPIECE_SPACE):
            raise UserError(f"{symbols}: {unit!r} only joins units; leave the line out")
        if any(unit in d.indices for d in _changed(stored.model, side)):
            raise UserError(f"{symbols}: {unit!r} is already a unit of the model")
    parts_of = partial(stored.segmentation.spelled, known=_known(stored.model))
    new = dict.fromkeys(units, 1)
    return _extend(
        stored, output, new, parts_of, start, side, stored.segmentation, stored.languages, say
    )


def _extend(
    stored: StoredModel,
    output: Path,
    units: Mapping[str, int],
    parts_of: Callable[[str], Sequence[str]],
    start: Start,
    side: str,
    segmentation: Segmentation,
    languages: tuple[str, ...],
    say: Say,
) -> ModelState:
    model = stored.model
    extended = extend(model, units, parts_of, start, side)
    has_one = extended.source is None or extended.is_joint
    new = [] if has_one or stored.is_folder else _new_units(model, extended)
    lists = {NEW_UNITS: "".join(f"{unit}\n" for unit in new)} if new else {}
    note = write(stored, extended, output, segmentation, languages, lists)
    _say_sizes(say, stored, extended, output)
    if not stored.is_folder:
        rows = f"{len(model.target)}:{len(extended.target)}" if has_one else output / NEW_UNITS
        say(f"to train only the new rows: --train-rows {rows}")
    if there := sum(any(unit in d.indices for d in model.dictionaries) for unit in new):
        say(f"that also trains {there:,} rows that the other dictionary has of these units")
    if note:
        say(note)
    return extended


def _new_units(old: ModelState, extended: ModelState) -> list[str]:
    """What is new in one of two dictionaries, which may be known in the other."""
    pairs = zip(old.dictionaries, extended.dictionaries, strict=True)
    return sorted({unit for before, now in pairs for unit in now.symbols[len(before) :]})


def start_from(kind: str, vectors: Path | None, seed: int = 1) -> Start:
    """How new rows are initialised; reads the file of vectors.

    Raises:
        UserError: ``vectors`` is given without a file, or a file without ``vectors``.
    """
    if (kind == VECTORS) != (vectors is not None):
        raise UserError("--start vectors and --vectors FILE go together")
    return Start(kind, None if vectors is None else read_vectors(vectors), seed)


# --- tie ---------------------------------------------------------------------------------------


def join_files(source: Path, target: Path, output: Path, say: Say = print) -> Dictionary:
    """Write the joint dictionary of two.

    Raises:
        UserError: the output exists or cannot be written.
    """
    require_new(output)
    dictionaries = [Dictionary.load(str(path)) for path in (source, target)]
    joint = ties.join(*dictionaries)
    with write_whole(output) as file:
        joint.save(file)
    both = set(units_of(dictionaries[0])) & set(units_of(dictionaries[1]))
    sizes = [len(dictionary) for dictionary in dictionaries]
    say(f"{output}: {sizes[0]:,} and {sizes[1]:,} entries → {len(joint):,}, {len(both):,} in both")
    return joint


def tie_files(
    stored: StoredModel, output: Path, tying: str, origin: str = MEAN, say: Say = print
) -> ModelState:
    """Write the model with more of its matrices tied."""
    require_new(output)
    tied = ties.tie(stored.model, tying, origin, stored.unit_counts())
    return _write_tied(stored, tied, output, say)


def untie_files(stored: StoredModel, output: Path, tying: str, say: Say = print) -> ModelState:
    """Write the model with less of its matrices tied; it scores as before."""
    require_new(output)
    return _write_tied(stored, ties.untie(stored.model, tying), output, say)


def _write_tied(stored: StoredModel, tied: ModelState, output: Path, say: Say) -> ModelState:
    note = write(stored, tied, output)
    _say_sizes(say, stored, tied, output)
    changed = [d.symbols for d in tied.dictionaries] != [
        d.symbols for d in stored.model.dictionaries
    ]
    if changed and not stored.is_folder:
        say(f"the dictionary is now joint: binarise the text again with {output / 'data-bin'}")
    if note:
        say(note)
    return tied
