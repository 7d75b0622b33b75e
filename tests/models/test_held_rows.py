import pytest
import torch
from fairseq import checkpoint_utils
from fairseq.distributed import ModuleProxyWrapper
from fairseq.optim.adam import FairseqAdam, FairseqAdamConfig
from fairseq.tasks import FairseqTask
from omegaconf import OmegaConf

from tests.models.contract import ARCHITECTURES, LANGUAGE_MODELS, build, inputs_for, loss_of
from tests.support.commandline import run_workers
from tests.support.small_models import JOINT, dictionary
from tests.support.small_models import model as small_model
from tests.support.small_training import RECIPE, SIZES, train, write_corpus
from tiednmt.errors import UserError
from tiednmt.optim.nt_asgd import TiedAveragedSGD, TiedAveragedSGDConfig
from tiednmt.tying import DECODER, INPUTS, NONE, THREE_WAY

ROWS = 23  # of the dictionaries, four of them special symbols
TRAINED = [20, 21, 22]
PER_ROW = ("embedding.weight", "output.bias")
OF_EVERY_UPDATE = ("output.embedding.weight", "output.bias")  # whatever the text

DECAY = {"weight_decay": 0.1}
ADAFACTOR = {
    **{"adafactor_eps": "(1e-30, 1e-3)", "clip_threshold": 1.0, "decay_rate": -0.8, "beta1": 0.9},
    **dict.fromkeys(("scale_parameter", "relative_step", "warmup_init"), False),
}
OPTIMIZERS = {
    "adam": {"optimizer": {"_name": "adam"}},
    "adam with weight decay": {"optimizer": {"_name": "adam", **DECAY}},
    "sgd with momentum": {"optimizer": {"_name": "sgd", "momentum": 0.9, **DECAY}},
    "nag": {"optimizer": {"_name": "nag", **DECAY}},
    "adagrad": {"optimizer": {"_name": "adagrad", **DECAY}},
    "adafactor": {"optimizer": {"_name": "adafactor", **ADAFACTOR, **DECAY}},
    "clipped": {"optimization": {"clip_norm": 0.1}},
    "accumulated": {"optimizer": {"_name": "adam", **DECAY}, "optimization": {"update_freq": [2]}},
}


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return write_corpus(tmp_path_factory.mktemp("data"))


@pytest.fixture(scope="module")
def whole(data, tmp_path_factory):
    """A model that was trained as a whole, with moments and an average."""
    folder = tmp_path_factory.mktemp("whole")
    average = {"store_ema": True, "ema_decay": 0.7, "ema_fp32": True}
    return train(data, folder, model={"tying": "three-way"}, optimization=updates(4), ema=average)


def updates(number):
    return {"max_update": number}


def from_row_20(data, folder, start, number, rows="20:", **parts):
    """Trained on, these rows alone."""
    parts = {"optimizer": {"_name": "adam", **DECAY}, **parts}
    parts["optimization"] = {**updates(number), **parts.get("optimization", {})}
    started = {} if start is None else {"finetune_from_model": str(start)}
    parts["checkpoint"] = {**started, **parts.get("checkpoint", {})}
    model = {"tying": "three-way", "train_rows": rows}
    return train(data, folder, model=model, **parts)


def load(path):
    return checkpoint_utils.load_checkpoint_to_cpu(str(path))


def assert_these_alone_moved(before, after, rows=TRAINED):
    moved = []
    assert before.keys() == after.keys()
    for name, old in before.items():
        if name.endswith(PER_ROW):
            changed = (old != after[name]).view(len(old), -1).any(1).nonzero().flatten().tolist()
            assert changed == rows, name
            moved.append(name)
        else:
            assert torch.equal(old, after[name]), name
    assert moved


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_other_rows_are_equal_bit_for_bit(data, whole, tmp_path, name):
    after = from_row_20(data, tmp_path, whole, 4, **OPTIMIZERS[name])
    assert_these_alone_moved(load(whole)["model"], load(after)["model"])


