"""The training step, compiled: it takes the hidden state and returns the next one.

A batch is split into parts, one for each core. Each part runs its own forward and backward pass, and the gradients are
added in a fixed order, so that a run is repeatable to the last bit on the same machine.

Axes: B batch, T time, K steps in one call.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import keras
import numpy as np
import tensorflow as tf

from charlm.engine.average import WeightAverage
from charlm.engine.model import CharacterRNN, State
from charlm.engine.recurrence import Tensor
from charlm.text.batches import Batches


class StepResults(NamedTuple):
    """The result of one call of the compiled function."""

    state: State
    """The hidden state after the last step, float32 [B, H] for each layer."""
    losses: Tensor
    """The loss of each step in nats per character, float32 [K], at temperature 1 and without regularization."""
    gradient_norms: Tensor
    """The global norm of each step's gradient before clipping, float32 [K]."""


TrainSteps = Callable[[Any, State, Any], StepResults]
"""Takes K steps: (windows int32 [K, T + 1, B], state, learning rates float32 [K]) -> results.

Rows 0 to T - 1 of a window are the inputs, rows 1 to T the targets.
"""


def compile_steps(
    model: CharacterRNN,
    optimizer: keras.optimizers.Optimizer,
    batches: Batches,
    *,
    clip_norm: float | None,
    parts: int,
    average: WeightAverage | None = None,
    reset_rate: float = 0.0,
    loss_temperature: float = 1.0,
) -> TrainSteps:
    """Return the compiled function that takes steps of training.

    It updates the weights, their average and the optimizer in place.

    Args:
        model: The network; its weights are trained.
        optimizer: A Keras optimizer, built on `model.trainable_variables`.
        batches: Decides B, T, and the seed of `reset_rate`.
        clip_norm: The global norm to which a larger gradient is scaled down; None = never.
        parts: The number of parts of a batch, 1 or more; at most B are used.
        average: The average of the weights to update after each step, or None.
        reset_rate: The probability, 0 to 1, that a stream starts a window from the zero state.
        loss_temperature: The gradient is that of the loss of softmax(logits / loss_temperature), more than 0.

    """
    variables = model.trainable_variables
    sizes = [len(part) for part in np.array_split(np.arange(batches.batch_size), min(parts, batches.batch_size))]
    states = tuple(tf.TensorSpec((batches.batch_size, layer.units)) for layer in model.rnn)

    def step(window: Tensor, state: State) -> tuple[State, Tensor, Tensor]:
        """Take a step on a window [T + 1, B]; return the state after it, its loss, and the gradient norm."""
        if reset_rate:
            seed = tf.stack([batches.seed, tf.cast(optimizer.iterations, tf.int32)])  # so that a step is repeatable
            drawn = tf.random.stateless_uniform([batches.batch_size, 1], seed)
            state = tuple(tf.where(drawn < reset_rate, 0.0, layer) for layer in state)
        state, loss, gradients = _gradients(model, window, state, sizes, temperature=loss_temperature)
        norm = tf.linalg.global_norm(gradients)
        if clip_norm is not None:
            gradients, _ = tf.clip_by_global_norm(gradients, clip_norm, use_norm=norm)
        optimizer.apply(gradients, variables)
        if average is not None:
            average.update(optimizer.iterations)
        return state, loss, norm

    @tf.function(
        input_signature=[
            tf.TensorSpec((None, batches.sequence_length + 1, batches.batch_size), tf.int32),
            states,
            tf.TensorSpec((None,)),
        ]
    )
    def steps(windows: Tensor, state: State, rates: Tensor) -> StepResults:
        """Take K steps; see `TrainSteps`."""
        count = tf.shape(windows)[0]
        losses = tf.TensorArray(tf.float32, count)
        norms = tf.TensorArray(tf.float32, count)
        for index in tf.range(count):
            optimizer.learning_rate.assign(rates[index])
            state, loss, norm = step(windows[index], state)
            losses = losses.write(index, loss)
            norms = norms.write(index, norm)
        return StepResults(state, losses.stack(), norms.stack())

    compiled: TrainSteps = steps
    return compiled


def _gradients(
    model: CharacterRNN, window: Tensor, state: State, sizes: list[int], *, temperature: float
) -> tuple[State, Tensor, list[Tensor]]:
    """Return the state after a window [T + 1, B], its loss in nats per character, and the gradients."""
    windows = tf.split(window, sizes, axis=1)
    firsts = zip(*(tf.split(layer, sizes) for layer in state), strict=True)
    parts = [
        _part(model, part, first, share=size / sum(sizes), temperature=temperature)
        for part, first, size in zip(windows, firsts, sizes, strict=True)
    ]
    lasts, losses, gradients = zip(*parts, strict=True)
    state = tuple(tf.concat(layer, 0) for layer in zip(*lasts, strict=True))
    return state, tf.add_n(losses), [tf.add_n(same) for same in zip(*gradients, strict=True)]


def _part(
    model: CharacterRNN, window: Tensor, state: State, *, share: float, temperature: float
) -> tuple[State, Tensor, list[Tensor]]:
    """Return the state after one part of the batch, and its share of the loss and of the gradients."""
    ids, targets = window[:-1], window[1:]
    with tf.GradientTape() as tape:
        logits, outputs, state = model.predict_window(ids, state, training=True)
        loss = objective = _mean_nats(targets, logits) * share
        if temperature != 1:
            objective = _mean_nats(targets, logits / temperature) * share
        objective += model.regularization(outputs) * share
    gradients = tape.gradient(objective, model.trainable_variables)
    return state, loss, [tf.convert_to_tensor(gradient) for gradient in gradients]


def _mean_nats(targets: Tensor, logits: Tensor) -> Tensor:
    return tf.reduce_mean(tf.nn.sparse_softmax_cross_entropy_with_logits(targets, logits))
