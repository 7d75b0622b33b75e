"""What is shown of experiments on embeddings: word similarity, and who is like whom."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from scripts.lab.figures.experiment import NOTE_OF_SEEDS, repeated, trained_on
from scripts.lab.figures.parts import dots_by_set, likeness_map
from scripts.lab.records.figures import Block, Cell, Figures, Finding, Picture, Table
from scripts.lab.records.seeds import interval_of_mean, mean_and_sd

COUNTS = ("covered", "pairs")  # in a set's figures, beside those of embeddings

Record = Mapping[str, Any]


@dataclass(frozen=True)
class Compared:
    """Figures that the paper puts in an order: ρ of the embeddings in a set, or of their pairs.

    ``figures`` are those of :func:`over_seeds`, by embedding (``U``) or pair (``U,V``), with None
    for a ``mean`` that is not known; ``order`` is what the paper states of them, if anything.
    """

    figures: Mapping[str, Mapping[str, Any]]
    order: str | None

    @property
    def comes_out(self) -> bool | None:
        """Whether the means fall as ``order`` says; None where one is not known."""
        if self.order is None:
            return None
        return in_order(self.order, {name: found["mean"] for name, found in self.figures.items()})


@dataclass(frozen=True)
class ComparedInSet(Compared):
    """What of a word-similarity set's pairs both words are known of, and out of how many."""

    covered: int
    pairs: int


def figures(record: Record) -> Figures:
    """Ours, and whether it comes in the paper's order."""
    sets, correlation = similarity_of(record), correlation_of(record)
    names = list(next(iter(sets.values())).figures)
    note = NOTE_OF_SEEDS if record["seeds"] > 1 else ""
    summary: list[Block] = [*_dots(sets, names, note), _similarity_table(sets)]
    if correlation:
        pairs = {_two(two): figure["mean"] for two, figure in correlation.figures.items()}
        summary += [_correlation_table(correlation), Picture("likeness", [likeness_map(pairs)])]
    found = _findings(sets, correlation)
    return Figures(
        title=record["title"],
        names=names,
        lead="What the paper (Press and Wolf, 2017) states of the embeddings, and whether it comes "
        "out here. U: input embedding, V: output embedding, S: tied embedding."
        if found
        else "",
        findings=found,
        summary=[*summary, conditions(record)],
        parts=repeated(record),
    )


def conditions(record: Record) -> str:
    """What ρ is of, seeds, machine, and what is said of the paper."""
    seeds = record["seeds"]
    spread = f"; mean ± standard deviation of {seeds} seeds" if seeds > 1 else ""
    how = trained_on(record["machine"]) if record["rows"] else "gensim, on one thread"
    liked = ", ρ(U,V) that of all pairs' cosines in the one and in the other"
    of_paper = (
        " The last column says whether the order is the one that the paper states; its own "
        "figures could not be checked, so they are not shown."
    )
    return (
        f"{record['title']}. Spearman's ρ of cosines and human scores over the covered pairs"
        f"{liked if 'correlation' in record else ''}{spread}; {how}."
        f"{of_paper if record['paper'] else ''}"
    )


def similarity_of(record: Record) -> dict[str, ComparedInSet]:
    """What a record says of each word-similarity set."""
    order = record["paper"].get("similarity")
    spread = record["over_seeds"]["similarity"]
    return {
        name: ComparedInSet(
            {key: figure for key, figure in spread[name].items() if key not in COUNTS},
            order,
            **{count: found[count] for count in COUNTS},
        )
        for name, found in record["similarity"].items()
    }


def correlation_of(record: Record) -> Compared | None:
    """What a record says of the likeness of every two embeddings, where that was measured."""
    found = record["over_seeds"].get("correlation")
    return Compared(found, record["paper"].get("correlation")) if found else None


def in_order(order: str, values: Mapping[str, float | None]) -> bool | None:
    """Whether ``values`` fall as ``order`` (``V > U``) says; None where one is not known."""
    found = [values[name] for name in names_in(order)]
    known = [value for value in found if value is not None]
    if len(known) < len(found):
        return None
    return all(one > other for one, other in pairwise(known))


def names_in(order: str) -> list[str]:
    """The names that an order such as ``V > U`` puts in a row."""
    return order.split(" > ")


ANSWERS = {True: "yes", False: "no", None: "–"}


def _two(pair: str) -> tuple[str, str]:
    one, _, other = pair.partition(",")
    return one, other


def _dots(sets: Mapping[str, ComparedInSet], names: Sequence[str], note: str) -> list[Picture]:
    """A picture of ρ by set, where any is known."""
    known = {
        f"{name}, {found.covered:,} of {found.pairs:,} pairs": {
            letter: (figure["mean"], interval_of_mean(figure))
            for letter, figure in found.figures.items()
            if figure["mean"] is not None
        }
        for name, found in sets.items()
    }
    if not any(known.values()):
        return []
    return [Picture("word-similarity", [dots_by_set(known, names)], note=note)]


def _findings(
    sets: Mapping[str, ComparedInSet], correlation: Compared | None
) -> list[Finding]:
    found = []
    order = next(iter(sets.values())).order
    if order:
        answers = [one.comes_out for one in sets.values() if one.comes_out is not None]
        outcome = f"{sum(answers)} of {len(answers)} {'set' if len(answers) == 1 else 'sets'}"
        big, text = (outcome, "in this order") if answers else ("not known", "")
        found.append(Finding(f"Word similarity: {order}", big, text))
    if correlation and correlation.order:
        details = [
            (f"ρ({name})", Cell(_mean(correlation.figures[name])))
            for name in names_in(correlation.order)
        ]
        answer = ANSWERS[correlation.comes_out]
        found.append(Finding(f"Likeness: {correlation.order}", answer, "", details))
    return found


def _similarity_table(sets: Mapping[str, ComparedInSet]) -> Table:
    first = next(iter(sets.values()))
    rows = [
        [name, f"{found.covered:,} of {found.pairs:,}", *_cells(found)]
        for name, found in sets.items()
    ]
    head = ["", "pairs covered", *first.figures, *_order_head(first)]
    return Table(head, rows, caption="Word similarity: Spearman's ρ of cosines and human scores")


def _correlation_table(found: Compared) -> Table:
    head = [*(f"ρ({two})" for two in found.figures), *_order_head(found)]
    caption = "Likeness: Spearman's ρ of all pairs' cosines in the one and in the other"
    return Table(head, [_cells(found)], left=0, caption=caption)


def _order_head(found: Compared) -> list[str]:
    return [f"paper: {found.order}"] if found.order else []


def _cells(found: Compared) -> list[str]:
    answer = [ANSWERS[found.comes_out]] if found.order else []
    return [*map(_figure, found.figures.values()), *answer]


def _figure(figure: Mapping[str, Any]) -> str:
    """What :func:`over_seeds` made of ρ, as tables show it."""
    return "–" if figure["mean"] is None else mean_and_sd(figure, places=3)


def _mean(figure: Mapping[str, Any]) -> str:
    return "–" if figure["mean"] is None else f"{figure['mean']:.3f}"
