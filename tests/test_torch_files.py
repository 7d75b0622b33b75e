"""Damage of torch's files: every kind is seen, a whole file never is taken for damaged."""

from __future__ import annotations

import random
import zipfile

import pytest
import torch

from tiednmt.errors import CheckpointError
from tiednmt.torch_files import checked_meanwhile, damage_of


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    path = tmp_path_factory.mktemp("saved") / "state.pt"
    torch.manual_seed(1)
    model = {f"layer{i}.weight": torch.randn(40, 10) for i in range(30)}
    torch.save({"model": model, "cfg": {"lr": [0.1]}}, path)
    return path


def test_a_flipped_bit_is_seen_wherever_it_is(saved, tmp_path):
    content, chance = bytearray(saved.read_bytes()), random.Random(1)
    seen = 0
    for _ in range(1000):
        place, bit = chance.randrange(len(content)), 1 << chance.randrange(8)
        content[place] ^= bit
        (tmp_path / "flipped.pt").write_bytes(content)
        content[place] ^= bit
        try:
            with checked_meanwhile(tmp_path / "flipped.pt"):
                torch.load(tmp_path / "flipped.pt")
        except Exception:
            seen += 1
    assert seen >= 990


def test_bytes_of_a_tensor_that_are_swapped_are_seen(saved, tmp_path):
    content = bytearray(saved.read_bytes())
    with zipfile.ZipFile(saved) as archive:
        first, second = (archive.getinfo(f"state/data/{i}").header_offset for i in (3, 4))
    content[first + 200], content[second + 200] = content[second + 200], content[first + 200]
    (tmp_path / "swapped.pt").write_bytes(content)
    assert "data/3" in damage_of(tmp_path / "swapped.pt")


@pytest.mark.parametrize("number", [0, 1, 200])
def test_a_whole_file_passes(number, tmp_path):
    tensors = {str(i): torch.randn(i % 7, 3) for i in range(number)}
    torch.save(tensors, tmp_path / "a.pt")
    assert damage_of(tmp_path / "a.pt") is None
    with checked_meanwhile(tmp_path / "a.pt"):
        pass


def test_a_file_of_torch_before_archives_is_not_looked_into(tmp_path):
    torch.save({"a": torch.zeros(3)}, tmp_path / "a.pt", _use_new_zipfile_serialization=False)
    assert damage_of(tmp_path / "a.pt") is None


def test_an_archive_that_another_tool_wrote_passes(saved, tmp_path):
    with (
        zipfile.ZipFile(saved) as archive,
        zipfile.ZipFile(tmp_path / "again.pt", "w") as again,
    ):
        for name in archive.namelist():
            again.writestr(name, archive.read(name))
    assert damage_of(tmp_path / "again.pt") is None
    assert torch.load(tmp_path / "again.pt")["cfg"] == {"lr": [0.1]}


def test_damage_is_what_is_said_where_reading_fails_too(saved, tmp_path):
    content = bytearray(saved.read_bytes())
    content[80] ^= 1
    (tmp_path / "state.pt").write_bytes(content)
    with (
        pytest.raises(CheckpointError, match=r"state\.pt: .*damaged"),
        checked_meanwhile(tmp_path / "state.pt"),
    ):
        raise RuntimeError


def test_bytes_that_torch_reads_past_are_seen(saved, tmp_path):
    content = saved.read_bytes()
    end = content.index(b"PK\x01\x02")
    (tmp_path / "a.pt").write_bytes(content[:end] + b"more" + content[end:])
    assert damage_of(tmp_path / "a.pt") is not None
    (tmp_path / "a.pt").write_bytes(content[: len(content) // 2])
    assert damage_of(tmp_path / "a.pt") is not None
