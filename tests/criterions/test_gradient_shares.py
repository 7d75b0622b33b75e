"""What each use adds to the gradient of a matrix, against the same model with the uses apart."""

from __future__ import annotations

import json
from types import SimpleNamespace

import pytest
import torch
from fairseq.data import Dictionary

from tests.models.contract import CASES, build, every_translator, inputs_for, loss_of
from tests.support.searches import hypotheses, sentences
from tests.support.small_models import JOINT, dictionary
from tests.support.small_models import model as small_model
from tiednmt.criterions.gradient_shares import GradientShares, read_gradient_shares
from tiednmt.errors import UserError
from tiednmt.tasks.sequence_generator import TiedSequenceGenerator
from tiednmt.tying import INPUT, NONE, OUTPUT, SOURCE_INPUT, TARGET_INPUT
from tiednmt.tying import JOINT as WITH_JOINT


def measured(model, batches, folder, every=1, **options):
    """The records of one update over these batches, and of the batch of a next one."""
    shares = GradientShares(every, folder, JOINT, JOINT, **options)
    for given, target in batches:
        shares.observe(0, model)
        loss_of(model, given, target).backward()
    shares.observe(1, model)
    return read_gradient_shares(folder)


def two_batches(arch):
    return [inputs_for(arch), inputs_for(arch, lengths=(2, 4), target_lengths=(3, 5))]


def gradients_apart(model, arch, batches, **options):
    """The gradient of each use, of the same model with three matrices."""
    apart = build(arch, NONE, **options)
    weights = dict(model.named_parameters(remove_duplicate=False))
    with torch.no_grad():
        for name, parameter in apart.named_parameters():
            parameter.copy_(weights[name])
    for given, target in batches:
        loss_of(apart, given, target).backward()
    names = {TARGET_INPUT: apart.embeddings.target, OUTPUT: apart.embeddings.output.embedding}
    if apart.embeddings.source is None:
        names[INPUT] = names.pop(TARGET_INPUT)
    else:
        names[SOURCE_INPUT] = apart.embeddings.source
    return {use: embedding.weight.grad for use, embedding in names.items()}


@pytest.mark.parametrize(("arch", "tying"), CASES)
@pytest.mark.parametrize("options", [{}, {"input_scale": "3"}, {"input_scale": "learned"}])
def test_each_use_has_the_gradient_that_it_has_apart(arch, tying, options, tmp_path):
    model, batches = build(arch, tying, **options), two_batches(arch)
    (record,) = measured(model, batches, tmp_path)
    gradients = gradients_apart(model, arch, batches, **options)
    norms = {use: float(grad.norm()) for use, grad in gradients.items()}
    assert record["uses"].keys() == norms.keys()
    for use, found in record["uses"].items():
        assert found["norm"] == pytest.approx(norms[use])
        assert found["share"] == pytest.approx(norms[use] / sum(norms.values()))
    for pair, cosine in record["cosines"].items():
        one, other = (gradients[use].flatten() for use in pair.split(", "))
        assert cosine == pytest.approx(float(torch.cosine_similarity(one, other, dim=0)))
    assert len(record["cosines"]) == len(norms) * (len(norms) - 1) / 2


# the units 4 and 5 are the source's alone, 6 to 8 the target's, 9, 10 and </s> of both
TEXT = SimpleNamespace(
    src=[torch.tensor([4, 9, 2]), torch.tensor([5, 10, 2])],
    tgt=[torch.tensor([6, 7, 9, 9, 2]), torch.tensor([10, 8, 2])],
)
WHOSE = {"source only": [4, 5], "target only": [6, 7, 8], "both": [2, 9, 10]}
WHOSE["neither"] = sorted({*range(len(JOINT))} - {row for rows in WHOSE.values() for row in rows})


