"""sacreBLEU's own download, from a server on this machine."""

import hashlib
import threading

import pytest
from sacrebleu.dataset import DATASETS

from tests.preprocess.local_server import Server
from tests.preprocess.miniatures import Miniatures
from tiednmt.errors import UserError
from tiednmt.translation.standard_sets import is_standard, standard_pairs


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
    source, references = standard_pairs("wmt14/full", "en", "fr")
    corpus = Miniatures().corpora["test"]
    assert source[1:] == [english for english, _, _ in corpus[1:]]
    assert references[1:] == [french for _, _, french in corpus[1:]]


def test_what_cannot_be_had(full, monkeypatch):
    with pytest.raises(UserError, match="--subset wmt14/full: sacreBLEU's test set has no en-xx"):
        standard_pairs("wmt14/full", "en", "xx")
    full.faults = [404]
    with pytest.raises(
        UserError, match=r"could not download it to .*take a subset of the prepared"
    ):
        standard_pairs("wmt14/full", "en", "de")
    monkeypatch.setattr(DATASETS["wmt14/full"], "md5", ["0" * 32])
    with pytest.raises(UserError, match="could not download it"):
        standard_pairs("wmt14/full", "en", "de")
