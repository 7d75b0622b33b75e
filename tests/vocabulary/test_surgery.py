"""Surgery on models in memory: every architecture in every mode of tying."""

import dataclasses

import pytest
import torch
from fairseq.models import MODEL_DATACLASS_REGISTRY

from tests.models.contract import ARCHITECTURES, CASES, LANGUAGE_MODELS, build, inputs_for
from tests.support.small_models import JOINT, dictionary
from tests.support.small_models import model as small_model
from tiednmt.errors import UserError
from tiednmt.models.parameters import OURS
from tiednmt.optim.averaged_sgd import AveragedSGD
from tiednmt.tying import (
    DECODER,
    INPUTS,
    NONE,
    OUTPUT,
    SOURCE_INPUT,
    TARGET_INPUT,
    THREE_WAY,
)
from tiednmt.vocabulary.extend import Start, extend
from tiednmt.vocabulary.model import ModelState, dictionary_of
from tiednmt.vocabulary.moments import Moments
from tiednmt.vocabulary.search import hypotheses
from tiednmt.vocabulary.ties import Use, join, row_weights, tie, untie
from tiednmt.vocabulary.trim import most_frequent, trim

every_case = pytest.mark.parametrize(("arch", "tying"), CASES)
SPECIAL = JOINT.symbols[:4]
PARTS = {"new": ("w1", "w3"), "newer": ("w4",), "unheard": ("ö", "w2")}


def parts_of(unit):
    return PARTS[unit]


def trained(
    arch="tied_gru", tying=THREE_WAY, dtype=torch.float64, source=JOINT, target=JOINT, **changes
):
    """A model that is about to be operated on, its options and a filled optimizer."""
    if source is target is JOINT:
        model = build(arch, tying, dtype=dtype, **changes)
        options = {**vars(MODEL_DATACLASS_REGISTRY[arch]()), **ARCHITECTURES[arch]}
        options |= {"dropout": 0.0, "projection": True, **changes, "tying": tying}
    else:
        model = small_model(tying, source, target, dtype, **changes)
        sizes = {"embed_dim": 6, "encoder_hidden_size": 4, "decoder_hidden_size": 5}
        options = {**vars(MODEL_DATACLASS_REGISTRY["tied_gru"]()), **sizes, "attention_size": 7}
        options |= {"dropout": 0.0, **changes, "tying": tying}
    return ModelState(
        architecture=arch,
        options=options,
        weights=model.state_dict(),
        source=None if arch in LANGUAGE_MODELS else source,
        target=target,
        moments=moments_of(model),
    )


def moments_of(model):
    torch.manual_seed(3)
    named = {name: p for name, p in model.named_parameters() if p.requires_grad}
    optimizer = torch.optim.Adam(named.values(), lr=0.01)
    for parameter in named.values():
        parameter.grad = torch.randn_like(parameter)
    before = {name: p.detach().clone() for name, p in named.items()}
    optimizer.step()
    with torch.no_grad():  # the weights as they were
        for name, parameter in named.items():
            parameter.copy_(before[name])
    shapes = {name: p.shape for name, p in named.items()}
    return Moments.read(optimizer.state_dict(), shapes)


def scores(model, given=None, arch="tied_gru"):
    built = model.build().double().eval()
    return built(**(given or inputs_for(arch)[0]))[0]


def translated(tokens, old, new):
    """The same symbols in another dictionary."""
    return torch.tensor([[new.index(old.symbols[t]) for t in row] for row in tokens.tolist()])


def given_in(model, arch, old=JOINT):
    """The usual batch, of the entries that ``model`` has for its symbols."""
    given, _ = inputs_for(arch)
    first = model.dictionaries[0]
    changed = {**given, "src_tokens": translated(given["src_tokens"], old, first)}
    if "prev_output_tokens" in given:
        previous = translated(given["prev_output_tokens"], old, model.target)
        changed["prev_output_tokens"] = previous
    return changed


def used(arch):
    """The units of the usual batch."""
    given, _ = inputs_for(arch)
    rows = {int(t) for name in ("src_tokens", "prev_output_tokens") if name in given
            for t in given[name].flatten()}  # fmt: skip
    return {JOINT.symbols[row] for row in rows} - set(SPECIAL)


def rows_of(symbols, dictionary_):
    return [dictionary_.index(symbol) for symbol in symbols]


# --- trim --------------------------------------------------------------------------------------