@pytest.mark.parametrize(("arch", "tying"), CASES)
def test_rows_by_whose_text_has_them(arch, tying, tmp_path):
    model, batches = build(arch, tying), two_batches(arch)
    (record,) = measured(model, batches, tmp_path, training_data=lambda: TEXT)
    if tying not in WITH_JOINT:
        assert "rows" not in record
        assert not any("sides" in use for use in record["uses"].values())
        return
    assert record["rows"] == {side: len(rows) for side, rows in WHOSE.items()}
    for use, grad in gradients_apart(model, arch, batches).items():
        found = record["uses"][use]
        for side, rows in WHOSE.items():
            assert found["sides"][side] == pytest.approx(float(grad[rows].norm()))
        squares = sum(norm**2 for norm in found["sides"].values())
        assert squares == pytest.approx(found["norm"] ** 2)


def test_parts_of_the_text_add_up(tmp_path):
    """As where fairseq goes on to the next shard; text in one language says nothing."""
    one = SimpleNamespace(src=TEXT.src[:1], tgt=TEXT.tgt[:1])
    other = SimpleNamespace(src=TEXT.src[1:], tgt=TEXT.tgt[1:])
    parts = iter([SimpleNamespace(), one, other])
    model, batch = build("tied_gru"), inputs_for("tied_gru")
    shares = GradientShares(1, tmp_path, JOINT, JOINT, lambda: next(parts, other))
    for update in range(4):
        shares.observe(update, model)
        loss_of(model, *batch).backward()
    plain, first, whole = read_gradient_shares(tmp_path)
    assert "rows" not in plain
    assert first["rows"]["source only"] == 1 and first["rows"]["both"] == 2
    assert whole["rows"] == {side: len(rows) for side, rows in WHOSE.items()}


@pytest.mark.parametrize(("arch", "tying"), CASES)
def test_rows_that_do_not_train_have_no_gradient(arch, tying, tmp_path):
    """The gradient is that of the update, of which --train-rows leaves these rows."""
    model, batches = build(arch, tying, train_rows="4:9"), two_batches(arch)
    (record,) = measured(model, batches, tmp_path)
    for use, grad in gradients_apart(model, arch, batches).items():
        assert record["uses"][use]["norm"] == pytest.approx(float(grad[4:9].norm()))


@pytest.mark.parametrize(
    ("units", "uses"),
    [("w3\nw5\n", {TARGET_INPUT, OUTPUT}), ("v3\nv5\n", {SOURCE_INPUT})],
    ids=["of the target", "of the source"],
)
def test_a_matrix_that_does_not_train_is_not_measured(tmp_path, units, uses):
    """None of these units is in the other side's dictionary."""
    (tmp_path / "units").write_text(units)
    source = dictionary(f"v{i}" for i in range(19))
    model = small_model(NONE, source=source, train_rows=str(tmp_path / "units"))
    shares = GradientShares(1, tmp_path, source, JOINT)
    shares.observe(0, model)
    loss_of(model, *inputs_for("tied_gru")).backward()
    shares.observe(1, model)
    (record,) = read_gradient_shares(tmp_path)
    assert record["uses"].keys() == uses


def test_in_bfloat16_sums_do_not_stop_growing(tmp_path):
    """The gradients of many tokens of one unit, over many batches of an update."""
    model = build("tied_gru", WITH_JOINT[-1]).bfloat16()
    given, target = inputs_for("tied_gru", lengths=(9,) * 40, target_lengths=(5,) * 40)
    given["src_tokens"].fill_(4)
    norms = []
    for batches in (1, 20):
        folder = tmp_path / str(batches)
        folder.mkdir()
        (record,) = measured(model, [(given, target)] * batches, folder)
        norms.append({use: found["norm"] for use, found in record["uses"].items()})
    for use, norm in norms[0].items():
        assert norms[1][use] == pytest.approx(20 * norm, rel=1e-3), use


def test_training_is_the_same_and_only_every_nth_update_is_measured(tmp_path):
    plain, watched = (build("tied_gru") for _ in range(2))
    shares = GradientShares(2, tmp_path, JOINT, JOINT)
    given, target = inputs_for("tied_gru")
    for update in range(5):
        shares.observe(update, watched)
        for model in (plain, watched):
            loss_of(model, given, target).backward()
    for one, other in zip(plain.parameters(), watched.parameters(), strict=True):
        assert torch.equal(one.grad, other.grad)
    assert [record["update"] for record in read_gradient_shares(tmp_path)] == [0, 2]


