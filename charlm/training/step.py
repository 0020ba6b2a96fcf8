"""One step of the optimisation, compiled: state in, state out.

The batch is cut into parts, one a core; each part runs forwards and backwards on its own, and the gradients are
added in a fixed order, so that a run is repeatable to the bit on the same machine.

Axes: B batch, T time, K steps in one call.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import keras
import numpy as np
import tensorflow as tf

from charlm.batches import Batches
from charlm.training.average import WeightAverage
from charlm.training.model import CharacterRNN, State
from charlm.training.recurrence import Tensor


class StepResults(NamedTuple):
    """What a call of the compiled function returns."""

    state: State
    losses: Tensor
    """Nats per character of each step, float32 [K], at temperature 1 and without regularization."""
    gradient_norms: Tensor
    """The global norm before clipping, float32 [K]."""


TrainSteps = Callable[[Any, State, Any], StepResults]


def compile_steps(
    model: CharacterRNN,
    optimizer: keras.optimizers.Optimizer,
    cut: Batches,
    *,
    clip_norm: float | None,
    parts: int,
    average: WeightAverage | None = None,
    reset_rate: float = 0.0,
    loss_temperature: float = 1.0,
) -> TrainSteps:
    """Return the function that runs K steps: (windows int32 [K, T + 1, B], state, rates float32 [K]).

    It updates the weights, their average and the optimizer in place; `rates` are the learning rates of the steps.
    Each stream begins a window from the zero state with probability `reset_rate`. What the weights follow down is
    the loss of softmax(logits / loss_temperature).
    """
    variables = model.trainable_variables
    sizes = [len(part) for part in np.array_split(np.arange(cut.batch_size), min(parts, cut.batch_size))]
    states = tuple(tf.TensorSpec((cut.batch_size, layer.units)) for layer in model.rnn)

    def step(window: Tensor, state: State) -> tuple[State, Tensor, Tensor]:
        """Learn from a window [T + 1, B]; returns the state after it, its loss, and the gradient norm."""
        if reset_rate:
            seed = tf.stack([cut.seed, tf.cast(optimizer.iterations, tf.int32)])  # the same for the same step
            drawn = tf.random.stateless_uniform([cut.batch_size, 1], seed)
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
            tf.TensorSpec((None, cut.sequence_length + 1, cut.batch_size), tf.int32),
            states,
            tf.TensorSpec((None,)),
        ]
    )
    def steps(windows: Tensor, state: State, rates: Tensor) -> StepResults:
        """Take K steps, as `compile_steps` says."""
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
    """Return the last state of one part of the batch, and its share of the loss and of the gradients."""
    ids, targets = window[:-1], window[1:]
    with tf.GradientTape() as tape:
        logits, outputs, state = model.predict_window(ids, state, training=True)
        loss = learnt = _mean_nats(targets, logits) * share
        if temperature != 1:
            learnt = _mean_nats(targets, logits / temperature) * share
        total = learnt + model.regularization(outputs) * share
    gradients = tape.gradient(total, model.trainable_variables)
    return state, loss, [tf.convert_to_tensor(gradient) for gradient in gradients]


def _mean_nats(targets: Tensor, logits: Tensor) -> Tensor:
    return tf.reduce_mean(tf.nn.sparse_softmax_cross_entropy_with_logits(targets, logits))
