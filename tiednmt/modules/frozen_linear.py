"""Copies of weights for decoding on a CPU: packed for its cache, or rounded to int8."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterable
from functools import cache, partial
from typing import Any, Generic, TypeVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.multiprocessing.reductions import StorageWeakRef

from tiednmt.kernels import cpu_kernels_for
from tiednmt.kernels.tuning import ROWS_TO_PACK
from tiednmt.processor import is_amd

T = TypeVar("T")

_LARGEST = 127  # of int8; −128 is left out, so that signs are alike


class Snapshot:
    """Tensors as they are now, to tell later whether one has changed.

    A change shows in torch's version counter, or in another tensor, storage or address of its data.
    Writing in place through ``parameter.data`` leaves no trace: edit under ``torch.no_grad()``
    instead.
    """

    def __init__(self, tensors: Iterable[Tensor | None]) -> None:
        tensors = list(tensors)
        self._seen = [None if t is None else (weakref.ref(t), *_state(t)) for t in tensors]
        # so that no other storage gets the number of one that is freed
        self._storages = [StorageWeakRef(t.untyped_storage()) for t in tensors if t is not None]

    def holds(self, tensors: Iterable[Tensor | None]) -> bool:
        """Whether these are exactly the tensors of the snapshot, unchanged."""
        now = list(tensors)
        if len(now) != len(self._seen):
            return False
        for seen, tensor in zip(self._seen, now, strict=True):
            if seen is None or tensor is None:
                if (seen is None) != (tensor is None):
                    return False
            elif seen[0]() is not tensor or seen[1:] != _state(tensor):
                return False
        return True


def _state(tensor: Tensor) -> tuple[int, int, int]:
    """Version, storage and address."""
    version = 0 if tensor.is_inference() else tensor._version  # such tensors have no counter
    return version, tensor.untyped_storage()._cdata, tensor.data_ptr()


class Frozen(Generic[T]):
    """A value computed from parameters for decoding, and again once one of them has changed.

    Copies of a model, and its pickles, start without the value.

    Args:
        make: computes the value from the parameters.
        parameters: if given, the value is computed from them now, so that processes forked later
            share it.
    """

    def __init__(self, make: Callable[..., T], *parameters: Tensor | None) -> None:
        self.make = make
        self._snapshot: Snapshot | None = None
        self._value: T
        if parameters:
            self(*parameters)

    def __call__(self, *parameters: Tensor | None) -> T | None:
        """The value for these parameters, as they are now.

        None if one of them is computed anew at each access (``torch.nn.utils.parametrize``), since
        the value would be, too.
        """
        if self._snapshot is None or not self._snapshot.holds(parameters):
            if not all(one is None or isinstance(one, nn.Parameter) for one in parameters):
                return None
            with torch.no_grad():
                self._value = self.make(*parameters)
            self._snapshot = Snapshot(parameters)
        return self._value

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.make,)


def frozen_value(frozen: Frozen[T] | None, *parameters: Tensor | None) -> T | None:
    """The frozen value for these parameters; None without one, or if a gradient is recorded."""
    return None if frozen is None or torch.is_grad_enabled() else frozen(*parameters)


class PackedLinear:
    """``x Wᵀ + b`` in single precision, W in the order in which oneDNN reads it.

    With a copy of W in this order, a product with few rows takes half to two thirds of the time.

    Args:
        weight: W, out × in, in single precision and on the CPU.
        bias: out, or none.
    """

    def __init__(self, weight: Tensor, bias: Tensor | None = None) -> None:
        self._weight = torch.ops.mkldnn._reorder_linear_weight(weight.detach(), None)
        self._bias = None if bias is None else bias.detach()

    @staticmethod
    def factor(weight: Tensor) -> tuple[Tensor, Tensor | None]:
        """What features are multiplied with: W itself."""
        return weight, None

    def __call__(self, features: Tensor) -> Tensor:
        """… × out, for features of shape … × in."""
        result: Tensor = torch.ops.mkldnn._linear_pointwise(
            features, self._weight, self._bias, "none", [], ""
        )
        return result

    @classmethod
    def of(cls, weight: Tensor, bias: Tensor | None = None) -> PackedLinear | None:
        """The packed layer, or None where oneDNN packs no such weight.

        MKL, which takes the transpose, is faster than oneDNN if the weight has few rows, except on
        AMD CPUs with AVX-512.
        """
        if weight.dtype != torch.float32 or weight.device.type != "cpu" or not _has_packed():
            return None
        transposes = len(weight) < ROWS_TO_PACK and not _is_amd_with_avx512()
        return TransposedLinear(weight, bias) if transposes else cls(weight, bias)


class TransposedLinear(PackedLinear):
    """``x Wᵀ + b`` in single precision, Wᵀ in the order in which MKL reads it."""

    def __init__(self, weight: Tensor, bias: Tensor | None = None) -> None:
        self._weight = weight.detach().t().clone(memory_format=torch.contiguous_format).t()
        self._bias = None if bias is None else bias.detach()

    def __call__(self, features: Tensor) -> Tensor:
        """… × out, for features of shape … × in."""
        return F.linear(features, self._weight, self._bias)


@cache
def _is_amd_with_avx512() -> bool:
    supported = getattr(torch.cpu, "_is_avx512_supported", lambda: True)
    return is_amd() and bool(supported())


@cache
def _has_packed() -> bool:
    """Whether torch has packed products, which it keeps for its own compiler, on this CPU."""
    weight, features = torch.eye(3, 4), torch.ones(2, 4)
    try:
        packed = PackedLinear(weight)(features)
    except (AttributeError, RuntimeError):
        return False
    return torch.equal(packed, F.linear(features, weight))


class Int8Linear:
    """``x Wᵀ + b`` with W rounded to 8 bits, with one scale per row of W.

    On a CPU with instructions for sums of 8-bit products, x is rounded too, with one scale per row
    of x, and the products are summed as integers. Other CPUs multiply 8-bit numbers no faster than
    numbers in single precision, so there x stays as it is.

    Args:
        weight: W, out × in; a rounded copy is kept, on the CPU.
        bias: out, or none.
    """

    def __init__(self, weight: Tensor, bias: Tensor | None = None) -> None:
        weight = weight.detach().float().cpu()
        bias = (
            weight.new_zeros(len(weight)) if bias is None else bias.detach().float().cpu().clone()
        )
        rows, scale = self.factor(weight)
        self._product: Callable[[Tensor], Tensor]
        if scale is not None:
            self._product = partial(_integer_product, rows.t(), scale, bias)
        else:
            self._product = PackedLinear.of(rows, bias) or partial(F.linear, weight=rows, bias=bias)

    @staticmethod
    def factor(weight: Tensor) -> tuple[Tensor, Tensor | None]:
        """What features are multiplied with: int8 numbers and a scale per row, or their product."""
        whole, scale = round_rows(weight.detach().float())
        # torch's product of integers reads beside its factors where they have one column
        if _sums_integers() and weight.size(1) > 1:
            return whole, scale.squeeze(1)
        return whole * scale, None

    @classmethod
    def of(cls, weight: Tensor, bias: Tensor | None = None) -> Int8Linear:
        """The rounded layer."""
        return cls(weight, bias)

    def __call__(self, features: Tensor) -> Tensor:
        """… × out, for features of shape … × in."""
        return self._product(features.float())


@cache
def _sums_integers() -> bool:
    """Whether this CPU has instructions for sums of 8-bit products (VNNI).

    Without them torch multiplies number by number, twenty times slower than in single precision.
    """
    supported = getattr(torch.cpu, "_is_vnni_supported", None)
    return supported is not None and bool(supported())


def _integer_product(columns: Tensor, of_column: Tensor, bias: Tensor, features: Tensor) -> Tensor:
    """``features`` (… × in), rounded, times int8 columns with their scales, plus the bias.

    A row's result depends on no other row.

    Args:
        columns: in × out; the transpose of a contiguous matrix, the layout whose product is fast.
        of_column: out, the scales.
        bias: out.
        features: … × in, in single precision.
    """
    whole, of_row = round_rows(features.reshape(-1, features.size(-1)))
    product = _rescaled(torch._int_mm(whole, columns), of_row, of_column, bias)
    return product.view(*features.shape[:-1], len(of_column))


def round_rows(rows: Tensor) -> tuple[Tensor, Tensor]:
    """int8 numbers, and the scale (N × 1) that turns them back into ``rows`` (N × n)."""
    kernels = cpu_kernels_for(rows)
    if kernels:
        compiled: tuple[Tensor, Tensor] = kernels.round_rows(rows)
        return compiled
    scale = rows.abs().amax(1, keepdim=True) / _LARGEST
    scale.clamp_min_(torch.finfo(rows.dtype).tiny)  # a row of zeros has a scale too
    return (rows / scale).round_().to(torch.int8), scale


def _rescaled(product: Tensor, of_row: Tensor, of_column: Tensor, bias: Tensor) -> Tensor:
    """A product of rounded factors (N × n, int32) in the factors' scale, plus the bias."""
    kernels = cpu_kernels_for(bias)
    if kernels:
        compiled: Tensor = kernels.rescale(product, of_row, of_column, bias)
        return compiled
    scaled = product.float().mul_(of_row)
    return torch.addcmul(bias, scaled, of_column, out=scaled)


FrozenLinear = PackedLinear | Int8Linear
