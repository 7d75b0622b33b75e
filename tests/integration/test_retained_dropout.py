"""Monte Carlo dropout with fairseq's own commands: another seed, another translation."""

from __future__ import annotations

import re
import sys

import pytest
from fairseq_cli import generate, interactive

import tiednmt.plugin  # noqa: F401
from tests.support.commandline import PLUGIN
from tests.support.untrained import save_untrained, write_dictionaries

TASKS = ("translation", "tied_translation")

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def checkpoint(data_bin, work):
    """As quick to make as it is bad at translating."""
    path = work / "dropping.pt"
    dropout = ("--dropout", 0.2, "--tying", "three-way", "--embed-dim", 32)
    options = ("--task", "translation", "--arch", "tied_gru_tiny", *dropout)
    save_untrained(path, data_bin, *options)
    return path


@pytest.fixture
def command(monkeypatch, capsys):
    """Run a command of fairseq in this process, for its speed; its lines of hypotheses."""

    def run(module, *arguments):
        monkeypatch.setattr(sys, "argv", ["fairseq", *map(str, arguments)])
        module.cli_main()
        return re.findall(r"^H-.*$", capsys.readouterr().out, re.MULTILINE)

    return run


@pytest.fixture
def hypotheses(command, data_bin, checkpoint):
    def run(seed, *options):
        common = (
            "--path",
            checkpoint,
            "--gen-subset",
            "test",
            "--beam",
            2,
            "--max-len-b",
            9,
            "--num-workers",
            0,
        )
        found = command(generate, data_bin, *PLUGIN, *common, "--seed", seed, *options)
        assert len(found) == 10
        return found

    return run


@pytest.mark.parametrize("task", TASKS)
def test_a_seed_repeats_a_translation_and_another_gives_another(hypotheses, task):
    retained = ("--task", task, "--retain-dropout")
    first = hypotheses(1, *retained)
    assert hypotheses(1, *retained) == first
    assert hypotheses(2, *retained) != first
    plain = hypotheses(1, "--task", task)
    assert plain != first
    assert hypotheses(2, "--task", task) == plain


@pytest.mark.parametrize("task", TASKS)
def test_it_may_be_retained_in_some_modules(hypotheses, task):
    """In the encoder alone it is neither that of all nor none."""
    retained = ("--task", task, "--retain-dropout")
    encoder = (*retained, "--retain-dropout-modules", "TiedGRUEncoder")
    both = (*retained, "--retain-dropout-modules", "TiedGRUEncoder,TiedGRUDecoder")
    everywhere, in_encoder = hypotheses(1, *retained), hypotheses(1, *encoder)
    assert hypotheses(1, *both) == everywhere
    assert len({*map(tuple, (everywhere, in_encoder, hypotheses(1, "--task", task)))}) == 3
    assert hypotheses(2, *encoder) != in_encoder


def test_language_models_too(command, tmp_path):
    data = write_dictionaries(tmp_path / "data", "dict.txt", words=[f"w{i}" for i in range(30)])
    model = ("--arch", "tied_lstm_lm", "--tying", "decoder", "--dropout", 0.5, "--embed-dim", 16)
    save_untrained(tmp_path / "lm.pt", data, "--task", "language_modeling", *model)
    (tmp_path / "text").write_text("w1 w2 w3\n")

    def continued(seed, *options):
        common = ("--task", "language_modeling", "--path", tmp_path / "lm.pt", "--max-len-b", 9)
        given = ("--input", tmp_path / "text", "--beam", 2, "--seed", seed, "--cpu")
        return command(interactive, data, *common, *given, *options)

    first = continued(1, "--retain-dropout")
    assert len(first) == 1
    assert continued(1, "--retain-dropout") == first
    assert continued(2, "--retain-dropout") != first
    assert continued(1) == continued(2) != first
