"""The format, against the package that defines it where that is installed."""

import json

import pytest
import torch

from tiednmt.errors import UserError
from tiednmt.export.safetensors import DTYPES, TensorFile, write_tensors

TENSORS = {
    **{
        f"a {code}": torch.arange(6).reshape(2, 3).to(dtype)
        for code, dtype in DTYPES.items()
        if code != "BOOL"
    },
    "BOOL": torch.tensor([True, False, True]),
    "scalar": torch.tensor(4.0, dtype=torch.float64),
    "empty": torch.empty(0, 5),
    "a view": torch.arange(12.0).reshape(3, 4).t(),
}


def assert_same(tensors):
    assert tensors.keys() == TENSORS.keys()
    for name, tensor in TENSORS.items():
        assert tensors[name].dtype == tensor.dtype
        assert torch.equal(tensors[name], tensor)


def test_tensors_come_back(tmp_path):
    write_tensors(tmp_path / "f", TENSORS, {"other": "name"})
    file = TensorFile(tmp_path / "f")
    assert file.metadata == {"other": "name"}
    assert file.shapes == {name: tuple(tensor.shape) for name, tensor in TENSORS.items()}
    assert_same(file.read_all())


def test_the_package_safetensors_reads_them_and_is_read(tmp_path):
    theirs = pytest.importorskip("safetensors.torch")
    write_tensors(tmp_path / "ours", TENSORS, {"other": "name"})
    assert_same(theirs.load_file(tmp_path / "ours"))
    contiguous = {name: tensor.contiguous() for name, tensor in TENSORS.items()}
    theirs.save_file(contiguous, tmp_path / "theirs", {"format": "pt"})
    file = TensorFile(tmp_path / "theirs")
    assert file.metadata == {"format": "pt"}
    assert_same(file.read_all())


def damaged(**changes):
    entry = {"dtype": "F32", "shape": [2, 2], "data_offsets": [0, 16], **changes}
    header = json.dumps({"w": entry}).encode()
    return len(header).to_bytes(8, "little") + header + bytes(16)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\x80\x04]",
        (1 << 60).to_bytes(8, "little") + b"{}",
        (2).to_bytes(8, "little") + b"[]",
        (4).to_bytes(8, "little") + b"{{{{",
        damaged(data_offsets=[0, 20]),
        damaged(data_offsets=[4, 20]),
        damaged(data_offsets=[-4, 12]),
        damaged(shape=[2, 3]),
        damaged(shape=[-2, -2]),
        damaged(shape=2),
        damaged(dtype=["F32"]),
        damaged()[:-1],
    ],
    ids=repr,
)
def test_what_cannot_be_is_refused(tmp_path, content):
    (tmp_path / "f").write_bytes(content)
    with pytest.raises(UserError, match="not a complete safetensors file"):
        TensorFile(tmp_path / "f")


def test_a_dtype_that_is_not_read_is_named(tmp_path):
    """The file is whole, so that copying it again would not help."""
    (tmp_path / "f").write_bytes(damaged(dtype="F8_E4M3", shape=[4, 4]))
    with pytest.raises(UserError) as refused:
        TensorFile(tmp_path / "f")
    assert str(refused.value) == (
        f"{tmp_path / 'f'}: w has the dtype F8_E4M3, which tiednmt does not read "
        "(only F64, F32, F16, BF16, I64, I32, I16, I8, U8, BOOL)"
    )


@pytest.mark.parametrize("metadata", [["a"], "a", {"a": ["x"]}, {"a": None}])
def test_metadata_are_texts(metadata, tmp_path):
    entry = {"dtype": "F32", "shape": [2, 2], "data_offsets": [0, 16]}
    header = json.dumps({"__metadata__": metadata, "w": entry}).encode()
    (tmp_path / "f").write_bytes(len(header).to_bytes(8, "little") + header + bytes(16))
    with pytest.raises(UserError, match=r"not a complete safetensors file \(its metadata"):
        TensorFile(tmp_path / "f")


def test_a_file_of_another_length_than_read_is_whole(tmp_path):
    (tmp_path / "f").write_bytes(damaged())
    assert torch.equal(TensorFile(tmp_path / "f").read("w"), torch.zeros(2, 2))