@every_case
def test_a_trimmed_model_scores_what_is_left_as_before(arch, tying):
    model = trained(arch, tying)
    smaller = trim(model, used(arch))
    left = smaller.target.symbols
    assert left == [s for s in JOINT.symbols if s in used(arch) | set(SPECIAL)]
    assert len(left) < len(JOINT)
    before = scores(model, arch=arch)[..., rows_of(left, JOINT)]
    after = scores(smaller, given_in(smaller, arch), arch)
    torch.testing.assert_close(before, after, rtol=0, atol=1e-12)
    assert smaller.build().tie_map.tying == tying


def test_rows_are_the_same_bit_for_bit():
    model = trained(dtype=torch.float32)
    smaller = trim(model, {"w3", "w18", "nothing"})
    assert smaller.target.symbols == [*SPECIAL, "w3", "w18"]
    rows = [0, 1, 2, 3, 7, 22]
    for name in (OURS.source, OURS.bias):
        assert torch.equal(smaller.weights[name], model.weights[name][rows])
        state = smaller.moments.states[name]
        for key in ("exp_avg", "exp_avg_sq"):
            assert torch.equal(state[key], model.moments.states[name][key][rows])


def test_a_unit_of_one_side_alone():
    source, target = dictionary(["a", "b", "c"]), dictionary(["b", "c", "d"])
    model = trained(tying=DECODER, source=source, target=target)
    smaller = trim(model, {"a", "b"})
    assert smaller.source.symbols == [*SPECIAL, "a", "b"]
    assert smaller.target.symbols == [*SPECIAL, "b"]
    smaller.build()


def test_the_most_frequent():
    counted = dictionary_of(JOINT, [("rare", 1), ("often", 9), ("some", 4), ("madeupword0000", 0)])
    model = dataclasses.replace(trained(), source=counted, target=counted)
    assert most_frequent(model, 2) == {"often", "some"}
    with pytest.raises(UserError, match="--keep 4: the model has 3 units"):
        most_frequent(model, 4)


def test_the_most_frequent_of_two_dictionaries():
    """A unit of both has the counts of both."""
    source = dictionary_of(JOINT, [("own", 6), ("both", 4)])
    target = dictionary_of(JOINT, [("seven", 7), ("both", 4)])
    model = dataclasses.replace(trained(tying=NONE), source=source, target=target)
    assert most_frequent(model, 1) == {"both"}
    assert most_frequent(model, 2) == {"both", "seven"}


def test_entries_that_fill_a_dictionary_up_stay_if_they_are_named():
    """So that an extended model can be what it was."""
    filled = dictionary_of(JOINT, [("a", 3), ("madeupword0000", 0), ("madeupword0001", 0)])
    model = trained(tying=NONE, source=filled, target=filled)
    larger = extend(model, {"new": 5}, lambda unit: ("a",), Start())
    back = trim(larger, set(filled.symbols))
    assert back.target.symbols == filled.symbols
    assert torch.equal(back.weights["vocabulary_version"], model.weights["vocabulary_version"])
    assert trim(model, {"a"}).target.symbols == [*SPECIAL, "a"]


def test_a_model_that_trained_few_rows_translates_with_fewer():
    """Of the numbers of --train-rows there are none any more."""
    model = trained(train_rows=f"{len(JOINT) - 2}:", projection=False)
    smaller = trim(model, {"w1", "w3"})
    assert hypotheses(smaller, [["w1", "w3"]], beam=1)[0]


def test_nothing_left():
    with pytest.raises(UserError, match="none of these units"):
        trim(trained(), {"nothing"})


def test_private_rows_follow_their_units(tmp_path):
    (tmp_path / "units").write_text("w2\nw9\nw17\n")
    model = trained(private_units=str(tmp_path / "units"))
    private = model.weights[OURS.private]
    smaller = trim(model, used("tied_gru") | {"w9", "w17"} - {"w2"})
    kept = [u for u in ("w2", "w9", "w17") if u in smaller.source.indices]
    entries = smaller.weights["encoder.input_scale.private.units_version"].tolist()
    assert [smaller.source.symbols[entry] for entry in entries] == kept
    places = [("w2", "w9", "w17").index(unit) for unit in kept]
    assert torch.equal(smaller.weights[OURS.private], private[places])
    assert torch.equal(
        smaller.moments.states[OURS.private]["exp_avg"],
        model.moments.states[OURS.private]["exp_avg"][places],
    )
    before = scores(model)[..., rows_of(smaller.target.symbols, JOINT)]
    torch.testing.assert_close(before, scores(smaller, given_in(smaller, "tied_gru")))
    without = trim(model, {"w5"})
    assert not without.options["private_units"]
    without.build()


