"""Language modelling through fairseq's commands: streams, resuming, workers, scoring."""

from __future__ import annotations

import math
import random
import re

import pytest
import torch
from fairseq.data import Dictionary

import tiednmt.plugin  # noqa: F401
from preprocess import monolingual, text8
from scripts.lab.score.perplexity import Scorer
from tests.support.commandline import run, run_until_killed, run_workers

pytestmark = pytest.mark.slow

LAST = "checkpoint_last.pt"
SMALL = ("--embed-dim", 16, "--hidden-size", 12, "--layers", 2)
TRAIN = (
    *("--user-dir", "tiednmt", "--cpu", "--task", "tied_language_modeling"),
    *("--arch", "tied_lstm_lm", *SMALL, "--tying", "decoder"),
    *("--criterion", "tied_cross_entropy", "--sentence-avg"),
    *("--optimizer", "sgd", "--lr", "1.0", "--clip-norm", "5"),
    *("--batch-size", 4, "--tokens-per-sample", 5, "--seed", 3),
    *("--no-progress-bar", "--log-interval", 1, "--num-workers", 0),
)


def train(data, save_dir, *options):
    return run("fairseq-train", data, *TRAIN, "--save-dir", save_dir, *options)


def load(path):
    return torch.load(path, map_location="cpu")


def assert_same(one, other, **tolerance):
    one, other = load(one)["model"], load(other)["model"]
    assert one.keys() == other.keys()
    for name, value in one.items():
        torch.testing.assert_close(value, other[name], **(tolerance or {"atol": 0, "rtol": 0}))


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A made-up text, and its data-bin by fairseq's own command."""
    folder = tmp_path_factory.mktemp("text")
    words = random.Random(1)
    for subset, lines in (("train", 60), ("valid", 20), ("test", 25)):
        sentences = (
            " ".join(f"w{min(int(words.expovariate(0.2)), 30)}" for _ in range(words.randint(2, 9)))
            for _ in range(lines)
        )
        (folder / f"{subset}.txt").write_text("".join(f"{line}\n" for line in sentences))
    texts = (f"--{subset}pref={folder / subset}.txt" for subset in ("train", "valid", "test"))
    options = ("--only-source", "--destdir", folder / "data-bin", "--padding-factor", 1)
    run("fairseq-preprocess", *texts, *options, "--workers", 1).check()
    return folder


@pytest.fixture(scope="module")
def data(folder):
    return folder / "data-bin"


@pytest.fixture(scope="module")
def training(data, folder):
    """Two epochs and a half at one go."""
    return train(data, folder / "plain", "--max-update", 50).check()


@pytest.fixture(scope="module")
def plain(training, folder):
    """Their checkpoint."""
    assert "epoch 003:" in training.output
    return folder / "plain" / LAST


# nll_loss of the updates, in bits; another start, order of the text, loss or step would change them
LOSSES = (
    *(4.705, 4.279, 4.187, 4.099, 3.488, 4.787, 4.023, 3.993, 3.868, 3.970),
    *(4.343, 3.953, 3.449, 4.054, 3.669, 4.045, 4.015, 3.978, 4.135, 3.200),
)


def test_the_first_losses_are_those_that_were_kept(training):
    """A silent change of the start or of the loss shows here."""
    losses = re.findall(r"train_inner .* nll_loss=([\d.]+)", training.output)
    assert list(map(float, losses[: len(LOSSES)])) == pytest.approx(LOSSES, abs=0.005)


def test_killed_within_an_epoch_and_resumed(plain, data, tmp_path):
    often = ("--save-interval-updates", 1, "--keep-interval-updates", 1, "--disable-validation")
    options = (*TRAIN, "--save-dir", tmp_path, *often, "--max-update", 50)
    run_until_killed(range(3, 48), "fairseq-train", data, *options)
    run("fairseq-train", data, *options).check()
    assert_same(plain, tmp_path / LAST)


def test_two_workers_are_one_with_their_streams(data, tmp_path):
    """With the penalty, and resumed in the middle of the epoch."""
    options = ("--projection", "--projection-penalty", "2", "--disable-validation")
    command = (data, *TRAIN, "--save-dir", tmp_path / "two", *options, "--batch-size", 2)
    for updates in (10, 30):
        run_workers(2, "fairseq-train", *command, "--max-update", updates)
    train(data, tmp_path / "one", *options, "--max-update", 30).check()
    assert_same(tmp_path / "one" / LAST, tmp_path / "two" / LAST, atol=1e-5, rtol=0)


