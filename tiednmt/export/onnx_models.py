"""Every architecture as two graphs of ONNX: the encoder, and one step of the decoder.

The encoder makes of a source what the steps attend to (outputs ``memory.*``) and the state before
the first (``state.*``); a step takes these and tokens, and gives scores, attention and the state
after (``next.*``). All have the sentences, or hypotheses, as their first axis, so that hypotheses
are ordered anew by taking rows.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from tiednmt.export.onnx_graph import BOOL, FLOAT, INT64, Graph, Name
from tiednmt.models.tied_gru import TiedGRUDecoder, TiedGRUEncoder
from tiednmt.models.tied_lstm import TiedLSTMDecoder, TiedLSTMEncoder
from tiednmt.models.tied_model import TiedModel
from tiednmt.models.tied_transformer import TiedTransformerDecoder, TiedTransformerEncoder
from tiednmt.modules.transformer import LearnedPositions, SinusoidalPositions

SOURCE, TOKENS, SCORES, ATTENTION = "source", "tokens", "scores", "attention"
MEMORY, STATE, NEXT = "memory.", "state.", "next."
_BATCH, _LENGTH, _PAST, _PAST_NOW = "sentences", "source_length", "past", "past_now"


class Value(NamedTuple):
    """A value with its type and the names or lengths of its axes."""

    name: Name
    kind: str
    shape: tuple[int | str, ...]


class Encoded(NamedTuple):
    """What an encoder makes of a source."""

    annotations: Name  # B × S × size
    padding: Name  # B × S, true where there is none
    hidden: tuple[Name, ...] = ()  # LSTM: of each layer after the last step, B × size
    cells: tuple[Name, ...] = ()


class Started(NamedTuple):
    """What the steps attend to, and the state before the first, by name."""

    memory: dict[str, Value]
    state: dict[str, Value]


class Stepped(NamedTuple):
    """What a step yields."""

    features: Name  # N × dim
    state: dict[str, Name]
    attention: Name | None  # N × S


def build_encoder(graph: Graph, model: TiedModel, pad: int) -> Started:
    """Put the encoder, and what comes before the first step of the decoder, into a graph.

    Its input ``source`` is B × S, padded on the right with ``pad``.
    """
    source = graph.input(SOURCE, INT64, _BATCH, _LENGTH)
    padding = graph.op("Equal", source, graph.constant(pad))
    encoder, decoder = model.encoder, model.decoder
    encoded = _of(encoder, _ENCODERS)(graph, encoder, source, padding)
    started: Started = _of(decoder, _STARTS)(graph, decoder, encoded)
    for prefix, values in ((MEMORY, started.memory), (STATE, started.state)):
        for name, value in values.items():
            graph.output(prefix + name, value.name, value.kind, *value.shape)
    return started


def build_step(graph: Graph, model: TiedModel, started: Started) -> None:
    """Put one step of the decoder into a graph: log-probabilities of N hypotheses' next tokens.

    ``tokens`` is N; memory and state have N rows, too.
    """
    tokens = graph.input(TOKENS, INT64, _BATCH)
    memory, state = (
        {name: graph.input(prefix + name, value.kind, *value.shape) for name, value in of.items()}
        for prefix, of in ((MEMORY, started.memory), (STATE, started.state))
    )
    decoder = model.decoder
    stepped: Stepped = _of(decoder, _STEPS)(graph, decoder, tokens, memory, state)
    scores = _scores(graph, model, stepped.features)
    graph.output(SCORES, scores, FLOAT, _BATCH, model.embeddings.target.num_embeddings)
    if stepped.attention is not None:
        graph.output(ATTENTION, stepped.attention, FLOAT, _BATCH, _LENGTH)
    for name, value in stepped.state.items():
        shape = [_PAST_NOW if axis == _PAST else axis for axis in started.state[name].shape]
        graph.output(NEXT + name, value, started.state[name].kind, *shape)


def _of(part: nn.Module, known: Mapping[type, Callable[..., Any]]) -> Callable[..., Any]:
    """What is known of the class of a part, or of one it is derived from."""
    return next(known[cls] for cls in type(part).__mro__ if cls in known)


def supports(model: TiedModel) -> bool:
    """Whether encoder and decoder are of classes that are known here."""
    return isinstance(model.encoder, tuple(_ENCODERS)) and isinstance(model.decoder, tuple(_STEPS))


# --- matrices ----------------------------------------------------------------------------------


def _looked_up(graph: Graph, side: Any, tokens: Name) -> Name:
    """The rows of tokens of an encoder or decoder, … × dim."""
    rows = graph.op("Gather", graph.weight(side.embedding.weight), tokens, axis=0)
    rows = graph.scaled(rows, side.input_scale.value)
    return rows if side.input_scale.up is None else graph.linear(side.input_scale.up, rows)


def _scores(graph: Graph, model: TiedModel, features: Name) -> Name:
    """Log-probabilities (N × vocabulary), by the matrix that may be that of the lookups."""
    layer = model.output_layer
    for before in (layer.projection, layer.down):
        if before is not None:
            features = graph.linear(before, features)
    weight, bias = graph.weight(layer.embedding.weight), graph.weight(layer.bias)
    return graph.op("LogSoftmax", graph.op("Gemm", features, weight, bias, transB=1), axis=-1)


# --- recurrent encoders ------------------------------------------------------------------------


def _lengths(graph: Graph, padding: Name) -> Name:
    """The length of each sentence, as whole numbers of 32 bits."""
    kept = graph.op("Cast", graph.op("Not", padding), to=graph.onnx.TensorProto.INT32)
    return graph.op("ReduceSum", kept, graph.constant([1]), keepdims=0)


def _gates(weight: Tensor, order: tuple[int, ...]) -> Tensor:
    """The blocks of a weight in ONNX's order of gates."""
    parts = weight.detach().chunk(len(order))
    return torch.cat([parts[i] for i in order])


