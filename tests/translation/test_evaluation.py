"""``scripts.evaluate`` on a tiny corpus, prepared and trained by the real command lines."""

import json
import os
import pickle
import random
import re
import shutil
import statistics
import subprocess
import sys
from argparse import Namespace
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from functools import partial
from itertools import product
from multiprocessing import active_children, connection
from pathlib import Path
from typing import Any

import pytest
import torch

from preprocess import multi30k
from scripts import evaluate
from tests.support import commandline
from tiednmt.errors import UserError
from tiednmt.translation import streams
from tiednmt.translation.evaluation import evaluate as evaluate_systems
from tiednmt.translation.evaluation import load_system
from tiednmt.translation.prepared import Prepared
from tiednmt.translation.scoring import (
    SACREBLEU,
    Scoring,
    compare,
    compare_means,
    score,
    score_by_all,
    tokenizer_for,
)
from tiednmt.translation.systems import parse_system, parse_systems
from tiednmt.translation.tokenised import TOKENISED_BLEU, tokenised_bleu
from tiednmt.translation.translator import Translator

ROOT = Path(__file__).resolve().parents[2]
NOUNS = {"dog": "Hund", "man": "Mann", "boy": "Junge", "bus": "Bus", "hat": "Hut", "tree": "Baum"}
VERBS = {"sees": "sieht", "finds": "findet", "likes": "mag", "paints": "malt", "hides": "versteckt"}
MODELS = {
    "tied": "--arch tied_gru_tiny --tying three-way",
    "lstm": "--arch lstm --encoder-embed-dim 16 --encoder-hidden-size 32 --decoder-embed-dim 16"
    " --decoder-hidden-size 32 --decoder-out-embed-dim 16",
}


def run(*command: str, text: str = "") -> str:
    """The stdout of one of Python's commands."""
    return commandline.run("-m", *command, text=text).check().stdout


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A prepared folder."""
    pairs = [
        (f"The {a}{mark} {verb} {b}.", f"Der {NOUNS[a]}{mark} {VERBS[verb]} einen {NOUNS[b]}.")
        for a, mark, verb, b in product(NOUNS, ["", ", today,"], VERBS, NOUNS)
    ]
    random.Random(1).shuffle(pairs)
    raw = tmp_path_factory.mktemp("raw")
    parts = {"train": pairs[:300], "val": pairs[300:310], "test_2016_flickr": pairs[310:340]}
    parts["test_2017_flickr"] = pairs[340:]
    for name, part in parts.items():
        for language, lines in zip(("en", "de"), zip(*part, strict=True), strict=True):
            (raw / f"{name}.{language}").write_text("\n".join(lines) + "\n", encoding="utf-8")
    prepared = tmp_path_factory.mktemp("data") / "prepared"
    options = f"--pair en-de --raw {raw} --dest {prepared} --merges 60 --vocabulary-threshold 2"
    multi30k.main([*options.split(), "--workers", "1"])
    return prepared


@pytest.fixture(scope="module")
def checkpoints(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A checkpoint of each of MODELS after a few updates."""
    folders = {name: tmp_path_factory.mktemp(name) for name in MODELS}
    with ThreadPoolExecutor() as pool:  # most of the time goes to starting
        list(pool.map(partial(train, folder), MODELS.values(), folders.values()))
    return {name: to / "checkpoint_last.pt" for name, to in folders.items()}


def train(data: Path, options: str, to: Path) -> None:
    run(
        *f"fairseq_cli.train {data}/data-bin --user-dir tiednmt {options} --save-dir {to}"
        " --cpu --optimizer adam --lr 0.01 --max-tokens 600 --max-update 25 --dropout 0"
        " --disable-validation --no-epoch-checkpoints --seed 1".split()
    )


@pytest.fixture(scope="module")
def prepared(folder: Path) -> Prepared:
    return Prepared(folder)


@pytest.fixture(scope="module")
def systems(prepared: Prepared, checkpoints: dict[str, Path]) -> dict[str, Translator]:
    return {
        name: load_system(name, [path], prepared, cpu=True) for name, path in checkpoints.items()
    }


@pytest.fixture(params=MODELS)
def system(systems: dict[str, Translator], request: pytest.FixtureRequest) -> Translator:
    return systems[request.param]


# --- translating -------------------------------------------------------------------------------


def test_one_line_out_for_each_line_in(folder: Path, checkpoints: dict[str, Path]) -> None:
    lines = ["The dog sees bus.", "", "   ", "ünseen  wörds \u2028 here", "The dog sees bus.", ""]
    text = "\n".join(lines) + "\nThe man, today, likes hat."  # the last line is not ended
    command = f"scripts.evaluate {checkpoints['tied']} --data {folder} --cpu --input -"
    out = run(*command.split(), text=text)
    translations = out.split("\n")
    assert translations.pop() == ""
    assert [bool(line) for line in translations] == [bool(line.strip()) for line in lines] + [True]
    assert translations[0] == translations[4]
    assert translations[0] != translations[6]


