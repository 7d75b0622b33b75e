"""BPE-dropout: the same text in other units, repeatable, in training alone."""

import copy
import random
import sys
import threading
from dataclasses import replace

import pytest
import torch

import tiednmt.plugin  # noqa: F401
from tests.support.commandline import run, train
from tests.support.small_prepared import prepare
from tiednmt.errors import UserError
from tiednmt.frequency import occurrences
from tiednmt.tasks.drawn_units import DrawnUnits
from tiednmt.tasks.tied_translation import TiedTranslationConfig, TiedTranslationTask
from tiednmt.text.pipeline import TextPipeline

SEGMENTATIONS = pytest.mark.parametrize("segmentation", ["bpe", "sentencepiece"])


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    made = {}

    def of(segmentation):
        if segmentation not in made:
            path = tmp_path_factory.mktemp("corpus") / segmentation
            made[segmentation] = prepare(path, segmentation, threshold=1)
        return made[segmentation]

    return of


def task_of(prepared, **options):
    cfg = TiedTranslationConfig(data=str(prepared / "data-bin"))
    given = {"train_subset": "train", "dataset_impl": "raw", "required_seq_len_multiple": 1}
    for name, value in {**given, "seed": 1, "bpe_dropout": 0.3, **options}.items():
        setattr(cfg, name, value)
    return TiedTranslationTask.setup_task(cfg)


def training_pairs(prepared, **options):
    task = task_of(prepared, **options)
    task.load_dataset("train")
    return task.datasets["train"]


def texts(pairs, pipeline):
    """The text of both sides, and how many units each pair has."""
    found, counts = [], []
    for index in range(len(pairs)):
        units = []
        for name in ("source", "target"):
            numbers = pairs[index][name]
            assert numbers[-1] == pairs.sides[name].dictionary.eos()
            units.append(" ".join(pairs.sides[name].dictionary[n] for n in numbers[:-1].tolist()))
        found.append([pipeline.decode(u, c) for u, c in zip(units, ("en", "de"), strict=True)])
        counts.append(sum(len(u.split()) for u in units))
    return found, counts


@SEGMENTATIONS
def test_epochs_have_the_same_text_in_other_units(folder, segmentation):
    prepared = folder(segmentation)
    raw = [(prepared / "raw" / f"train.{code}").read_text().splitlines() for code in ("en", "de")]
    pairs, pipeline = training_pairs(prepared), TextPipeline.load(prepared)
    counts = {}
    for epoch in (1, 2, 1):
        pairs.set_epoch(epoch)
        text, units = texts(pairs, pipeline)
        assert text == [list(pair) for pair in zip(*raw, strict=True)]
        assert counts.setdefault(epoch, units) == units  # drawn again, it is the same
    assert counts[1] != counts[2]
    own = sum(len(pairs.dataset[i][name]) - 1 for i in range(len(pairs)) for name in pairs.sides)
    assert sum(counts[1]) > 1.1 * own


@SEGMENTATIONS
def test_a_draw_leaves_nothing_behind(folder, segmentation):
    """Neither what segments other text nor Python's random numbers."""
    pipeline = TextPipeline.load(folder(segmentation))
    lines = (folder(segmentation) / "raw" / "train.en").read_text().splitlines()
    own, state = [pipeline.encode(line, "en") for line in lines], random.getstate()
    draws = [[pipeline.drawn(units, "en", 0.5, seed) for units in own] for seed in (1, 2, 1)]
    assert draws[0] == draws[2] != draws[1]
    assert [pipeline.encode(line, "en") for line in lines] == own and random.getstate() == state
    assert all([pipeline.decode(units, "en") for units in draw] == lines for draw in draws)


