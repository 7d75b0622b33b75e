"""``python -m preprocess.bitext``: files of one's own, in five scripts and every format."""

import bz2
import gzip
import json
import lzma
import re
from itertools import product
from pathlib import Path
from time import process_time

import pytest
from fairseq.data import Dictionary, data_utils

from preprocess import bitext
from preprocess.held_out import held_out_key
from preprocess.pair_files import read_tmx, reader_of
from tiednmt.text.pipeline import TextPipeline

try:
    import zstandard
except ImportError:
    zstandard = None

# words of a tiny world: subject, verb, object, and how a language puts them together
WORLD = {
    "en": ("The dog|The cat|The boy|The man", "sees|likes|finds", "hats|buses|trees", "{} {} {}."),
    "cs": ("Pes|Kocour|Chlapec|Muž", "vidí|má rád|najde", "klobouk|autobus|strom", "{} {} {}."),
    "ru": ("Пёс|Кот|Мальчик|Мужчина", "видит|любит|найдёт", "шляпу|автобус|дерево", "{} {} {}."),
    "zh": ("狗|猫|男孩|男人", "看见|喜欢|找到", "一顶帽子|一辆公交车|一棵树", "{}{}{}。"),
    "ja": ("犬は|猫は|少年は|男の人は", "帽子を|バスを|木を", "見る|好む|見つける", "{}{}{}。"),
    "th": ("สุนัข|แมว|เด็กชาย|ผู้ชาย", "เห็น|ชอบ|พบ", "หมวก|รถเมล์|ต้นไม้", "{}{}{}"),
}  # fmt: skip
SMALL = ["--merges", "30", "--vocabulary-threshold", "1", "--workers", "1"]


def sentences(code: str) -> list[str]:
    *parts, together = WORLD[code]
    first, second, third = (part.split("|") for part in parts)
    if code == "ja":  # the verb is last
        return [together.format(a, c, b) for a, b, c in product(first, third, second)]
    return [together.format(*words) for words in product(first, second, third)]


def write(path: Path, lines: list[str], compress=None) -> Path:
    content = "".join(line + "\n" for line in lines).encode()
    path.write_bytes(compress(content) if compress else content)
    return path


@pytest.fixture
def files(tmp_path):
    """Write the first 30 sentences and the last six of a pair of languages; what was written."""

    def write_pair(source, target):
        written = {}
        for name, part in (("train", slice(30)), ("valid", slice(30, 33)), ("test", slice(33, 36))):
            written[name] = [
                write(tmp_path / f"{name}.{code}", sentences(code)[part])
                for code in (source, target)
            ]
        return written

    return write_pair


def arguments(source, target, files, dest, *more):
    given = ["--source", source, "--target", target, "--train", *files["train"]]
    given += ["--valid", *files["valid"], "--dest", dest]
    if "test" in files:
        given += ["--test", "news=" + ",".join(map(str, files["test"]))]
    return [*map(str, given), *SMALL, *map(str, more)]


def lines(path):
    return path.read_text(encoding="utf-8").split("\n")[:-1]


def raw_pairs(dest, name):
    return list(zip(*(lines(dest / f"raw/{name}.{code}") for code in ("en", "cs")), strict=True))


def manifest_of(dest):
    return json.loads((dest / "manifest.json").read_text(encoding="utf-8"))


@pytest.mark.parametrize(
    ("source", "target", "segmentation"),
    [
        ("en", "cs", "bpe"),
        ("ru", "en", "bpe"),
        ("en", "zh", "sentencepiece"),
        ("ja", "en", "sentencepiece"),
        ("th", "ru", "sentencepiece"),
    ],
)
def test_files_in_two_scripts_to_a_data_bin(files, tmp_path, capsys, source, target, segmentation):
    dest = tmp_path / "dest"
    bitext.main(arguments(source, target, files(source, target), dest))
    manifest = manifest_of(dest)
    assert manifest["text"]["segmentation"] == segmentation
    assert manifest["counts"]["train"]["kept"] == manifest["counts"]["train"]["read"] == 30
    assert manifest["subsets"] == {"valid": "valid", "news": "test"}
    for code in (source, target):
        assert manifest["round_trip"][code] == {
            "lines": 30,
            "same": 30,
            "example": None,
            "normalised": 0,
            "normalised_example": None,
        }
    report = capsys.readouterr().out
    assert f"{source} 100.0%, {target} 100.0%" in report
    assert f"fairseq-train {dest}/data-bin --user-dir tiednmt" in report

    pipeline = TextPipeline.load(dest)
    for split, part in (("train", slice(30)), ("valid", slice(30, 33)), ("test", slice(33, 36))):
        for code in (source, target):
            dictionary = Dictionary.load(str(dest / f"data-bin/dict.{code}.txt"))
            prefix = str(dest / "data-bin" / f"{split}.{source}-{target}.{code}")
            data = data_utils.load_indexed_dataset(prefix, dictionary)
            assert not any((item == dictionary.unk()).any() for item in data)
            text = [pipeline.decode(dictionary.string(item), code) for item in data]
            assert text == sentences(code)[part]


