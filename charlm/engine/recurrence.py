"""The recurrence over a whole window, and its gradient.

It is faster than a loop over a cell for two reasons:

* The gradient of the recurrent kernel is the sum over time of h_{t-1}^T da_t, where a_t is the argument of f. Stacked
  over time that is one product [H, T B] x [T B, H] instead of T small ones (backpropagation through time, Werbos 1990,
  equation 17).
* The loop is unrolled into the graph, which avoids the overhead of a loop at every step.

Axes: B batch, T time, H units. Tensors are float32; products may round their factors to bfloat16.
"""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import keras
import tensorflow as tf

Tensor = Any
Activation = Callable[[Tensor], Tensor]

GRADIENTS_FROM_OUTPUT: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "tanh": lambda y, dy: tf.raw_ops.TanhGrad(y=y, dy=dy),
    "sigmoid": lambda y, dy: tf.raw_ops.SigmoidGrad(y=y, dy=dy),
    "relu": lambda y, dy: tf.raw_ops.ReluGrad(gradients=dy, features=y),
    "linear": lambda y, dy: dy,
}
"""(y, dL/dy) -> dL/da with y = f(a): the derivative of every activation is a function of its output."""


def multiply(
    a: Tensor, b: Tensor, *, precision: str = "float32", transpose_a: bool = False, transpose_b: bool = False
) -> Tensor:
    """Return the product of two matrices.

    Args:
        a: float32 [rows, inner], or [inner, rows] if `transpose_a`.
        b: float32 [inner, columns], or [columns, inner] if `transpose_b`.
        precision: float32, or bfloat16, which rounds the factors and the result to 8 bits of mantissa; a processor that
            multiplies bfloat16 still adds in float32.
        transpose_a: Whether `a` is transposed.
        transpose_b: Whether `b` is transposed.

    Returns:
        float32 [rows, columns].

    """
    product = tf.matmul(tf.cast(a, precision), tf.cast(b, precision), transpose_a=transpose_a, transpose_b=transpose_b)
    return tf.cast(product, tf.float32)


def scan(
    input_projection: Tensor,
    recurrent_kernel: Tensor,
    state: Tensor,
    *,
    activation: Activation = keras.activations.tanh,
    recurrent_mask: Tensor | None = None,
    unroll: bool = True,
    precision: str = "float32",
) -> Tensor:
    """Run the recurrence h_t = f(input_projection_t + (h_{t-1} * mask) V).

    Args:
        input_projection: x_t U + b at each time, [T, B, H]; T must be known if `unroll`.
        recurrent_kernel: V, [H, H].
        state: h_0, [B, H].
        activation: f, an activation function of Keras.
        recurrent_mask: The mask of recurrent dropout, [B, H], the same at every step, or None.
        unroll: Whether to build graph nodes for every step instead of a loop.
        precision: The precision of the products, see `multiply`; states and sums are float32.

    Returns:
        The outputs h_1 to h_T, [T, B, H].

    """
    recurrence = _Recurrence(activation, recurrent_mask, unroll=unroll, precision=precision)
    return tf.custom_gradient(recurrence.run)(input_projection, recurrent_kernel, state)


class _Recurrence:
    """The recurrence and its gradient, with all that is the same at every step: f, the mask [B, H], the precision."""

    def __init__(self, activation: Activation, mask: Tensor | None, *, unroll: bool, precision: str) -> None:
        self.activation, self.mask, self.unroll = activation, mask, unroll
        self.multiply = partial(multiply, precision=precision)
        self.precision = precision
        self.gradient = GRADIENTS_FROM_OUTPUT[activation.__name__]
        """(h, dL/dh) -> dL/da."""

    def run(self, input_projection: Tensor, kernel: Tensor, state: Tensor) -> tuple[Tensor, Callable[..., Any]]:
        """Return the outputs [T, B, H], and the function from their gradient to those of the arguments."""
        states = self.forward(input_projection, kernel, state)
        return states[1:], lambda d_outputs: self.backward(d_outputs, states, kernel)

    def forward(self, input_projection: Tensor, kernel: Tensor, state: Tensor) -> Tensor:
        """Return h_0 to h_T, [T + 1, B, H]."""
        transposed = tf.cast(tf.transpose(kernel), self.precision)  # oneDNN: a transposed right factor is faster

        def step(projection: Tensor, previous: Tensor) -> Tensor:
            return self.activation(projection + self.multiply(self._masked(previous), transposed, transpose_b=True))

        return _run(step, (input_projection,), state, unroll=self.unroll)

    def backward(self, d_outputs: Tensor, states: Tensor, kernel: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return dL/d input_projection [T, B, H], dL/dV [H, H] and dL/dh_0 [B, H]."""
        gradient, factor = self.gradient, tf.cast(kernel, self.precision)

        def to_previous(d_argument: Tensor) -> Tensor:
            """Return dL/dh_{t-1} from dL/da_t."""
            return self._masked(self.multiply(d_argument, factor, transpose_b=True))

        def step(d_output: Tensor, output: Tensor, d_next: Tensor) -> Tensor:
            return gradient(output, d_output + to_previous(d_next))

        last = gradient(states[-1], d_outputs[-1])
        d_input = _run(step, (d_outputs[:-1], states[1:-1]), last, unroll=self.unroll, backwards=True)
        previous, units = self._masked(states[:-1]), kernel.shape[0]
        d_kernel = self.multiply(tf.reshape(previous, [-1, units]), tf.reshape(d_input, [-1, units]), transpose_a=True)
        return d_input, d_kernel, to_previous(d_input[0])

    def _masked(self, tensor: Tensor) -> Tensor:
        return tensor if self.mask is None else tensor * self.mask


def _run(
    step: Callable[..., Tensor],
    sequences: Sequence[Tensor],
    state: Tensor,
    *,
    unroll: bool,
    backwards: bool = False,
) -> Tensor:
    """Return the given state and the result of every step, in the order of time: [T + 1, B, H].

    A step takes an element [B, H] of each sequence [T, B, H] and the result of the step before; `backwards` starts at
    the last element.
    """
    if not unroll:
        return _loop(step, sequences, state, backwards=backwards)
    elements = list(zip(*(tf.unstack(sequence) for sequence in sequences), strict=True))
    states = [state]
    for element in reversed(elements) if backwards else elements:
        states.append(step(*element, states[-1]))
    return tf.stack(states[::-1] if backwards else states)


def _loop(step: Callable[..., Tensor], sequences: Sequence[Tensor], state: Tensor, *, backwards: bool) -> Tensor:
    length = tf.shape(sequences[0])[0]
    inputs = [tf.TensorArray(s.dtype, length, element_shape=s.shape[1:]).unstack(s) for s in sequences]
    states = tf.TensorArray(state.dtype, length + 1, element_shape=state.shape)
    states = states.write(length if backwards else 0, state)

    def body(count: Tensor, state: Tensor, states: Any) -> tuple[Tensor, Tensor, Any]:
        """Take the step after `count` steps, counted from the end at which the loop starts."""
        time = length - 1 - count if backwards else count
        state = step(*(array.read(time) for array in inputs), state)
        return count + 1, state, states.write(time if backwards else time + 1, state)

    _, _, states = tf.while_loop(lambda count, *_: count < length, body, (0, state, states), maximum_iterations=length)
    return states.stack()
