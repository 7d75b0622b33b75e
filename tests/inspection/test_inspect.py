"""``tiednmt inspect`` on files as each toolkit writes them: tied, equal, untied, misdescribed."""

import io
import json
import pickle
import random
import zipfile
from argparse import Namespace
from contextlib import suppress

import numpy as np
import pytest
import torch

from tests.support.translators import prepared_folder, save_translator
from tiednmt.commands import inspect as command
from tiednmt.errors import UserError
from tiednmt.export.model_folder import write_model_folder
from tiednmt.export.reading import read_trained
from tiednmt.export.safetensors import write_tensors
from tiednmt.inspection.files import read_model
from tiednmt.inspection.findings import DIFFERENT, EQUAL, ONE, inspect

ROWS, DIM = 40, 32


def matrix(seed):
    return torch.randn(ROWS, DIM, generator=torch.Generator().manual_seed(seed))


def matrices(inputs, output, copies):
    """Source, target and output: tied as told, as one tensor or as copies of it."""
    again = torch.clone if copies else (lambda tensor: tensor)
    source = matrix(1)
    target = again(source) if inputs else matrix(2)
    return source, target, again(target) if output else matrix(3)


# A toolkit's way to write: folder, three matrices, what is claimed → the file


def fairseq(folder, source, target, output, inputs, tied):
    flags = {"share_all_embeddings": inputs and tied, "share_decoder_input_output_embed": tied}
    model = {"_name": "transformer", **flags}
    names = ("encoder.embed_tokens", "decoder.embed_tokens", "decoder.output_projection")
    state = {f"{n}.weight": t for n, t in zip(names, (source, target, output), strict=True)}
    torch.save({"model": state, "cfg": {"model": model}, "args": None}, folder / "c.pt")
    return folder / "c.pt"


def old_fairseq(folder, source, target, output, inputs, tied):
    args = Namespace(
        arch="transformer",
        share_all_embeddings=inputs and tied,
        share_decoder_input_output_embed=tied,
    )
    state = {
        "encoder.embed_tokens.weight": source,
        "decoder.embed_tokens.weight": target,
        "decoder.embed_out": output,
    }
    content = {"model": state, "args": args, "optimizer_history": []}
    torch.save(content, folder / "c.pt", _use_new_zipfile_serialization=False)
    return folder / "c.pt"


def hugging_face(folder, source, target, output, inputs, tied):
    config = {"model_type": "marian", "tie_word_embeddings": tied}
    config["share_encoder_decoder_embeddings"] = inputs
    (folder / "config.json").write_text(json.dumps(config))
    state = {
        "model.encoder.embed_tokens.weight": source,
        "model.decoder.embed_tokens.weight": target,
        "lm_head.weight": output,
        "final_logits_bias": torch.zeros(1, ROWS),
    }
    torch.save(state, folder / "pytorch_model.bin")
    return folder


def marian(folder, source, target, output, inputs, tied):
    config = f"tied-embeddings-all: false\ntied-embeddings-src: {inputs}\ntied-embeddings: {tied}\n"
    arrays = {"encoder_Wemb": source.numpy(), "decoder_Wemb": target.numpy()}
    arrays["decoder_ff_logit_out_W"] = output.t().contiguous().numpy()
    text = np.frombuffer(config.lower().encode() + b"\0", dtype=np.int8)
    np.savez(folder / "model.npz", **arrays, **{"special:model.yml": text})
    return folder / "model.npz"


def joeynmt(folder, source, target, output, inputs, tied):
    yaml = f"name: x\nmodel:\n    tied_embeddings: {inputs}\n    tied_softmax: {tied}\n"
    (folder / "config.yaml").write_text(yaml)
    names = ("src_embed.lut", "trg_embed.lut", "decoder.output_layer")
    state = {f"{n}.weight": t for n, t in zip(names, (source, target, output), strict=True)}
    torch.save({"steps": 7, "model_state": state, "optimizer_state": {}}, folder / "best.ckpt")
    return folder / "best.ckpt"


def opennmt(folder, source, target, output, inputs, tied):
    lut = "embeddings.make_embedding.emb_luts.0.weight"
    state = {f"encoder.{lut}": source, f"decoder.{lut}": target}
    opt = Namespace(share_embeddings=inputs, share_decoder_embeddings=tied)
    content = {"model": state, "generator": {"weight": output, "bias": torch.zeros(ROWS)}}
    torch.save({**content, "opt": opt, "vocab": {"src": ["a"]}}, folder / "step_1.pt")
    return folder / "step_1.pt"


