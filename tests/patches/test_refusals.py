"""What cannot work is refused at once, in one line that names the option."""

from __future__ import annotations

import sys
from contextlib import nullcontext
from types import SimpleNamespace

import pytest
import torch
from fairseq.data import Dictionary
from fairseq.dataclass.configs import FairseqConfig
from fairseq.distributed import utils as distributed_utils
from fairseq.models import (
    FairseqDecoder,
    FairseqEncoder,
    FairseqEncoderDecoderModel,
    FairseqLanguageModel,
)
from fairseq.optim.adafactor import Adafactor
from fairseq.optim.adam import FairseqAdam
from fairseq.optim.lr_scheduler.manual_lr_scheduler import ManualSchedule
from fairseq.optim.lr_scheduler.pass_through import PassThroughScheduleSchedule
from fairseq.sequence_generator import SequenceGenerator
from fairseq.tasks.language_modeling import LanguageModelingTask
from fairseq.tasks.translation_from_pretrained_bart import TranslationFromPretrainedBARTTask
from fairseq_cli import eval_lm, generate, interactive, preprocess
from fairseq_cli import train as fairseq_train
from fairseq_cli import validate as fairseq_validate
from omegaconf import OmegaConf

from preprocess import text
from tests.support.small_models import JOINT
from tests.support.small_training import SIZES, WORDS, train, write_corpus
from tiednmt.criterions.tied_cross_entropy import TiedCrossEntropy, TiedCrossEntropyConfig
from tiednmt.errors import UserError, explain
from tiednmt.tasks.tied_translation import TiedTranslationConfig


@pytest.mark.parametrize(
    ("parts", "option"),
    [
        ({"common": {"fp16": True}}, "--fp16"),
        ({"common": {"bf16": True, "tpu": True}}, "--bf16"),
    ],
)
def test_what_needs_a_gpu_is_refused_without_one(parts, option, data, tmp_path):
    with pytest.raises(UserError, match=option):
        train(data, tmp_path, optimization={"max_update": 1}, **parts)


def test_averaged_sgd_that_would_never_average_is_refused(data, tmp_path):
    with pytest.raises(UserError, match="--lr-scheduler fixed never tells it to average"):
        train(data, tmp_path, optimizer={"_name": "tied_averaged_sgd"})


@pytest.mark.parametrize("disabled", [True, False])
def test_averaging_that_waits_for_a_validation_needs_one(disabled, data, tmp_path):
    parts = {
        "optimizer": {"_name": "tied_averaged_sgd"},
        "lr_scheduler": {"_name": "tied_non_monotonic", "lr": [0.1]},
        "optimization": {"lr": [0.1], "max_update": 1},
        "dataset": {"disable_validation": disabled},
    }
    if not disabled:
        train(data, tmp_path, **parts)
        return
    with pytest.raises(UserError, match="--disable-validation: --lr-scheduler tied_non_monotonic"):
        train(data, tmp_path, **parts)


def test_a_plateau_that_is_never_looked_for_is_refused(data, tmp_path):
    with pytest.raises(UserError, match="--disable-validation: --lr-scheduler reduce_lr_on_plat"):
        train(
            data,
            tmp_path,
            lr_scheduler={"_name": "reduce_lr_on_plateau", "lr": [0.01]},
            dataset={"disable_validation": True},
        )


