"""What two segmented texts have in common, counted by hand."""

import json
from dataclasses import asdict

import pytest

from preprocess.overlap import Overlap, common_script, scripts_of

SOURCE = {"dog": 3, "s@@": 1, ".": 4, "12": 2}  # 10 running units
TARGET = {"собака": 2, "s@@": 1, ".": 2}


def test_units_and_running_text_of_both():
    overlap = Overlap.of(SOURCE, TARGET)
    assert overlap.with_letters == 1  # s@@, and not the full stop
    assert (overlap.source.units, overlap.source.shared) == (10, 0.5)  # s@@ and .
    assert (overlap.target.units, overlap.target.shared) == (5, 0.6)


def test_scripts_by_running_letters():
    overlap = Overlap.of(SOURCE, TARGET)
    assert overlap.source.scripts == {"Latin": 1.0}
    assert overlap.target.scripts == {
        "Cyrillic": pytest.approx(12 / 13, abs=1e-4),
        "Latin": pytest.approx(1 / 13, abs=1e-4),
    }


@pytest.mark.parametrize(
    ("text", "scripts"),
    [
        ("Straße, 12!", {"Latin": 1.0}),
        ("каша", {"Cyrillic": 1.0}),
        ("日本カナひら", {"Han": 0.3333, "Katakana": 0.3333, "Hiragana": 0.3333}),
        ("λόγος", {"Greek": 1.0}),
        ("한국", {"Hangul": 1.0}),
        ("人々", {"Han": 1.0}),
        ("ＡＢＣ", {"Latin": 1.0}),
        ("ｶﾒﾗ", {"Katakana": 1.0}),
        ("1ª 2º", {"Latin": 1.0}),
        ("メートル 5 µ", {"Katakana": 1.0}),  # µ and ー are of several scripts
        ("ᐃᓄᒃ", {"Canadian_Aboriginal": 1.0}),
        ("\U00010280", {"Other": 1.0}),  # Lycian
        ("12 ▁@@ …", {}),
    ],
)
def test_scripts_of_languages(text, scripts):
    assert scripts_of({text: 5}) == scripts


def test_scripts_in_common():
    japanese = scripts_of({"日本カナひら": 1})
    assert common_script({"Latin": 1.0}, {"Latin": 0.9, "Greek": 0.1}) == pytest.approx(0.9)
    assert common_script({"Han": 1.0}, japanese) == pytest.approx(1 / 3, abs=1e-3)
    assert common_script({"Latin": 1.0}, japanese) == 0


def test_through_json():
    overlap = Overlap.of(SOURCE, TARGET)
    assert Overlap.from_json(json.loads(json.dumps(asdict(overlap)))) == overlap


def test_empty_texts():
    overlap = Overlap.of({}, {})
    assert overlap.source.shared == 0 and overlap.source.scripts == {}
