"""``scripts.analyse --advise`` of a prepared folder, of its data-bin and of its texts: the same."""

from __future__ import annotations

import json
import shutil

import pytest

from scripts import analyse

pytestmark = pytest.mark.slow


def advised(capsys, *given):
    analyse.main(["--advise", *map(str, given)])
    return capsys.readouterr().out


def test_a_prepared_folder(prepared, capsys):
    text = advised(capsys, prepared, "--arch", "tied_gru_tiny")
    manifest = json.loads((prepared / "manifest.json").read_text())
    sizes = manifest["vocabulary"]
    units = sum(sizes[key] for key in ("source_only", "target_only", "both"))
    assert text.startswith("# Which tying fits en-de\n")
    assert f"{sizes['both']:,} of {units:,} units are in both languages" in text
    assert "Take `--tying " in text
    joint, rest = sizes["joint"], 371_456  # of tied_gru_tiny, beside its embeddings and V's bias
    for tying, matrices in (("none", 3), ("decoder", 2), ("three-way", 1)):
        total = matrices * joint * 128 + joint + rest
        assert f"| `{tying}` | {matrices * joint:,} | {total:,} |" in text
    assert "| demo | " in text and "| multi30k-en-de | " in text


def test_a_data_bin_and_segmented_texts_say_the_same(prepared, capsys, tmp_path):
    expected = advised(capsys, prepared)
    assert advised(capsys, prepared / "data-bin") == expected
    texts = [prepared / "bpe" / f"train.{language}" for language in ("en", "de")]
    assert advised(capsys, *texts) == expected
    earlier = shutil.copytree(prepared, tmp_path / "earlier")  # whose manifest has no overlap
    manifest = json.loads((earlier / "manifest.json").read_text())
    del manifest["overlap"]
    (earlier / "manifest.json").write_text(json.dumps(manifest))
    assert advised(capsys, earlier) == expected


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "give checkpoints and --out, or --advise"),
        (["a.pt"], "give checkpoints and --out, or --advise"),
        (["a.pt", "--advise", "b"], "--advise takes no checkpoints"),
        (["--advise", "b", "--arch", "tied_lstm_lm"], "invalid choice: 'tied_lstm_lm'"),
    ],
)
def test_what_does_not_go_together(words, message, capsys):
    with pytest.raises(SystemExit):
        analyse.main(words)
    assert message in capsys.readouterr().err