@pytest.mark.parametrize("fp32", [False, True])
def test_other_rows_of_an_average_are_equal(data, whole, tmp_path, fp32):
    average = {"store_ema": True, "ema_decay": 0.7, "ema_fp32": fp32}
    before, after = load(whole), load(from_row_20(data, tmp_path, whole, 3, "20:23", ema=average))
    assert_these_alone_moved(before["model"], after["model"])
    assert_these_alone_moved(before["extra_state"]["ema"], after["extra_state"]["ema"])
    if fp32:
        states = (state["extra_state"]["ema_fp32_params"] for state in (before, after))
        assert_these_alone_moved(*states)


class InWorkers(torch.nn.Module):
    """Between a model and what fairseq trains where there are several workers."""

    def __init__(self, model):
        super().__init__()
        self.module = model


@pytest.mark.parametrize("wrapped", [False, True])
def test_other_rows_of_the_mean_of_averaged_sgd_are_equal(wrapped):
    model = small_model("three-way", train_rows="20:")
    seen = ModuleProxyWrapper(InWorkers(model)) if wrapped else model
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    trained = [p for p in model.parameters() if p.requires_grad]
    settings = {**vars(TiedAveragedSGDConfig()), "lr": [0.1], **DECAY}
    optimizer = TiedAveragedSGD(OmegaConf.create(settings), trained)
    task, (given, target) = FairseqTask(None), inputs_for("tied_gru")
    for _ in range(5):
        optimizer.optimizer.start_averaging()
        loss_of(model, given, target).backward()
        task.optimizer_step(optimizer, seen, 0)
        optimizer.zero_grad()
    optimizer.optimizer.show_average(True)
    assert_these_alone_moved(before, model.state_dict())


def test_training_goes_on_with_the_moments_of_these_rows(data, whole, tmp_path):
    from_row_20(data, tmp_path, whole, 2)
    after = from_row_20(data, tmp_path, None, 4)
    assert load(after)["optimizer_history"][-1]["num_updates"] == 4
    assert_these_alone_moved(load(whole)["model"], load(after)["model"])


OTHERS = "its optimizer trained other parameters than this run does.*--finetune-from-model"


def test_restoring_what_was_trained_whole(data, whole, tmp_path):
    """Its optimizer has moments of more parameters; without them, training starts from there."""
    restored = {"restore_file": str(whole)}
    with pytest.raises(UserError, match=OTHERS):
        from_row_20(data, tmp_path, None, 6, checkpoint=restored)
    restored["reset_optimizer"] = True
    after = from_row_20(data, tmp_path, None, 6, checkpoint=restored)
    assert_these_alone_moved(load(whole)["model"], load(after)["model"])


def test_restoring_what_was_trained_in_part(data, whole, tmp_path):
    part = from_row_20(data, tmp_path / "part", whole, 2)
    restored = {"checkpoint": {"restore_file": str(part)}}
    with pytest.raises(UserError, match=OTHERS):
        train(data, tmp_path / "on", model={"tying": "three-way"}, **restored)
    frozen = {"tying": "three-way", "freeze_embeddings": True}
    with pytest.raises(UserError, match=OTHERS):
        train(data, tmp_path / "on", model=frozen, **restored)


@pytest.mark.parametrize("name", ["adam with weight decay", "sgd with momentum", "adafactor"])
def test_restoring_with_other_rows(data, whole, tmp_path, name):
    """These move from now on, the former ones no longer, whatever moments they have."""
    part = from_row_20(data, tmp_path / "part", whole, 3, **OPTIMIZERS[name])
    options = dict(OPTIMIZERS[name])
    restored = {"checkpoint": {"restore_file": str(part)}}
    after = from_row_20(data, tmp_path / "on", None, 6, "6:9", **options, **restored)
    assert load(after)["optimizer_history"][-1]["num_updates"] == 6
    assert_these_alone_moved(load(part)["model"], load(after)["model"], [6, 7, 8])


