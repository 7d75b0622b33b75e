"""The speed of a training in plain PyTorch, of a text shorter than it."""

import pytest
import torch

from scripts.lab.baselines import plain_language_model
from scripts.lab.baselines.plain_language_model import Training, Variant, speed
from tests.support.small_models import dictionary
from tiednmt.errors import UserError


@pytest.fixture
def text(monkeypatch, tmp_path):
    """A corpus of so many words."""

    def of(words):
        monkeypatch.setattr(plain_language_model, "read", lambda *_: torch.arange(words) % 10)
        monkeypatch.setattr(
            plain_language_model, "dictionary", lambda _: dictionary(map(str, range(10)))
        )
        return tmp_path

    return of


def test_as_many_updates_as_asked_for(text, monkeypatch):
    made = []
    update = Training.update
    monkeypatch.setattr(
        Training, "update", lambda self, *given: made.append(1) or update(self, *given)
    )
    assert 0 < speed(text(100), Variant(streams=2, steps=5), 35) < 1e6
    assert len(made) == 35


def test_a_text_of_no_window_is_refused(text):
    with pytest.raises(UserError, match="too little text for 20 streams"):
        speed(text(20), Variant(streams=20), 5)
