"""The optimizer by its Keras name, with its arguments checked. Its learning rate is set at every step."""

import inspect
from typing import Any

import keras

from charlm.config.schema import OptimizerConfig
from charlm.engine.muon import Muon
from charlm.errors import CharlmError, nearest

_NOT_OFFERED = {"Optimizer", "LossScaleOptimizer", "MultiOptimizer", "OptimizerMap"}  # these wrap other optimizers
_SET_ELSEWHERE = {
    "clipnorm": "training.clip_norm clips the gradient",
    "global_clipnorm": "training.clip_norm clips the gradient",
    "clipvalue": "training.clip_norm clips the gradient",
    "loss_scale_factor": "float32 gradients need no loss scale",
}


def build_optimizer(config: OptimizerConfig, *, precision: str = "float32") -> keras.optimizers.Optimizer:
    """Return the Keras optimizer that a config describes.

    Args:
        config: The name, the learning rate and the arguments; the case of the name does not matter.
        precision: The precision of the matrix products of Muon, float32 or bfloat16.

    Raises:
        CharlmError: Keras has no such optimizer or argument, or the argument has another type or a value that Keras
            refuses; the message names the key.

    """
    optimizer = _optimizer_class(config.name)
    for key, value in config.arguments.items():
        _check_argument(optimizer, key, value)
    try:
        built = optimizer(learning_rate=config.learning_rate, **config.arguments)
    except (ValueError, TypeError) as error:
        raise CharlmError(f"training.optimizer: {str(error).strip().splitlines()[0]}") from None
    if isinstance(built, Muon):
        built.precision = precision
    return built


def _optimizer_class(name: str) -> Any:
    classes = {
        class_name.lower(): found
        for class_name, found in vars(keras.optimizers).items()
        if inspect.isclass(found) and class_name not in _NOT_OFFERED
    } | {"muon": Muon}
    if name.lower() in classes:
        return classes[name.lower()]
    near = nearest(name.lower(), classes)
    hint = f"did you mean {near}?" if near else f"there are {', '.join(sorted(classes))}"
    raise CharlmError(f"training.optimizer.name: found {name!r}; {hint}")


def _check_argument(optimizer: Any, key: str, value: Any) -> None:
    """Raise CharlmError if the optimizer has no such argument, or the argument another type."""
    arguments = inspect.signature(optimizer).parameters
    if key in _SET_ELSEWHERE:
        raise CharlmError(f"training.optimizer.{key}: cannot be set here: {_SET_ELSEWHERE[key]}")
    if key not in arguments:
        near = nearest(key, arguments)
        hint = f"; did you mean {near}?" if near else ""
        raise CharlmError(f"training.optimizer.{key}: {optimizer.__name__} has no such argument{hint}")
    if not _has_type_of(arguments[key].default, value):
        wanted = "true or false" if isinstance(arguments[key].default, bool) else "a number"
        raise CharlmError(f"training.optimizer.{key}: found {value!r}; must be {wanted}")


def _has_type_of(default: Any, value: Any) -> bool:
    """Return whether a value has a type that fits the default of an argument; Keras would fail only later."""
    if isinstance(default, bool) or isinstance(value, bool):
        return isinstance(default, bool) and isinstance(value, bool)
    return isinstance(value, int | float) or (default is None and (value is None or isinstance(value, list)))