def test_restoring_moments_that_are_flat():
    """As they are in half precision, where a number of parameters tells nothing."""
    optimizers = []
    for size in (7, 9):
        given = {"lr": [0.1], "tpu": False}
        args = OmegaConf.create({**vars(FairseqAdamConfig()), **given})
        flat = torch.nn.Parameter(torch.ones(size))
        optimizers.append(FairseqAdam(args, [flat]))
        flat.grad = torch.ones(size)
        optimizers[-1].step()
    small, large = optimizers
    small.load_state_dict(small.state_dict())
    with pytest.raises(UserError, match=OTHERS):
        large.load_state_dict(small.state_dict())


@pytest.fixture(scope="module")
def long_data(tmp_path_factory):
    """An epoch of it is 1,000 updates."""
    return write_corpus(tmp_path_factory.mktemp("long"), lines=4000)


@pytest.mark.nightly
@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name in OPTIMIZERS if "optimizer" in OPTIMIZERS[name]])
def test_other_rows_are_equal_after_1000_updates(long_data, whole, tmp_path, name):
    options = {**OPTIMIZERS[name], "dataset": {"disable_validation": True}}
    options["ema"] = {"store_ema": True, "ema_decay": 0.99, "ema_fp32": True}
    after = load(from_row_20(long_data, tmp_path, whole, 1000, **options))
    before = load(whole)
    assert after["optimizer_history"][-1]["num_updates"] == 1000
    assert_these_alone_moved(before["model"], after["model"])
    for kind in ("ema", "ema_fp32_params"):
        assert_these_alone_moved(before["extra_state"][kind], after["extra_state"][kind])


@pytest.mark.slow
@pytest.mark.parametrize("number", [10, pytest.param(1000, marks=pytest.mark.nightly)])
def test_two_workers(long_data, whole, tmp_path, number):
    options = ("--tying", "three-way", "--train-rows", "20:", "--weight-decay", "0.1")
    options += ("--disable-validation", "--no-epoch-checkpoints")
    started = ("--finetune-from-model", whole, "--max-update", str(number), "--save-dir", tmp_path)
    arguments = (long_data, "--user-dir", "tiednmt", *RECIPE, *SIZES, *options, *started)
    run_workers(2, "fairseq-train", *arguments)
    assert_these_alone_moved(load(whole)["model"], load(tmp_path / "checkpoint_last.pt")["model"])


def test_rows_by_unit(data, whole, tmp_path):
    (tmp_path / "units.txt").write_text("w18\nw3\n")
    after = from_row_20(data, tmp_path / "out", whole, 2, str(tmp_path / "units.txt"))
    assert_these_alone_moved(load(whole)["model"], load(after)["model"], rows=[7, 22])


# --- every architecture and mode ---------------------------------------------------------------


@pytest.mark.parametrize("arch", ARCHITECTURES)
@pytest.mark.parametrize("tying", [NONE, INPUTS, DECODER, THREE_WAY])
def test_every_matrix_of_every_architecture(arch, tying):
    if arch in LANGUAGE_MODELS and tying in (INPUTS, THREE_WAY):
        return
    model = build(arch, tying, train_rows="20:23")
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    optimizer = torch.optim.SGD([p for p in model.parameters() if p.requires_grad], 0.1, 0.9)
    for _ in range(2):
        with model.updating():
            optimizer.zero_grad()
            loss_of(model, *inputs_for(arch)).backward()
            optimizer.step()
    for name, parameter in model.named_parameters():
        changed = (parameter != before[name]).view(len(parameter), -1).any(1)
        allowed = set(TRAINED) if name.endswith(PER_ROW) else set()
        assert set(changed.nonzero().flatten().tolist()) <= allowed, name
        if name.endswith(OF_EVERY_UPDATE):
            assert changed.sum() == len(TRAINED), name


def test_private_rows_and_those_of_a_low_rank_map(tmp_path):
    (tmp_path / "private.txt").write_text("w2\nw17\n")
    changes = {"private_units": str(tmp_path / "private.txt"), "train_rows": "20:"}
    model = small_model(**changes, output_map="low-rank", output_map_size=2)
    held = model.held_rows.rows
    assert held["encoder.input_scale.private.weight"].tolist() == [0]  # w17 has row 21
    assert held["decoder.output.map.left"].tolist() == list(range(20))


