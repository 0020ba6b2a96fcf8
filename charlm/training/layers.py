"""The fast SimpleRNN: Keras's layer with the recurrence done at once for a whole window.

Same weights, same arguments, same results as `keras.layers.SimpleRNN`. What is faster, and why:

* The product of the inputs and the kernel does not wait for time, so it is one product for the window.
* The gradient of the recurrent kernel is the sum over time of h_{t-1}^T da_t. Stacked over time that is one
  product [H, T B] x [T B, H] instead of T small ones (backpropagation through time, Werbos 1990, eq. 17).
* The loop is unrolled into the graph, so that no time is spent on the bookkeeping of a loop.

Axes: B batch, T time, I inputs, H units. Tensors are float32.
"""

from collections.abc import Callable, Sequence
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


def scan(
    drive: Tensor,
    recurrent_kernel: Tensor,
    state: Tensor,
    *,
    activation: Activation = keras.activations.tanh,
    recurrent_mask: Tensor | None = None,
    unroll: bool = True,
) -> Tensor:
    """Return every output of h_t = f(drive_t + (h_{t-1} * mask) V), [T, B, H].

    Args:
        drive: what enters from outside, x_t U + b, [T, B, H]; T must be known when unrolled.
        recurrent_kernel: V, [H, H].
        state: h_0, [B, H].
        activation: f, a function of Keras.
        recurrent_mask: [B, H], the same at every step (recurrent dropout), or None.
        unroll: True builds a node for every step, False a loop.

    """
    gradient = GRADIENTS_FROM_OUTPUT.get(getattr(activation, "__name__", ""))
    if gradient is None:
        return _forward(drive, recurrent_kernel, state, activation, recurrent_mask, unroll=unroll)

    def run(drive: Tensor, recurrent_kernel: Tensor, state: Tensor) -> tuple[Tensor, Callable[..., Any]]:
        outputs = _forward(drive, recurrent_kernel, state, activation, recurrent_mask, unroll=unroll)

        def backward(d_outputs: Tensor) -> tuple[Tensor, Tensor, Tensor]:
            d_drive = _backward(d_outputs, outputs, recurrent_kernel, gradient, recurrent_mask, unroll=unroll)
            previous = tf.concat([state[None], outputs[:-1]], 0)
            previous = previous if recurrent_mask is None else previous * recurrent_mask
            units = recurrent_kernel.shape[0]
            d_kernel = tf.matmul(
                tf.reshape(previous, [-1, units]), tf.reshape(d_drive, [-1, units]), transpose_a=True
            )
            d_state = tf.matmul(d_drive[0], recurrent_kernel, transpose_b=True)
            return d_drive, d_kernel, d_state if recurrent_mask is None else d_state * recurrent_mask

        return outputs, backward

    return tf.custom_gradient(run)(drive, recurrent_kernel, state)


def _forward(
    drive: Tensor, kernel: Tensor, state: Tensor, activation: Activation, mask: Tensor | None, *, unroll: bool
) -> Tensor:
    transposed = tf.transpose(kernel)  # oneDNN multiplies by a transposed right side in fewer passes

    def step(now: Tensor, previous: Tensor) -> Tensor:
        previous = previous if mask is None else previous * mask
        return activation(now + tf.matmul(previous, transposed, transpose_b=True))

    if not unroll:
        return _loop(step, (drive,), state)
    outputs = []
    for now in tf.unstack(drive):
        state = step(now, state)
        outputs.append(state)
    return tf.stack(outputs)


def _backward(
    d_outputs: Tensor,
    outputs: Tensor,
    kernel: Tensor,
    gradient: Callable[[Tensor, Tensor], Tensor],
    mask: Tensor | None,
    *,
    unroll: bool,
) -> Tensor:
    """Return dL/d drive [T, B, H], from the last step to the first."""

    def step(d_output: Tensor, output: Tensor, d_next: Tensor) -> Tensor:
        d_state = tf.matmul(d_next, kernel, transpose_b=True)
        d_state = d_state if mask is None else d_state * mask
        return gradient(output, d_output + d_state)

    if not unroll:
        reversed_in_time = (tf.reverse(d_outputs, [0]), tf.reverse(outputs, [0]))
        return tf.reverse(_loop(step, reversed_in_time, tf.zeros_like(outputs[0])), [0])
    d_steps, steps = tf.unstack(d_outputs), tf.unstack(outputs)
    d_drive = [gradient(steps[-1], d_steps[-1])]
    for d_output, output in zip(reversed(d_steps[:-1]), reversed(steps[:-1]), strict=True):
        d_drive.append(step(d_output, output, d_drive[-1]))
    return tf.stack(d_drive[::-1])


