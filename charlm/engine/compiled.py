"""The recurrence over a whole window in kernel.c, as an operation of TensorFlow's graph with its own gradient.

Axes: B batch, T time, V rows of the table, H units.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
import tensorflow as tf

from charlm.engine.kernel import load_kernel
from charlm.engine.recurrence import Tensor, multiply


def scan_compiled(
    projection: Tensor | None,
    ids: Tensor | None,
    table: Tensor,
    recurrent_kernel: Tensor,
    state: Tensor,
    *,
    activation: str,
    recurrent_mask: Tensor | None = None,
    precision: str = "float32",
) -> tuple[Tensor, Tensor]:
    """Run the recurrence h_t = f(projection_t + table[ids_t] + (h_{t-1} * mask) V).

    Args:
        projection: The product of the layer below with its weights, [T, B, H] in `precision`, or None.
        ids: Characters, int32 [T, B], 0 to V - 1; None = the table has one row, which is added everywhere.
        table: The rows of the characters with the bias, or the bias, float32 [V, H].
        recurrent_kernel: V, float32 [H, H].
        state: h_0, float32 [B, H].
        activation: f, one of `charlm.engine.kernel.ACTIVATIONS`.
        recurrent_mask: The mask of recurrent dropout, float32 [B, H], or None.
        precision: The precision of products and outputs, float32 or bfloat16; sums are float32.

    Returns:
        The outputs h_1 to h_T, [T, B, H] in `precision`, twice: if two layers read them, each takes its own, and the
        kernel adds the two gradients, which TensorFlow is slow to add in bfloat16.

    """
    scan = _Scan(ids, recurrent_mask, activation, precision)
    if projection is None:
        first, second = tf.custom_gradient(scan.run_without_projection)(table, recurrent_kernel, state)
    else:
        first, second = tf.custom_gradient(scan.run)(projection, table, recurrent_kernel, state)
    return first, second


class _Scan:
    """The recurrence and its gradient, with all that has no gradient: ids [T, B], the mask [B, H], f, the precision."""

    def __init__(self, ids: Tensor | None, mask: Tensor | None, activation: str, precision: str) -> None:
        self.ids, self.mask, self.activation = ids, mask, activation
        self.dtype, self.bfloat16 = tf.as_dtype(precision), precision == "bfloat16"
        self.precision = precision
        self.kernel = load_kernel()

    def run_without_projection(
        self, table: Tensor, matrix: Tensor, state: Tensor
    ) -> tuple[tuple[Tensor, Tensor], Callable[..., Any]]:
        """Return what `run` returns, where there is no layer below."""
        outputs, gradient = self.run(None, table, matrix, state)
        return outputs, lambda *d_outputs: gradient(*d_outputs)[1:]

    def run(
        self, projection: Tensor | None, table: Tensor, matrix: Tensor, state: Tensor
    ) -> tuple[tuple[Tensor, Tensor], Callable[..., Any]]:
        """Return the outputs [T, B, H] twice, and the function from their gradients to those of the arguments."""
        states, outputs = self._forward(projection, table, matrix, state)
        units = matrix.shape[0]

        def gradient(d_outputs: Tensor, d_others: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
            """Return the gradients by the projection, the table, the recurrent kernel and h_0."""
            d_arguments, d_table, d_state = self._backward(d_outputs, d_others, table, matrix, states)
            previous = outputs[:-1] if self.mask is None else outputs[:-1] * tf.cast(self.mask, self.dtype)
            flat = (tf.reshape(tensor, [-1, units]) for tensor in (previous, d_arguments))
            return d_arguments, d_table, multiply(*flat, precision=self.precision, transpose_a=True), d_state

        return (outputs[1:], tf.identity(outputs[1:])), gradient

    def _forward(
        self, projection: Tensor | None, table: Tensor, matrix: Tensor, state: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Return h_0 to h_T twice, [T + 1, B, H]: in float32 and in the precision."""
        given = self.ids if projection is None else projection
        assert given is not None
        time = given.shape[0]

        def call(arrays: dict[str, Any]) -> tuple[Any, ...]:
            """Call the kernel."""
            shape = (time + 1, *arrays["state"].shape)
            outputs = np.empty(shape, self.dtype.as_numpy_dtype) if self.bfloat16 else None
            states = self.kernel.forward(**arrays, activation=self.activation, outputs=outputs)
            return (states,) if outputs is None else (states, outputs)

        inputs = {"projection": projection, "ids": self.ids, "table": table, "matrix": matrix}
        inputs |= {"state": state, "mask": self.mask}
        kinds = [tf.float32, tf.bfloat16] if self.bfloat16 else [tf.float32]
        found = [tf.ensure_shape(states, (time + 1, *state.shape)) for states in _call(call, inputs, kinds)]
        return found[0], found[-1]

    def _backward(
        self, d_outputs: Tensor, d_others: Tensor, table: Tensor, matrix: Tensor, states: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Return dL/d projection [T, B, H], dL/d table [V, H] and dL/dh_0 [B, H]."""
        options = {"rows": table.shape[0], "activation": self.activation, "bfloat16": self.bfloat16}
        inputs = {"d_outputs": d_outputs, "d_others": d_others, "ids": self.ids, "matrix": matrix, "states": states}
        inputs |= {"mask": self.mask}
        found = _call(
            lambda arrays: self.kernel.backward(**arrays, **options), inputs, [self.dtype, tf.float32, tf.float32]
        )
        shapes = (d_outputs.shape, table.shape, states.shape[1:])
        d_arguments, d_table, d_state = map(tf.ensure_shape, found, shapes)
        return d_arguments, d_table, d_state


def _call(
    function: Callable[[dict[str, Any]], tuple[Any, ...]], inputs: dict[str, Tensor | None], dtypes: list[Any]
) -> list[Tensor]:
    """Return what a function of arrays by name returns for these tensors; None is passed on.

    `stateful=False` lets TensorFlow run several calls at the same time.
    """
    given = {name: tensor for name, tensor in inputs.items() if tensor is not None}

    def call(*arrays: Any) -> Any:
        """Call the function, with the names."""
        return function(dict.fromkeys(inputs) | dict(zip(given, arrays, strict=True)))

    found: list[Tensor] = tf.nest.flatten(tf.numpy_function(call, list(given.values()), dtypes, stateful=False))
    return found
