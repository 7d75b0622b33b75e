import os

import pytest

from tiednmt.errors import UserError
from tiednmt.files import folder_when_whole, sha256, write_whole


def test_a_file_gets_its_name_only_when_whole(tmp_path):
    path = tmp_path / "folder" / "text"
    with pytest.raises(RuntimeError), write_whole(path) as file:
        file.write("half")
        raise RuntimeError
    assert list(path.parent.iterdir()) == []

    with write_whole(path) as file:
        file.write("whöle\n")
        assert not path.exists()
    assert path.read_bytes() == "whöle\n".encode()

    with pytest.raises(RuntimeError), write_whole(path) as file:
        raise RuntimeError
    assert path.read_bytes() == "whöle\n".encode()


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs /dev/full")
def test_a_full_disk_is_one_error(tmp_path):
    (tmp_path / "text.partial").symlink_to("/dev/full")
    full = pytest.raises(UserError, match=r"text: cannot be written: No space left")
    with full, write_whole(tmp_path / "text") as file:
        file.write("x")
    assert list(tmp_path.iterdir()) == []


def test_sha256_of_a_known_text(tmp_path):
    (tmp_path / "abc").write_bytes(b"abc")
    # FIPS 180-2, appendix B.1
    assert sha256(tmp_path / "abc") == (
        "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    )


def test_a_folder_gets_its_name_only_when_whole(tmp_path):
    folder = tmp_path / "a" / "folder"
    with pytest.raises(RuntimeError), folder_when_whole(folder) as partial:
        (partial / "file").write_text("half")
        raise RuntimeError
    assert list(folder.parent.iterdir()) == []
    folder.mkdir()
    with folder_when_whole(folder) as partial:
        (partial / "file").write_text("whole")
    assert (folder / "file").read_text() == "whole"
    assert list(folder.parent.iterdir()) == [folder]
    with pytest.raises(UserError, match="exists"), folder_when_whole(folder):
        pass
