"""Which matrices are one, in memory, in the gradient and on disk."""

import copy

import pytest
import torch
from fairseq.criterions.label_smoothed_cross_entropy import label_smoothed_nll_loss

from scripts.lab.architectures import model_size
from tests.support.small_models import JOINT, batch, dictionary, model
from tiednmt.errors import UserError
from tiednmt.tying import tie_map

MATRICES = {
    "none": [{"source"}, {"target"}, {"output"}],
    "decoder": [{"source"}, {"target", "output"}],
    "three-way": [{"source", "target", "output"}],
}
OTHER = dictionary(f"v{i}" for i in range(len(JOINT) - 4))


def matrices(built):
    embeddings = built.embeddings
    return {
        "source": embeddings.source.weight,
        "target": embeddings.target.weight,
        "output": embeddings.output.embedding.weight,
    }


def assert_sharing(built, tying):
    weights = matrices(built)
    groups = MATRICES[tying]
    for group in groups:
        for a in group:
            for b in weights:
                assert (weights[a] is weights[b]) == (b in group), (a, b)


def loss_of(built, inputs, target):
    scores, _ = built(**inputs)
    loss, _ = label_smoothed_nll_loss(
        scores.log_softmax(-1).flatten(0, 1), target.flatten(), 0.1, ignore_index=JOINT.pad()
    )
    return loss


@pytest.mark.parametrize("projection", [False, True])
@pytest.mark.parametrize("tying", MATRICES)
class TestSharing:
    def test_modules_are_shared_within_groups_alone(self, tying, projection):
        built = model(tying, projection=projection)
        assert_sharing(built, tying)
        assert (built.embeddings.output.projection is not None) == projection

    def test_sharing_survives_copy_load_and_change_of_type(self, tying, projection):
        built = model(tying, projection=projection)
        assert_sharing(copy.deepcopy(built), tying)
        assert_sharing(built.to(torch.bfloat16).float(), tying)
        state = {name: value.clone() for name, value in built.state_dict().items()}
        fresh = model(tying, projection=projection).float()
        fresh.load_state_dict(state)
        assert_sharing(fresh, tying)
        for name, value in built.state_dict().items():
            assert torch.equal(fresh.state_dict()[name], value), name

    def test_each_matrix_is_stored_once(self, tying, projection):
        built = model(tying, projection=projection)
        stored = sum(
            value.numel() for name, value in built.state_dict().items() if "version" not in name
        )
        assert stored == sum(parameter.numel() for parameter in built.parameters())

    def test_tied_gradient_is_the_sum_of_its_uses(self, tying, projection):
        tied = model(tying, projection=projection)
        untied = model("none", projection=projection)
        ours, theirs = matrices(tied), matrices(untied)
        with torch.no_grad():
            for name, weight in theirs.items():
                weight.copy_(ours[name])
            others = dict(untied.named_parameters())
            for name, parameter in tied.named_parameters():
                if "embedding" not in name:
                    others[name].copy_(parameter)
        inputs, target = batch()
        losses = [loss_of(built, inputs, target) for built in (tied, untied)]
        torch.testing.assert_close(losses[0], losses[1], rtol=0, atol=1e-10)
        for loss in losses:
            loss.backward()
        for group in MATRICES[tying]:
            expected = sum(theirs[name].grad for name in group)
            torch.testing.assert_close(ours[min(group)].grad, expected, rtol=1e-10, atol=1e-10)


def test_assigning_a_state_dict_keeps_the_tie():
    built = model("three-way")
    state = {name: value.clone() for name, value in model("three-way").state_dict().items()}
    for name in ("decoder.embedding.weight", "decoder.output.embedding.weight"):
        state[name] = state["encoder.embedding.weight"]
    torch.nn.Module.load_state_dict(built, state, assign=True)
    assert_sharing(built, "three-way")


class TestVocabularies:
    def test_three_way_compares_contents_not_sizes(self):
        assert len(OTHER) == len(JOINT)
        with pytest.raises(UserError, match=r"entry 4 .*--joined-dictionary"):
            model("three-way", target=OTHER)

    def test_three_way_refuses_a_dictionary_that_begins_alike(self):
        longer = dictionary([*JOINT.symbols[4:], "more"])
        with pytest.raises(UserError, match=rf"{len(longer)} entries.*{len(JOINT)} entries"):
            model("three-way", source=longer)

    def test_three_way_takes_equal_dictionaries_that_are_two_objects(self):
        model("three-way", target=dictionary(JOINT.symbols[4:]))

    @pytest.mark.parametrize("tying", ["none", "decoder"])
    def test_other_modes_take_any_pair(self, tying):
        assert_sharing(model(tying, target=OTHER), tying)

    def test_checkpoint_of_other_dictionaries_is_refused(self):
        state = model("none", target=OTHER).state_dict()
        with pytest.raises(UserError, match="other dictionaries"):
            model("none").load_state_dict(state)


class TestSizes:
    @pytest.mark.parametrize(
        ("source", "target", "joint", "millions"),
        [
            (87_000, 92_000, 94_000, {"none": 168, "decoder": 122, "three-way": 80}),
            (83_000, 91_000, 94_000, {"none": 165, "decoder": 119, "three-way": 79}),
        ],
    )
    def test_paper_sizes(self, source, target, joint, millions):
        """Press & Wolf (2017), table 7, in whole millions."""
        for tying, expected in millions.items():
            sizes = (joint, joint) if tying == "three-way" else (source, target)
            total = model_size("tied_gru_press_wolf", tying, *sizes).total
            assert total / 1e6 == pytest.approx(expected, abs=0.65), tying

    @pytest.mark.parametrize("tying", MATRICES)
    def test_map_counts_what_the_model_has(self, tying):
        built = model(tying, projection=True)
        found = tie_map(built.embeddings, built)
        assert found.total == sum(parameter.numel() for parameter in built.parameters())
        untied = model("none", projection=True)
        assert found.untied_total == sum(parameter.numel() for parameter in untied.parameters())
        assert str(found).count("embedding") == 3

    def test_vocabulary_smaller_than_the_specials_is_refused(self):
        with pytest.raises(UserError, match="--source 3: at least the 4 special symbols"):
            model_size("tied_gru", "none", 3, 100)
