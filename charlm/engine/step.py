"""The training step, compiled: what it minimises, and how it takes the hidden state and returns the next one.

A batch is split into parts, one for each core. Each part runs its own forward and backward pass, and the gradients are
added in a fixed order, so that a run is repeatable to the last bit on the same machine. Of several workers, each reads
its own rows, and their gradients are added last.

Axes: B batch, R rows of the batch on this worker (B on a single one), T time, V vocabulary, K steps in one call.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache, partial
from typing import Any, NamedTuple

import keras
import numpy as np
import tensorflow as tf

from charlm.config.schema import TrainingConfig
from charlm.engine.compiled import CompiledGradients
from charlm.engine.model import CharacterRNN, State, Tensor, named_seeds
from charlm.engine.optimizer import WeightAverage
from charlm.text.batches import Batches
from charlm.training.workers import Workers


def mean_nats(targets: Tensor, logits: Tensor) -> Tensor:
    """Return the loss in nats per character: ids int32 of any shape, logits float32 [..., V] -> float32 []."""
    return tf.reduce_mean(tf.nn.sparse_softmax_cross_entropy_with_logits(targets, logits))


@dataclass(frozen=True)
class Objective:
    """What training minimises, apart from regularization.

        (1 - w) * H(text, p) + w * H(q, p),  p = softmax(logits / temperature)

    H is the cross entropy, w the weight of the soft targets q, which are the probabilities of the teachers (Hinton et
    al. 2015). H is linear in its first argument, so that both terms are one cross entropy.
    """

    temperature: float = 1.0
    """Divisor of the logits, more than 0."""
    soft_weight: float = 0.0
    """w, the weight of the soft targets, 0 to 1."""

    @property
    def is_plain(self) -> bool:
        """Whether it is the loss itself."""
        return self.temperature == 1 and not self.soft_weight

    def soft_width(self, vocabulary_size: int) -> int:
        """Return the size of the last axis of the soft targets: V, or 0 if they are not used."""
        return vocabulary_size if self.soft_weight else 0

    def __call__(self, targets: Tensor, soft_targets: Tensor, logits: Tensor) -> Tensor:
        """Return the value to minimise.

        Args:
            targets: The ids that follow, int32 [B, T].
            soft_targets: The probabilities q, float16 [B, T, V], or [B, T, 0] if they are not used.
            logits: float32 [B, T, V].

        Returns:
            The mean over the characters in nats, float32 [].

        """
        logits = logits * (1 / self.temperature)
        if not self.soft_weight:
            return mean_nats(targets, logits)
        hard = tf.one_hot(targets, logits.shape[-1])
        mixed = (1 - self.soft_weight) * hard + self.soft_weight * tf.cast(soft_targets, tf.float32)
        return tf.reduce_mean(tf.nn.softmax_cross_entropy_with_logits(mixed, logits))


def make_objective(settings: TrainingConfig) -> Objective:
    """Return the objective that the settings ask for."""
    return Objective(settings.loss_temperature, settings.soft_weight)


class StepResults(NamedTuple):
    """The result of one call of the compiled function."""

    state: State
    """The hidden state after the last step, float32 [R, H] for each layer."""
    losses: Tensor
    """The loss of each step in nats per character, float32 [K], at temperature 1 and without regularization."""
    gradient_norms: Tensor
    """The global norm of each step's gradient before clipping, float32 [K]."""


def part_sizes(rows: int, parts: int) -> list[int]:
    """Return the rows of each part of R rows; at most R parts are used."""
    return [len(part) for part in np.array_split(np.arange(rows), min(parts, rows))]


TrainSteps = Callable[[Any, Any, State, Any], StepResults]
"""Takes K steps: (windows int32 [K, T + 1, R], soft targets float16, state, learning rates float32 [K]) -> results.

Rows 0 to T - 1 of a window are the inputs, rows 1 to T the targets. The soft targets are [K, T, R, V], or [K, T, R, 0]
if the objective does not use them.
"""


