"""Attention among packed rows against the formula in float64, sentence by sentence."""

import pytest
import torch

from tests.support.kernel_paths import use_cpu_kernels, use_plain_torch
from tiednmt.modules import packed_attention
from tiednmt.modules.dropout import Dropout
from tiednmt.modules.packed_attention import attend_packed, attends_packed
from tiednmt.modules.packing import Packing
from tiednmt.modules.transformer import DecoderStack, EncoderStack
from tiednmt.modules.transformer_layers import LayerOptions

QUERIES = (1, 13, 70, 0, 24, 25, 16, 2)  # tokens of each sentence; what is computed at once is 24
KEYS = (70, 1, 13, 4, 17, 33, 16, 5)


@pytest.fixture(autouse=True)
def _compiled():
    use_cpu_kernels()


def packing_of(lengths):
    return Packing(torch.arange(max(lengths)) >= torch.tensor(lengths).unsqueeze(1))


def expected(queries, keys, values, heads, causal):
    """The formula, for the queries and keys of a sentence (T × dim, S × dim)."""
    found = []
    for q, k, v in zip(*(rows.chunk(heads, 1) for rows in (queries, keys, values)), strict=True):
        scores = q @ k.T / q.size(1) ** 0.5
        if causal:
            scores = scores.masked_fill(torch.ones_like(scores).triu(1).bool(), -torch.inf)
        found.append(scores.softmax(1) @ v)
    return torch.cat(found, 1)


def of_sentences(rows, lengths, parts):
    return zip(*(part.split(lengths) for part in rows.chunk(parts, 1)), strict=True)


def assert_close_in_float64(compute, formula, given, tolerance):
    """Results and gradients of float32 (or float64) inputs are those of the formula in float64."""
    exact = [tensor.detach().double().requires_grad_() for tensor in given]
    results, wanted = compute(*given), formula(*exact)
    slopes = torch.randn_like(wanted)
    found = torch.autograd.grad(results, given, slopes.to(results.dtype))
    for one, other in zip(
        (results, *found), (wanted, *torch.autograd.grad(wanted, exact, slopes)), strict=True
    ):
        torch.testing.assert_close(one.double(), other, rtol=tolerance, atol=tolerance)


DTYPES = pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
SIZES = pytest.mark.parametrize(("dim", "heads"), [(64, 2), (10, 2), (40, 1), (3, 3)])


@DTYPES
@SIZES
@pytest.mark.parametrize("causal", [False, True])
def test_of_sentences_to_themselves(dtype, dim, heads, causal):
    torch.manual_seed(1)
    rows = torch.randn(sum(QUERIES), 3 * dim, dtype=dtype, requires_grad=True)

    def formula(rows):
        sentences = of_sentences(rows, QUERIES, 3)
        return torch.cat([expected(*one, heads, causal) for one in sentences])

    assert_close_in_float64(
        lambda rows: attend_packed(rows, packing_of(QUERIES), heads, causal=causal),
        formula,
        [rows],
        1e-5 if dtype == torch.float32 else 1e-12,
    )


@DTYPES
@SIZES
def test_of_sentences_to_others(dtype, dim, heads):
    torch.manual_seed(2)
    queries = torch.randn(sum(QUERIES), dim, dtype=dtype, requires_grad=True)
    read = torch.randn(sum(KEYS), 2 * dim, dtype=dtype, requires_grad=True)

    def formula(queries, read):
        pairs = zip(queries.split(QUERIES), of_sentences(read, KEYS, 2), strict=True)
        return torch.cat([expected(q, *pair, heads, False) for q, pair in pairs])

    def compute(queries, read):
        return attend_packed(queries, packing_of(QUERIES), heads, (read, packing_of(KEYS)))

    tolerance = 1e-5 if dtype == torch.float32 else 1e-12
    assert_close_in_float64(compute, formula, [queries, read], tolerance)


def test_large_scores_saturate():
    rows = torch.zeros(2, 3)
    rows[:, 0] = rows[:, 1] = torch.tensor([1e3, -1e3])
    rows[:, 2] = torch.tensor([5.0, 7.0])
    assert attend_packed(rows, packing_of((2,)), 1).tolist() == [[5.0], [7.0]]


# --- dropout ------------------------------------------------------------------------------------


def weights_of(lengths, rate, causal=False):
    """Weights with dropout, each of one sentence: found in values that are unit vectors."""
    longest = max(lengths)
    rows = torch.zeros(sum(lengths), 3 * longest)
    rows[:, 2 * longest :] = torch.cat([torch.eye(longest)[:n] for n in lengths])
    found = attend_packed(rows, packing_of(lengths), 1, causal=causal, dropout=Dropout(rate))
    return [part[:, :n] for part, n in zip(found.split(lengths), lengths, strict=True)]


@pytest.mark.parametrize("causal", [False, True])
def test_dropout_drops_its_share_of_weights_and_scales_the_others(causal):
    torch.manual_seed(3)
    lengths = (70,) * 40
    kept, count = 0, 0
    for weights in weights_of(lengths, 0.3, causal):
        full = torch.ones(70, 70)
        full = full.tril() / full.tril().sum(1, keepdim=True) if causal else full / 70
        is_kept = weights != 0
        torch.testing.assert_close(weights[is_kept], full[is_kept] / 0.7)
        kept, count = kept + int(is_kept.sum()), count + int((full > 0).sum())
    assert kept == pytest.approx(0.7 * count, abs=5 * (0.21 * count) ** 0.5)


