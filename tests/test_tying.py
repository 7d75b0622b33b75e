"""Which vocabularies can share a matrix, and what the tie map counts."""

import json

import pytest

from tests.support.small_models import JOINT, dictionary, model
from tiednmt.errors import UserError
from tiednmt.modes import TYINGS
from tiednmt.tying import TieMap, build_embeddings, embedding_rows, vocabulary_digest

OTHER = dictionary(f"v{i}" for i in range(len(JOINT) - 4))


class TestVocabularies:
    @pytest.mark.parametrize("tying", ["inputs", "three-way"])
    def test_contents_are_compared_not_sizes(self, tying):
        assert len(OTHER) == len(JOINT)
        with pytest.raises(UserError, match=rf"--tying {tying} .* entry 4 .*--joined-dictionary"):
            model(tying, target=OTHER)

    def test_three_way_refuses_a_dictionary_that_begins_alike(self):
        longer = dictionary([*JOINT.symbols[4:], "more"])
        with pytest.raises(UserError, match=rf"{len(longer)} entries.*{len(JOINT)} entries"):
            model("three-way", source=longer)

    def test_three_way_takes_equal_dictionaries_that_are_two_objects(self):
        model("three-way", target=dictionary(JOINT.symbols[4:]))

    @pytest.mark.parametrize("tying", ["none", "decoder"])
    def test_other_modes_take_any_pair(self, tying):
        assert model(tying, target=OTHER).tie_map.tying == tying


class Words:
    """A vocabulary that is none of fairseq's."""

    pad_index = 0

    def __init__(self, symbols):
        self.symbols = symbols


@pytest.mark.parametrize("tying", ["three_way", "Decoder", "all", ""])
def test_an_unknown_tying_is_no_other(tying):
    words = Words(["<pad>", "a", "b"])
    for call in (
        lambda: build_embeddings(tying, words, words, 4),
        lambda: embedding_rows(tying, 3, 3, 3),
    ):
        with pytest.raises(
            UserError, match=rf"--tying {tying}: .*none, inputs, decoder, three-way"
        ):
            call()


def test_symbols_may_be_any_sequence():
    words = ["<pad>", "a", "b"]
    made = build_embeddings("three-way", Words(words), Words(tuple(words)), 4)
    assert made.source is made.target is made.output.embedding


@pytest.mark.parametrize("tying", TYINGS)
def test_padding_begins_at_zero(tying):
    words = Words(["a", "<pad>", "b"])
    words.pad_index = 1
    made = build_embeddings(tying, words, words, 4)
    for embedding in (made.source, made.target, made.output.embedding):
        assert not embedding.weight[1].any()
        assert embedding.weight[[0, 2]].all()


def test_the_order_of_a_vocabulary_is_part_of_it():
    digests = [
        vocabulary_digest(*vocabularies).tolist()
        for vocabularies in (
            [Words(["a", "b"])],
            [Words(["b", "a"])],
            [Words(["a"]), Words(["b"])],
        )
    ]
    assert len({*map(tuple, digests)}) == 3


@pytest.mark.parametrize("sizes", [(5, 7, 9), (6, 6, 6)])
def test_rows_under_each_mode(sizes):
    source, target, joint = sizes
    found = {tying: embedding_rows(tying, *sizes) for tying in TYINGS}
    assert found == {
        "none": source + 2 * target,
        "inputs": joint + joint,
        "decoder": source + target,
        "three-way": joint,
    }


@pytest.mark.parametrize("projection", [False, True])
@pytest.mark.parametrize("tying", TYINGS)
def test_the_map_counts_what_the_model_has(tying, projection):
    found = model(tying, projection=projection).tie_map
    untied = model("none", projection=projection)
    assert found.untied_total == sum(parameter.numel() for parameter in untied.parameters())
    assert found.tying == tying
    rows = sum(rows for _, (rows, _) in found.groups)
    assert rows == embedding_rows(tying, len(JOINT), len(JOINT), len(JOINT))
    assert found.others["projection P"] == 6 * 6 * projection
    assert str(found).count("embedding") == 3
    assert TieMap.from_json(json.loads(json.dumps(found.to_json()))) == found


def test_the_signature():
    parameters = sum(parameter.numel() for parameter in model("three-way").parameters())
    signature = model("three-way").tie_map.signature
    assert signature.startswith("tie:three-way|vocab:23|dim:6|matrices:1|proj:no|")
    assert f"|params:{parameters}|version:" in signature
    longer = dictionary([*JOINT.symbols[4:], "more"])
    assert "|vocab:23+24|" in model("none", target=longer).tie_map.signature
