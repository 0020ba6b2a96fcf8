"""The loss of a window and its gradient by kernel.c, as operations of TensorFlow's graph.

Axes: T time, R rows, V characters, H units, L layers.
"""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from charlm.engine.kernel import Network, load_kernel
from charlm.engine.model import CharacterRNN, State, Tensor, named_weights


class CompiledGradients:
    """The gradients of a step by every weight of a network, a part of the batch at a time.

    The kernel knows no embedding and no bias: a layer that reads characters has a table with a row for each, which is
    the product of the embedding with the rows of its kernel for inputs, plus the bias. TensorFlow differentiates that.

    Args:
        model: The network; its settings are those that the kernel covers.
        temperature: Divisor of the logits in what is minimised.
        soft_weight: The weight of the soft targets.

    """

    def __init__(self, model: CharacterRNN, *, temperature: float, soft_weight: float) -> None:
        shape = model.architecture
        self._model, self._kernel = model, load_kernel()
        self._network = Network(shape, bfloat16=model.precision == "bfloat16")
        self._minimized: dict[str, Any] = {"temperature": temperature, "soft_weight": soft_weight}
        with tf.GradientTape() as self._tape:
            self._slots = self._arranged_weights()
            self._penalties = model.losses
        self._weights = [weight for weight in self._slots if weight is not None]
        (self._packed,) = call_with_arrays(
            lambda *arrays: (self._kernel.pack(self._network, self._fill(arrays)),),
            self._weights,
            1,
        )

    def _arranged_weights(self) -> list[Tensor | None]:
        """Return the weights in the order of `charlm.engine.kernel.Weights`."""
        shape = self._model.architecture
        weights = {
            name: tf.convert_to_tensor(weight)
            for name, weight in named_weights(self._model).items()
        }
        blocks: dict[str, dict[str, Tensor]] = {}
        for name, spec in shape.tensors.items():
            if spec.reads:
                widths = list(spec.reads.values())
                rows = tf.split(weights[name], widths) if len(widths) > 1 else [weights[name]]
                blocks[name] = dict(zip(spec.reads, rows, strict=True))
        arranged: list[Tensor | None] = []
        for index in range(shape.layers):
            table = blocks[f"rnn.{index}.kernel"].get(shape.input)
            if table is None:
                table = tf.zeros((1, shape.units))
            elif shape.embedding:
                table = tf.matmul(weights["embedding"], table)
            bias = weights.get(f"rnn.{index}.bias")
            arranged.append(table if bias is None else table + bias)
            for name in shape.readers(index):
                arranged.append(blocks.get(name, {}).get(f"rnn.{index}"))
        return [*arranged, weights["logits.bias"]]

    def _fill(self, arrays: Sequence[Any]) -> list[Any]:
        """Return the arrays of the weights in the places that they have in the kernel."""
        left = iter(arrays)
        return [None if weight is None else next(left) for weight in self._slots]

    def of_part(
        self, window: Tensor, state: State, soft: Tensor, *, share: float
    ) -> tuple[State, list[Tensor]]:
        """Return the state after a part of a batch, and its share of the loss and the gradients, which can be added.

        Args:
            window: Ids, int32 [T + 1, R].
            state: The state before the first character.
            soft: The soft targets, float16 [T, R, V], or [T, R, 0] if they are not used.
            share: The part's share of the rows of the batch.

        """
        masks = self._model.draw_masks(window.shape[0] - 1, window.shape[1])
        given = {"window": window, "state": tf.stack(state)}
        given |= {"soft": tf.cast(soft, tf.float32) if soft.shape[-1] else None}
        given |= {
            "recurrent_mask": masks.recurrent,
            "layer_mask": masks.between,
            "output_mask": masks.output,
        }
        names = [name for name, tensor in given.items() if tensor is not None]
        inputs, count = [self._packed, *self._weights], len(self._weights)

        def call(packed: Any, *arrays: Any) -> tuple[Any, ...]:
            """Compute the gradient from the packed weights, the weights, and the inputs that are given."""
            named: dict[str, Any] = dict(zip(names, arrays[count:], strict=True))
            return self._kernel.gradient(
                self._network,
                self._fill(arrays[:count]),
                packed,
                share=share,
                **self._minimized,
                **named,
            )

        last, vector = call_with_arrays(call, [*inputs, *(given[name] for name in names)], 2)
        last = tf.ensure_shape(last, (len(state), *state[0].shape))
        return tuple(tf.unstack(last)), [
            tf.ensure_shape(vector, (1 + sum(map(_size, self._weights)),))
        ]

    def finish(self, sums: list[Tensor]) -> tuple[Tensor, list[Tensor]]:
        """Return the loss and the gradients by `model.trainable_variables`, from what all parts add up to."""
        loss, *flat = tf.split(sums[0], [1, *map(_size, self._weights)])
        gradients = [
            tf.reshape(one, weight.shape) for one, weight in zip(flat, self._weights, strict=True)
        ]
        targets, variables = [*self._weights, *self._penalties], self._model.trainable_variables
        gradients += [tf.ones(()) for _ in self._penalties]
        return loss[0], self._tape.gradient(targets, variables, output_gradients=gradients)


def _size(tensor: Tensor) -> int:
    return int(np.prod(tensor.shape))


def call_with_arrays(
    function: Callable[..., Sequence[Any]], inputs: list[Tensor], count: int
) -> list[Tensor]:
    """Return the `count` float32 arrays that a function of arrays returns, as tensors.

    `stateful=False` lets several calls run side by side.
    """
    found: list[Tensor] = tf.nest.flatten(
        tf.numpy_function(function, inputs, count * [tf.float32], stateful=False)
    )
    return found