def test_torchrun_without_a_gpu_is_refused(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    settings = OmegaConf.create(
        {"distributed_init_method": "tcp://localhost:1", "distributed_world_size": 1}
    )
    names = ("WORLD_SIZE", "RANK", "MASTER_ADDR", "MASTER_PORT")
    for name in names:
        monkeypatch.delenv(name, raising=False)
    for name in names:
        distributed_utils.infer_init_method(settings)  # a container may set some of them
        monkeypatch.setenv(name, "2")
    with pytest.raises(UserError, match="--distributed-world-size"):
        distributed_utils.infer_init_method(settings)
    monkeypatch.setenv("WORLD_SIZE", "1")
    distributed_utils.infer_init_method(settings)


TRAINING = (
    *("--cpu", "--dataset-impl", "raw", "--criterion", "tied_cross_entropy", "--max-update", "1"),
    *("--batch-size", "4", "--no-save", "--num-workers", "0", "--optimizer", "adam", "--lr", "0.1"),
)


@pytest.mark.parametrize(
    ("option", "value"),
    [
        *(("--lr", value) for value in ("*", "-", "a:b", "1e", "(" * 500)),
        *(("--update-freq", value) for value in ("{", "1e999")),
        ("--max-tokens-valid", "[]"),
        ("--max-tokens-valid", "a"),
        ("--decoder-hidden-size", "9" * 40),
        ("--embed-dim", "9" * 17),
        ("--clip-norm", "nan"),
        ("--save-interval", "9" * 30),
        *(("--optimizer-overrides", value) for value in ("\u202e", "[]", "{", "1")),
        ("--adam-betas", "*"),
        ("--best-checkpoint-metric", "3-2"),
        ("--restore-file", "it's\\"),
    ],
)
def test_values_that_are_none_are_one_line(option, value, data, monkeypatch, capsys):
    words = ("fairseq-train", data, *TRAINING, *SIZES, f"{option}={value}")
    monkeypatch.setattr("sys.argv", [*map(str, words)])
    with pytest.raises(BaseException) as raised:  # noqa: PT011  argparse ends the process
        fairseq_train.cli_main()
    if isinstance(raised.value, SystemExit):
        told = capsys.readouterr().err.splitlines()[-1]
    else:
        told = explain(raised.value) or ""
    assert option in told or "memory" in told


ALIGNMENTS = ("--criterion", "label_smoothed_cross_entropy_with_alignment", "--load-alignments")


@pytest.mark.parametrize(
    ("given", "told"),
    [
        (("--update-freq", "0"), "--update-freq: batches per update"),
        (("--save-interval", "0"), "--save-interval 0: must be 1 or more"),
        (("--validate-interval", "0"), "--validate-interval 0: must be 1 or more"),
        (("--log-interval", "0"), "--log-interval 0: must be 1 or more"),
        (("--best-checkpoint-metric", "bleu"), "--maximize-best-checkpoint-metric"),
        (("--eval-bleu", "--eval-bleu-args", "{beam:2}"), "--eval-bleu-args {beam:2}: must be"),
        (("--eval-bleu", "--eval-bleu-args", '{"beem": 2}'), "--eval-bleu-args: .* no --beem"),
        (("--eval-bleu", "--eval-bleu-args", '{"beam": 0}'), "--beam 0: must be 1 or more"),
        (("--eval-bleu-detok-args", "3"), "--eval-bleu-detok-args 3: must be JSON"),
        (("--eval-bleu", "--eval-bleu-detok", "x"), "--eval-bleu-detok x: no such .* moses"),
        (("--num-shards", "2"), "--num-shards: only fairseq-generate and fairseq-eval-lm"),
        (ALIGNMENTS, "--alignment-layer and --alignment-heads name; give both"),
        (
            ("--task", "multilingual_translation", "--lang-pairs", "en-de"),
            "--task multilingual_translation: joins fairseq's own architectures",
        ),
    ],
)
def test_options_that_fairseq_fails_with_later_are_refused(given, told, data, monkeypatch):
    words = ("fairseq-train", data, *TRAINING, *SIZES, *given)
    monkeypatch.setattr("sys.argv", [*map(str, words)])
    with pytest.raises(UserError, match=told):
        fairseq_train.cli_main()


@pytest.mark.parametrize(
    ("given", "told"),
    [
        (("--activation-penalty", "2"), "--activation-penalty 2: --criterion cross_entropy does"),
        (("--arch", "tied_lstm_lm_awd"), "--activation-penalty 2: --criterion cross_entropy does"),
        (("--temporal-activation-penalty", "1"), "--temporal-activation-penalty 1: --criterion"),
        (("--max-target-positions", "3"), "--max-target-positions: .* text of any length"),
    ],
)
def test_options_of_language_models_that_nothing_heeds_are_refused(
    given, told, tmp_path, monkeypatch
):
    (tmp_path / "text").write_text("a b c\n" * 20)
    texts = [f"--{name}={tmp_path / 'text'}" for name in ("train", "valid")]
    text.main([*texts, f"--dest={tmp_path / 'prepared'}"])
    model = ("--task", "tied_language_modeling", "--arch", "tied_lstm_lm", "--cpu", "--user-dir")
    words = (
        "fairseq-train",
        tmp_path / "prepared" / "data-bin",
        *model,
        "tiednmt",
        "--batch-size",
        4,
        *given,
    )
    monkeypatch.setattr("sys.argv", [*map(str, words)])
    with pytest.raises(UserError, match=told):
        fairseq_train.cli_main()


def test_validation_needs_its_task(data, good, monkeypatch):
    """Which fairseq-validate does not take from the checkpoint."""
    monkeypatch.setattr("sys.argv", ["fairseq-validate", str(data), "--path", str(good)])
    with pytest.raises(KeyError) as raised:
        fairseq_validate.cli_main()
    assert (explain(raised.value) or "").startswith("--task: needed by this command")


def test_a_tokeniser_without_languages_asks_for_them(data, good, monkeypatch):
    words = ("--path", good, "--gen-subset", "valid", "--dataset-impl", "raw", "--cpu")
    given = ("--tokenizer", "moses")
    monkeypatch.setattr("sys.argv", [*map(str, ("fairseq-generate", data, *words, *given))])
    with pytest.raises(Exception, match="source_lang") as raised:  # hydra's own
        generate.cli_main()
    assert explain(raised.value) == "--source-lang: needed with these options; give it a value"


REFUSED = (
    *("--diverse-beam-groups=2", "--print-step", "--constraints=ordered", "--scoring=wer"),
    *("--lenpen=nan", "--diversity-rate=1e308", "--model-overrides=a,b", "--post-process=3-2"),
    *("--max-len-a=1e308", "--sampling-topp=1e308", "--sampling-topp=2", "--num-workers=-1"),
    *("--beam=0", "--beam=-1", "--nbest=0", "--required-batch-size-multiple=0"),
    *("--shard-id=1", "--num-shards=0", "--replace-unk", "--replace-unk="),
)


@pytest.mark.parametrize(
    ("given", "told"),
    [
        *((given, given.partition("=")[0]) for given in REFUSED),
        ("--task=tied_translation --int8 --fp16", "leave --fp16 out"),
        ("--sampling --nbest=5 --sampling-topk=1000", "--sampling-topk: more units than"),
        ("--scoring=sacrebleu --sacrebleu-tokenizer=ja-mecab", "Please install"),
        ("--gen-subset=valid,test", "--gen-subset valid,test: one set at a time"),
    ],
)
def test_fairseq_generate_refuses_too(given, told, data, good, monkeypatch, capsys):
    """Which does not begin as the other commands do."""
    words = ("--path", good, "--gen-subset", "valid", "--dataset-impl", "raw", "--cpu")
    words = (*words, "--max-len-b", 3, "--num-workers", 0, *given.split())
    monkeypatch.setattr("sys.argv", ["fairseq-generate", *map(str, (data, *words))])
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    monkeypatch.setitem(sys.modules, "MeCab", None)
    with pytest.raises(BaseException) as raised:  # noqa: PT011  argparse ends the process
        generate.cli_main()
    assert told in (explain(raised.value) or capsys.readouterr().err)


OFF = {
    "diverse_beam_groups": -1,
    "diversity_rate": -1.0,
    "max_len_a": 0.0,
    "print_step": False,
    "retain_iter_history": False,
    "score_reference": False,
    "prefix_size": 0,
    "replace_unk": None,
    "constraints": None,
}


@pytest.mark.parametrize(
    ("generation", "scoring", "option"),
    [
        ({"diverse_beam_groups": 2}, "bleu", "--diverse-beam-groups"),
        ({"print_step": True}, "bleu", "--print-step"),
        ({"retain_iter_history": True}, "bleu", "--retain-iter-history"),
        ({"constraints": "ordered"}, "bleu", "--constraints"),
        ({}, "wer", "--scoring wer"),
    ],
)
def test_what_fails_for_every_model_is_refused(generation, scoring, option, monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    cfg = OmegaConf.create(
        {
            "generation": {**OFF, **generation},
            "scoring": {"_name": scoring},
            "task": {"_name": "translation"},
            "distributed_training": {"distributed_init_method": None},
        }
    )
    with pytest.raises(UserError, match=option):
        distributed_utils.call_main(cfg, generate.main)


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({"generation": {**OFF, "score_reference": True}}, "--score-reference: .* has references"),
        ({"generation": {**OFF, "prefix_size": 1}}, "--prefix-size: .* has references"),
        ({"common_eval": {"results_path": "results"}}, "--results-path: .* redirect the output"),
        ({"dataset": {"num_shards": 2}}, "--num-shards: .* a part of a set"),
    ],
)
def test_interactive_refuses_what_it_does_not_read(given, told):
    cfg = OmegaConf.create(
        {
            "generation": OFF,
            "scoring": {"_name": "bleu"},
            "task": {"_name": "translation"},
            **given,
        }
    )
    with pytest.raises(UserError, match=told):
        distributed_utils.call_main(cfg, interactive.main)


