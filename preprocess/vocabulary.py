"""What the two languages of a prepared corpus share, and what tying will save."""

from __future__ import annotations

from tiednmt.modes import TYINGS

SPECIAL_SYMBOLS = 4  # <s>, <pad>, </s>, <unk>
PADDING_FACTOR = 8  # fairseq-preprocess rounds dictionaries up to a multiple of this


def vocabulary_sizes(source: set[str], target: set[str]) -> dict[str, int]:
    """How many distinct units the two sides of the segmented training text have.

    ``source_only``, ``target_only`` and ``both`` are units of the text. ``source``, ``target``
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


def vocab_size(units: int) -> int:
    """Entries of the fairseq dictionary of a text with so many distinct units."""
    return -(-(units + SPECIAL_SYMBOLS) // PADDING_FACTOR) * PADDING_FACTOR


def report(source: str, target: str, vocabulary: dict[str, int]) -> str:
    """The vocabulary, and the rows that a model stores under each tying, as two small tables."""
    from tiednmt.tying import embedding_rows

    units = sum(vocabulary[key] for key in ("source_only", "target_only", "both"))
    lines = ["", f"{'subword units of the training text':<34}{'units':>14}{'share':>10}"]
    for name, key in [
        (f"only in {source}", "source_only"),
        (f"only in {target}", "target_only"),
        ("in both", "both"),
    ]:
        lines.append(f"  {name:<32}{vocabulary[key]:>14,}{vocabulary[key] / units:>10.1%}")
    joint = vocabulary["joint"]
    lines += [
        "",
        f"{'rows of the embedding matrices':<34}{'as prepared':>14}{'saved':>10}{'at least*':>12}",
    ]
    for tying in TYINGS:
        prepared = embedding_rows(tying, joint, joint, joint)
        saved = 1 - prepared / embedding_rows("none", joint, joint, joint)
        least = embedding_rows(tying, vocabulary["source"], vocabulary["target"], joint)
        lines.append(f"  {f'--tying {tying}':<32}{prepared:>14,}{saved:>10.0%}{least:>12,}")
    lines.append("* with one dictionary per language, if the tying does not need the joint one")
    return "\n".join(lines)