def test_the_segmentation_may_be_chosen(files, tmp_path):
    for source, target, method in (("en", "cs", "sentencepiece"), ("en", "th", "bpe")):
        dest = tmp_path / target
        command = arguments(source, target, files(source, target), dest)
        bitext.main([*command, "--segmentation", method, "--merges", "60"])
        manifest = manifest_of(dest)
        assert manifest["text"]["segmentation"] == method
        assert {trip["same"] for trip in manifest["round_trip"].values()} == {30}


def test_the_report_says_what_two_scripts_share(files, tmp_path, capsys):
    bitext.main(arguments("en", "ru", files("en", "ru"), tmp_path / "ru"))
    report = " ".join(capsys.readouterr().out.split())
    assert "Script of the source: Latin; of the target: Cyrillic." in report
    assert re.search(r"This suggests --tying (\S+)\..* --tying \1 ", report)
    bitext.main(arguments("en", "cs", files("en", "cs"), tmp_path / "cs"))
    assert "Script of both: Latin." in " ".join(capsys.readouterr().out.split())


# --- formats -----------------------------------------------------------------------------------

PAIRS = list(zip(sentences("en"), sentences("ja"), strict=True))[:30]


def as_tsv(pairs):
    return [f"{one}\t{other}" for one, other in pairs]


def as_named_columns(pairs):
    return ["id\tJA\ten", *(f"{i}\t{other}\t{one}" for i, (one, other) in enumerate(pairs))]


def as_jsonl(pairs):
    return [json.dumps({"id": 1, "en": one, "ja": other}) for one, other in pairs]


def as_translations(pairs):
    return [
        json.dumps({"translation": {"ja": other, "en": one}}, ensure_ascii=False)
        for one, other in pairs
    ]


def as_source_and_target(pairs):
    return [json.dumps({"source": one, "target": other}) for one, other in pairs]


def as_sides(pairs):
    return ["Source\ttarget", *as_tsv(pairs)]


def as_varieties(pairs):
    return ["ja-JP\ten_US", *(f"{other}\t{one}" for one, other in pairs)]


def as_objects_of_varieties(pairs):
    return [json.dumps({"en-US": one, "ja-JP": other}) for one, other in pairs]


def as_tmx(pairs):
    head = '<?xml version="1.0" encoding="UTF-8"?>\n<!DOCTYPE tmx SYSTEM "tmx14.dtd">'
    units = [
        f'<tu><tuv xml:lang="EN-us"><seg>{one}</seg></tuv>\n'
        f"<tuv lang='de'><seg>x</seg></tuv><tuv xml:lang='ja-JP'><seg>{other}</seg></tuv></tu>"
        for one, other in pairs
    ]
    alone = '<tu><tuv xml:lang="en"><seg>alone</seg></tuv></tu>'
    return [head, '<tmx version="1.4"><header/><body>', alone, *units, "</body></tmx>"]


FORMATS = {
    "a.tsv": as_tsv,
    "b.tsv": as_named_columns,
    "c.jsonl": as_jsonl,
    "d.json": as_translations,
    "e.ndjson": as_source_and_target,
    "f.tmx": as_tmx,
    "g.tsv": as_sides,
    "h.tsv": as_varieties,
    "i.jsonl": as_objects_of_varieties,
}
COMPRESS = {"": None, ".gz": gzip.compress, ".xz": lzma.compress, ".bz2": bz2.compress}
if zstandard:
    COMPRESS[".zst"] = zstandard.compress


@pytest.mark.parametrize("name", FORMATS)
def test_one_file_may_have_both_sides(files, tmp_path, name):
    held_out = files("en", "ja")
    for ending, compress in COMPRESS.items():
        path = write(tmp_path / f"{name}{ending}", FORMATS[name](PAIRS), compress)
        got = [pair for source in bitext.sources_of([path], "en", "ja", "--train")
               for pair in source.pairs()]  # fmt: skip
        assert got == PAIRS
    bitext.main(arguments("en", "ja", {**held_out, "train": [path]}, tmp_path / "dest"))
    assert lines(tmp_path / "dest/raw/train.ja") == [other for _, other in PAIRS]


VARIETIES = {  # of one language, that of the target first
    "a.tsv": "pt-BR\tpt-PT\num trem\tum comboio\n",
    "b.jsonl": '{"pt-BR": "um trem", "pt-PT": "um comboio"}\n',
    "c.tmx": '<tmx><tu><tuv xml:lang="pt-BR"><seg>um trem</seg></tuv>'
    '<tuv xml:lang="pt-PT"><seg>um comboio</seg></tuv></tu></tmx>',
}


