"""The optimizer by its Keras name, and the learning rate of every step."""

import inspect
import math
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray

from charlm.config import OptimizerConfig, ScheduleConfig
from charlm.errors import CharlmError, nearest
from charlm.training.muon import Muon

_NOT_OFFERED = {"Optimizer", "LossScaleOptimizer", "MultiOptimizer", "OptimizerMap"}  # made of others
_SET_ELSEWHERE = {
    "name": "the name is the optimizer's",
    "clipnorm": "training.clip_norm clips the gradient",
    "global_clipnorm": "training.clip_norm clips the gradient",
    "clipvalue": "training.clip_norm clips the gradient",
    "loss_scale_factor": "float32 gradients need no loss scale",
}


def build_optimizer(config: OptimizerConfig, *, precision: str = "float32") -> keras.optimizers.Optimizer:
    """Return the Keras optimizer that a config describes; Muon makes its products at `precision`.

    Raises CharlmError naming the key for an optimizer or argument that Keras does not have, or of another type.
    """
    classes: dict[str, Any] = {
        name.lower(): found
        for name, found in vars(keras.optimizers).items()
        if inspect.isclass(found) and name not in _NOT_OFFERED
    } | {"muon": Muon}
    optimizer = classes.get(config.name.lower())
    if optimizer is None:
        near = nearest(config.name.lower(), classes)
        hint = f"; did you mean {near}?" if near else f"; there are {', '.join(sorted(classes))}"
        raise CharlmError(f"training.optimizer.name: found {config.name!r}{hint}")
    arguments = inspect.signature(optimizer).parameters
    for key, value in config.arguments.items():
        if key in _SET_ELSEWHERE:
            raise CharlmError(f"training.optimizer.{key}: not here: {_SET_ELSEWHERE[key]}")
        if key not in arguments:
            near = nearest(key, arguments)
            hint = f"; did you mean {near}?" if near else ""
            raise CharlmError(f"training.optimizer.{key}: {optimizer.__name__} has no such argument{hint}")
        if not _is_like(arguments[key].default, value):
            wanted = "true or false" if isinstance(arguments[key].default, bool) else "a number"
            raise CharlmError(f"training.optimizer.{key}: found {value!r}; should be {wanted}")
    try:
        built = optimizer(learning_rate=config.learning_rate, **config.arguments)
    except (ValueError, TypeError) as error:
        raise CharlmError(f"training.optimizer: {str(error).strip().splitlines()[0]}") from None
    if isinstance(built, Muon):
        built.precision = precision
    return built


def _is_like(default: Any, value: Any) -> bool:
    """Return whether a value can stand where that default stood; Keras itself would fail later."""
    if isinstance(default, bool) or isinstance(value, bool):
        return isinstance(default, bool) and isinstance(value, bool)
    return isinstance(value, int | float) or (default is None and (value is None or isinstance(value, list)))


def learning_rates(
    peak: float, schedule: ScheduleConfig, *, first: int, count: int, total: int
) -> NDArray[np.float32]:
    """Return the rates of steps first to first + count - 1 of `total`, float32 [count].

    The rate rises in a straight line over `warmup_steps`, then stays at `peak` (constant), or falls to
    peak * final_fraction at the last step: along half a cosine (Loshchilov and Hutter 2017, eq. 5), or by
    the same factor at every step (exponential).
    """
    return np.array([peak * _share(schedule, step, total) for step in range(first, first + count)], np.float32)


def _share(schedule: ScheduleConfig, step: int, total: int) -> float:
    warm_up = min(schedule.warmup_steps, total)
    if step < warm_up:
        return (step + 1) / (warm_up + 1)
    progress = (step - warm_up) / max(1, total - 1 - warm_up)
    if schedule.name == "cosine":
        final = schedule.final_fraction
        return final + (1 - final) * (1 + math.cos(math.pi * min(1.0, progress))) / 2
    if schedule.name == "exponential":
        return math.pow(schedule.final_fraction, min(1.0, progress))
    return 1.0