def test_what_else_a_model_may_have():
    """A bias of P, a map of low rank, whose left factor has a row per entry; short rows."""
    for changes in (
        {"projection_bias": True, "output_map": "low-rank", "output_map_size": 2},
        {"embedding_rank": 3, "input_scale": "learned"},
    ):
        model = trained(**changes)
        smaller = trim(model, used("tied_gru"))
        before = scores(model)[..., rows_of(smaller.target.symbols, JOINT)]
        torch.testing.assert_close(before, scores(smaller, given_in(smaller, "tied_gru")))


# --- extend ------------------------------------------------------------------------------------


@every_case
def test_an_extended_model_scores_old_units_as_before_and_new_ones_as_the_mean(arch, tying):
    model = trained(arch, tying)
    larger = extend(model, {"new": 5, "newer": 3, "unheard": 2}, parts_of, Start())
    assert larger.target.symbols == [*JOINT.symbols, "new", "newer", "unheard"]
    assert larger.target.count[-3:] == [5, 3, 2]
    before, after = scores(model, arch=arch), scores(larger, arch=arch)
    torch.testing.assert_close(before, after[..., : len(JOINT)], rtol=0, atol=1e-12)
    parts = [rows_of(PARTS[unit], JOINT) for unit in ("new", "newer", "unheard")]
    assert parts[2][0] == JOINT.unk()
    for row, of in zip((-3, -2, -1), parts, strict=True):
        torch.testing.assert_close(after[..., row], before[..., of].mean(-1))
    assert larger.build().tie_map.tying == tying


@every_case
def test_old_rows_come_back_bit_for_bit(arch, tying):
    model = trained(arch, tying, dtype=torch.float32)
    larger = extend(model, {"new": 5, "newer": 3}, parts_of, Start())
    back = trim(larger, set(JOINT.symbols))
    assert back.weights.keys() == model.weights.keys()
    for name, weight in model.weights.items():
        assert torch.equal(weight, back.weights[name]), name
    for name, state in model.moments.states.items():
        for key, value in state.items():
            assert torch.equal(value, back.moments.states[name][key]), (name, key)


def test_a_row_from_unknown():
    model = trained(tying=NONE)
    larger = extend(model, {"new": 5}, parts_of, Start("unk"))
    for name in (OURS.source, OURS.target, OURS.output, OURS.bias):
        assert torch.equal(larger.weights[name][-1], model.weights[name][JOINT.unk()])


def test_rows_at_random_are_as_wide_as_the_matrix():
    model = trained(tying=NONE)
    units = {f"x{i}": 1 for i in range(400)}
    larger = extend(model, units, lambda unit: ("w1",), Start("random"))
    again = extend(model, units, lambda unit: ("w1",), Start("random"))
    for name in (OURS.source, OURS.target, OURS.output):
        new, old = larger.weights[name][len(JOINT) :], model.weights[name]
        assert 0.9 < new.std() / old.std() < 1.1
        assert torch.equal(new, again.weights[name][len(JOINT) :])


def test_rows_from_vectors_are_mapped_by_the_units_that_both_have():
    """Vectors that are the rows turned and shifted give the row that was left out."""
    model = trained(tying=THREE_WAY)
    matrix = model.weights[OURS.source]
    turn = torch.linalg.qr(torch.randn(6, 6, dtype=torch.float64))[0]
    known = {s: matrix[JOINT.index(s)] @ turn + 3 for s in JOINT.symbols[4:]}
    wanted = torch.randn(6, dtype=torch.float64)
    vectors = {**known, "new": wanted @ turn + 3}
    larger = extend(model, {"new": 1, "newer": 1}, parts_of, Start("vectors", vectors))
    assert torch.allclose(larger.weights[OURS.source][-2], wanted, atol=0.05)
    assert torch.equal(larger.weights[OURS.source][-1], matrix[JOINT.index("w4")])
    with pytest.raises(UserError, match="no vector for any unit of the model"):
        extend(model, {"new": 1}, parts_of, Start("vectors", {"new": wanted}))


