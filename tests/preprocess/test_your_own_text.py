"""The commands of README's section on text of one's own and of docs/your-own-text.md."""

import gzip
import json
import lzma
import re
import shlex
from itertools import product
from pathlib import Path

import pytest

from preprocess import bitext
from preprocess.training import training_command
from scripts import evaluate
from tests.support.commandline import run

ROOT = Path(__file__).resolve().parents[2]
SMALL = ["--merges", "40", "--vocabulary-threshold", "1", "--workers", "1"]
SUBJECTS = {"The dog": "Pes", "The cat": "Kočka", "A boy": "Chlapec", "A man": "Muž"}
VERBS = {"sees": "vidí", "finds": "najde", "draws": "kreslí"}
OBJECTS = {"a hat": "klobouk", "a bus": "autobus", "a tree": "strom"}
PAIRS = [
    (f"{a} {verb} {b}.", f"{SUBJECTS[a]} {VERBS[verb]} {OBJECTS[b]}.")
    for a, verb, b in product(SUBJECTS, VERBS, OBJECTS)
]


def commands(page, heading=""):
    """The commands of the blocks of a page, or of its section, on a line each."""
    text = (ROOT / page).read_text(encoding="utf-8")
    text = text[text.index(heading) :]
    text = text[: text.index("\n## ", len(heading))] if heading else text
    blocks = re.findall(r"^```bash\n(.*?)^```", text, re.DOTALL | re.MULTILINE)
    return [line for block in blocks for line in block.replace("\\\n", "").splitlines()]


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """The files that the commands name, in the working directory."""
    parts = {"train": PAIRS, "val": PAIRS[::5], "test": PAIRS[1::5]}
    for name, part in parts.items():
        for side, code in enumerate(("en", "cs")):
            lines = "".join(pair[side] + "\n" for pair in part)
            (tmp_path / f"{name}.{code}").write_text(lines, encoding="utf-8")
    units = "".join(
        f"<tu><tuv xml:lang='en'><seg>{one}</seg></tuv><tuv xml:lang='cs'><seg>{other}</seg></tuv>"
        "</tu>"
        for one, other in PAIRS[:4]
    )
    columns = "".join(f"{one}\t{other}\n" for one, other in PAIRS[4:8])
    records = "".join(json.dumps({"en": one, "cs": other}) + "\n" for one, other in PAIRS[8:12])
    tmx = f"<tmx version='1.4'><body>{units}</body></tmx>"
    (tmp_path / "memory.tmx.xz").write_bytes(lzma.compress(tmx.encode()))
    (tmp_path / "crawled.tsv.gz").write_bytes(gzip.compress(columns.encode()))
    (tmp_path / "chat.jsonl").write_text(records, encoding="utf-8")
    (tmp_path / "talks.tsv").write_text(columns, encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_preparing_as_the_page_says(folder, capsys):
    on_page = commands("docs/your-own-text.md")
    first, second = (line for line in on_page if "preprocess.bitext" in line)
    bitext.main([*shlex.split(first)[3:], *SMALL])
    printed = capsys.readouterr().out.replace("\\\n", "")
    printed = printed[printed.index("fairseq-train") :].splitlines()
    training, *shown = on_page[on_page.index(first) + 1 :][: len(printed)]
    for ours, theirs in zip(shown, printed[1:], strict=True):
        assert shlex.split(ours) == shlex.split(theirs)
    of_that_size = training_command([Path("data/en-cs/data-bin")], "three-way", 420_000, 40)
    assert shlex.split(training) == shlex.split(of_that_size.replace("\\\n", ""))

    bitext.main([*shlex.split(second)[3:], *SMALL])
    manifest = json.loads(Path("data/en-cs-more/manifest.json").read_text(encoding="utf-8"))
    copies = {name: manifest["counts"][name]["read"] for name in ("train", "valid", "talks")}
    assert copies["valid"] == 10 and copies["talks"] == 4
    assert len(PAIRS) - 10 <= copies["train"] <= len(PAIRS) + 12 - 10


@pytest.mark.parametrize(
    "units, architecture, updates",
    [
        (80_000, "tied_gru", 3000),
        (290_000, "tied_gru", 5200),
        (430_000, "tied_transformer_tiny", 4000),
        (3_000_000, "tied_transformer_tiny", 13_000),
        (4_000_000, "tied_transformer_iwslt_de_en", 50_000),
        (10**9, "tied_transformer_iwslt_de_en", 100_000),
    ],
)
def test_the_model_fits_the_size_of_the_text(units, architecture, updates):
    words = shlex.split(training_command([Path("x/data-bin")], "decoder", units, 40))
    given = [words[words.index(option) + 1] for option in ("--arch", "--tying", "--max-update")]
    assert given == [architecture, "decoder", str(updates)]


def test_the_longest_line_that_validates_fits_into_a_batch():
    words = shlex.split(training_command([Path("x/data-bin")], "decoder", 430_000, 5000))
    assert words[words.index("--max-tokens") + 1] == "5001"


@pytest.mark.slow
def test_three_commands_of_the_readme(folder, capsys):
    first, training, scoring = commands("README.md", "## Your own text in three commands")
    bitext.main(shlex.split(first.replace("1000", "6"))[3:] + SMALL)
    printed = capsys.readouterr().out.replace("\\\n", "")
    train, *_ = (line for line in printed.splitlines() if line.startswith("fairseq-train"))
    beginning = shlex.split(training)[:4]
    words = shlex.split(train)
    assert words[:4] == beginning
    words[words.index("tiednmt")] = str(ROOT / "tiednmt")
    small = ["--arch", "tied_gru_tiny", "--max-update", "8", "--cpu"]
    run(*words, *small, cwd=folder).check()
    evaluate.main([*shlex.split(scoring, comments=True)[3:], "--cpu"])
    assert "valid: 6 sentences" in capsys.readouterr().out

    Path("source.en").write_text("A dog runs through the snow.\n", encoding="utf-8")
    (use,) = (one for one in commands("docs/your-own-text.md") if one.startswith("echo "))
    given = shlex.split(use.partition(" | ")[2])[3:-1]
    evaluate.main([*given, "source.en", "--cpu"])
    assert len(capsys.readouterr().out.splitlines()) == 1
