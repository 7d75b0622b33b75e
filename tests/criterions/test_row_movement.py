"""Which rows moved and how far, under every tying and with two dictionaries."""

from __future__ import annotations

import json

import pytest
import torch
from fairseq.data import Dictionary

from tests.support.small_models import JOINT, model
from tiednmt.criterions import row_movement
from tiednmt.criterions.row_movement import RowMovement
from tiednmt.errors import UserError

NAMES = {
    "none": ["source input embedding", "target input embedding", "output embedding"],
    "decoder": ["source input embedding", "target input embedding = output embedding"],
    "three-way": ["source input embedding = target input embedding = output embedding"],
}


def move(weight, row, distance):
    with torch.no_grad():
        weight[row, 0] += distance


def lines(folder):
    return [json.loads(line) for line in (folder / "row-movement.jsonl").read_text().splitlines()]


@pytest.mark.parametrize("tying", NAMES)
def test_matrices(tying, tmp_path):
    built = model(tying)
    movement = RowMovement(1, tmp_path, JOINT, JOINT)
    movement.observe(0, built.embeddings)
    move(built.embeddings.output.embedding.weight, 4, 0.5)  # the word of rank 1
    move(built.embeddings.output.embedding.weight, 15, 1.8)  # of rank 12; nine are beyond rank 10
    movement.observe(1, built.embeddings)
    (record,) = lines(tmp_path)
    assert record["update"] == 1
    assert list(record["matrices"]) == NAMES[tying]
    *others, moved = record["matrices"].values()
    assert [band["ranks"] for band in moved] == [[1, 10], [11, 19]]
    assert [band["moved"] for band in moved] == [1, 1]
    assert [band["distance"] for band in moved] == pytest.approx([0.05, 0.2])
    assert not any(band["moved"] or band["distance"] for other in others for band in other)


def test_rows_are_ranked_by_the_dictionary_of_their_side(tmp_path):
    source = Dictionary()
    for i in range(len(JOINT) - 4):
        source.add_symbol(f"s{i}", n=1 + i)  # the last is the most frequent
    built = model("none", source=source)
    movement = RowMovement(1, tmp_path, source, JOINT)
    movement.observe(0, built.embeddings)
    for weight in (built.embeddings.source.weight, built.embeddings.target.weight):
        move(weight, 4, 1.0)
    movement.observe(1, built.embeddings)
    bands = lines(tmp_path)[0]["matrices"]
    assert [band["moved"] for band in bands["source input embedding"]] == [0, 1]
    assert [band["moved"] for band in bands["target input embedding"]] == [1, 0]


def test_every_third_update_whatever_its_batches(tmp_path):
    built = model("none")
    movement = RowMovement(3, tmp_path, JOINT, JOINT)
    for update in range(6):
        for _batch in range(2):
            movement.observe(update, built.embeddings)
        move(built.embeddings.target.weight, 4, 1.0)
    records = lines(tmp_path)
    assert [record["update"] for record in records] == [1, 4]
    assert all(r["matrices"]["target input embedding"][0]["moved"] == 1 for r in records)


def test_of_an_update_measured_twice_the_later_counts(tmp_path):
    """As where training resumes from an earlier checkpoint."""
    for _ in range(2):
        built = model("decoder")
        movement = RowMovement(1, tmp_path, JOINT, JOINT)
        movement.observe(0, built.embeddings)
        move(built.embeddings.source.weight, 4, 0.5)
        movement.observe(1, built.embeddings)
    assert len(lines(tmp_path)) == 1
    assert row_movement.read_row_movement(tmp_path)["updates"] == 1


def test_an_update_that_was_not_seen_is_not_measured(tmp_path):
    """As where training goes on from an earlier checkpoint."""
    built = model("none")
    movement = RowMovement(2, tmp_path, JOINT, JOINT)
    movement.observe(2, built.embeddings)
    movement.observe(5, built.embeddings)
    assert not (tmp_path / "row-movement.jsonl").exists()


BAND = {"ranks": [1, 2], "moved": 1, "distance": 0.5}
GOOD = {"update": 1, "matrices": {"U": [BAND]}}


@pytest.mark.parametrize(
    "line",
    [
        b"\xff",
        b"3",
        b"null",
        b"[" * 5000,
        b'{"matrices": []}',
        b'{"matrices": {"U": 3}}',
        b'{"matrices": {"U": [3]}}',
        b'{"matrices": {"U": [{"ranks": [1], "moved": 1, "distance": 0.5}]}}',
        b'{"matrices": {"U": [{"ranks": [1, 2], "moved": "x", "distance": 0.5}]}}',
        b'{"matrices": {"U": [{"ranks": [1, 2], "moved": 1, "distance": NaN}]}}',
        b'{"matrices": {"V": [{"ranks": [1, 2], "moved": 1, "distance": 0.5}]}}',
        b'{"matrices": {"U": []}}',
    ],
    ids=lambda line: line[:70].decode("latin-1"),
)
def test_a_line_that_is_none_is_named(line, tmp_path):
    good = json.dumps(GOOD).encode()
    (tmp_path / row_movement.FILE).write_bytes(good + b"\n" + line + b"\n")
    with pytest.raises(UserError, match="line 2"):
        row_movement.read_row_movement(tmp_path)
    (tmp_path / row_movement.FILE).write_bytes(good + b"\n")
    found = row_movement.read_row_movement(tmp_path)
    assert found["matrices"]["U"] == [{**BAND, "rows": 2}]


def test_a_run_begins_where_its_checkpoint_ended(tmp_path):
    """What an earlier run measured from there on is of weights that no longer exist."""
    built = model()

    def measure(updates):
        movement = RowMovement(1, tmp_path, JOINT, JOINT)
        for update in updates:
            movement.observe(update, built.embeddings)

    measure(range(9))
    with (tmp_path / "row-movement.jsonl").open("a") as file:
        file.write('{"update": 9, "matr')  # as a killed run leaves it
    measure(range(4, 6))
    assert [line["update"] for line in lines(tmp_path)] == [1, 2, 3, 4, 5]
    built = model("none")  # trained anew in the same folder
    measure(range(3))
    assert row_movement.read_row_movement(tmp_path)["updates"] == 2