@pytest.mark.parametrize("words", [[*WORDS[1:], WORDS[0]], WORDS])
def test_all_folders_of_text_have_one_dictionary(words, data, tmp_path, monkeypatch):
    """fairseq takes the numbers of the second folder for units of the first."""
    second = write_corpus(tmp_path, words=words, source=WORDS)
    given = (f"{data}:{second}", *TRAINING, *SIZES, "--max-epoch", "2")
    monkeypatch.setattr("sys.argv", ["fairseq-train", *map(str, given)])
    refused = pytest.raises(UserError, match=f"{second}/dict.de.txt: differs from {data}/dict.de")
    with nullcontext() if words == WORDS else refused:
        fairseq_train.cli_main()


OTHER = Dictionary()
OTHER.add_symbol("other")


@pytest.mark.parametrize(
    ("model", "told"),
    [
        (FairseqEncoderDecoderModel(FairseqEncoder(OTHER), FairseqDecoder(OTHER)), "not a lang"),
        (FairseqLanguageModel(FairseqDecoder(OTHER)), "dict.txt of the data-bin differs"),
    ],
)
def test_a_language_model_scores_the_units_of_the_translation(model, told):
    """fairseq adds what it gives to whatever has the same number."""
    with pytest.raises(UserError, match=f"--lm-path: {told}"):
        SequenceGenerator([], Dictionary(), lm_model=model)


