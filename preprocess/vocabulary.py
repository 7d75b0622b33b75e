"""What the two languages of a prepared corpus share, and what tying will save."""

from __future__ import annotations

from pathlib import Path

from preprocess.files import read_lines

SPECIAL_SYMBOLS = 4  # <s>, <pad>, </s>, <unk>
PADDING_FACTOR = 8  # fairseq-preprocess rounds dictionaries up to a multiple of this
EMBEDDING = 256


def count_types(source: Path, target: Path) -> dict[str, int]:
    """Count the distinct units of the two sides of the segmented training text.

    ``source_only``, ``target_only`` and ``both`` are types of the text. ``source``, ``target``
    and ``joint`` are dictionary sizes, that is rows of an embedding: fairseq's special symbols
    and padding included.
    """
    types = [
        {unit for line in read_lines(path) for unit in line.split()} for path in (source, target)
    ]
    return {
        "source_only": len(types[0] - types[1]),
        "target_only": len(types[1] - types[0]),
        "both": len(types[0] & types[1]),
        "source": dictionary_size(len(types[0])),
        "target": dictionary_size(len(types[1])),
        "joint": dictionary_size(len(types[0] | types[1])),
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
