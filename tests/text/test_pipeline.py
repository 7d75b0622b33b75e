"""Raw text to units and back, and the settings that say how."""

import json
import pickle
import random
import subprocess
import sys
import unicodedata
from dataclasses import replace
from io import StringIO
from pathlib import Path

import pytest
from fairseq.data import data_utils
from sentencepiece import SentencePieceTrainer
from subword_nmt.learn_bpe import learn_bpe

from tiednmt.errors import UserError
from tiednmt.text.normalise import normalise
from tiednmt.text.pipeline import TextPipeline, TextSettings, segmentation_for

ROOT = Path(__file__).resolve().parents[2]

TEXT = {
    "en": "The women's dog doesn't bark; it's 3,000 m (or so) away at 11:27, isn't it?",
    "de": "Der Junge („Max“) mag das McDonald's-Menü und den „BBQ“-Grill um 11:27, z.B. heute!",
    "fr": "L'homme d'aujourd'hui n'a qu'un œuf : est-ce l'été, ou l'hiver ?",
}


def subword_pipeline(folder, target):
    folder.mkdir(exist_ok=True)
    pipeline = TextPipeline(TextSettings("en", target, "bpe", threshold=1), folder)
    words = " ".join(pipeline.tokenise(TEXT[code], code) for code in ("en", target))
    codes = StringIO()
    learn_bpe([f"{word} 3" for word in words.split()], codes, 40, is_dict=True)
    (folder / "codes").write_text(codes.getvalue(), encoding="utf-8")
    for code in ("en", target):
        (folder / f"vocab.{code}").write_text("e 9\n", encoding="utf-8")
    return pipeline


@pytest.fixture(params=["de", "fr"])
def pipeline(request, tmp_path):
    return subword_pipeline(tmp_path / "bpe", request.param)


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("  a \t b\u00a0c\u2028d\x0be\n", "a b c d e"),
        ("e\u0301", "é"),
        ("a\x01b\x7fc", "abc"),
        ("a \x01 b\x01", "a b"),
        ("l’été, ’tis James’", "l'été, ’tis James’"),
        ("„so“ «non» … –", "„so“ «non» … –"),
        ("\u2028", ""),
    ],
)
def test_normalise_changes_only_what_no_reader_sees(line, expected):
    assert normalise(line) == expected


def test_text_goes_through_and_back(pipeline):
    for code in ("en", pipeline.target):
        units = pipeline.encode(TEXT[code], code)
        assert "@@ " in units
        assert pipeline.decode(units, code) == TEXT[code]


@pytest.mark.parametrize("line", ["", " ", "\u2028", "\x01"])
def test_nothing_stays_nothing(pipeline, line):
    assert pipeline.encode(line, "en") == ""
    assert pipeline.decode("", "en") == ""


def test_units_are_separated_by_single_spaces(pipeline):
    units = pipeline.encode("a\u00a0b\u3000c\x85d  e\u2029f", "en")
    assert units.split() == units.split(" ")
    assert "".join(units.split()).replace("@@", "") == "abcdef"


def test_a_mark_at_the_end_of_a_cut_translation_is_removed(pipeline):
    assert pipeline.decode("wo@@ m@@", "en") == "wom"


def test_signs_beside_each_other_are_no_mark(pipeline):
    """A model may write any units beside each other; only within one is a mark left over."""
    assert pipeline.decode("@@@ @", "en") == "@@"


@pytest.mark.parametrize("units", ["wo@@@@ men", "@@men", "wo@@men bark"])
def test_marks_that_are_left_are_refused(pipeline, units):
    with pytest.raises(UserError, match="subword marks"):
        pipeline.decode(units, "en")


@pytest.fixture(scope="module")
def sentencepiece(tmp_path_factory):
    """A pipeline on raw lines of five scripts."""
    folder = tmp_path_factory.mktemp("sp")
    lines = [line for text in SCRIPTS.values() for line in (text, *text.split())] * 3
    (folder / "text").write_text("\n".join(lines), encoding="utf-8")
    SentencePieceTrainer.train(
        input=str(folder / "text"),
        model_prefix=str(folder / "sentencepiece"),
        model_type="bpe",
        vocab_size=200,
        hard_vocab_limit=False,
        normalization_rule_name="identity",
        character_coverage=1.0,
        minloglevel=2,
    )
    for code in ("en", "ja"):
        (folder / f"vocab.{code}").write_text("", encoding="utf-8")
    return TextPipeline(TextSettings("en", "ja", "sentencepiece", 0), folder)


