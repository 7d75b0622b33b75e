"""Decoding a real test set with fairseq-generate."""

import gzip
import re
from itertools import islice, product

import pytest

from tests.support.commandline import PLUGIN, run, train

# pairs of each set: enough for a model that begins to learn, and a real test set
PAIRS = {"train": 3000, "val": 200, "test_2016_flickr": 200, "test_2017_flickr": 10}


@pytest.mark.slow
@pytest.mark.real_data
def test_hypotheses_are_those_of_fairseqs_search(data_folder, tmp_path):
    """Multi30k's test_2016_flickr, all of a beam of 5, by a model that has only begun to learn."""
    raw = first_pairs(data_folder / "multi30k", tmp_path / "raw")
    prepared = ("--pair", "en-de", "--raw", raw, "--dest", tmp_path / "prepared")
    run("-m", "preprocess.multi30k", *prepared, "--merges", 1500, "--workers", 1).check()
    data = tmp_path / "prepared" / "data-bin"
    options = ("--tying", "three-way", "--max-update", 120, "--max-tokens", 1000)
    options += ("--disable-validation", "--no-epoch-checkpoints")
    train(data, tmp_path / "run", *options).check()
    ours, theirs = (
        hypotheses(data, tmp_path / "run" / "checkpoint_last.pt", task)
        for task in ("tied_translation", "translation")
    )
    assert len(ours) == 5 * PAIRS["test_2016_flickr"]
    assert [words for words, _ in ours] == [words for words, _ in theirs]
    assert [score for _, score in ours] == pytest.approx([score for _, score in theirs], abs=1e-4)


def first_pairs(corpus, folder):
    """``folder`` with the first pairs of every set: all 29,000 take a minute to prepare."""
    folder.mkdir()
    for (name, count), code in product(PAIRS.items(), ("en", "de")):
        with gzip.open(corpus / f"{name}.{code}.gz", "rt", encoding="utf-8", newline="\n") as whole:
            lines = "".join(islice(whole, count))
        (folder / f"{name}.{code}").write_text(lines, encoding="utf-8", newline="\n")
    return folder


def hypotheses(data, checkpoint, task):
    """Words and score of each, sentence by sentence, the best first."""
    options = ("--nbest", 5, "--beam", 5, "--max-len-b", 20, "--batch-size", 100)
    command = (data, *PLUGIN, "--task", task, "--path", checkpoint, *options)
    lines = run("fairseq-generate", *command).check().stdout
    found = re.findall(r"^H-(\d+)\t(\S+)\t(.*)$", lines, re.MULTILINE)
    in_order = sorted(found, key=lambda line: int(line[0]))  # stable: a beam stays as it is
    return [(words, float(score)) for _, score, words in in_order]
