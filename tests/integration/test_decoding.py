"""Decoding a real test set with fairseq-generate."""

import re

import pytest

from tests.support.commandline import PLUGIN, run, train


@pytest.mark.slow
@pytest.mark.real_data
def test_hypotheses_are_those_of_fairseqs_search(data_folder, tmp_path):
    """Multi30k's test_2016_flickr, all of a beam of 5, by a model that has only begun to learn."""
    prepared = ("--pair", "en-de", "--raw", data_folder / "multi30k", "--dest", tmp_path)
    run("-m", "preprocess.multi30k", *prepared, "--merges", 1500, "--workers", 2).check()
    data = tmp_path / "data-bin"
    train(data, tmp_path, "--tying", "three-way", "--max-update", 120, "--max-tokens", 2000).check()
    ours, theirs = (
        hypotheses(data, tmp_path / "checkpoint_last.pt", task)
        for task in ("tied_translation", "translation")
    )
    assert len(ours) == 5 * 1000
    assert [words for words, _ in ours] == [words for words, _ in theirs]
    assert [score for _, score in ours] == pytest.approx([score for _, score in theirs], abs=1e-4)


def hypotheses(data, checkpoint, task):
    """Words and score of each, sentence by sentence, the best first."""
    options = ("--nbest", 5, "--beam", 5, "--max-len-b", 20, "--batch-size", 100)
    command = (data, *PLUGIN, "--task", task, "--path", checkpoint, *options)
    lines = run("fairseq-generate", *command).check().stdout
    found = re.findall(r"^H-(\d+)\t(\S+)\t(.*)$", lines, re.MULTILINE)
    in_order = sorted(found, key=lambda line: int(line[0]))  # stable: a beam stays as it is
    return [(words, float(score)) for _, score, words in in_order]