def test_checkpoints_are_not_written_by_a_package_that_is_missing(data, monkeypatch):
    """fairseq logs a traceback, and ends with status 0 without having trained."""
    given = ("--write-checkpoints-asynchronously",)
    monkeypatch.setattr("sys.argv", [*map(str, ("fairseq-train", data, *TRAINING, *SIZES, *given))])
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(UserError, match="--write-checkpoints-asynchronously needs the package"):
        fairseq_train.cli_main()


def test_constraints_go_with_fairseq_interactive(monkeypatch):
    cfg = OmegaConf.create(
        {
            "generation": {**OFF, "constraints": "ordered"},
            "scoring": {"_name": "bleu"},
            "task": {"_name": "translation"},
            "common": {"tpu": False},
            "checkpoint": {"save_dir": "checkpoints"},
            "distributed_training": {"distributed_init_method": None},
        }
    )
    monkeypatch.setattr(distributed_utils, "infer_init_method", lambda cfg: None)
    begun = []

    def main(cfg):
        begun.append(cfg)

    main.__module__ = interactive.__name__
    distributed_utils.call_main(cfg, main)
    assert begun == [cfg]


def explained(data, tmp_path, **parts):
    """The line that the command would end with."""
    with pytest.raises(Exception) as raised:  # noqa: PT011  fairseq's are of several kinds
        train(data, tmp_path, optimization={"max_update": 1}, **parts)
    return explain(raised.value)