def test_what_is_clipped_is_the_gradient_of_the_rows_that_train():
    model = build("tied_gru", THREE_WAY, train_rows="20:")
    loss_of(model, *inputs_for("tied_gru")).backward()
    trained = {name: p.grad for name, p in model.named_parameters() if p.grad is not None}
    assert sorted(trained) == ["decoder.output.bias", "encoder.embedding.weight"]
    for grad in trained.values():
        assert not grad[:20].any()
        assert grad[20:].any()


@pytest.mark.parametrize("arch", ARCHITECTURES)
def test_frozen_embeddings(arch):
    model = build(arch, freeze_embeddings=True)
    loss_of(model, *inputs_for(arch)).backward()
    without = {name for name, p in model.named_parameters() if p.grad is None}
    assert {name for name in without if "embedding" in name}
    assert all("embedding" in name for name in without)


# --- what is refused ---------------------------------------------------------------------------


@pytest.mark.parametrize("rows", ["0:24", "5:5", "9:3", "30:"])
def test_rows_that_are_not_there(rows):
    with pytest.raises(UserError, match=f"--train-rows {rows}: not FROM:TO"):
        small_model(train_rows=rows)


def test_numbers_of_two_dictionaries():
    other = dictionary(f"v{i}" for i in range(9))
    with pytest.raises(UserError, match="give a file of units"):
        small_model(NONE, source=other, train_rows="4:6")


@pytest.mark.parametrize(
    "text, fault",
    [
        ("w3\nx\n", "line 2: 'x' is in no dictionary"),
        ("w3 \n", "line 1: 'w3 ' is"),
        ("", "holds no"),
        ("\ufeffw3\r\n\nw4", "line 2: '' is"),  # as editors of Windows begin and end a file
        (b"w3\nd\xe9j\xe0\n", "line 2: not UTF-8"),
    ],
)
def test_units_that_are_not_there_stop_training(tmp_path, text, fault):
    (tmp_path / "units").write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(UserError, match=fault):
        model = small_model(train_rows=str(tmp_path / "units"))
        with model.updating():
            pass


def test_both_options():
    with pytest.raises(UserError, match="--freeze-embeddings"):
        small_model(train_rows="5:", freeze_embeddings=True)


def test_a_missing_file_stops_training_and_nothing_else():
    """A model that was trained so is used where the file is not at hand."""
    model = small_model(train_rows="nowhere.txt")
    with pytest.raises(UserError, match=r"nowhere\.txt: no such file"), model.updating():
        pass


def test_a_missing_list_of_private_rows_stops_training_though_a_checkpoint_has_them(tmp_path):
    """They would train whatever is held, and each worker by itself."""
    (tmp_path / "units").write_text("w3\nw5\n")
    trained = small_model(private_units=str(tmp_path / "units"), freeze_embeddings=True)
    model = small_model(private_units="nowhere.txt", freeze_embeddings=True)
    model.load_state_dict(trained.state_dict())
    with torch.no_grad():
        private = model.encoder.input_scale.private
        assert private(torch.zeros(2, 6), private.units_version).any(dim=1).all()
    with pytest.raises(UserError, match=r"nowhere\.txt: no such file"), model.updating():
        pass


# --- word vectors ------------------------------------------------------------------------------


def vectors(path, rows):
    lines = (f"{unit} {' '.join(map(str, row))}\n" for unit, row in rows.items())
    path.write_text(f"{len(rows)} {len(next(iter(rows.values())))}\n" + "".join(lines))
    return str(path)


ONE, TWO = [1.0, 2, 3, 4, 5, 6], [0.5] * 6


def test_matrices_start_from_word_vectors(tmp_path):
    en, de = vectors(tmp_path / "en", {"w3": ONE}), vectors(tmp_path / "de", {"w4": TWO, "q": ONE})
    paths = {"encoder_embed_path": en, "decoder_embed_path": de}
    apart, tied = build_alone(DECODER, **paths), build_alone(THREE_WAY, **paths)
    plain = build_alone(DECODER)
    w3, w4 = JOINT.index("w3"), JOINT.index("w4")
    assert apart.embeddings.source.weight[w3].tolist() == ONE
    assert torch.equal(apart.embeddings.source.weight[w4], plain.embeddings.source.weight[w4])
    assert apart.output_layer.embedding.weight[w4].tolist() == TWO
    assert tied.embeddings.source.weight[w3].tolist() == ONE
    assert tied.embeddings.source.weight[w4].tolist() == TWO


