"""A tiny prepared corpus, and a place for commands that run in the background."""

from __future__ import annotations

import pytest

from tests.support.commandline import Background, run


@pytest.fixture(scope="session")
def prepared(tmp_path_factory):
    """200 generated pairs and their data-bin, made by the real command."""
    folder = tmp_path_factory.mktemp("corpus") / "prepared"
    options = ("--pairs", 200, "--merges", 400, "--vocabulary-threshold", 0, "--workers", 1)
    run("-m", "preprocess.demo", "--dest", folder, *options).check()
    return folder


@pytest.fixture(scope="session")
def data_bin(prepared):
    return prepared / "data-bin"


@pytest.fixture(scope="session")
def background():
    commands = Background()
    yield commands
    commands.close()


@pytest.fixture(scope="session")
def work(tmp_path_factory):
    return tmp_path_factory.mktemp("work")