def test_a_last_window_of_one_worker_alone(data, tmp_path):
    """It shares its update with a window of both, which exchange gradients and states in turn."""
    options = ("--update-freq", 2, "--tokens-per-sample", 10, "--disable-validation")
    options = (*TRAIN, *options, "--max-epoch", 1, "--no-epoch-checkpoints")
    two = (data, *options, "--save-dir", tmp_path / "two", "--batch-size", 7)
    run_workers(2, "fairseq-train", *two, ddp_backend="pytorch_ddp")
    one = run("fairseq-train", data, *options, "--save-dir", tmp_path / "one", "--batch-size", 14)
    assert "2 / 2 " in one.check().output  # three windows of all streams, and that of two tokens
    assert_same(tmp_path / "one" / LAST, tmp_path / "two" / LAST, atol=1e-5, rtol=0)


AWD = (
    *("--arch", "tied_lstm_lm_awd", "--last-hidden-size", 16, "--optimizer", "tied_averaged_sgd"),
    *("--lr", 4, "--lr-scheduler", "tied_non_monotonic", "--non-monotone-interval", 1),
    *("--update-epoch-batch-itr", "True", "--no-epoch-checkpoints", "--max-epoch"),
)


@pytest.mark.nightly  # a minute; averaging, saving and resuming are also tested one by one
def test_an_averaged_lstm_is_validated_saved_and_resumed(data, tmp_path):
    """What is saved is what was validated, the average; training goes on from the last iterate."""
    whole = train(data, tmp_path / "whole", *AWD, 10).check().output
    state = load(tmp_path / "whole" / LAST)["last_optimizer_state"]["param_groups"][0]
    updates_per_epoch = int(re.search(r"train \| epoch 001 .*num_updates (\d+)", whole)[1])
    before = 10 - (state["averaged"] - 1) // updates_per_epoch  # epochs of plain SGD
    assert (state["averaged"] - 1) % updates_per_epoch == 0
    losses = re.findall(r"valid on 'valid' subset \| loss ([\d.]+)", whole)
    losses = [float(loss) for loss in losses]
    rises = [t for t in range(2, 10) if losses[t] > min(losses[: t - 1])]
    assert before == rises[0] + 1
    assert 2 < before < 8
    for epochs in (before + 1, 10):
        train(data, tmp_path / "parts", *AWD, epochs).check()
    assert_same(tmp_path / "whole" / LAST, tmp_path / "parts" / LAST)
    validated = run(
        *("fairseq-validate", data, "--user-dir", "tiednmt", "--cpu", "--batch-size", 4),
        *("--task", "tied_language_modeling", "--tokens-per-sample", 5, "--num-workers", 0),
        *("--path", tmp_path / "whole" / LAST, "--valid-subset", "valid"),
    )
    found = re.search(r"\| loss ([\d.]+)", validated.check().output)[1]
    assert float(found) == pytest.approx(losses[-1], abs=0.002)


def test_every_epoch_and_validation_starts_with_an_empty_state(data, tmp_path):
    """Where nothing is learnt all of them are the same."""
    large = ("--init-range", 2, "--hidden-size", 16)  # so that the state matters
    twice = ("--validate-interval-updates", 10, "--max-epoch", 2)
    done = train(data, tmp_path, "--lr", 0, *large, *twice).check()
    trained = re.findall(r"train \| epoch 00[12] \| loss ([\d.]+)", done.output)
    validated = re.findall(r"valid on 'valid' subset \| loss ([\d.]+)", done.output)
    assert len(trained) == 2 and len({*trained}) == 1
    assert len(validated) > 2 and len({*validated}) == 1


def by_hand(checkpoint, data, text):
    """Summed NLL and tokens of a text: a loop over its tokens, nothing of the task's."""
    words = Dictionary.load(str(data / "dict.txt"))
    state = {name: value.double() for name, value in load(checkpoint)["model"].items()}
    matrix, bias = state["decoder.embedding.weight"], state["decoder.output.bias"]
    tokens = [
        words.index(word)
        for line in text.read_text().splitlines()
        for word in [*line.split(), words.eos_word]
    ]
    hidden, cell = ([torch.zeros(12, dtype=torch.float64)] * 2 for _ in range(2))
    previous, nll = words.eos(), 0.0
    for token in tokens:
        x = matrix[previous]
        for i in range(2):
            w = {n: state[f"decoder.network.layers.{i}.{n}_l0"] for n in WEIGHTS}
            gates = w["weight_ih"] @ x + w["bias_ih"] + w["weight_hh"] @ hidden[i] + w["bias_hh"]
            enter, forget, candidate, leave = gates.split(12)
            cell[i] = forget.sigmoid() * cell[i] + enter.sigmoid() * candidate.tanh()
            hidden[i] = x = leave.sigmoid() * cell[i].tanh()
        scores = matrix @ (state["decoder.down.weight"] @ x) + bias
        nll -= torch.log_softmax(scores, 0)[token].item()
        previous = token
    return nll, len(tokens)