@pytest.mark.parametrize("name", VARIETIES)
def test_the_sides_may_be_varieties_of_one_language(tmp_path, name):
    path = tmp_path / name
    path.write_text(VARIETIES[name])
    [source] = bitext.sources_of([path], "pt", "pt_BR", "--train")
    assert [*source.pairs()] == [("um comboio", "um trem")]


@pytest.mark.parametrize("name", ["b.tsv", "c.jsonl", "d.json", "f.tmx"])
def test_the_content_says_what_a_file_is_and_not_its_name(files, tmp_path, name):
    held_out = files("en", "ja")
    for wrong in ("corpus", "corpus.txt.gz", "corpus.tmx", "corpus.xml", "corpus.jsonl"):
        if name == "b.tsv" and wrong.endswith(("tmx", "jsonl")):
            continue  # columns may hold anything, so their name counts
        path = write(tmp_path / wrong, FORMATS[name](PAIRS), lzma.compress)
        both = [*held_out["test"], path]
        found = [pair for source in bitext.sources_of(both, "en", "ja", "--train")
                 for pair in source.pairs()]  # fmt: skip
        assert found[3:] == PAIRS
    command = arguments("en", "ja", held_out, tmp_path / "dest", "--test", f"alone={path}")
    bitext.main(command)
    assert lines(tmp_path / "dest/raw/alone.ja") == [other for _, other in PAIRS]


def test_plain_text_with_tabs_is_plain_text(files, tmp_path):
    given = files("en", "cs")
    for path in given["train"]:
        write(path, [f"{line}\t{line}" for line in lines(path)])
    bitext.main(arguments("en", "cs", given, tmp_path / "dest"))
    assert lines(tmp_path / "dest/raw/train.cs") == lines(given["train"][1])


def test_several_files_of_several_kinds_are_one_set(files, tmp_path):
    held_out = files("en", "ja")
    paths = [write(tmp_path / name, FORMATS[name](PAIRS[i * 5 : i * 5 + 5]))
             for i, name in enumerate(FORMATS)]  # fmt: skip
    mixed = [*paths[:3], *held_out["test"], *paths[3:]]
    bitext.main(arguments("en", "ja", {**held_out, "train": mixed}, tmp_path / "dest"))
    expected = [*PAIRS[:15], *zip(sentences("en")[33:], sentences("ja")[33:], strict=True)]
    expected += PAIRS[15:]
    for side, code in enumerate(("en", "ja")):
        assert lines(tmp_path / f"dest/raw/train.{code}") == [pair[side] for pair in expected]


def test_text_of_tmx_has_no_markup_and_ends_nowhere_within(tmp_path):
    (tmp_path / "a.tmx").write_text(
        '<?xml version="1.0" encoding="UTF-16"?><tmx><tu><tuv xml:lang="pt"><seg>um</seg></tuv>'
        '<tuv xml:lang="en-GB"><seg>A <bpt i="1">&lt;b></bpt>bold<ept i="1"/> &amp;\n<hi>small\n'
        '</hi> &#233;<ph>{1<sub>x</sub>}</ph></seg></tuv><tuv xml:lang="pt-br"><seg>dois</seg>'
        '</tuv><tuv xml:lang="en-US"><seg>other</seg></tuv></tu></tmx>',
        encoding="utf-16",
    )
    for target, text in (("pt_BR", "dois"), ("pt", "um")):
        (source,) = bitext.sources_of([tmp_path / "a.tmx"], "en", target, "--train")
        assert list(source.pairs()) == [("A bold & small  é", text)]


@pytest.mark.parametrize(
    ("filling", "reader"),
    [
        ("<!-- a -->\n" * 5000, None),
        ("\n " * 30_000, None),
        ("<!-- a --> \n" * 5000 + "<tmx>", read_tmx),
        ("<?xml version='1.0'?>\n<!-- <a>\n -->\n<!DOCTYPE tmx>\n<tmx>", read_tmx),
        ("<!-- <tmx>", None),
        ("<tmxes>", None),
    ],
    ids=range(6),
)
def test_what_a_file_begins_with_is_looked_at_once(tmp_path, filling, reader):
    path = tmp_path / "text.en"
    path.write_text(filling)
    started = process_time()
    assert reader_of(path, "en", "cs") is reader
    assert process_time() - started < 1


@pytest.mark.parametrize("name", ["a.tsv", "c.jsonl"])
def test_a_line_with_nothing_to_be_seen_is_an_empty_pair(tmp_path, name):
    one, *others = FORMATS[name](PAIRS[:3])
    path = write(tmp_path / name, [one, "\u200b", " ", *others])
    (source,) = bitext.sources_of([path], "en", "ja", "--train")
    assert list(source.pairs()) == [PAIRS[0], ("", ""), ("", ""), *PAIRS[1:3]]


