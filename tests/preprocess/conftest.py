"""A corpus of a few hundred pairs, in the files that Multi30k comes in."""

import gzip
import threading
from collections.abc import Callable, Iterator
from itertools import product
from pathlib import Path

import pytest

from preprocess import multi30k
from tests.preprocess.local_server import Server

Files = dict[str, bytes]

NOUNS = {"dog": "Hund", "man": "Mann", "boy": "Junge", "bus": "Bus", "hat": "Hut", "tree": "Baum"}
VERBS = {"sees": "sieht", "finds": "findet", "likes": "mag", "paints": "malt", "hides": "versteckt"}


def _pairs() -> list[tuple[str, str]]:
    return [
        (f"The {a} {verb} a {b}.", f"Der {NOUNS[a]} {VERBS[verb]} einen {NOUNS[b]}.")
        for a, verb, b in product(NOUNS, VERBS, NOUNS)
    ]


@pytest.fixture
def files() -> Files:
    """File name → content, for a test to spoil."""
    pairs = _pairs()
    parts = {
        "train": pairs[:150],
        "val": pairs[150:160],
        "test_2016_flickr": pairs[160:170],
        "test_2017_flickr": pairs[170:],
    }
    return {
        f"{stem}.{code}": "".join(pair[side] + "\n" for pair in part).encode()
        for stem, part in parts.items()
        for side, code in enumerate(("en", "de"))
    }


@pytest.fixture
def write(tmp_path: Path) -> Callable[[Files], Path]:
    """Write files into a folder; names that end in .gz are compressed."""

    def write_files(files: Files) -> Path:
        folder = tmp_path / "originals"
        folder.mkdir(exist_ok=True)
        for name, content in files.items():
            data = gzip.compress(content, mtime=0) if name.endswith(".gz") else content
            (folder / name).write_bytes(data)
        return folder

    return write_files


def arguments(raw: Path, dest: Path, *more: str) -> list[str]:
    """A command line for the small corpus."""
    given = ["--pair", "en-de", "--raw", str(raw), "--dest", str(dest)]
    return [*given, "--merges", "60", "--vocabulary-threshold", "2", "--workers", "1", *more]


@pytest.fixture
def prepare() -> Callable[..., None]:
    """Run the command in this process."""

    def run(raw: Path, dest: Path, *more: str) -> None:
        multi30k.main(arguments(raw, dest, *more))

    return run


@pytest.fixture
def refused() -> Callable[..., str]:
    """Run a command, which must refuse with one line and leave nothing half-written."""

    def run(main: Callable[[list[str]], None], dest: Path, *arguments: object) -> str:
        with pytest.raises(SystemExit) as stopped:
            main([*map(str, arguments)])
        message = stopped.value.code
        assert isinstance(message, str)
        assert message.startswith("error: ")
        assert "\n" not in message
        assert not (dest / "manifest.json").exists()
        assert not list(dest.rglob("*.partial"))
        return message

    return run


@pytest.fixture
def refusal(refused: Callable[..., str]) -> Callable[..., str]:
    """As ``refused``, of the command for the small corpus."""

    def run(raw: Path, dest: Path, *more: str) -> str:
        return refused(multi30k.main, dest, *arguments(raw, dest, *more))

    return run


@pytest.fixture
def server() -> Iterator[Server]:
    """A web server on this machine that has only empty files."""
    with Server(b"") as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server
        server.shutdown()
        thread.join()
