"""What each use adds to the gradient of a matrix, against the same model with the uses apart."""

from __future__ import annotations

import pytest
import torch

from tests.models.contract import CASES, build, inputs_for, loss_of
from tests.support.small_models import JOINT
from tiednmt.criterions.gradient_shares import GradientShares, read_gradient_shares
from tiednmt.errors import UserError
from tiednmt.tying import INPUT, NONE, OUTPUT, SOURCE_INPUT, TARGET_INPUT


def measured(model, batches, folder, every=1):
    """The records of one update over these batches, and of the batch of a next one."""
    shares = GradientShares(every, folder, JOINT, JOINT)
    for given, target in batches:
        shares.observe(0, model)
        loss_of(model, given, target).backward()
    shares.observe(1, model)
    return read_gradient_shares(folder)


@pytest.mark.parametrize(("arch", "tying"), CASES)
@pytest.mark.parametrize("options", [{}, {"input_scale": "3"}, {"input_scale": "learned"}])
def test_each_use_has_the_gradient_that_it_has_apart(arch, tying, options, tmp_path):
    model, apart = build(arch, tying, **options), build(arch, NONE, **options)
    weights = dict(model.named_parameters(remove_duplicate=False))
    with torch.no_grad():
        for name, parameter in apart.named_parameters():
            parameter.copy_(weights[name])
    batches = [inputs_for(arch), inputs_for(arch, lengths=(2, 4), target_lengths=(3, 5))]
    (record,) = measured(model, batches, tmp_path)
    for given, target in batches:
        loss_of(apart, given, target).backward()
    names = {TARGET_INPUT: apart.embeddings.target, OUTPUT: apart.embeddings.output.embedding}
    if apart.embeddings.source is None:
        names[INPUT] = names.pop(TARGET_INPUT)
    else:
        names[SOURCE_INPUT] = apart.embeddings.source
    gradients = {use: embedding.weight.grad for use, embedding in names.items()}
    norms = {use: float(grad.norm()) for use, grad in gradients.items()}
    assert record["uses"].keys() == norms.keys()
    for use, found in record["uses"].items():
        assert found["norm"] == pytest.approx(norms[use])
        assert found["share"] == pytest.approx(norms[use] / sum(norms.values()))
    for pair, cosine in record["cosines"].items():
        one, other = (gradients[use].flatten() for use in pair.split(", "))
        assert cosine == pytest.approx(float(torch.cosine_similarity(one, other, dim=0)))
    assert len(record["cosines"]) == len(norms) * (len(norms) - 1) / 2


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


def test_a_damaged_line_is_named(tmp_path):
    (tmp_path / "gradient-shares.jsonl").write_text('{"update": 0, "uses": {}, "cosines": {}}\n{')
    with pytest.raises(UserError, match="line 2"):
        read_gradient_shares(tmp_path)