BAD = {
    "columns": ("x.tsv", "a\tb\na\tb\tc\n", r"x\.tsv, line 2: 3 column\(s\), not 2"),
    "no columns": ("x.tsv", '{"en": "a", "de": "b"}\n', r"x\.tsv, line 1: 1 column"),
    "named columns": ("x.tsv", "en\tja\tid\na\tb\n", r"x\.tsv, line 2: 2 column\(s\), not 3"),
    "no JSON": ("x.jsonl", '{"en": "a", "ja": "b"}\nen\tja\n', r"x\.jsonl, line 2: not JSON"),
    "cut JSON": ("x.jsonl", '{"en": "a", "ja": "', r"x\.jsonl, line 1: not JSON"),
    "deep JSON": ("x.jsonl", "[" * 100_000 + "\n", r"x\.jsonl, line 1: not JSON"),
    "no language": ("x.jsonl", '{"en": "a", "de": "b"}\n', r"x\.jsonl, line 1: has no texts"),
    "no text": ("x.jsonl", '{"en": "a", "ja": 3}\n', r"x\.jsonl, line 1: has no texts en and ja"),
    "no object": ("x.jsonl", "1\n", r"x\.jsonl, line 1: has no texts en and ja"),
    "an array": ("x.jsonl", '[{"en": "a", "ja": "b"}]\n', r"line 1: a JSON array; write one"),
    "several lines": ("x.jsonl", '{\n"en": "a"\n}\n', r"line 1: not JSON .*; write one object"),
    "a key twice": ("x.jsonl", '{"en": "a", "ja": "b", "en": "c"}\n', r"has the key en twice"),
    "columns of one name": ("x.tsv", "ja\ten\tja\na\tb\tc\n", r"line 1: two columns are named ja"),
    "NUL": ("x.jsonl", '{"en": "a\\u0000", "ja": "b"}\n', r"x\.jsonl, line 1: holds a NUL"),
    "surrogate": ("x.jsonl", '{"en": "\\ud800", "ja": "b"}\n', r"line 1: holds half a surrogate"),
    "no XML": ("x.tmx", "a\tb\n", r"x\.tmx, line 1: not XML"),
    "cut XML": ("x.tmx", "<tmx>\n<tu><tuv xml:lang='en'>\n", r"x\.tmx, line 3: not XML"),
    "other languages": (
        "x.tmx",
        "<tmx><tu><tuv xml:lang='en'><seg>a</seg></tuv><tuv xml:lang='ko'><seg>b</seg></tuv></tu>"
        "</tmx>",
        r"x\.tmx: no translation unit has both en and ja, only en, ko",
    ),
    "entities": (
        "x.tmx",
        "<?xml version='1.0'?>\n<!DOCTYPE x [<!ENTITY a 'aaaa'>\n<!ENTITY b '&a;&a;&a;'>]>\n<tmx/>",
        r"x\.tmx, line 2: entity a, which is not expanded",
    ),
    "entity of a file": (
        "x.tmx",
        "<?xml version='1.0'?><!DOCTYPE x [<!ENTITY a SYSTEM 'file:///etc/passwd'>]><tmx>&a;</tmx>",
        r"x\.tmx, line 1: entity a, which is not expanded",
    ),
    "entity of elsewhere": (
        "x.tmx",
        "<!DOCTYPE tmx SYSTEM 'file:///etc/passwd'>\n<tmx><tu><tuv><seg>&nbsp;</seg></tuv></tu></tmx>",
        r"x\.tmx, line 2: entity nbsp",
    ),
    "an encoding": ("x.tmx", "<?xml version='1.0' encoding='x-y'?><tmx/>", r"x\.tmx, line 1: not"),
}  # fmt: skip


@pytest.mark.parametrize("fault", BAD)
def test_bad_files_are_named_with_the_line_in_them(files, refused, tmp_path, fault):
    name, content, message = BAD[fault]
    (tmp_path / name).write_text(content, encoding="utf-8")
    good = write(tmp_path / "good.tsv", as_tsv(PAIRS))
    given = {**files("en", "ja"), "train": [good, tmp_path / name]}
    command = arguments("en", "ja", given, tmp_path / "dest")
    found = refused(bitext.main, tmp_path / "dest", *command)
    assert re.search(message, found), found
    assert found.count(name) == 1, found