WEIGHTS = ("weight_ih", "weight_hh", "bias_ih", "bias_hh")


def test_all_commands_give_the_perplexity_of_a_plain_loop(plain, data, folder):
    nll, tokens = by_hand(plain, data, folder / "test.txt")
    expected = math.exp(nll / tokens)
    task = ("--user-dir", "tiednmt", "--cpu", "--task", "tied_language_modeling")
    common = (*task, "--path", plain, "--tokens-per-sample", 7, "--num-workers", 0)
    ours = run("-m", "scripts.perplexity", plain, "--data", folder, "--subset", "test").check()
    result, signature = ours.stdout.splitlines()
    assert result == f"{tokens:,} tokens, perplexity {expected:.2f}"
    assert signature.startswith("tie:decoder|vocab:")
    text = run(
        "-m", "scripts.perplexity", plain, "--data", folder, "--input", folder / "test.txt"
    ).check()
    assert text.stdout == ours.stdout
    scored = run("fairseq-eval-lm", data, *common, "--gen-subset", "test").check()
    assert f"Perplexity: {expected:.2f}" in scored.output
    options = ("--valid-subset", "test", "--batch-size", 1)
    validated = run("fairseq-validate", data, *common, *options).check()
    assert ppl_of(validated, "test") == pytest.approx(expected, rel=1e-3)
    # a window that is longer than the text is as long as the text
    validated = run("fairseq-validate", data, *common, "--tokens-per-sample", 9999, *options)
    assert ppl_of(validated.check(), "test") == pytest.approx(expected, rel=1e-3)


def ppl_of(done, subset):
    """The last of a validation."""
    return float(re.findall(rf"valid on '{subset}' subset.* ppl ([\d.]+)", done.output)[-1])


def test_validation_does_not_touch_the_state_of_training(plain, data, tmp_path):
    train(data, tmp_path, "--validate-interval-updates", 3, "--max-update", 50).check()
    assert_same(plain, tmp_path / LAST)


def test_one_update_is_the_paper_s(data, folder, tmp_path):
    """(Σ NLL + (λ/2)·‖P‖²)/B, clipped at 5, one step of SGD; in float64, with torch's LSTM."""
    learning = ("--tying", "none", "--projection", "--projection-penalty", "3.0")
    sizes = ("--hidden-size", 16, "--init-range", "0.9", "--disable-validation")
    train(data, tmp_path / "0", *learning, *sizes, "--max-update", 1, "--lr", 0).check()
    train(data, tmp_path / "1", *learning, *sizes, "--max-update", 1).check()
    before, after = (load(tmp_path / name / LAST)["model"] for name in "01")
    parameters = {
        name: value.double().requires_grad_()
        for name, value in before.items()
        if name != "vocabulary_version"
    }
    words = Dictionary.load(str(data / "dict.txt"))
    text = [
        words.index(word)
        for line in (folder / "train.txt").read_text().splitlines()
        for word in [*line.split(), words.eos_word]
    ]
    length, rest = divmod(len(text), 4)
    starts = [i * length + min(i, rest) for i in range(4)]
    inputs = torch.tensor(
        [[text[s + t - 1] if s + t else words.eos() for s in starts] for t in range(5)]
    )
    targets = torch.tensor([[text[s + t] for s in starts] for t in range(5)])
    x = parameters["decoder.embedding.weight"][inputs]
    for i in range(2):
        flat = [parameters[f"decoder.network.layers.{i}.{name}_l0"] for name in WEIGHTS]
        zeros = torch.zeros(1, 4, 16, dtype=torch.float64)
        x, *_ = torch.lstm(x, (zeros, zeros), flat, True, 1, 0.0, False, False, False)
    projection = parameters["decoder.output.projection.weight"]
    scores = x @ projection.T @ parameters["decoder.output.embedding.weight"].T
    scores = scores + parameters["decoder.output.bias"]
    nll = torch.nn.functional.cross_entropy(
        scores.flatten(0, 1), targets.flatten(), reduction="sum"
    )
    ((nll + 1.5 * projection.square().sum()) / 4).backward()
    gradients = [parameter.grad for parameter in parameters.values()]
    norm = torch.stack([gradient.norm() for gradient in gradients]).norm()
    assert norm > 5  # so that clipping is seen at work
    for name, parameter in parameters.items():
        expected = parameter.detach() - parameter.grad * 5 / norm
        torch.testing.assert_close(after[name].double(), expected, atol=1e-6, rtol=1e-5)


