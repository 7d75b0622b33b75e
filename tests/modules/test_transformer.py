"""The Transformer's layers against the paper's equations, token by token, in float64."""

import copy
import math

import pytest
import torch
from fairseq.modules import MultiheadAttention

from tests.support.kernel_paths import use_cpu_kernels, use_plain_torch
from tiednmt.modules.dropout import Dropout
from tiednmt.modules.frozen_linear import PackedLinear
from tiednmt.modules.multi_head_attention import (
    KeysAndValues,
    SelfAttention,
    SourceAttention,
    attend,
)
from tiednmt.modules.packing import Packing
from tiednmt.modules.transformer import (
    DecoderStack,
    EncoderStack,
    InputLayer,
    LearnedPositions,
    Past,
    SinusoidalPositions,
)
from tiednmt.modules.transformer_layers import ACTIVATIONS, LayerOptions

DIM, HEADS, FFN = 6, 2, 5
SOURCES, TARGETS = (4, 1, 3), (2, 5, 1)  # lengths
ORDERS = pytest.mark.parametrize("pre_norm", [False, True], ids=["post", "pre"])

ACTIVATION = {
    "relu": lambda x: max(x, 0.0),
    "gelu": lambda x: x * 0.5 * (1 + math.erf(x / math.sqrt(2))),
    "gelu_accurate": lambda x: (
        0.5 * x * (1 + math.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3)))
    ),
    "tanh": math.tanh,
    "linear": lambda x: x,
}


def options(**changes):
    return LayerOptions(**{"dim": DIM, "heads": HEADS, "ffn_dim": FFN, **changes})


def stacks(seed=3, layers=2, **changes):
    """Both, in float64 and with numbers in every bias and gain."""
    torch.manual_seed(seed)
    aligned_layer = changes.pop("aligned_layer", -1)
    common = {k: changes.pop(k) for k in ("layerdrop", "checkpointing") if k in changes}
    encoder = EncoderStack(layers, options(**changes), **common).double()
    decoder = DecoderStack(layers, options(**changes), **common, aligned_layer=aligned_layer)
    decoder.double()
    with torch.no_grad():
        for parameter in (*encoder.parameters(), *decoder.parameters()):
            parameter.add_(0.3 * torch.randn_like(parameter))
    return encoder, decoder


def packing_of(lengths):
    return Packing(torch.arange(max(lengths)) >= torch.tensor(lengths).unsqueeze(1))


def inputs(lengths, seed):
    torch.manual_seed(seed)
    return torch.randn(sum(lengths), DIM, dtype=torch.float64)


# --- the equations, for a sentence (T × dim) ----------------------------------------------------


def affine(layer, row):
    return layer.weight @ row + layer.bias


def normalised(norm, row):
    centred = row - row.mean()
    return centred / (centred.pow(2).mean() + norm.eps).sqrt() * norm.weight + norm.bias


def attention_of(query, keys, values):
    """One token's, over what it may see: the mean of the heads' weights, and what is found."""
    size, found, weights = DIM // HEADS, [], []
    for head in range(HEADS):
        part = slice(head * size, (head + 1) * size)
        scores = torch.stack([query[part] @ key[part] / math.sqrt(size) for key in keys])
        weights.append(scores.exp() / scores.exp().sum())
        found.append(sum(w * value[part] for w, value in zip(weights[-1], values, strict=True)))
    return torch.cat(found), sum(weights) / HEADS


def around(residual, rows, sublayer, *given):
    if residual.pre_norm:
        updates = sublayer([normalised(residual.norm, row) for row in rows], *given)
        return [row + update for row, update in zip(rows, updates, strict=True)]
    pairs = zip(rows, sublayer(rows, *given), strict=True)
    return [normalised(residual.norm, row + update) for row, update in pairs]


def self_attention(rows, layer, causal):
    queries, keys, values = (
        [
            layer.qkv.weight[i * DIM : (i + 1) * DIM] @ row
            + layer.qkv.bias[i * DIM : (i + 1) * DIM]
            for row in rows
        ]
        for i in range(3)
    )
    seen = [slice(t + 1) if causal else slice(None) for t in range(len(rows))]
    return [
        affine(layer.out, attention_of(query, keys[part], values[part])[0])
        for query, part in zip(queries, seen, strict=True)
    ]


def feed_forward(rows, layer):
    activation = ACTIVATIONS[layer.activation]  # each is tested by itself
    return [affine(layer.down, activation(affine(layer.up, row))) for row in rows]


