"""The network in NumPy: its weights, its recurrence, and the loss.

    h_t = f(x_t U + h_{t-1} V + b),  h_0 = 0        (Elman 1990)
    logits_t = h_t W + c
    nats_t = -log softmax(logits_t)[id_{t+1}] = log(sum(exp(logits_t))) - logits_t[id_{t+1}]

Axes: B batch, T time, V vocabulary, E embedding, H units. Weights are float32, or the dtype that
`Parameters.cast` was given; results have the dtype of the weights.
`charlm.engines.model` trains the same equations with TensorFlow; a parity test compares the two.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from charlm.core.architecture import Architecture
from charlm.core.vocabulary import Ids

Floats = NDArray[np.floating[Any]]
Values = NDArray[np.float64]
Integers = NDArray[np.int64]
State = tuple[Floats, ...]
"""The output of each layer after the last character, [B, H] for each layer, lowest layer first."""


def ignore_overflow() -> np.errstate:
    """Return a context without warnings about values that are not finite; the result shows them."""
    return np.errstate(over="ignore", invalid="ignore")


def _sigmoid(x: Floats, out: Floats | None = None) -> Floats:
    half: Floats = np.tanh(x * np.float32(0.5), out=out)  # no overflow at either end
    half *= np.float32(0.5)
    half += np.float32(0.5)
    return half


@dataclass(frozen=True)
class Activation:
    """An activation function f of h = f(a)."""

    function: Callable[..., Floats]
    """f(a), in the shape of a; `out` may only be a itself, which is then overwritten."""
    derivative: Callable[[Floats], Any]
    """f'(a) as a function of h; at a kink, the slope of one side."""
    largest_slope: float = 1.0
    """The largest f'(a)."""


ACTIVATIONS: Mapping[str, Activation] = {
    "tanh": Activation(np.tanh, lambda h: 1 - h * h),
    "relu": Activation(lambda a, out=None: np.maximum(a, 0, out=out), lambda h: (h > 0) * 1.0),
    "sigmoid": Activation(_sigmoid, lambda h: h * (1 - h), 1 / 4),
    "linear": Activation(lambda a, out=None: a, np.ones_like),
}
"""Activation functions by their names in Keras; C knows them by their first letters."""


@dataclass(frozen=True)
class Layer:
    """The weights of a SimpleRNN layer, with the rows of the kernel separated by their input."""

    kernel: Floats  # [inputs, H]
    from_below: Floats  # [H, H] or [0, H]: rows of the kernel for the output of the layer below
    from_input: Floats  # [V or E, H] or [0, H]: rows of the kernel for x
    recurrent_kernel: Floats  # [H, H]
    bias: Floats  # [H]; zeros if the network has no biases
    to_logits: Floats  # [H, V] or [0, V]: rows of W for the output of this layer

    @property
    def units(self) -> int:
        """H, the width of the layer."""
        return int(self.recurrent_kernel.shape[0])


