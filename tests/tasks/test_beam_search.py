"""Our beam search against fairseq's own: the same hypotheses, to the last of the beam."""

from types import SimpleNamespace

import pytest
import torch
from fairseq.sequence_generator import SequenceGenerator

from tests.small_models import JOINT, batch, model
from tiednmt.errors import UserError
from tiednmt.tasks.beam_search import TiedSequenceGenerator
from tiednmt.tasks.tied_translation import quantise


@pytest.fixture(scope="module")
def built():
    return model(dtype=torch.float32, dropout=0.1).eval()


def hypotheses(cls, built, sample, prefix=None, **options):
    generator = cls([built], JOINT, **options)
    with torch.no_grad():
        return generator.generate([built], sample, prefix_tokens=prefix)


def assert_same(ours, theirs):
    assert [len(beam) for beam in ours] == [len(beam) for beam in theirs]
    for our_beam, their_beam in zip(ours, theirs, strict=True):
        for one, other in zip(our_beam, their_beam, strict=True):
            assert one["tokens"].tolist() == other["tokens"].tolist()
            for name in ("score", "positional_scores", "attention"):
                torch.testing.assert_close(one[name], other[name], atol=1e-5, rtol=1e-6)


def sentences(count, longest, left_pad=True):
    lengths = [1 + (7 * i) % longest for i in range(count)]
    inputs, _ = batch(lengths, lengths, left_pad)
    del inputs["prev_output_tokens"]
    return {"net_input": inputs}


@pytest.mark.parametrize(
    "options",
    [
        {"beam_size": 1},
        {"beam_size": 5},
        {"beam_size": 5, "max_len": 3},
        {"beam_size": 4, "min_len": 6, "max_len_b": 12},
        {"beam_size": 3, "len_penalty": 0.3, "unk_penalty": 2.0},
        {"beam_size": 4, "normalize_scores": False, "max_len_b": 20},
        {"beam_size": 40, "max_len_b": 8},  # wider than the vocabulary: fairseq cuts it
    ],
    ids=str,
)
@pytest.mark.parametrize("count", [1, 9])
def test_hypotheses_are_fairseqs(built, count, options):
    options = {"max_len_b": 15, **options}
    sample = sentences(count, 6)
    assert_same(
        hypotheses(TiedSequenceGenerator, built, sample, **options),
        hypotheses(SequenceGenerator, built, sample, **options),
    )


def test_padding_on_either_side(built):
    for left_pad in (True, False):
        sample = sentences(5, 6, left_pad)
        options = {"beam_size": 3, "max_len_b": 9}
        assert_same(
            hypotheses(TiedSequenceGenerator, built, sample, **options),
            hypotheses(SequenceGenerator, built, sample, **options),
        )


def test_what_it_cannot_do_is_left_to_fairseq(built):
    sample = sentences(4, 5)
    prefix = torch.full((4, 2), 6)
    found = hypotheses(TiedSequenceGenerator, built, sample, prefix, beam_size=3, max_len_b=9)
    assert all(h["tokens"][:2].tolist() == [6, 6] for beam in found for h in beam)
    options = {"beam_size": 3, "max_len_b": 15}
    plain = hypotheses(TiedSequenceGenerator, built, sample, **options)
    hot = hypotheses(TiedSequenceGenerator, built, sample, temperature=3.0, **options)
    assert_same(hot, hypotheses(SequenceGenerator, built, sample, temperature=3.0, **options))
    assert hot[0][0]["score"] != plain[0][0]["score"]


def test_eight_bits_score_almost_the_same():
    rounded = model(dtype=torch.float32, embed_dim=64).eval()
    features = torch.randn(30, 64).tanh()
    exact = rounded.output_layer(features)
    quantise(rounded)
    error = rounded.output_layer(features) - exact
    assert 0 < error.norm() < 0.02 * exact.norm()


def test_eight_bits_of_another_model_are_refused():
    with pytest.raises(UserError, match="--int8 goes with the models of this plugin"):
        quantise(SimpleNamespace())
