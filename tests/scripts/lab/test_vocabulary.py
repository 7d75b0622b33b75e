"""The measurements of vocabulary surgery, on a model of a few updates."""

from __future__ import annotations

import copy
import json
import math
import os
from dataclasses import replace
from functools import partial
from importlib import import_module
from itertools import pairwise
from pathlib import Path
from statistics import mean
from types import SimpleNamespace
from typing import ClassVar
from zlib import crc32

import pytest
from fairseq import options
from fairseq.dataclass.utils import convert_namespace_to_omegaconf
from fairseq_cli import train as fairseq_train
from omegaconf import OmegaConf, open_dict

from scripts import vocabulary_experiment
from scripts.lab import trained_run, vocabulary
from scripts.lab.run import processes
from scripts.lab.run.fairseq_train import Recorder
from scripts.lab.run.training import Run
from scripts.lab.run.training import train as train_runs
from scripts.lab.trained_run import TrainedRun, losses, require_run
from scripts.lab.vocabulary import language, show, starts, tie, trim
from tests.support.small_prepared import prepare, sentences
from tests.support.small_training import SIZES
from tiednmt.errors import UserError

ROW = (
    *("--cpu", "--no-progress-bar", "--num-workers", "0", *SIZES, "--tying", "three-way"),
    *("--criterion", "tied_cross_entropy", "--optimizer", "adam", "--lr", "0.01", "--seed", "1"),
    *("--max-tokens", "80", "--required-batch-size-multiple", "1", "--log-format", "none"),
)


class FairseqTrain:
    """``fairseq-train`` with what it is told, in this process: another costs seconds of imports."""

    started: ClassVar[list[list[str]]] = []

    def __init__(self, command, **_):
        _, dash_m, module, *arguments = command
        assert (dash_m, module) == ("-m", "scripts.lab.run.fairseq_train")
        self.started.append(arguments)
        if not any(Path(arguments[0]).glob("*.bin")):  # the small corpus is text
            arguments += ["--dataset-impl", "raw"]
        args = options.parse_args_and_arch(options.get_training_parser(), arguments)
        with pytest.MonkeyPatch.context() as patch:
            recorder = Recorder()
            patch.setattr(fairseq_train, "validate", recorder.validate_in_epoch)
            patch.setattr(fairseq_train, "get_valid_stats", recorder.recorded_stats)
            fairseq_train.main(configuration(args))

    def poll(self):
        return 0


BASES = {}


def configuration(args):
    """fairseq's configuration of options; hydra, which takes long, makes one per scheduler."""
    if args.lr_scheduler not in BASES:
        BASES[args.lr_scheduler] = convert_namespace_to_omegaconf(args)
    cfg = copy.deepcopy(BASES[args.lr_scheduler])
    with open_dict(cfg):
        for group in filter(OmegaConf.is_dict, map(cfg.get, cfg)):
            for name in group.keys() & vars(args).keys() - {"_name"}:
                group[name] = getattr(args, name)
    return cfg


def evaluate(command):
    """``scripts.evaluate``, whose scores are of the content of the checkpoints alone."""
    words = command[3:]
    given = dict(pairwise(words))
    named = [word.partition("=")[::2] for word in words[: words.index("--data")]]
    systems = [
        {"name": n, "checkpoint": c, "bleu": {"score": float(crc32(Path(c).read_bytes()))}}
        for n, c in named
    ]
    content = {"subset": {given["--subset"]: {"systems": systems}}}
    Path(given["--json"]).write_text(json.dumps(content))


def command_in_process(command):
    """``python -m`` of one of our commands."""
    import_module(command[2]).main(command[3:])


@pytest.fixture(scope="module", autouse=True)
def in_one_process():
    with pytest.MonkeyPatch.context() as patch:
        popen = SimpleNamespace(**{**vars(processes.subprocess), "Popen": FairseqTrain})
        patch.setattr(processes, "subprocess", popen)
        patch.setattr(processes, "time", SimpleNamespace(sleep=lambda seconds: None))
        patch.setattr(trained_run, "call", evaluate)
        yield


@pytest.fixture(scope="module")
def prepared(tmp_path_factory):
    return prepare(tmp_path_factory.mktemp("corpus") / "prepared")


@pytest.fixture(scope="module")
def trained(prepared, tmp_path_factory):
    """A row as ``scripts.reproduce`` leaves it."""
    arguments = (str(prepared / "data-bin"), *ROW, "--max-update", "60")
    run = Run("row", tmp_path_factory.mktemp("run"), arguments)
    train_runs([run], 1)
    return TrainedRun(run.folder, prepared, tmp_path_factory.mktemp("out"))


@pytest.fixture(scope="module")
def untied(trained, tmp_path_factory):
    """A row that was trained with ``none``."""
    arguments = (str(trained.data / "data-bin"), *ROW, "--tying", "none", "--max-update", "4")
    run = Run("none", tmp_path_factory.mktemp("untied") / "none", arguments)
    train_runs([run], 1)
    return TrainedRun(run.folder, trained.data, tmp_path_factory.mktemp("out"))


