"""Tables and charts of the record of ``tiednmt analyse``."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from tiednmt.embeddings import uses
from tiednmt.embeddings.record import (
    AnalysedMatrix,
    AnalysedModel,
    Analysis,
    Likeness,
    RowMovement,
    SentenceAttention,
    SetSimilarities,
    VocabularyShares,
)
from tiednmt.show.figures import (
    Axis,
    Block,
    Cell,
    Chart,
    Figures,
    HeatMap,
    Part,
    Picture,
    Point,
    Series,
    Table,
)
from tiednmt.show.parts import (
    by_band,
    dots_by_set,
    likeness_map,
    over_frequency,
    rho,
    tie_blocks,
)
from tiednmt.tying import TieMap
from tiednmt.typed import to_json

LABELLED_WORDS = 80  # of a map; the rest are points alone

Models = Sequence[AnalysedModel]
Matrices = Mapping[str, AnalysedMatrix]  # by the name of the model and the letter


def figures(record: Analysis, title: str = "Embeddings") -> Figures:
    """The tables and charts of an analysis."""
    models = record.checkpoints
    matrices = {
        f"{model.name} {letter}": matrix
        for model in models
        for letter, matrix in model.matrices.items()
    }
    parts = [
        Part("Parameters", _parameters(models)),
        Part("Word similarity", _similarity(record, list(matrices))),
        Part("Likeness of embeddings", _likeness(record.likeness)),
        Part("Norms", _norms(matrices)),
        Part("Rows that an update moves", _row_movement(models)),
        Part("What each use adds to the gradient", _gradients(models)),
        Part("Nearest neighbours", _neighbours(matrices), folded=True),
        Part("Maps of the most frequent words", [*map(_map, models)], folded=True),
        Part("Attention", [*_attention(models)], folded=True),
        Part("Made with", [_versions(record)]),
    ]
    return Figures(title, parts=[part for part in parts if part.blocks], names=list(matrices))


def _versions(record: Analysis) -> Table:
    rows = [[name, version] for name, version in record.versions.items()]
    return Table(["package", "version"], rows, left=2, caption="Versions")


def _parameters(models: Models) -> list[Block]:
    stored = {model.name: model.tie_map for model in models if model.tie_map}
    if not stored:
        return []
    ties = {name: TieMap.from_json(to_json(tie)) for name, tie in stored.items()}
    sizes = {name: tie.bytes_per_parameter for name, tie in stored.items()}
    shares = [
        f"Vocabulary of the training text of {model.name}: {_shares(model.vocabulary)}."
        for model in models
        if model.vocabulary
    ]
    return [*tie_blocks(ties, sizes), *shares]


def _shares(vocabulary: VocabularyShares) -> str:
    counts = {
        "only in the source": vocabulary.source_only,
        "only in the target": vocabulary.target_only,
        "in both": vocabulary.both,
    }
    whole = sum(counts.values())
    return ", ".join(f"{count:,} ({count / whole:.1%}) {name}" for name, count in counts.items())


def _similarity(record: Analysis, names: Sequence[str]) -> list[Block]:
    sets = record.similarity
    if not sets:
        return []
    measured = [name for name in names if any(name in one.by for one in sets.values())]
    blocks: list[Block] = []
    if measured:
        blocks += [
            _similarity_table(sets, measured),
            "Spearman's ρ of cosines and human scores, over the pairs whose words are both known "
            "(as written, or else in lower case).",
        ]
    others = [name for name in names if name not in measured]
    if others:
        blocks.append(f"Left out, since the sets are English: {', '.join(others)}.")
    if any(model.subwords for model in record.checkpoints):
        blocks.append("Words of a subword vocabulary: the mean of the rows of their units.")
    known = {
        f"{name}, {one.pairs:,} pairs": {
            of: (score.rho, None) for of, score in one.by.items() if score.rho is not None
        }
        for name, one in sets.items()
    }
    if any(known.values()):
        blocks.append(Picture("word-similarity", [dots_by_set(known, names)]))
    return blocks


def _similarity_table(sets: Mapping[str, SetSimilarities], names: Sequence[str]) -> Table:
    rows: list[list[str | Cell]] = []
    for name, one in sets.items():
        covered = sorted({score.covered for score in one.by.values()}) or [0]
        counts = "–".join(f"{count:,}" for count in dict.fromkeys((covered[0], covered[-1])))
        scores = [one.by.get(of) for of in names]
        below = "{:,} known" if len(covered) > 1 else ""
        cells: list[str | Cell] = [
            Cell(rho(score.rho), below.format(score.covered)) if score else "" for score in scores
        ]
        rows.append([name, f"{counts} of {one.pairs:,}", *cells])
    return Table(["set", "pairs covered", *names], rows, caption="Word similarity")


def _likeness(likeness: Likeness | None) -> list[Block]:
    if not likeness:
        return []
    exact = likeness.exact
    by = {frozenset(one.of): one for one in likeness.by}
    names = list(dict.fromkeys(name for one in likeness.by for name in one.of))

    def cell(one: str, other: str) -> Cell:
        pair = by[frozenset((one, other))]
        certain = exact or pair.rho is None
        return Cell(rho(pair.rho), "" if certain else f"± {pair.error:.4f}")

    rows: list[list[str | Cell]] = [
        [name, *(cell(name, other) for other in names[:i]), *[""] * (len(names) - 1 - i)]
        for i, name in enumerate(names)
        if i > 0
    ]
    how = "all" if exact else "a random sample (±: 95% confidence)"
    return [
        Table(["embedding", *names[:-1]], rows, caption="Likeness of every two embeddings"),
        f"Spearman's ρ of the cosines of {likeness.pairs:,} pairs ({how}) of the "
        f"{likeness.words:,} words that all know.",
        Picture("likeness", [likeness_map({o.of: o.rho for o in likeness.by})]),
    ]


def _norms(matrices: Matrices) -> list[Block]:
    norms = {name: matrix.norms for name, matrix in matrices.items()}
    chart = over_frequency(
        norms,
        lambda band: band.mean,
        "Mean norm of a row, by word frequency",
        Axis("mean norm of a row", low=0.0),
        list(norms),
    )
    return [by_band(norms, "mean", ".2f", "Mean norm of a row"), Picture("norms", [chart])]


def _row_movement(models: Models) -> list[Block]:
    measured = {model.name: model.row_movement for model in models if model.row_movement}
    if not measured:
        return []
    bands = {
        f"{name}, {matrix}": of_matrix
        for name, movement in measured.items()
        for matrix, of_matrix in movement.matrices.items()
    }
    return [
        by_band(bands, "moved", ",.1f", "Rows that an update moves"),
        by_band(bands, "distance", ".3g", "How far an update moves a row, on average"),
        *(_movement(name, movement) for name, movement in measured.items()),
    ]


def _movement(name: str, movement: RowMovement) -> Picture:
    shares = over_frequency(
        movement.matrices,
        lambda band: 100 * band.moved / band.rows,
        f"{name}: rows that an update moves",
        Axis("% of the band", low=0.0),
        list(movement.matrices),
    )
    distances = over_frequency(
        movement.matrices,
        lambda band: band.distance,
        f"{name}: how far",
        Axis("mean distance per row and update", logarithmic=True),
        list(movement.matrices),
    )
    charts = [chart for chart in (shares, distances) if chart.series]
    return Picture(f"row-movement-{name}", charts, f"{name}: {movement.updates:,} updates measured")


def _gradients(models: Models) -> list[Block]:
    measured = {model.name: model.gradients for model in models if model.gradients}
    if not measured:
        return []
    of_runs = {name: [shares] for name, shares in measured.items()}
    return [
        uses.NOTE,
        *uses.tables(of_runs),
        *uses.further_tables(of_runs),
        *(uses.of_model(name, shares) for name, shares in measured.items()),
    ]


def _neighbours(matrices: Matrices) -> list[Block]:
    words = dict.fromkeys(word for matrix in matrices.values() for word in matrix.neighbours)
    rows = [
        [word, name, _listed(matrix.neighbours[word])]
        for word in words
        for name, matrix in matrices.items()
        if word in matrix.neighbours
    ]
    head = ["word", "embedding", "nearest words and their cosine"]
    return [Table(head, rows, left=3, caption="Nearest neighbours")] if rows else []


def _listed(neighbours: Sequence[tuple[str, float]]) -> str:
    listed = ", ".join(f"{word} {cosine:.2f}" for word, cosine in neighbours)
    return listed or "not in the vocabulary"


def _map(model: AnalysedModel) -> Picture:
    charts = []
    for letter, matrix in model.matrices.items():
        points = [
            Point(*place, word if number < LABELLED_WORDS else "")
            for number, (word, place) in enumerate(
                zip(matrix.map.words, matrix.map.points, strict=True)
            )
        ]
        charts.append(
            Chart(
                title=f"{model.name} {letter}, {matrix.map.method.upper()}",
                description="The most frequent words in two dimensions",
                x=Axis(),
                y=Axis(),
                series=[Series(letter, 0, points, joined=False)],
            )
        )
    return Picture(f"map-{model.name}", charts, columns=len(charts))


def _attention(models: Models) -> Iterator[Picture]:
    for model in models:
        for number, sentence in enumerate(model.attention, start=1):
            title = f"{model.name}, sentence {number}"
            yield Picture(f"attention-{model.name}-{number}", [_weights(sentence, title)])


def _weights(sentence: SentenceAttention, title: str) -> HeatMap:
    return HeatMap(
        title=title,
        description="Attention of each unit of the translation (a row) to those of the source; "
        "dots: the greatest of the row",
        rows=sentence.target,
        columns=sentence.source,
        values=sentence.weights,
        label="attention",
        dots=sentence.alignment,
    )
