"""What a model in memory makes of source text."""

import pytest
import torch
from fairseq.models import MODEL_DATACLASS_REGISTRY

from tests.models.contract import ARCHITECTURES, build
from tests.support.small_models import JOINT
from tests.vocabulary.test_surgery import trained
from tiednmt.tying import THREE_WAY
from tiednmt.vocabulary.model import ModelState
from tiednmt.vocabulary.search import hypotheses, likely_units


@pytest.fixture(scope="module")
def short():
    """A Transformer of six learned positions: five units and the end of the sentence."""
    arch, changes = "tied_transformer", {"encoder_learned_pos": True, "max_source_positions": 6}
    options = {**vars(MODEL_DATACLASS_REGISTRY[arch]()), **ARCHITECTURES[arch], **changes}
    options |= {"dropout": 0.0, "projection": True, "tying": THREE_WAY}
    weights = build(arch, THREE_WAY, **changes).state_dict()
    return ModelState(arch, options, weights, JOINT, JOINT)


def test_a_line_is_cut_at_the_limit_of_the_model(short):
    """As when it is translated: the first units and the end of the sentence are left."""
    line = [f"w{i}" for i in range(1, 13)]
    long, cut, shorter = hypotheses(short, [line, line[:5], line[:4]])
    assert long == cut
    assert long != shorter
    first, second, third = (likely_units(short, [(line[:n], ["w2"])]) for n in (12, 5, 4))
    assert first == second
    assert first != third


@torch.no_grad()
def test_likely_units_are_those_with_most_probability():
    """Over all steps of all translations, each after the units before it."""
    state, total = trained(), 0
    ways = [(["w1", "w2"], ["w3", "w4", "w5"]), (["w6"], ["w7"])]
    built, end = state.build().eval(), torch.tensor([JOINT.eos()])
    for words in ways:
        source, target = (torch.tensor([JOINT.index(word) for word in side]) for side in words)
        source, previous = torch.cat((source, end))[None], torch.cat((end, target))[None]
        scores, _ = built(source, torch.tensor([source.size(1)]), previous)
        total = total + scores[0].double().softmax(-1).sum(0)
    order = sorted(range(len(JOINT)), key=lambda row: -total[row])
    assert likely_units(state, ways) == [JOINT.symbols[row] for row in order]
