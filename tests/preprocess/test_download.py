import hashlib

import pytest

from preprocess import multi30k
from preprocess.download import ATTEMPTS, fetch
from tiednmt.errors import UserError

CONTENT = bytes(range(256)) * 2000
SHA256 = hashlib.sha256(CONTENT).hexdigest()


@pytest.fixture
def server(server):
    server.content = CONTENT
    return server


def get(server, path):
    fetch(f"{server.url}/file", path, SHA256, first_wait=0.01)


def test_a_file_is_fetched_once(server, tmp_path):
    path = tmp_path / "folder" / "file"
    get(server, path)
    get(server, path)
    assert path.read_bytes() == CONTENT
    assert len(server.ranges) == 1
    assert list(path.parent.iterdir()) == [path]


def test_a_server_that_turns_away_the_library_of_python_is_asked_under_another_name(
    server, tmp_path
):
    get(server, tmp_path / "file")
    (agent,) = server.agents
    assert agent and "urllib" not in agent


def test_a_broken_connection_is_gone_on_with(server, tmp_path):
    server.faults = ["drop", "drop", 503]
    get(server, tmp_path / "file")
    assert (tmp_path / "file").read_bytes() == CONTENT
    half, three_quarters = len(CONTENT) // 2, len(CONTENT) * 3 // 4
    again = f"bytes={three_quarters}-"
    assert server.ranges == [None, f"bytes={half}-", again, again]


def test_a_server_without_ranges_sends_the_whole_again(server, tmp_path):
    server.knows_ranges = False
    server.faults = ["drop"]
    get(server, tmp_path / "file")
    assert (tmp_path / "file").read_bytes() == CONTENT


@pytest.mark.parametrize("junk", [b"junk", b"junk" * len(CONTENT)])
def test_a_part_of_something_else_is_dropped(server, tmp_path, junk):
    (tmp_path / "file.part").write_bytes(junk)
    get(server, tmp_path / "file")
    assert (tmp_path / "file").read_bytes() == CONTENT


def test_a_damaged_file_is_fetched_again(server, tmp_path):
    (tmp_path / "file").write_bytes(b"damaged")
    get(server, tmp_path / "file")
    assert (tmp_path / "file").read_bytes() == CONTENT


def test_another_file_is_refused_and_deleted(server, tmp_path):
    server.content = b"a log-in page"
    with pytest.raises(UserError, match=r"SHA-256 [0-9a-f]{64}, not [0-9a-f]{64}; it was deleted"):
        get(server, tmp_path / "file")
    assert list(tmp_path.iterdir()) == []


def test_a_missing_file_is_asked_for_once(server, tmp_path):
    server.faults = [404]
    with pytest.raises(UserError, match=r"/file: the server answers 404 Not Found"):
        get(server, tmp_path / "file")
    assert len(server.ranges) == 1


def test_a_server_that_stays_broken_is_given_up(server, tmp_path):
    server.faults = ["drop"] + [500] * ATTEMPTS
    with pytest.raises(UserError, match=rf"after {ATTEMPTS} attempts .*500"):
        get(server, tmp_path / "file")
    assert (tmp_path / "file.part").stat().st_size == len(CONTENT) // 2


def test_nobody_listening_is_one_error(tmp_path):
    with pytest.raises(UserError, match=r"not downloaded after .*refused"):
        fetch("http://127.0.0.1:9/file", tmp_path / "file", SHA256, first_wait=0.001)


def test_what_is_no_address_is_one_error(tmp_path):
    with pytest.raises(UserError, match="not a web address"):
        fetch("nonsense", tmp_path / "file", SHA256)


def test_the_command_refuses_a_file_that_is_not_multi30k(server, tmp_path):
    with pytest.raises(SystemExit) as stopped:
        multi30k.main(["--pair", "en-de", "--url", server.url, "--dest", str(tmp_path / "dest")])
    assert f"{server.url}/train.en.gz: the file has SHA-256" in stopped.value.code


@pytest.mark.real_data
def test_the_hashes_are_those_of_multi30k(data_folder):
    real = data_folder / "multi30k"
    if not real.is_dir():
        pytest.skip(f"no folder {real}")
    assert set(multi30k.SHA256) == {path.name for path in real.glob("*.gz")}
    for name, digest in multi30k.SHA256.items():
        assert hashlib.sha256((real / name).read_bytes()).hexdigest() == digest