def _recurrent_layer(
    graph: Graph,
    kind: str,
    rnn: nn.RNNBase,
    layer: int,
    rows: Name,
    lengths: Name,
    order: tuple[int, ...],
) -> list[Name]:
    """A layer over S × B × size: states (S × B × size), and those after the last step."""
    directions = ("", "_reverse") if rnn.bidirectional else ("",)

    def stacked(name: str) -> list[Tensor]:
        named = (getattr(rnn, f"{name}_l{layer}{direction}") for direction in directions)
        return [_gates(tensor, order) for tensor in named]

    weights = [torch.stack(stacked(name)) for name in ("weight_ih", "weight_hh")]
    biases = torch.stack(
        [torch.cat(pair) for pair in zip(stacked("bias_ih"), stacked("bias_hh"), strict=True)]
    )
    options = {"linear_before_reset": 1} if kind == "GRU" else {}
    states, *last = graph.ops(
        kind,
        2 if kind == "GRU" else 3,
        rows,
        *(graph.weight(tensor) for tensor in (*weights, biases)),
        lengths,
        hidden_size=rnn.hidden_size,
        direction="bidirectional" if rnn.bidirectional else "forward",
        **options,
    )
    # S × directions × B × hidden, and directions × B × hidden
    joined = graph.reshaped(graph.transposed(states, 0, 2, 1, 3), 0, 0, -1)
    return [joined, *(graph.reshaped(graph.transposed(one, 1, 0, 2), 0, -1) for one in last)]


def _gru_encoder(graph: Graph, encoder: TiedGRUEncoder, source: Name, padding: Name) -> Encoded:
    rows = graph.transposed(_looked_up(graph, encoder, source), 1, 0, 2)
    lengths = _lengths(graph, padding)
    for layer in range(encoder.rnn.num_layers):
        # reset, update, candidate → update, reset, candidate
        rows, _ = _recurrent_layer(graph, "GRU", encoder.rnn, layer, rows, lengths, (1, 0, 2))
    return Encoded(graph.transposed(rows, 1, 0, 2), padding)


