"""Training: interrupted, in parallel, to the end of what can be learnt, with fairseq's features."""

from __future__ import annotations

import json
import re
from types import SimpleNamespace

import pytest
import torch
from fairseq import checkpoint_utils

import tiednmt.plugin  # noqa: F401
from tests.support.commandline import (
    PLUGIN,
    ROOT,
    TRAIN,
    run,
    run_until_killed,
    run_workers,
    train,
)

pytestmark = pytest.mark.slow

THREE_WAY = ("--tying", "three-way")
LAST, BEST = "checkpoint_last.pt", "checkpoint_best.pt"


def load(path):
    return torch.load(path, map_location="cpu")


def weights(path):
    return load(path)["model"]


def assert_same(one, other, **tolerance):
    """The same weights, to the bit where no tolerance is given."""
    assert one.keys() == other.keys()
    for name, value in one.items():
        torch.testing.assert_close(value, other[name], **(tolerance or {"atol": 0, "rtol": 0}))


def bleu(done):
    """What fairseq-generate says at its end."""
    return float(re.search(r"BLEU4 = ([\d.]+)", done.check().output)[1])


@pytest.fixture(scope="module")
def plain(data_bin, work):
    """Fifteen updates at one go, in an epoch and a half."""
    train(data_bin, work / "plain", *THREE_WAY, "--max-update", 15).check()
    return work / "plain" / LAST


def test_killed_at_a_random_update_and_resumed(plain, data_bin, tmp_path):
    often = (*THREE_WAY, "--save-interval-updates", 1, "--keep-interval-updates", 1)
    options = (*TRAIN, "--save-dir", tmp_path, *often, "--max-update", 15)
    run_until_killed(range(2, 14), "fairseq-train", data_bin, *options)
    assert load(tmp_path / LAST)["optimizer_history"][-1]["num_updates"] < 15
    train(data_bin, tmp_path, *often, "--max-update", 15).check()
    assert_same(weights(plain), weights(tmp_path / LAST))


