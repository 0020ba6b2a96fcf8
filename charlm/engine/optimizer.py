"""The optimizer by its Keras name, with its arguments checked, and the average of the weights that it updates.

The learning rate is set at every step.
"""

import inspect
import re
from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from charlm.config.schema import OptimizerConfig
from charlm.engine.model import Tensor
from charlm.engine.muon import Muon
from charlm.errors import CharlmError, nearest, short_repr

_OPTIMIZERS = {
    "adam": keras.optimizers.Adam,
    "adamw": keras.optimizers.AdamW,
    "muon": Muon,
    "sgd": keras.optimizers.SGD,
}
_SET_ELSEWHERE = {
    "clipnorm": "training.clip_norm clips the gradient",
    "global_clipnorm": "training.clip_norm clips the gradient",
    "clipvalue": "training.clip_norm clips the gradient",
    "loss_scale_factor": "float32 gradients need no loss scale",
    "use_ema": "training.average_momentum averages the weights",
    "ema_momentum": "training.average_momentum averages the weights",
    "ema_overwrite_frequency": "training.average_momentum averages the weights",
}
_COUNTS = {
    "ns_steps": (0, 100),  # each adds nodes to the graph
    "gradient_accumulation_steps": (2, 1_000_000),
}
"""The least and the most of arguments that count something."""


def build_optimizer(config: OptimizerConfig, *, precision: str = "float32") -> keras.optimizers.Optimizer:
    """Return the Keras optimizer that a config describes.

    Args:
        config: The name, the learning rate and the arguments.
        precision: The precision of the matrix products of Muon, float32 or bfloat16.

    Raises:
        CharlmError: the optimizer has no such argument, or the argument has another type or a value that Keras
            refuses; the message names the key.

    """
    optimizer = _OPTIMIZERS[config.name]
    for key, value in config.arguments.items():
        _check_argument(optimizer, key, value)
    try:
        built = optimizer(learning_rate=config.learning_rate, **config.arguments)
    except (ValueError, TypeError) as error:
        raise CharlmError(f"training.optimizer: {str(error).strip().splitlines()[0]}") from None
    if isinstance(built, Muon):
        built.precision = precision
    return built


def _check_argument(optimizer: Any, key: str, value: Any) -> None:
    """Raise CharlmError if the optimizer has no such argument, or the argument another type."""
    arguments = _arguments(optimizer)
    if key in _SET_ELSEWHERE:
        raise CharlmError(f"training.optimizer.{key}: cannot be set here: {_SET_ELSEWHERE[key]}")
    if key not in arguments:
        near = nearest(key, arguments)
        hint = f"; did you mean {near}?" if near else ""
        raise CharlmError(f"training.optimizer.{key}: {optimizer.__name__} has no such argument{hint}")
    default = arguments[key].default
    if default is None and value is None:
        return
    wanted = _wanted(key, default, value)
    if wanted is not None:
        or_null = ", or null" if default is None else ""
        raise CharlmError(f"training.optimizer.{key}: found {short_repr(value)}; must be {wanted}{or_null}")


def _arguments(optimizer: Any) -> dict[str, inspect.Parameter]:
    """Return the arguments of an optimizer; those of charlm's Muon include those of the class that it extends."""
    classes = (keras.optimizers.Muon, optimizer) if optimizer is Muon else (optimizer,)
    return {
        name: argument
        for found in classes
        for name, argument in inspect.signature(found).parameters.items()
        if argument.kind is not inspect.Parameter.VAR_KEYWORD
    }


def _wanted(key: str, default: Any, value: Any) -> str | None:
    """Return what a value must be, None if it is; Keras would fail only later, or not at all."""
    if isinstance(default, bool):
        return None if isinstance(value, bool) else "true or false"
    if key == "exclude_layers":
        return None if isinstance(value, list) and all(map(_is_pattern, value)) else "a list of regular expressions"
    if key in _COUNTS:
        least, most = _COUNTS[key]
        is_count = type(value) is int and least <= value <= most
        return None if is_count else f"a whole number from {least} to {most:,}"
    is_number = type(value) in {int, float} and abs(value) <= float(np.finfo(np.float32).max)
    return None if is_number else "a number that float32 can hold"


def _is_pattern(value: Any) -> bool:
    try:
        return isinstance(value, str) and bool(re.compile(value))
    except (re.error, OverflowError, RecursionError):
        return False


class WeightAverage:
    """The moving averages of trained variables; they start at the present values.

    Args:
        weights: The trained Keras variables, float32 of any shape.
        momentum: The limit of m_t, 0 or more and less than 1; 0 makes the average equal to the weights.

    """

    def __init__(self, weights: Sequence[Any], momentum: float) -> None:
        self.weights, self.momentum = list(weights), momentum
        self.variables = [keras.Variable(weight, trainable=False, name=f"average_{weight.name}") for weight in weights]
        """The average of each weight, in the same order."""

    def of(self, weight: Any) -> Any:
        """Return the variable that holds the average of a weight."""
        return next(a for a, w in zip(self.variables, self.weights, strict=True) if w is weight)

    def update(self, step: Tensor) -> None:
        """Update the averages after step t, an integer scalar of 1 or more."""
        count = tf.cast(step, tf.float32)
        share = 1 - tf.minimum(self.momentum, (1 + count) / (10 + count))
        for average, weight in zip(self.variables, self.weights, strict=True):
            average.assign_add(share * (weight - average))
