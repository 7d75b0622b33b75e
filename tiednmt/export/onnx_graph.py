"""Graphs of ONNX, put together operation by operation; their weights are in a file they share."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from tiednmt.packages import optional_modules

OPSET, IR_VERSION = 17, 8  # of 2022: onnxruntime 1.13 and later
WEIGHTS = "model.weights"
FLOAT, INT64, BOOL = "FLOAT", "INT64", "BOOL"
_ALIGNMENT = 64  # bytes

Name = str  # of a value of a graph


class SharedWeights:
    """The file of weights, in which a tensor is once, however many graphs read it."""

    def __init__(self) -> None:
        self._places: dict[tuple[int, bool], tuple[int, int]] = {}  # offset and length
        self._arrays: list[Any] = []
        self._kept: list[Tensor] = []  # so that no address is given to another tensor
        self._end = 0

    def place(self, tensor: Tensor, transposed: bool) -> tuple[int, int]:
        """Where the numbers of a tensor are: offset and length in bytes."""
        key = (id(tensor), transposed)
        if key not in self._places:
            array = _array(tensor.t() if transposed else tensor)
            self._places[key] = (self._end, array.nbytes)
            self._kept.append(tensor)
            self._arrays.append(array)
            self._end += array.nbytes + -array.nbytes % _ALIGNMENT
        return self._places[key]

    def write(self, path: Path) -> None:
        """Write the file."""
        with open(path, "wb") as file:
            for array in self._arrays:
                file.write(array.tobytes())
                file.write(bytes(-array.nbytes % _ALIGNMENT))


class Graph:
    """A graph that grows: each method adds an operation and gives the name of its outcome."""

    def __init__(self, name: str, weights: SharedWeights) -> None:
        self.onnx, _ = optional_modules("--to onnx", "onnx", "onnx.helper")
        self.name, self.weights = name, weights
        self._nodes: list[Any] = []
        self._inputs: list[Any] = []
        self._outputs: list[Any] = []
        self._initial: dict[str, Any] = {}
        self._count = 0

    # --- what enters and leaves ----------------------------------------------------------------

    def input(self, name: Name, kind: str, *shape: int | str) -> Name:
        """An input; axes without a fixed length have a name."""
        self._inputs.append(self._described(name, kind, shape))
        return name

    def output(self, name: Name, value: Name, kind: str, *shape: int | str) -> None:
        """An output of this name."""
        self._nodes.append(self.onnx.helper.make_node("Identity", [value], [name]))
        self._outputs.append(self._described(name, kind, shape))

    def _described(self, name: Name, kind: str, shape: Sequence[int | str]) -> Any:
        type_number = getattr(self.onnx.TensorProto, kind)
        return self.onnx.helper.make_tensor_value_info(name, type_number, list(shape))

    def constant(self, value: Any, dtype: Any = np.int64) -> Name:
        """A small constant, kept in the graph."""
        array = np.asarray(value, dtype=dtype)
        name = f"constant_{array.dtype}_{'_'.join(map(str, array.shape))}_{array.tobytes().hex()}"
        if name not in self._initial:
            self._initial[name] = self.onnx.numpy_helper.from_array(array, name)
        return name

    def weight(self, tensor: Tensor, transposed: bool = False) -> Name:
        """A tensor of the file that all graphs share."""
        offset, length = self.weights.place(tensor, transposed)
        name = f"weight_{offset}"
        if name not in self._initial:
            proto = self.onnx.TensorProto(name=name, data_type=self.onnx.TensorProto.FLOAT)
            proto.dims.extend(reversed(tensor.shape) if transposed else tensor.shape)
            proto.data_location = self.onnx.TensorProto.EXTERNAL
            for key, value in (("location", WEIGHTS), ("offset", offset), ("length", length)):
                proto.external_data.add(key=key, value=str(value))
            self._initial[name] = proto
        return name

    def save(self, path: Path) -> None:
        """Write the graph; its weights, :meth:`SharedWeights.write` writes."""
        helper = self.onnx.helper
        graph = helper.make_graph(
            self._nodes, self.name, self._inputs, self._outputs, list(self._initial.values())
        )
        opset = [helper.make_opsetid("", OPSET)]
        model = helper.make_model(graph, opset_imports=opset, producer_name="tiednmt")
        model.ir_version = IR_VERSION
        path.write_bytes(model.SerializeToString())

    # --- operations ----------------------------------------------------------------------------

    def op(self, kind: str, *inputs: Name, **attributes: Any) -> Name:
        """An operation with one outcome."""
        (name,) = self.ops(kind, 1, *inputs, **attributes)
        return name

    def ops(self, kind: str, outcomes: int, *inputs: Name, **attributes: Any) -> list[Name]:
        """An operation with several outcomes."""
        names = [f"{kind.lower()}_{self._count + i}" for i in range(outcomes)]
        self._count += outcomes
        self._nodes.append(self.onnx.helper.make_node(kind, inputs, names, **attributes))
        return names

    def linear(self, layer: nn.Linear, rows: Name) -> Name:
        """``torch.nn.Linear``."""
        return self.product(rows, layer.weight, layer.bias)

    def product(self, rows: Name, weight: Tensor, bias: Tensor | None = None) -> Name:
        """rows Wᵀ + b."""
        product = self.op("MatMul", rows, self.weight(weight, transposed=True))
        return product if bias is None else self.op("Add", product, self.weight(bias))

    def norm(self, layer: nn.LayerNorm, rows: Name) -> Name:
        """``torch.nn.LayerNorm`` over the last axis."""
        scale, shift = self.weight(layer.weight), self.weight(layer.bias)
        return self.op("LayerNormalization", rows, scale, shift, axis=-1, epsilon=layer.eps)

    def split(self, value: Name, parts: int) -> list[Name]:
        """Parts of one size, along the last axis."""
        return self.ops("Split", parts, value, axis=-1)

    def joined(self, *values: Name, axis: int = -1) -> Name:
        """Values side by side."""
        return self.op("Concat", *values, axis=axis)

    def reshaped(self, value: Name, *shape: int) -> Name:
        """In another shape: 0 is as before, −1 what is left."""
        return self.op("Reshape", value, self.constant(shape))

    def transposed(self, value: Name, *axes: int) -> Name:
        """With axes in another order."""
        return self.op("Transpose", value, perm=list(axes))

    def with_axis(self, value: Name, axis: int) -> Name:
        """With one more axis, of length 1."""
        return self.op("Unsqueeze", value, self.constant([axis]))

    def without_axis(self, value: Name, axis: int) -> Name:
        """Without an axis of length 1."""
        return self.op("Squeeze", value, self.constant([axis]))

    def length(self, value: Name, axis: int) -> Name:
        """The length of an axis, as a vector of one number."""
        return self.op("Shape", value, start=axis, end=axis + 1)

    def scaled(self, value: Name, factor: float) -> Name:
        """Times a number."""
        return value if factor == 1 else self.op("Mul", value, self.number(factor))

    def number(self, value: float) -> Name:
        """A constant of single precision."""
        return self.constant(value, np.float32)

    def masked(self, scores: Name, padding: Name) -> Name:
        """−∞ in the place of scores where ``padding`` is true."""
        return self.op("Where", padding, self.number(float("-inf")), scores)

    def softmax(self, scores: Name) -> Name:
        """Over the last axis."""
        return self.op("Softmax", scores, axis=-1)


def _array(tensor: Tensor) -> Any:
    with torch.no_grad():
        return tensor.detach().float().cpu().contiguous().numpy()
