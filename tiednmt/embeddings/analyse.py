"""Analyse the embeddings of checkpoints and word vectors; the result is a record."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path

import tiednmt.analysis.checkpoints as checkpoints
import tiednmt.analysis.word_vectors as word_vectors
import tiednmt.plugin  # noqa: F401
from tiednmt.analysis.embeddings import Embedding, EmbeddingError, Units, nearest, units_of, whole
from tiednmt.analysis.geometry import in_two_dimensions, norms_by_frequency
from tiednmt.analysis.likeness import likeness
from tiednmt.analysis.word_similarity import WordPairs, parse_pairs, set_name, word_similarity
from tiednmt.analysis.word_vectors import EXPORTS
from tiednmt.criterions.row_movement import read_row_movement
from tiednmt.embeddings.gradients import gradient_shares_in
from tiednmt.embeddings.record import (
    AnalysedMatrix,
    AnalysedModel,
    Analysis,
    Likeness,
    NormBand,
    PairLikeness,
    RowMovement,
    SentenceAttention,
    SetSimilarities,
    Similarity,
    StoredTieMap,
    VocabularyShares,
    WordMap,
)
from tiednmt.embeddings.settings import Options
from tiednmt.errors import UserError
from tiednmt.files import file_name, named_when_whole
from tiednmt.packages import package_versions
from tiednmt.text.lines import read_lines
from tiednmt.text.manifest import read_manifest
from tiednmt.text.pipeline import TextPipeline
from tiednmt.translation.evaluation import load_system
from tiednmt.translation.prepared import Prepared
from tiednmt.translation.systems import parse_system, require_file_names
from tiednmt.translation.translator import Translation
from tiednmt.tying import TieMap
from tiednmt.typed import from_json

PACKAGES = ("scipy", "gensim")
LANGUAGE_OF_SETS = "en"
NEIGHBOURS = 8


@dataclass(frozen=True)
class NamedModel:
    """A checkpoint or a file of word vectors, with the name that it has in the analysis."""

    name: str
    path: Path
    checkpoint: checkpoints.Checkpoint | None
    embeddings: tuple[Embedding, ...]
    pipeline: TextPipeline | None  # of a vocabulary of subwords

    def units(self, embedding: Embedding, language: str | None = None) -> Units:
        """How a word is written in this vocabulary."""
        return whole if self.pipeline is None else units_of(embedding, self.pipeline, language)


def load(name: str, path: Path, data: Path | None = None) -> NamedModel:
    """Read a checkpoint of fairseq, or a file of word2vec or gensim.

    Raises:
        UserError: it is neither, or does not fit the dictionaries in ``data``.
    """
    if path.is_dir():
        raise UserError(f"{path}: a folder; give the checkpoint, or the file of word vectors")
    if not path.is_file():
        raise UserError(f"{path}: no such checkpoint")
    try:
        if word_vectors.is_word_vectors(path):
            return NamedModel(name, path, None, word_vectors.load(path), None)
        checkpoint = checkpoints.load(path, data)
    except EmbeddingError as error:  # whose message lacks the file
        raise UserError(f"{path}: {error}") from error
    return NamedModel(name, path, checkpoint, checkpoint.embeddings, _pipeline(checkpoint))


def load_all(systems: Sequence[str], data: Path | None = None) -> list[NamedModel]:
    """Load the checkpoints that the command line gives as ``[NAME=]CHECKPOINT``.

    Raises:
        UserError: two have the same name, or names that make the same file name, or one is an
            ensemble.
    """
    named: list[tuple[str, Path]] = []
    for name, paths in map(parse_system, systems):
        if len(paths) > 1:
            raise UserError(f"{name}: an ensemble; give its checkpoints one by one")
        # the best checkpoint goes by the name of its run
        named.append((name.removesuffix("/checkpoint_best"), paths[0]))
    require_file_names(name for name, _ in named)
    return [load(name, path, data) for name, path in named]


def export(models: Sequence[NamedModel], form: str, out: Path) -> None:
    """Write every embedding to ``out`` as ``word2vec`` text or numpy's ``.npz``."""
    save, suffix = EXPORTS[form]
    for model in models:
        for embedding in model.embeddings:
            name = file_name(f"{model.name}-{embedding.name.replace('·', '')}")
            with named_when_whole(out / (name + suffix)) as partial:
                save(embedding, partial)


def read_sets(paths: Sequence[Path]) -> list[WordPairs]:
    """Read word-similarity sets from files, and from the ``.txt`` files in folders.

    Raises:
        UserError: a folder holds none, a file is damaged, or two sets have the same name.
    """
    files: list[Path] = []
    for path in paths:
        sets = sorted(path.glob("*.txt")) if path.is_dir() else [path]
        if not sets:
            raise UserError(f"{path}: holds no sets; python -m preprocess.wordsim gets them")
        files += sets
    named: dict[str, Path] = {}
    for file in files:
        other = named.setdefault(set_name(file), file)
        if other.resolve() != file.resolve():
            raise UserError(f"{other} and {file}: two sets of one name; rename a file")
    return [parse_pairs(name, read_lines(file), str(file)) for name, file in named.items()]


def analyse(models: Sequence[NamedModel], sets: Sequence[WordPairs], options: Options) -> Analysis:
    """Analyse the models: word similarity, likeness of embeddings, and each model by itself."""
    embeddings = {
        f"{model.name} {embedding.name}": (embedding, model.units(embedding, LANGUAGE_OF_SETS))
        for model in models
        for embedding in model.embeddings
    }
    return Analysis(
        checkpoints=[_analysed(model, options) for model in models],
        similarity={pairs.name: similarity(pairs, embeddings) for pairs in sets},
        likeness=_likeness({name: embedding for name, (embedding, _) in embeddings.items()}),
        versions=package_versions(*PACKAGES),
    )


