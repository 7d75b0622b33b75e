"""Bad input to fairseq's commands: one line that says what is wrong, and nothing lost."""

from __future__ import annotations

import os
import pickle
import re
import shutil

import pytest
import torch

from tests.support.commandline import PLUGIN, run, train
from tests.support.untrained import save_untrained

pytestmark = pytest.mark.slow


class Hostile:
    """Unpickled, it would make a file."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (str(self.path),)


@pytest.fixture(scope="module")
def folder(data_bin, tmp_path_factory):
    """Everything that the commands below are given by mistake."""
    folder = tmp_path_factory.mktemp("bad")
    checkpoints = folder / "good"
    train(data_bin, checkpoints, "--tying", "three-way", "--max-update", 1).check()
    good = checkpoints / "checkpoint_last.pt"
    content = good.read_bytes()
    (folder / "truncated.pt").write_bytes(content[: len(content) // 2])
    (folder / "empty.pt").write_bytes(b"")
    (folder / "text.pt").write_text("hello\n")
    torch.save({"x": torch.zeros(3)}, folder / "weights.pt")
    torch.save({"model": Hostile(folder / "RAN"), "cfg": None}, folder / "hostile.pt")
    (folder / "hostile-bare.pt").write_bytes(pickle.dumps({"model": Hostile(folder / "RAN")}))

    for name in ("swapped", "bigger", "separate"):
        shutil.copytree(data_bin, folder / name)
    for language in ("en", "de"):
        path = folder / "swapped" / f"dict.{language}.txt"
        lines = path.read_text(encoding="utf-8").splitlines()
        lines[3], lines[9] = lines[9], lines[3]
        path.write_text("\n".join(lines) + "\n", encoding="utf-8")
        with (folder / "bigger" / f"dict.{language}.txt").open("a", encoding="utf-8") as file:
            file.write("another 1\n")
    path = folder / "separate" / "dict.de.txt"
    path.write_text("".join(path.read_text(encoding="utf-8").splitlines(True)[:-1]), "utf-8")

    for tying in ("none", "inputs", "decoder"):
        options = ("--task", "translation", "--arch", "tied_gru_tiny", "--tying", tying)
        save_untrained(folder / f"tying-{tying}.pt", data_bin, *options)

    lstm = ("--encoder-embed-dim", 8, "--encoder-hidden-size", 8, "--decoder-embed-dim", 8)
    options = (*lstm, "--decoder-hidden-size", 8, "--decoder-out-embed-dim", 8)
    run(
        *("fairseq-train", data_bin, "--cpu", "--arch", "lstm", *options, "--optimizer", "adam"),
        *("--batch-size", 20, "--max-update", 1, "--num-workers", 0),
        *("--save-dir", folder / "lstm"),
    ).check()
    (folder / "lstm" / "checkpoint_last.pt").rename(folder / "lstm.pt")
    return folder


GOOD = "{folder}/good/checkpoint_last.pt"

# what is given: arguments of fairseq-generate, and what the one line must say
GENERATE = {
    "missing": (("{data}", "--path", "{folder}/none.pt"), r"not found: {folder}/none\.pt"),
    "truncated": (("{data}", "--path", "{folder}/truncated.pt"), r"truncated\.pt: not a whole"),
    "empty": (("{data}", "--path", "{folder}/empty.pt"), r"empty\.pt: not a whole"),
    "text": (("{data}", "--path", "{folder}/text.pt"), r"text\.pt: not a whole"),
    "no model": (("{data}", "--path", "{folder}/weights.pt"), r"weights\.pt: not a whole"),
    "a folder": (("{data}", "--path", "{folder}/good"), r"{folder}/good: Is a directory"),
    "hostile": (("{data}", "--path", "{folder}/hostile.pt"), r"hostile\.pt: refused"),
    "hostile, bare": (("{data}", "--path", "{folder}/hostile-bare.pt"), r"bare\.pt: refused"),
    "types swapped": (
        ("{folder}/swapped", "--path", GOOD),
        r"checkpoint_last\.pt: .*trained on other dictionaries",
    ),
    "a type more": (
        ("{folder}/bigger", "--path", GOOD),
        r"checkpoint_last\.pt: .*trained on other dictionaries",
    ),
    "tied less, by an override": (
        (
            "{data}",
            "--path",
            *("{folder}/tying-none.pt", "--model-overrides", "{{'tying':'three-way'}}"),
        ),
        r"none\.pt: .*ties less.*encoder\.embedding\.weight and decoder\.embedding\.weight",
    ),
    "tied more, by an override": (
        ("{data}", "--path", GOOD, "--model-overrides", "{{'tying':'none'}}"),
        r"last\.pt: .*holds another model; give the --arch, --tying.*decoder\.embedding\.weight",
    ),
    "dropout of no module": (
        ("{data}", "--path", GOOD, "--retain-dropout", "--retain-dropout-modules", "Encoder"),
        r"modules Encoder: no such modules; .* has TiedGRUDecoder, TiedGRUEncoder",
    ),
    "no data": (("{folder}/nowhere", "--path", GOOD), r"{folder}/nowhere: No such file"),
}

# what is given: the data, options of fairseq-train, and what the one line must say
TRAIN = {
    "separate dictionaries": (
        ("{folder}/separate", "--tying", "three-way"),
        r"--tying three-way needs one joint dictionary.*--joined-dictionary",
    ),
    "unknown tying": (("{data}", "--tying", "four-way"), r"--tying: invalid choice: 'four-way'"),
    "penalty without P": (
        ("{data}", "--projection-penalty", "0.1"),
        r"--projection-penalty has no P to act on; add --projection",
    ),
    "bias without P": (
        ("{data}", "--projection-bias"),
        r"--projection-bias has no P to be added to; add --projection",
    ),
    "map without a size": (
        ("{data}", "--output-map", "joint"),
        r"--output-map joint needs --output-map-size",
    ),
    "private units that are not there": (
        ("{data}", "--tying", "three-way", "--private-units", "none.txt"),
        r"--private-units none\.txt: no such file, here or in the data-bin",
    ),
    "private units where nothing is shared": (
        ("{data}", "--tying", "decoder", "--private-units", "shared-units.txt"),
        r"--private-units: with --tying decoder the languages share no matrix",
    ),
    "negative penalty": (
        ("{data}", "--projection", "--projection-penalty", "-1"),
        r"--projection-penalty -1\.0: must be 0 or more",
    ),
    "smoothing above one": (("{data}", "--label-smoothing", "1.5"), r"--label-smoothing 1\.5: "),
    "smoothing below zero": (("{data}", "--label-smoothing", "-.1"), r"--label-smoothing -0\.1: "),
    "dropout of all": (("{data}", "--dropout", "1"), r"--dropout 1\.0: must be from 0 to below 1"),
    "no dimension": (("{data}", "--embed-dim", "0"), r"--embed-dim 0: must be 1 or more"),
    "no layer": (("{data}", "--encoder-layers", "0"), r"--encoder-layers 0: must be 1 or more"),
    "no such checkpoint": (
        ("{data}", "--finetune-from-model", "{folder}/none.pt"),
        r"{folder}/none\.pt does not exist",
    ),
    "no such checkpoint to resume from": (
        ("{data}", "--restore-file", "{folder}/none.pt"),
        r"{folder}/none\.pt: no such checkpoint to start from; --restore-file takes a path from",
    ),
    "no such checkpoint of the run itself": (
        ("{data}", "--restore-file", "{folder}/out/checkpoint3.pt"),
        r"{folder}/out/checkpoint3\.pt: no such checkpoint to start from",
    ),
    **{
        f"folder for a checkpoint, {option}": (
            ("{data}", option, "{folder}/good"),
            r"{folder}/good: a folder; --restore-file and --finetune-from-model take a checkpoint",
        )
        for option in ("--finetune-from-model", "--restore-file")
    },
    "truncated": (
        ("{data}", "--restore-file", "{folder}/truncated.pt"),
        r"truncated\.pt: not a whole checkpoint",
    ),
    "hostile": (
        ("{data}", "--finetune-from-model", "{folder}/hostile.pt"),
        r"hostile\.pt: refused",
    ),
    "checkpoint of lstm": (
        ("{data}", "--finetune-from-model", "{folder}/lstm.pt"),
        r"lstm\.pt: the checkpoint holds another model; give the --arch",
    ),
    "checkpoint of another tying": (
        ("{data}", "--tying", "decoder", "--restore-file", GOOD),
        r"holds another model; give the --arch, --tying.*decoder\.embedding\.weight",
    ),
    **{
        f"checkpoint that ties less, {tying}, {option}": (
            ("{data}", "--tying", "three-way", option, f"{{folder}}/tying-{tying}.pt"),
            rf"{tying}\.pt: .*ties less than the model: \S+ and \S+ are different matrices",
        )
        for tying, option in (
            *(("none", "--finetune-from-model"), ("none", "--restore-file")),
            *(("inputs", "--finetune-from-model"), ("decoder", "--restore-file")),
        )
    },
    "checkpoint of other sizes": (
        ("{data}", "--tying", "three-way", "--embed-dim", "64", "--finetune-from-model", GOOD),
        r"holds another model; give the --arch, --tying.*size mismatch",
    ),
    "checkpoint of another vocabulary": (
        ("{folder}/swapped", "--tying", "three-way", "--finetune-from-model", GOOD),
        r"checkpoint_last\.pt: .*trained on other dictionaries",
    ),
    "a model in shards": (
        ("{data}", "--ddp-backend", "fully_sharded"),
        r"--ddp-backend fully_sharded: a model of --arch tied_gru_tiny is not split",
    ),
    "another arch": (("{data}", "--arch", "lstm"), r"--criterion tied_cross_entropy needs a model"),
    "place below a file": (
        ("{data}", "--save-dir", "{folder}/text.pt/run"),
        r"{folder}/text\.pt/run: Not a directory",
    ),
}


@pytest.fixture(scope="module")
def commands(folder, data_bin, background):
    """Every case, under way."""
    names = {"folder": folder, "data": data_bin}

    def fill(arguments):
        return [argument.format(**names) for argument in arguments]

    def refused_train(data, *options):
        if options[:2] == ("--arch", "lstm"):
            options = (*options, "--encoder-embed-dim", 8)
        return train(data, folder / "out", "--max-update", 1, "--dropout", 0, *options)

    generate = {
        name: background.start(run, "fairseq-generate", *fill(arguments), *PLUGIN)
        for name, (arguments, _) in GENERATE.items()
    }
    training = {
        name: background.start(refused_train, *fill(arguments))
        for name, (arguments, _) in TRAIN.items()
    }
    return generate, training


def assert_refused(done, pattern, folder):
    assert done.status not in (0, None)
    assert "Traceback" not in done.output
    last = done.stderr.strip().splitlines()[-1]
    assert re.search(pattern.replace("{folder}", re.escape(str(folder))), last), last
    assert re.match(r"(fairseq-train: )?error: ", last)


@pytest.mark.parametrize("case", GENERATE)
def test_generate_refuses(case, commands, folder):
    assert_refused(commands[0][case].result(), GENERATE[case][1], folder)
    assert not (folder / "RAN").exists()


@pytest.mark.parametrize("case", TRAIN)
def test_train_refuses(case, commands, folder):
    assert_refused(commands[1][case].result(), TRAIN[case][1], folder)
    assert not (folder / "RAN").exists()
    assert not list((folder / "out").glob("checkpoint*"))


def test_a_checkpoint_that_a_command_refused_is_as_it_was(commands, folder, data_bin):
    for done in (*commands[0].values(), *commands[1].values()):
        done.result()
    translated = run(
        *("fairseq-generate", data_bin, *PLUGIN, "--gen-subset", "test", "--beam", 1),
        *("--path", folder / "good" / "checkpoint_last.pt", "--max-len-b", 5),
    )
    assert translated.check().stdout.count("\nH-") == 10