# --- names and counts --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("train", "message"),
    [
        ("train.cs train.en", "train.cs: stands where en is wanted, but is named cs"),
        ("train.en", "train.en: plain text comes with its other side, en first and cs next"),
        ("train.en x.tsv", "train.en: plain text comes with its other side"),
        ("train.en train.en", "train.en: given as both sides"),
        ("train.en none.cs", "none.cs: no such file"),
        ("none.tsv", "none.tsv: no such file"),
        ("folder.tsv", "folder.tsv: a folder"),
        ("train.en short.cs", "train.en has 30 lines and"),
        ("train.en latin.cs", "latin.cs, line 2: not UTF-8"),
        ("empty.tsv", "empty.tsv: no pairs are there for the train set"),
    ],
)
def test_bad_training_files_are_refused(files, refused, tmp_path, train, message):
    good = files("en", "cs")
    write(tmp_path / "x.tsv", ["a\tb"])
    write(tmp_path / "empty.tsv", [])
    write(tmp_path / "short.cs", sentences("cs")[:20])
    (tmp_path / "latin.cs").write_bytes("a\nMuž\n".encode("iso-8859-2"))
    (tmp_path / "folder.tsv").mkdir()
    given = {**good, "train": [tmp_path / name for name in train.split()]}
    command = arguments("en", "cs", given, tmp_path / "dest")
    assert message in refused(bitext.main, tmp_path / "dest", *command)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (["--source", "zh-CN"], "'zh-CN': fairseq takes letters, digits and _"),
        (["--source", "cs"], "cs to cs: files are told apart by their languages"),
        (["--test", "news=a.tsv"], "another set is called news"),
        (["--test", "train=a.tsv"], "another set is called train"),
        (["--valid=--5"], "--valid --5: no such file"),
        (["--test", "x=none.tsv"], "--test x none.tsv: no such file"),
        (["--test", "x="], "--test 'x=': write NAME=FILE,FILE"),
        (["--test", ""], "--test '': write NAME=FILE,FILE"),
        (["--test", "../x=a.tsv"], "--test ../x=a.tsv: a NAME has letters, digits and any of _.+-"),
        (["--test", ".hid=a.tsv"], "--test .hid=a.tsv: a NAME has letters"),
        (["--test", "vocab=a.tsv"], "--test vocab=a.tsv: the prepared folder has files of this"),
        (["--test", "words=a.tsv"], "the prepared folder has files of this name; choose another"),
        (["--test", "codes=a.tsv"], "the prepared folder has files of this name; choose another"),
        (["--test", "dict=a.tsv"], "the prepared folder has files of this name; choose another"),
        (["--test", "train.0=a.tsv"], "the prepared folder has files of this name; choose another"),
        (["--segmentation", "letters"], "--segmentation letters: choose one of auto, bpe"),
    ],
)
def test_contradictions_are_refused(files, refused, tmp_path, changes, message):
    command = [*arguments("en", "cs", files("en", "cs"), tmp_path / "dest"), *changes]
    assert message in refused(bitext.main, tmp_path / "dest", *command)


def test_a_file_may_have_the_sign_of_a_name_in_its_own(files, tmp_path):
    given = files("en", "ja")
    pairs = write(tmp_path / "a=b.tsv", as_tsv(PAIRS[:2]))
    del given["test"]
    bitext.main(arguments("en", "ja", given, tmp_path / "dest", "--test", pairs))
    assert manifest_of(tmp_path / "dest")["subsets"] == {"valid": "valid", "test": "test"}


def test_what_is_dropped_is_said_loudly_where_it_is_much(files, tmp_path, capsys):
    given = files("en", "cs")
    write(given["train"][1], ["" if i % 3 else line for i, line in enumerate(sentences("cs")[:30])])
    bitext.main(arguments("en", "cs", given, tmp_path / "dest"))
    said = capsys.readouterr()
    row = next(line.split() for line in said.out.splitlines() if line.startswith("train"))
    assert row == ["train", "30", "10", "20", "empty", "20"]
    assert "WARNING: 67% of the training pairs were dropped" in said.err
    assert "empty 20, such as 'The dog sees buses .' ||| ''" in said.err


def test_little_that_is_dropped_is_said_quietly(files, tmp_path, capsys):
    given = files("en", "cs")
    write(given["train"][1], [*sentences("cs")[:29], "\u200b"])
    bitext.main(arguments("en", "cs", given, tmp_path / "dest"))
    said = capsys.readouterr()
    row = next(line.split() for line in said.out.splitlines() if line.startswith("train"))
    assert row == ["train", "30", "29", "1", "empty", "1"]
    assert "WARNING" not in said.err


def test_what_does_not_come_back_is_said_with_what_helps(files, tmp_path, capsys):
    given = files("en", "cs")
    english = ["A dog,cat or hat."] + ["A dog."] * 28 + ["A cafe\u0301."]
    czech = ["E\u0301."] * 10 + sentences("cs")[10:29] + ["Pes,kocour."]
    for path, text in zip(given["train"], (english, czech), strict=True):
        write(path, text)
    dest = tmp_path / "dest"
    bitext.main(arguments("en", "cs", given, dest))
    said = capsys.readouterr().err
    for code, lost, changed in (("en", "3.3%", "3.3%"), ("cs", "3.3%", "33.3%")):
        assert f"{lost} of the {code} lines are not the same after encoding and decoding" in said
        assert f"{changed} of the {code} lines are changed for good" in said
    assert "'Pes,kocour.', which becomes 'Pes, kocour.'; --segmentation sentencepiece" in said
    assert (
        "'E\\u0301.', which becomes '\\xc9.'; scripts.evaluate changes references in the same way"
        in said
    )
    bitext.main([*arguments("en", "cs", given, dest), "--segmentation", "sentencepiece",
                 "--merges", "60"])  # fmt: skip
    said = capsys.readouterr().err
    assert "not the same after" not in said
    assert "33.3% of the cs lines are changed for good" in said