def test_a_file_is_translated_as_the_api_does(
    folder: Path,
    checkpoints: dict[str, Path],
    systems: dict[str, Translator],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(streams, "LINES_AT_ONCE", 7)
    source, _ = Prepared(folder).pairs("test_2016_flickr")
    file = tmp_path / "text"
    file.write_text("\n".join(source), encoding="utf-8")
    evaluate.main([str(checkpoints["tied"]), "--data", str(folder), "--cpu", "--input", str(file)])
    assert capsys.readouterr().out.splitlines() == systems["tied"].translate(source)


def test_raw_text_goes_through_the_stored_pipeline(system: Translator, folder: Path) -> None:
    source, references = Prepared(folder).pairs("test_2016_flickr")
    assert all(line.startswith("The ") for line in source)
    assert all(line.startswith("Der ") for line in references)
    units = (folder / "bpe" / "test_2016_flickr.en").read_text(encoding="utf-8").splitlines()
    translated = system.translate(source, details=True)
    assert [" ".join(each.source_units) for each in translated] == units
    expected = [system.pipeline.decode(" ".join(each.units), "de") for each in translated]
    assert system.translate(source) == [each.text for each in translated] == expected


def test_translations_do_not_depend_on_batches_or_order(
    system: Translator, prepared: Prepared
) -> None:
    source, _ = prepared.pairs("test_2016_flickr")
    expected = system.translate(source)
    assert len(set(expected)) > 1
    assert system.translate(source, max_sentences=1) == expected
    assert system.translate(source, max_tokens=30) == expected
    order = random.Random(2).sample(range(len(source)), len(source))
    shuffled = system.translate([source[i] for i in order])
    assert shuffled == [expected[i] for i in order]


def test_a_reader_that_stops_early_is_no_error(folder: Path, checkpoints: dict[str, Path]) -> None:
    command = f"-m scripts.evaluate {checkpoints['lstm']} --data {folder} --cpu --beam 1 --input -"
    with subprocess.Popen(
        [sys.executable, *command.split()],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as process:
        assert process.stdin and process.stdout and process.stderr
        process.stdout.close()
        process.stdin.write(b"The dog sees bus.\n" * 5000)
        process.stdin.close()
        errors = process.stderr.read().decode()
    assert "Traceback" not in errors
    assert "Broken pipe" not in errors
    assert process.returncode == 0


@pytest.mark.skipif(sys.platform != "linux", reason="processes share a search on Linux alone")
def test_the_processes_that_share_a_search_stay(
    prepared: Prepared, checkpoints: dict[str, Path], one_core_each: None
) -> None:
    system = load_system("tied", [checkpoints["tied"]], prepared, cpu=True)
    source, _ = prepared.pairs("test_2016_flickr")
    before = set(active_children())
    translations = system.translate(source)
    workers = set(active_children()) - before
    assert len(workers) == 2
    assert system.translate(source) == translations
    assert set(active_children()) - before == workers
    system.close()
    for worker in workers:  # the pool joins them in a thread of its own, and may be before us
        assert connection.wait([worker.sentinel], timeout=60)


@pytest.fixture
def one_core_each() -> Iterator[None]:
    """As with OMP_NUM_THREADS=2: a batch is shared between two processes."""
    threads = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(threads)


def test_the_units_are_those_of_fairseq_generate(
    systems: dict[str, Translator],
    folder: Path,
    prepared: Prepared,
    checkpoints: dict[str, Path],
) -> None:
    beam, lenpen = 4, 0.3
    out = run(
        *f"fairseq_cli.generate {folder}/data-bin --user-dir tiednmt --path {checkpoints['tied']}"
        f" --gen-subset test --beam {beam} --lenpen {lenpen} --batch-size 1 --cpu"
        " --max-len-a 1.2 --max-len-b 10".split()
    )
    found = dict(re.findall(r"^H-(\d+)\t\S+\t(.*)$", out, flags=re.MULTILINE))
    source, _ = prepared.pairs("test_2016_flickr")
    translated = systems["tied"].translate(source, details=True, beam=beam, lenpen=lenpen)
    units = [" ".join(each.units) for each in translated]
    assert units == [found[str(i)] for i in range(len(source))]


def test_an_ensemble_of_a_model_with_itself_translates_as_it(
    systems: dict[str, Translator], prepared: Prepared, checkpoints: dict[str, Path]
) -> None:
    path, other = checkpoints["tied"], checkpoints["lstm"]
    source, _ = prepared.pairs("test_2016_flickr")
    twice = load_system("twice", [path, path], prepared, cpu=True)
    assert twice.translate(source) == systems["tied"].translate(source)
    assert twice.parameters == 2 * systems["tied"].parameters
    mixed = load_system("mixed", [path, other], prepared, cpu=True)
    assert mixed.translate(source) != systems["tied"].translate(source)


def test_a_tied_matrix_is_counted_once(
    systems: dict[str, Translator], checkpoints: dict[str, Path]
) -> None:
    state = torch.load(checkpoints["tied"])["model"]
    stored = sum(
        tensor.numel()
        for name, tensor in state.items()
        if tensor.is_floating_point() and not name.endswith("input_scale.constant")
    )
    assert systems["tied"].parameters == stored
    rows = len(systems["tied"].task.source_dictionary)
    assert sum(tensor.shape[:1] == (rows,) and tensor.dim() == 2 for tensor in state.values()) == 1


def test_an_over_long_line_is_cut_with_a_warning(
    systems: dict[str, Translator], caplog: pytest.LogCaptureFixture
) -> None:
    long, short = " ".join(["dog"] * 1500), "The dog sees bus."
    system = systems["lstm"]
    translations = system.translate([long, short], beam=1)
    (warning,) = caplog.messages
    assert "1,500 subword units" in warning
    assert "first 1,023" in warning
    assert translations[1] == system.translate([short], beam=1)[0]
    assert translations[0] == system.translate([" ".join(["dog"] * 1023)], beam=1)[0]


# --- scoring -----------------------------------------------------------------------------------

REFERENCES = ["The dog sleeps on the mat, today.", "Two men play “chess” in the park.", "Yes."] * 9
GOOD = ["The dog sleeps on a mat, today.", "Two men play “chess” in the park.", "Yes!"] * 9
POOR = ["the cat sleeps at the mat.", "Men plays Chess in a park .", "No way."] * 9
FAIR = [
    {0: reference, 1: poor}.get(i % 7, good)
    for i, (reference, good, poor) in enumerate(zip(REFERENCES, GOOD, POOR, strict=True))
]


@pytest.fixture
def texts(tmp_path: Path) -> dict[str, str]:
    """Files of the lines above, for sacreBLEU's own command."""
    paths = {}
    every = {"references": REFERENCES, "good": GOOD, "fair": FAIR, "poor": POOR}
    for name, lines in every.items():
        path = tmp_path / name
        path.write_text("\n".join(lines) + "\n", encoding="utf-8")
        paths[name] = str(path)
    return paths


def test_scores_are_those_of_the_sacrebleu_command(texts: dict[str, str]) -> None:
    command = ["sacrebleu", texts["references"], "-i", texts["poor"], "-m", *SACREBLEU]
    expected = json.loads(run(*command, "--confidence", "-w", "4"))
    for row, found in zip(expected, score(POOR, REFERENCES).values(), strict=True):
        assert found.score == row["score"]
        assert found.signature == row["signature"]
        assert found.mean == row["confidence_mean"]
        low, high = found.ci
        assert (high - low) / 2 == pytest.approx(row["confidence_var"], abs=2e-4)


def test_the_comparison_beside_that_of_the_sacrebleu_command(texts: dict[str, str]) -> None:
    """The same differences; one side of sacreBLEU's p is about half of ours."""
    files = [texts["good"], texts["fair"], texts["poor"]]
    options = ["-m", *SACREBLEU, "--paired-bs", "-w", "4", "-f", "text"]
    out = run("sacrebleu", texts["references"], "-i", *files, *options)
    rows = [  # of each system: the score by each metric
        [float(score) for score in re.findall(r"([\d.]+) \([\d.]+ ±", line)]
        for line in out.splitlines()
        if "±" in line and "CI" not in line
    ]
    p_values = [float(p) for p in re.findall(r"\(p = ([\d.]+)\)", out)]
    assert max(p_values) > 0.01 > min(p_values)
    systems = {"good": GOOD, "fair": FAIR, "poor": POOR}
    found = compare({name: [score(lines, REFERENCES)] for name, lines in systems.items()})
    assert {c.baseline for c in found} == {"good"}
    assert not any(c.over_seeds for c in found)
    by_system = sorted(found, key=lambda c: c.system)
    assert [(c.system, c.metric) for c in by_system] == list(product(["fair", "poor"], SACREBLEU))
    for c, base, own, p in zip(by_system, rows[0] * 2, rows[1] + rows[2], p_values, strict=True):
        assert c.difference == pytest.approx(own - base, abs=2e-4)
        if p < 0.1:  # where the other side does not count
            assert c.p_value == pytest.approx(2 * p, rel=0.25, abs=0.005)
        low, high = c.interval
        assert low < c.difference < high
        assert (low > 0 or high < 0) == (c.p_value < 0.05)


def test_the_same_text_twice_is_no_difference() -> None:
    scores = score(GOOD, REFERENCES)
    for comparison in compare({"a": [scores], "b": [score(list(GOOD), REFERENCES)]}):
        assert (comparison.difference, comparison.p_value) == (0, 1)


def test_several_runs_are_compared_by_their_mean() -> None:
    good, fair, poor = (score(lines, REFERENCES) for lines in (GOOD, FAIR, POOR))
    found = compare({"a": [good, fair], "b": [poor, poor]}, ["b"])
    assert {(c.baseline, c.system, c.over_seeds) for c in found} == {("b", "a", True)}
    for c in found:
        mean = (good[c.metric].score + fair[c.metric].score) / 2
        assert c.difference == pytest.approx(mean - poor[c.metric].score, abs=2e-4)
        # a is the better one: by how much at least
        lower = c.interval[0] if c.metric != "ter" else -c.interval[1]
        assert -abs(c.difference) < c.not_worse_by < -lower
    of_sets = compare_means([{"a": [good], "b": [poor]}, {"a": [fair], "b": [poor]}])
    assert [c.difference for c in of_sets] == pytest.approx([-c.difference for c in found])


def test_one_sentence_tells_no_difference() -> None:
    scores = score(GOOD[:1], REFERENCES[:1])
    assert compare({"a": [scores], "b": [scores]}) == []


@pytest.mark.parametrize("mark", ["The d@@ og sleeps.", "The d@@", "▁The ▁dog ▁sleeps ."])
@pytest.mark.parametrize("side", ["hypotheses", "references"])
def test_segmented_text_is_refused(mark: str, side: str) -> None:
    spoilt = [*GOOD[:4], *[mark] * 9, *GOOD[13:]]
    given = (spoilt, REFERENCES) if side == "hypotheses" else (GOOD, spoilt)
    with pytest.raises(UserError, match=f"^the {side}, line 5: holds a subword mark"):
        score(*given)


@pytest.mark.parametrize("line", ["mail a@@b.c to me", "@@ -1,3 @@ foo@@ and ▁bar"])
def test_marks_are_text_where_few_lines_have_them(line: str) -> None:
    text = [*REFERENCES, line]
    assert score(text, text)["bleu"].score == pytest.approx(100)
    score([*REFERENCES, "else"], text)
    score(text, [*REFERENCES, "else"])


@pytest.mark.parametrize(
    ("language", "line", "tokenizer"),
    [
        ("de", "Ein Hund.", "13a"),
        ("zh", "一只狗。", "zh"),
        ("zh_CN", "一只狗。", "zh"),
        ("ja", "犬。", "ja-mecab"),
        ("ko", "개가 있다.", "ko-mecab"),
        ("th", "สุนัข", "char"),
        ("my_words", "一只狗。", "char"),
    ],
)
def test_the_tokeniser_is_that_of_the_target_language(
    language: str, line: str, tokenizer: str
) -> None:
    assert tokenizer_for(language, [line]) == tokenizer


def test_chinese_is_scored_as_sacrebleu_does(tmp_path: Path) -> None:
    references = ["他们会在今天下午去学校。", "一只狗在雪地里奔跑。", "你好，世界！"] * 5
    hypotheses = ["他们今天下午会去学校。", "一只狗在雪地奔跑。", "你好世界！"] * 5
    for name, lines in (("ref", references), ("hyp", hypotheses)):
        (tmp_path / name).write_text("\n".join(lines) + "\n", encoding="utf-8")
    command = f"sacrebleu {tmp_path}/ref -i {tmp_path}/hyp -tok zh -w 4 -b --chrf-word-order 2 -m"
    found = score(hypotheses, references, Scoring("zh", chrf_word_order=2))
    for metric in ("bleu", "chrf"):
        assert float(run(*command.split(), metric)) == found[metric].score
    command = f"sacrebleu {tmp_path}/ref -i {tmp_path}/hyp -w 4 -b -m ter --ter-asian-support"
    ter = float(run(*command.split(), "--ter-normalized"))
    assert ter == pytest.approx(found["ter"].score, abs=1e-4)
    assert "tok:zh" in found["bleu"].signature and "nw:2" in found["chrf"].signature
    assert score(hypotheses, references)["bleu"].score < 30 < 50 < found["bleu"].score


def test_lower_case_and_several_references() -> None:
    upper = [line.upper() for line in REFERENCES]
    assert score(upper, REFERENCES)["bleu"].score < 5
    found = score(upper, REFERENCES, Scoring(lowercase=True))
    scores = [found[metric].score for metric in ("bleu", "chrf", "ter")]
    assert scores == pytest.approx([100, 100, 0])
    assert "case:lc" in found["bleu"].signature
    mixed = [upper[0], *REFERENCES[1:]]
    found = score(mixed, REFERENCES, more_references=[upper])
    assert found["bleu"].score == pytest.approx(100)
    assert "nrefs:2" in found["bleu"].signature
    assert sum(map(abs, found["bleu"].influences)) == pytest.approx(0, abs=1e-6)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"tokenize": "moses"}, "--tokenize moses: choose one of none, zh, 13a"),
        ({"chrf_word_order": -1}, "--chrf-word-order -1: must be 0 or more"),
    ],
)
def test_scoring_that_cannot_be_done(given: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        Scoring(**given)


def test_a_tokeniser_that_is_not_installed_is_named_with_its_extra(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "MeCab", None)
    monkeypatch.delitem(sys.modules, "sacrebleu.tokenizers.tokenizer_ja_mecab", raising=False)
    with pytest.raises(UserError, match=r"--tokenize ja-mecab: .*'\.\[ja\]'.*such as char"):
        Scoring("ja-mecab")


@pytest.mark.parametrize("hypotheses, references", [(["a"], ["a", "b"]), ([], [])])
def test_lines_that_cannot_be_scored(hypotheses: list[str], references: list[str]) -> None:
    with pytest.raises(UserError):
        score(hypotheses, references)


def test_the_record_of_two_systems(
    folder: Path,
    checkpoints: dict[str, Path],
    systems: dict[str, Translator],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    subsets = ["test_2016_flickr", "test_2017_flickr"]
    command = f"{checkpoints['lstm']} --data {folder} --beam 2 --lenpen 0.8 --cpu"
    command += f" --subset {subsets[0]} --subset {subsets[1]}"
    command += f" --json {tmp_path}/new/s.json --output {tmp_path}/out"
    evaluate.main([f"a tied={checkpoints['tied']}", *command.split()])
    record = json.loads((tmp_path / "new" / "s.json").read_text(encoding="utf-8"))
    assert (record["beam"], record["lenpen"]) == (2, 0.8)
    assert set(record["versions"]) == {"fairseq", "sacrebleu", "torch"}
    table = capsys.readouterr().out
    for subset in subsets:
        source, references = Prepared(folder).pairs(subset)
        first, second = record["subset"][subset]["systems"]
        assert first["name"] == "a tied"
        assert second["name"] == f"{checkpoints['lstm'].parent.name}/checkpoint_last"
        assert first["parameters"] == systems["tied"].parameters
        assert first["tie"].startswith("tie:three-way|vocab:")
        assert f"params:{first['parameters']}|" in first["tie"]
        assert f"a tied: {first['tie']}" in table
        assert second["tie"] is None
        assert first["sentences"] == len(source)
        translations = systems["tied"].translate(source, beam=2, lenpen=0.8)
        written = Path(first["translations"]).read_text(encoding="utf-8")
        assert written == "".join(line + "\n" for line in translations)
        assert first["bleu"]["score"] == score(translations, references)["bleu"].score
        compared = record["subset"][subset]["comparisons"]
        assert [c["metric"] for c in compared] == ["bleu", "chrf", "ter", "tokenised_bleu"]
        assert {c["baseline"] for c in compared} == {"a tied"}
        assert f"{subset}: {len(source)} sentences" in table
        for metric in (*SACREBLEU, "tokenised_bleu"):
            assert first[metric]["signature"] in table
            assert f"{first[metric]['score']:.2f}" in table


def test_every_baseline_is_compared_with(
    folder: Path,
    checkpoints: dict[str, Path],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    names, models = ["a", "b", "c"], [*MODELS, "tied"]
    command = [f"{name}={checkpoints[model]}" for name, model in zip(names, models, strict=True)]
    command += f"--data {folder} --subset test_2016_flickr --beam 1 --cpu".split()
    command += f"--baseline b --baseline a --json {tmp_path}/s.json".split()
    evaluate.main([*command, "--output", str(tmp_path)])
    record = json.loads((tmp_path / "s.json").read_text(encoding="utf-8"))
    result = record["subset"]["test_2016_flickr"]
    assert [row["name"] for row in result["systems"]] == names
    _, references = Prepared(folder).pairs("test_2016_flickr")
    texts = {
        row["name"]: Path(row["translations"]).read_text(encoding="utf-8").splitlines()
        for row in result["systems"]
    }
    scores = {name: [score(lines, references)] for name, lines in texts.items()}
    for name, lines in texts.items():
        scores[name][0][TOKENISED_BLEU] = tokenised_bleu(lines, [references], "de")
    expected = compare(scores, ["b", "a"])
    assert [(c.baseline, c.system) for c in expected[:2]] == [("b", "a"), ("b", "c")]
    assert [(c.baseline, c.system) for c in expected[-2:]] == [("a", "b"), ("a", "c")]
    assert result["comparisons"] == json.loads(json.dumps([asdict(each) for each in expected]))
    table = capsys.readouterr().out
    assert table.index("against b; over test") < table.index("against a; over test")


def test_runs_of_one_system(
    folder: Path,
    checkpoints: dict[str, Path],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    tied, lstm = checkpoints["tied"], checkpoints["lstm"]
    subsets = ["test_2016_flickr", "test_2017_flickr"]
    command = f"one={lstm} two={tied},{lstm}:{lstm} --data {folder} --beam 1 --cpu --output"
    command += f" {tmp_path} --json {tmp_path}/s.json --subset {subsets[0]} --subset {subsets[1]}"
    evaluate.main(command.split())
    record = json.loads((tmp_path / "s.json").read_text(encoding="utf-8"))
    table = capsys.readouterr().out
    means = {}
    for subset in subsets:
        one, *two = record["subset"][subset]["systems"]
        assert [run["name"] for run in two] == ["two", "two"]
        assert [run["checkpoint"] for run in two] == [str(tied), f"{lstm}:{lstm}"]
        names = [Path(run["translations"]).name for run in (one, *two)]
        assert names == [f"{name}.{subset}.de" for name in ("one", "two", "two-2")]
        assert one["bleu"] == two[1]["bleu"]  # two of the same vote as one does
        compared = record["subset"][subset]["comparisons"]
        scores = [run["bleu"]["score"] for run in (one, *two)]
        means[subset] = (scores[1] + scores[2]) / 2 - scores[0]
        assert compared[0]["difference"] == pytest.approx(means[subset], abs=2e-4)
        assert compared[0]["over_seeds"]
        spread = f"{(scores[1] + scores[2]) / 2:.2f} ± {abs(scores[1] - scores[2]) / 2**0.5:.2f}"
        assert re.search(rf"two +2 .*{spread}", table)
    (compared, *_) = record["mean"]["comparisons"]
    assert compared["difference"] == pytest.approx(sum(means.values()) / 2, abs=2e-4)
    assert f"mean of {subsets[0]}, {subsets[1]}, against one; over seeds and test" in table
    assert "not worse by more than (95%)" in table


def test_references_have_the_form_that_translations_have(
    folder: Path, checkpoints: dict[str, Path], tmp_path: Path
) -> None:
    """What the pipeline changes for good costs a perfect system nothing, and is told."""
    data = shutil.copytree(folder, tmp_path / "data")
    manifest = json.loads((data / "manifest.json").read_text(encoding="utf-8"))
    del manifest["files"]
    (data / "manifest.json").write_text(json.dumps(manifest), encoding="utf-8")
    reference = data / "raw" / "test_2016_flickr.de"
    lines = reference.read_text(encoding="utf-8").splitlines()
    odd = [f"{line} l’ete\u0301\x01 d'un" for line in lines]
    prepared = Prepared(data)
    system = load_system("tied", [checkpoints["tied"]], prepared, cpu=True)
    for text, told in ((lines, False), (odd, True)):
        reference.write_text("\n".join(text) + "\n", encoding="utf-8")
        written = [line.replace("’", "'").replace("e\u0301\x01", "é") for line in text]
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(Translator, "translate", lambda *_, text=written, **__: text)
            record = evaluate_systems([system], prepared, ["test_2016_flickr"])
        (row,) = record["subset"]["test_2016_flickr"]["systems"]
        for metric in SACREBLEU:
            assert row[metric]["score"] == pytest.approx(0 if metric == "ter" else 100)
            assert row[metric]["signature"].endswith("|refs:NFC+control+apostrophe") == told


def test_domains_and_more_references(
    folder: Path,
    checkpoints: dict[str, Path],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    data = shutil.copytree(folder, tmp_path / "data")
    reference = data / "raw" / "test_2016_flickr.de"
    lines = reference.read_text(encoding="utf-8").splitlines()
    second = data / "raw" / "test_2016_flickr.de.2"
    others = ["@@ 1", *lines[-2::-1]]
    second.write_text("\n".join(others) + "\n", encoding="utf-8")
    manifest = json.loads((data / "manifest.json").read_text(encoding="utf-8"))
    manifest["references"] = {"test_2016_flickr": 2}
    (data / "manifest.json").write_text(json.dumps(manifest), encoding="utf-8")
    labels = ["news" if i % 3 else "talks" for i in range(len(lines))]
    labels[0] = "a line alone"  # which has a mark of subwords, as raw text may
    (tmp_path / "labels").write_text("\n".join(labels), encoding="utf-8")
    command = f"a={checkpoints['tied']} b={checkpoints['lstm']} --data {data} --cpu --beam 1"
    command += f" --subset test_2016_flickr --domains {tmp_path}/labels --chrf-word-order 2"
    evaluate.main([*command.split(), "--json", str(tmp_path / "s.json"), "--output", str(tmp_path)])
    result = json.loads((tmp_path / "s.json").read_text())["subset"]["test_2016_flickr"]
    scoring = Scoring(chrf_word_order=2)
    for i, row in enumerate(result["systems"]):
        translations = Path(row["translations"]).read_text(encoding="utf-8").splitlines()
        expected = score(translations, lines, scoring, [others])
        assert row["bleu"]["score"] == expected["bleu"].score
        assert "nrefs:2" in row["bleu"]["signature"]
        for domain, of in result["domains"].items():
            chosen = [i for i, label in enumerate(labels) if label == domain]
            parts = [[text[i] for i in chosen] for text in (translations, lines, others)]
            expected = score_by_all(parts[0], parts[1:], scoring)
            assert of["sentences"] == len(chosen)
            assert of["systems"][i]["chrf"]["score"] == expected["chrf"].score
    assert list(result["domains"]) == ["a line alone", "news", "talks"]
    out = capsys.readouterr().out
    assert "chrF++" in out and "news, against a" in out


COMET = """
import json
from types import SimpleNamespace
CALLS = []
def download_model(name):
    if name != "a/model":
        raise KeyError("no such model")
    return "path"
def load_from_checkpoint(path):
    return SimpleNamespace(predict=predict)
def predict(data, batch_size, gpus):
    CALLS.append(data)
    return SimpleNamespace(scores=[similarity(**one) for one in data])
def similarity(src, mt, ref):
    return len({*mt.split()} & {*ref.split()}) / 10 + len(src) / 1000
"""


@pytest.fixture
def comet(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A package with the interface of unbabel-comet 2.2, which loads no model of 2 GB."""
    packages = tmp_path / "packages"
    (packages / "unbabel_comet-2.2.7.dist-info").mkdir(parents=True)
    metadata = "Metadata-Version: 2.1\nName: unbabel-comet\nVersion: 2.2.7\n"
    (packages / "unbabel_comet-2.2.7.dist-info/METADATA").write_text(metadata)
    (packages / "comet.py").write_text(COMET)
    monkeypatch.syspath_prepend(packages)
    yield packages
    sys.modules.pop("comet", None)


def test_comet_is_a_metric_where_it_is_installed(
    folder: Path,
    checkpoints: dict[str, Path],
    comet: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    subset = "test_2016_flickr"
    source, references = Prepared(folder).pairs(subset)
    (tmp_path / "labels").write_text("\n".join(f"{i % 2}" for i in range(len(source))))
    command = f"a={checkpoints['tied']} b={checkpoints['lstm']} --data {folder} --cpu --beam 1"
    command += f" --subset {subset} --domains {tmp_path}/labels --comet a/model"
    evaluate.main([*command.split(), "--json", str(tmp_path / "s.json"), "--output", str(tmp_path)])
    result = json.loads((tmp_path / "s.json").read_text())["subset"][subset]
    fake = sys.modules["comet"]
    means = []
    for i, row in enumerate(result["systems"]):
        translations = Path(row["translations"]).read_text(encoding="utf-8").splitlines()
        triples = [*zip(source, translations, references, strict=True)]
        scores = [100 * fake.similarity(*triple) for triple in triples]
        means.append(sum(scores) / len(scores))
        found = row["comet"]
        assert found["score"] == pytest.approx(means[i], abs=1e-4)
        assert found["signature"] == "model:a/model|bs:1000|seed:12345|version:2.2.7"
        low, high = found["ci"]
        error = statistics.stdev(scores) / len(scores) ** 0.5
        assert (high - low) / 2 == pytest.approx(1.96 * error, rel=0.2)
        assert sum(x * x for x in found["influences"]) == pytest.approx(error**2, rel=0.2)
        halves = [of["systems"][i]["comet"]["score"] for of in result["domains"].values()]
        assert sum(halves) / 2 == pytest.approx(means[i], abs=1e-3)
    (compared,) = [one for one in result["comparisons"] if one["metric"] == "comet"]
    assert compared["difference"] == pytest.approx(means[1] - means[0], abs=2e-4)
    asked = [tuple(one.values()) for call in fake.CALLS for one in call]
    assert len(asked) == len(set(asked))
    assert " COMET " in capsys.readouterr().out


def test_comet_that_cannot_be_had(
    folder: Path, checkpoints: dict[str, Path], refusal: Callable[..., str], comet: Path
) -> None:
    given = (checkpoints["tied"], "--subset", "test_2016_flickr", "--comet", "b/model")
    message = refusal(*given)
    assert "--comet b/model: COMET cannot load it ('no such model'); give a name such" in message
    shutil.rmtree(comet / "unbabel_comet-2.2.7.dist-info")
    assert "--comet b/model: pip install unbabel-comet first" in refusal(*given)


def test_marks_in_the_input_are_text(
    folder: Path, checkpoints: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    text = tmp_path / "text"
    text.write_text("The dog.\n@@ a@@ ▁b\n▁\nThe man.\n", encoding="utf-8")
    evaluate.main([str(checkpoints["tied"]), "--data", str(folder), "--cpu", "--input", str(text)])
    assert capsys.readouterr().out.count("\n") == 4


def test_lines_of_the_input_are_counted_from_its_start(
    folder: Path,
    checkpoints: dict[str, Path],
    refusal: Callable[..., str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(streams, "LINES_AT_ONCE", 2)
    monkeypatch.setattr(Translator, "stream", lambda system, lines, **_: lines)
    (tmp_path / "text").write_bytes(b"a\n" * 4 + b"\xff\n")
    with pytest.raises(SystemExit) as stopped:
        evaluate.main([str(checkpoints["tied"]), "--data", str(folder), "--cpu", "--input",
                       str(tmp_path / "text")])  # fmt: skip
    assert "line 5: not UTF-8" in str(stopped.value.code)


# --- bad input ---------------------------------------------------------------------------------

Spoil = Callable[[Path, Path], None]


class Hostile:
    """Creates a file when it is unpickled."""

    def __init__(self, path: str) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return open, (self.path, "w")


def changed(change: Callable[[dict[str, Any]], None]) -> Spoil:
    """Write a good checkpoint again after ``change`` has spoilt it."""

    def spoil(good: Path, bad: Path) -> None:
        state = torch.load(good)
        change(state)
        torch.save(state, bad)

    return spoil


def set_config(part: str, **values: object) -> Spoil:
    def change(state: dict[str, Any]) -> None:
        config = state["cfg"][part]
        if isinstance(config, Namespace):
            vars(config).update(values)
        else:
            config.update(values)

    return changed(change)


def diverge(state: dict[str, Any]) -> None:
    next(t for t in state["model"].values() if t.is_floating_point())[:] = float("nan")


BAD_CHECKPOINTS: dict[str, tuple[Spoil, str]] = {
    "missing": (lambda good, bad: None, "no such checkpoint"),
    "half": (
        lambda good, bad: void(bad.write_bytes(good.read_bytes()[: good.stat().st_size // 2])),
        "not a whole checkpoint",
    ),
    "empty": (lambda good, bad: bad.touch(), "cut short"),
    "text": (lambda good, bad: void(bad.write_text("weights\n" * 9)), "checkpoint"),
    "no configuration": (lambda good, bad: torch.save({"model": {}}, bad), "checkpoint"),
    "list": (lambda good, bad: torch.save([1], bad), "checkpoint"),
    "hostile": (lambda good, bad: torch.save({"x": Hostile(f"{bad}.x")}, bad), "refused"),
    "hostile pickle": (
        lambda good, bad: void(bad.write_bytes(pickle.dumps(Hostile(f"{bad}.x"), protocol=2))),
        "refused",
    ),
    "architecture": (
        set_config("model", _name="perceptron", arch="perceptron"),
        "architecture perceptron",
    ),
    "task": (set_config("task", _name="language_modeling"), "only translation"),
    "direction": (set_config("task", source_lang="de", target_lang="en"), "translates de to en"),
    "diverged": (changed(diverge), "diverged"),
    "parts missing": (
        changed(lambda state: state["model"].pop(next(iter(state["model"])))),
        "Missing key",
    ),
}


def void(_: object) -> None:
    pass


@pytest.fixture
def refusal(folder: Path, capsys: pytest.CaptureFixture[str]) -> Callable[..., str]:
    """Run the command, which must refuse with one line."""

    def run(*arguments: object, data: Path = folder) -> str:
        with pytest.raises(SystemExit) as stopped:
            evaluate.main([*map(str, arguments), "--data", str(data), "--cpu"])
        message = stopped.value.code
        assert isinstance(message, str)
        assert message.startswith("error: ")
        assert "\n" not in message
        assert capsys.readouterr().out == ""
        return message

    return run


@pytest.mark.parametrize("kind", BAD_CHECKPOINTS)
@pytest.mark.parametrize("model", MODELS)
def test_bad_checkpoints(
    kind: str,
    model: str,
    checkpoints: dict[str, Path],
    refusal: Callable[..., str],
    tmp_path: Path,
) -> None:
    spoil, reason = BAD_CHECKPOINTS[kind]
    bad = tmp_path / "bad.pt"
    spoil(checkpoints[model], bad)
    message = refusal(bad, "--subset", "test_2016_flickr")
    assert str(bad) in message
    assert reason in message
    assert not Path(f"{bad}.x").exists()


def test_the_hostile_file_would_have_run(tmp_path: Path) -> None:
    bad = tmp_path / "bad.pt"
    torch.save({"x": Hostile(f"{bad}.x")}, bad)
    torch.load(bad, weights_only=False)
    assert Path(f"{bad}.x").exists()


@pytest.mark.parametrize("model", MODELS)
def test_dictionaries_of_another_size(
    model: str,
    folder: Path,
    checkpoints: dict[str, Path],
    refusal: Callable[..., str],
    tmp_path: Path,
) -> None:
    data = shutil.copytree(folder, tmp_path / "data")
    for language in ("en", "de"):
        path = data / "data-bin" / f"dict.{language}.txt"
        more = "".join(f"unit{i} 1\n" for i in range(8))
        path.write_text(path.read_text(encoding="utf-8") + more, encoding="utf-8")
    message = refusal(checkpoints[model], "--subset", "test_2016_flickr", data=data)
    assert str(checkpoints[model]) in message


def test_dictionaries_in_another_order(
    folder: Path, checkpoints: dict[str, Path], refusal: Callable[..., str], tmp_path: Path
) -> None:
    data = shutil.copytree(folder, tmp_path / "data")
    for language in ("en", "de"):
        path = data / "data-bin" / f"dict.{language}.txt"
        first, second, *rest = path.read_text(encoding="utf-8").splitlines()
        path.write_text("\n".join([second, first, *rest]) + "\n", encoding="utf-8")
    message = refusal(checkpoints["tied"], "--subset", "test_2016_flickr", data=data)
    assert str(checkpoints["tied"]) in message


def test_folders_that_are_not_prepared(
    checkpoints: dict[str, Path], refusal: Callable[..., str], tmp_path: Path
) -> None:
    arguments = (checkpoints["tied"], "--subset", "test_2016_flickr")
    assert str(tmp_path / "none") in refusal(*arguments, data=tmp_path / "none")
    assert "manifest.json" in refusal(*arguments, data=tmp_path)
    (tmp_path / "manifest.json").write_text("{}")
    assert "manifest.json" in refusal(*arguments, data=tmp_path)


def test_other_bad_input(
    folder: Path, checkpoints: dict[str, Path], refusal: Callable[..., str], tmp_path: Path
) -> None:
    good, subset = checkpoints["tied"], ("--subset", "test_2016_flickr")
    message = refusal(good, "--subset", "test_1999")
    assert "test_1999" in message
    assert "test_2016_flickr, test_2017_flickr" in message
    assert "NAME=CHECKPOINT" in refusal(good, good, *subset)
    message = refusal(f"a={good}", f"b={good}", *subset, "--baseline", "c")
    assert "--baseline c: no such system, only a, b" in message
    again = "given twice; leave one out"
    assert f"--subset {subset[1]}: {again}" in refusal(good, *subset, *subset)
    twice = ("--baseline", "b", "--baseline", "b")
    assert f"--baseline b: {again}" in refusal(f"a={good}", f"b={good}", *subset, *twice)
    text = ("--input", tmp_path / "none")
    assert "either --subset, to score, or --input" in refusal(good)
    assert "either --subset, to score, or --input" in refusal(good, *subset, *text)
    assert refusal(f"a\x1b[31m={good}", *subset).startswith("error: a\\x1b[31m: a system's name")
    assert "--input translates with one system" in refusal(f"a={good}", f"b={good}", *text)
    assert "--input translates with one system" in refusal(f"{good},{good}", *text)
    assert "--json and --output go with --subset" in refusal(good, *text, "--json", "s.json")
    file = tmp_path / "file"
    file.touch()
    assert str(file) in refusal(good, *subset, "--json", file / "s.json")
    assert str(tmp_path) in refusal(good, *subset, "--json", tmp_path)
    assert str(file) in refusal(good, *subset, "--output", file)
    assert "no such file" in refusal(good, "--input", tmp_path / "none")
    assert "--tokenize x: choose" in refusal(good, *subset, "--tokenize", "x")
    (tmp_path / "labels").write_text("news\n")
    assert "1 labels for 30 lines" in refusal(good, *subset, "--domains", tmp_path / "labels")
    two = (*subset, "--subset", "test_2017_flickr")
    assert "needs exactly one --subset" in refusal(good, *two, "--domains", tmp_path / "labels")
    short = shutil.copytree(folder, tmp_path / "data")
    (short / "raw" / "test_2016_flickr.de").write_text("Ein Hund.\n")
    assert "lines" in refusal(good, *subset, data=short)


@pytest.mark.parametrize(
    "name", ["bpe/codes", "bpe/vocab.en", "raw/test_2016_flickr.de", "data-bin/dict.de.txt"]
)
@pytest.mark.parametrize("model", MODELS)
def test_a_folder_that_is_not_as_it_was_prepared(
    name: str,
    model: str,
    folder: Path,
    checkpoints: dict[str, Path],
    refusal: Callable[..., str],
    tmp_path: Path,
) -> None:
    data = shutil.copytree(folder, tmp_path / "data")
    first, second, *rest = (data / name).read_text(encoding="utf-8").splitlines(keepends=True)
    (data / name).write_text("".join([second, first, *rest]), encoding="utf-8")
    message = refusal(checkpoints[model], "--subset", "test_2016_flickr", data=data)
    if model == "tied" and "dict" in name:  # which the model itself sees
        assert str(checkpoints[model]) in message
    else:
        assert f"{data / name}: not the file that was prepared" in message


@pytest.mark.parametrize("model", MODELS)
def test_a_model_is_not_scored_on_the_other_direction(
    model: str,
    folder: Path,
    checkpoints: dict[str, Path],
    refusal: Callable[..., str],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    originals = tmp_path / "originals"
    originals.mkdir()
    for path in (folder / "raw").iterdir():
        name = path.name.replace("valid", "val")
        (originals / name).write_bytes(path.read_bytes())
    options = f"--pair de-en --raw {originals} --dest {tmp_path}/reverse --merges 60"
    multi30k.main([*options.split(), "--vocabulary-threshold", "2", "--workers", "1"])
    reverse = tmp_path / "reverse"
    capsys.readouterr()
    dictionaries = [f / "data-bin" / "dict.de.txt" for f in (folder, reverse)]
    assert dictionaries[0].read_bytes() == dictionaries[1].read_bytes()  # which tell nothing
    message = refusal(checkpoints[model], "--subset", "test_2016_flickr", data=reverse)
    assert "translates en to de" in message and f"{reverse} holds de to en" in message


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_no_write_permission(
    checkpoints: dict[str, Path], refusal: Callable[..., str], tmp_path: Path
) -> None:
    tmp_path.chmod(0o500)
    message = refusal(
        checkpoints["tied"], "--subset", "test_2016_flickr", "--json", tmp_path / "s.json"
    )
    assert str(tmp_path) in message


def test_names_of_files_are_not_taken_apart(tmp_path: Path, monkeypatch: Any) -> None:
    """As hydra's sweeps call their folders."""
    monkeypatch.chdir(tmp_path)
    for name in ("lr=0.1,seed=2/c.pt", "a:b.pt"):
        Path(name).parent.mkdir(exist_ok=True)
        Path(name).touch()
        assert list(parse_systems([name]).values()) == [[[Path(name)]]]
    assert parse_systems(["x=a:b.pt"]) == {"x": [[Path("a:b.pt")]]}


def test_names() -> None:
    assert parse_system("a=b/c.pt:d.pt") == ("a", [Path("b/c.pt"), Path("d.pt")])
    assert parse_system("runs/lr=1/c.pt") == ("lr=1/c", [Path("runs/lr=1/c.pt")])
    assert parse_systems(["a=b.pt:c.pt,d.pt", "runs/e.pt,f.pt"]) == {
        "a": [[Path("b.pt"), Path("c.pt")], [Path("d.pt")]],
        "runs/e": [[Path("runs/e.pt")], [Path("f.pt")]],
    }
    with pytest.raises(UserError, match="two systems are called a-2"):
        parse_systems(["a=b.pt,c.pt", "a-2=d.pt"])
