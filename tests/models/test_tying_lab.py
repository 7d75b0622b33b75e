"""The ways to tie of docs/tying-lab.md within the models.

The contract's tests run here over models that are built with the options of a way.
"""

from __future__ import annotations

import inspect
import math
import shutil
from functools import partial

import pytest
import torch
from fairseq import checkpoint_utils
from fairseq.models import ARCH_MODEL_REGISTRY
from omegaconf import OmegaConf

from tests.criterions import test_gradient_shares as shares
from tests.models import contract
from tests.models.contract import LANGUAGE_MODELS, build, inputs_for, loss_of, scores_of
from tests.support.small_models import JOINT
from tests.support.untrained import save_untrained, write_dictionaries
from tiednmt.averaging import average
from tiednmt.criterions.row_movement import RowMovement, read_row_movement
from tiednmt.errors import CheckpointError, UserError
from tiednmt.modules.frozen_linear import Int8Linear, PackedLinear
from tiednmt.modules.output_maps import OUTPUT_MAPS
from tiednmt.tying import DECODER, INPUTS, NONE, SOURCE_INPUT, THREE_WAY

WAYS = {
    "joint": {"output_map": "joint", "output_map_size": 4},
    "residual": {"output_map": "residual", "output_map_depth": 2},
    "low-rank": {"output_map": "low-rank", "output_map_size": 2},
    "factorised": {"embedding_rank": 4},
}
BOTH = {**WAYS["residual"], **WAYS["factorised"]}
PRIVATE = "private"
KINDS = ("joint", "low-rank", PRIVATE)  # linear layers, a matrix of its own, rows and a buffer
UNITS = ("w3", "w0", "w11", "w18")
ROWS = sorted(JOINT.index(unit) for unit in UNITS)


@pytest.fixture
def units(tmp_path):
    """A file of units."""
    path = tmp_path / "units.txt"
    path.write_text("".join(f"{unit}\n" for unit in UNITS))
    return path


@pytest.fixture(params=[*WAYS, "both", PRIVATE])
def way(request, units, monkeypatch):
    """The name of a way, with whose options the contract builds its models, too."""
    others = {"both": BOTH, PRIVATE: {"private_units": str(units), "input_scale": "learned"}}
    options = {**WAYS, **others}[request.param]
    for module in (contract, shares):
        monkeypatch.setattr(module, "build", partial(build, **options))
    return request.param


def tyings_of(way, arch):
    if arch in LANGUAGE_MODELS:
        return () if way == PRIVATE else (NONE, DECODER)
    return (INPUTS, THREE_WAY) if way == PRIVATE else (NONE, INPUTS, DECODER, THREE_WAY)


# --- what the contract says ---------------------------------------------------------------------


@pytest.mark.parametrize("arch", ["tied_gru", "tied_lstm_lm"])
@pytest.mark.parametrize(
    "test",
    [
        contract.test_chunked_loss_equals_the_full_one,
        contract.test_a_checkpoint_tells_which_matrices_are_one,
        contract.test_each_matrix_is_stored_once,
    ],
)
def test_gradients_and_tie_map_under_every_tying(test, way, arch):
    for tying in tyings_of(way, arch):
        test(arch, tying)


@pytest.mark.parametrize("arch", ["tied_toy", "tied_lstm_lm"])
def test_gradient_shares_are_those_of_the_uses_apart(way, arch, tmp_path):
    if way == PRIVATE:
        pytest.skip("the same model with its uses apart has no private rows: see below")
    for tying in tyings_of(way, arch):
        folder = tmp_path / tying
        shares.test_each_use_has_the_gradient_that_it_has_apart(arch, tying, {}, folder)


@pytest.mark.parametrize("way", KINDS, indirect=True)
@pytest.mark.parametrize(
    "test",
    [
        partial(contract.test_the_tie_survives_saving_and_loading, assign=True),
        contract.test_the_tie_survives_the_meta_device,
        contract.test_the_tie_survives_copies_dtypes_and_averages,
        contract.test_encoder_and_decoder_load_alone,
        contract.test_a_parametrisation_is_seen_by_all_uses,
    ],
)
def test_the_tie_survives(test, way, tmp_path):
    more = {"tmp_path": tmp_path} if "tmp_path" in inspect.signature(test).parameters else {}
    test("tied_toy", THREE_WAY, **more)


@pytest.mark.parametrize("way", [*WAYS, PRIVATE], indirect=True)
@pytest.mark.parametrize(
    "test",
    [
        contract.test_incremental_decoding_equals_teacher_forcing,
        contract.test_gradients_are_the_same_after_freezing,
        partial(contract.test_frozen_weights_follow_every_change, kind=PackedLinear),
        partial(contract.test_frozen_weights_follow_every_change, kind=Int8Linear),
        contract.test_int8_is_close,
    ],
)
def test_decoding(test, way):
    test("tied_gru")


