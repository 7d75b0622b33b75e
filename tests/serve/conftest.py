"""A model that is served, on a port of its own."""

import threading
from contextlib import contextmanager

import pytest

import tiednmt
from tests.support.translators import prepared_folder, save_translator
from tiednmt.export.model_folder import write_model_folder
from tiednmt.export.reading import read_trained
from tiednmt.serve.answers import Answers
from tiednmt.serve.server import Server

HOSTILE = "<img/src=x/onerror=document.title='hacked'>"  # a unit of the vocabulary
WORDS = [f"w{i}" for i in range(30)] + [".", "d@@", "og", HOSTILE]


@contextmanager
def served(answers):
    with Server(("127.0.0.1", 0), answers) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()


@pytest.fixture(scope="session")
def translators(tmp_path_factory):
    """By way of tying; the numbers are random, so that translations are long and odd."""
    place = tmp_path_factory.mktemp("serve")
    prepared = prepared_folder(place / "prepared", WORDS)
    found = {}
    for tying in ("three-way", "none"):
        save_translator(place / f"{tying}.pt", prepared, tying=tying)
        write_model_folder(place / tying, read_trained(place / f"{tying}.pt", prepared))
        found[tying] = tiednmt.load(place / tying)
    return found


@pytest.fixture(scope="session")
def translator(translators):
    return translators["three-way"]


@pytest.fixture
def answers(translator):
    """Those of one server, which closes them when it is closed."""
    return Answers(translator)


@pytest.fixture
def server(answers):
    with served(answers) as one:
        yield one
