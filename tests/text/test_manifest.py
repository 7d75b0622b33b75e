"""Manifests of prepared folders: what is not as it was written is named."""

from __future__ import annotations

import json

import pytest

from tiednmt.errors import UserError
from tiednmt.text.manifest import read_manifest, subset_fault

GOOD = {
    "format": 2,
    "source": "en",
    "target": "pt_BR",
    "subsets": {"valid": "valid", "test_2016_flickr": "test"},
    "references": {"test_2016_flickr": 2},
    "options": {"merges": 10},
    "vocabulary": {"joint": 10},
    "files": {"bpe/codes": "abc"},
}


def written(folder, content):
    (folder / "manifest.json").write_text(json.dumps(content))
    return folder


def test_a_good_one_is_read(tmp_path):
    assert read_manifest(written(tmp_path, GOOD)) == GOOD


@pytest.mark.parametrize("part", sorted(GOOD.keys() - {"format"}))
@pytest.mark.parametrize("value", [3, "text", ["list"], {"name": []}, {"name": {}}], ids=repr)
def test_a_part_of_another_type_is_refused(part, value, tmp_path):
    if part in ("options", "vocabulary") and isinstance(value, dict):
        return  # of which the manifest says nothing
    if part in ("source", "target") and value == "text":
        return
    with pytest.raises(UserError, match=r"manifest\.json"):
        read_manifest(written(tmp_path, {**GOOD, part: value}))


@pytest.mark.parametrize(
    "change",
    [
        {"subsets": {"../../secret": "test"}},
        {"subsets": {"/etc/passwd": "test"}},
        {"subsets": {"": "test"}},
        {"source": "../en"},
        {"references": {"test_2016_flickr": 0}},
        {"references": {"test_2016_flickr": 10**9}},
    ],
    ids=str,
)
def test_names_and_numbers_that_lead_elsewhere_are_refused(change, tmp_path):
    with pytest.raises(UserError, match=r"manifest\.json"):
        read_manifest(written(tmp_path, {**GOOD, **change}))


@pytest.mark.parametrize("text", ["", "{", "[]", "null", "3", "[" * 100_000, "\udcff"])
def test_what_is_no_object_is_refused(text, tmp_path):
    (tmp_path / "manifest.json").write_bytes(text.encode("utf-8", "surrogateescape"))
    with pytest.raises(UserError, match=r"manifest\.json"):
        read_manifest(tmp_path)


@pytest.mark.parametrize(
    "name", ["test", "test_2016_flickr", "_", "2017", "a.b+c-d", "train.x", "Ж"]
)
def test_names_that_a_subset_can_have(name):
    assert subset_fault(name) is None


@pytest.mark.parametrize("name", ["vocab", "words", "codes", "dict", "train.0", "train.12"])
def test_names_of_other_files_of_a_prepared_folder(name):
    assert "has files of this name" in subset_fault(name)


@pytest.mark.parametrize("name", ["", ".hid", "../x", "a/b", "a b", "a\n", "-x", "+x"])
def test_names_that_no_subset_can_have(name):
    assert subset_fault(name).startswith("a NAME has letters")