SCRIPTS = {
    "en": "The dog sees the cat; it isn't <unk>nown.",
    "ru": "Собака видит кошку, да?",
    "zh": "狗看见猫。",
    "ja": "昨日、家の近くの学校へ行った。",
    "th": "สวัสดีครับ แมวเห็นหมา",
}
ODD = [
    "▁mark ▁ a▁b ▁▁",
    "private \uf581 \uf5811 ▁\uf581▁",
    "@@ foo@@ bar@@ ￭ x￭",
    "<s> a<s>b</s> <pad>c<pad><unk>",
    "l’été, rock’n’roll and don't",
    "soft\u00adhyphen a\u200bb \u200b 👨\u200d👩\u200d👧",
    "unseen ħ 𝔘 characters ␀",
]


@pytest.mark.parametrize("line", [*SCRIPTS.values(), *ODD])
def test_sentencepiece_brings_every_line_back(sentencepiece, line):
    units = sentencepiece.encode(line, "ja")
    assert units.split() == units.split(" ")
    assert not {"<s>", "</s>", "<pad>", "<unk>"} & set(units.split())
    assert sentencepiece.decode(units, "ja") == line
    assert sentencepiece.as_written(line, "ja") == line


@pytest.mark.parametrize(
    ("units", "text"),
    [("▁The ▁ <unk> ▁cat <unk> .", "The <unk> cat<unk>."), ("<unk> ▁cat", "<unk> cat")],
)
def test_an_unknown_piece_of_a_translation_is_written_as_fairseq_writes_it(
    sentencepiece, units, text
):
    assert sentencepiece.decode(units, "ja") == text
    assert data_utils.post_process(units, "sentencepiece") == text


def test_sentencepiece_brings_any_line_back(sentencepiece):
    chance = random.Random(3)
    characters = "".join([*SCRIPTS.values(), *ODD]) + "   "
    for _ in range(2000):
        line = " ".join("".join(chance.choices(characters, k=chance.randint(0, 20))).split())
        line = unicodedata.normalize("NFC", line)
        assert sentencepiece.decode(sentencepiece.encode(line, "en"), "en") == line


@pytest.mark.parametrize(
    "line", ["@@ a@@ b", "▁x ▁ a▁b", "M&S, @name, Face++, C#", "soft\u00adhyphen a\u200bb"]
)
def test_marks_and_odd_words_in_raw_text_come_back(pipeline, line):
    for code in ("en", pipeline.target):
        assert pipeline.decode(pipeline.encode(line, code), code) == line


@pytest.mark.parametrize(
    ("apostrophe", "line", "written"),
    [
        ("’", "l'été de l’enfant", "l’été de l’enfant"),
        ("'", "l'été de l’enfant", "l'été de l'enfant"),
        ("’", "« 'non' »", "« 'non' »"),  # quotation marks are none
    ],
)
def test_a_language_is_written_with_its_own_apostrophe(tmp_path, apostrophe, line, written):
    plain = subword_pipeline(tmp_path, "fr")
    settings = replace(plain.settings, apostrophes={"fr": apostrophe})
    pipeline = TextPipeline(settings, tmp_path)
    assert pipeline.encode(line, "fr") == plain.encode(line, "fr")
    assert pipeline.decode(pipeline.encode(line, "fr"), "fr") == written
    assert pipeline.as_written(line, "fr") == written
    assert pipeline.as_written("e\u0301", "fr") == "é"


def test_a_folder_of_before_is_read_by_the_rules_of_then(tmp_path):
    manifest = {"format": 1, "source": "en", "target": "de"}
    manifest["options"] = {"bpe": "subword-nmt", "vocabulary_threshold": 1}
    new = subword_pipeline(tmp_path / "bpe", "de")
    (tmp_path / "manifest.json").write_text(json.dumps(manifest))
    old = TextPipeline.load(tmp_path)
    assert old.settings == TextSettings("en", "de", "bpe", 1, version=1)
    assert old.encode(TEXT["de"], "de") == new.encode(TEXT["de"], "de")
    assert old.tokenise("@name soft\u00adhyphen", "en") == "@ name soft \u00ad hyphen"
    assert new.tokenise("@name soft\u00adhyphen", "en") == "@￭ name soft\u00adhyphen"