def test_dropout_is_independent_of_place_sentence_and_head():
    """Two masks at the same place of two sentences or heads agree as often as by chance."""
    torch.manual_seed(4)
    dim = 60
    rows = torch.zeros(2 * dim, 6 * dim)
    rows[:, 4 * dim :] = torch.eye(dim).repeat(2, 2)
    found = attend_packed(rows, packing_of((dim, dim)), 2, dropout=Dropout(0.5))
    masks = (found != 0).float().view(2, dim, 2, dim).transpose(1, 2).flatten(0, 1)  # 4 × 60 × 60
    pairs = [(masks[0], masks[i]) for i in (1, 2, 3)]
    pairs += [(masks[:, 1:], masks[:, :-1]), (masks[..., 1:], masks[..., :-1])]
    for one, other in pairs:
        assert (one == other).float().mean().item() == pytest.approx(0.5, abs=0.05)


def test_a_seed_repeats_dropout():
    draws = []
    for seed in (5, 5, 6):
        torch.manual_seed(seed)
        draws.append(torch.cat([w.flatten() for w in weights_of(QUERIES, 0.4)]))
    assert torch.equal(draws[0], draws[1]) and not torch.equal(draws[0], draws[2])


def test_gradients_with_dropout_are_those_of_the_mask_that_was_drawn():
    """Differences of the loss, the same mask drawn each time, in float64."""
    torch.manual_seed(7)
    rows = torch.randn(sum((3, 30)), 3 * 4, dtype=torch.float64, requires_grad=True)
    slopes = torch.randn(33, 4, dtype=torch.float64)

    def loss(rows):
        torch.manual_seed(8)
        given = (packing_of((3, 30)), 2)
        return (attend_packed(rows, *given, dropout=Dropout(0.5)) * slopes).sum()

    (grad,) = torch.autograd.grad(loss(rows), rows)
    for _ in range(5):
        direction = torch.randn_like(rows)
        with torch.no_grad():
            rise = loss(rows + 1e-5 * direction) - loss(rows - 1e-5 * direction)
        torch.testing.assert_close(rise / 2e-5, (grad * direction).sum(), rtol=1e-7, atol=1e-8)


# --- threads, whole stacks ----------------------------------------------------------------------


def test_threads_change_no_bit():
    outcomes, before = [], torch.get_num_threads()
    for threads in (1, 2, 3):
        torch.set_num_threads(threads)
        try:
            torch.manual_seed(9)
            rows = torch.randn(sum(QUERIES), 3 * 64, requires_grad=True)
            found = attend_packed(rows, packing_of(QUERIES), 4, dropout=Dropout(0.1))
            (grad,) = torch.autograd.grad(found.square().sum(), rows)
        finally:
            torch.set_num_threads(before)
        outcomes.append((found, grad))
    for found, grad in outcomes[1:]:
        assert torch.equal(found, outcomes[0][0]) and torch.equal(grad, outcomes[0][1])


def test_stacks_compute_what_they_do_on_padded_batches(monkeypatch):
    torch.manual_seed(10)
    options = LayerOptions(dim=64, heads=4, ffn_dim=32)
    encoder, decoder = EncoderStack(2, options), DecoderStack(2, options)
    sources, targets = packing_of((9, 40, 1)), packing_of((12, 1, 31))
    given = torch.randn(50, 64, requires_grad=True), torch.randn(44, 64, requires_grad=True)

    def computed():
        memory = decoder.read(encoder(given[0], sources), sources)
        rows, _ = decoder(given[1], targets, memory)
        parameters = [*encoder.parameters(), *decoder.parameters()]
        return rows, *torch.autograd.grad(rows[:, :5].square().sum(), (*given, *parameters))

    assert attends_packed(given[0], sources, targets)
    found = computed()
    use_plain_torch(monkeypatch)
    assert not attends_packed(given[0], sources, targets)
    for one, other in zip(found, computed(), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-4)


def test_what_is_long_or_in_half_precision_is_left_to_torch(monkeypatch):
    rows = torch.zeros(1, 4)
    assert not attends_packed(rows.bfloat16(), packing_of((1,)))
    monkeypatch.setattr(packed_attention, "ATTENTION_TOKENS", 3)
    assert attends_packed(rows, packing_of((3,)))
    assert not attends_packed(rows, packing_of((3,)), packing_of((4, 1)))


@pytest.mark.parametrize("starts", [[0, 2, 1, 3], [0, 1, 4], [1, 3], [0, 1], [0]], ids=str)
def test_sentences_that_are_none_of_the_rows_are_refused(starts):
    kernels, rows = use_cpu_kernels(), torch.zeros(3, 4)
    right, wrong = torch.tensor([0, 3]), torch.tensor(starts)
    for given in ((wrong, right), (right, wrong), (wrong, wrong)):
        with pytest.raises(ValueError, match="kernel"):
            kernels.attend_rows(rows, rows, rows, *given, torch.empty(3, 4), 2)
    with pytest.raises(ValueError, match="3 heads"):
        kernels.attend_rows(rows, rows, rows, right, right, torch.empty(3, 4), 3)