def _lstm_encoder(graph: Graph, encoder: TiedLSTMEncoder, source: Name, padding: Name) -> Encoded:
    rows = graph.transposed(_looked_up(graph, encoder, source), 1, 0, 2)
    lengths, hidden, cells = _lengths(graph, padding), [], []
    for layer in range(encoder.rnn.num_layers):
        # input, forget, candidate, output → input, output, forget, candidate
        rows, after, cell = _recurrent_layer(
            graph, "LSTM", encoder.rnn, layer, rows, lengths, (0, 3, 1, 2)
        )
        hidden.append(after)
        cells.append(cell)
    return Encoded(graph.transposed(rows, 1, 0, 2), padding, tuple(hidden), tuple(cells))


# --- conditional GRU ---------------------------------------------------------------------------


def _gru_start(graph: Graph, decoder: TiedGRUDecoder, encoded: Encoded) -> Started:
    annotations, padding = encoded.annotations, encoded.padding
    kept = graph.op("Cast", graph.op("Not", padding), to=graph.onnx.TensorProto.FLOAT)
    total = graph.without_axis(graph.op("MatMul", graph.with_axis(kept, 1), annotations), 1)
    count = graph.op("ReduceSum", kept, graph.constant([1]), keepdims=1)
    mean = graph.op("Div", total, count)
    state = graph.op("Tanh", graph.linear(decoder.initial, mean))
    cell = decoder.cell
    size, width = cell.key.out_features, cell.key.in_features
    return Started(
        memory={
            "annotations": Value(annotations, FLOAT, (_BATCH, _LENGTH, width)),
            "keys": Value(graph.linear(cell.key, annotations), FLOAT, (_BATCH, _LENGTH, size)),
            "padding": Value(padding, BOOL, (_BATCH, _LENGTH)),
        },
        state={"hidden": Value(state, FLOAT, (_BATCH, cell.transition_1.hidden_size))},
    )


def _transition(graph: Graph, cell: nn.GRUCell, inputs: Name, state: Name) -> Name:
    """``torch.nn.GRUCell``: n + u · (h − n)."""
    read = graph.split(graph.product(inputs, cell.weight_ih, cell.bias_ih), 3)
    kept = graph.split(graph.product(state, cell.weight_hh, cell.bias_hh), 3)
    reset, update = (
        graph.op("Sigmoid", graph.op("Add", one, other))
        for one, other in zip(read[:2], kept[:2], strict=True)
    )
    candidate = graph.op("Tanh", graph.op("Add", read[2], graph.op("Mul", reset, kept[2])))
    change = graph.op("Mul", update, graph.op("Sub", state, candidate))
    return graph.op("Add", candidate, change)


def _gru_step(
    graph: Graph,
    decoder: TiedGRUDecoder,
    tokens: Name,
    memory: Mapping[str, Name],
    state: Mapping[str, Name],
) -> Stepped:
    cell, embedded = decoder.cell, _looked_up(graph, decoder, tokens)
    middle = _transition(graph, cell.transition_1, embedded, state["hidden"])
    query = graph.with_axis(graph.linear(cell.query, middle), 1)
    energies = graph.op("Tanh", graph.op("Add", query, memory["keys"]))
    score = graph.weight(cell.score)
    attention = graph.softmax(graph.masked(graph.op("MatMul", energies, score), memory["padding"]))
    context = _mean(graph, attention, memory["annotations"])
    after = _transition(graph, cell.transition_2, context, middle)
    parts = [
        graph.linear(layer, value)
        for layer, value in (
            (decoder.readout_state, after),
            (decoder.readout_input, embedded),
            (decoder.readout_context, context),
        )
    ]
    readout = graph.op("Tanh", graph.op("Sum", *parts))
    return Stepped(readout, {"hidden": after}, attention)


def _mean(graph: Graph, attention: Name, values: Name) -> Name:
    """Means (N × size) of values (N × S × size), weighted by attention (N × S)."""
    return graph.without_axis(graph.op("MatMul", graph.with_axis(attention, 1), values), 1)


# --- LSTM with attention -----------------------------------------------------------------------


