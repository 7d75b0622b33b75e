"""fairseq's commands on a GPU: every precision, resumed, and the model used on a CPU."""

import re

import pytest
import torch

from tests.support.commandline import ROOT, run

OPTIONS = (
    *("--user-dir", "tiednmt", "--criterion", "tied_cross_entropy", "--dropout", "0.1"),
    *("--optimizer", "adam", "--lr", "0.003", "--max-tokens", "600", "--seed", "3"),
    *("--log-format", "json", "--log-interval", "5", "--num-workers", "0"),
    *("--no-epoch-checkpoints", "--update-epoch-batch-itr", "True"),
)
ARCHITECTURES = ["tied_gru_tiny", "tied_lstm_tiny", "tied_transformer_tiny"]
PRECISIONS = {
    "single": [],
    "fp16": ["--fp16"],
    "amp": ["--amp"],
    "graphs": ["--cuda-graphs"],
}


@pytest.fixture(scope="module")
def prepared(tmp_path_factory):
    folder = tmp_path_factory.mktemp("corpus") / "prepared"
    options = ("--pairs", 200, "--merges", 400, "--vocabulary-threshold", 0, "--workers", 1)
    run("-m", "preprocess.demo", "--dest", folder, *options).check()
    return folder


def train(prepared, folder, arch, updates, *options, device):
    cpu = [] if device.type == "cuda" else ["--cpu"]
    command = ["-m", "fairseq_cli.train", prepared / "data-bin", *OPTIONS, "--tying", "three-way"]
    limits = ["--max-update", updates, "--save-dir", folder, "--validate-interval-updates", 10]
    done = run(*command, "--arch", arch, *limits, *options, *cpu)
    done.check()
    return [float(loss) for loss in re.findall(r'"valid_loss": "([\d.]+)"', done.output)]


@pytest.mark.parametrize("arch", ARCHITECTURES)
@pytest.mark.parametrize("precision", PRECISIONS)
def test_training_learns(prepared, tmp_path, arch, precision, device):
    if device.type != "cuda" and precision != "single":
        pytest.skip("a GPU's precision")
    if precision == "graphs" and arch == "tied_lstm_tiny":
        pytest.skip("without graphs")
    losses = train(prepared, tmp_path, arch, 60, *PRECISIONS[precision], device=device)
    assert losses[-1] < losses[0] - 0.05
    state = torch.load(tmp_path / "checkpoint_last.pt", weights_only=False, map_location="cpu")
    assert all(tensor.isfinite().all() for tensor in state["model"].values())


@pytest.mark.parametrize("recipe", ["tied_gru_demo", "tied_transformer_multi30k"])
def test_a_recipe_learns_in_bfloat16(prepared, tmp_path, recipe, device):
    """Through hydra, where it is the type alone; --bf16 of fairseq-train means a TPU."""
    done = run(
        *("-m", "fairseq_cli.hydra_train", "--config-dir", ROOT / "configs" / "recipes"),
        *("--config-name", recipe, f"common.user_dir={ROOT / 'tiednmt'}", "common.bf16=true"),
        *(f"common.cpu={device.type != 'cuda'}", f"+task.data={prepared / 'data-bin'}"),
        *("+model.tying=three-way", "optimization.max_update=40", "dataset.max_tokens=600"),
        *("++dataset.validate_interval_updates=10", f"checkpoint.save_dir={tmp_path}"),
        f"hydra.run.dir={tmp_path / 'hydra'}",
    )
    losses = [float(loss) for loss in re.findall(r'"valid_loss": "([\d.]+)"', done.check().output)]
    assert losses[-1] < losses[0] - 0.01


@pytest.mark.parametrize("graphs", [[], ["--cuda-graphs"]], ids=["", "graphs"])
def test_a_training_that_is_cut_off_ends_with_the_same_bits(prepared, tmp_path, graphs, device):
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    options = ["--save-interval-updates", 20, *graphs]
    train(prepared, whole, "tied_gru_tiny", 40, *options, device=device)
    for updates in (20, 40):
        train(prepared, parts, "tied_gru_tiny", updates, *options, device=device)
    one, other = (
        torch.load(f / "checkpoint_last.pt", weights_only=False, map_location="cpu")["model"]
        for f in (whole, parts)
    )
    assert one.keys() == other.keys()
    assert all(torch.equal(one[name], other[name]) for name in one)


def test_a_model_of_the_gpu_translates_on_the_cpu(prepared, tmp_path, device):
    train(prepared, tmp_path, "tied_gru_tiny", 60, device=device)
    command = ["-m", "fairseq_cli.generate", prepared / "data-bin", "--user-dir", "tiednmt"]
    command += ["--path", tmp_path / "checkpoint_last.pt", "--gen-subset", "test", "--beam", 3]
    texts = []
    for cpu in ([], ["--cpu"]) if device.type == "cuda" else (["--cpu"], ["--cpu"]):
        done = run(*command, *cpu)
        done.check()
        texts.append(sorted(re.findall(r"^H-\d+\t[-\d.]+\t.*$", done.output, re.MULTILINE)))
    assert texts[0]
    same = sum(a.split("\t")[2] == b.split("\t")[2] for a, b in zip(*texts, strict=True))
    assert same >= 0.98 * len(texts[0])  # rounding decides between hypotheses of one score