def test_lengths_are_not_counted_in_spaces_where_there_are_none(files, tmp_path):
    source = ["The dog that belongs to the man who lives near the old school sees a cat ."] * 20
    target = ["古い学校の近くに住んでいる男の人の犬は猫を見る。"] * 20
    for max_length, kept in (("17", 20), ("11", 0)):
        given = files("en", "ja")
        for path, text in zip(given["train"], (source, target), strict=True):
            write(path, text + ["短い。" if text is target else "It is short ."] * 5)
        command = arguments("en", "ja", given, tmp_path / max_length, "--max-length", max_length)
        bitext.main(command)
        assert manifest_of(tmp_path / max_length)["counts"]["train"]["kept"] == kept + 5


# --- held-out sets -----------------------------------------------------------------------------


def test_pairs_are_held_out_with_all_their_copies(files, tmp_path):
    given = files("en", "cs")
    pairs = list(zip(sentences("en"), sentences("cs"), strict=True))
    copies = [(f"  {one}", other.replace(" ", "\u00a0")) for one, other in pairs]
    bad = [("", "prázdné"), ("long " * 101, "dlouhé " * 101)]
    train = [*pairs, *bad, *copies]
    held_out = {}
    for order in (train, train[::-1]):
        for side, path in enumerate(given["train"]):
            write(path, [pair[side] for pair in order])
        dest = tmp_path / f"dest{len(held_out)}"
        command = arguments("en", "cs", {"train": given["train"], "valid": ["12"]}, dest)
        bitext.main(command)
        raw = {name: raw_pairs(dest, name) for name in ("train", "valid")}
        keys = [held_out_key(pair) for pair in raw["valid"]]
        assert len(raw["valid"]) == len(set(keys)) == 12
        assert set(keys) <= {held_out_key(pair) for pair in pairs}
        assert not set(keys) & {held_out_key(pair) for pair in raw["train"]}
        assert len(raw["train"]) == len(train) - 24
        places = [order.index(pair) for pair in raw["valid"]]
        assert places == sorted(places)
        held_out[len(held_out)] = set(keys)
        assert manifest_of(dest)["counts"]["valid"] == {"read": 12, "kept": 12}
        originals = {path.name for path in given["train"]}
        assert set(manifest_of(dest)["originals"]) == originals
    assert held_out[0] == held_out[1]  # whatever the order
    command[command.index("12")] = "5"  # in the same folder
    bitext.main(command)
    assert len(lines(dest / "raw/valid.en")) == 5


@pytest.mark.parametrize("copy", ["It’s red. Yes", "It's red . Yes", " It's  red. Yes"])
def test_what_tokenising_makes_equal_is_held_out_together(files, tmp_path, capsys, copy):
    pairs = [(f"It's red. Yes {noun}", f"je {noun}") for noun in sentences("en")]
    copies = [(f"{copy} {noun}", f"je {noun}") for noun in sentences("en")]
    given = {"train": [write(tmp_path / "both.tsv", as_tsv([*pairs, *copies]))], "valid": ["12"]}
    bitext.main(arguments("en", "cs", given, tmp_path / "dest"))
    assert "are training pairs too" not in capsys.readouterr().err
    assert len(raw_pairs(tmp_path / "dest", "train")) == 2 * len(pairs) - 24


@pytest.mark.parametrize(
    ("valid", "message"),
    [
        ("40", "--valid 40: the training text has only 30 different pairs"),
        ("30", "--valid 30: no pair would be left to train on; hold out fewer"),
        ("0", "--valid 0: hold"),
        ("-5", "--valid -5: hold"),
        ("³", "--valid ³: no such file"),
    ],
)
def test_more_than_can_be_held_out(files, refused, tmp_path, valid, message):
    given = {**files("en", "cs"), "valid": [valid]}
    command = arguments("en", "cs", given, tmp_path / "dest")
    assert message in refused(bitext.main, tmp_path / "dest", *command)


def test_an_empty_held_out_set_is_refused(files, refused, tmp_path):
    for name in ("valid", "test"):
        given = files("en", "cs")
        for path in given[name]:
            write(path, [])
        command = arguments("en", "cs", given, tmp_path / "dest")
        message = refused(bitext.main, tmp_path / "dest", *command)
        assert f"{given[name][0]} and {given[name][1]}: no pairs" in message