def _lstm_start(graph: Graph, decoder: TiedLSTMDecoder, encoded: Encoded) -> Started:
    size = decoder.cell.hidden_size
    state = {}
    parts = (
        ("hidden", decoder.initial_hidden, encoded.hidden),
        ("cell", decoder.initial_cells, encoded.cells),
    )
    for name, layer, values in parts:
        for i, value in enumerate(values):
            first = value if layer is None else graph.linear(layer, value)
            state[f"{name}_{i}"] = Value(first, FLOAT, (_BATCH, size))
    if decoder.cell.input_feeding:
        nothing = graph.op("Mul", state["hidden_0"].name, graph.number(0.0))
        state["feed"] = Value(nothing, FLOAT, (_BATCH, size))
    memory = {}
    if decoder.cell.attention is not None:
        width = decoder.cell.attention.annotation_size
        memory = {
            "annotations": Value(encoded.annotations, FLOAT, (_BATCH, _LENGTH, width)),
            "padding": Value(encoded.padding, BOOL, (_BATCH, _LENGTH)),
        }
    return Started(memory, state)


def _lstm_step(
    graph: Graph,
    decoder: TiedLSTMDecoder,
    tokens: Name,
    memory: Mapping[str, Name],
    state: Mapping[str, Name],
) -> Stepped:
    cell, below = decoder.cell, _looked_up(graph, decoder, tokens)
    if cell.input_feeding:
        below = graph.joined(below, state["feed"])
    after: dict[str, Name] = {}
    for i in range(cell.rnn.num_layers):
        weight_ih, weight_hh, bias_ih, bias_hh = cell.rnn.parameters_of(i)
        gates = graph.op(
            "Add",
            graph.product(below, weight_ih, bias_ih),
            graph.product(state[f"hidden_{i}"], weight_hh, bias_hh),
        )
        read, forget, candidate, write = graph.split(gates, 4)
        kept = graph.op("Mul", graph.op("Sigmoid", forget), state[f"cell_{i}"])
        new = graph.op("Mul", graph.op("Sigmoid", read), graph.op("Tanh", candidate))
        after[f"cell_{i}"] = graph.op("Add", kept, new)
        inner = graph.op("Tanh", after[f"cell_{i}"])
        below = after[f"hidden_{i}"] = graph.op("Mul", graph.op("Sigmoid", write), inner)
    outputs, attention = below, None
    if cell.attention is not None:
        query = graph.with_axis(graph.linear(cell.attention.query, below), 2)
        scores = graph.without_axis(graph.op("MatMul", memory["annotations"], query), 2)
        attention = graph.softmax(graph.masked(scores, memory["padding"]))
        context = _mean(graph, attention, memory["annotations"])
        mixed = graph.linear(cell.attention.mix, graph.joined(context, below))
        outputs = graph.op("Tanh", mixed)
    if cell.input_feeding:
        after["feed"] = outputs
    readout = outputs if decoder.readout is None else graph.linear(decoder.readout, outputs)
    return Stepped(readout, after, attention)


# --- Transformer -------------------------------------------------------------------------------


def _with_positions(graph: Graph, side: Any, rows: Name, positions: Name) -> Name:
    """What enters the first layer; ``positions`` is a vector that fits the last axis but one."""
    of = side.inputs.positions
    if isinstance(of, LearnedPositions):
        places = graph.op("Gather", graph.weight(of.weight), positions, axis=0)
        rows = graph.op("Add", rows, places)
    elif isinstance(of, SinusoidalPositions):
        rows = graph.op("Add", rows, _sinusoids(graph, of.first, _dim(side), positions))
    return rows if side.inputs.norm is None else graph.norm(side.inputs.norm, rows)


def _dim(side: Any) -> int:
    """Numbers of what enters the first layer."""
    return int(side.stack.layers[0].self_attention.out.out_features)