def source_attention(rows, layer, source, told):
    weight, bias = layer.key_value.weight, layer.key_value.bias
    keys, values = (
        [weight[i * DIM : (i + 1) * DIM] @ row + bias[i * DIM : (i + 1) * DIM] for row in source]
        for i in range(2)
    )
    found = [attention_of(affine(layer.query, row), keys, values) for row in rows]
    told.append(torch.stack([weights for _, weights in found]))
    return [affine(layer.out, context) for context, _ in found]


def encoded(stack, rows):
    for layer in stack.layers:
        rows = around(layer.self_residual, rows, self_attention, layer.self_attention, False)
        rows = around(layer.ffn_residual, rows, feed_forward, layer.feed_forward)
    return rows if stack.norm is None else [normalised(stack.norm, row) for row in rows]


def decoded(stack, rows, source, aligned_layer=-1):
    told = []
    for layer in stack.layers:
        rows = around(layer.self_residual, rows, self_attention, layer.self_attention, True)
        given = (source_attention, layer.source_attention, source, told)
        rows = around(layer.source_residual, rows, *given)
        rows = around(layer.ffn_residual, rows, feed_forward, layer.feed_forward)
    rows = rows if stack.norm is None else [normalised(stack.norm, row) for row in rows]
    return rows, told[aligned_layer]


def by_sentence(rows, lengths):
    return [list(part) for part in rows.split(lengths)]


def reference(encoder, decoder, source, target, aligned_layer=-1):
    """Features of all target tokens, N × dim, and the attention of each sentence."""
    pairs = zip(by_sentence(source, SOURCES), by_sentence(target, TARGETS), strict=True)
    results = [decoded(decoder, t, encoded(encoder, s), aligned_layer) for s, t in pairs]
    return torch.stack([row for rows, _ in results for row in rows]), [a for _, a in results]


def computed(encoder, decoder, source, target):
    of_source, of_target = packing_of(SOURCES), packing_of(TARGETS)
    memory = decoder.read(encoder(source, of_source), of_source)
    return decoder(target, of_target, memory, align=True)


@ORDERS
@pytest.mark.parametrize("aligned_layer", [-1, 0])
def test_scores_and_gradients_are_those_of_the_equations(pre_norm, aligned_layer):
    models = stacks(pre_norm=pre_norm, aligned_layer=aligned_layer, activation="gelu")
    given = [inputs(SOURCES, 1).requires_grad_(), inputs(TARGETS, 2).requires_grad_()]
    rows, attention = computed(*models, *given)
    expected, weights = reference(*models, *given, aligned_layer)
    torch.testing.assert_close(rows, expected)
    for found, exact in zip(attention, weights, strict=True):
        torch.testing.assert_close(found[: len(exact), : exact.size(1)], exact)
        assert found[:, exact.size(1) :].abs().sum() == 0
    slopes = torch.randn_like(rows)
    variables = [*given, *models[0].parameters(), *models[1].parameters()]
    gradients, exact = (
        torch.autograd.grad((result * slopes).sum(), variables) for result in (rows, expected)
    )
    for gradient, one in zip(gradients, exact, strict=True):
        torch.testing.assert_close(gradient, one)


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_activations(name):
    xs = torch.linspace(-4, 4, 41, dtype=torch.float64)
    expected = torch.tensor([ACTIVATION[name](x) for x in xs.tolist()], dtype=torch.float64)
    torch.testing.assert_close(ACTIVATIONS[name](xs), expected)


# --- step by step -------------------------------------------------------------------------------


def hypotheses_after(decoder, memory, tokens, parents):
    """Features of every step of hypotheses that branch: step t has ``tokens[t]`` (B × K × dim)."""
    past, features, attention = decoder.start(memory), [], []
    for rows, chosen in zip(tokens, parents, strict=True):
        if chosen is not None:
            chosen = chosen.unsqueeze(2).expand(-1, -1, past.slots.size(2))
            past = Past(past.slots.gather(1, chosen), past.kept)
        row, past, weights = decoder.step(rows, memory, past)
        features.append(row)
        attention.append(weights)
    return features, attention


