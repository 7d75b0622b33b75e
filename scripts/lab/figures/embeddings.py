"""Tables and charts of experiments on embeddings: word similarity, and how alike embeddings are."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

from scripts.lab.figures.experiment import NOTE_OF_SEEDS, repeated, trained_on
from scripts.lab.records.schema import EmbeddingRecord, PaperOrders, names_in
from tiednmt.seeds import SeedStatistics, interval_of_mean, mean_and_sd
from tiednmt.show.figures import Block, Cell, Figures, Finding, Picture, Table
from tiednmt.show.parts import dots_by_set, likeness_map, rho

ANSWERS = {True: "yes", False: "no", None: "–"}
LEAD = (
    "What the paper (Press and Wolf, 2017) states of the embeddings, and whether it comes out "
    "here. U: input embedding, V: output embedding"
)


@dataclass(frozen=True)
class Compared:
    """Figures whose order the paper may state: ρ of embeddings in a set, or of pairs of embeddings.

    Attributes:
        figures: by embedding (``U``) or pair (``U,V``); None if unknown.
        order: the order that the paper states, if any.
    """

    figures: Mapping[str, SeedStatistics | None]
    order: str | None

    @property
    def means(self) -> dict[str, float | None]:
        """The means over the seeds; None if unknown."""
        return {name: figure.mean if figure else None for name, figure in self.figures.items()}

    @property
    def comes_out(self) -> bool | None:
        """Whether the means are in the stated order; None if that or a mean is unknown."""
        if self.order is None:
            return None
        return in_order(self.order, self.means)


@dataclass(frozen=True)
class ComparedInSet(Compared):
    """The same for a word-similarity set: its ``pairs``, ``covered`` of which have known words."""

    covered: int
    pairs: int


def figures(record: EmbeddingRecord) -> Figures:
    """Our figures, and whether they are in the order that the paper states."""
    sets, correlation = similarity_of(record), correlation_of(record)
    names = list(next(iter(sets.values())).figures)
    note = NOTE_OF_SEEDS if record.seeds > 1 else ""
    summary: list[Block] = [*_dots(sets, names, note), _similarity_table(sets)]
    if correlation:
        pairs = {_two(two): mean for two, mean in correlation.means.items()}
        summary += [Picture("likeness", [likeness_map(pairs)]), _correlation_table(correlation)]
    findings = _findings(sets, correlation)
    return Figures(
        title=record.title,
        names=names,
        lead=f"{LEAD}{', S: tied embedding' if 'S' in names else ''}." if findings else "",
        findings=findings,
        summary=[*summary, conditions(record)],
        parts=repeated(record),
    )


def conditions(record: EmbeddingRecord) -> str:
    """What ρ compares, seeds, machine, and what the comparison with the paper means."""
    seeds = record.seeds
    spread = f"; mean ± standard deviation of {seeds} seeds" if seeds > 1 else ""
    how = trained_on(record) if record.rows else "gensim, on one thread"
    liked = ", ρ(U,V) that of all pairs' cosines in the one and in the other"
    of_paper = (
        " The last column says whether the order is the one that the paper states; its own "
        "figures could not be checked, so they are not shown."
    )
    return (
        f"{record.title}. Spearman's ρ of cosines and human scores over the covered pairs"
        f"{liked if record.correlation else ''}{spread}; {how}."
        f"{of_paper if record.paper != PaperOrders() else ''}"
    )


def similarity_of(record: EmbeddingRecord) -> dict[str, ComparedInSet]:
    """The figures of each word-similarity set in a record."""
    return {
        name: ComparedInSet(one.rho, record.paper.similarity, one.covered, one.pairs)
        for name, one in record.similarity.items()
    }


def correlation_of(record: EmbeddingRecord) -> Compared | None:
    """The likeness of every two embeddings in a record, if it was measured."""
    if not record.correlation:
        return None
    return Compared(record.correlation, record.paper.correlation)


def in_order(order: str, values: Mapping[str, float | None]) -> bool | None:
    """Whether ``values`` are in the ``order`` (``V > U``); None if one is unknown."""
    ordered = [values[name] for name in names_in(order)]
    known = [value for value in ordered if value is not None]
    if len(known) < len(ordered):
        return None
    return all(one > other for one, other in pairwise(known))


def _two(pair: str) -> tuple[str, str]:
    one, _, other = pair.partition(",")
    return one, other


def _dots(sets: Mapping[str, ComparedInSet], names: Sequence[str], note: str) -> list[Picture]:
    """A picture of ρ by set, where any is known."""
    known = {
        f"{name}, {one.covered:,} of {one.pairs:,} pairs": {
            letter: (figure.mean, interval_of_mean(figure))
            for letter, figure in one.figures.items()
            if figure
        }
        for name, one in sets.items()
    }
    if not any(known.values()):
        return []
    return [Picture("word-similarity", [dots_by_set(known, names)], note=note)]


def _findings(sets: Mapping[str, ComparedInSet], correlation: Compared | None) -> list[Finding]:
    findings = []
    order = next(iter(sets.values())).order
    if order:
        answers = [one.comes_out for one in sets.values() if one.comes_out is not None]
        outcome = f"{sum(answers)} of {len(answers)} {'set' if len(answers) == 1 else 'sets'}"
        big, text = (outcome, "in this order") if answers else ("not known", "")
        findings.append(Finding(f"Word similarity: {order}", big, text))
    if correlation and correlation.order:
        means = correlation.means
        details = [(f"ρ({n})", Cell(rho(means[n]))) for n in names_in(correlation.order)]
        answer = ANSWERS[correlation.comes_out]
        findings.append(Finding(f"Likeness: {correlation.order}", answer, "", details))
    return findings


def _similarity_table(sets: Mapping[str, ComparedInSet]) -> Table:
    first = next(iter(sets.values()))
    rows = [[name, f"{one.covered:,} of {one.pairs:,}", *_cells(one)] for name, one in sets.items()]
    head = ["", "pairs covered", *first.figures, *_order_head(first)]
    return Table(head, rows, caption="Word similarity: Spearman's ρ of cosines and human scores")


def _correlation_table(pairs: Compared) -> Table:
    head = [*(f"ρ({two})" for two in pairs.figures), *_order_head(pairs)]
    caption = "Likeness: Spearman's ρ of all pairs' cosines in the one and in the other"
    return Table(head, [_cells(pairs)], left=0, caption=caption)


def _order_head(compared: Compared) -> list[str]:
    return [f"paper: {compared.order}"] if compared.order else []


def _cells(compared: Compared) -> list[str]:
    answer = [ANSWERS[compared.comes_out]] if compared.order else []
    figures = compared.figures.values()
    return [*("–" if one is None else mean_and_sd(one, places=3) for one in figures), *answer]