def _sinusoids(graph: Graph, first: int, dim: int, positions: Name) -> Name:
    """Rows of :class:`SinusoidalPositions`."""
    half = dim // 2
    frequencies = np.exp(np.arange(half, dtype=np.float32) * -(math.log(1e4) / max(half - 1, 1)))
    numbers = graph.op("Cast", positions, to=graph.onnx.TensorProto.FLOAT)
    numbers = graph.with_axis(graph.op("Add", numbers, graph.number(first)), 1)
    angles = graph.op("Mul", numbers, graph.constant(frequencies, np.float32))
    waves = graph.joined(graph.op("Sin", angles), graph.op("Cos", angles))
    if dim % 2 == 0:
        return waves
    return graph.op("Pad", waves, graph.constant([0, 0, 0, 1]), graph.number(0.0))


def _heads(graph: Graph, rows: Name, heads: int) -> Name:
    """B × T × dim as B × heads × T × size."""
    return graph.transposed(graph.reshaped(rows, 0, 0, heads, -1), 0, 2, 1, 3)


def _attend(
    graph: Graph, query: Name, keys: Name, values: Name, padding: Name | None, size: int
) -> tuple[Name, Name]:
    """The context (B × T × dim), and the weights (B × heads × T × S)."""
    scores = graph.op("MatMul", graph.scaled(query, size**-0.5), graph.transposed(keys, 0, 1, 3, 2))
    weights = graph.softmax(scores if padding is None else graph.masked(scores, padding))
    context = graph.transposed(graph.op("MatMul", weights, values), 0, 2, 1, 3)
    return graph.reshaped(context, 0, 0, -1), weights


def _read(graph: Graph, residual: Any, rows: Name) -> Name:
    return graph.norm(residual.norm, rows) if residual.pre_norm else rows


def _add(graph: Graph, residual: Any, rows: Name, update: Name) -> Name:
    total = graph.op("Add", rows, update)
    return total if residual.pre_norm else graph.norm(residual.norm, total)


def _activation(graph: Graph, kind: str, rows: Name) -> Name:
    if kind == "linear":
        return rows
    if kind in ("relu", "tanh"):
        return graph.op(kind.capitalize(), rows)
    if kind == "gelu_accurate":  # √(2/π) (x + 0.044715 x³)
        cubed = graph.op("Mul", graph.op("Mul", rows, rows), rows)
        inner = graph.op("Add", rows, graph.scaled(cubed, 0.044715))
        inner = graph.op("Tanh", graph.scaled(inner, math.sqrt(2 / math.pi)))
    else:
        inner = graph.op("Erf", graph.scaled(rows, math.sqrt(0.5)))
    return graph.op("Mul", graph.scaled(rows, 0.5), graph.op("Add", inner, graph.number(1.0)))


def _fed(graph: Graph, layer: Any, rows: Name) -> Name:
    """The feed-forward network and the way around it."""
    feed, residual = layer.feed_forward, layer.ffn_residual
    inner = graph.linear(feed.up, _read(graph, residual, rows))
    update = graph.linear(feed.down, _activation(graph, feed.activation, inner))
    return _add(graph, residual, rows, update)