@pytest.mark.parametrize(("arch", "workers"), [("tied_gru_tiny", 4), ("tied_transformer_tiny", 2)])
def test_several_workers_are_one_with_as_many_batches(arch, workers, data_bin, tmp_path):
    penalised = (*THREE_WAY, "--projection", "--projection-penalty", "20", "--dropout", 0)
    options = ("--arch", arch, *penalised, "--batch-size", 16 // workers, "--max-update", 4)
    command = (data_bin, *TRAIN, "--save-dir", tmp_path / "several", *options)
    logs = [done.output for done in run_workers(workers, "fairseq-train", *command)]
    one = train(data_bin, tmp_path / "one", *options, "--update-freq", workers).check()
    # Adam makes much of what rounding does to a gradient of zero, as that of a key's bias
    assert_same(
        weights(tmp_path / "one" / LAST), weights(tmp_path / "several" / LAST), atol=2e-5, rtol=0
    )
    # once an update, whoever shares it
    first = r"train_inner.* (penalty=[\d.]+)"
    assert re.search(first, logs[0])[1] == re.search(first, one.output)[1]


@pytest.mark.parametrize("ddp_backend", ["legacy_ddp", "pytorch_ddp"])
def test_tied_gradients_are_summed_once_and_as_of_one_batch_of_both(
    ddp_backend, data_bin, tmp_path
):
    # in the order of their lengths, so that two batches of 8 are one of 16
    options = (*THREE_WAY, "--dropout", 0, "--max-update", 4, "--curriculum", 9)
    options = (*options, "--max-tokens", 9999, "--batch-size")
    command = (data_bin, *TRAIN, "--save-dir", tmp_path / "two", *options, 8)
    counting = ("-m", "tests.integration.counting_train")
    log = run_workers(2, *counting, *command, ddp_backend=ddp_backend)[0].output
    train(data_bin, tmp_path / "one", *options, 16).check()
    assert_same(
        weights(tmp_path / "one" / LAST), weights(tmp_path / "two" / LAST), atol=1e-5, rtol=0
    )
    parameters = int(re.search(r"num. shared model params: ([\d,]+)", log)[1].replace(",", ""))
    assert sum(map(int, re.findall(r"^summed (\d+)$", log, re.MULTILINE))) == 4 * parameters


def test_an_epoch_for_each_shard_and_a_score_at_the_end(tmp_path):
    prepared = tmp_path / "prepared"
    options = ("--pairs", 200, "--merges", 400, "--vocabulary-threshold", 0, "--workers", 1)
    run("-m", "preprocess.demo", "--dest", prepared, *options, "--parts", 2).check()
    shards = [prepared / "data-bin" / f"shard{number}" for number in (0, 1)]
    done = train(f"{shards[0]}:{shards[1]}", tmp_path / "run", *THREE_WAY, "--max-epoch", 3)
    read = re.findall(
        r"loaded (\d+) examples from: \S+(shard\d/\w+)\.en-de\.en", done.check().output
    )
    assert [where for _, where in read[:4]] == [
        "shard0/valid",
        *("shard0/train", "shard1/train", "shard0/train"),
    ]
    assert {count for count, where in read if where.endswith("train")} == {"100"}
    scored = ("-m", "scripts.evaluate", tmp_path / "run" / LAST, "--data", prepared, "--cpu")
    assert "test: 10 sentences" in run(*scored, "--subset", "test").check().stdout


@pytest.fixture(scope="module")
def learnt_by_heart(work):
    """A hundred pairs, a model that has learnt them, and the log of its training."""
    few = work / "few"
    options = ("--pairs", 100, "--merges", 400, "--vocabulary-threshold", 0, "--workers", 1)
    run("-m", "preprocess.demo", "--dest", few, *options).check()
    learning = ("--lr", "0.01", "--lr-scheduler", "cosine", "--warmup-updates", 20)
    done = train(
        *(few / "data-bin", work / "by-heart", *THREE_WAY, *learning, "--max-update", 200),
        *("--dropout", 0, "--label-smoothing", 0, "--max-tokens", 500, "--input-scale", 1),
        *("--disable-validation", "--no-epoch-checkpoints", "--log-format", "json"),
    ).check()
    return few / "data-bin", work / "by-heart" / LAST, done.output


# nll_loss of the updates, in bits; another start, order of batches, loss or step would change them
LOSSES = (
    *(8.754, 8.767, 8.761, 8.726, 8.677, 8.620, 8.562, 8.408, 8.079, 7.981),
    *(7.599, 7.716, 7.481, 7.559, 7.152, 7.183, 6.677, 6.861, 6.565, 6.742),
)


def test_the_first_losses_are_those_that_were_kept(learnt_by_heart):
    """A silent change of the start or of the loss shows here."""
    lines = re.findall(r"train_inner \| (\{.*\})$", learnt_by_heart[2], re.MULTILINE)
    losses = [float(json.loads(line)["nll_loss"]) for line in lines[: len(LOSSES)]]
    assert losses == pytest.approx(LOSSES, abs=0.005)


def test_what_was_learnt_by_heart_is_said_with_int8_weights_too(learnt_by_heart):
    data, path, _ = learnt_by_heart
    # greedy: a beam of five stops once five hypotheses are finished, and what a model this sure of
    # itself puts on the other four places ends before the right one does
    options = ("--path", path, "--gen-subset", "train", "--beam", 1, "--remove-bpe")
    exact, rounded = (
        bleu(run("fairseq-generate", data, *PLUGIN, *options, *task))
        for task in ((), ("--task", "tied_translation", "--int8"))
    )
    assert exact > 95
    assert rounded == pytest.approx(exact, abs=0.3)


def test_validation_by_bleu_with_patience_moving_average_and_tensorboard(data_bin, tmp_path):
    done = train(
        *(data_bin, tmp_path / "run", *THREE_WAY, "--update-freq", 2, "--max-epoch", 6),
        *("--eval-bleu", "--eval-bleu-args", '{"beam": 2, "max_len_b": 20}'),
        *("--eval-bleu-remove-bpe", "--best-checkpoint-metric", "bleu"),
        *("--maximize-best-checkpoint-metric", "--patience", 2, "--keep-best-checkpoints", 2),
        *("--store-ema", "--ema-decay", "0.9", "--tensorboard-logdir", tmp_path / "board"),
        *("--lr", "1e-9"),  # nothing is learnt, so patience ends it
    ).check()
    assert "early stop since valid performance hasn't improved for last 2 runs" in done.output
    scores = re.findall(r"valid on 'valid' subset .*\| bleu ([\d.]+)", done.output)
    assert len(scores) == 3  # the first, and two that are no better
    assert load(tmp_path / "run" / BEST)["extra_state"]["best"] == float(scores[0])
    assert list((tmp_path / "run").glob("checkpoint.best_bleu_*.pt"))
    assert {path.name for path in (tmp_path / "board").iterdir()} >= {
        "train",
        "train_inner",
        "valid",
    }
    # the average moves with the weights, matrix for matrix
    last = load(tmp_path / "run" / LAST)
    assert last["extra_state"]["ema"].keys() == last["model"].keys()


def test_fine_tuning_from_another_folder(plain, data_bin, tmp_path):
    plugin = ROOT / "tiednmt"
    options = ("--user-dir", plugin, *THREE_WAY, "--finetune-from-model", plain)
    done = train(
        data_bin, tmp_path / "run", *options, "--lr", "1e-9", "--max-update", 1, cwd=tmp_path
    ).check()
    assert "optimizer, lr scheduler, meters, dataloader will be reset" in done.output
    assert_same(weights(plain), weights(tmp_path / "run" / LAST), atol=1e-7, rtol=0)


@pytest.fixture(scope="module")
def right_padded(data_bin, work):
    """A second model, by the recipe and hydra, with the source padded on the right.

    (``fairseq-train`` has no option for that side: its --left-pad-source can only be on.)
    """
    run(
        *("fairseq-hydra-train", "--config-dir", ROOT / "configs" / "recipes"),
        *("--config-name", "tied_gru_multi30k", f"common.user_dir={ROOT / 'tiednmt'}"),
        *(f"+task.data={data_bin}", "+task.left_pad_source=false", "+model.tying=three-way"),
        *("common.cpu=true", f"checkpoint.save_dir={work / 'right'}", "optimization.max_update=3"),
        cwd=work,
    ).check()
    return work / "right" / LAST


def test_the_recipe_through_hydra(right_padded):
    saved = load(right_padded)
    assert saved["cfg"]["model"]["tying"] == "three-way"
    assert saved["cfg"]["criterion"]["label_smoothing"] == 0.1
    assert saved["cfg"]["task"]["left_pad_source"] is False
    assert sum("embedding.weight" in name for name in saved["model"]) == 1
    assert saved["optimizer_history"][-1]["num_updates"] == 3


def test_half_precision_on_a_cpu(data_bin, work):
    """fairseq-train's own --bf16 means a TPU; through hydra it is the type alone."""
    done = run(
        *("fairseq-hydra-train", "--config-dir", ROOT / "configs" / "recipes"),
        *("--config-name", "tied_gru_multi30k", f"common.user_dir={ROOT / 'tiednmt'}"),
        *(f"+task.data={data_bin}", "+model.tying=three-way", "common.cpu=true"),
        *("common.bf16=true", f"checkpoint.save_dir={work / 'bf16'}", "common.log_interval=1"),
        *("+model.embed_dim=32", "+model.encoder_hidden_size=16", "+model.decoder_hidden_size=32"),
        *("+model.attention_size=32", "dataset.max_tokens=800", "optimization.lr=[0.02]"),
        *("optimization.max_update=12", "lr_scheduler.warmup_updates=1"),
        cwd=work,
    ).check()
    losses = [float(loss) for loss in re.findall(r'"nll_loss": "([\d.]+)"', done.output)]
    assert losses[-1] < losses[0] - 0.5
    assert len(generate(data_bin, work / "bf16" / LAST)["H"]) == 10


def generate(data_bin, path, *options):
    """What fairseq-generate prints of the test set, by the letter of a line and by sentence."""
    done = run(
        *("fairseq-generate", data_bin, *PLUGIN, "--path", path, "--gen-subset", "test"),
        *("--batch-size", 5, "--beam", 2, "--max-len-b", 15, *options),
    )
    lines = re.findall(r"^([SHAP])-(\d+)\t(.*)$", done.check().stdout, re.MULTILINE)
    return {
        letter: {int(number): text for kind, number, text in lines if kind == letter}
        for letter in "SHAP"
    }


def test_our_task_generates_what_fairseqs_does(plain, data_bin):
    expected = generate(data_bin, plain)
    ours = generate(data_bin, plain, "--task", "tied_translation")
    assert ours["H"].keys() == expected["H"].keys()
    for number, line in ours["H"].items():
        score, text = line.split("\t")
        expected_score, expected_text = expected["H"][number].split("\t")
        assert text == expected_text
        assert float(score) == pytest.approx(float(expected_score), abs=1e-4)


@pytest.mark.parametrize("kind", ["hard", "soft"])
def test_alignments_lie_in_the_source(kind, plain, data_bin):
    found = generate(data_bin, plain, "--print-alignment", kind)
    assert sorted(found["A"]) == list(range(10))
    for number, text in found["A"].items():
        source = len(found["S"][number].split()) + 1  # and the end of the sentence
        target = len(found["H"][number].split("\t")[1].split()) + 1
        if kind == "hard":
            pairs = [tuple(map(int, pair.split("-"))) for pair in text.split()]
            assert all(0 <= s < source and 0 <= t < target for s, t in pairs)
        else:
            rows = [list(map(float, row.split(","))) for row in text.split()]
            assert len(rows) == target
            assert all(len(row) == source for row in rows)
            assert all(sum(row) == pytest.approx(1, abs=1e-3) for row in rows)


def test_the_side_of_the_padding_changes_neither_translation_nor_attention(plain, data_bin):
    def translate(left):
        (model,), _, task = checkpoint_utils.load_model_ensemble_and_task(
            [str(plain)], arg_overrides={"data": str(data_bin), "left_pad_source": left}
        )
        model.eval()
        task.load_dataset("test")
        data = task.dataset("test")
        batch = data.collater([data[i] for i in range(10)])
        padded = batch["net_input"]["src_tokens"].eq(task.source_dictionary.pad())
        assert padded[:, 0].any() == left
        settings = SimpleNamespace(beam=2, max_len_b=12)
        hypotheses = task.build_generator([model], settings).generate([model], batch)
        return {
            int(number): (best[0]["tokens"], best[0]["attention"], len(data[int(number)]["source"]))
            for number, best in zip(batch["id"], hypotheses, strict=True)
        }

    left, right = translate(True), translate(False)
    for number, (tokens, attention, length) in left.items():
        assert torch.equal(tokens, right[number][0])
        # over the columns of a row: words at the end of one, at the start of the other
        other = right[number][1]
        torch.testing.assert_close(attention[-length:], other[:length])
        torch.testing.assert_close(other[:length].sum(0), torch.ones(len(tokens)))


def test_an_ensemble_averages_its_members(plain, right_padded, data_bin):
    def scores(path):
        """Of the references: the log-probability (bits) of each token."""
        lines = generate(data_bin, path, "--score-reference")["P"]
        return {n: [float(x) for x in text.split()] for n, text in lines.items()}

    one, two, both = (scores(p) for p in (plain, right_padded, f"{plain}:{right_padded}"))
    assert sorted(both) == list(range(10))
    for n, positions in both.items():
        for a, b, mean in zip(one[n], two[n], positions, strict=True):
            assert 2**mean == pytest.approx((2**a + 2**b) / 2, abs=2e-4)
