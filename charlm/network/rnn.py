"""The mathematics of the network in NumPy: its sizes, its parameters, one step, a window of steps, and the loss.

    h_t = f(x_t U + h_{t-1} V + b),  h_0 = 0        (Elman 1990)
    logits_t = h_t W + c
    nats_t = -log softmax(logits_t)[id_{t+1}] = log(sum(exp(logits_t))) - logits_t[id_{t+1}]

Axes: B batch, T time, V vocabulary, E embedding, H units. Weights are float32, or what `Parameters.cast` makes of them;
what is computed has their dtype.
`charlm.engine.model` trains the same equations with TensorFlow; a parity test compares the two.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from operator import attrgetter
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

if TYPE_CHECKING:  # sampling does not need the config and must not wait for pydantic
    from charlm.config.schema import Config

Floats = NDArray[np.floating[Any]]
State = tuple[Floats, ...]
"""The output of each layer at the last step, [B, H] for each layer, lowest first."""


def _sigmoid(x: Floats, out: Floats | None = None) -> Floats:
    half: Floats = np.tanh(x * np.float32(0.5), out=out)  # no overflow at either end
    half *= np.float32(0.5)
    half += np.float32(0.5)
    return half


ACTIVATIONS: Mapping[str, Callable[..., Floats]] = {
    "tanh": np.tanh,
    "relu": lambda x, out=None: np.maximum(x, 0, out=out),
    "sigmoid": _sigmoid,
    "linear": lambda x, out=None: x,
}
"""The activation functions by their names in Keras, with Keras's definitions: floats -> floats of the same shape.

`out`, an array for the result, may be the argument itself, and only that.
"""


KEYS = {
    **{name: f"model.{name}" for name in ("layers", "units", "embedding", "skip_connections")},
    **{name: f"model.rnn.{name}" for name in ("use_bias", "activation")},
}
"""The setting that each field of an architecture has in a config, but for the size of the vocabulary."""


@dataclass(frozen=True)
class Architecture:
    """The settings that decide the shapes of the weights and how the weights are used."""

    vocabulary_size: int
    """V, the number of ids."""
    layers: int
    units: int
    """H, the width of each layer."""
    embedding: int | None
    """E, the width of the embedding; None = one-hot input."""
    use_bias: bool
    activation: str
    """A key of ACTIVATIONS."""
    skip_connections: bool

    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Return the shape of each tensor by its name in a model file."""
        width = self.embedding or self.vocabulary_size
        shapes: dict[str, tuple[int, ...]] = {}
        if self.embedding:
            shapes["embedding"] = (self.vocabulary_size, self.embedding)
        for index in range(self.layers):
            inputs = width if index == 0 else self.units + (width if self.skip_connections else 0)
            shapes[f"rnn.{index}.kernel"] = (inputs, self.units)
            shapes[f"rnn.{index}.recurrent_kernel"] = (self.units, self.units)
            if self.use_bias:
                shapes[f"rnn.{index}.bias"] = (self.units,)
        outputs = self.units * (self.layers if self.skip_connections else 1)
        return shapes | {"logits.kernel": (outputs, self.vocabulary_size), "logits.bias": (self.vocabulary_size,)}

    @property
    def size(self) -> int:
        """The number of weights."""
        return sum(map(math.prod, self.shapes().values()))

    def settings(self) -> dict[str, Any]:
        """Return the settings of a config that describe this architecture, by dotted keys."""
        return {key: getattr(self, name) for name, key in KEYS.items()}


def architecture(config: "Config", vocabulary_size: int) -> Architecture:
    """Return the architecture that a config describes for a vocabulary of V ids."""
    return Architecture(vocabulary_size, **{name: attrgetter(key)(config) for name, key in KEYS.items()})


@dataclass(frozen=True)
class Layer:
    """The weights of one SimpleRNN layer."""

    kernel: Floats  # [inputs, H]
    recurrent_kernel: Floats  # [H, H]
    bias: Floats | None  # [H]

    @property
    def units(self) -> int:
        """H, the width of the layer."""
        return int(self.recurrent_kernel.shape[0])