def _loop(step: Callable[..., Tensor], sequences: Sequence[Tensor], state: Tensor) -> Tensor:
    """Return the result of every step, [T, ...], with a loop in the graph."""
    length = tf.shape(sequences[0])[0]
    inputs = [tf.TensorArray(s.dtype, length, element_shape=s.shape[1:]).unstack(s) for s in sequences]
    outputs = tf.TensorArray(state.dtype, length, element_shape=state.shape)

    def body(time: Tensor, state: Tensor, outputs: Any) -> tuple[Tensor, Tensor, Any]:
        state = step(*(array.read(time) for array in inputs), state)
        return time + 1, state, outputs.write(time, state)

    _, _, outputs = tf.while_loop(
        lambda time, *_: time < length, body, (0, state, outputs), maximum_iterations=length
    )
    return outputs.stack()


class SimpleRNN(keras.layers.SimpleRNN):
    """`keras.layers.SimpleRNN`, faster; inputs that the fast path cannot take go the stock way by themselves.

    Call it like the stock layer, [B, T, I] -> [B, T, H]; or, without a transposition at each end, read a
    window that lies in time-major order with `read`. Keras calls `inner_loop` where its own GRU and LSTM put
    their fast kernels.
    """

    def __init__(self, *arguments: Any, activity_regularizer: Any = None, **named: Any) -> None:
        super().__init__(*arguments, **named)
        # Keras 3.15 takes this argument for a SimpleRNN, unlike for its GRU and LSTM, without keeping it.
        self.activity_regularizer = keras.regularizers.get(activity_regularizer)

    def inner_loop(
        self, sequences: Tensor, initial_state: Any, mask: Tensor | None, training: bool = False
    ) -> tuple[Tensor, Tensor, list[Tensor]]:
        """Run over inputs [B, T, I]; returns the last output [B, H], all outputs [B, T, H], the states.

        Without `return_sequences` the second is the last output alone, [B, 1, H], as in the stock layer.
        """
        if mask is not None or self.go_backwards or sequences.shape[1] is None:
            stock: tuple[Tensor, Tensor, list[Tensor]]
            stock = super().inner_loop(sequences, initial_state, mask, training=training)
            return stock
        state = tf.nest.flatten(initial_state)[0]
        first = sequences[:, 0, :]
        input_mask = self.cell.get_dropout_mask(first) if training else None
        recurrent_mask = self.cell.get_recurrent_dropout_mask(state) if training else None
        inputs = sequences if input_mask is None else sequences * input_mask[:, None, :]
        drive = tf.tensordot(inputs, tf.convert_to_tensor(self.cell.kernel), 1)
        drive = tf.transpose(drive, [1, 0, 2])
        outputs = self._scan(drive + self.cell.bias if self.use_bias else drive, state, recurrent_mask)
        sequence = tf.transpose(outputs if self.return_sequences else outputs[-1:], [1, 0, 2])
        return outputs[-1], sequence, [outputs[-1]]

    def read(self, below: Tensor | None, ids: Tensor | None, state: Tensor, *, training: bool) -> Tensor:
        """Read a window in time-major order; returns the outputs [T, B, H].

        Args:
            below: dense inputs [T, B, D], which meet the first D rows of the kernel, or None.
            ids: characters int32 [T, B], each standing for a one-hot vector that meets the rows after those:
                looked up instead of multiplied; or None.
            state: [B, H].
            training: whether dropout is applied.

        """
        kernel = tf.convert_to_tensor(self.cell.kernel)
        batch, inputs = state.shape[0], kernel.shape[0]
        mask = self._mask(self.dropout, [batch, inputs]) if training else None
        width = 0 if below is None else below.shape[-1]
        drive = 0.0
        if below is not None:
            below = below if mask is None else below * mask[:, :width]
            flat = tf.matmul(tf.reshape(below, [-1, width]), kernel[:width])
            drive = tf.reshape(flat, [-1, batch, self.units])
        if ids is not None:
            drive += _look_up(kernel[width:], ids, None if mask is None else mask[:, width:])
        if self.use_bias:
            drive += self.cell.bias
        recurrent_mask = self._mask(self.recurrent_dropout, [batch, self.units]) if training else None
        return self._scan(drive, state, recurrent_mask)

    def _scan(self, drive: Tensor, state: Tensor, recurrent_mask: Tensor | None) -> Tensor:
        return scan(
            drive,
            tf.convert_to_tensor(self.cell.recurrent_kernel),
            state,
            activation=self.activation,
            recurrent_mask=recurrent_mask,
            unroll=self.unroll,
        )

    def _mask(self, rate: float, shape: list[int]) -> Tensor | None:
        return keras.random.dropout(tf.ones(shape), rate, seed=self.cell.seed_generator) if rate else None


def _look_up(table: Tensor, ids: Tensor, mask: Tensor | None) -> Tensor:
    """Return the product of one-hot vectors and a matrix: rows of `table` [V, H] by ids [T, B], [T, B, H].

    A mask [B, V] scales the one-hot vectors of each stream.
    """
    rows = tf.gather(table, ids)
    if mask is None:
        return rows
    scale = tf.gather(mask, tf.transpose(ids), batch_dims=1)  # [B, T]
    return rows * tf.transpose(scale)[..., None]