def test_moments_of_new_rows():
    """No direction yet; steps as long as those of the rows that they are made of."""
    model = trained()
    states = model.moments.states[OURS.source]
    larger = extend(model, {"new": 5}, parts_of, Start()).moments.states[OURS.source]
    assert not larger["exp_avg"][-1].any()
    expected = states["exp_avg_sq"][rows_of(PARTS["new"], JOINT)].mean(0)
    torch.testing.assert_close(larger["exp_avg_sq"][-1], expected)
    assert larger["step"] == states["step"]


def test_one_side_alone():
    source, target = dictionary(["a", "b"]), dictionary(["b", "c", "d"])
    model = trained(tying=NONE, source=source, target=target)
    one = extend(model, {"new": 1}, lambda unit: ("b",), Start(), "source")
    assert one.source.symbols[-1] == "new"
    assert one.target.symbols == target.symbols
    both = extend(model, {"c": 1}, lambda unit: ("b",), Start())  # the target has it
    assert (both.source.symbols[-1], len(both.target)) == ("c", len(target))
    with pytest.raises(UserError, match="only one dictionary"):
        extend(trained(), {"new": 1}, parts_of, Start(), "source")


def test_nothing_new():
    with pytest.raises(UserError, match="no new units"):
        extend(trained(), {}, parts_of, Start())


# --- tie and untie -----------------------------------------------------------------------------

MORE = [
    (arch, less, more)
    for arch, more in CASES
    for less in (NONE, INPUTS, DECODER)
    if less != more
    and (more == THREE_WAY or less == NONE)
    and not (arch in LANGUAGE_MODELS and INPUTS in (less, more))
]


@pytest.mark.parametrize(("arch", "less", "more"), [case for case in MORE if case[2] != NONE])
def test_untying_changes_no_score_and_tying_gives_it_back(arch, less, more):
    model = trained(arch, more)
    apart = untie(model, less)
    assert apart.build().tie_map.groups != model.build().tie_map.groups
    assert len(apart.build().embeddings.target.weight) == len(JOINT)
    assert torch.equal(scores(model, arch=arch), scores(apart, arch=arch))
    shapes = {n: p.shape for n, p in apart.build().named_parameters()}
    assert {name: state["exp_avg"].shape for name, state in apart.moments.states.items()} == shapes
    back = tie(apart, more)
    assert torch.equal(scores(model, arch=arch), scores(back, arch=arch))
    assert set(back.weights) == set(model.weights)


def test_untying_keeps_private_rows(tmp_path):
    (tmp_path / "units").write_text("w2\nw9\nw17\n")
    model = trained(private_units=str(tmp_path / "units"))
    for tying in (INPUTS, DECODER, NONE):
        apart = untie(model, tying)
        assert bool(apart.options["private_units"]) == (tying == INPUTS)
        assert torch.equal(scores(model), scores(apart))


def test_rows_are_joined_by_symbol_and_frequency():
    source, target = dictionary(["a", "b"]), dictionary(["c", "b"])
    model = trained(tying=NONE, source=source, target=target)
    counts = {"a": 4, "b": 2}, {"b": 1, "c": 7}
    old = {name: model.weights[name] for name in (OURS.source, OURS.target, OURS.output)}
    u, t, v = old.values()
    tied = tie(model, THREE_WAY, counts=counts)
    row = {s: tied.weights[OURS.source][tied.source.index(s)] for s in "abc"}
    assert tied.source.symbols == tied.target.symbols
    assert len(tied.source) == 8  # as fairseq-preprocess rounds up
    torch.testing.assert_close(row["a"], u[4])
    torch.testing.assert_close(row["b"], (2 * u[5] + t[5] + v[5]) / 4)
    torch.testing.assert_close(row["c"], (t[4] + v[4]) / 2)
    bias = tied.weights[OURS.bias]
    assert bias[tied.target.index("a")] == model.weights[OURS.bias].min()
    assert bias[tied.target.index("c")] == model.weights[OURS.bias][4]
    by_input, by_output = (tie(model, THREE_WAY, o, counts) for o in ("input", "output"))
    expected = {"input": (2 * u[5] + t[5]) / 3, "output": v[5]}
    for name, made in (("input", by_input), ("output", by_output)):
        found = made.weights[OURS.source][made.source.index("b")]
        torch.testing.assert_close(found, expected[name])
        torch.testing.assert_close(made.weights[OURS.source][made.source.index("a")], u[4])
    tied.build()