def eole(folder, source, target, output, inputs, tied):
    model = {"share_decoder_embeddings": tied, "share_embeddings": inputs}
    (folder / "config.json").write_text(json.dumps({"model": model}))
    names = ("src_emb.embeddings.weight", "tgt_emb.embeddings.weight", "generator.weight")
    state = dict(zip(names, (source, target, output), strict=True))
    write_tensors(folder / "model.00.safetensors", state)
    return folder / "model.00.safetensors"


TOOLKITS = {
    "fairseq": fairseq,
    "old fairseq": old_fairseq,
    "Hugging Face": hugging_face,
    "Marian": marian,
    "JoeyNMT": joeynmt,
    "OpenNMT-py": opennmt,
    "eole": eole,
}
SHARES = {"fairseq", "old fairseq", "Hugging Face", "JoeyNMT", "OpenNMT-py"}  # one in memory
every_toolkit = pytest.mark.parametrize("toolkit", TOOLKITS)


@every_toolkit
@pytest.mark.parametrize("copies", [False, True])
@pytest.mark.parametrize(("inputs", "tied"), [(True, True), (False, True), (False, False)])
def test_what_is_one_equal_or_different(tmp_path, toolkit, inputs, tied, copies):
    three = matrices(inputs, tied, copies)
    found = inspect(TOOLKITS[toolkit](tmp_path, *three, inputs, tied))
    assert found.toolkit == toolkit.removeprefix("old ")
    assert found.agrees
    same = ONE if toolkit in SHARES and not copies else EQUAL
    assert [pair.found for pair in found.pairs] == [
        same if inputs else DIFFERENT,
        same if tied else DIFFERENT,
    ]
    assert [pair.claimed for pair in found.pairs] == [inputs, tied]
    assert [matrix.shape for matrix in found.matrices] == [(ROWS, DIM)] * 3
    wasted = 0 if same is ONE else inputs + tied
    assert found.wasted == wasted * ROWS * DIM * 4


@every_toolkit
@pytest.mark.parametrize("tied", [False, True])
def test_a_wrong_claim(tmp_path, toolkit, tied, capsys):
    """What is tied is said not to be, or the other way round."""
    path = TOOLKITS[toolkit](tmp_path, *matrices(tied, tied, False), not tied, not tied)
    found = inspect(path)
    assert not found.agrees
    assert [pair.agrees for pair in found.pairs] == [False, False]
    with pytest.raises(SystemExit) as ended:
        command.main([str(path)])
    assert ended.value.code == 1
    assert capsys.readouterr().out.count("DISAGREES") == 2


def test_a_right_claim_has_status_zero(tmp_path, capsys):
    path = fairseq(tmp_path, *matrices(True, True, True), True, True)
    command.main([str(path)])
    out = capsys.readouterr().out
    assert "source input embedding = target input embedding? equal, stored twice" in out
    assert f"{2 * ROWS * DIM * 4:,} bytes could be saved" in out


# --- what is not stored, or stored once under several names ------------------------------------


def test_marian_with_one_matrix(tmp_path):
    text = np.frombuffer(b"tied-embeddings-all: true\n", dtype=np.int8)
    np.savez(tmp_path / "m.npz", Wemb=matrix(1).numpy(), **{"special:model.yml": text})
    found = inspect(tmp_path / "m.npz")
    assert [(pair.found, pair.claimed) for pair in found.pairs] == [(ONE, True)] * 2
    assert found.parameters == ROWS * DIM


def test_eole_leaves_out_what_is_tied(tmp_path):
    (tmp_path / "config.json").write_text(
        json.dumps({"share_embeddings": True, "model": {"share_decoder_embeddings": True}})
    )
    write_tensors(tmp_path / "model.00.safetensors", {"src_emb.embeddings.weight": matrix(1),
        "encoder.x": matrix(2)})  # fmt: skip
    assert [(pair.found, pair.claimed) for pair in inspect(tmp_path).pairs] == [(ONE, True)] * 2