def test_a_draw_is_its_own_while_another_thread_draws(folder):
    """fairseq loads in a thread of its own, beside the training."""
    pipeline, stop = TextPipeline.load(folder("bpe")), threading.Event()
    lines = (folder("bpe") / "raw" / "train.en").read_text().splitlines()[:50]

    def draw_on():
        while not stop.is_set():
            random.random()

    alone = [pipeline.drawn(pipeline.encode(line, "en"), "en", 0.5, 1) for line in lines]
    other, before = threading.Thread(target=draw_on), sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    try:
        other.start()
        beside = [pipeline.drawn(pipeline.encode(line, "en"), "en", 0.5, 1) for line in lines]
    finally:
        sys.setswitchinterval(before)
        stop.set()
        other.join()
    assert beside == alone


def test_no_draw_is_longer_than_the_model_takes(folder):
    """hydra has a limit of the model beside that of the task; fairseq heeds the smaller one."""
    task = task_of(folder("bpe"), bpe_dropout=0.9)
    task.longest = (12, 14)
    task.load_dataset("train")
    pairs = task.datasets["train"]
    for index in range(len(pairs)):
        for name, limit in (("source", 12), ("target", 14)):
            own = pairs.dataset[index][name]
            assert len(pairs[index][name]) <= max(limit, len(own))


def test_with_so_much_dropout_only_characters_are_left(folder):
    pipeline = TextPipeline.load(folder("bpe"))
    drawn = pipeline.drawn(pipeline.encode("abab", "en"), "en", 1 - 1e-12, 1)
    assert drawn.split() == ["a@@", "b@@", "a@@", "b"]


def test_the_tag_stays(folder):
    pipeline = TextPipeline.load(folder("bpe"))
    pipeline.settings = replace(pipeline.settings, tag="<2de>")
    own = pipeline.encode("abcab hgfed", "en")
    for seed in range(5):
        drawn = pipeline.drawn(own, "en", 0.5, seed)
        assert drawn.startswith("<2de> ") and pipeline.decode(drawn[6:], "en") == "abcab hgfed"
    assert pipeline.drawn("<2de>", "en", 0.5, 1) == "<2de>"


def test_a_sentence_keeps_its_units_where_some_drawn_ones_are_unknown(folder):
    pairs = training_pairs(folder("bpe"), bpe_dropout=1 - 1e-12)  # characters alone
    side = pairs.sides["source"]
    lacks = copy.deepcopy(side.dictionary)
    lacks.indices = {unit: n for unit, n in lacks.indices.items() if unit not in ("a@@", "a")}
    given = pairs.dataset, pairs.pipeline, {"source": replace(side, dictionary=lacks)}
    drawn = DrawnUnits(*given, pairs.dropout, seed=1)
    kept = {True: 0, False: 0}
    for index in range(len(pairs)):
        own = pairs.dataset[index]["source"]
        has_a = "a" in side.dictionary.string(own)
        assert torch.equal(drawn[index]["source"], own) or not has_a
        kept[has_a] += torch.equal(drawn[index]["source"], own)
    assert kept[True] > kept[False]


def test_a_sentence_keeps_its_units_where_drawn_ones_are_too_many(folder):
    pairs = training_pairs(folder("bpe"), bpe_dropout=0.9)
    longest = max(len(pairs.dataset[index]["source"]) for index in range(len(pairs)))
    side = replace(pairs.sides["source"], longest=longest - 1)
    few = DrawnUnits(pairs.dataset, pairs.pipeline, {"source": side}, pairs.dropout, seed=1)
    for index in range(len(pairs)):
        drawn = pairs[index]["source"]
        own = pairs.dataset[index]["source"]
        assert torch.equal(few[index]["source"], drawn if len(drawn) <= longest else own)
    assert max(len(pairs[index]["source"]) for index in range(len(pairs))) > longest


def test_a_sentence_keeps_its_units_where_one_is_unknown(folder):
    pairs = training_pairs(folder("bpe"), bpe_dropout=0.9)
    words = pairs.sides["source"].dictionary
    for unit in ("<@@", "u@@", "n@@", "k@@", ">"):  # which the unit's name could be split into
        words.add_symbol(unit)
    units = torch.tensor([words.index("a@@"), words.index("b"), words.unk(), words.eos()])
    given = [{"source": units}], pairs.pipeline, {"source": pairs.sides["source"]}
    assert torch.equal(DrawnUnits(*given, dropout=0.9, seed=1)[0]["source"], units)