def test_a_page_is_learnt_by_heart(folder, tmp_path):
    page = tmp_path / "page.txt"
    page.write_text("".join((folder / "train.txt").open().readlines()[:12]))
    options = ("--only-source", "--destdir", tmp_path / "data-bin", "--workers", 1)
    run("fairseq-preprocess", f"--trainpref={page}", f"--validpref={page}", *options).check()
    done = train(
        *(tmp_path / "data-bin", tmp_path / "run", "--optimizer", "adam", "--lr", "0.01"),
        *("--embed-dim", 64, "--hidden-size", 64, "--batch-size", 1, "--tokens-per-sample", 10),
        *("--max-epoch", 40, "--validate-interval", 40, "--no-epoch-checkpoints"),
        *("--log-interval", 100),
    ).check()
    assert ppl_of(done, "valid") < 1.2


def test_sentences_that_stand_alone(data, folder, tmp_path):
    """Each from an empty state, in any order, whatever stands beside it."""
    alone = ("--sample-break-mode", "eos", "--max-update", 3, "--disable-validation")
    train(data, tmp_path / "run", *alone).check()
    common = ("--user-dir", "tiednmt", "--cpu", "--task", "tied_language_modeling")
    checkpoint = tmp_path / "run" / LAST
    scored = run(
        *("fairseq-eval-lm", data, *common, "--path", checkpoint, "--gen-subset", "test"),
        *("--sample-break-mode", "eos", "--batch-size", 6, "--num-workers", 0),
    ).check()
    nll, tokens = 0.0, 0
    for number, line in enumerate((folder / "test.txt").read_text().splitlines()):
        path = tmp_path / f"{number}.txt"
        path.write_text(line + "\n")
        parts = by_hand(checkpoint, data, path)
        nll, tokens = nll + parts[0], tokens + parts[1]
    assert f"Perplexity: {math.exp(nll / tokens):.2f}" in scored.output
    for what in (("--subset", "test"), ("--input", folder / "test.txt")):
        ours = run("-m", "scripts.perplexity", checkpoint, "--data", folder, *what).check()
        result = f"{tokens:,} tokens, perplexity {math.exp(nll / tokens):.2f}"
        assert ours.stdout.splitlines()[0] == result


def test_raw_text_is_scored_as_it_was_prepared(tmp_path):
    """Moses' tokens, unknown words and all; what preparing refuses is refused."""
    words = random.Random(3)
    nouns = ["dog's", "man", "boy", "U.S.", "hat (red)"]
    lines = [f"The {words.choice(nouns)} isn't a {words.choice(nouns)}, is it?" for _ in range(60)]
    files = {"train": lines, "valid": lines[:9], "test": ["The cat's isn't (red), really?", *lines]}
    for name, content in files.items():
        (tmp_path / name).write_text("\n".join(content) + "\n")
    given = [word for name in files for word in (f"--{name}", str(tmp_path / name))]
    run("-m", "preprocess.text", *given, "--dest", tmp_path / "data", "--tokenise", "en").check()
    train(tmp_path / "data" / "data-bin", tmp_path / "run", "--max-update", 5).check()
    command = ("-m", "scripts.perplexity", tmp_path / "run" / LAST, "--data", tmp_path / "data")
    subset = run(*command, "--subset", "test").check()
    raw = run(*command, "--input", tmp_path / "test").check()
    assert raw.stdout == subset.stdout
    tokens = len((tmp_path / "data/tokenised/test.txt").read_text().split()) + 61
    assert raw.stdout.startswith(f"{tokens} tokens, perplexity ")
    for done in (subset, raw):
        assert f"2 of the tokens ({2 / tokens:.2%}) are unknown words" in done.stderr
    (tmp_path / "bad").write_text("The dog.\nThe dog </s>\n")
    refused = run(*command, "--input", tmp_path / "bad")
    assert refused.status == 1
    assert f"{tmp_path}/bad, line 2: holds the word </s>" in refused.output


