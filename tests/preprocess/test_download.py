import hashlib
import os
import re
import subprocess
from types import SimpleNamespace

import pytest

from preprocess import multi30k, wmt14
from preprocess.download import ATTEMPTS, SUMS, Download, fetch, fetch_all, files_at
from tests.preprocess.miniatures import Miniatures
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


@pytest.mark.parametrize("checksum", [SHA256, None])
def test_a_part_that_is_whole_gets_its_name(server, tmp_path, checksum):
    """As a process leaves it that is killed before it has checked the hash."""
    (tmp_path / "file.part").write_bytes(CONTENT)
    fetch(f"{server.url}/file", tmp_path / "file", checksum, first_wait=0.01)
    assert (tmp_path / "file").read_bytes() == CONTENT
    assert server.ranges == [f"bytes={len(CONTENT)}-"]


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


@pytest.mark.parametrize("fault", ["wrong", "short"])
def test_wrong_bytes_and_wrong_lengths_are_refused(server, tmp_path, fault):
    server.faults = [fault]
    with pytest.raises(UserError, match=r"SHA-256 [0-9a-f]{64}, not .*; it was deleted"):
        get(server, tmp_path / "file")
    get(server, tmp_path / "file")
    assert (tmp_path / "file").read_bytes() == CONTENT


@pytest.mark.parametrize("algorithm", ["md5", "sha1", "sha256"])
def test_whatever_hash_was_published_is_held_to(server, tmp_path, algorithm):
    right = hashlib.new(algorithm, CONTENT).hexdigest()
    fetch(f"{server.url}/file", tmp_path / "file", right, first_wait=0.01)
    wrong = "0" * len(right)
    with pytest.raises(UserError, match=f"(?i){algorithm[:3]}.* {right}, not {wrong}"):
        fetch(f"{server.url}/file", tmp_path / "file", wrong, first_wait=0.01)


def all_of(server, folder, checksums):
    fetch_all(files_at(server.url, checksums), folder, first_wait=0.01)


def test_several_files_in_spite_of_all_faults(server, tmp_path):
    names = [f"file{number}" for number in range(9)]
    server.files = {name: name.encode() * 50_000 for name in names}
    server.faults = ["drop", 503, 500, "drop", 429, "drop"]
    sums = {name: hashlib.sha256(server.files[name]).hexdigest() for name in names}
    all_of(server, tmp_path, sums)
    for name in names:
        assert (tmp_path / name).read_bytes() == server.files[name]
    checked = subprocess.run(["sha256sum", "--check", SUMS], cwd=tmp_path, capture_output=True)
    assert checked.returncode == 0

    asked = len(server.ranges)
    all_of(server, tmp_path, sums)
    assert len(server.ranges) == asked


def test_one_file_that_is_not_there_stops_all(server, tmp_path):
    server.faults = [404]
    with pytest.raises(UserError, match="the server answers 404"):
        all_of(server, tmp_path, {"a": SHA256, "b": SHA256})


def test_a_file_without_published_hash_is_held_to_its_first_download(server, tmp_path, capsys):
    all_of(server, tmp_path, {"file": None})
    assert "file: no hash was published; its SHA-256 is now in" in capsys.readouterr().err
    assert (tmp_path / SUMS).read_text() == f"{SHA256}  file\n"
    all_of(server, tmp_path, {"file": None})
    assert capsys.readouterr().err == ""

    server.content = b"changed at its source"
    (tmp_path / "file").unlink()
    with pytest.raises(UserError, match=f"not {SHA256}"):
        all_of(server, tmp_path, {"file": None})
    (tmp_path / "file").write_bytes(b"damaged on disk")
    with pytest.raises(UserError, match=f"not {SHA256}"):
        all_of(server, tmp_path, {"file": None})


def test_too_little_space_is_known_before_anything_is_fetched(server, tmp_path, monkeypatch):
    free = SimpleNamespace(total=0, used=0, free=len(CONTENT) * 2 - 1)
    monkeypatch.setattr("shutil.disk_usage", lambda path: free)
    with pytest.raises(UserError, match=r"0\.0 GB are to download, and 0\.0 GB are free"):
        all_of(server, tmp_path, {"a": SHA256, "b": SHA256})
    assert server.ranges == []
    (tmp_path / "a.part").write_bytes(CONTENT[:1])  # what is there need not be fetched
    all_of(server, tmp_path, {"a": SHA256, "b": SHA256})


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs /dev/full")
def test_a_full_disk_is_one_error(server, tmp_path):
    (tmp_path / "file.part").symlink_to("/dev/full")
    with pytest.raises(UserError, match=r"file\.part: cannot be written: No space left"):
        get(server, tmp_path / "file")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_no_permission_is_one_error(server, tmp_path):
    tmp_path.chmod(0o500)
    with pytest.raises(UserError, match=r"file\.part: cannot be written: Permission denied"):
        get(server, tmp_path / "file")


def test_the_archives_of_wmt_are_fetched_by_the_command(server, tmp_path, monkeypatch):
    miniatures = Miniatures().write(tmp_path / "archives")
    wanted = {item.name: item.checksum for item in wmt14.CORPUS.downloads("en-fr")}
    assert len(wanted) == 7
    server.files = {name: (miniatures / name).read_bytes() for name in wanted}
    dest = tmp_path / "dest"
    given = ["--pair", "en-fr", "--dest", str(dest), "--url", server.url, "--workers", "1"]
    with pytest.raises(SystemExit) as stopped:
        wmt14.main(given)
    assert "the file has " in stopped.value.code
    monkeypatch.setattr(Download, "at", lambda item, url: Download(f"{url}/{item.name}"))
    wmt14.main([*given, "--merges", "50"])
    assert (dest / "manifest.json").exists()
    assert {path.name for path in (dest / "download").iterdir()} == {*wanted, SUMS}


def test_the_command_refuses_a_file_that_is_not_multi30k(server, tmp_path):
    with pytest.raises(SystemExit) as stopped:
        multi30k.main(["--pair", "en-de", "--url", server.url, "--dest", str(tmp_path / "dest")])
    refusal = rf"error: {server.url}/\w+\.(en|de)\.gz: the file has SHA-256"
    assert re.match(refusal, stopped.value.code)


@pytest.mark.real_data
def test_the_hashes_are_those_of_multi30k(data_folder):
    folders = [data_folder / name for name in ("multi30k", "multi30k-cs")]
    for folder in folders:
        if not folder.is_dir():
            pytest.skip(f"no folder {folder}")
    real = {path.name: path for folder in folders for path in folder.glob("*.gz")}
    assert real.keys() == multi30k.SHA256.keys()
    for name, digest in multi30k.SHA256.items():
        assert hashlib.sha256(real[name].read_bytes()).hexdigest() == digest
