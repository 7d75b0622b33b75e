"""The settings that rows share, and those that set them apart."""

from scripts.lab.records import settings


def test_settings_side_by_side():
    found = settings.compare(
        [
            {"model": {"_name": "a", "cpu": False}, "optimization": {"lr": [1, 0.5]}},
            {"model": {"_name": "b", "projection": True}, "optimization": {"lr": [1, 0.5]}},
        ]
    )
    assert found.common == {"--lr": "1,0.5"}
    assert found.apart == {"--arch": ("a", "b"), "--projection": (None, "")}