def test_the_first_rule_that_says_anything_of_a_row_gives_its_weights():
    """An input matrix of two uses and an output matrix, whose rows are wanted."""
    symbols, counts = ("both", "read", "none", "mine", "foreign"), {"both": 3, "read": 2}
    written = {"both": 5, "mine": 0}
    uses = [
        Use.of(SOURCE_INPUT, symbols, counts, {"mine"}, "output"),
        Use.of(TARGET_INPUT, symbols, counts, {"foreign"}, "output"),
        Use.of(OUTPUT, symbols, written, {"foreign"}, "output"),
    ]
    inputs, output = row_weights([uses[:2], uses[2:]])
    assert inputs.dtype == torch.float64
    assert dict(zip(symbols, zip(inputs.tolist(), output.tolist(), strict=True), strict=True)) == {
        "both": (0, 5),  # 1: how often the wanted use has it
        "read": (4, 0),  # 2: how often any use has it
        "none": (0, 1),  # 3: the wanted use had a row
        "mine": (0, 1),
        "foreign": (1, 0),  # 4: some use had one
    }


def test_counts_are_exact_beyond_single_precision():
    most = 2**24 + 1
    use = Use.of(OUTPUT, ["a"], {"a": most}, (), "mean")
    assert row_weights([[use], [use]])[0].item() == most


def test_moments_are_those_of_summed_gradients():
    model = trained(tying=NONE)
    states = model.moments.states
    tied = tie(model, THREE_WAY).moments.states
    for key in ("exp_avg", "exp_avg_sq"):
        total = sum(states[name][key] for name in (OURS.source, OURS.target, OURS.output))
        torch.testing.assert_close(tied[OURS.source][key], total)
    assert OURS.target not in tied
    assert OURS.output not in tied


@pytest.mark.parametrize(
    ("operation", "before", "after", "message"),
    [
        (tie, THREE_WAY, THREE_WAY, "it does already"),
        (tie, INPUTS, DECODER, "untie it first"),
        (untie, NONE, NONE, "ties no more"),
        (untie, DECODER, THREE_WAY, "ties no more"),
    ],
)
def test_what_is_no_step_in_that_direction(operation, before, after, message):
    with pytest.raises(UserError, match=message):
        operation(trained(tying=before), after)


def test_a_language_model_has_one_way_to_tie():
    with pytest.raises(UserError, match="use decoder"):
        tie(trained("tied_lstm_lm", NONE), THREE_WAY)


def test_a_joint_dictionary():
    one = dictionary_of(JOINT, [("a", 5), ("b", 2), ("madeupword0000", 0)])
    other = dictionary_of(JOINT, [("b", 9), ("c", 3)])
    joint = join(one, other)
    assert list(zip(joint.symbols[4:], joint.count[4:], strict=True)) == [
        *(("b", 11), ("a", 5), ("c", 3)),
        ("madeupword0000", 0),
    ]
    assert join(one, one) is one


# --- moments -----------------------------------------------------------------------------------


def test_moments_of_half_precision_are_one_flat_tensor():
    model = trained(dtype=torch.float32)
    states = model.moments.states
    flat = {key: torch.cat([s[key].flatten() for s in states.values()]) for key in
            ("exp_avg", "exp_avg_sq")}  # fmt: skip
    optimizer = {
        "state": {0: {"step": 3, **flat}},
        "param_groups": [{"lr": 1, "params": [0]}],
        "loss_scale": 4,
    }
    read = Moments.read(optimizer, model.moments.shapes)
    changed = extend(dataclasses.replace(model, moments=read), {"new": 1}, parts_of, Start())
    written = changed.moments.write(list(states))
    expected = extend(model, {"new": 1}, parts_of, Start()).moments.states
    assert written["loss_scale"] == 4
    assert written["state"][0]["step"] == 3
    for key in flat:
        whole = torch.cat([state[key].flatten() for state in expected.values()])
        assert torch.equal(written["state"][0][key], whole)


def test_moments_of_other_parameters_are_not_taken():
    model = trained()
    shapes = dict(model.moments.shapes)
    optimizer = model.moments.write(list(shapes))
    assert Moments.read(optimizer, shapes) is not None
    shapes[OURS.bias] = torch.Size((7,))
    assert Moments.read(optimizer, shapes) is None
    del shapes[OURS.bias]
    assert Moments.read(optimizer, shapes) is None
    assert model.moments.write(list(shapes)) is None


