"""Searches of our generator and of fairseq's, to be compared."""

import torch

from tests.support.small_models import JOINT, batch


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