@ORDERS
@pytest.mark.parametrize(
    "how", ["with gradients", "compiled", "one kernel", "dropout", "plain torch"]
)
def test_hypotheses_that_branch_are_each_as_if_alone(monkeypatch, pre_norm, how):
    """Three hypotheses for each of three sources, through more steps than slots to begin with."""
    if how == "plain torch":
        use_plain_torch(monkeypatch)
    rate = 1e-9 if how == "dropout" else 0.0  # which drops none of 2¹⁶ levels
    encoder, decoder = stacks(pre_norm=pre_norm, attention_dropout=rate)
    if how == "one kernel":
        use_cpu_kernels()
        decoder.freeze(PackedLinear)
    packing = packing_of(SOURCES)
    torch.manual_seed(5)
    steps, beam = 9, 3
    sizes = [1] + [beam] * (steps - 1)
    tokens = [torch.randn(3, size, DIM, dtype=torch.float64) for size in sizes]
    parents = [None, *(torch.randint(0, size, (3, beam)) for size in sizes[:-1])]
    with torch.set_grad_enabled(how == "with gradients"):
        encoded = encoder(inputs(SOURCES, 1), packing)
        memory = decoder.spread(decoder.read(encoded, packing))
        features, attention = hypotheses_after(decoder, memory, tokens, parents)
        keys = memory.read[0].keys
        weights = decoder.compiled and decoder.compiled.weights_for(tokens[0], keys)
        assert (how == "one kernel") == (weights is not None)
        for source in range(3):
            for k in range(beam):
                at, path = k, []
                for t in reversed(range(steps)):
                    path.insert(0, tokens[t][source, at])
                    at = 0 if parents[t] is None else int(parents[t][source, at])
                alone = Packing(torch.zeros(1, steps, dtype=torch.bool))
                own = encoded.split(SOURCES)[source]
                one = decoder.read(own, packing_of(SOURCES[source : source + 1]))
                rows, weights = decoder(torch.stack(path), alone, one, align=True)
                torch.testing.assert_close(features[-1][source, k], rows[-1])
                found = attention[-1][source, k]
                torch.testing.assert_close(found[: len(own)], weights[0, -1])
                assert not found[len(own) :].any()


# --- dropout, layerdrop, checkpointing ----------------------------------------------------------


def loss(models, seed=1):
    torch.manual_seed(seed)
    rows, _ = computed(*models, inputs(SOURCES, 1), inputs(TARGETS, 2))
    return rows.square().sum()


@pytest.mark.parametrize("place", ["dropout", "attention_dropout", "activation_dropout"])
@pytest.mark.parametrize("side", [0, 1])
def test_each_dropout_acts_on_both_sides_in_training_alone(place, side):
    models, given = stacks(**{place: 0.5}), (inputs(SOURCES, 1), inputs(TARGETS, 2))
    models[1 - side].eval()
    assert not torch.equal(*(computed(*models, *given)[0] for _ in range(2)))
    models[side].eval()
    assert torch.equal(*(computed(*models, *given)[0] for _ in range(2)))


@pytest.mark.parametrize("causal", [False, True])
def test_dropout_of_attention_keeps_the_mean(causal):
    torch.manual_seed(1)
    query, *read = (torch.randn(1, 5, 3).expand(4000, 5, 3) for _ in range(3))
    given = query, KeysAndValues(*read), 1
    exact = attend(*given, causal=causal)
    dropped = attend(*given, causal=causal, dropout=Dropout(0.4).train())
    assert not torch.allclose(dropped[0], dropped[1])
    torch.testing.assert_close(dropped.mean(0), exact[0], atol=0.08, rtol=0)


def test_layerdrop_leaves_out_layers_as_often_as_told():
    """In training alone; what is left is a stack of the others."""
    encoder, _ = stacks(layers=3, layerdrop=0.4)
    rows, packing = inputs(SOURCES, 1), packing_of(SOURCES)
    outcomes = {}
    for kept in range(8):
        part = copy.deepcopy(encoder).eval()
        part.layers = torch.nn.ModuleList(
            layer for i, layer in enumerate(encoder.layers) if kept >> i & 1
        )
        outcomes[kept] = part(rows, packing)
    counts = dict.fromkeys(outcomes, 0)
    with torch.no_grad():
        for _ in range(400):
            found = encoder.train()(rows, packing)
            (kept,) = (k for k, expected in outcomes.items() if torch.equal(found, expected))
            counts[kept] += 1
        assert torch.equal(encoder.eval()(rows, packing), outcomes[7])
    for i in range(3):
        assert sum(n for kept, n in counts.items() if kept >> i & 1) / 400 == pytest.approx(
            0.6, abs=0.1
        )
    assert counts[0] / 400 == pytest.approx(0.4**3, abs=0.05)


