"""The Transformer language model beside a loop over the tokens in float64."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F
from omegaconf import OmegaConf

from scripts.lab.architectures import model_size
from tests.support.small_models import dictionary
from tiednmt.errors import UserError
from tiednmt.models.tied_transformer_lm import (
    TiedTransformerLanguageModel,
    TiedTransformerLanguageModelConfig,
)
from tiednmt.modules import CarriedState

WORDS = dictionary(f"w{i}" for i in range(17))
TEXT = torch.randint(4, len(WORDS), (3, 12), generator=torch.Generator().manual_seed(3))
# by number of heads, as Press et al. (2022) have them
SLOPES = {
    1: [1 / 256],
    2: [1 / 16, 1 / 256],
    3: [1 / 16, 1 / 256, 1 / 4],
    8: [2.0**-i for i in range(1, 9)],
    12: [*(2.0**-i for i in range(1, 9)), *(2.0 ** -(i + 0.5) for i in range(4))],
}


def model(**options):
    small = {
        **{"tying": "decoder", "embed_dim": 6, "decoder_layers": 2, "decoder_attention_heads": 2},
        **{"decoder_ffn_embed_dim": 7, "dropout": 0.0, **options},
    }
    config = OmegaConf.create({**vars(TiedTransformerLanguageModelConfig()), **small})
    torch.manual_seed(5)
    built = TiedTransformerLanguageModel.build(config, None, WORDS).double()
    with torch.no_grad():
        for parameter in built.parameters():
            parameter.add_(0.2 * torch.randn_like(parameter))
    return built


def in_windows(built, text, *lengths):
    """The scores, window after window."""
    carried = CarriedState()
    windows = text.split(lengths, dim=1)
    return torch.cat([built(window, carried=carried)[0] for window in windows], 1)


def by_hand(built, tokens, span, pre_norm):
    """The scores of one text, token by token and head by head, from the weights alone."""
    decoder = built.decoder
    heads, dim = decoder.stack.heads, decoder.embedding.embedding_dim
    norm_of = lambda norm, x: F.layer_norm(x, (dim,), norm.weight, norm.bias)  # noqa: E731
    rows = [math.sqrt(dim) * decoder.embedding.weight[token] for token in tokens]
    for layer in decoder.stack.layers:
        attention, feed = layer.self_attention, layer.feed_forward
        read = [norm_of(layer.self_residual.norm, x) if pre_norm else x for x in rows]
        made = [attention.qkv.weight @ x + attention.qkv.bias for x in read]
        query, key, value = ([one.split(dim)[i] for one in made] for i in range(3))
        after = []
        for t, x in enumerate(rows):
            reach = range(max(0, t - span) if span else 0, t + 1)
            found = []
            for h, slope in enumerate(SLOPES[heads]):
                part = slice(h * dim // heads, (h + 1) * dim // heads)
                scores = torch.stack(
                    [
                        query[t][part] @ key[s][part] / math.sqrt(dim / heads) - slope * (t - s)
                        for s in reach
                    ]
                )
                weights = scores.softmax(0)
                found.append(sum(w * value[s][part] for w, s in zip(weights, reach, strict=True)))
            x = x + attention.out.weight @ torch.cat(found) + attention.out.bias
            x = x if pre_norm else norm_of(layer.self_residual.norm, x)
            inner = norm_of(layer.ffn_residual.norm, x) if pre_norm else x
            inner = (feed.up.weight @ inner + feed.up.bias).relu()
            x = x + feed.down.weight @ inner + feed.down.bias
            after.append(x if pre_norm else norm_of(layer.ffn_residual.norm, x))
        rows = after
    rows = [norm_of(decoder.stack.norm, x) for x in rows] if pre_norm else rows
    return torch.stack([decoder.embedding.weight @ x + decoder.output.bias for x in rows])


@pytest.mark.parametrize(
    ("span", "pre_norm", "heads", "dim"),
    [
        *((span, pre_norm, 2, 6) for span in (0, 1, 4, 40) for pre_norm in (False, True)),
        *((4, False, heads, dim) for heads, dim in ((1, 6), (3, 6), (8, 24), (12, 24))),
    ],
)
def test_scores_and_gradients_are_those_of_a_loop(span, pre_norm, heads, dim):
    sizes = {"embed_dim": dim, "decoder_attention_heads": heads}
    built = model(attention_span=span, decoder_normalize_before=pre_norm, **sizes)
    expected = torch.stack([by_hand(built, text, span, pre_norm) for text in TEXT])
    scores, _ = built(TEXT)
    torch.testing.assert_close(scores, expected)
    parameters = [*built.parameters()]
    pairs = zip(
        *(torch.autograd.grad(one.logsumexp(2).sum(), parameters) for one in (scores, expected)),
        strict=True,
    )
    for gradient, exact in pairs:
        torch.testing.assert_close(gradient, exact)


@pytest.mark.parametrize("span", [0, 4])
def test_no_token_looks_ahead_or_beyond_its_span(span):
    built = model(attention_span=span, decoder_layers=1)
    before = built(TEXT)[0]
    changed = TEXT.clone()
    changed[:, 6] = (changed[:, 6] - 3) % 17 + 4
    moved = (built(changed)[0] - before).abs().amax((0, 2)) > 1e-9
    assert moved.tolist() == [6 <= t <= (6 + span if span else 11) for t in range(12)]


@pytest.mark.parametrize("lengths", [(12,), (1,) * 12, (5, 7), (4, 1, 1, 6)])
@pytest.mark.parametrize("span", [1, 4, 12, 40])
def test_how_a_text_is_cut_into_windows_changes_no_score(span, lengths):
    """With a span of all of it, the windows are one long one without any border."""
    built = model(attention_span=span)
    scores = in_windows(built, TEXT, *lengths)
    torch.testing.assert_close(scores, built(TEXT)[0])
    if span >= 12:
        torch.testing.assert_close(scores, model(attention_span=0)(TEXT)[0])


def test_without_a_span_windows_stand_alone():
    built = model()
    assert not built.carries_state and model(attention_span=1).carries_state
    scores = in_windows(built, TEXT, 5, 7)
    alone = torch.cat([built(window)[0] for window in TEXT.split((5, 7), 1)], 1)
    torch.testing.assert_close(scores, alone)


def test_what_is_carried_has_no_gradient_and_no_more_than_the_span():
    built, carried = model(attention_span=4), CarriedState()
    built(TEXT, carried=carried)
    assert [part.shape for part in carried.state] == [(2, 3, 2, 4, 3)] * 2
    assert not any(part.requires_grad for part in carried.state)


@pytest.mark.parametrize("span", [0, 3])
def test_generation_step_by_step(span):
    built, state = model(attention_span=span), {}
    steps = [built.decoder(TEXT[:, : t + 1], incremental_state=state)[0] for t in range(12)]
    torch.testing.assert_close(torch.cat(steps, 1), built(TEXT)[0])


def test_checkpointing_changes_nothing():
    outcomes = []
    for checkpointing in (False, True):
        built = model(attention_span=4, checkpoint_activations=checkpointing)
        loss = in_windows(built, TEXT, 5, 7).logsumexp(2).sum()
        outcomes.append(torch.autograd.grad(loss, [*built.parameters()]))
    for one, other in zip(*outcomes, strict=True):
        assert torch.equal(one, other)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"attention_span": -1}, "--attention-span -1: must be 0 or more"),
        ({"decoder_attention_heads": 4}, "--decoder-attention-heads 4: must divide --embed-dim 6"),
        ({"decoder_layers": 0}, "--decoder-layers 0: must be 1 or more"),
        ({"attention_dropout": 1.0}, "--attention-dropout 1.0: must be from 0 to below 1"),
        ({"tying": "three-way"}, "no source embedding; use --tying decoder"),
    ],
)
def test_options_out_of_range(options, message):
    with pytest.raises(UserError, match=message):
        model(**options)


def test_size_of_the_small_model():
    """Embedding, bias, and per layer attention, feed-forward network and two norms; a last norm."""
    layer = 4 * 256 * 257 + 256 * 512 + 512 + 512 * 256 + 256 + 2 * 2 * 256
    total = 10_000 * 256 + 10_000 + 4 * layer + 2 * 256
    assert model_size("tied_transformer_lm_small", "decoder", None, 10_000).total == total
