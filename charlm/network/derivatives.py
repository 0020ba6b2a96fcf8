"""f'(a) for every activation f that charlm offers, as charlm.network.rnn defines f."""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

Values = NDArray[np.floating[Any]]


DERIVATIVES: Mapping[str, Callable[[Values, Values], Any]] = {
    "tanh": lambda _, h: 1 - h * h,
    "relu": lambda a, _: (a > 0) * 1.0,
    "sigmoid": lambda _, h: h * (1 - h),
    "linear": lambda a, _: np.ones_like(a),
    "softsign": lambda a, _: 1 / (1 + np.abs(a)) ** 2,
    "elu": lambda a, _: np.where(a > 0, 1, np.exp(np.minimum(a, 0))),
}
"""f'(a) by the name of f, from a and h = f(a); at a kink the slope of one side."""


def slope(activation: str, a: Values, h: Values) -> Values:
    """Return f'(a), of the shape and dtype of a.

    Args:
        activation: A key of `charlm.network.rnn.ACTIVATIONS`.
        a: The values before the activation, float32 or float64 of any shape.
        h: f(a), of the same shape.

    """
    return np.asarray(DERIVATIVES[activation](a, h), a.dtype)
