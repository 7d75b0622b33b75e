import pickle
from io import StringIO

import pytest
from subword_nmt.learn_bpe import learn_bpe

from preprocess.pipeline import TextPipeline, normalise
from tiednmt.errors import UserError

TEXT = {
    "en": "The women's dog doesn't bark; it's 3,000 m (or so) away at 11:27, isn't it?",
    "de": "Der Junge („Max“) mag das McDonald's-Menü und den „BBQ“-Grill um 11:27, z.B. heute!",
    "fr": "L'homme d'aujourd'hui n'a qu'un œuf : est-ce l'été, ou l'hiver ?",
}


def subword_pipeline(folder, target):
    folder.mkdir(exist_ok=True)
    pipeline = TextPipeline("en", target, "subword-nmt", folder, threshold=1)
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


@pytest.mark.parametrize(
    "line",
    ["A&amp;M is a #8 shirt.", 'He said "yes" and/or no.', "$3 or 50% of 1,000.5", "the U.S. team"],
)
def test_english_that_moses_alone_leaves_apart(tmp_path, line):
    pipeline = subword_pipeline(tmp_path, "de")
    decoded = pipeline.decode(pipeline.encode(line, "en"), "en")
    assert decoded == line.replace("A&amp;M", "A &amp; M")


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


@pytest.mark.parametrize("units", ["wo@@@@ men", "@@men", "wo@@men bark"])
def test_marks_that_are_left_are_refused(pipeline, units):
    with pytest.raises(UserError, match="subword marks"):
        pipeline.decode(units, "en")


def test_marks_in_raw_text_are_text(pipeline):
    assert pipeline.decode(pipeline.encode("@@ a@@ b", "en"), "en").replace(" ", "") == "@@a@@b"


def test_a_copy_sent_to_a_worker_does_the_same(pipeline):
    copy = pickle.loads(pickle.dumps(pipeline))
    assert copy.encode(TEXT["en"], "en") == pipeline.encode(TEXT["en"], "en")


@pytest.mark.parametrize("content", [None, "{", "[]", "{}", '{"source": "en", "options": 3}'])
def test_a_folder_that_was_not_prepared_is_refused(tmp_path, content):
    if content is not None:
        (tmp_path / "manifest.json").write_text(content)
    with pytest.raises(UserError, match=r"manifest\.json: n"):
        TextPipeline.load(tmp_path)
