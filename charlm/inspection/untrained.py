"""A network before training: weights drawn in NumPy by the initializers that a config names.

The weights that a run began with are not kept, and Keras alone can draw them again. These come from the same
distributions with another generator: what they show is typical of the beginning, not the beginning of this run.
Initializers are those of Keras, with its definitions (https://keras.io/api/layers/initializers/).
"""

import math
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from charlm.config.schema import Config, ModelConfig
from charlm.errors import CharlmError, shorten
from charlm.network.architecture import architecture
from charlm.network.rnn import Parameters, parameters_from_tensors

Shape = tuple[int, ...]
Values = NDArray[np.float64]

NARROWED = 0.87962566103423978
"""The standard deviation of a standard normal distribution that is cut off at 2."""


def draw_initial(config: Config, vocabulary_size: int, *, seed: int = 0) -> Parameters:
    """Draw the weights of a network that has not been trained.

    Args:
        config: Every setting; `model` is used.
        vocabulary_size: V, the number of ids.
        seed: Of the draw.

    Returns:
        The weights, float32.

    Raises:
        CharlmError: an initializer is not one of Keras's, has an argument that is not valid, or cannot draw such a
            tensor; the message names the key.

    """
    rng = np.random.default_rng(seed)
    tensors = {
        name: _draw_tensor(rng, config.model, name, shape).astype(np.float32)
        for name, shape in architecture(config, vocabulary_size).shapes().items()
    }
    rnn = config.model.rnn
    return parameters_from_tensors(tensors, activation=rnn.activation, skip_connections=config.model.skip_connections)


def _draw_tensor(rng: Generator, model: ModelConfig, name: str, shape: Shape) -> Values:
    part, _, tensor = name.rpartition(".")
    if name == "embedding":
        return _draw(rng, model.input_initializer or "uniform", shape, key="model.input_initializer")
    if part == "logits":
        return _draw(rng, "zeros" if tensor == "bias" else "glorot_uniform", shape, key=name)
    if tensor == "kernel" and model.embedding is None and model.input_initializer is not None:
        return _draw_two_blocks(rng, model, shape, is_lowest=part == "rnn.0")
    field = "kernel" if tensor == "kernel" else tensor.removesuffix("_kernel")
    return _draw(rng, getattr(model.rnn, f"{field}_initializer"), shape, key=f"model.rnn.{field}_initializer")


def _draw_two_blocks(rng: Generator, model: ModelConfig, shape: Shape, *, is_lowest: bool) -> Values:
    """Draw the rows of a kernel for the layer below, and those for the one-hot characters, with their initializers."""
    rows, columns = shape
    below = 0 if is_lowest else model.units
    blocks = [
        (below, model.rnn.kernel_initializer, "model.rnn.kernel_initializer"),
        (rows - below, model.input_initializer, "model.input_initializer"),
    ]
    return np.concatenate([_draw(rng, value, (n, columns), key=key) for n, value, key in blocks if n])


def _draw(rng: Generator, value: Any, shape: Shape, *, key: str) -> Values:
    """Draw a tensor with the initializer that a value of the config names; None = glorot_uniform, as in Keras."""
    is_mapping = isinstance(value, dict)
    name = value["class_name"] if is_mapping else value or "glorot_uniform"
    arguments = (value.get("config") if is_mapping else None) or {}
    draw = INITIALIZERS.get(str(name).replace("_", "").lower().removesuffix("initializer"))
    if draw is None:
        raise CharlmError(
            f"{key}: found {shorten(name)}; the untrained network can be drawn with {', '.join(INITIALIZERS)}"
        )
    try:
        drawn = draw(rng, shape, **{argument: number for argument, number in arguments.items() if argument != "seed"})
    except (TypeError, ValueError, np.linalg.LinAlgError) as error:
        raise CharlmError(f"{key}: found {shorten(value)}: {str(error)[:200]}") from None
    if drawn.shape != shape:
        raise CharlmError(f"{key}: found {shorten(value)}: it cannot fill a tensor of shape {shape}")
    return drawn