def told(folder):
    """The last value of each option that a training was given."""
    return dict(pairwise(json.loads((folder / "command.json").read_text())["command"]))


def test_a_training_takes_the_options_of_the_row_but_for_those_given(trained, tmp_path):
    """Those after -- too, and the options of the measurement before all others."""
    changed = replace(trained, out=tmp_path, further=("--lr", "0.02", "--clip-norm", "3"), seed=4)
    run = changed.train("some", trained.data / "data-bin", 2, "--clip-norm", "2")
    given = told(run.folder)
    assert given["--lr"] == "0.02" and given["--clip-norm"] == "2"
    assert given["--seed"] == "4" and given["--max-update"] == "2"
    assert given["--embed-dim"] == "6" and given["--tying"] == "three-way"
    assert given["--save-dir"] == str(tmp_path / "some") and run.best.is_file()
    assert [*losses(run)] == [2]


def test_another_schedule_takes_the_place_of_the_rows(trained, tmp_path):
    """``fixed`` does not know the option of ``inverse_sqrt`` that recipes of Transformers have."""
    kept = json.loads((trained.folder / "command.json").read_text())
    kept["command"] += ["--lr-scheduler", "inverse_sqrt", "--warmup-init-lr", "1e-07"]
    (tmp_path / "row").mkdir()
    (tmp_path / "row" / "command.json").write_text(json.dumps(kept))
    changed = replace(trained, folder=tmp_path / "row", out=tmp_path)
    data_bin = trained.data / "data-bin"
    given = told(changed.train("same", data_bin, 1).folder)
    assert given["--warmup-init-lr"] == "1e-07" and given["--lr-scheduler"] == "inverse_sqrt"
    given = told(changed.train("other", data_bin, 1, "--lr-scheduler", "fixed").folder)
    assert given["--lr-scheduler"] == "fixed" and "--warmup-init-lr" not in given
    assert given["--embed-dim"] == "6"


def test_a_training_of_other_options_is_refused(trained, tmp_path):
    trained, data = replace(trained, out=tmp_path), trained.data / "data-bin"
    trained.train("some", data, 1)
    before = len(FairseqTrain.started)
    trained.train("some", data, 1)  # is there
    others = (
        lambda: trained.train("some", data, 2),
        lambda: replace(trained, further=("--lr", "1")).train("some", data, 1),
    )
    for other in others:
        with pytest.raises(UserError, match=r"some holds a run with another comm.*another --out"):
            other()
    assert len(FairseqTrain.started) == before


def test_a_folder_that_says_nothing_of_its_options_is_refused(trained, tmp_path):
    (tmp_path / "some").mkdir()
    with pytest.raises(UserError, match=r"some: made with other options; choose another --out"):
        replace(trained, out=tmp_path).train("some", trained.data / "data-bin", 1)
    with pytest.raises(UserError, match=r"some: made with other options; choose another --out"):
        replace(trained, out=tmp_path).make("some", lambda folder: None)


def test_scores_are_of_the_checkpoints(trained, tmp_path):
    """Of another path, or trained since then: scored again."""
    one = replace(trained, out=tmp_path)
    scored = partial(one.bleu, trained.data, "test")
    other = tmp_path / "other.pt"
    other.write_bytes(b"other")
    first = scored(m=trained.checkpoint)
    assert scored(m=other) != first == scored(m=trained.checkpoint)
    scored(m=other)
    other.write_bytes(b"trained again")
    ahead = (tmp_path / f"scores-m-{trained.data.name}-test-seed-1.json").stat().st_mtime + 1
    os.utime(other, (ahead, ahead))
    assert scored(m=other) == {"m": crc32(b"trained again")}


def test_how_new_rows_start(trained):
    """Validation falls as they are trained; before, it is that of the row's own rows alone."""
    curves = starts(trained, 8, [0, 4, 8])
    assert {kind: list(curve) for kind, curve in curves.items()} == {
        kind: [0, 4, 8] for kind in ("parts", "unk", "random")
    }
    for curve in curves.values():
        assert curve[0] > curve[4] > curve[8]
    summary = json.loads((trained.out / "parts-trained" / "run.json").read_text())
    nats = {one["update"]: one["nll"] for one in summary["validations"]}
    assert curves["parts"][8] * math.log(2) == pytest.approx(nats[8])
    show("starts", curves, trained.out)
    assert (trained.out / "starts.png").exists()
    with pytest.raises(UserError, match="start-parts: made with other options; choose another"):
        starts(trained, 9, [0, 4, 8])


def test_trimming_with_its_speed(trained, monkeypatch):
    monkeypatch.setattr(vocabulary, "ROUNDS", 1)
    figures = trim(trained, ["test"])
    assert figures["same"] == figures["lines"] == 10
    assert figures["rows"][1] < figures["rows"][0]
    assert all(rate > 0 for rate in figures["sentences per second"])
    with pytest.raises(UserError, match="trimmed: made with other options; choose another --out"):
        trim(trained, ["valid"])


