"""Attention of single queries to places of their own, against the formula in float64."""

import pytest
import torch

from tests.support.kernel_paths import use_cpu_kernels

COUNTS = (1, 17, 40)  # of places that count; one of them may stand there twice


def given(dim, dtype=torch.float32):
    torch.manual_seed(1)
    queries, both = torch.randn(3, 5, dim, dtype=dtype), torch.randn(3, 50, 2 * dim, dtype=dtype)
    return queries, *both.chunk(2, 2), torch.randint(0, 50, (3, 5, 40)), torch.tensor(COUNTS)


def expected(queries, keys, values, places, counts, heads, aligned):
    """Contexts, and the mean of the weights of the aligned heads, query by query."""
    contexts, weights = torch.empty_like(queries), torch.zeros(places.shape).to(queries)
    for b, k in torch.cartesian_prod(torch.arange(3), torch.arange(5)).tolist():
        own = places[b, k, : counts[b]]
        split = (part.chunk(heads, -1) for part in (queries[b, k], keys[b, own], values[b, own]))
        found = []
        for head, (query, key, value) in enumerate(zip(*split, strict=True)):
            share = (key @ query / len(query) ** 0.5).softmax(0)
            found.append(share @ value)
            weights[b, k, : counts[b]] += share / aligned if head < aligned else 0
        contexts[b, k] = torch.cat(found)
    return contexts, weights


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize(("dim", "heads"), [(128, 4), (64, 1), (10, 2), (38, 2), (3, 3)])
def test_contexts_and_weights(dtype, dim, heads):
    kernels, numbers = use_cpu_kernels(), given(dim, dtype)
    exact = [tensor.double() if tensor.is_floating_point() else tensor for tensor in numbers]
    tolerance = 1e-5 if dtype == torch.float32 else 1e-12
    for aligned in {1, heads}:
        found = kernels.attend_places(*numbers, heads, aligned)
        for one, other in zip(found, expected(*exact, heads, aligned), strict=True):
            torch.testing.assert_close(one.double(), other, rtol=tolerance, atol=tolerance)
        assert torch.equal(kernels.attend_places(*numbers, heads)[0], found[0])
    assert kernels.attend_places(*numbers, heads)[1] is None


def test_threads_change_no_bit():
    kernels, numbers, before = use_cpu_kernels(), given(64), torch.get_num_threads()
    found = []
    for threads in (1, 2, 3):
        torch.set_num_threads(threads)
        try:
            found.append(kernels.attend_places(*numbers, 4)[0])
        finally:
            torch.set_num_threads(before)
    assert torch.equal(found[0], found[1]) and torch.equal(found[0], found[2])


@pytest.mark.parametrize(
    ("wrong", "reason"),
    [
        ({"places": -1}, "a place that is none of 50"),
        ({"places": 50}, "a place that is none of 50"),
        ({"counts": 0}, "a count that is none of 40 places"),
        ({"counts": 41}, "a count that is none of 40 places"),
        ({"heads": 3}, "0 of 3 heads of 10 numbers"),
        ({"aligned": 3}, "3 of 2 heads"),
    ],
    ids=str,
)
def test_what_is_not_there_is_refused(wrong, reason):
    kernels, numbers = use_cpu_kernels(), given(10)
    numbers[3][1, 2, 3] = wrong.get("places", 0)
    numbers[4][1] = wrong.get("counts", 1)
    with pytest.raises(ValueError, match=reason):
        kernels.attend_places(*numbers, wrong.get("heads", 2), wrong.get("aligned", 0))