def _constant(_: Generator, shape: Shape, /, value: float = 0.0) -> Values:
    return np.full(shape, value, np.float64)


def _identity(_: Generator, shape: Shape, /, gain: float = 1.0) -> Values:
    rows, columns = shape
    return gain * np.eye(rows, columns)


def _normal(rng: Generator, shape: Shape, /, mean: float = 0.0, stddev: float = 0.05) -> Values:
    return rng.normal(mean, stddev, shape)


def _uniform(rng: Generator, shape: Shape, /, minval: float = -0.05, maxval: float = 0.05) -> Values:
    return rng.uniform(minval, maxval, shape)


def _truncated_normal(rng: Generator, shape: Shape, /, mean: float = 0.0, stddev: float = 0.05) -> Values:
    """Draw from a normal distribution, and draw again what is more than two deviations from its mean."""
    values = rng.standard_normal(shape)
    while (outside := np.abs(values) > 2).any():
        values[outside] = rng.standard_normal(int(outside.sum()))
    return mean + stddev * values


def _variance_scaling(
    rng: Generator,
    shape: Shape,
    /,
    scale: float = 1.0,
    mode: str = "fan_in",
    distribution: str = "truncated_normal",
) -> Values:
    """Draw with a variance of scale / n, n the rows (fan_in), the columns (fan_out) or their mean (fan_avg)."""
    counts = {"fan_in": shape[0], "fan_out": shape[-1], "fan_avg": (shape[0] + shape[-1]) / 2}
    if mode not in counts:
        raise ValueError(f"mode {shorten(mode)}; there are fan_in, fan_out and fan_avg")
    variance = scale / counts[mode]
    if distribution == "uniform":
        return rng.uniform(-math.sqrt(3 * variance), math.sqrt(3 * variance), shape)
    if distribution == "untruncated_normal":
        return rng.normal(0, math.sqrt(variance), shape)
    return _truncated_normal(rng, shape, stddev=math.sqrt(variance) / NARROWED)


def _orthogonal(rng: Generator, shape: Shape, /, gain: float = 1.0) -> Values:
    """Draw orthonormal rows or columns, whichever are fewer, times the gain (Saxe et al. 2014)."""
    rows, columns = shape
    square, triangle = np.linalg.qr(rng.standard_normal((max(shape), min(shape))))
    square *= np.sign(np.diagonal(triangle))
    return gain * (square if rows >= columns else square.T)


def _scaled(scale: float, mode: str, distribution: str) -> Callable[..., Values]:
    return partial(_variance_scaling, scale=scale, mode=mode, distribution=distribution)


INITIALIZERS: Mapping[str, Callable[..., Values]] = {
    **dict.fromkeys(("zeros", "zero"), partial(_constant, value=0.0)),
    **dict.fromkeys(("ones", "one"), partial(_constant, value=1.0)),
    "constant": _constant,
    "identity": _identity,
    **dict.fromkeys(("randomnormal", "normal"), _normal),
    **dict.fromkeys(("randomuniform", "uniform"), _uniform),
    "truncatednormal": _truncated_normal,
    "variancescaling": _variance_scaling,
    "glorotuniform": _scaled(1.0, "fan_avg", "uniform"),
    "glorotnormal": _scaled(1.0, "fan_avg", "truncated_normal"),
    "heuniform": _scaled(2.0, "fan_in", "uniform"),
    "henormal": _scaled(2.0, "fan_in", "truncated_normal"),
    "lecununiform": _scaled(1.0, "fan_in", "uniform"),
    "lecunnormal": _scaled(1.0, "fan_in", "truncated_normal"),
    "orthogonal": _orthogonal,
}
"""What draws [rows, columns] for each initializer, by its name in Keras without underscores, in lower case."""