def test_a_sentence_keeps_its_units_where_its_text_has_marks(folder):
    pairs = training_pairs(folder("bpe"))
    words = pairs.sides["source"].dictionary
    units = torch.tensor([words.add_symbol("@@@"), words.add_symbol("@"), words.eos()])
    given = [{"source": units}], pairs.pipeline, {"source": pairs.sides["source"]}
    assert torch.equal(DrawnUnits(*given, dropout=0.5, seed=1)[0]["source"], units)


def test_what_is_validated_keeps_its_units(folder):
    task = task_of(folder("bpe"))
    for subset in ("train", "valid"):
        task.load_dataset(subset)
    assert isinstance(task.datasets["train"], DrawnUnits)
    assert not isinstance(task.datasets["valid"], DrawnUnits)
    off = task_of(folder("bpe"), bpe_dropout=0.0)
    off.load_dataset("train")
    assert not isinstance(off.datasets["train"], DrawnUnits)


def test_what_is_scored_keeps_its_units_even_of_the_training_text(folder):
    """As fairseq-validate and fairseq-generate load it."""
    task = task_of(folder("bpe"))
    task.load_dataset("train", task_cfg=task.cfg)
    assert not isinstance(task.datasets["train"], DrawnUnits)


@pytest.mark.parametrize("rate", [-0.1, 1.0, 2.0])
def test_a_rate_that_is_none_is_refused(folder, rate):
    with pytest.raises(UserError, match=rf"--bpe-dropout {rate}: must be from 0 to below 1"):
        training_pairs(folder("bpe"), bpe_dropout=rate)


def test_a_folder_without_merges_is_refused(folder, tmp_path):
    prepared = prepare(tmp_path / "prepared")
    (prepared / "manifest.json").unlink()
    with pytest.raises(UserError, match=r"--bpe-dropout: .* is in no folder that preprocess"):
        training_pairs(prepared)


@pytest.mark.parametrize(
    "options, fault",
    [
        ({"load_alignments": True}, "--load-alignments has those of other units"),
        ({"num_batch_buckets": 4}, "--num-batch-buckets pads to the lengths of other units"),
    ],
    ids=str,
)
def test_what_belongs_to_the_prepared_units_is_refused(folder, options, fault):
    with pytest.raises(UserError, match=fault):
        training_pairs(folder("bpe"), **options)


def test_the_prepared_units_can_be_counted(folder):
    """As ``--measure-gradients`` does, to tell the sides of a joint dictionary."""
    pairs = training_pairs(folder("bpe"))
    counts = [occurrences(side, 200).sum() for side in (pairs.src, pairs.tgt)]
    own = [pairs.dataset[i][name] for name in pairs.sides for i in range(len(pairs))]
    assert sum(counts) == sum(map(len, own))


@pytest.mark.slow
def test_a_resumed_run_sees_the_same_units(tmp_path):
    """By fairseq's own command; without the option it sees others."""
    prepared = tmp_path / "prepared"
    options = ("--pairs", 100, "--merges", 200, "--vocabulary-threshold", 0, "--workers", 1)
    run("-m", "preprocess.demo", "--dest", prepared, *options).check()
    drawn = ("--task", "tied_translation", "--bpe-dropout", 0.2, "--disable-validation")

    def trained(name, *more):
        train(prepared / "data-bin", tmp_path / name, *drawn, *more).check()
        return torch.load(tmp_path / name / "checkpoint_last.pt", map_location="cpu")["model"]

    whole = trained("whole", "--max-update", 9)
    trained("resumed", "--max-update", 4)
    resumed = trained("resumed", "--max-update", 9)
    plain = trained("plain", "--max-update", 9, "--bpe-dropout", 0)
    assert all(torch.equal(value, resumed[name]) for name, value in whole.items())
    assert not all(torch.equal(value, plain[name]) for name, value in whole.items())
