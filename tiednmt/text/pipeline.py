"""From raw text to subword units and back: the one definition that preparing and scoring share.

Raw line → normalised line → tokens (Moses' rules) → subword units (subword-nmt), and the same way
back. With sentencepiece there are no tokens: the model works on the normalised line.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from tiednmt.errors import UserError
from tiednmt.files import write_json
from tiednmt.text import moses, normalise
from tiednmt.text.manifest import MANIFEST, SEGMENTATION, SEGMENTED, read_manifest
from tiednmt.text.moses import MosesTokeniser, detokenise
from tiednmt.text.subwords import (
    CODES,
    PIECES,
    BytePairs,
    SentencePiece,
    escape,
    vocabulary_file,
)

BPE, SENTENCEPIECE = SEGMENTATIONS = ("bpe", "sentencepiece")
PACKAGES = {BPE: "subword-nmt", SENTENCEPIECE: "sentencepiece"}
SETTINGS = "settings.json"  # in a folder that holds only a pipeline
VERSION = 2
# Version 1, of older folders, has no joiners and no escapes; with sentencepiece, it makes
# apostrophes ASCII and has no threshold.


@dataclass(frozen=True)
class TextSettings:
    """How the text of a language pair is segmented into units, as the manifest records it.

    Attributes:
        source: code of the source language.
        target: code of the target language.
        segmentation: ``bpe`` (Moses' tokens, subword-nmt) or ``sentencepiece`` (raw lines).
        threshold: units seen fewer times than this in a language's training text are split
            further in that language.
        apostrophes: for each language, the usual apostrophe inside words. Where Moses' rules need
            the ASCII one, the usual one is restored in the output.
        version: of this definition. A folder is always read by the version it was prepared with.
        tag: a unit before each source sentence, such as the language to translate it to; or none.
    """

    source: str
    target: str
    segmentation: str
    threshold: int
    apostrophes: Mapping[str, str] = field(default_factory=dict)
    version: int = VERSION
    tag: str = ""

    @property
    def normalisation(self) -> tuple[str, ...]:
        """The steps of :func:`tiednmt.text.normalise.normalise`."""
        if self.segmentation == SENTENCEPIECE and self.version > 1:
            return normalise.NFC, normalise.CONTROL
        return normalise.STEPS

    def for_manifest(self) -> dict[str, Any]:
        """These settings, as :meth:`from_manifest` reads them."""
        text = {**asdict(self), "normalisation": list(self.normalisation)}
        return text if self.tag else {name: text[name] for name in text if name != "tag"}

    @classmethod
    def from_manifest(cls, manifest: Mapping[str, Any], path: Path) -> TextSettings:
        """The settings in a manifest of the current or the previous format.

        Args:
            manifest: its content.
            path: of the manifest, for the error message.

        Raises:
            UserError: a value is not one that a manifest can have.
        """
        is_older = manifest.get("format") == 1
        text = _of_format_1(manifest) if is_older else manifest.get("text", {})
        _require_types(text, path)
        if text["segmentation"] not in SEGMENTATIONS:
            raise _not_a_manifest(path, "segmentation", text["segmentation"])
        if not 1 <= text["version"] <= VERSION:
            raise UserError(
                f"{path}: prepared by a later version of tiednmt (text {text['version']});"
                " install that version, or prepare the corpus again"
            )
        # folders of earlier releases have the tag among the options of the command
        tag = text.get("tag", (manifest.get("options") or {}).get("tag", ""))
        if not isinstance(tag, str):
            raise _not_a_manifest(path, "tag", tag)
        named = {name: text[name] for name in _TYPES}
        return cls(**named, apostrophes=text.get("apostrophes", {}), tag=tag)


_APOSTROPHES = ["'", "’"]
_TYPES = {"source": str, "target": str, "segmentation": str, "threshold": int, "version": int}


def _of_format_1(manifest: Mapping[str, Any]) -> dict[str, Any]:
    """The settings of a manifest of the first format, as later ones have them."""
    options = manifest["options"]
    old = {"subword-nmt": BPE, "sentencepiece": SENTENCEPIECE}
    return {
        "source": manifest["source"],
        "target": manifest["target"],
        "segmentation": old.get(options["bpe"], options["bpe"]),
        "threshold": options["vocabulary_threshold"],
        "version": 1,
    }


def _require_types(text: Any, path: Path) -> None:
    if not isinstance(text, dict):
        raise _not_a_manifest(path, "text", text)
    for name, kind in _TYPES.items():
        if type(text.get(name)) is not kind:
            raise _not_a_manifest(path, name, text.get(name))
    apostrophes = text.get("apostrophes", {})
    if not isinstance(apostrophes, dict) or any(
        usual not in _APOSTROPHES for usual in apostrophes.values()
    ):
        raise _not_a_manifest(path, "apostrophes", apostrophes)


def _not_a_manifest(path: Path, name: str, value: object) -> UserError:
    return UserError(f"{path}: {name} {value!r}: not valid in a prepared corpus; prepare it again")


def segmentation_for(*languages: str) -> str:
    """The segmentation for languages: ``bpe`` if Moses has rules for all, else sentencepiece."""
    return BPE if moses.LANGUAGES.issuperset(map(base_language, languages)) else SENTENCEPIECE


def base_language(code: str) -> str:
    """The language without its region, which selects the rules: ``pt`` of ``pt_BR``."""
    return code.split("_")[0].lower()


class TextPipeline:
    """Encodes and decodes the two languages of a prepared folder.

    It is cheap to make and to pickle: tokenisers and subword models are loaded at first use.

    Args:
        settings: how text is segmented.
        folder: the ``bpe`` folder, with subword-nmt's ``codes`` or ``sentencepiece.model``, and
            with ``vocab.<language>``.
    """

    def __init__(self, settings: TextSettings, folder: Path):
        self.settings = settings
        self.folder = Path(folder)

    @classmethod
    def load(cls, prepared: Path) -> TextPipeline:
        """The pipeline of a prepared folder, read from its manifest.

        Raises:
            UserError: the folder is not a prepared one.
        """
        prepared = Path(prepared)
        settings = TextSettings.from_manifest(read_manifest(prepared), prepared / MANIFEST)
        return cls(settings, prepared / SEGMENTED)

    @classmethod
    def saved(cls, folder: Path) -> TextPipeline:
        """The pipeline that :meth:`save` wrote into a folder.

        Raises:
            UserError: the folder is not one of those.
        """
        path = Path(folder) / SETTINGS
        try:
            settings = json.loads(path.read_text(encoding="utf-8"))
        except FileNotFoundError:
            raise UserError(f"{path}: no such file; copy the whole folder again") from None
        except (ValueError, RecursionError):
            settings = None
        return cls(TextSettings.from_manifest({"text": settings}, path), path.parent)

    @classmethod
    def of_either(cls, folder: Path) -> TextPipeline:
        """The pipeline of a prepared folder or of a model folder.

        Raises:
            UserError: the folder is neither.
        """
        segmentation = Path(folder) / SEGMENTATION
        return cls.saved(segmentation) if segmentation.is_dir() else cls.load(folder)

    def save(self, folder: Path) -> None:
        """Write everything that this pipeline needs into a new folder."""
        folder.mkdir(parents=True)
        for file in self.files:
            shutil.copyfile(file, folder / file.name)
        write_json(folder / SETTINGS, self.settings.for_manifest())

    def __reduce__(self) -> tuple[Any, ...]:
        return TextPipeline, (self.settings, self.folder)

    @property
    def files(self) -> list[Path]:
        """The files it reads: all that is needed to make it again elsewhere."""
        model = self.folder / (PIECES if self._on_raw_lines else CODES)
        needs_vocabularies = not self._on_raw_lines or self.settings.version > 1
        codes = self.languages if needs_vocabularies else ()
        return [model, *(vocabulary_file(self.folder, code) for code in codes)]

    @property
    def source(self) -> str:
        """Code of the source language."""
        return self.settings.source

    @property
    def target(self) -> str:
        """Code of the target language."""
        return self.settings.target

    @property
    def languages(self) -> tuple[str, str]:
        """The source and the target language."""
        return self.source, self.target

    def encode(self, line: str, language: str) -> str:
        """Raw line → space-separated subword units, as in the ``bpe`` folder; "" if it has none.

        Those of a source sentence begin with the tag, if there is one.
        """
        units = self.segment(self.tokenise(line, language), language)
        tag = self.settings.tag if language == self.source else ""
        return f"{tag} {units}" if tag and units else units

    def decode(self, units: str, language: str) -> str:
        """Space-separated subword units → raw text.

        Raises:
            UserError: marks of subword segmentation remain in the text.
        """
        if self._on_raw_lines:
            return self._sentencepieces[language].join(units)
        text = detokenise(BytePairs.join(units).split(), base_language(language))
        return self._with_apostrophes(text, language)

    def tokenise(self, line: str, language: str) -> str:
        """Raw line → space-separated tokens; with sentencepiece, the normalised line, escaped."""
        line = self.normalise(line)
        if self._on_raw_lines:
            return escape(line) if self.settings.version > 1 else line
        return self._tokenisers[language](line)

    def segment(self, tokens: str, language: str) -> str:
        """What :meth:`tokenise` returns → space-separated subword units."""
        if self._on_raw_lines:
            return self._sentencepieces[language].segment(tokens)
        return self._byte_pairs[language].segment(tokens)

    def drawn(self, units: str, language: str, dropout: float, seed: int) -> str:
        """The units of a sentence → other ones of the same text, by BPE-dropout.

        Each merge is left out with probability ``dropout`` (Provilkov et al. 2020,
        "BPE-Dropout: Simple and Effective Subword Regularization"); ``seed`` repeats a draw. The
        tag stays.

        Raises:
            UserError: marks of subword segmentation remain in the text.
        """
        tag = self.settings.tag if language == self.source else ""
        first, _, others = units.partition(" ")
        if tag and first == tag:
            return f"{tag} {self._drawn(others, language, dropout, seed)}".rstrip()
        return self._drawn(units, language, dropout, seed)

    def _drawn(self, units: str, language: str, dropout: float, seed: int) -> str:
        if not self._on_raw_lines:
            return self._byte_pairs[language].draw(BytePairs.join(units), dropout, seed)
        pieces = self._sentencepieces[language]
        line = pieces.join(units)
        return pieces.draw(escape(line) if self.settings.version > 1 else line, dropout, seed)

    def normalise(self, line: str) -> str:
        """Raw line → its normalised form, without control characters or extra white space."""
        return normalise.normalise(line, self.settings.normalisation)

    def as_written(self, line: str, language: str) -> str:
        """A raw line in the form that :meth:`decode` returns for a perfect translation."""
        return self._with_apostrophes(self.normalise(line), language)

    @property
    def characters(self) -> list[str]:
        """Single-character units, if the subword model lists them all; else an empty list."""
        pieces = self._sentencepieces[self.source].pieces if self._on_raw_lines else []
        return [piece for piece in pieces if len(piece) == 1]

    def load_tokenisers(self) -> None:
        """Load the tokenisers now instead of at first use."""
        if not self._on_raw_lines:
            _ = self._tokenisers

    def load_tools(self) -> None:
        """Load tokenisers and subword models now instead of at first use."""
        for language in self.languages:
            self.decode(self.encode("", language), language)

    @property
    def _on_raw_lines(self) -> bool:
        return self.settings.segmentation == SENTENCEPIECE

    def _with_apostrophes(self, text: str, language: str) -> str:
        if normalise.APOSTROPHE not in self.settings.normalisation or "'" not in text:
            return text
        return normalise.ASCII.sub(self.settings.apostrophes.get(language, "'"), text)

    @cached_property
    def _tokenisers(self) -> dict[str, MosesTokeniser]:
        joiners = self.settings.version > 1
        return {code: MosesTokeniser(base_language(code), joiners) for code in self.languages}

    @cached_property
    def _byte_pairs(self) -> dict[str, BytePairs]:
        codes, threshold = self.folder / CODES, self.settings.threshold
        return {
            code: BytePairs(codes, vocabulary_file(self.folder, code), threshold)
            for code in self.languages
        }

    @cached_property
    def _sentencepieces(self) -> dict[str, SentencePiece]:
        model, settings = self.folder / PIECES, self.settings
        if settings.version == 1:
            return dict.fromkeys(self.languages, SentencePiece(model, escapes=False))
        return {
            code: SentencePiece(model, vocabulary_file(self.folder, code), settings.threshold)
            for code in self.languages
        }
