"""What a training says of itself, over all its starts."""

import json

import pytest

from scripts.lab.records.schema import Validation
from scripts.lab.run.summary import FILE, add_validation, read_summary
from tiednmt.errors import UserError


def validation(update, nll=5.0):
    return Validation(update=update, epoch=update // 10 + 1, nll=nll)


def test_validations_add_up(tmp_path):
    for update in (5, 10):
        add_validation(tmp_path, validation(update), 1234, update / 2)
    summary = read_summary(tmp_path)
    assert summary.parameters == 1234 and summary.training_seconds == 5.0
    assert (summary.updates, summary.epochs) == (10, 2)
    assert summary.validations == (validation(5), validation(10))


def test_learned_scales_are_those_of_the_last_validation(tmp_path):
    add_validation(tmp_path, validation(5), 1, 1.0)
    assert read_summary(tmp_path).input_scales is None
    for update, scale in ((5, 4.0), (10, 3.25)):
        add_validation(tmp_path, validation(update), 1, 1.0, {"input embedding": scale})
    assert read_summary(tmp_path).input_scales == {"input embedding": 3.25}


def test_a_resumed_training_replaces_what_it_does_again(tmp_path):
    """Cut off after the validation at 10, before it was saved."""
    for update, nll in ((5, 4.0), (10, 3.0), (10, 2.0), (15, 1.0)):
        add_validation(tmp_path, validation(update, nll), 1, 1.0)
    assert [one.nll for one in read_summary(tmp_path).validations] == [4.0, 2.0, 1.0]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "no such file, so .* was trained before there was one; remove the folder"),
        ("{", r"damaged .*; remove .* to train again"),
        (json.dumps({"parameters": 1, "training_seconds": 1, "validations": []}), "is empty"),
        (json.dumps({"parameters": "1"}), r"damaged \(parameters is '1', not a whole number\)"),
    ],
)
def test_what_cannot_be_read_is_one_line(tmp_path, content, message):
    if content is not None:
        (tmp_path / FILE).write_text(content)
    with pytest.raises(UserError, match=f"run.json: .*{message}"):
        read_summary(tmp_path)
