"""sacreBLEU's own download, from a server on this machine."""

import hashlib
import threading

import pytest
from sacrebleu.dataset import DATASETS

from tests.preprocess.local_server import Server
from tests.preprocess.miniatures import Miniatures
from tiednmt.errors import UserError
from tiednmt.translation.standard_sets import is_standard, standard_set


@pytest.fixture
def full(tmp_path, monkeypatch):
    """``wmt14/full`` with the miniature of its archive, to be downloaded into a new folder."""
    content = (Miniatures().write(tmp_path / "archives") / "test-full.tgz").read_bytes()
    dataset = DATASETS["wmt14/full"]
    monkeypatch.setattr(dataset, "_outdir", str(tmp_path / "sacrebleu"))
    monkeypatch.setattr(dataset, "_rawdir", str(tmp_path / "sacrebleu" / "raw"))
    monkeypatch.setattr(dataset, "md5", [hashlib.md5(content).hexdigest()])
    with Server(content) as server:
        monkeypatch.setattr(dataset, "data", [f"{server.url}/test-full.tgz"])
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def test_a_test_set_is_downloaded_and_read(full):
    assert is_standard("wmt14/full")
    assert not is_standard("test_2016_flickr")
    source, [references] = standard_set("wmt14/full", "en", "fr")
    corpus = Miniatures().corpora["test"]
    assert source[1:] == [english for english, _, _ in corpus[1:]]
    assert references[1:] == [french for _, _, french in corpus[1:]]


def test_all_references_of_a_test_set_are_read(tmp_path, monkeypatch):
    paths = {name: tmp_path / name for name in ("src", "ref:A", "ref:B")}
    for name, path in paths.items():
        path.write_text(f"{name}\n")
    dataset = DATASETS["wmt21/AB"]
    monkeypatch.setattr(dataset, "fieldnames", lambda pair: [*paths])
    monkeypatch.setattr(dataset, "get_files", lambda pair: [*map(str, paths.values())])
    assert standard_set("wmt21/AB", "en", "de") == (["src"], [["ref:A"], ["ref:B"]])


def test_what_cannot_be_had(full, monkeypatch):
    with pytest.raises(UserError, match="--subset wmt14/full: sacreBLEU's test set has no en-xx"):
        standard_set("wmt14/full", "en", "xx")
    full.faults = [404]
    with pytest.raises(
        UserError, match=r"could not download it to .*take a subset of the prepared"
    ):
        standard_set("wmt14/full", "en", "de")
    monkeypatch.setattr(DATASETS["wmt14/full"], "md5", ["0" * 32])
    with pytest.raises(UserError, match="could not download it"):
        standard_set("wmt14/full", "en", "de")
