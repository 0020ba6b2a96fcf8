"""A network before training: weights drawn in NumPy by the initializers that a config names.

The weights that a run began with are not kept, and Keras alone can draw them again. These come from the same
distributions with another generator: what they show is typical of the beginning, not the beginning of this run.
Initializers are those of Keras, with its definitions (https://keras.io/api/layers/initializers/).
"""

import math
from collections.abc import Callable
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
Draw = Callable[[Generator, Shape], Values]

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
    maker = INITIALIZERS.get(str(name).replace("_", "").lower().removesuffix("initializer"))
    if maker is None:
        raise CharlmError(f"{key}: found {shorten(name)}; the untrained network can be drawn with {', '.join(NAMES)}")
    try:
        known = {argument: number for argument, number in arguments.items() if argument != "seed"}
        drawn = maker(**known)(rng, shape)
    except (TypeError, ValueError, np.linalg.LinAlgError) as error:
        raise CharlmError(f"{key}: found {shorten(value)}: {str(error)[:200]}") from None
    if drawn.shape != shape:
        raise CharlmError(f"{key}: found {shorten(value)}: it cannot fill a tensor of shape {shape}")
    return drawn


def _constant(value: float = 0.0) -> Draw:
    return lambda rng, shape: np.full(shape, value, np.float64)


def _identity(gain: float = 1.0) -> Draw:
    def draw(rng: Generator, shape: Shape) -> Values:
        """Draw again what lies more than two deviations from the mean."""
        rows, columns = shape
        return gain * np.eye(rows, columns)

    return draw


def _normal(mean: float = 0.0, stddev: float = 0.05) -> Draw:
    return lambda rng, shape: rng.normal(mean, stddev, shape)


def _uniform(minval: float = -0.05, maxval: float = 0.05) -> Draw:
    return lambda rng, shape: rng.uniform(minval, maxval, shape)


def _truncated_normal(mean: float = 0.0, stddev: float = 0.05) -> Draw:
    def draw(rng: Generator, shape: Shape) -> Values:
        """Draw from a normal distribution, and draw again what is more than two deviations from its mean."""
        values = rng.standard_normal(shape)
        while (outside := np.abs(values) > 2).any():
            values[outside] = rng.standard_normal(int(outside.sum()))
        return mean + stddev * values

    return draw


def _variance_scaling(scale: float = 1.0, mode: str = "fan_in", distribution: str = "truncated_normal") -> Draw:
    """Return the initializer whose variance is scale / n, n the rows (fan_in), the columns (fan_out) or their mean."""
    if mode not in {"fan_in", "fan_out", "fan_avg"}:
        raise ValueError(f"mode {shorten(mode)}; there are fan_in, fan_out and fan_avg")

    def draw(rng: Generator, shape: Shape) -> Values:
        """Draw from the distribution, with the variance that the shape asks for."""
        variance = scale / {"fan_in": shape[0], "fan_out": shape[-1], "fan_avg": (shape[0] + shape[-1]) / 2}[mode]
        if distribution == "uniform":
            return rng.uniform(-math.sqrt(3 * variance), math.sqrt(3 * variance), shape)
        if distribution == "untruncated_normal":
            return rng.normal(0, math.sqrt(variance), shape)
        return _truncated_normal(stddev=math.sqrt(variance) / NARROWED)(rng, shape)

    return draw


def _orthogonal(gain: float = 1.0) -> Draw:
    """Return the initializer of Saxe et al. 2014: the orthogonal factor of a normal matrix."""

    def draw(rng: Generator, shape: Shape) -> Values:
        """Draw [rows, columns] with orthonormal rows or columns, whichever are fewer, times the gain."""
        rows, columns = shape
        square, triangle = np.linalg.qr(rng.standard_normal((max(shape), min(shape))))
        square *= np.sign(np.diagonal(triangle))
        return gain * (square if rows >= columns else square.T)

    return draw


def _scaled(scale: float, mode: str, distribution: str) -> Callable[..., Draw]:
    return lambda: _variance_scaling(scale, mode, distribution)


INITIALIZERS: dict[str, Callable[..., Draw]] = {
    "zeros": lambda: _constant(0.0),
    "zero": lambda: _constant(0.0),
    "ones": lambda: _constant(1.0),
    "one": lambda: _constant(1.0),
    "constant": _constant,
    "identity": _identity,
    "randomnormal": _normal,
    "normal": _normal,
    "randomuniform": _uniform,
    "uniform": _uniform,
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
"""What makes each initializer from its arguments, by its name in Keras without underscores, in lower case."""
NAMES = tuple(INITIALIZERS)
