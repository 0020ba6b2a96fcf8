"""The loss of a window and its gradient by the compiled kernel, as TensorFlow operations.

Axes: T time, R rows, V characters, H units, L layers.
"""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import tensorflow as tf

from charlm.engine.kernel import Network, load_kernel
from charlm.engine.model import CharacterRNN, State, Tensor, named_weights


class CompiledGradients:
    """The gradients of a step with respect to every weight, one part of the batch at a time.

    The compiled kernel knows neither embedding nor bias. Instead, a layer that reads characters has
    a table with one row for each character: the embedding times the input weights, plus the bias.
    TensorFlow differentiates this table.

    Args:
        model: The network, with settings that the kernel supports.
        temperature: Divisor of the logits in the objective.
        soft_weight: Weight of the soft targets.

    """

    def __init__(self, model: CharacterRNN, *, temperature: float, soft_weight: float) -> None:
        self._model = model
        self._kernel = load_kernel()
        self._network = Network(model.architecture, bfloat16=model.precision == "bfloat16")
        self._objective = {"temperature": temperature, "soft_weight": soft_weight}
        with tf.GradientTape() as self._tape:
            self._slots = self._arrange_weights()
            self._penalties = model.losses
        self._weights = [weight for weight in self._slots if weight is not None]
        (self._packed,) = call_with_arrays(self._pack, self._weights, 1)

    def of_part(
        self, window: Tensor, state: State, soft: Tensor, *, share: float
    ) -> tuple[State, list[Tensor]]:
        """Compute the gradients of a part of a batch.

        Args:
            window: Ids, int32 [T + 1, R].
            state: The state before the first character.
            soft: The soft targets, float16 [T, R, V], or [T, R, 0] if they are not used.
            share: Share of the rows of the batch that are in this part.

        Returns:
            The state after the last character, and tensors to add over all parts: the part's share
            of the loss and of the gradients.

        """
        length, rows = window.shape
        masks = self._model.draw_masks(length - 1, rows)
        options = {
            "window": window,
            "state": tf.stack(state),
            "soft": tf.cast(soft, tf.float32) if soft.shape[-1] else None,
            "recurrent_mask": masks.recurrent,
            "layer_mask": masks.between,
            "output_mask": masks.output,
        }
        present = {name: tensor for name, tensor in options.items() if tensor is not None}
        inputs = [self._packed, *self._weights, *present.values()]
        last, vector = call_with_arrays(partial(self._gradient, list(present), share), inputs, 2)
        last = tf.ensure_shape(last, (len(state), *state[0].shape))
        vector = tf.ensure_shape(vector, (1 + sum(map(_size, self._weights)),))
        return tuple(tf.unstack(last)), [vector]

    def finish(self, sums: list[Tensor]) -> tuple[Tensor, list[Tensor]]:
        """Return the loss, and the gradients in the order of `model.trainable_variables`.

        Args:
            sums: The sums of the tensors of all parts.

        """
        loss, *blocks = tf.split(sums[0], [1, *map(_size, self._weights)])
        pairs = zip(blocks, self._weights, strict=True)
        gradients = [tf.reshape(block, weight.shape) for block, weight in pairs]
        gradients += [tf.ones(()) for _ in self._penalties]
        targets = [*self._weights, *self._penalties]
        variables = self._model.trainable_variables
        return loss[0], self._tape.gradient(targets, variables, output_gradients=gradients)

    def _arrange_weights(self) -> list[Tensor | None]:
        """Return the weights in the order of `charlm.engine.kernel.Weights`."""
        shape = self._model.architecture
        variables = named_weights(self._model)
        weights = {name: tf.convert_to_tensor(variables[name]) for name in variables}
        kernels = {name: spec for name, spec in shape.tensors.items() if spec.reads}
        blocks = {name: _split_rows(weights[name], spec.reads) for name, spec in kernels.items()}
        arranged: list[Tensor | None] = []
        for index in range(shape.layers):
            table = blocks[f"rnn.{index}.kernel"].get(shape.input)
            if table is None:
                table = tf.zeros((1, shape.units))
            elif shape.embedding:
                table = tf.matmul(weights["embedding"], table)
            if shape.use_bias:
                table += weights[f"rnn.{index}.bias"]
            arranged.append(table)
            for reader in shape.readers(index):
                arranged.append(blocks.get(reader, {}).get(f"rnn.{index}"))
        return [*arranged, weights["logits.bias"]]

    def _fill(self, arrays: Sequence[Any]) -> list[Any]:
        """Return the arrays of the weights, with None for missing weights."""
        remaining = iter(arrays)
        return [None if weight is None else next(remaining) for weight in self._slots]

    def _pack(self, *arrays: Any) -> list[Any]:
        return [self._kernel.pack(self._network, self._fill(arrays))]

    def _gradient(
        self, names: Sequence[str], share: float, packed: Any, *arrays: Any
    ) -> tuple[Any, Any]:
        """Call the kernel with the packed weights, the weights, and options named by `names`."""
        count = len(self._weights)
        options: dict[str, Any] = dict(zip(names, arrays[count:], strict=True))
        options |= self._objective
        weights = self._fill(arrays[:count])
        return self._kernel.gradient(self._network, weights, packed, share=share, **options)


def _split_rows(weight: Tensor, reads: Mapping[str, int]) -> dict[str, Tensor]:
    """Split a weight into the rows that multiply each part's output, and return them by part."""
    rows = tf.split(weight, list(reads.values())) if len(reads) > 1 else [weight]
    return dict(zip(reads, rows, strict=True))


def _size(tensor: Tensor) -> int:
    return int(tensor.shape.num_elements())


def call_with_arrays(
    function: Callable[..., Sequence[Any]], inputs: list[Tensor], count: int
) -> list[Tensor]:
    """Apply a function of arrays to tensors, and return its float32 results as tensors.

    Args:
        function: Takes an array for each input; it must have no state, so that several calls can
            run in parallel.
        inputs: The tensors to pass.
        count: Number of arrays that the function returns.

    """
    outputs = tf.numpy_function(function, inputs, count * [tf.float32], stateful=False)
    tensors: list[Tensor] = tf.nest.flatten(outputs)
    return tensors
