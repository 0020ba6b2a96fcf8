"""The recurrence over a whole window, and its gradient.

What is faster than a loop over a cell, and why:

* The gradient of the recurrent kernel is the sum over time of h_{t-1}^T da_t. Stacked over time that is one
  product [H, T B] x [T B, H] instead of T small ones (backpropagation through time, Werbos 1990, eq. 17).
* The loop is unrolled into the graph, so that no time is spent on the bookkeeping of a loop.

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
    "relu6": lambda y, dy: tf.raw_ops.Relu6Grad(gradients=dy, features=y),
    "linear": lambda y, dy: dy,
    "elu": lambda y, dy: tf.raw_ops.EluGrad(gradients=dy, outputs=y),
    "selu": lambda y, dy: tf.raw_ops.SeluGrad(gradients=dy, outputs=y),
    "softplus": lambda y, dy: dy * -tf.math.expm1(-y),
    "exponential": lambda y, dy: dy * y,
}
"""dL/da from y = f(a) and dL/dy, for the activations whose slope follows from their output."""


def multiply(
    a: Tensor, b: Tensor, *, precision: str = "float32", transpose_a: bool = False, transpose_b: bool = False
) -> Tensor:
    """Return the product of two matrices, float32.

    With `precision` bfloat16 the factors and the result are rounded to 8 bits of mantissa on the way; sums are
    still made in float32 where the processor multiplies bfloat16 itself.
    """
    product = tf.matmul(
        tf.cast(a, precision), tf.cast(b, precision), transpose_a=transpose_a, transpose_b=transpose_b
    )
    return tf.cast(product, tf.float32)


def scan(
    drive: Tensor,
    recurrent_kernel: Tensor,
    state: Tensor,
    *,
    activation: Activation = keras.activations.tanh,
    recurrent_mask: Tensor | None = None,
    unroll: bool = True,
    precision: str = "float32",
) -> Tensor:
    """Return every output of h_t = f(drive_t + (h_{t-1} * mask) V), [T, B, H].

    Args:
        drive: what enters from outside, x_t U + b, [T, B, H]; T must be known when unrolled.
        recurrent_kernel: V, [H, H].
        state: h_0, [B, H].
        activation: f, a function of Keras.
        recurrent_mask: [B, H], the same at every step (recurrent dropout), or None.
        unroll: True builds a node for every step, False a loop.
        precision: of the products, see `multiply`; state and sums are float32.

    """
    recurrence = _Recurrence(activation, recurrent_mask, unroll=unroll, precision=precision)
    if recurrence.gradient is None:  # TensorFlow differentiates step by step
        return recurrence.forward(drive, recurrent_kernel, state)[1:]
    return tf.custom_gradient(recurrence.run)(drive, recurrent_kernel, state)


class _Recurrence:
    """What is the same at every step: f, the mask [B, H] or None, and how it is computed."""

    def __init__(self, activation: Activation, mask: Tensor | None, *, unroll: bool, precision: str) -> None:
        self.activation, self.mask, self.unroll = activation, mask, unroll
        self.multiply = partial(multiply, precision=precision)
        self.precision = precision
        self.gradient = GRADIENTS_FROM_OUTPUT.get(getattr(activation, "__name__", ""))
        """dL/da from h and dL/dh; None where the slope of f does not follow from its output."""

    def run(self, drive: Tensor, kernel: Tensor, state: Tensor) -> tuple[Tensor, Callable[..., Any]]:
        """Return every output [T, B, H], and the function from its gradient to those of the arguments."""
        states = self.forward(drive, kernel, state)
        return states[1:], lambda d_outputs: self.backward(d_outputs, states, kernel)

    def forward(self, drive: Tensor, kernel: Tensor, state: Tensor) -> Tensor:
        """Return h_0 and every output, [T + 1, B, H]."""
        transposed = tf.cast(tf.transpose(kernel), self.precision)  # oneDNN: a transposed right side is faster

        def step(now: Tensor, previous: Tensor) -> Tensor:
            return self.activation(now + self.multiply(self._masked(previous), transposed, transpose_b=True))

        return _run(step, (drive,), state, unroll=self.unroll)

    def backward(self, d_outputs: Tensor, states: Tensor, kernel: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return dL/d drive [T, B, H], dL/dV [H, H] and dL/dh_0 [B, H]."""
        gradient, factor = self.gradient, tf.cast(kernel, self.precision)
        assert gradient is not None

        def to_previous(d_now: Tensor) -> Tensor:
            return self._masked(self.multiply(d_now, factor, transpose_b=True))

        def step(d_output: Tensor, output: Tensor, d_next: Tensor) -> Tensor:
            return gradient(output, d_output + to_previous(d_next))

        last = gradient(states[-1], d_outputs[-1])
        d_drive = _run(step, (d_outputs[:-1], states[1:-1]), last, unroll=self.unroll, backwards=True)
        previous, units = self._masked(states[:-1]), kernel.shape[0]
        d_kernel = self.multiply(
            tf.reshape(previous, [-1, units]), tf.reshape(d_drive, [-1, units]), transpose_a=True
        )
        return d_drive, d_kernel, to_previous(d_drive[0])

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
    """Return the first state and the result of every step in the order of time, [T + 1, ...].

    A step takes an element [B, H] of each sequence [T, B, H] and the state before it; `backwards` starts at the
    end of time.
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
        """Take the step that comes after `count` steps, from either end of time."""
        time = length - 1 - count if backwards else count
        state = step(*(array.read(time) for array in inputs), state)
        return count + 1, state, states.write(time if backwards else time + 1, state)

    _, _, states = tf.while_loop(
        lambda count, *_: count < length, body, (0, state, states), maximum_iterations=length
    )
    return states.stack()
