"""The fast SimpleRNN: Keras's layer with the recurrence done at once for a whole window.

Same weights, same arguments, same results as `keras.layers.SimpleRNN`. What does not wait for time, the product
of the inputs and the kernel, is one product for the window, and for one-hot inputs a look-up; the rest is
`charlm.training.recurrence`.

Axes: B batch, T time, I inputs, H units. Tensors are float32.
"""

from typing import Any

import keras
import tensorflow as tf

from charlm.training.dropout import dropout_mask
from charlm.training.recurrence import Tensor, multiply, scan


class SimpleRNN(keras.layers.SimpleRNN):
    """`keras.layers.SimpleRNN`, faster; inputs that the fast path cannot take go the stock way by themselves.

    Call it like the stock layer, [B, T, I] -> [B, T, H]; or, without a transposition at each end, read a
    window that lies in time-major order with `read`. Keras calls `inner_loop` where its own GRU and LSTM put
    their fast kernels.
    """

    def __init__(
        self,
        *arguments: Any,
        activity_regularizer: Any = None,
        precision: str = "float32",
        weight_dropout: float = 0.0,
        **named: Any,
    ) -> None:
        super().__init__(*arguments, **named)
        self.precision = precision
        """Of the products: float32 or bfloat16; see `charlm.training.recurrence.multiply`."""
        self.weight_dropout = weight_dropout
        """Share of the recurrent kernel that `read` drops for a window in training (Merity et al. 2017)."""
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
        mask = self._mask(self.dropout, (batch, inputs)) if training else None
        width = 0 if below is None else below.shape[-1]
        drive = 0.0
        if below is not None:
            below = below if mask is None else below * mask[:, :width]
            flat = multiply(tf.reshape(below, [-1, width]), kernel[:width], precision=self.precision)
            drive = tf.reshape(flat, [-1, batch, self.units])
        bias = tf.convert_to_tensor(self.cell.bias) if self.use_bias else 0.0
        if ids is None:
            drive += bias
        elif mask is None:
            drive += tf.gather(kernel[width:] + bias, ids)  # the bias rides on V rows instead of T B
        else:
            drive += _look_up(kernel[width:], ids, mask[:, width:]) + bias
        recurrent_mask = self._mask(self.recurrent_dropout, (batch, self.units)) if training else None
        return self._scan(drive, state, recurrent_mask, self._weight_mask() if training else None)

    def _scan(
        self, drive: Tensor, state: Tensor, recurrent_mask: Tensor | None, weight_mask: Tensor | None = None
    ) -> Tensor:
        recurrent_kernel = tf.convert_to_tensor(self.cell.recurrent_kernel)
        return scan(
            drive,
            recurrent_kernel if weight_mask is None else recurrent_kernel * weight_mask,
            state,
            activation=self.activation,
            recurrent_mask=recurrent_mask,
            unroll=self.unroll,
            precision=self.precision,
        )

    def get_config(self) -> dict[str, Any]:
        """Return the arguments that make this layer again."""
        return {**super().get_config(), "precision": self.precision, "weight_dropout": self.weight_dropout}

    def _mask(self, rate: float, shape: tuple[int, ...]) -> Tensor | None:
        return keras.random.dropout(tf.ones(shape), rate, seed=self.cell.seed_generator) if rate else None

    def _weight_mask(self) -> Tensor | None:
        rate, shape = self.weight_dropout, (self.units, self.units)
        return dropout_mask(shape, rate, self.cell.seed_generator) if rate else None


def _look_up(table: Tensor, ids: Tensor, mask: Tensor) -> Tensor:
    """Return the product of masked one-hot vectors and a matrix: rows of `table` [V, H] by ids [T, B], [T, B, H].

    The mask [B, V] scales the one-hot vectors of each stream.
    """
    scale = tf.gather(mask, tf.transpose(ids), batch_dims=1)  # [B, T]
    return tf.gather(table, ids) * tf.transpose(scale)[..., None]