@pytest.mark.parametrize(
    "test",
    [
        contract.test_retained_dropout,
        contract.test_a_search_translates_with_the_weights_of_the_moment,
        partial(contract.test_our_search_equals_fairseqs, options=contract.SEARCHES[1]),
    ],
)
def test_decoding_with_parts_that_change(test, way):
    test("tied_toy")


@pytest.mark.parametrize("way", ["joint", "factorised"], indirect=True)
def test_adapted_layers(way):
    contract.test_adapted_layers_train_and_decode_as_those_they_come_to("tied_toy")


def test_retained_dropout_drops_in_the_map_too():
    """The copy for decoding has no dropout, so it must not serve."""
    residual = {**WAYS["residual"], "output_map_dropout": 0.5}
    model = contract.prepared_for_inference(build("tied_toy", **residual), retain_dropout=True)
    given = inputs_for("tied_toy")[0]
    with torch.no_grad():
        first, second = (scores_of(model, given) for _ in range(2))
    assert not torch.equal(first, second)


# --- what they come to --------------------------------------------------------------------------


def with_same_weights(model, arch, **options):
    """An untied model with the weights of ``model`` where it has one of that name and shape."""
    apart = build(arch, NONE, **options)
    weights = dict(model.named_parameters(remove_duplicate=False))
    with torch.no_grad():
        for name, parameter in apart.named_parameters():
            if name in weights and weights[name].shape == parameter.shape:
                parameter.copy_(weights[name])
    return apart


def product_of(model, side):
    """What one side looks up, as a matrix."""
    return model.embeddings.target.weight @ getattr(model, side).input_scale.up.weight.T


def untied_twin(way, model, arch):
    """The untied plain model that a way's model is a special case of."""
    apart, output = with_same_weights(model, arch), model.output_layer
    with torch.no_grad():
        if way == "low-rank":
            apart.output_layer.embedding.weight.copy_(output.rows())
        else:
            apart.output_layer.embedding.weight.copy_(output.embedding.weight @ output.down.weight)
            apart.embeddings.target.weight.copy_(product_of(model, "decoder"))
            if apart.embeddings.source is not None:
                apart.embeddings.source.weight.copy_(product_of(model, "encoder"))
    return apart


@pytest.mark.parametrize("arch", contract.ARCHITECTURES)
@pytest.mark.parametrize("way", ["low-rank", "factorised"])
def test_linear_ways_are_special_cases_of_none(way, arch):
    """In float64: the plain untied model whose matrices are what they come to."""
    model, given = build(arch, **WAYS[way]), inputs_for(arch)[0]
    apart = untied_twin(way, model, arch)
    torch.testing.assert_close(scores_of(model, given), scores_of(apart, given))


def test_the_gradient_of_private_rows_is_not_scaled(units):
    given, target = inputs_for("tied_gru", lengths=(9, 9, 7), target_lengths=(5, 3, 4))
    gradients = []
    for scale in (1.0, 0.0):
        model = build("tied_gru", private_units=str(units), input_gradient_scale=scale)
        loss_of(model, given, target).backward()
        gradients.append(model.encoder.input_scale.private.weight.grad)
    assert gradients[0].any()
    torch.testing.assert_close(*gradients)


@pytest.mark.parametrize("arch", contract.TRANSLATION)
@pytest.mark.parametrize("tying", [INPUTS, THREE_WAY])
def test_private_rows_are_a_special_case_of_none(arch, tying, units, tmp_path):
    """In float64, gradients too: a source matrix of which all rows but these are shared."""
    options = {"input_scale": "3"}
    model = build(arch, tying, private_units=str(units), **options)
    apart = with_same_weights(model, arch, **options)
    private = model.encoder.input_scale.private.weight
    with torch.no_grad():
        apart.embeddings.source.weight[ROWS] = private
    given, target = inputs_for(arch, lengths=(9, 9, 7), target_lengths=(5, 3, 4))
    assert set(ROWS) & set(given["src_tokens"].flatten().tolist())
    torch.testing.assert_close(scores_of(model, given), scores_of(apart, given))
    (record,) = shares.measured(model, [(given, target)], tmp_path / "shares")
    loss_of(apart, given, target).backward()
    of_source = apart.embeddings.source.weight.grad.clone()
    torch.testing.assert_close(private.grad, of_source[ROWS])
    of_source[ROWS] = 0
    shared = of_source + apart.embeddings.target.weight.grad
    if tying == THREE_WAY:
        shared = shared + apart.output_layer.embedding.weight.grad
    torch.testing.assert_close(model.embeddings.target.weight.grad, shared)
    found = record["uses"][SOURCE_INPUT]["norm"]
    assert found == pytest.approx(float(of_source.norm()))  # of what reaches the shared matrix


