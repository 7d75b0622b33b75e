"""What the analysis of checkpoints finds, as the JSON that its tables and pictures are made of.

``analysis.json``::

    {"checkpoints": [{
        "name", "path", "architecture",           # null in word vectors: architecture, tie_map
        "tie_map": {"groups": [{"names": […], "types", "dim", "parameters", "bytes"}],
                    "others": {name: parameters}, "total", "untied_total",
                    "bytes_per_parameter"},       # of the embeddings as stored
        "vocabulary": {"source_only", "target_only", "both"} or null,   # types
        "subwords": true | false,                 # words are the means of their units' rows
        "matrices": {"U": {"words", "dim",
                           "norms": [{"ranks": [first, last], "mean"}],      # by frequency
                           "neighbours": {word: [[word, cosine], …]},
                           "map": {"method", "words": […], "points": [[x, y], …]}}},
        "row_movement": {"updates", "matrices": {name: [{"ranks", "rows", "moved", "distance"}]}}
                        or null,                  # of the training run, where it was measured
        "attention": [{"source": […], "target": […], "weights": [[…]],     # target × source
                       "alignment": [[target, source], …]}]}],
     "similarity": {set: {"pairs", "by": {"CHECKPOINT U": {"rho" or null, "covered"}}}},
     "likeness": {"words", "pairs", "exact",          # of every two embeddings
                  "by": [{"of": ["CHECKPOINT U", "CHECKPOINT V"], "rho" or null, "error"}]} or null,
     "versions": {package: version}}
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import tiednmt.analysis.checkpoints as checkpoints
import tiednmt.analysis.word_vectors as word_vectors
import tiednmt.plugin  # noqa: F401
from preprocess.files import read_lines
from preprocess.pipeline import TextPipeline
from preprocess.wordsim import set_name
from scripts.lab.run.provenance import package_versions
from scripts.lab.score.prepared import Prepared
from scripts.lab.score.translate import load_system
from tiednmt.analysis.attention import attention_of
from tiednmt.analysis.embeddings import Embedding, EmbeddingError, Units, nearest, whole
from tiednmt.analysis.geometry import in_two_dimensions, norms_by_frequency
from tiednmt.analysis.likeness import likeness
from tiednmt.analysis.word_similarity import WordPairs, parse_pairs, word_similarity
from tiednmt.criterions.row_movement import read_row_movement
from tiednmt.errors import UserError
from tiednmt.tying import TieMap

PACKAGES = ("scipy", "gensim")
LANGUAGE_OF_SETS = "en"
NEIGHBOURS = 8

Record = dict[str, Any]


@dataclass(frozen=True)
class Options:
    """What is looked at: words for neighbours, how many and how on the map, sentences."""

    words: Sequence[str] = ()
    map_words: int = 300
    projection: str = "pca"
    sentences: Sequence[str] = ()
    cpu: bool = False


@dataclass(frozen=True)
class Subject:
    """A checkpoint, or a file of word vectors, that is analysed under a name."""

    name: str
    path: Path
    checkpoint: checkpoints.Checkpoint | None
    embeddings: tuple[Embedding, ...]
    pipeline: TextPipeline | None  # where the vocabulary is one of subwords

    def units(self, embedding: Embedding, language: str | None = None) -> Units:
        """How a word is written in this vocabulary.

        Without a ``language``, or with one that the embedding is not of, the word is of that of
        its languages which writes it in the fewest units.
        """
        if self.pipeline is None:
            return whole
        pipeline, languages = self.pipeline, sorted(embedding.languages)
        if language in languages:
            languages = [language]
        return lambda word: min((pipeline.segment(word, of).split() for of in languages), key=len)


def load(name: str, path: Path, data: Path | None = None) -> Subject:
    """Read a checkpoint of fairseq, or a file of word2vec or gensim.

    Raises:
        UserError: it is neither, or does not fit the dictionaries in ``data``.
    """
    if not path.is_file():
        raise UserError(f"{path}: no such checkpoint")
    try:
        if word_vectors.is_word_vectors(path):
            return Subject(name, path, None, word_vectors.load(path), None)
        found = checkpoints.load(path, data)
    except EmbeddingError as error:  # which knows of no file
        raise UserError(f"{path}: {error}") from error
    return Subject(name, path, found, found.embeddings, _pipeline(found))


def read_sets(paths: Sequence[Path]) -> list[WordPairs]:
    """The word-similarity sets of files, and of the ``.txt`` files of folders.

    Raises:
        UserError: a folder without any, or a broken file.
    """
    files = []
    for path in paths:
        found = sorted(path.glob("*.txt")) if path.is_dir() else [path]
        if not found:
            raise UserError(f"{path}: holds no sets; python -m preprocess.wordsim gets them")
        files += found
    return [parse_pairs(set_name(file), read_lines(file), str(file)) for file in files]


def analyse(subjects: Sequence[Subject], sets: Sequence[WordPairs], options: Options) -> Record:
    """All there is to say of the subjects: the JSON that the head of this file describes."""
    embeddings = {
        f"{subject.name} {embedding.name}": (embedding, subject.units(embedding, LANGUAGE_OF_SETS))
        for subject in subjects
        for embedding in subject.embeddings
    }
    return {
        "checkpoints": [_subject(subject, options) for subject in subjects],
        "similarity": {pairs.name: similarity(pairs, embeddings) for pairs in sets},
        "likeness": _likeness({name: embedding for name, (embedding, _) in embeddings.items()}),
        "versions": package_versions(*PACKAGES),
    }


def similarity(pairs: WordPairs, embeddings: dict[str, tuple[Embedding, Units]]) -> Record:
    """ρ and coverage of each embedding of English words, or of words of no language known."""
    by = {}
    for name, (embedding, units) in embeddings.items():
        if not embedding.languages or LANGUAGE_OF_SETS in embedding.languages:
            found = word_similarity(embedding, pairs, units)
            by[name] = {"rho": found.rho, "covered": found.covered}
    return {"pairs": len(pairs.pairs), "by": by}


def _likeness(embeddings: dict[str, Embedding]) -> Record | None:
    words = [set(embedding.words) for embedding in embeddings.values()]
    if len(words) < 2 or len(set.intersection(*words)) < 3:
        return None
    found = likeness(embeddings)
    return {
        "words": found.words,
        "pairs": found.pairs,
        "exact": found.exact,
        "by": [
            {"of": list(two), "rho": rho, "error": found.error[two]}
            for two, rho in found.rho.items()
        ],
    }


def _subject(subject: Subject, options: Options) -> Record:
    checkpoint = subject.checkpoint
    return {
        "name": subject.name,
        "path": str(subject.path),
        "architecture": checkpoint and checkpoint.architecture,
        "tie_map": checkpoint and _tie_map(checkpoint.tie_map, checkpoint.bytes_per_parameter),
        "vocabulary": checkpoint and _vocabulary(checkpoint),
        "subwords": subject.pipeline is not None,
        "matrices": {
            embedding.name: _matrix(embedding, subject.units(embedding), options)
            for embedding in subject.embeddings
        },
        "row_movement": checkpoint and read_row_movement(subject.path.parent),
        "attention": _attention(subject, options) if options.sentences else [],
    }


def _tie_map(tie: TieMap, bytes_per_parameter: int) -> Record:
    return {
        "groups": [
            {
                "names": list(names),
                "types": types,
                "dim": dim,
                "parameters": types * dim,
                "bytes": types * dim * bytes_per_parameter,
            }
            for names, (types, dim) in tie.groups
        ],
        "others": dict(tie.others),
        "total": tie.total,
        "untied_total": tie.untied_total,
        "bytes_per_parameter": bytes_per_parameter,
    }


def _matrix(embedding: Embedding, units: Units, options: Options) -> Record:
    shown = list(embedding.words[: options.map_words])
    return {
        "words": len(embedding.words),
        "dim": embedding.vectors.shape[1],
        "norms": [
            {"ranks": list(band), "mean": mean}
            for band, mean in norms_by_frequency(embedding).items()
        ],
        "neighbours": {word: nearest(embedding, word, NEIGHBOURS, units) for word in options.words},
        "map": {
            "method": options.projection,
            "words": shown,
            "points": in_two_dimensions(embedding.take(shown), options.projection).tolist(),
        },
    }


def _attention(subject: Subject, options: Options) -> list[Record]:
    """Of each sentence and its translation by the checkpoint."""
    checkpoint = subject.checkpoint
    if checkpoint is None or len(checkpoint.dictionaries) == 1:
        raise UserError(f"{subject.path}: --sentences: not a translation model")
    prepared = Prepared(checkpoint.data_bin.parent)
    system = load_system(subject.name, [subject.path], prepared, options.cpu, attention=True)
    pipeline = system.pipeline
    lines = [pipeline.encode(line, pipeline.source) for line in options.sentences]
    dictionaries = (system.task.source_dictionary, system.task.target_dictionary)
    found = {
        i: attention_of(source, best, dictionaries) for i, source, best in system.hypotheses(lines)
    }
    return [
        {
            "source": found[i].source,
            "target": found[i].target,
            "weights": found[i].weights.round(4).tolist(),
            "alignment": found[i].alignment,
        }
        for i in sorted(found)
    ]


# --- the prepared folder -----------------------------------------------------------------------


def _manifest(checkpoint: checkpoints.Checkpoint) -> Record:
    """That of the prepared folder; empty where the data-bin is fairseq's alone."""
    path = checkpoint.data_bin.parent / "manifest.json"
    return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}


def _pipeline(checkpoint: checkpoints.Checkpoint) -> TextPipeline | None:
    translates = "bpe" in _manifest(checkpoint).get("options", {})
    return TextPipeline.load(checkpoint.data_bin.parent) if translates else None


def _vocabulary(checkpoint: checkpoints.Checkpoint) -> dict[str, int] | None:
    """Types of the training text by language, counted there or told from two dictionaries."""
    keys = ("source_only", "target_only", "both")
    counted = _manifest(checkpoint).get("vocabulary", {})
    if all(key in counted for key in keys):
        return {key: counted[key] for key in keys}
    if len(checkpoint.dictionaries) == 1:
        return None
    source, target = (set(d.symbols[d.nspecial :]) for d in checkpoint.dictionaries)
    if source == target:  # a joint one does not tell
        return None
    sizes = (len(source - target), len(target - source), len(source & target))
    return dict(zip(keys, sizes, strict=True))