def compile_steps(
    model: CharacterRNN,
    optimizer: keras.optimizers.Optimizer,
    batches: Batches,
    *,
    settings: TrainingConfig,
    workers: Workers,
    average: WeightAverage | None = None,
) -> TrainSteps:
    """Return the compiled function that takes steps of training.

    It updates the weights, their average and the optimizer in place.

    Args:
        model: The network; its weights are trained.
        optimizer: A Keras optimizer, built on `model.trainable_variables`.
        batches: Decides B, and the seed of `state_reset`.
        settings: What the gradient is of and what computes it, the parts of this worker (None = one), `clip_norm` and
            `state_reset`.
        workers: The workers that share each batch.
        average: The average of the weights to update after each step, or None.

    """
    rows, objective = workers.rows(batches.batch_size), make_objective(settings)
    height = rows.stop - rows.start
    sizes = part_sizes(height, settings.parts or 1)
    gradients_of = GradientsOfParts(
        model, sizes, objective, workers=workers, compiled=settings.kernel == "compiled"
    )

    def step(window: Tensor, soft: Tensor, state: State) -> tuple[State, Tensor, Tensor]:
        """Take a step on a window [T + 1, R]; return the state after it, its loss, and the norm of its gradient."""
        if settings.state_reset:
            seed = tf.stack(
                [batches.seed, tf.cast(optimizer.iterations, tf.int32)]
            )  # so that a step is repeatable
            drawn = tf.random.stateless_uniform([batches.batch_size, 1], seed)
            state = tuple(
                tf.where(drawn[rows] < settings.state_reset, 0.0, layer) for layer in state
            )
        state, loss, gradients = gradients_of(window, state, soft)
        norm = tf.norm(tf.stack([tf.sqrt(2 * tf.nn.l2_loss(gradient)) for gradient in gradients]))
        if settings.clip_norm is not None:
            gradients, _ = tf.clip_by_global_norm(gradients, settings.clip_norm, use_norm=norm)
        optimizer.apply(gradients, model.trainable_variables)
        if average is not None:
            average.update(optimizer.iterations)
        return state, loss, norm

    def steps(windows: Tensor, soft_targets: Tensor, state: State, rates: Tensor) -> StepResults:
        """Take K steps; see `TrainSteps`."""
        count = tf.shape(windows)[0]

        def step_at(index: Tensor, state: State, losses: Any, norms: Any) -> tuple[Any, ...]:
            """Take the step at an index, 0 to K - 1; return the index of the next, and the results so far."""
            optimizer.learning_rate.assign(rates[index])
            state, loss, norm = step(windows[index], soft_targets[index], state)
            return index + 1, state, losses.write(index, loss), norms.write(index, norm)

        losses, norms = (tf.TensorArray(tf.float32, count) for _ in range(2))
        none_yet = (0, state, losses, norms)
        _, state, losses, norms = tf.while_loop(lambda index, *_: index < count, step_at, none_yet)
        return StepResults(state, losses.stack(), norms.stack())

    @cache
    def of_length(length: int) -> Any:
        """Return the function for windows of T = `length`, whose graph is built at its first call."""
        signature = [
            tf.TensorSpec((None, length + 1, height), tf.int32),
            tf.TensorSpec(
                (None, length, height, objective.soft_width(model.logits.units)), tf.float16
            ),
            tuple(tf.TensorSpec((height, layer.units)) for layer in model.rnn),
            tf.TensorSpec((None,)),
        ]
        # autograph is slower than the graph; of several graphs of one function, which are meant, TensorFlow would warn
        return tf.function(partial(steps), autograph=False, input_signature=signature)

    return lambda windows, *others: of_length(windows.shape[1] - 1)(windows, *others)