@pytest.mark.parametrize("arch", contract.ARCHITECTURES)
@pytest.mark.parametrize("scale", ["1", "4"])
def test_the_first_loss_is_that_of_a_flat_softmax(arch, scale, units):
    """ln V per token, as without the ways; see tests/modules/test_lookup.py."""
    given, target = inputs_for(arch)
    tokens = target.ne(JOINT.pad()).sum().item()
    private = [] if arch in LANGUAGE_MODELS else [{"private_units": str(units)}]
    ways = [*WAYS.values(), BOTH, {**WAYS["joint"], "output_map_size": 200}, *private]
    for options in ways:
        options = {**options, "input_scale": scale, "embed_dim": 64}
        model = build(arch, noise=0.0, **options)
        with torch.no_grad():
            loss = loss_of(model, given, target).item() / tokens
        assert loss == pytest.approx(math.log(len(JOINT)), rel=0.15), options


def test_a_language_model_leaves_what_stands_between_its_own_start():
    model = build("tied_lstm_lm", noise=0.0, embedding_rank=4, **WAYS["low-rank"])
    assert model.output_layer.map.left.eq(0).all()
    assert model.output_layer.down.weight.abs().max() > 0.1 >= model.output_layer.bias.abs().max()


COUNTS = {  # over embeddings of 6 numbers and 23 entries
    "joint": ("output map", 2 * (6 * 4 + 4), "|proj:yes|map:joint-4|"),
    "residual": ("output map", 2 * (6 * 6 + 6), "|proj:yes|map:residual-2|"),
    "low-rank": ("output map", 2 * (23 + 6), "|proj:yes|map:low-rank-2|"),
    "factorised": ("factors of the embeddings", 3 * 6 * 4, "|dim:4|matrices:1|proj:yes|embed:6|"),
    PRIVATE: ("private source rows", 4 * 6, "|proj:yes|private:4|"),
}


@pytest.mark.parametrize("way", COUNTS)
def test_parameters_to_the_number(way, units):
    options = {**WAYS, PRIVATE: {"private_units": str(units)}}[way]
    name, count, signature = COUNTS[way]
    plain, model = build("tied_gru").tie_map, build("tied_gru", **options).tie_map
    less = 23 * 2 if way == "factorised" else 0  # rows of 4 numbers, not of 6
    assert model.others[name] == count
    assert model.total == plain.total + count - less
    assert model.others["the rest"] == plain.others["the rest"]
    assert signature in model.signature
    assert f"  {name} " in str(model)
    untied = build("tied_gru", NONE, **({} if way == PRIVATE else options)).tie_map
    assert model.untied_total == untied.total


def test_embeddings_of_several_sizes_share_rows_that_are_factorised():
    sizes = {"encoder_embed_dim": 6, "decoder_embed_dim": 7, "decoder_out_embed_dim": 8}
    with pytest.raises(UserError, match="give both the same size"):
        build("tied_lstm", **sizes)
    tie = build("tied_lstm", embedding_rank=3, projection=False, **sizes).tie_map
    assert [shape for _, shape in tie.groups] == [(23, 3)]
    assert tie.others["factors of the embeddings"] == 3 * (6 + 7 + 8)


def test_fairseqs_own_models_cannot_hold_it():
    model = build("tied_transformer", projection=False, **WAYS["low-rank"])
    with pytest.raises(CheckpointError, match=r"nothing between a matrix .*\(map:low-rank-2\)"):
        type(model).stock.to_stock(model.state_dict())


def test_rows_are_measured_as_without_a_map(tmp_path):
    model = build("tied_toy", **WAYS["joint"])
    movement = RowMovement(1, tmp_path, JOINT, JOINT)
    movement.observe(0, model.embeddings)
    with torch.no_grad():
        model.embeddings.target.weight[7] += 1
        next(model.output_layer.map.parameters()).add_(1)
    movement.observe(1, model.embeddings)
    (bands,) = read_row_movement(tmp_path)["matrices"].values()
    assert sum(band["moved"] for band in bands) == 1


# --- options ------------------------------------------------------------------------------------