def test_a_line_that_no_model_takes_is_named_before_training(files, refused, tmp_path, capsys):
    long = " ".join(["hat"] * 1100)
    given = files("en", "cs")
    first = write(tmp_path / "first.tsv", as_tsv(PAIRS[:2]))
    second = write(tmp_path / "second.tsv", ["en\tcs", "a\tb", f"a\t{long}"])
    command = arguments("en", "cs", {**given, "valid": [first, second]}, tmp_path / "dest")
    message = refused(bitext.main, tmp_path / "dest", *command)
    assert f"{second}, line 3: " in message
    assert "models take 1,023" in message

    bitext.main(arguments("en", "cs", {**given, "test": [second]}, tmp_path / "dest"))
    assert f"WARNING: {second}, line 3: " in capsys.readouterr().err


def test_held_out_pairs_that_are_trained_on_are_counted(files, tmp_path, capsys):
    given = files("en", "cs")
    for side, language in enumerate(("en", "cs")):
        in_training = sentences(language)[:2]
        write(given["test"][side], [*in_training, ("Hello.", "Ahoj.")[side]])
    bitext.main(arguments("en", "cs", given, tmp_path / "dest"))
    said = capsys.readouterr().err
    assert "WARNING: 2 of the 3 pairs of news are training pairs too" in said
    assert "pairs of valid" not in said


def test_units_of_a_memory_without_both_languages_are_counted(files, tmp_path, capsys):
    given = {**files("en", "ja"), "train": [write(tmp_path / "a.tmx", as_tmx(PAIRS))]}
    bitext.main(arguments("en", "ja", given, tmp_path / "dest"))
    said = capsys.readouterr().err
    assert said.count("a.tmx: 1 translation units lack en or ja and are left out") == 1


def test_blank_sides_of_held_out_sets_are_counted_and_kept(files, tmp_path, capsys):
    given = files("en", "cs")
    write(given["test"][1], ["Muž najde strom.", " ", "\u200b"])
    bitext.main(arguments("en", "cs", given, tmp_path / "dest"))
    said = capsys.readouterr().err
    assert f"2 pair(s) of news with an empty side, the first at {given['test'][0]}" in said
    assert f"{given['test'][1]}, line 2" in said
    assert len(lines(tmp_path / "dest/bpe/news.cs")) == 3


def test_held_out_pairs_that_do_not_match_are_counted_and_kept(files, tmp_path, capsys):
    given = files("en", "ru")
    write(given["valid"][1], ["Пёс видит шляпу.", "Кот видит. " * 5, "The cat sees hats."])
    options = ("--max-ratio", "2", "--check-script")
    bitext.main(arguments("en", "ru", given, tmp_path / "dest", *options))
    said = capsys.readouterr().err
    for reason, number in (("with sides of very different", 2), ("with a side mostly in let", 3)):
        found = re.search(rf"WARNING: 1 pair\(s\) of valid {reason}.*, line (\d)$", said, re.M)
        assert int(found[1]) == number
    assert manifest_of(tmp_path / "dest")["counts"]["valid"] == {"read": 3, "kept": 3}
    assert len(lines(tmp_path / "dest/bpe/valid.ru")) == 3


# --- as the corpora of WMT ---------------------------------------------------------------------


def test_filters_duplicates_and_parts_are_those_of_wmt(files, tmp_path, capsys):
    given = files("en", "ru")
    for side, more in enumerate((["The dog sees hats.", "Собака."], ["Пёс видит шляпу.", "Пёс."])):
        write(given["train"][side], lines(given["train"][side]) + more)
    options = ("--deduplicate", "--check-script", "--parts", "2")
    bitext.main(arguments("en", "ru", given, tmp_path / "dest", *options))
    assert manifest_of(tmp_path / "dest")["counts"]["train"] == {
        "read": 32,
        "empty": 0,
        "over_long": 0,
        "ratio": 0,
        "script": 1,
        "duplicate": 1,
        "kept": 30,
    }
    assert (tmp_path / "dest/data-bin/shard1/train.en-ru.en.bin").exists()
    train, score = capsys.readouterr().out.replace("\\\n", "").splitlines()[-2:]
    shards = [f"{tmp_path}/dest/data-bin/shard{number}" for number in (0, 1)]
    assert train.split()[:2] == ["fairseq-train", ":".join(shards)]
    save_dir = train.split()[-1]
    expected = f"scripts.evaluate {save_dir}/checkpoint_best.pt --data {tmp_path}/dest"
    assert score.split()[2:] == f"{expected} --subset news".split()


@pytest.mark.parametrize(
    ("parts", "options", "message"),
    [
        ("31", [], "--parts 31: the training text has only 30 pairs; take fewer parts"),
        ("30", [], "--parts 30: a part of the training text keeps none of its pairs, of 29 that"),
        ("29", ["--deduplicate"], "--parts 29: a part of the training text keeps none of its"),
    ],
)
def test_more_parts_than_pairs(files, refused, tmp_path, parts, options, message):
    given = files("en", "cs")
    for path in given["train"]:
        write(path, [*lines(path)[:28], lines(path)[27], ""])
    command = arguments("en", "cs", given, tmp_path / "dest", "--parts", parts, *options)
    assert message in refused(bitext.main, tmp_path / "dest", *command)
    left = {path.name for path in (tmp_path / "dest" / "raw").glob("train.*")}
    assert not left or parts != "31"  # what no later command would know of