def _head_size(layer: Any) -> int:
    return int(layer.self_attention.out.in_features // layer.self_attention.heads)


def _transformer_encoder(
    graph: Graph, encoder: TiedTransformerEncoder, source: Name, padding: Name
) -> Encoded:
    length = graph.without_axis(graph.length(source, 1), 0)
    positions = graph.op("Range", graph.constant(0), length, graph.constant(1))
    rows = _with_positions(graph, encoder, _looked_up(graph, encoder, source), positions)
    hidden = graph.with_axis(graph.with_axis(padding, 1), 1)  # B × 1 × 1 × S
    layers: Any = encoder.stack.layers
    for layer in layers:
        attention = layer.self_attention
        read = graph.linear(attention.qkv, _read(graph, layer.self_residual, rows))
        query, keys, values = (_heads(graph, p, attention.heads) for p in graph.split(read, 3))
        context, _ = _attend(graph, query, keys, values, hidden, _head_size(layer))
        rows = _add(graph, layer.self_residual, rows, graph.linear(attention.out, context))
        rows = _fed(graph, layer, rows)
    if encoder.stack.norm is not None:
        rows = graph.norm(encoder.stack.norm, rows)
    return Encoded(rows, padding)


def _transformer_start(graph: Graph, decoder: TiedTransformerDecoder, encoded: Encoded) -> Started:
    memory = {"padding": Value(encoded.padding, BOOL, (_BATCH, _LENGTH))}
    state = {}
    layers: Any = decoder.stack.layers
    for i, layer in enumerate(layers):
        heads, size = layer.source_attention.heads, _head_size(layer)
        both = graph.split(graph.linear(layer.source_attention.key_value, encoded.annotations), 2)
        shape = graph.joined(
            graph.length(encoded.padding, 0), graph.constant([heads, 0, size]), axis=0
        )
        for name, part in zip(("keys", "values"), both, strict=True):
            of_source = _heads(graph, part, heads)
            memory[f"{name}_{i}"] = Value(of_source, FLOAT, (_BATCH, heads, _LENGTH, size))
            nothing = graph.op("ConstantOfShape", shape)
            state[f"{name}_{i}"] = Value(nothing, FLOAT, (_BATCH, heads, _PAST, size))
    return Started(memory, state)


def _transformer_step(
    graph: Graph,
    decoder: TiedTransformerDecoder,
    tokens: Name,
    memory: Mapping[str, Name],
    state: Mapping[str, Name],
) -> Stepped:
    position = graph.length(state["keys_0"], 2)
    rows = _looked_up(graph, decoder, graph.with_axis(tokens, 1))  # N × 1 × dim
    rows = _with_positions(graph, decoder, rows, position)
    hidden = graph.with_axis(graph.with_axis(memory["padding"], 1), 1)
    stack, after, aligned = decoder.stack, {}, None
    layers: Any = stack.layers
    for i, layer in enumerate(layers):
        attention, size = layer.self_attention, _head_size(layer)
        read = graph.linear(attention.qkv, _read(graph, layer.self_residual, rows))
        query, *new = (_heads(graph, part, attention.heads) for part in graph.split(read, 3))
        for name, part in zip(("keys", "values"), new, strict=True):
            after[f"{name}_{i}"] = graph.joined(state[f"{name}_{i}"], part, axis=2)
        keys, values = (after[f"{name}_{i}"] for name in ("keys", "values"))
        context, _ = _attend(graph, query, keys, values, None, size)
        rows = _add(graph, layer.self_residual, rows, graph.linear(attention.out, context))
        attention = layer.source_attention
        read = graph.linear(attention.query, _read(graph, layer.source_residual, rows))
        keys, values = (memory[f"{name}_{i}"] for name in ("keys", "values"))
        query = _heads(graph, read, attention.heads)
        context, weights = _attend(graph, query, keys, values, hidden, size)
        rows = _add(graph, layer.source_residual, rows, graph.linear(attention.out, context))
        rows = _fed(graph, layer, rows)
        if i == stack.aligned_layer:
            aligned = graph.op(
                "Slice", weights, *map(graph.constant, ([0], [stack.aligned_heads], [1]))
            )
    if stack.norm is not None:
        rows = graph.norm(stack.norm, rows)
    assert aligned is not None
    mean = graph.without_axis(graph.op("ReduceMean", aligned, axes=[1], keepdims=0), 1)
    return Stepped(graph.without_axis(rows, 1), after, mean)


_ENCODERS: dict[type, Callable[..., Encoded]] = {
    TiedGRUEncoder: _gru_encoder,
    TiedLSTMEncoder: _lstm_encoder,
    TiedTransformerEncoder: _transformer_encoder,
}
_STARTS: dict[type, Callable[..., Started]] = {
    TiedGRUDecoder: _gru_start,
    TiedLSTMDecoder: _lstm_start,
    TiedTransformerDecoder: _transformer_start,
}
_STEPS: dict[type, Callable[..., Stepped]] = {
    TiedGRUDecoder: _gru_step,
    TiedLSTMDecoder: _lstm_step,
    TiedTransformerDecoder: _transformer_step,
}