def test_checkpoints_of_before_the_options_mean_what_they_meant():
    config = OmegaConf.create({"model": contract.ARCHITECTURES["tied_gru"]})
    old = {"tying": THREE_WAY, "projection": False, "max_source_positions": 9, "dropout": 0.0}
    dropouts = {f"{name}_dropout": 0.0 for name in ("embedding", "state", "readout")}
    config.model = {**config.model, **old, **dropouts, "max_target_positions": 9}
    model = ARCH_MODEL_REGISTRY["tied_gru"].build(config.model, JOINT, JOINT)
    new = build("tied_gru", projection=False, input_scale="1")
    assert model.state_dict().keys() == new.state_dict().keys()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"output_map": "joint"}, "--output-map joint needs --output-map-size"),
        (
            {"embedding_rank": 6},
            "--embedding-rank 6: must be from 1 to below the size of the embeddings, 6",
        ),
        ({"embedding_rank": -1}, "--embedding-rank -1: must be"),
        (
            {"private_units": "units.txt", "tying": DECODER},
            "--private-units: with --tying decoder the languages share no matrix; "
            "use --tying inputs or three-way",
        ),
    ],
)
def test_contradictions_are_refused(options, message):
    with pytest.raises(UserError, match=message):
        build("tied_gru", **options)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "units.txt: holds no units"),
        ("w3\nwhat\n", "units.txt, line 2: 'what' is not a unit of the dictionary"),
        ("w3\n\nw4\n", "units.txt, line 2: '' is not a unit"),
        ("<pad>\n", "units.txt, line 1: '<pad>' is not a unit"),
    ],
)
def test_a_file_of_units_is_read_strictly(content, message, units):
    units.write_text(content)
    with pytest.raises(UserError, match=message):
        build("tied_gru", private_units=str(units))


def test_an_encoder_that_has_no_private_rows_is_named(units, monkeypatch):
    monkeypatch.setattr("tests.support.toy_model.lookup_scale_of", lambda cfg, _=None: scale(cfg))
    from tiednmt.models.embedding_options import lookup_scale_of as scale

    with pytest.raises(UserError, match="--private-units: ToyModel has no private rows"):
        build("tied_toy", private_units=str(units))


def test_every_map_has_a_way():
    assert {options.get("output_map", "none") for options in WAYS.values()} == {*OUTPUT_MAPS}


def write_units(folder, units):
    (folder / "shared.txt").write_text("".join(f"{unit}\n" for unit in units))


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """A checkpoint and its model, whose private units were a file of the data-bin."""
    folder = tmp_path_factory.mktemp("saved")
    words = JOINT.symbols[4:]
    data = write_dictionaries(folder / "data", "dict.en.txt", "dict.de.txt", words=words)
    write_units(data, UNITS)
    task = ("--task", "translation", "--source-lang", "en", "--target-lang", "de")
    sizes = ("--embed-dim", 6, "--encoder-hidden-size", 4, "--decoder-hidden-size", 5)
    options = ("--tying", "three-way", "--private-units", "shared.txt")
    path = folder / "model.pt"
    return path, save_untrained(path, data, *task, "--arch", "tied_gru", *sizes, *options)


class TestTheFileOfUnits:
    """In a data-bin, where fairseq's own loading of checkpoints may or may not find it."""

    @pytest.fixture
    def data(self, saved, tmp_path):
        """Its data-bin, elsewhere and without the file."""
        words = JOINT.symbols[4:]
        return write_dictionaries(tmp_path, "dict.en.txt", "dict.de.txt", words=words)

    def load(self, path, data):
        (model,), _, _ = checkpoint_utils.load_model_ensemble_and_task(
            [str(path)], {"data": str(data)}
        )
        return model

    def test_is_found_in_the_data_bin(self, saved):
        assert saved[1].encoder.input_scale.private.units_version.tolist() == ROWS

    def test_a_checkpoint_decodes_without_it(self, saved, data):
        loaded = self.load(saved[0], data)
        assert loaded.tie_map == saved[1].tie_map
        given, _ = inputs_for("tied_gru")
        with torch.no_grad():
            expected = scores_of(saved[1].eval(), given)
            assert torch.equal(scores_of(loaded.eval(), given), expected)
            loaded.load_state_dict(saved[1].state_dict())
            assert torch.equal(scores_of(loaded, given), expected)

    def test_another_one_is_refused(self, saved, data):
        write_units(data, ["w1", "w2"])
        with pytest.raises(CheckpointError, match=r"other --private-units than those in .*shared"):
            self.load(saved[0], data)

    def test_averages_keep_the_units(self, saved, tmp_path):
        again = shutil.copy(saved[0], tmp_path / "again.pt")
        torch.save(average([saved[0], again]), tmp_path / "mean.pt")
        mean = torch.load(tmp_path / "mean.pt")["model"]
        for name, value in saved[1].state_dict().items():
            assert torch.equal(mean[name], value), name

    def test_the_same_one_elsewhere_is_taken_in_any_order(self, saved, data):
        write_units(data, reversed(UNITS))
        assert self.load(saved[0], data).tie_map == saved[1].tie_map

    def test_training_without_it_ends_in_one_line(self):
        model = build("tied_gru", private_units="nowhere.txt")
        with pytest.raises(UserError, match=r"--private-units nowhere.txt: no such file"):
            scores_of(model, inputs_for("tied_gru")[0])
