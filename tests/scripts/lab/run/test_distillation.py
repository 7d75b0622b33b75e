"""What a student's training text is made of."""

from scripts.lab.run.distillation import _training_text


def test_only_the_training_text_is_translated(tmp_path):
    """Test sets may have names that begin alike."""
    for name in ("train.en", "train.0.en", "train.12.en", "train-old.en", "train.x.en", "train.de"):
        (tmp_path / name).touch()
    found = [path.name for path in _training_text(tmp_path, "en")]
    assert found == ["train.0.en", "train.12.en", "train.en"]
