import random

import pytest

from preprocess import duplicates
from preprocess.duplicates import mark_duplicates, unmarked_lines
from preprocess.tokenisation import pair_key


@pytest.mark.parametrize("bucket", [10, 333, 4_000_000])
def test_every_pair_but_the_first_of_its_kind_is_marked(monkeypatch, tmp_path, bucket):
    monkeypatch.setattr(duplicates, "BUCKET_KEYS", bucket)
    monkeypatch.setattr(duplicates, "BLOCK_KEYS", 100)
    chance = random.Random(1)
    parts = [[str(chance.randrange(300)) for _ in range(size)] for size in (250, 0, 470, 1)]
    keys = [tmp_path / f"{number}.keys" for number in range(4)]
    marks = [tmp_path / f"{number}.marks" for number in range(4)]
    for path, lines in zip(keys, parts, strict=True):
        path.write_bytes(b"".join(pair_key((line, "x")) for line in lines))
        path.with_suffix(".txt").write_text("".join(line + "\n" for line in lines))

    counts = mark_duplicates(keys, marks)

    seen: set[str] = set()
    for count, lines, path in zip(counts, parts, marks, strict=True):
        left = list(unmarked_lines(path.with_suffix(".txt"), path))
        first = [line for line in lines if not (line in seen or seen.add(line))]
        assert left == first
        assert count == len(lines) - len(first)
    assert sorted(path.name for path in tmp_path.glob("*.marks")) == [p.name for p in marks]


def test_keys_tell_sides_apart():
    assert len({pair_key(pair) for pair in [("a b", "c"), ("a", "b c"), ("c", "a b")]}) == 3
    assert pair_key(("ä", "b")) == pair_key(("ä", "b"))
