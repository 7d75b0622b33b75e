"""What an earlier call left is used where it is whole, and named where it is not."""

from __future__ import annotations

import json
from types import SimpleNamespace

import pytest

from scripts.lab.kinds import language_model, projection_search
from scripts.lab.run import training
from scripts.lab.run.kept import read_kept
from tiednmt.errors import UserError


def test_what_is_whole_is_used(tmp_path):
    (tmp_path / "a.json").write_text('{"a": [1, 2]}')
    assert read_kept(tmp_path / "a.json", lambda content: sum(content["a"])) == 3


DAMAGED = (
    "",
    "[" * 100_000,
    "3",
    "[]",
    "{}",
    '{"a": 1}',
    '{"a": "text"}',
    b"\xff\xfe",
)


@pytest.mark.parametrize("content", DAMAGED, ids=range(len(DAMAGED)))
def test_what_is_damaged_is_named(content, tmp_path):
    (tmp_path / "a.json").write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(UserError, match=r"a\.json: damaged.*remove"):
        read_kept(tmp_path / "a.json", lambda content: sum(content["a"]))


@pytest.mark.parametrize("content", ['{"command": ["a"]}', '{"finished": true}', "[]", "{"])
def test_a_damaged_record_of_a_training_says_what_to_remove(content, tmp_path):
    (tmp_path / "command.json").write_text(content)
    with pytest.raises(UserError, match=rf"command\.json: damaged.*remove {tmp_path}"):
        training._finished(SimpleNamespace(folder=tmp_path, command=["a"]))


@pytest.mark.parametrize("content", ["{", "[]", '{"cpu": 3}'])
def test_a_damaged_machine_need_not_be_trained_on_again(content, tmp_path):
    (tmp_path / training.MACHINE).write_text(content)
    with pytest.raises(UserError, match=r"remove it, and the record names no machine"):
        training.trained_on([training.Run("wt", tmp_path, ("data",))])
    (tmp_path / training.MACHINE).unlink()
    assert training.trained_on([training.Run("wt", tmp_path, ("data",))]) is None


def test_a_damaged_score_is_named(tmp_path):
    run = training.Run("wt", tmp_path, ("data",))
    path = language_model._scores(run, "test")
    path.write_text(json.dumps({"perplexity": "many"}))
    with pytest.raises(UserError, match=path.name):
        language_model._perplexity(run, "test")


def test_a_damaged_variant_is_named(tmp_path):
    for epochs in ([{"train": 1.0}], [3], "text", None):
        with pytest.raises((TypeError, LookupError, ValueError)):
            projection_search._measured({"epochs": epochs})
    assert projection_search._measured({"epochs": [{"train": 1, "valid": 2.0}]})