@ORDERS
def test_checkpointing_changes_no_gradient(pre_norm):
    """Dropout included, which is drawn again as it was."""
    rates = {"dropout": 0.3, "attention_dropout": 0.2, "activation_dropout": 0.1}
    gradients = []
    for checkpointing in (False, True):
        models = stacks(pre_norm=pre_norm, checkpointing=checkpointing, **rates)
        loss(models).backward()
        gradients.append([p.grad for model in models for p in model.parameters()])
    assert all(gradient.abs().sum() > 0 for gradient in gradients[0])
    for one, other in zip(*gradients, strict=True):
        torch.testing.assert_close(one, other)


# --- what enters the first layer ----------------------------------------------------------------


def test_sinusoidal_positions():
    """Those of tensor2tensor, from the position ``first`` on."""
    dim, first = 10, 2
    rows = SinusoidalPositions(first)(torch.zeros(1, dim, dtype=torch.float64), 100)
    for position in (0, 1, 57, 99):
        angles = [(first + position) / 10_000 ** (i / (dim // 2 - 1)) for i in range(dim // 2)]
        expected = [*map(math.sin, angles), *map(math.cos, angles)]
        assert rows[position].tolist() == pytest.approx(expected, abs=2e-5)
    assert rows.dtype == torch.float64


def test_positions_of_any_length_and_type():
    positions = SinusoidalPositions(2)
    for dtype in (torch.float32, torch.bfloat16):
        long = positions(torch.zeros(1, 7, dtype=dtype), 3000)
        assert long.dtype == dtype and len(long) >= 3000
        assert torch.equal(long[:20], positions(torch.zeros(1, 7, dtype=dtype), 20)[:20])
    assert not [*positions.parameters(), *positions.buffers()]
    with torch.inference_mode():
        positions(torch.zeros(1, 9), 20)
    row = torch.zeros(1, 9, requires_grad=True)
    (row + positions(row, 20)).square().sum().backward()  # no inference tensor is left behind


def test_the_input_layer_adds_normalises_and_drops():
    learned = LearnedPositions(9, DIM)
    layer = InputLayer(learned, DIM, 0.5, None).eval()
    rows, positions = torch.randn(4, DIM), torch.tensor([0, 1, 8, 0])
    sums = rows + learned.weight[positions]
    torch.testing.assert_close(layer(rows, positions, 9), torch.layer_norm(sums, (DIM,)))
    one = layer(rows.view(2, 2, DIM), torch.tensor(8), 9)
    torch.testing.assert_close(
        one, torch.layer_norm(rows + learned.weight[8], (DIM,)).view(2, 2, DIM)
    )
    assert (layer.train()(rows, positions, 9) == 0).any()
    bare = InputLayer(None, None, 0.0, None)
    assert torch.equal(bare(rows, positions, 9), rows)


@pytest.mark.parametrize("kind", ["self", "cross"])
@torch.no_grad()
def test_attention_starts_as_fairseqs_does(kind):
    """The largest numbers of its matrices and biases; both are drawn evenly from about zero."""
    torch.manual_seed(1)
    size = 64
    if kind == "self":
        ours, theirs = SelfAttention(size, 2), MultiheadAttention(size, 2, self_attention=True)
        parts = zip(ours.qkv.weight.chunk(3), ours.qkv.bias.chunk(3), strict=True)
    else:
        ours = SourceAttention(size, 2)
        theirs = MultiheadAttention(size, 2, encoder_decoder_attention=True)
        keys_and_values = ours.key_value.weight.chunk(2), ours.key_value.bias.chunk(2)
        parts = [(ours.query.weight, ours.query.bias), *zip(*keys_and_values, strict=True)]
    layers = [theirs.q_proj, theirs.k_proj, theirs.v_proj]
    for (weight, bias), layer in zip(parts, layers, strict=True):
        assert weight.abs().max() == pytest.approx(layer.weight.abs().max().item(), rel=0.01)
        assert weight.std() == pytest.approx(layer.weight.std().item(), rel=0.05)
        assert bias.abs().max() == pytest.approx(layer.bias.abs().max().item(), rel=0.2)
    assert ours.out.weight.abs().max() == pytest.approx(
        theirs.out_proj.weight.abs().max().item(), rel=0.01
    )
    assert not ours.out.bias.any() and not theirs.out_proj.bias.any()