@dataclass(frozen=True)
class Parameters:
    """The weights of the network, and the settings that decide how they are used.

    The input of layer 0 is x: the one-hot character or its embedding. The input of every other layer is the output
    of the layer below; with skip connections it is [output below, x], and the logits read the outputs of all layers,
    lowest first (Graves 2013).
    """

    embedding: Floats | None  # [V, E]
    layers: tuple[Layer, ...]
    logits_kernel: Floats  # [inputs, V]
    logits_bias: Floats  # [V]
    activation: str = "tanh"
    skip_connections: bool = False

    @property
    def vocabulary_size(self) -> int:
        """V, the number of ids."""
        return int(self.logits_kernel.shape[1])

    @property
    def width(self) -> int:
        """The most values that an array has for each character: V, or the units of the widest layer."""
        return max(self.vocabulary_size, *(layer.units for layer in self.layers))

    @property
    def state_size(self) -> int:
        """The units of all layers together."""
        return sum(layer.units for layer in self.layers)

    @property
    def size(self) -> int:
        """The number of weights."""
        return sum(tensor.size for tensor in self.tensors().values())

    def tensors(self) -> dict[str, Floats]:
        """Return the weights by their names in a model file."""
        named = {} if self.embedding is None else {"embedding": self.embedding}
        for index, layer in enumerate(self.layers):
            named[f"rnn.{index}.kernel"] = layer.kernel
            named[f"rnn.{index}.recurrent_kernel"] = layer.recurrent_kernel
            if layer.bias is not None:
                named[f"rnn.{index}.bias"] = layer.bias
        return named | {"logits.kernel": self.logits_kernel, "logits.bias": self.logits_bias}

    @cached_property
    def input_tables(self) -> tuple[Floats, ...]:
        """The contribution of each character to each layer, x U + b, [V, H]; [1, H], just b, for a layer without x.

        The product of a one-hot vector with a matrix is a row of the matrix: a step looks it up.
        """
        return tuple(self._input_table(index, layer) for index, layer in enumerate(self.layers))

    @cached_property
    def below_kernels(self) -> tuple[Floats, ...]:
        """The rows of each kernel that multiply the output of the layer below, [H, H]; [0, H] for layer 0."""
        below = (0, *(layer.units for layer in self.layers))
        return tuple(layer.kernel[: below[index]] for index, layer in enumerate(self.layers))

    @cached_property
    def input_kernels(self) -> tuple[Floats, ...]:
        """The rows of each kernel that multiply x, [V or E, H]; [0, H] for a layer that does not read x."""
        pairs = zip(self.layers, self.below_kernels, strict=True)
        return tuple(layer.kernel[len(below) :] for layer, below in pairs)

    @cached_property
    def logits_kernels(self) -> tuple[Floats, ...]:
        """The rows of W that multiply the output of each layer, [H, V]; [0, V] for a layer that the logits skip."""
        if not self.skip_connections:
            return (*(self.logits_kernel[:0] for _ in self.layers[:-1]), self.logits_kernel)
        return self.split(self.logits_kernel, axis=0)

    def output_kernels(self, index: int) -> list[Floats]:
        """Return the matrices [H, n] by which the layer, the next one and the logits read its output; n may be 0."""
        layer = self.layers[index]
        none = np.empty((layer.units, 0), self.logits_bias.dtype)
        above = self.below_kernels[index + 1] if index + 1 < len(self.layers) else none
        logits = self.logits_kernels[index]
        return [layer.recurrent_kernel, above, logits if len(logits) else none]

    @cached_property
    def joined_kernels(self) -> tuple[Floats, ...]:
        """The `output_kernels` of each layer side by side, [H, N]."""
        return tuple(np.concatenate(self.output_kernels(index), axis=1) for index in range(len(self.layers)))

    def split(self, joined: Floats, *, axis: int = -1) -> State:
        """Return the part of each layer of what all layers have side by side on an axis, [..., sum of H]."""
        return tuple(np.split(joined, np.cumsum([layer.units for layer in self.layers])[:-1], axis))

    def cast(self, dtype: DTypeLike) -> "Parameters":
        """Return the same weights in another floating dtype; what is computed with them has that dtype."""
        return parameters_from_tensors(
            {name: tensor.astype(dtype) for name, tensor in self.tensors().items()},
            activation=self.activation,
            skip_connections=self.skip_connections,
        )

    def logits(self, outputs: Sequence[Floats]) -> Floats:
        """Return the logits [..., V] of the outputs of all layers, each [..., H]."""
        features = np.concatenate(outputs, -1) if self.skip_connections else outputs[-1]
        logits: Floats = features @ self.logits_kernel
        return np.add(logits, self.logits_bias, out=logits)

    def zero_state(self, batch: int) -> State:
        """Return the state before the first character: zeros [batch, H] for each layer."""
        return tuple(np.zeros((batch, layer.units), self.logits_bias.dtype) for layer in self.layers)

    def step(self, ids: NDArray[Any], state: State) -> tuple[Floats, State]:
        """Read one character in each stream.

        Args:
            ids: Integers [B], 0 to V - 1.
            state: [B, H] for each layer; it is not changed.

        Returns:
            The logits of the next character, [B, V], and the state after this one.

        """
        outputs = advance(self, ids, state)
        return self.logits(outputs), outputs

    def unroll(self, ids: NDArray[Any], state: State) -> tuple[Floats, State]:
        """Read a window of characters in each stream.

        The result is that of T calls of `step`, up to rounding. It is faster: each layer multiplies its inputs at all
        times by its kernel at once.

        Args:
            ids: Integers [T, B], 0 to V - 1; T may be 0.
            state: [B, H] for each layer; it is not changed.

        Returns:
            The logits after each character, [T, B, V], and the state after the last one.

        """
        outputs = read_outputs(self, ids, state)
        last = tuple(output[-1] if len(output) else first for output, first in zip(outputs, state, strict=True))
        return self.logits(outputs), last

    def _input_table(self, index: int, layer: Layer) -> Floats:
        bias = np.zeros(layer.units, self.logits_bias.dtype) if layer.bias is None else layer.bias
        if index > 0 and not self.skip_connections:
            return bias[None]
        kernel = self.input_kernels[index]
        return kernel + bias if self.embedding is None else self.embedding @ kernel + bias