@dataclass(frozen=True)
class Parameters:
    """The weights of the network, and the settings that determine how they are used.

    The input of layer 0 is x: the one-hot character or its embedding. The input of every other
    layer is the output of the layer below. With skip connections, it is [output below, x], and the
    logits read the outputs of all layers, lowest first (Graves 2013).
    """

    architecture: Architecture
    tensors: dict[str, Floats]
    """The weights by name, with the shapes of the architecture."""

    @property
    def vocabulary_size(self) -> int:
        """V, the number of ids."""
        return self.architecture.vocabulary_size

    @property
    def activation(self) -> str:
        """The name of f, a key of ACTIVATIONS."""
        return self.architecture.activation

    @property
    def logits_kernel(self) -> Floats:
        """W, [features, V]."""
        return self.tensors["logits.kernel"]

    @property
    def logits_bias(self) -> Floats:
        """c, [V]."""
        return self.tensors["logits.bias"]

    @cached_property
    def layers(self) -> tuple[Layer, ...]:
        """The weights of each layer, lowest layer first."""
        return tuple(map(self._layer, range(self.architecture.layers)))

    @property
    def state_size(self) -> int:
        """The total number of units in all layers."""
        return self.architecture.layers * self.architecture.units

    @cached_property
    def input_tables(self) -> tuple[Floats, ...]:
        """The input x U + b of each character to each layer, [V, H]; [1, H], only b, without x.

        The product of a one-hot vector with a matrix is a row of the matrix, so a step only looks
        the row up.
        """
        return tuple(map(self.input_table, self.layers))

    def outgoing(self, index: int) -> list[Floats]:
        """Return the matrices that multiply the output of a layer, [H, n]; n may be 0.

        The matrices belong to the layer itself, to the next layer and to the logits.
        """
        layer = self.layers[index]
        empty = np.empty((layer.units, 0), self.logits_bias.dtype)
        above = self.layers[index + 1].from_below if index + 1 < len(self.layers) else empty
        logits = layer.to_logits if len(layer.to_logits) else empty
        return [layer.recurrent_kernel, above, logits]

    @cached_property
    def joined(self) -> tuple[Floats, ...]:
        """The `outgoing` of each layer side by side, [H, N]."""
        indices = range(len(self.layers))
        return tuple(np.concatenate(self.outgoing(index), axis=1) for index in indices)

    def rows_at_once(self, values: int) -> int:
        """Return how many rows of max(V, H) numbers fit into `values` numbers; at least 1."""
        return max(1, values // max(self.vocabulary_size, self.architecture.units))

    def split(self, joined: Floats) -> State:
        """Split values of all layers side by side, [..., sum of H], into layers, [..., H]."""
        return tuple(np.split(joined, len(self.layers), -1))

    def cast(self, dtype: DTypeLike) -> "Parameters":
        """Return the same weights in a different floating dtype; results then have that dtype."""
        tensors = {name: tensor.astype(dtype) for name, tensor in self.tensors.items()}
        return Parameters(self.architecture, tensors)

    def logits(self, outputs: Sequence[Floats]) -> Floats:
        """Return the logits, [..., V], from the outputs of all layers, each [..., H]."""
        logits: Floats = self.features(outputs) @ self.logits_kernel
        return np.add(logits, self.logits_bias, out=logits)

    def features(self, outputs: Sequence[Floats]) -> Floats:
        """Return what the logits read, [..., H], or [..., L H] with skip connections."""
        if self.architecture.skip_connections:
            return np.concatenate(outputs, -1)
        return outputs[-1]

    def zero_state(self, batch: int) -> State:
        """Return the state before the first character: zeros, [batch, H] for each layer."""
        dtype = self.logits_bias.dtype
        return tuple(np.zeros((batch, layer.units), dtype) for layer in self.layers)

    def step(self, ids: Ids, state: State) -> tuple[Floats, State]:
        """Read one character in each stream.

        Args:
            ids: Integers [B], 0 to V - 1.
            state: [B, H] for each layer; it is not changed.

        Returns:
            The logits of the next character, [B, V], and the state after this one.

        """
        outputs = advance(self, ids, state)
        return self.logits(outputs), outputs

    def unroll(self, ids: Ids, state: State) -> tuple[Floats, State]:
        """Read a window of characters in each stream.

        The result equals T calls of `step`, up to rounding. It is faster, because each layer
        multiplies its inputs at all times by its kernel together.

        Args:
            ids: Integers [T, B], 0 to V - 1; T may be 0.
            state: [B, H] for each layer; it is not changed.

        Returns:
            The logits after each character, [T, B, V], and the state after the last one.

        """
        outputs = read_outputs(self, ids, state)
        last = state if not len(ids) else tuple(output[-1] for output in outputs)
        return self.logits(outputs), last

    def _layer(self, index: int) -> Layer:
        name = f"rnn.{index}"
        zeros = np.zeros(self.architecture.units, self.logits_bias.dtype)
        return Layer(
            kernel=self.tensors[f"{name}.kernel"],
            from_below=self._rows(f"{name}.kernel", f"rnn.{index - 1}"),
            from_input=self._rows(f"{name}.kernel", self.architecture.input),
            recurrent_kernel=self.tensors[f"{name}.recurrent_kernel"],
            bias=self.tensors.get(f"{name}.bias", zeros),
            to_logits=self._rows("logits.kernel", name),
        )

    def _rows(self, tensor: str, part: str) -> Floats:
        """Return the rows of a tensor that multiply the output of a part, if there are any."""
        return self.tensors[tensor][self.architecture.tensors[tensor].rows(part)]

    def input_table(self, layer: Layer) -> Floats:
        """Return the table of a layer; see `input_tables`."""
        if not len(layer.from_input):
            return layer.bias[None]
        table = layer.from_input
        if self.architecture.embedding:
            table = self.tensors["embedding"] @ table
        return table + layer.bias


def advance(parameters: Parameters, ids: Ids, state: State) -> State:
    """Read one character in each stream, [B]; return the state after it, [B, H] for each layer."""
    outputs = read_outputs(parameters, ids[None], state)
    return tuple(output[0] for output in outputs)


@dataclass(frozen=True)
class Dropout:
    """Masks of a window in training: 0 for a dropped value, and 1 / (1 - rate) for a kept one."""

    recurrent: Floats
    """For each state before its own layer reads it, the same at all times, [L, B, H]."""
    between: Floats
    """For each output before the next layer reads it, the same at all times, [L - 1, B, H]."""
    output: Floats
    """For the features before the logits read them, [T, B, H] or [T, B, L H]."""


def read_outputs(
    parameters: Parameters, ids: Ids, state: State, *, dropout: Dropout | None = None
) -> State:
    """Read a window of characters in each stream, or in a single one.

    Args:
        parameters: The weights.
        ids: Integers [T, B], 0 to V - 1, or [T]; T may be 0.
        state: [B, H] for each layer, or [H]; it is not changed.
        dropout: Masks of the states and of the outputs between layers; None = no dropout.

    Returns:
        The outputs h_1 to h_T of each layer, [T, B, H] or [T, H]; `outputs[t]` is the output after
        the character `ids[t]`.

    """
    outputs: list[Floats] = []
    activation = parameters.activation
    for layer, table, first in zip(parameters.layers, parameters.input_tables, state, strict=True):
        index = len(outputs)
        inputs = table[ids] if len(table) > 1 else np.broadcast_to(table, (*ids.shape, layer.units))
        if outputs:
            below = outputs[-1] if dropout is None else outputs[-1] * dropout.between[index - 1]
            inputs = inputs + below @ layer.from_below
        mask = None if dropout is None else dropout.recurrent[index]
        kernel = layer.recurrent_kernel
        outputs.append(recur(inputs, kernel, first, activation=activation, mask=mask))
    return tuple(outputs)


def recur(
    input_projection: Floats,
    recurrent_kernel: Floats,
    state: Floats,
    *,
    activation: str = "tanh",
    mask: Floats | None = None,
) -> Floats:
    """Run the recurrence of one layer, h_t = f(input_projection_t + h_{t-1} V).

    Args:
        input_projection: x_t U + b at each time, [T, B, H], or [T, H] for a single stream.
        recurrent_kernel: V, [H, H].
        state: h_0, [B, H] or [H]; it is not changed.
        activation: The name of f, a key of ACTIVATIONS.
        mask: Factor of each h_{t-1}, [B, H]; None = no dropout.

    Returns:
        The outputs h_1 to h_T, in the shape of `input_projection`.

    """
    activate = ACTIVATIONS[activation].function
    outputs = np.empty(input_projection.shape, input_projection.dtype)
    for time, inputs in enumerate(input_projection):
        output = outputs[time]
        np.matmul(state if mask is None else state * mask, recurrent_kernel, out=output)
        output += inputs
        activate(output, out=output)
        state = output
    return outputs


def nats(logits: Floats, targets: Ids) -> Floats:
    """Compute -log softmax(logits)[target], without overflow for finite logits.

    Args:
        logits: float32 or float64 [..., V].
        targets: Ids of the next characters, integers [...], 0 to V - 1.

    Returns:
        [...] in the same dtype; not finite if the logits are not.

    """
    # The result shows whether the logits were finite.
    with ignore_overflow():
        chosen = np.take_along_axis(log_softmax(logits), targets[..., None], -1)
    return np.asarray(-chosen[..., 0])


def log_softmax(logits: Floats) -> Floats:
    """Return log softmax(logits), [..., V], in the same dtype, without overflow."""
    below_peak = logits - logits.max(-1, keepdims=True)
    below_peak -= np.log(np.exp(below_peak).sum(-1, keepdims=True))
    return np.asarray(below_peak)


def probabilities(logits: Floats) -> Floats:
    """Return softmax(logits), [..., V], in the same dtype, without overflow."""
    result = np.exp(logits - logits.max(-1, keepdims=True))
    result /= result.sum(-1, keepdims=True)
    return np.asarray(result)