def test_settings_are_written_to_a_manifest_and_read_back(tmp_path):
    settings = TextSettings("en", "fr", "bpe", 5, {"en": "'", "fr": "’"})
    manifest = {"format": 2, "text": settings.for_manifest()}
    assert manifest["text"]["normalisation"] == ["NFC", "control", "apostrophe"]
    assert TextSettings.from_manifest(json.loads(json.dumps(manifest)), tmp_path) == settings


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"segmentation": "words"}, "segmentation 'words'"),
        ({"threshold": None}, "threshold None"),
        ({"source": 3}, "source 3"),
        ({"threshold": True}, "threshold True"),
        ({"apostrophes": []}, r"apostrophes \[\]"),
        ({"apostrophes": {"en": "\\1"}}, r"apostrophes \{"),
        ({"apostrophes": {"en": ["'"]}}, r"apostrophes \{"),
        ({"version": 99}, "by a later version"),
        (None, "source None"),
    ],
)
def test_a_manifest_that_says_what_it_cannot_is_refused(tmp_path, changes, message):
    text = TextSettings("en", "de", "bpe", 1).for_manifest()
    manifest = {"format": 2, "source": "en", "target": "de", "options": {}}
    manifest["text"] = {} if changes is None else {**text, **changes}
    (tmp_path / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(UserError, match=rf"manifest\.json: .*{message}"):
        TextPipeline.load(tmp_path)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("codes", None),
        ("codes", b"#version: 0.2\n\xff\xfe x\n"),
        ("codes", b"#version: x\na b\n"),
        ("codes", b"#version: 0.2\na b c\n"),
        ("vocab.de", None),
        ("vocab.de", b"\xff 1\n"),
        ("vocab.de", b"unit\n"),
        ("vocab.de", b"unit x\n"),
    ],
)
def test_damaged_files_of_subwords_are_named(tmp_path, name, content):
    pipeline = subword_pipeline(tmp_path, "de")
    (tmp_path / name).unlink()
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(UserError, match=rf"{name}(, line 1)?: (no such file|damaged|not UTF-8)"):
        pipeline.encode("a", "de")


def test_rare_pieces_are_split_further(sentencepiece, tmp_path):
    line = SCRIPTS["ja"]
    for name in ("sentencepiece.model", "vocab.en"):
        (tmp_path / name).write_bytes((sentencepiece.folder / name).read_bytes())
    pipeline = TextPipeline(replace(sentencepiece.settings, threshold=3), tmp_path)
    (tmp_path / "vocab.ja").write_text("▁昨日 9\n学校 3\n近く 2\n", encoding="utf-8")
    units = pipeline.encode(line, "ja").split()
    assert {unit for unit in units if len(unit) > 1} <= {"▁昨日", "学校"}
    assert pipeline.decode(" ".join(units), "ja") == line
    assert sorted("".join(units)) == sorted("▁" + line)


@pytest.mark.parametrize("content", [None, b"", b"no model"])
def test_a_damaged_sentencepiece_model_is_named(tmp_path, content):
    if content is not None:
        (tmp_path / "sentencepiece.model").write_bytes(content)
    pipeline = TextPipeline(TextSettings("en", "ja", "sentencepiece", 0), tmp_path)
    with pytest.raises(UserError, match=r"sentencepiece\.model: (no such file|damaged)"):
        pipeline.encode("a", "ja")


@pytest.mark.parametrize(
    ("languages", "segmentation"),
    [
        (("en", "cs"), "bpe"),
        (("pt_BR", "de"), "bpe"),
        (("en", "ja"), "sentencepiece"),
        (("zh", "en"), "sentencepiece"),
        (("en", "tr"), "sentencepiece"),
        (("th", "xx"), "sentencepiece"),
    ],
)
def test_what_suits_two_languages(languages, segmentation):
    assert segmentation_for(*languages) == segmentation


def test_the_room_needs_neither_torch_nor_fairseq():
    code = """
import sys
from pathlib import Path
from tiednmt.text.pipeline import TextPipeline, TextSettings
TextPipeline(TextSettings("en", "de", "bpe", 0), Path(".")).tokenise("a", "en")
sys.exit(bool({"torch", "fairseq", "preprocess"} & sys.modules.keys()))
"""
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT).returncode == 0


def test_a_copy_sent_to_a_worker_does_the_same(pipeline):
    copy = pickle.loads(pickle.dumps(pipeline))
    assert copy.encode(TEXT["en"], "en") == pipeline.encode(TEXT["en"], "en")


@pytest.mark.parametrize("content", [None, "{", "[]", "{}", '{"source": "en", "options": 3}'])
def test_a_folder_that_was_not_prepared_is_refused(tmp_path, content):
    if content is not None:
        (tmp_path / "manifest.json").write_text(content)
    with pytest.raises(UserError, match=r"manifest\.json: n"):
        TextPipeline.load(tmp_path)