def parameters_from_tensors(tensors: Mapping[str, Floats], *, activation: str, skip_connections: bool) -> Parameters:
    """Build Parameters from their tensors, the inverse of `Parameters.tensors`.

    Args:
        tensors: The weights by their names in a model file, float32. They are not copied.
        activation: A key of ACTIVATIONS.
        skip_connections: Whether every layer reads the character, and the logits read every layer.

    Raises:
        KeyError: a tensor is missing.

    """
    count = sum(name.endswith(".recurrent_kernel") for name in tensors)
    layers = tuple(
        Layer(tensors[f"rnn.{i}.kernel"], tensors[f"rnn.{i}.recurrent_kernel"], tensors.get(f"rnn.{i}.bias"))
        for i in range(count)
    )
    logits = (tensors["logits.kernel"], tensors["logits.bias"])
    return Parameters(tensors.get("embedding"), layers, *logits, activation, skip_connections)


def advance(parameters: Parameters, ids: NDArray[Any], state: State) -> State:
    """Read one character in each stream; return the state after it, without the logits: `Parameters.step`."""
    outputs, activate = list[Floats](), ACTIVATIONS[parameters.activation]
    for layer, table, kernel, previous in zip(
        parameters.layers, parameters.input_tables, parameters.below_kernels, state, strict=True
    ):
        total = previous @ layer.recurrent_kernel
        total += table[ids] if len(table) > 1 else table
        if outputs:
            total += outputs[-1] @ kernel
        activate(total, out=total)
        outputs.append(total)
    return tuple(outputs)


def read_outputs(parameters: Parameters, ids: NDArray[Any], state: State) -> State:
    """Read a window of characters in each stream, or in a single one.

    Args:
        parameters: The weights.
        ids: Integers [T, B], 0 to V - 1, or [T]; T may be 0.
        state: [B, H] for each layer, or [H]; it is not changed.

    Returns:
        The outputs h_1 to h_T of each layer, [T, B, H] or [T, H]; `outputs[t]` follows the character `ids[t]`.

    """
    outputs: list[Floats] = []
    for layer, table, kernel, first in zip(
        parameters.layers, parameters.input_tables, parameters.below_kernels, state, strict=True
    ):
        inputs = table[ids] if len(table) > 1 else np.broadcast_to(table, (*ids.shape, layer.units))
        if outputs:
            inputs = inputs + outputs[-1] @ kernel
        outputs.append(recur(inputs, layer.recurrent_kernel, first, activation=parameters.activation))
    return tuple(outputs)


def recur(input_projection: Floats, recurrent_kernel: Floats, state: Floats, *, activation: str = "tanh") -> Floats:
    """Run the recurrence of one layer, h_t = f(input_projection_t + h_{t-1} V).

    Args:
        input_projection: x_t U + b at each time, [T, B, H], or [T, H] for a single stream.
        recurrent_kernel: V, [H, H].
        state: h_0, [B, H] or [H]; it is not changed.
        activation: The name of f, a key of ACTIVATIONS.

    Returns:
        The outputs h_1 to h_T, of the shape of `input_projection`.

    """
    outputs, activate = np.empty(input_projection.shape, input_projection.dtype), ACTIVATIONS[activation]
    for time, now in enumerate(input_projection):
        output = outputs[time]
        np.matmul(state, recurrent_kernel, out=output)
        output += now
        activate(output, out=output)
        state = output
    return outputs


def nats(logits: Floats, targets: NDArray[Any]) -> Floats:
    """Compute -log softmax(logits)[target], without overflow for finite logits of any size.

    Args:
        logits: float32 [..., V].
        targets: The ids that follow, integers [...], 0 to V - 1.

    Returns:
        float32 [...]; not finite if the logits are not.

    """
    with np.errstate(over="ignore", invalid="ignore"):  # the result shows whether the logits were finite
        return np.asarray(-np.take_along_axis(log_softmax(logits), targets[..., None], -1)[..., 0])


def log_softmax(logits: Floats) -> Floats:
    """Return log softmax(logits), [..., V], of the dtype of the logits, without overflow for finite logits."""
    below_peak = logits - logits.max(-1, keepdims=True)
    below_peak -= np.log(np.exp(below_peak).sum(-1, keepdims=True))
    return np.asarray(below_peak)


def probabilities(logits: NDArray[Any]) -> NDArray[Any]:
    """Return softmax(logits), [..., V], of the dtype of the logits, without overflow for finite logits of any size."""
    result = np.exp(logits - logits.max(-1, keepdims=True))
    result /= result.sum(-1, keepdims=True)
    return np.asarray(result)