def test_the_source_starts_private_rows_from_its_vectors(tmp_path):
    """A unit that has one is read there by the source, and from the matrix by the target."""
    en = vectors(tmp_path / "en", {"w3": ONE, "w4": ONE, "w5": ONE})
    de = vectors(tmp_path / "de", {"w3": TWO, "w5": ONE})
    (tmp_path / "units").write_text("w3\nw4\n")
    options = {"private_units": str(tmp_path / "units"), "input_scale": "1"}
    paths = {"encoder_embed_path": en, "decoder_embed_path": de}
    plain, model = build_alone(THREE_WAY, **options), build_alone(THREE_WAY, **options, **paths)
    w3, w4, w5 = (torch.tensor([JOINT.index(unit)]) for unit in ("w3", "w4", "w5"))
    matrix = model.embeddings.target
    for unit in (w3, w4, w5):
        assert model.encoder.look_up(unit).flatten().tolist() == ONE
    assert matrix(w3).flatten().tolist() == TWO
    assert matrix(w5).flatten().tolist() == ONE
    assert torch.equal(matrix(w4), plain.embeddings.target(w4))


def build_alone(tying, **changes):
    return build("tied_gru", tying, dtype=torch.float32, noise=0, **changes)


def test_two_files_for_one_matrix_must_agree(tmp_path):
    one, other = vectors(tmp_path / "a", {"w3": ONE}), vectors(tmp_path / "b", {"w3": TWO})
    paths = {"encoder_embed_path": one, "decoder_embed_path": other}
    with pytest.raises(UserError, match=r"another vector of 'w3'.*give one file"):
        build_alone(INPUTS, **paths)
    apart = build_alone(NONE, **paths)
    assert apart.embeddings.target.weight[JOINT.index("w3")].tolist() == TWO


def test_vectors_of_another_size(tmp_path):
    path = vectors(tmp_path / "a", {"w3": ONE[:5]})
    with pytest.raises(UserError, match="vectors of 5 numbers, but rows have 6"):
        build_alone(NONE, decoder_embed_path=path)


@pytest.mark.parametrize("row", ["one two", "0.5 nan", "inf 0.5", "0.5 1e39"])
def test_no_word_vectors(row, tmp_path):
    """A number beyond single precision would be infinite, too."""
    (tmp_path / "a").write_text(f"w1 0.5 0.5\nw2 {row}\n")
    with pytest.raises(UserError, match=r"not word vectors as text \(line 2: "):
        build_alone(NONE, decoder_embed_path=str(tmp_path / "a"))


def test_other_units_have_spaces_or_other_bytes_and_a_first_vector_counts(tmp_path):
    rows = (b"w3 1 2 3 4 5 6", b". . 1 2 3 4 5 6", b"\xff 1 2 3 4 5 6", b"w3 6 5 4 3 2 1")
    (tmp_path / "a").write_bytes(b"\n".join(rows))
    model = build_alone(NONE, decoder_embed_path=str(tmp_path / "a"))
    assert model.embeddings.target.weight[JOINT.index("w3")].tolist() == ONE


def test_a_language_model_has_no_source(tmp_path):
    path = vectors(tmp_path / "a", {"w3": ONE})
    with pytest.raises(UserError, match="--decoder-embed-path"):
        build("tied_lstm_lm", encoder_embed_path=path)
    model = build("tied_lstm_lm", dtype=torch.float32, noise=0, decoder_embed_path=path)
    assert model.embeddings.target.weight[JOINT.index("w3")].tolist() == ONE


def test_missing_vectors_stop_a_training_that_starts_from_them(tmp_path):
    model = build_alone(NONE, decoder_embed_path=str(tmp_path / "gone"))
    with pytest.raises(UserError, match="gone: no such file"), model.updating():
        pass
    model.load_state_dict(build_alone(NONE).state_dict())
    with model.updating():
        pass