def test_shards_of_a_language_model(tmp_path):
    (tmp_path / "config.json").write_text(
        json.dumps({"model_type": "llama", "tie_word_embeddings": True})
    )
    parts = {"model.embed_tokens.weight": matrix(1), "lm_head.weight": matrix(2)}
    for i, (name, tensor) in enumerate(parts.items()):
        write_tensors(tmp_path / f"model-{i}.safetensors", {name: tensor})
    index = {"weight_map": {name: f"model-{i}.safetensors" for i, name in enumerate(parts)}}
    (tmp_path / "model.safetensors.index.json").write_text(json.dumps(index))
    found = inspect(tmp_path)
    assert [matrix.use for matrix in found.matrices] == ["input embedding", "output embedding"]
    assert not found.agrees


def test_ours(tmp_path):
    data = prepared_folder(tmp_path / "data")
    for tying, expected in (("three-way", [ONE, ONE]), ("decoder", [DIFFERENT, ONE])):
        path = tmp_path / f"{tying}.pt"
        model = save_translator(path, data, tying=tying)
        for int8 in (False, True):
            folder = tmp_path / f"{tying} {int8}"
            write_model_folder(folder, read_trained(path, data), int8=int8)
            found = inspect(folder)
            assert found.agrees and found.wasted == 0
            assert [pair.found for pair in found.pairs] == expected
            assert [pair.claimed for pair in found.pairs] == [tying == "three-way", True]
            assert found.parameters == sum(p.numel() for p in model.parameters())
        found = inspect(path)
        assert found.agrees and found.wasted == 0
        assert [pair.found for pair in found.pairs] == expected
        assert found.parameters == sum(p.numel() for p in model.parameters())


def in_int8(folder, *tables):
    """A file of int8 tables, of the source, target and output, with a scale per row each."""
    names = ("encoder.embed_tokens", "decoder.embed_tokens", "decoder.output_projection")
    state = {}
    for name, (whole, scale) in zip(names, tables, strict=True):
        state |= {f"{name}.weight": whole, f"{name}.weight.scale": scale}
    write_tensors(folder / "m.safetensors", state)
    return folder / "m.safetensors"


def test_int8_tables_are_compared_as_what_their_rows_mean(tmp_path):
    """A table and its double at half the scale mean the same; at another scale they do not."""
    rows, dim = 128, 32  # large enough to be listed where it is stored twice
    whole = torch.randint(-60, 60, (rows, dim), dtype=torch.int8)
    scale = torch.full((rows,), 0.5)
    found = inspect(in_int8(tmp_path, (whole, scale), (2 * whole, scale / 2), (whole, 3 * scale)))
    assert [pair.found for pair in found.pairs] == [EQUAL, DIFFERENT]
    assert found.twice == (("encoder.embed_tokens.weight", "decoder.embed_tokens.weight"),)
    assert found.parameters == 2 * rows * dim


@pytest.mark.parametrize("shape", [(64, 64), (128, 32)])
def test_a_matrix_that_is_also_stored_transposed(tmp_path, shape):
    table = torch.randn(shape)
    state = {"encoder.embed_tokens.weight": table, "other.weight": table.t().contiguous()}
    write_tensors(tmp_path / "m.safetensors", state)
    assert inspect(tmp_path / "m.safetensors").twice == (tuple(state),)


def test_int8_tables_of_too_few_scales(tmp_path):
    whole, scale = torch.ones(128, 32, dtype=torch.int8), torch.ones(128)
    path = in_int8(tmp_path, (whole, scale), (whole, scale[1:]), (whole, scale))
    with pytest.raises(UserError, match=r"m\.safetensors: .*scale has the shape \(127,\), not"):
        inspect(path)


def test_nothing_is_claimed_where_no_configuration_is(tmp_path):
    path = hugging_face(tmp_path, *matrices(True, True, False), True, True)
    (tmp_path / "config.json").unlink()
    found = inspect(path)
    assert [pair.claimed for pair in found.pairs] == [None, None]
    assert found.agrees


# --- what is refused ---------------------------------------------------------------------------


