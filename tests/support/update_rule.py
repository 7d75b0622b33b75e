"""The gradient of a row of each matrix in closed form (Press & Wolf 2017, section 3).

With the softmax loss L = Σ_t −log p_t(o_t), p_t = softmax(V h_t + b), over steps t that read the
word i_t and are to predict o_t (a projection P counts as part of what makes h_t)::

    ∂L/∂V_k = Σ_t (p_t(k) − [k = o_t]) h_t       every row, at every step
    ∂L/∂h_t = Σ_k (p_t(k) − [k = o_t]) V_k
    ∂L/∂U_k = Σ_{t: i_t = k} ∂L/∂u_t             only rows of words that are read

where u_t is the vector read at step t; in a skip-gram model h_t is u_t itself, in a recurrent one
∂L/∂u_t comes through the network. A tied row gets the sum: it moves at every step, mostly as a row
of V does.
"""

from __future__ import annotations

from torch import Tensor


def output_gradient(probabilities: Tensor, targets: Tensor, features: Tensor) -> Tensor:
    """∂L/∂V (types × dim).

    Args:
        probabilities: p_t(k), N × types.
        targets: o_t, N.
        features: h_t, N × dim.
    """
    return _errors(probabilities, targets).t() @ features


def feature_gradient(probabilities: Tensor, targets: Tensor, output: Tensor) -> Tensor:
    """∂L/∂h_t (N × dim), which in a skip-gram model is ∂L/∂u_t.

    Args:
        probabilities: p_t(k), N × types.
        targets: o_t, N.
        output: V, types × dim.
    """
    return _errors(probabilities, targets) @ output


def input_gradient(read: Tensor, gradients: Tensor, types: int) -> Tensor:
    """∂L/∂U (types × dim), zero in every row that is not read.

    Args:
        read: i_t, N.
        gradients: ∂L/∂u_t, N × dim.
        types: rows of U.
    """
    return gradients.new_zeros(types, gradients.size(1)).index_add(0, read, gradients)


def _errors(probabilities: Tensor, targets: Tensor) -> Tensor:
    """p_t(k) − [k = o_t]."""
    errors = probabilities.clone()
    errors[range(len(targets)), targets] -= 1
    return errors