def test_tying_afterwards(trained, untied):
    figures = tie(untied, trained.checkpoint, "test", 1, "three-way")
    origins = ("input", "output", "mean")
    assert list(figures) == [
        *("none", "three-way"),
        *(name for o in origins for name in (f"from {o}", f"from {o}, 1 updates")),
        "none, 1 updates",
    ]
    assert figures["three-way"] == trained.bleu(trained.data, "test", m=trained.checkpoint)["m"]
    for origin in origins:
        given = told(untied.out / f"three-way-{origin}-trained")
        assert given["--tying"] == "three-way" and given["--max-update"] == "1"
        started = untied.out / f"three-way-{origin}" / "checkpoint.pt"
        assert given["--finetune-from-model"] == str(started) and started.is_file()
    given = told(untied.out / "none-trained")
    assert given["--tying"] == "none"
    assert given["--finetune-from-model"] == str(untied.checkpoint)


@pytest.fixture(scope="module")
def czech(tmp_path_factory):
    folder = tmp_path_factory.mktemp("raw")
    for name in ("train", "valid", "test"):
        for code in ("en", "cs"):
            words = ["zahahe", "lezhk"] if code == "cs" else None
            lines = sentences(code, 6, words=words)
            (folder / f"{name}.{code}").write_text("".join(f"{line}\n" for line in lines))
    return {n: (folder / f"{n}.en", folder / f"{n}.cs") for n in ("train", "valid", "test")}


def test_a_further_language(trained, czech, tmp_path, monkeypatch):
    """Of every seed the same extended model, a training of its own, and a score."""
    monkeypatch.setattr(trained_run, "call", command_in_process)
    trained = replace(trained, out=tmp_path)
    figures = language(trained, czech, ("en", "cs"), 8, (2, 1), "test", seeds=2)
    assert figures["old weights are the same bit for bit"] is True
    assert set(figures["BLEU"]) == {"new rows", "then whole", "from scratch"}
    for of in figures["BLEU"].values():
        assert set(of) == {"mean", "seed 1", "seed 2"}
        assert of["mean"].startswith(f"{mean([of['seed 1'], of['seed 2']]):.2f} ± ")
    for seed in ("1", "2"):
        rows, whole, scratch = (
            told(tmp_path / f"{name}-{seed}") for name in ("new-rows", "whole", "scratch")
        )
        assert {given["--seed"] for given in (rows, whole, scratch)} == {seed}
        assert [given["--max-update"] for given in (rows, whole, scratch)] == ["2", "1", "3"]
        assert rows["--train-rows"].endswith(":") and "--train-rows" not in {*whole, *scratch}
        before = tmp_path / f"new-rows-{seed}" / "checkpoint_best.pt"
        assert whole["--finetune-from-model"] == str(before)
        assert "--finetune-from-model" not in scratch and scratch["--target-lang"] == "cs"
    begun = len(FairseqTrain.started)
    assert language(trained, czech, ("en", "cs"), 8, (2, 1), "test", seeds=2) == figures
    assert len(FairseqTrain.started) == begun
    with pytest.raises(UserError, match="larger: made with other options; choose another --out"):
        language(trained, czech, ("en", "cs"), 9, (2, 1), "test")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["language", "RUN", "--raw", "RAW", "--updates", "5"], "--updates takes two numbers, of"),
        (["language", "RUN", "--raw", "RAW", *["--updates", "5", "6", "7"]], "--updates takes two"),
        (["language", "RUN", "--raw", "RAW", "--pair", "encs"], "--pair encs: write it as en-cs"),
        (["language", "RUN"], "the following arguments are required: --raw"),
        (["tie", "RUN", "--tied", "RUN", "--updates", "5", "6"], "unrecognized arguments: 6"),
        (["tie", "RUN"], "the following arguments are required: --tied"),
        (["trim", "RUN", "--seed", "2"], "unrecognized arguments: --seed 2"),
    ],
)
def test_each_measurement_has_its_own_options(words, message, trained, tmp_path, capsys):
    given = [str(trained.folder) if word == "RUN" else word for word in words]
    out = tmp_path / "out"
    with pytest.raises(SystemExit) as stopped:
        vocabulary_experiment.main([*given, "--data", str(trained.data), "--out", str(out)])
    assert message in f"{stopped.value} {capsys.readouterr().err}"
    assert not out.exists()


def test_the_command(trained, untied, tmp_path, capsys):
    """With an option of training, after ``--``."""
    words = ["tie", untied.folder, "--tied", trained.folder, "--data", trained.data]
    options = ["--updates", "1", "--seed", "3", "--out", tmp_path / "out", "--", "--lr", "0.02"]
    vocabulary_experiment.main([*map(str, [*words, *options])])
    given = told(tmp_path / "out" / "three-way-mean-trained")
    assert (given["--lr"], given["--seed"], given["--max-update"]) == ("0.02", "3", "1")
    assert "| from mean, 1 updates |" in capsys.readouterr().out


def test_tables(tmp_path, capsys):
    show("tie", {"none": 97.863, "from mean": 9.4}, tmp_path)
    assert "| from mean | 9.40 |" in capsys.readouterr().out
    assert "97.86" in (tmp_path / "tie.md").read_text()


def test_no_run(tmp_path):
    with pytest.raises(UserError, match=r"command\.json: no such file; give the folder"):
        require_run(tmp_path)
