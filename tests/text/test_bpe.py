import gzip
import random
from collections import Counter
from contextlib import redirect_stderr
from io import StringIO

import pytest
from subword_nmt.learn_bpe import learn_bpe

from tiednmt.text.bpe import learn_merges


def merges_of_the_library(words, merges):
    codes = StringIO()
    with redirect_stderr(StringIO()):
        learn_bpe([f"{word} {count}" for word, count in words.items()], codes, merges, is_dict=True)
    return [tuple(line.split(" ")) for line in codes.getvalue().split("\n")[1:-1]]


@pytest.mark.parametrize("alphabet", ["a", "ab", "abc.", "abcdefghäöü'"])
@pytest.mark.parametrize("seed", range(12))
def test_merges_are_those_of_subword_nmt(alphabet, seed):
    chance = random.Random(seed)
    longest, most = chance.choice([3, 8, 15]), chance.choice([3, 50, 3000])
    words = {
        "".join(chance.choices(alphabet, k=chance.randint(1, longest))): chance.randint(1, most)
        for _ in range(chance.choice([5, 60, 300]))
    }
    words["ab"] = 2  # the library fails where no word has two characters
    assert list(learn_merges(words.items(), 250)) == merges_of_the_library(words, 250)


@pytest.mark.real_data
def test_real_text(data_folder):
    path = data_folder / "multi30k" / "val.en.gz"
    if not path.exists():
        pytest.skip(f"no file {path}")
    words = Counter(gzip.decompress(path.read_bytes()).decode().split())
    assert list(learn_merges(words.items(), 1000)) == merges_of_the_library(words, 1000)


def test_merging_ends_where_no_pair_was_seen_twice():
    assert list(learn_merges([("ab", 1), ("cd", 3)], 10)) == [("c", "d</w>")]
    assert list(learn_merges([("a", 100)], 10)) == []