def test_in_shares_it_is_the_same(files, tmp_path):
    given = files("en", "zh")
    given["valid"] = ["4"]
    command = arguments("en", "zh", given, tmp_path / "whole", "--parts", "2")
    bitext.main(command)
    shares = [str(tmp_path / "shares") if word.endswith("whole") else word for word in command]
    for step in ("read", "tokenise", "learn", "encode", "join"):
        for number in (1, 2) if step in ("tokenise", "encode") else (1,):
            shard = ["--shard", f"{number}/2"] if step in ("tokenise", "encode") else []
            bitext.main([*shares, "--step", step, *shard])
    assert manifest_of(tmp_path / "shares") == manifest_of(tmp_path / "whole")


def test_a_second_run_does_nothing(files, tmp_path, capsys):
    command = arguments("en", "zh", files("en", "zh"), tmp_path / "dest")
    bitext.main(command)
    first = capsys.readouterr()
    bitext.main(command)
    second = capsys.readouterr()
    assert second.out == first.out
    stages = [line for line in second.err.splitlines() if line]
    assert stages and all(line.endswith(": up to date") for line in stages)


def test_a_file_given_more_often_counts_more_often(files, tmp_path):
    given, counts = files("en", "cs"), []
    for times in (1, 2, 1):
        bitext.main(
            arguments("en", "cs", {**given, "train": given["train"] * times}, tmp_path / "dest")
        )
        counts.append(manifest_of(tmp_path / "dest")["counts"]["train"]["kept"])
    assert counts == [30, 60, 30]


def test_a_size_that_is_no_longer_to_be_adjusted_is_refused(files, tmp_path):
    command = arguments("en", "zh", files("en", "zh"), tmp_path / "dest")
    bitext.main(command)  # there are more characters than --merges
    with pytest.raises(SystemExit, match=r"cannot learn a vocabulary of 30 \(--merges\)"):
        bitext.main([*command, "--segmentation", "sentencepiece"])


def test_files_of_one_name_are_told_apart(files, tmp_path):
    given = files("en", "cs")
    (tmp_path / "more").mkdir()
    for path, line in zip(given["train"], ("A hat.", "Klobouk."), strict=True):
        write(tmp_path / "more" / path.name, [line])
    given["train"] += [tmp_path / "more" / path.name for path in given["train"]]
    bitext.main(arguments("en", "cs", given, tmp_path / "dest"))
    originals = manifest_of(tmp_path / "dest")["originals"]
    assert {str(path) for path in given["train"]} <= originals.keys()


def test_a_target_with_its_own_apostrophe_is_written_so(files, tmp_path):
    given = files("en", "cs")
    write(given["train"][1], ["L’homme n’a pas l’air d'un chat."] * 30)
    french = [given["train"][0], given["train"][1].rename(tmp_path / "train.fr")]
    given = {"train": french, "valid": french}
    bitext.main(arguments("en", "fr", given, tmp_path / "dest"))
    pipeline = TextPipeline.load(tmp_path / "dest")
    text = "L’homme n’a pas l’air d’un chat."
    assert pipeline.decode(pipeline.encode(text, "fr"), "fr") == text
    assert manifest_of(tmp_path / "dest")["round_trip"]["fr"]["same"] == 0  # of mixed apostrophes


def test_further_references_are_kept(files, refused, tmp_path):
    given = files("en", "cs")
    more = write(tmp_path / "other.cs.gz", ["Jinak."] * 3, gzip.compress)
    given["test"].append(more)
    bitext.main(arguments("en", "cs", given, tmp_path / "dest"))
    assert manifest_of(tmp_path / "dest")["references"] == {"news": 2}
    assert lines(tmp_path / "dest/raw/news.cs.2") == ["Jinak."] * 3
    assert "other.cs.gz" in manifest_of(tmp_path / "dest")["originals"]
    write(more, ["Jinak."] * 2)
    command = arguments("en", "cs", given, tmp_path / "d")
    assert "other.cs.gz has 2 lines, and the set" in refused(bitext.main, tmp_path / "d", *command)


def test_a_reader_that_stops_early_costs_no_manifest(files, tmp_path, monkeypatch):
    class Closed:
        def write(self, _=""):
            raise BrokenPipeError(32, "Broken pipe")

        flush = write

    monkeypatch.setattr("sys.stdout", Closed())
    with pytest.raises(SystemExit, match="141"):
        bitext.main(arguments("en", "cs", files("en", "cs"), tmp_path / "dest"))
    assert manifest_of(tmp_path / "dest")["counts"]["train"]["kept"] == 30