class GradientsOfParts:
    """The gradients of a batch, added over its parts in a fixed order, then over the workers.

    Args:
        model: The network.
        sizes: The rows of each part of this worker.
        objective: What the gradients are of.
        workers: The workers that share each batch.
        compiled: Whether kernel.c computes them.

    """

    def __init__(
        self,
        model: CharacterRNN,
        sizes: Sequence[int],
        objective: Objective,
        *,
        workers: Workers,
        compiled: bool,
    ) -> None:
        self._model, self._sizes, self._workers = model, list(sizes), workers
        self._new_gradients: Callable[..., CompiledGradients | _TapeGradients]
        self._new_gradients = CompiledGradients if compiled else _TapeGradients
        self._objective = objective

    def __call__(
        self, window: Tensor, state: State, soft: Tensor
    ) -> tuple[State, Tensor, list[Tensor]]:
        """Return the state after a window [T + 1, R], its loss in nats per character, and the gradients.

        `soft` has the soft targets of the window, [T, R, V] or [T, R, 0].
        """
        total = self._workers.count * sum(self._sizes)
        states = zip(*(tf.split(layer, self._sizes) for layer in state), strict=True)
        windows, softs = (tf.split(values, self._sizes, axis=1) for values in (window, soft))
        gradients, results = self._new_gradients(self._model, **vars(self._objective)), []
        self._shift_seeds(self._workers.index)
        for size, *part in zip(self._sizes, windows, states, softs, strict=True):
            results.append(gradients.of_part(*part, share=size / total))
        self._shift_seeds(-self._workers.index)
        state = tuple(
            tf.concat(layer, 0) for layer in zip(*(last for last, _ in results), strict=True)
        )
        own = _add_in_order([tensors for _, tensors in results])
        return state, *gradients.finish(self._workers.sum(own))

    def _shift_seeds(self, change: int) -> None:
        """Change the seeds of the network, so that every worker draws other masks for its rows."""
        for seed in named_seeds(self._model).values() if change else ():
            seed.assign_add(tf.cast(tf.constant([change, 0]), seed.dtype))


def _add_in_order(parts: list[list[Tensor]]) -> list[Tensor]:
    """Return the sums over the parts: of the first 2^k and the others, 2^k < parts, and so on within both."""
    if len(parts) == 1:
        return parts[0]
    middle = 1 << (len(parts) - 1).bit_length() - 1
    sums = _add_in_order(parts[:middle]), _add_in_order(parts[middle:])
    return [one + other for one, other in zip(*sums, strict=True)]


class _TapeGradients:
    """The gradients by Keras, for all that a config can name; the methods are those of CompiledGradients."""

    def __init__(self, model: CharacterRNN, *, temperature: float, soft_weight: float) -> None:
        self._model, self._objective = model, Objective(temperature, soft_weight)

    def of_part(
        self, window: Tensor, state: State, soft: Tensor, *, share: float
    ) -> tuple[State, list[Tensor]]:
        """Return the state after a part of a batch, and its share of the loss and the gradients, which can be added."""
        ids, targets = tf.transpose(window[:-1]), tf.transpose(window[1:])
        with tf.GradientTape() as tape:
            logits, state = self._model(ids, state, training=True)
            logits = tf.cast(logits, tf.float32)
            loss = minimized = mean_nats(targets, logits)
            if not self._objective.is_plain:
                minimized = self._objective(targets, tf.transpose(soft, [1, 0, 2]), logits)
            minimized = (
                tf.add_n([minimized, *(tf.cast(each, tf.float32) for each in self._model.losses)])
                * share
            )
        gradients = tape.gradient(minimized, self._model.trainable_variables)
        state = tuple(tf.cast(layer, tf.float32) for layer in state)
        return state, [loss * share, *map(tf.convert_to_tensor, gradients)]

    def finish(self, sums: list[Tensor]) -> tuple[Tensor, list[Tensor]]:
        """Return the loss and the gradients by `model.trainable_variables`, from what all parts add up to."""
        return sums[0], sums[1:]