@pytest.mark.parametrize(
    ("parts", "option"),
    [
        (
            {"task": {"max_source_positions": 2, "max_target_positions": 2}},
            "--skip-invalid-size-inputs-valid-test",
        ),
        (
            {
                "task": {"max_source_positions": 0, "max_target_positions": 0},
                "dataset": {"skip_invalid_size_inputs_valid_test": True},
            },
            "--max-source-positions",
        ),
        (
            {
                "task": {"max_source_positions": 1, "max_target_positions": 1},
                "dataset": {
                    "skip_invalid_size_inputs_valid_test": True,
                    "required_batch_size_multiple": 8,
                },
            },
            "no sentence of the data is left",
        ),
        ({"dataset": {"max_tokens_valid": 3, "batch_size_valid": None}}, "--max-tokens 3"),
    ],
)
def test_sentences_that_are_too_long_are_one_line(parts, option, data, tmp_path):
    assert option in (explained(data, tmp_path, **parts) or "")


def test_an_adaptive_loss_needs_an_adaptive_softmax(data, tmp_path):
    loss = {"_name": "adaptive_loss", "sentence_avg": False, "ddp_backend": "legacy_ddp"}
    told = explained(data, tmp_path, criterion=loss) or ""
    assert told.startswith("--criterion adaptive_loss: needs a model with --adaptive-softmax")


def task_that_predicts(what):
    task = object.__new__(LanguageModelingTask)
    task.targets = [what]
    return task


@pytest.mark.parametrize(
    ("make", "option"),
    [
        (lambda: Adafactor([torch.zeros(2)], lr=0.1, relative_step=True), "--relative-step"),
        (
            lambda: PassThroughScheduleSchedule(SimpleNamespace(), object.__new__(FairseqAdam)),
            "--lr-scheduler pass_through",
        ),
        (
            lambda: ManualSchedule(
                SimpleNamespace(epoch2lr="{1: 0.1}"), object.__new__(FairseqAdam)
            ),
            "--epoch2lr",
        ),
        (
            lambda: eval_lm.eval_lm([], Dictionary(), [], post_process="letter", device="cpu"),
            "--post-process letter",
        ),
        (
            lambda: object.__new__(TranslationFromPretrainedBARTTask).load_dataset("train"),
            "--task translation_from_pretrained_bart",
        ),
        (
            lambda: task_that_predicts("self").build_model(SimpleNamespace()),
            "--self-target",
        ),
    ],
)
def test_what_fairseq_fails_with_by_name_is_one_line(make, option, monkeypatch):
    monkeypatch.setattr(
        "fairseq.models.build_model",
        lambda *_, **__: SimpleNamespace(supported_targets={"future"}),
    )
    with pytest.raises(Exception) as raised:  # noqa: PT011  fairseq's are of several kinds
        make()
    assert option in (explain(raised.value) or "")


@pytest.mark.parametrize(
    ("option", "changes"),
    [
        ("--pipeline-model-parallel", {"distributed_training": {"pipeline_model_parallel": True}}),
        ("--model-parallel-size", {"common": {"model_parallel_size": 2}}),
        (
            "--ddp-backend fully_sharded",
            {"distributed_training": {"ddp_backend": "fully_sharded"}},
        ),
        ("--find-unused-parameters", {"distributed_training": {"find_unused_parameters": True}}),
    ],
)
def test_parallelism_that_is_refused(option, changes):
    cfg = OmegaConf.structured(FairseqConfig)
    cfg = OmegaConf.merge(OmegaConf.to_container(cfg), changes)
    began = []
    with pytest.raises(UserError, match=f"^{option}: a model of --arch tied_gru "):
        cfg.model = {"_name": "tied_gru"}
        distributed_utils.call_main(cfg, began.append)
    assert not began