class Hostile:
    """Creates a file when it is unpickled."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return open, (self.path, "w")


@pytest.mark.parametrize("model", ["text", None, 3, [1]])
def test_a_configuration_that_is_none_claims_nothing(model, tmp_path):
    state = {"model": {"encoder.embed_tokens.weight": matrix(1)}, "cfg": {"model": model}}
    torch.save(state, tmp_path / "odd.pt")
    assert all(pair.claimed is None for pair in inspect(tmp_path / "odd.pt").pairs)


def test_safetensors_that_begin_as_a_pickle_or_a_zip(tmp_path):
    """Their first bytes are the length of a header, which is a multiple of eight."""
    path, begun = tmp_path / "model.safetensors", set()
    for more in range(0, 300, 8):
        write_tensors(path, {"model.embed_tokens.weight": torch.zeros(3, 2)}, {"x": "y" * more})
        begun.add(path.read_bytes()[:1])
        assert list(read_model(path).tensors) == ["model.embed_tokens.weight"]
    assert b"\x80" in begun
    path.write_bytes(_with_header_of(0x4B50, path.read_bytes()))
    assert path.read_bytes()[:2] == b"PK"
    assert list(read_model(path).tensors) == ["model.embed_tokens.weight"]


def _with_header_of(length, content):
    """The file with spaces at the end of its header, which safetensors allows."""
    before = int.from_bytes(content[:8], "little")
    header = content[8 : 8 + before].ljust(length)
    return length.to_bytes(8, "little") + header + content[8 + before :]


@pytest.mark.parametrize("new", [False, True])
def test_a_pickle_that_could_run_code(tmp_path, new):
    content = {"model": {"encoder.embed_tokens.weight": matrix(1)}, "x": Hostile(tmp_path / "ran")}
    torch.save(content, tmp_path / "c.pt", _use_new_zipfile_serialization=new)
    with pytest.raises(UserError, match=r"c.pt: refused"):
        inspect(tmp_path / "c.pt")
    (tmp_path / "p.bin").write_bytes(pickle.dumps(Hostile(tmp_path / "ran")))
    with pytest.raises(UserError, match=r"p.bin: "):
        inspect(tmp_path / "p.bin")
    np.savez(tmp_path / "m.npz", Wemb=np.array([Hostile(tmp_path / "ran")], dtype=object))
    with pytest.raises(UserError, match=r"m.npz: not an .npz of plain numbers"):
        inspect(tmp_path / "m.npz")
    assert not (tmp_path / "ran").exists()


def test_yaml_that_could_run_code(tmp_path):
    text = f"!!python/object/apply:os.system ['touch {tmp_path / 'ran'}']".encode()
    array = np.frombuffer(text, dtype=np.int8)
    np.savez(tmp_path / "m.npz", Wemb=matrix(1).numpy(), **{"special:model.yml": array})
    with pytest.raises(UserError, match="not YAML"):
        inspect(tmp_path / "m.npz")
    assert not (tmp_path / "ran").exists()


def test_what_is_no_model(tmp_path):
    files = {"text.bin": b"hello", "empty.bin": b"", "cut.pt": b"PK\x03\x04", "m.npz": b"PK\x03"}
    for name, content in files.items():
        (tmp_path / name).write_bytes(content)
        with pytest.raises(UserError, match=name):
            inspect(tmp_path / name)
    torch.save({"model": {"conv.weight": matrix(1)}}, tmp_path / "image.pt")
    with pytest.raises(UserError, match="holds no embeddings under the names of"):
        inspect(tmp_path / "image.pt")
    torch.save([matrix(1)], tmp_path / "list.pt")
    with pytest.raises(UserError, match="holds a list"):
        inspect(tmp_path / "list.pt")
    index = {"weight_map": {"a": "../other.safetensors"}}
    (tmp_path / "model.safetensors.index.json").write_text(json.dumps(index))
    with pytest.raises(UserError, match="outside of its folder"):
        inspect(tmp_path / "model.safetensors.index.json")
    (tmp_path / "two").mkdir()
    for name in ("a.safetensors", "b.safetensors"):
        write_tensors(tmp_path / "two" / name, {"src_emb.embeddings.weight": matrix(1)})
    with pytest.raises(UserError, match=r"two: holds several .*\(a.safetensors, b.safetensors\)"):
        inspect(tmp_path / "two")
    (tmp_path / "nothing").mkdir()
    with pytest.raises(UserError, match="holds no file of weights"):
        inspect(tmp_path / "nothing")


def index_of(*names):
    """An index of Hugging Face's that names these files."""
    return json.dumps({"weight_map": dict(enumerate(names))}).encode()


def header(**entries):
    """A file of safetensors of this header, and of 16 bytes of numbers."""
    text = json.dumps(entries).encode()
    return len(text).to_bytes(8, "little") + text + bytes(16)


