"""The stages that prepare a parallel corpus, and their results."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, replace
from functools import cached_property, partial
from itertools import chain
from pathlib import Path
from typing import Any

from preprocess.binarise import DataBin, binarise_pairs
from preprocess.corpus import TRAIN, VALID, Corpus, Options, split_names
from preprocess.duplicates import mark_duplicates
from preprocess.filters import Filters
from preprocess.held_out import count_copies, hold_out, without
from preprocess.layout import Layout
from preprocess.manifest import package_version
from preprocess.reading import copy_reference, read_pairs
from preprocess.round_trips import RoundTrip, round_trip
from preprocess.stages import Stage, Stages
from preprocess.subwords import (
    apply_pairs,
    count_words,
    learn_sentencepiece,
    learn_subword_nmt,
    write_dictionary,
)
from preprocess.tokenisation import Tokenisation, Tokenised, tokenise_pairs
from tiednmt.errors import UserError
from tiednmt.text.manifest import FORMAT, RAW, reference_file
from tiednmt.text.normalise import APOSTROPHE, apostrophe_of
from tiednmt.text.pipeline import BPE, PACKAGES, VERSION, TextPipeline, TextSettings

READ, TOKENISE, LEARN, ENCODE, JOIN = STEPS = ("read", "tokenise", "learn", "encode", "join")
DIVIDED_STEPS = (TOKENISE, ENCODE)

LONGEST_HELD_OUT = 1023  # units; with the end of the sentence what fairseq's models take by default


class Plan:
    """The stages of a corpus, and their results."""

    hint = "look at the files, --max-length and --max-ratio"  # if filters leave nothing
    tag = ""  # a unit to put before each source sentence

    def __init__(self, corpus: Corpus, results: Stages, options: Options):
        self.corpus = corpus
        self.options = options
        self.dest = results.folder
        self.languages = corpus.languages
        self.layout = Layout(self.dest, self.languages, options.parts, options.deduplicate)
        self.splits = split_names(corpus.names)
        self.segmentation = options.segmentation_of(*corpus.languages)
        settings = TextSettings(*corpus.languages, self.segmentation, options.vocabulary_threshold)
        self.pipeline = TextPipeline(settings, self.layout.model)
        self._results = results

    @cached_property
    def stages(self) -> list[Stage]:
        """All stages, in order."""
        numbers = self.layout.numbers
        parts = [(subset, number) for subset in self.splits for number in numbers(subset)]
        return [
            *([self._holding_out()] if self.corpus.held_out else []),
            *(self._reading(subset) for subset in self.splits if subset in self.corpus.subsets),
            *(self._tokenising(*part) for part in parts),
            self._comparing(),
            *([self._finding_duplicates()] if self.options.deduplicate else []),
            *self._of_units(),
            self._measuring_round_trips(),
            *(self._applying(*part) for part in parts),
            *self._of_dictionary(),
            *(self._binarising(number) for number in numbers(TRAIN)),
        ]

    def _of_units(self) -> list[Stage]:
        """The stages that make the subword model, and the dictionary where words suffice for it."""
        return [self._counting(), self._learning(), self._making_dictionary()]

    def _of_dictionary(self) -> list[Stage]:
        """The stages for the dictionary that need the text in units."""
        return []

    # --- results -------------------------------------------------------------------------------

    def manifest(self) -> dict[str, Any]:
        """The content of the manifest: the text, its units and how both were made."""
        overlap = self.overlap()
        return {
            **self._manifest(self.options.of_content()),
            "vocabulary": self.vocabulary(),
            **({"overlap": overlap} if overlap else {}),
        }

    def _manifest(self, options: dict[str, Any]) -> dict[str, Any]:
        references = self.corpus.references
        return {
            "format": FORMAT,
            "corpus": self.corpus.name,
            "source": self.corpus.source,
            "target": self.corpus.target,
            "subsets": {name: split for name, split in self.splits.items() if name != TRAIN},
            "references": {name: 1 + len(more) for name, more in references.items()},
            "options": options,
            "text": self.settings().for_manifest(),
            "originals": self.originals(),
            "counts": self.counts(),
            "round_trip": {name: asdict(trip) for name, trip in self.round_trips().items()},
        }

    def originals(self) -> dict[str, str]:
        """The SHA-256 of each file that the corpus comes from, by name.

        Files with the same name are given with their folders.
        """
        hashes: dict[Path, str] = {}
        for subset in self.splits:
            hashes |= self._results.input_hashes(f"read {subset}")
        originals = [path for path in hashes if not path.is_relative_to(self.dest / RAW)]
        names = [path.name for path in originals]
        return {
            str(path) if names.count(path.name) > 1 else path.name: hashes[path]
            for path in originals
        }

    def counts(self) -> dict[str, dict[str, int]]:
        """For each subset, how many pairs were read, kept, and dropped for each reason."""
        counts = {subset: self.tokenised(subset).counts for subset in self.splits}
        if self.options.deduplicate:
            duplicates = sum(self._results.result("find duplicates"))
            kept = counts[TRAIN].pop("kept") - duplicates
            counts[TRAIN] |= {"duplicate": duplicates, "kept": kept}
        return counts

    def copies(self, subset: str) -> int:
        """How many pairs of a held-out set are training pairs too."""
        number: int = self._results.result("compare")[subset]
        return number

    def tokenised(self, subset: str) -> Tokenised:
        """The result of tokenising a subset, all parts together."""
        first, *others = (self._tokenised(subset, number) for number in self.layout.numbers(subset))
        for other in others:
            first = first + other
        return first

    def vocabulary(self) -> dict[str, int]:
        """The sizes of :func:`preprocess.vocabulary.vocabulary_sizes`."""
        result = self._results.result("dictionary")
        return {name: size for name, size in result.items() if name != "overlap"}

    def overlap(self) -> dict[str, Any] | None:
        """A :class:`preprocess.overlap.Overlap`, as JSON; older folders have none."""
        overlap: dict[str, Any] | None = self._results.result("dictionary").get("overlap")
        return overlap

    def settings(self) -> TextSettings:
        """How text is segmented into units, and what decoding restores."""
        if APOSTROPHE not in self.pipeline.settings.normalisation:
            return self.pipeline.settings
        counted = self._results.result(f"read {TRAIN}")["apostrophes"]
        apostrophes = {
            language: apostrophe_of(*counts)
            for language, counts in zip(self.languages, counted, strict=True)
        }
        return replace(self.pipeline.settings, apostrophes=apostrophes)

    def round_trips(self) -> dict[str, RoundTrip]:
        """By language, how well training lines come back from their units."""
        trips = self._results.result("round trip")
        return {language: RoundTrip(**trip) for language, trip in trips.items()}

    def applied(self, subset: str) -> list[dict[str, Any]]:
        """The result of :func:`preprocess.subwords.apply_pairs` for each part of a subset."""
        names = [self.layout.name(subset, number) for number in self.layout.numbers(subset)]
        return [self._results.result(f"apply {name}") for name in names]

    def place(self, subset: str, number: int) -> str:
        """The file and the place in it of a pair, by its number from 1."""
        if subset in self.corpus.subsets and all(map(Path.exists, self.corpus.paths(subset))):
            return self.corpus.place(subset, number)
        return f"{' and '.join(map(str, self.layout.raw(subset, 0)))}, line {number}"

    def _tokenised(self, subset: str, number: int) -> Tokenised:
        return Tokenised(**self._results.result(f"tokenise {self.layout.name(subset, number)}"))

    # --- stages --------------------------------------------------------------------------------

    def _holding_out(self) -> Stage:
        outputs, number = self.layout.raw(VALID, 0), self.corpus.held_out

        def act() -> dict[str, Any]:
            hold_out(self.corpus.sources(TRAIN), number, self._filters, outputs)
            return {"parts": [number]}

        return Stage(
            f"read {VALID}",
            act,
            inputs=self.corpus.paths(TRAIN),
            outputs=outputs,
            options={"held_out": number, **self._filter_options},
            step=READ,
        )

    def _reading(self, subset: str) -> Stage:
        sources, raw = self.corpus.sources(subset), self.layout.raw
        parts = [raw(subset, number) for number in self.layout.numbers(subset)]
        held_out = raw(VALID, 0) if subset == TRAIN and self.corpus.held_out else []
        target = raw(subset, 0)[1]
        more = [
            reference_file(target, number)
            for number, _ in enumerate(self.corpus.references.get(subset, ()), start=2)
        ]

        def require(counts: Sequence[int]) -> None:
            if not any(counts):
                files = " and ".join(map(str, self.corpus.paths(subset)))
                raise UserError(f"{files}: no pairs are there for the {subset} set")
            if not all(counts):
                raise UserError(
                    f"--parts {len(parts)}: the training text has only {sum(counts)} pairs; take"
                    " fewer parts"
                )

        def act() -> dict[str, Any]:
            pairs = chain.from_iterable(source.pairs() for source in sources)
            read = read_pairs(without(pairs, held_out) if held_out else pairs, parts, require)
            for file, path in zip(self.corpus.references.get(subset, ()), more, strict=True):
                copy_reference(file, path, lines=read["parts"][0])
            return read

        paths, order = self.corpus.paths(subset), self.corpus.order(subset)
        repeats = len(order) > len(paths)  # the inputs on record name each file once
        return Stage(
            f"read {subset}",
            act,
            inputs=[*paths, *held_out],
            outputs=[*(path for part in parts for path in part), *more],
            options={"languages": list(self.languages), **({"order": order} if repeats else {})},
            step=READ,
        )

    def _tokenising(self, subset: str, number: int) -> Stage:
        recorded: dict[str, Any] = {
            "segmentation": self.segmentation,
            "text": self.pipeline.settings.version,
            "version": package_version("sacremoses"),
        }
        drops, keys = subset == TRAIN, None
        recorded |= {"drops": drops, **self._filter_options}
        if subset == TRAIN:
            keys = self.layout.keys(number) if self.options.deduplicate else None
            recorded |= {"deduplicate": self.options.deduplicate}
        raw = self.layout.raw(subset, number)
        tokenised = self.layout.tokenised(subset, number)
        tokenisation = Tokenisation(self.pipeline, self._filters, drops, keys is not None)
        return Stage(
            f"tokenise {self.layout.name(subset, number)}",
            lambda: tokenise_pairs(
                raw,
                tokenised,
                tokenisation,
                keys,
                self.options.processes,
                self._results.result(f"read {subset}")["parts"][number],
            ),
            inputs=raw,
            outputs=[*tokenised, *([keys] if keys else [])],
            options=recorded,
            step=TOKENISE,
            part=number,
        )

    def _comparing(self) -> Stage:
        tokenised = self.layout.tokenised
        training = [tokenised(TRAIN, number) for number in self.layout.numbers(TRAIN)]
        held_out = {name: tokenised(name, 0) for name in self.splits if name != TRAIN}
        return Stage(
            "compare",
            partial(count_copies, held_out, training),
            inputs=[*chain.from_iterable((*held_out.values(), *training))],
            outputs=[],
            step=LEARN,
        )

    def _finding_duplicates(self) -> Stage:
        numbers = self.layout.numbers(TRAIN)
        keys = [self.layout.keys(number) for number in numbers]
        marks = [self.layout.marks(number) for number in numbers]
        return Stage(
            "find duplicates",
            partial(mark_duplicates, keys, marks),
            inputs=keys,
            outputs=marks,
            step=LEARN,
        )

    def _counting(self) -> Stage:
        parts = self.layout.training_parts

        def count() -> None:
            self._require_pairs()
            count_words(parts, self.layout.words, self.options.processes)

        return Stage(
            "count words",
            count,
            inputs=[path for part in parts for path in part.files],
            outputs=self.layout.words,
            step=LEARN,
        )

    def _require_pairs(self) -> None:
        """Refuse to go on without training pairs."""
        counts = self.counts()[TRAIN]
        if counts["kept"] == 0:
            reasons = ", ".join(f"{name} {n:,}" for name, n in counts.items() if n)
            raise UserError(
                f"{self.corpus.name}: no training pair is left after filtering ({reasons});"
                f" {self.hint}"
            )
        if not all(self._kept()):
            raise UserError(
                f"--parts {self.options.parts}: a part of the training text keeps none of its"
                f" pairs, of {counts['kept']:,} that are kept in all; take fewer parts"
            )

    def _kept(self) -> list[int]:
        """How many pairs of each part of the training text are trained on."""
        parts = self.layout.numbers(TRAIN)
        kept = [self._tokenised(TRAIN, number).counts["kept"] for number in parts]
        if self.options.deduplicate:
            duplicates = self._results.result("find duplicates")
            kept = [number - more for number, more in zip(kept, duplicates, strict=True)]
        return kept

    def _learning(self) -> Stage:
        options, layout = self.options, self.layout
        words, parts = layout.words, layout.training_parts
        is_bpe = self.segmentation == BPE
        texts = [] if is_bpe else [path for part in parts for path in part.files]
        near = options.segmentation != self.segmentation

        def learn() -> None:
            size, workers = options.merges, options.processes
            if is_bpe:
                learn_subword_nmt(words, layout.model, self.languages, size, workers)
                return
            learn_sentencepiece(parts, words, layout.model, self.languages, size, workers, near)

        return Stage(
            "learn",
            learn,
            inputs=[*texts, *words],
            outputs=self._model,
            options={
                "segmentation": self.segmentation,
                "text": VERSION,
                "merges": options.merges,
                "version": package_version(PACKAGES[self.segmentation]),
                **({} if is_bpe else {"near": near}),
            },
            step=LEARN,
        )

    def _making_dictionary(self) -> Stage:
        layout, workers = self.layout, self.options.processes
        path, shared = layout.dictionary, layout.shared_units
        return Stage(
            "dictionary",
            partial(write_dictionary, layout.words, path, shared, self.pipeline, workers),
            inputs=layout.words + self._model,
            outputs=[path, shared],
            options={
                "threshold": self.options.vocabulary_threshold,
                "version": package_version("fairseq"),
            },
            step=LEARN,
        )

    def _measuring_round_trips(self) -> Stage:
        raw = self.layout.raw(TRAIN, 0)

        def measure() -> dict[str, Any]:
            pipeline = TextPipeline(self.settings(), self.pipeline.folder)
            lines = self._results.result(f"read {TRAIN}")["parts"][0]
            return {
                language: asdict(round_trip(pipeline, language, path, lines))
                for language, path in zip(self.languages, raw, strict=True)
            }

        return Stage(
            "round trip",
            measure,
            inputs=[*raw, *self._model],
            outputs=[],
            options={"text": VERSION},
            step=LEARN,
        )

    def _applying(self, subset: str, number: int) -> Stage:
        part = self.layout.text(subset, number)
        units = self.layout.segmented(subset, number)

        def apply() -> dict[str, Any]:
            kept = self._tokenised(subset, number).counts["kept"]
            workers = self.options.processes
            applied = apply_pairs(part, units, self.pipeline, workers, total=kept, tag=self.tag)
            if subset == VALID and applied["longest"] > LONGEST_HELD_OUT:
                raise UserError(
                    f"{self.place(VALID, applied['place'])}: {applied['longest']:,} subword units,"
                    f" and models take {LONGEST_HELD_OUT:,}; training would stop at it when it"
                    " validates: divide the line, or leave it out"
                )
            return applied

        return Stage(
            f"apply {self.layout.name(subset, number)}",
            apply,
            inputs=part.files + self._model,
            outputs=units,
            options={
                "threshold": self.options.vocabulary_threshold,
                "version": self.pipeline.settings.version,
                **({"tag": self.tag} if self.tag else {}),
            },
            step=ENCODE,
            part=number,
        )

    def _binarising(self, number: int) -> Stage:
        whole = self.options.parts == 1
        subsets = self.splits if number == 0 else [TRAIN]
        layout = self.layout
        dictionary = (layout.dictionary, layout.shared_units)
        texts = {self.splits[name]: layout.model / layout.name(name, number) for name in subsets}
        data_bin = DataBin(layout.data_bin(number), self.languages, texts)
        return Stage(
            "binarise" if whole else f"binarise {number}",
            partial(binarise_pairs, data_bin, *dictionary, self.options.processes),
            inputs=[
                *dictionary,
                *(path for subset in subsets for path in layout.segmented(subset, number)),
            ],
            outputs=data_bin.files,
            options={"version": package_version("fairseq")},
            step=ENCODE,
            part=number,
        )

    @property
    def _filters(self) -> Filters:
        options = self.options
        languages = self.languages if options.check_script else None
        return Filters(options.max_length, options.max_ratio, languages)

    @property
    def _filter_options(self) -> dict[str, Any]:
        names = ("max_length", "max_ratio", "check_script")
        return {name: getattr(self.options, name) for name in names}

    @cached_property
    def _model(self) -> list[Path]:
        return self.pipeline.files