def test_text_without_lines_is_scored_without_lines(tmp_path):
    words = random.Random(2)
    raw = "".join(f"{'abcdefgh'[min(int(words.expovariate(0.5)), 7)]} " for _ in range(1500))
    (tmp_path / "text8").write_text(raw)
    corpus = text8.corpus_in(tmp_path, {"train": 2000, "valid": 1000})
    monolingual.prepare(corpus, tmp_path / "data", monolingual.Options())
    train(tmp_path / "data" / "data-bin", tmp_path / "run", "--max-update", 5).check()
    valid = tmp_path / "data" / "tokenised" / "valid.txt"
    subset, text = (
        run("-m", "scripts.perplexity", tmp_path / "run" / LAST, "--data", tmp_path / "data", *what)
        for what in (("--subset", "valid"), ("--input", valid))
    )
    assert subset.check().stdout == text.check().stdout
    assert subset.stdout.startswith("500 tokens, ")


def test_a_beginning_is_continued(plain, data):
    """By fairseq's beam search over the cached state."""
    task = ("--user-dir", "tiednmt", "--cpu", "--task", "tied_language_modeling")
    done = run(
        *("fairseq-interactive", data, *task, "--path", plain, "--beam", 2, "--max-len-b", 8),
        text="w1 w2\n",
    ).check()
    assert re.search(r"^H-0\t\S+\tw1 w2( \S+)+$", done.stdout, flags=re.MULTILINE)


def test_sentences_are_continued_and_streams_are_not(plain, data):
    """By ``fairseq-generate``, whose default is to read streams."""
    task = ("--user-dir", "tiednmt", "--cpu", "--task", "tied_language_modeling")
    options = ("--path", plain, "--gen-subset", "test", "--prefix-size", 2, "--max-len-b", 8)
    done = run("fairseq-generate", data, *task, *options, "--sample-break-mode", "eos").check()
    texts = dict(re.findall(r"^T-(\d+)\t(.*)$", done.stdout, flags=re.MULTILINE))
    continued = dict(re.findall(r"^H-(\d+)\t\S+\t(.*)$", done.stdout, flags=re.MULTILINE))
    assert len(continued) == 25
    for number, text in texts.items():
        assert continued[number].split()[:2] == text.split()[:2]
    refused = run("fairseq-generate", data, *task, *options)
    assert refused.status == 1
    assert "give --sample-break-mode eos" in refused.stderr.strip().splitlines()[-1]
    assert "Traceback" not in refused.output


def test_several_parts_of_a_text_are_one_after_the_other(data, folder, tmp_path):
    """fairseq's own way with large corpora: train, train1, … in one folder."""
    lines = (folder / "train.txt").read_text().splitlines(keepends=True)
    for name, part in (("train", lines[:25]), ("train1", lines[25:])):
        (tmp_path / name).write_text("".join(part))
        run(
            *("fairseq-preprocess", "--only-source", "--destdir", tmp_path / f"{name}-bin"),
            *(f"--trainpref={tmp_path / name}", "--srcdict", data / "dict.txt", "--workers", 1),
        ).check()
    for suffix in ("bin", "idx"):
        part = tmp_path / "train1-bin" / f"train.{suffix}"
        part.rename(tmp_path / "train-bin" / f"train1.{suffix}")
    for where, save_dir in ((data, "one"), (tmp_path / "train-bin", "parts")):
        train(where, tmp_path / save_dir, "--max-update", 25, "--disable-validation").check()
    assert_same(tmp_path / "one" / LAST, tmp_path / "parts" / LAST)