def pack(method, content=b"", flag=0):
    """An .npz whose only array says that it is packed by a method, or encrypted (flag 1)."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("Wemb.npy", content)
    packed = bytearray(file.getvalue())
    for start, place in ((b"PK\3\4", 6), (b"PK\1\2", 8)):
        at = packed.index(start) + place
        packed[at : at + 4] = bytes((flag, 0, method, 0))
    return bytes(packed)


INDEX, F32 = "model.safetensors.index.json", {"dtype": "F32", "data_offsets": [0, 16]}
MALFORMED = {
    "an index of nothing": (INDEX, index_of(), "not an index of files"),
    "an index of numbers": (INDEX, index_of(1), "not an index of files"),
    "an index of no name": (INDEX, index_of(""), "not an index of files"),
    "an index of itself": (INDEX, index_of(INDEX), "neither of safetensors"),
    "an index of its folder": (INDEX, index_of("."), "outside of its folder"),
    "an index of the folder above": (INDEX, index_of(".."), "outside of its folder"),
    "metadata of lists": (
        "m.safetensors",
        header(__metadata__={"a": ["x"]}, x={**F32, "shape": [4]}),
        "its metadata are none",
    ),
    "a vector": (
        "m.safetensors",
        header(**{"decoder.embedding.weight": {**F32, "shape": [4]}}),
        r"decoder\.embedding\.weight has the shape \(4,\), so it is no matrix",
    ),
    "no tensor": (
        "m.safetensors",
        header(**{"decoder.embedding.weight": {**F32, "dtype": "F8_E4M3", "shape": [16]}}),
        r"weight has the dtype F8_E4M3, which tiednmt does not read \(only F64, F32",
    ),
    "a packing that Python lacks": ("m.npz", pack(99), "not an .npz"),
    "an encrypted array": ("m.npz", pack(0, flag=1), "not an .npz"),
    "more numbers than there is memory": (
        "m.npz",
        pack(0, b"\x93NUMPY\1\0v\0" + b"{'descr': '<f4', 'fortran_order': False, 'shape': "
             b"(9999999999, 99999), }".ljust(117) + b"\n"),
        "not an .npz",
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", MALFORMED)
def test_what_is_malformed(case, tmp_path):
    name, content, message = MALFORMED[case]
    (tmp_path / name).write_bytes(content)
    with pytest.raises(UserError, match=message) as refused:
        inspect(tmp_path / name)
    assert str(refused.value).startswith(str(tmp_path))


def compressed(folder, source, *_):
    np.savez_compressed(folder / "m.npz", Wemb=source.numpy())
    return folder / "m.npz"


@pytest.mark.parametrize("write", [compressed, old_fairseq])
def test_flipped_bits(write, tmp_path):
    path = write(tmp_path, *matrices(True, True, False), True, True)
    whole = path.read_bytes()
    for chance in map(random.Random, range(100)):
        flipped = bytearray(whole)
        for _ in range(3):
            flipped[chance.randrange(2000)] ^= 1 << chance.randrange(8)
        path.write_bytes(flipped)
        with suppress(UserError):
            inspect(path)


@pytest.mark.parametrize(
    "value",
    ["2020-13-45", "!!int ''", "!!bool maybe", "!!timestamp x", "[1"],
)
def test_a_configuration_that_yaml_cannot_be_of(value, tmp_path):
    path = joeynmt(tmp_path, *matrices(True, True, False), True, True)
    with open(tmp_path / "config.yaml", "a") as file:
        file.write(f"date: {value}\n")
    with pytest.raises(UserError, match=r"config\.yaml: its configuration is not YAML"):
        inspect(path)


def test_names_that_are_none_of_a_matrix(tmp_path):
    path = fairseq(tmp_path, *matrices(True, True, False), True, True)
    content = torch.load(path)
    content["model"][0] = matrix(4)
    torch.save(content, path)
    assert inspect(path).parameters == 2 * ROWS * DIM


def test_the_others_are_read_where_one_cannot_be(tmp_path, capsys):
    good = fairseq(tmp_path, *matrices(True, True, False), True, True)
    with pytest.raises(SystemExit):
        command.main([str(tmp_path / "none.pt"), str(good)])
    captured = capsys.readouterr()
    assert "none.pt: no such file" in captured.err
    assert "one matrix" in captured.out