def test_adafactor_keeps_columns():
    """One number per row and one per column, in the place of one per value."""
    shapes = {OURS.source: torch.Size((23, 6))}
    row, column = torch.arange(23.0), torch.arange(6.0)
    states = {"exp_avg_sq_row": row, "exp_avg_sq_col": column, "step": 2, "RMS": 0.5}
    optimizer = {"state": {0: states}, "param_groups": [{"params": [0]}]}
    model = trained()
    model = dataclasses.replace(model, moments=Moments.read(optimizer, shapes))
    made = extend(model, {"new": 5}, parts_of, Start()).moments.states[OURS.source]
    parts = rows_of(PARTS["new"], JOINT)
    assert made["exp_avg_sq_row"].tolist() == [*row.tolist(), row[parts].mean()]
    assert torch.equal(made["exp_avg_sq_col"], column)


# --- what training leaves beside gradients' moments ----------------------------------------------


def averaged(model):
    """The model with the state of ``tied_averaged_sgd`` (NT-ASGD), which has weights of its own."""
    built = model.build()
    named = {name: p for name, p in built.named_parameters() if p.requires_grad}
    optimizer = AveragedSGD(named.values(), lr=0.1)
    optimizer.start_averaging()
    torch.manual_seed(4)
    for parameter in named.values():
        parameter.grad = torch.randn_like(parameter)
    optimizer.step()
    optimizer.show_average(True)
    weights = {**model.weights, **{name: p.detach().clone() for name, p in named.items()}}
    shapes = {name: p.shape for name, p in named.items()}
    moments = Moments.read(optimizer.state_dict(), shapes)
    return dataclasses.replace(model, weights=weights, moments=moments)


def test_weights_of_an_averaged_model_are_not_added_up():
    """Tied matrices have one gradient, but the last iterate of NT-ASGD is none: it is given up."""
    apart = averaged(trained("tied_lstm_lm", NONE))
    assert apart.moments is not None
    assert tie(apart, DECODER).moments is None
    assert untie(averaged(trained("tied_lstm_lm", DECODER)), NONE).moments is not None


@pytest.mark.parametrize("start", ["parts", "unk", "random"])
def test_both_weights_of_an_averaged_model_start_a_new_row_alike(start):
    model = averaged(trained("tied_lstm_lm", DECODER))
    larger = extend(model, {"new": 1, "newer": 1}, parts_of, Start(start))
    name, rows = OURS.target, slice(len(JOINT), None)
    other = larger.moments.states[name]["other"]
    if start == "random":
        assert torch.equal(other[rows], larger.weights[name][rows])
    else:
        of = [[JOINT.index(p) for p in PARTS[u]] for u in ("new", "newer")]
        of = of if start == "parts" else [[JOINT.unk()]] * 2
        before = model.moments.states[name]["other"]
        expected = torch.stack([before[parts].mean(0) for parts in of])
        torch.testing.assert_close(other[rows], expected)


@pytest.mark.parametrize("changes", [{"freeze_embeddings": True}, {"train_rows": "5:6"}], ids=str)
def test_a_model_whose_matrices_were_not_trained_has_no_state_to_tie(changes):
    model = trained("tied_lstm_lm", NONE, **changes)
    one_of_two = model.moments.without(OURS.target)
    assert tie(dataclasses.replace(model, moments=one_of_two), DECODER).moments is None
    model = trained("tied_lstm_lm", DECODER, **changes)
    without = dataclasses.replace(model, moments=model.moments.without(OURS.target))
    assert untie(without, NONE).moments is None


@every_case
def test_parameters_are_those_of_the_model(arch, tying):
    """Equal matrices that are trained apart count each."""
    for model in (
        trained(arch, tying),
        *([] if tying == NONE else [untie(trained(arch, tying), NONE)]),
    ):
        built = model.build()
        assert model.parameters == sum(p.numel() for p in built.parameters())


def test_matrices_of_two_sizes_are_not_tied():
    model = trained("tied_lstm", NONE, projection=False, encoder_embed_dim=8)
    for tying in (INPUTS, THREE_WAY):
        with pytest.raises(UserError, match=f"--tying {tying} makes one matrix of the source inp"):
            tie(model, tying)