REFUSED = {
    "fewer tokens than streams": (("--batch-size", 9999), r"train: [\d,]+ tokens are fewer than"),
    "window longer than a stream": (
        ("--tokens-per-sample", 500),
        r"--tokens-per-sample 500: longer than a stream of .*train",
    ),
    "window longer than a stream of another subset": (
        ("--train-subset", "test", "--tokens-per-sample", 200),
        r"--tokens-per-sample 200: longer than a stream of .*test",
    ),
    "no number of streams": (
        ("--max-tokens", 3, "--batch-size", 0),
        r"--max-tokens 3: less than a window of 5 tokens; give the number of streams as --batch-s",
    ),
    "three-way": (("--tying", "three-way"), r"no source embedding; use --tying decoder"),
    "no such folder": (("{nowhere}",), r"nowhere/dict\.txt"),
    "some of the types": (
        ("--output-dictionary-size", 10),
        r"--output-dictionary-size: .* smaller --vocabulary",
    ),
    "past": (("--past-target",), r"--past-target has no meaning for continuous streams"),
    "other streams": (
        ("--restore-file", "{plain}", "--batch-size", 5),
        r"within an epoch over other streams .*4 streams, .*now .*5 streams.*--reset-dataloader",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_refused_with_one_line(case, data, plain, tmp_path):
    options, message = REFUSED[case]
    folder = data
    if options == ("{nowhere}",):
        folder, options = tmp_path / "nowhere", ()
    given = [str(option).replace("{plain}", str(plain)) for option in options]
    done = train(folder, tmp_path / "run", "--max-update", 1, *given)
    assert done.status == 1
    assert re.search(message, done.stderr.strip().splitlines()[-1])
    assert "Traceback" not in done.output


@pytest.mark.parametrize("arch", ["lstm_lm", "tied_gru_tiny"])
def test_architectures_without_a_state_to_carry(arch, data, tmp_path):
    done = run(
        *("fairseq-train", data, "--user-dir", "tiednmt", "--cpu", "--arch", arch),
        *("--task", "tied_language_modeling", "--batch-size", 4, "--tokens-per-sample", 5),
        *("--optimizer", "sgd", "--max-update", 1, "--save-dir", tmp_path / "run"),
    )
    assert done.status == 1
    assert f"--arch {arch}: carries no state" in done.stderr.strip().splitlines()[-1]


def test_an_empty_corpus(data, folder, tmp_path):
    (tmp_path / "empty.txt").write_text("")
    run(
        *("fairseq-preprocess", "--only-source", "--destdir", tmp_path / "data-bin"),
        *(f"--trainpref={tmp_path / 'empty.txt'}", f"--validpref={folder / 'valid.txt'}"),
        *("--srcdict", data / "dict.txt", "--workers", 1),
    ).check()
    done = train(tmp_path / "data-bin", tmp_path / "run")
    assert done.status == 1
    assert re.search(r"train\.bin holds no tokens", done.stderr.strip().splitlines()[-1])


def test_a_short_text_leaves_the_windows_of_further_ones_alone(data, folder, tmp_path):
    """Of a Transformer without memory, whose figures depend on them."""
    model = ("--arch", "tied_transformer_lm", "--embed-dim", 8, "--decoder-ffn-embed-dim", 8)
    model += ("--decoder-layers", 1, "--decoder-attention-heads", 2, "--attention-span", 0)
    options = (*TRAIN[:5], *model, "--tying", "decoder", *TRAIN[TRAIN.index("--criterion") :])
    run(
        *("fairseq-train", data, *options, "--save-dir", tmp_path, "--max-update", 1),
        *("--disable-validation", "--lr", 0.1),
    ).check()
    (tmp_path / "short.txt").write_text("w1\n")
    scorer = Scorer(tmp_path / LAST, folder, cpu=True)
    before = scorer.subset("test")
    assert scorer.text(tmp_path / "short.txt")["tokens"] == 2
    assert scorer.subset("test") == before


def test_a_transformer_that_remembers(data, folder, tmp_path):
    """Resumed within an epoch, with the memory it had; scored in windows of another length."""
    model = ("--arch", "tied_transformer_lm", "--embed-dim", 8, "--decoder-ffn-embed-dim", 8)
    model += ("--decoder-layers", 2, "--decoder-attention-heads", 2, "--attention-span", 7)
    options = (*TRAIN[:5], *model, "--tying", "decoder", *TRAIN[TRAIN.index("--criterion") :])
    for name, updates in (("plain", 9), ("resumed", 5), ("resumed", 9)):
        run(
            *("fairseq-train", data, *options, "--save-dir", tmp_path / name),
            *("--max-update", updates, "--disable-validation", "--lr", 0.1),
        ).check()
    assert_same(tmp_path / "plain" / LAST, tmp_path / "resumed" / LAST)
    state = load(tmp_path / "plain" / LAST)["extra_state"]["train_iterator"]
    assert [part.shape for part in state["carried"]] == [(2, 4, 2, 7, 4)] * 2
    checkpoint = tmp_path / "plain" / LAST
    ours = run("-m", "scripts.perplexity", checkpoint, "--data", folder, "--subset", "test").check()
    theirs = run(
        *("fairseq-eval-lm", data, "--path", checkpoint, "--user-dir", "tiednmt", "--cpu"),
        *("--task", "tied_language_modeling", "--gen-subset", "test", "--tokens-per-sample", 3),
    ).check()
    (found,) = re.findall(r"perplexity ([\d.]+)", ours.stdout)
    assert f"Perplexity: {found}" in theirs.output