def test_the_gradient_of_the_lookups_can_be_scaled(tmp_path):
    folders = [tmp_path / "plain", tmp_path / "scaled"]
    batches = [inputs_for("tied_gru")]
    (plain,), (scaled,) = (
        measured(build("tied_gru", input_gradient_scale=scale), batches, folder)
        for scale, folder in zip((1.0, 0.25), folders, strict=True)
    )
    for use, factor in ((SOURCE_INPUT, 0.25), (TARGET_INPUT, 0.25), (OUTPUT, 1)):
        assert scaled["uses"][use]["norm"] == pytest.approx(factor * plain["uses"][use]["norm"])


@every_translator
def test_a_validation_that_decodes_is_not_measured(arch, tmp_path):
    """fairseq validates before the next update, with the hooks in place."""
    folders, batch = [tmp_path / "plain", tmp_path / "validated"], inputs_for(arch)
    for folder in folders:
        model = build(arch)
        shares = GradientShares(1, folder, JOINT, JOINT)
        shares.observe(0, model)
        loss_of(model, *batch).backward()
        if folder is folders[1]:
            hypotheses(TiedSequenceGenerator, model.eval(), sentences(3, 4), beam_size=2)
        shares.observe(1, model)
    plain, validated = map(read_gradient_shares, folders)
    assert plain == validated


def test_of_an_update_measured_twice_the_later_counts(tmp_path):
    """As where a run was killed, and went on from an earlier checkpoint."""
    lines = [{"update": u, "uses": {}, "cosines": {"of": i}} for i, u in enumerate((0, 5, 10, 5))]
    path = tmp_path / "gradient-shares.jsonl"
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    found = [(one["update"], one["cosines"]["of"]) for one in read_gradient_shares(tmp_path)]
    assert found == [(0, 0), (5, 3), (10, 2)]


def test_a_run_begins_where_its_checkpoint_ended(tmp_path):
    """What an earlier run measured from there on is of another training."""
    path = tmp_path / "gradient-shares.jsonl"
    before = [json.dumps({"update": u, "uses": {}, "cosines": {}}) + "\n" for u in (0, 2, 4, 6)]
    path.write_text("".join(before) + '{"update": 8, "us')  # as a killed run leaves it
    GradientShares(3, tmp_path, JOINT, JOINT).observe(4, small_model())
    assert path.read_text() == "".join(before[:2])


def test_a_damaged_line_is_named(tmp_path):
    (tmp_path / "gradient-shares.jsonl").write_text('{"update": 0, "uses": {}, "cosines": {}}\n{')
    with pytest.raises(UserError, match="line 2"):
        read_gradient_shares(tmp_path)


def test_bands_are_of_the_dictionary_of_their_use(tmp_path):
    """Where the source's most frequent words are the target's rarest."""
    rising = Dictionary()
    for count, word in enumerate(JOINT.symbols[JOINT.nspecial :], start=1):
        rising.add_symbol(word, n=count)
    model, batches = build("tied_gru", NONE), two_batches("tied_gru")
    shares = GradientShares(1, tmp_path, rising, JOINT)
    for given, target in batches:
        shares.observe(0, model)
        loss_of(model, given, target).backward()
    shares.observe(1, model)
    (record,) = read_gradient_shares(tmp_path)
    for use, grad in gradients_apart(model, "tied_gru", batches).items():
        ranked = grad[4:].flip(0) if use == SOURCE_INPUT else grad[4:]
        found = [(*band["ranks"], band["norm"]) for band in record["uses"][use]["bands"]]
        assert found == [
            (1, 10, pytest.approx(float(ranked[:10].norm()))),
            (11, 19, pytest.approx(float(ranked[10:].norm()))),
        ]