@pytest.mark.parametrize(
    ("backend", "refused"), [("pytorch_ddp", True), ("legacy_ddp", False), ("no_c10d", False)]
)
def test_layerdrop_on_several_workers(backend, refused, monkeypatch):
    cfg = OmegaConf.structured(FairseqConfig)
    workers = {"distributed_world_size": 2, "ddp_backend": backend, "distributed_no_spawn": True}
    cfg = OmegaConf.merge(OmegaConf.to_container(cfg), {"distributed_training": workers})
    cfg.model = {"_name": "tied_transformer", "decoder_layerdrop": 0.1}
    monkeypatch.setattr(distributed_utils, "distributed_main", lambda *_: None)
    cfg.distributed_training.distributed_init_method = "tcp://localhost:1"
    expected = pytest.raises(UserError, match=r"--decoder-layerdrop.*legacy_ddp")
    with expected if refused else nullcontext():
        distributed_utils.call_main(cfg, lambda _: None)


def test_int8_is_not_for_training(data, tmp_path):
    task = {**vars(TiedTranslationConfig()), "_name": "tied_translation", "int8": True}
    with pytest.raises(UserError, match=r"--int8.*decoding"):
        train(data, tmp_path, task=task)


@pytest.mark.parametrize("precision", ["fp16", "amp"])
def test_gradients_of_a_scaled_loss_are_not_measured(precision):
    config = {**vars(TiedCrossEntropyConfig()), "measure_gradients": 1, "update_freq": [1]}
    config |= {"fp16": False, "amp": False, "sentence_avg": False, "save_dir": ".", precision: True}
    config["train_subset"] = "train"
    task = SimpleNamespace(source_dictionary=JOINT, target_dictionary=JOINT, datasets={})
    with pytest.raises(UserError, match=r"--measure-gradients.*--fp16 and --amp"):
        TiedCrossEntropy(OmegaConf.create(config), task)


@pytest.mark.parametrize("impl", ["huffman", "fasta"])
def test_formats_that_fairseq_does_not_write(impl, tmp_path, monkeypatch):
    (tmp_path / "train.en").write_text("w1 w2\n")
    words = ("-s", "en", "--only-source", "--trainpref", tmp_path / "train", "--workers", "1")
    words = ("fairseq-preprocess", *words, "--destdir", tmp_path / "bin", "--dataset-impl", impl)
    monkeypatch.setattr("sys.argv", [*map(str, words)])
    with pytest.raises((UserError, AssertionError)) as raised:
        preprocess.cli_main()
    assert f"--dataset-impl {impl}" in explain(raised.value)


def composite(data, folder, **options):
    made = {"_name": "composite", "groups": {}, "dynamic_groups": False, **options}
    scheduler = {"lr_scheduler": {"_name": "pass_through"}, "optimization": {"max_update": 3}}
    return train(data, folder, optimizer=made, **scheduler)


def test_an_optimizer_of_groups_needs_them(data, tmp_path):
    with pytest.raises(UserError, match="--optimizer composite"):
        composite(data, tmp_path)


def test_an_optimizer_of_groups_trains(data, tmp_path):
    plain = train(data, tmp_path / "plain", optimization={"max_update": 3})
    adam = {"_name": "adam", "lr": [0.01]}
    groups = {"default": {"optimizer": adam, "lr_scheduler": {"_name": "fixed"}}}
    grouped = composite(data, tmp_path / "groups", groups=groups)
    one, other = (torch.load(path)["model"] for path in (plain, grouped))
    assert all(torch.equal(one[name], other[name]) for name in one)
