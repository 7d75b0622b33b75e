"""What a model in memory makes of source text."""

import pytest
from fairseq.models import MODEL_DATACLASS_REGISTRY

from tests.models.contract import ARCHITECTURES, build
from tests.support.small_models import JOINT
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
