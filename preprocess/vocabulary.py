"""What the two languages of a prepared corpus share, and what tying will save."""

from __future__ import annotations

import unicodedata
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

SPECIAL_SYMBOLS = 4  # <s>, <pad>, </s>, <unk>
PADDING_FACTOR = 8  # fairseq-preprocess rounds dictionaries up to a multiple of this
LEAST_SHARE = 0.1  # of a side's letters: a script that has fewer is not named
LITTLE_SHARED = 0.05  # of the smaller vocabulary


@dataclass(frozen=True)
class Vocabulary:
    """The units of the segmented training text.

    Attributes:
        sizes: how many distinct units the sides have: see :func:`vocabulary_sizes`.
        shared: of each side's running units, the share that is of types of both.
        scripts: of each side's letters, the share of each script.
    """

    sizes: dict[str, int]
    shared: Sequence[float]
    scripts: Sequence[dict[str, float]]

    @classmethod
    def of_units(cls, source: Counter[str], target: Counter[str], joint: int) -> Vocabulary:
        """That of two texts, by their units and how often each was seen.

        ``joint``: entries of their joint dictionary.
        """
        both = source.keys() & target.keys()
        return cls(
            sizes={**vocabulary_sizes(set(source), set(target)), "joint": joint},
            shared=[
                round(sum(side[unit] for unit in both) / max(1, side.total()), 4)
                for side in (source, target)
            ],
            scripts=[_scripts(side) for side in (source, target)],
        )

    @property
    def shares_little(self) -> bool:
        """Whether a joint vocabulary is little more than two vocabularies side by side."""
        sizes = self.sizes
        smaller = sizes["both"] + min(sizes["source_only"], sizes["target_only"])
        return sizes["both"] < LITTLE_SHARED * smaller or not set(self.written_in(0)) & set(
            self.written_in(1)
        )

    def written_in(self, side: int) -> list[str]:
        """The scripts of a side, the most frequent first."""
        return [script for script, share in self.scripts[side].items() if share >= LEAST_SHARE]


def vocabulary_sizes(source: set[str], target: set[str]) -> dict[str, int]:
    """How many distinct units the two sides of the segmented training text have.

    ``source_only``, ``target_only`` and ``both`` are types of the text. ``source``, ``target``
    and ``joint`` are vocabulary sizes, that is rows of an embedding: fairseq's special symbols
    and padding included.
    """
    return {
        "source_only": len(source - target),
        "target_only": len(target - source),
        "both": len(source & target),
        "source": vocab_size(len(source)),
        "target": vocab_size(len(target)),
        "joint": vocab_size(len(source | target)),
    }


def vocab_size(types: int) -> int:
    """Entries of the fairseq dictionary of a text with so many types."""
    return -(-(types + SPECIAL_SYMBOLS) // PADDING_FACTOR) * PADDING_FACTOR


def _scripts(units: Counter[str]) -> dict[str, float]:
    letters: Counter[str] = Counter()
    for unit, count in units.items():
        for character in unit:
            letters[character] += count
    scripts: Counter[str] = Counter()
    for character, count in letters.items():
        if character.isalpha():
            scripts[script_of(character)] += count
    total = max(1, scripts.total())
    return {script: round(count / total, 4) for script, count in scripts.most_common()}


def script_of(letter: str) -> str:
    """The script of a letter, by the first word of its name in Unicode."""
    first = unicodedata.name(letter, "unknown").split()[0].split("-")[0]
    return {"CJK": "Han", "KATAKANA": "Katakana"}.get(first, first.capitalize())


def report(source: str, target: str, vocabulary: Vocabulary) -> str:
    """The vocabulary, the rows that a model stores under each tying, and what to make of them."""
    from tiednmt.tying import TYINGS, embedding_rows

    sizes = vocabulary.sizes
    types = sum(sizes[key] for key in ("source_only", "target_only", "both"))
    lines = ["", f"subword types of the training text{'types':>14}{'share':>10}"]
    for name, key in [
        (f"only in {source}", "source_only"),
        (f"only in {target}", "target_only"),
        ("in both", "both"),
    ]:
        lines.append(f"  {name:<32}{sizes[key]:>14,}{sizes[key] / types:>10.1%}")
    joint = sizes["joint"]
    rows = {
        tying: (
            embedding_rows(tying, joint, joint, joint),
            embedding_rows(tying, sizes["source"], sizes["target"], joint),
        )
        for tying in TYINGS
    }
    lines += ["", f"{'rows of the embedding matrices':<34}{'as prepared':>14}{'at least*':>10}"]
    for tying, (prepared, least) in rows.items():
        lines.append(f"  {f'--tying {tying}':<32}{prepared:>14,}{least:>10,}")
    lines.append("* with a dictionary per language, where the tying does not need the joint one")
    return "\n".join([*lines, "", *_advice(source, target, vocabulary, rows)])


def _advice(
    source: str,
    target: str,
    vocabulary: Vocabulary,
    rows: dict[str, tuple[int, int]],
) -> list[str]:
    """What the two languages share, and which tying that speaks for."""
    scripts = [", ".join(vocabulary.written_in(side)) for side in (0, 1)]
    of_source, of_target = vocabulary.shared
    shared = (
        f"{source} ({scripts[0]}) and {target} ({scripts[1]}) share {vocabulary.sizes['both']:,}"
        f" types, which are {of_source:.0%} and {of_target:.0%} of their running units."
    )
    prepared, least = rows["three-way"]
    saved = f"{1 - prepared / rows['none'][0]:.0%} of the rows of none"
    if vocabulary.shares_little:
        return [
            f"{shared} Three-way tying saves {saved}, but few of them are of both languages:"
            f" decoder tying with a dictionary per language would store {rows['decoder'][1]:,} rows"
            f" to its {least:,}."
        ]
    return [f"{shared} Three-way tying suits them, and saves {saved}."]
