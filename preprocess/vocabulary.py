"""What the two languages of a prepared corpus share, and what tying will save."""

from __future__ import annotations

SPECIAL_SYMBOLS = 4  # <s>, <pad>, </s>, <unk>
PADDING_FACTOR = 8  # fairseq-preprocess rounds dictionaries up to a multiple of this
EMBEDDING = 256


def vocabulary_sizes(source: set[str], target: set[str]) -> dict[str, int]:
    """How many distinct units the two sides of the segmented training text have.

    ``source_only``, ``target_only`` and ``both`` are types of the text. ``source``, ``target``
    and ``joint`` are dictionary sizes, that is rows of an embedding: fairseq's special symbols
    and padding included.
    """
    return {
        "source_only": len(source - target),
        "target_only": len(target - source),
        "both": len(source & target),
        "source": dictionary_size(len(source)),
        "target": dictionary_size(len(target)),
        "joint": dictionary_size(len(source | target)),
    }


def dictionary_size(types: int) -> int:
    """Entries of a fairseq dictionary of so many types."""
    return -(-(types + SPECIAL_SYMBOLS) // PADDING_FACTOR) * PADDING_FACTOR


def embedding_rows(vocabulary: dict[str, int]) -> dict[str, int]:
    """Rows of the three embedding matrices together, for each way to tie them."""
    return {
        "separate dictionaries, untied": vocabulary["source"] + 2 * vocabulary["target"],
        "joint dictionary, untied": 3 * vocabulary["joint"],
        "joint dictionary, three-way tied": vocabulary["joint"],
    }


def report(source: str, target: str, vocabulary: dict[str, int]) -> str:
    """The vocabulary and the savings as two small tables."""
    types = sum(vocabulary[key] for key in ("source_only", "target_only", "both"))
    lines = ["", f"subword types of the training text{'types':>14}{'share':>9}"]
    for name, key in [
        (f"only in {source}", "source_only"),
        (f"only in {target}", "target_only"),
        ("in both", "both"),
    ]:
        lines.append(f"  {name:<32}{vocabulary[key]:>14,}{vocabulary[key] / types:>9.1%}")
    lines += ["", f"{'the three embedding matrices':<34}{'rows':>14}{f'at size {EMBEDDING}':>16}"]
    for name, rows in embedding_rows(vocabulary).items():
        lines.append(f"  {name:<32}{rows:>14,}{rows * EMBEDDING:>16,}")
    return "\n".join(lines)