def similarity(
    pairs: WordPairs, embeddings: Mapping[str, tuple[Embedding, Units]]
) -> SetSimilarities:
    """ρ and coverage of each embedding that has English words, or whose languages are unknown."""
    scores = {
        name: word_similarity(embedding, pairs, units)
        for name, (embedding, units) in embeddings.items()
        if not embedding.languages or LANGUAGE_OF_SETS in embedding.languages
    }
    return SetSimilarities(
        pairs=len(pairs.pairs),
        by={name: Similarity(rho=one.rho, covered=one.covered) for name, one in scores.items()},
    )


def _likeness(embeddings: Mapping[str, Embedding]) -> Likeness | None:
    words = [set(embedding.words) for embedding in embeddings.values()]
    if len(words) < 2 or len(set.intersection(*words)) < 3:
        return None
    measured = likeness(embeddings)
    return Likeness(
        words=measured.words,
        pairs=measured.pairs,
        exact=measured.exact,
        by=[
            PairLikeness(of=two, rho=rho, error=measured.error[two])
            for two, rho in measured.rho.items()
        ],
    )


def _analysed(model: NamedModel, options: Options) -> AnalysedModel:
    matrices = {e.name: _matrix(e, model.units(e), options) for e in model.embeddings}
    checkpoint = model.checkpoint
    analysed = AnalysedModel(
        name=model.name,
        path=str(model.path),
        subwords=model.pipeline is not None,
        matrices=matrices,
        attention=_attention(model, options),
    )
    if checkpoint is None:
        return analysed
    return replace(
        analysed,
        architecture=checkpoint.architecture,
        tie_map=_tie_map(checkpoint.tie_map, checkpoint.bytes_per_parameter),
        vocabulary=_vocabulary(checkpoint),
        row_movement=_row_movement(model.path.parent),
        gradients=gradient_shares_in(model.path.parent),
    )


def _tie_map(tie: TieMap, bytes_per_parameter: int) -> StoredTieMap:
    content = {**tie.to_json(), "bytes_per_parameter": bytes_per_parameter}
    stored: StoredTieMap = from_json(StoredTieMap, content)
    return stored


def _row_movement(folder: Path) -> RowMovement | None:
    movement = read_row_movement(folder)
    return from_json(RowMovement, movement) if movement else None


def _matrix(embedding: Embedding, units: Units, options: Options) -> AnalysedMatrix:
    shown = list(embedding.words[: options.map_words])
    return AnalysedMatrix(
        words=len(embedding.words),
        dim=embedding.vectors.shape[1],
        norms=[
            NormBand(ranks=band, mean=mean) for band, mean in norms_by_frequency(embedding).items()
        ],
        neighbours={word: nearest(embedding, word, NEIGHBOURS, units) for word in options.words},
        map=WordMap(
            method=options.map,
            words=shown,
            points=in_two_dimensions(embedding.take(shown), options.map).tolist(),
        ),
    )


def _attention(model: NamedModel, options: Options) -> list[SentenceAttention]:
    """The attention for each sentence of ``--sentences``, as the checkpoint translates it."""
    if options.sentences is None:
        return []
    checkpoint = model.checkpoint
    if checkpoint is None or len(checkpoint.dictionaries) == 1:
        raise UserError(f"{model.path}: --sentences: not a translation model")
    if checkpoint.prepared is None:
        raise UserError(
            f"--sentences: {checkpoint.data_bin} is in no prepared folder, which would say how the "
            "sentences are segmented; give one as --data"
        )
    prepared = Prepared(checkpoint.prepared)
    with load_system(model.name, [model.path], prepared, options.cpu, attention=True) as system:
        task = system.task
        ends = [d[d.eos()] for d in (task.source_dictionary, task.target_dictionary)]
        sentences = system.translate(read_lines(options.sentences), details=True)
    attention = [_sentence_attention(one, *ends) for one in sentences if one.source_units]
    if not all(one.weights for one in attention):
        raise UserError(f"{model.path}: the model gives no attention; leave --sentences out")
    return attention


def _sentence_attention(one: Translation, source_end: str, target_end: str) -> SentenceAttention:
    return SentenceAttention(
        source=[*one.source_units, source_end],
        target=[*one.units, target_end],
        weights=[[round(weight, 4) for weight in row] for row in one.attention],
        alignment=[(i, row.index(max(row))) for i, row in enumerate(one.attention)],
    )


# --- the prepared folder -----------------------------------------------------------------------


def _pipeline(checkpoint: checkpoints.Checkpoint) -> TextPipeline | None:
    prepared = checkpoint.prepared
    return None if prepared is None else TextPipeline.load(prepared)


def _vocabulary(checkpoint: checkpoints.Checkpoint) -> VocabularyShares | None:
    """Units by language, as counted in the training text or judged by two dictionaries."""
    prepared = checkpoint.prepared
    counted = (prepared and read_manifest(prepared).get("vocabulary")) or {}
    names = [field.name for field in fields(VocabularyShares)]
    if all(name in counted for name in names):
        return VocabularyShares(**{name: counted[name] for name in names})
    if len(checkpoint.dictionaries) == 1:
        return None
    source, target = (set(d.symbols[d.nspecial :]) for d in checkpoint.dictionaries)
    if source == target:  # a joint dictionary does not tell whose units are whose
        return None
    return VocabularyShares(
        source_only=len(source - target),
        target_only=len(target - source),
        both=len(source & target),
    )
