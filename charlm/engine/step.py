"""The compiled training step: the objective, and a step from one hidden state to the next.

A batch is split into parts, one for each core. Each part has its own forward and backward pass. The
gradients are added in a fixed order, so a run repeats to the last bit on the same machine. With
several workers, each worker reads its own rows, and their gradients are added last.

Axes: B batch, R rows of the batch on this worker (B on a single worker), T time, V vocabulary, K
steps in one call.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple, TypeVar

import keras
import numpy as np
import tensorflow as tf

from charlm.config.schema import TrainingConfig
from charlm.engine.model import CharacterRNN, State, Tensor, shift_seeds
from charlm.engine.optimizer import WeightAverage
from charlm.training.workers import Workers

Part = TypeVar("Part")


def mean_nats(targets: Tensor, logits: Tensor) -> Tensor:
    """Return the mean loss in nats: ids int32 [...], logits float32 [..., V] -> float32 []."""
    return tf.reduce_mean(tf.nn.sparse_softmax_cross_entropy_with_logits(targets, logits))


@dataclass(frozen=True)
class Objective:
    """The value that training minimises, without regularization.

        (1 - w) * H(text, p) + w * H(q, p),  p = softmax(logits / temperature)

    H is the cross entropy, and w is the weight of the soft targets q, the probabilities of the
    teachers (Hinton et al. 2015). H is linear in its first argument, so both terms are computed as
    one cross entropy.
    """

    temperature: float = 1.0
    """Divisor of the logits, above 0."""
    soft_weight: float = 0.0
    """w, the weight of the soft targets, 0 to 1."""

    @property
    def is_plain(self) -> bool:
        """Whether the objective is the loss itself."""
        return self.temperature == 1 and not self.soft_weight

    def soft_width(self, vocabulary_size: int) -> int:
        """Return the size of the last axis of the soft targets: V, or 0 if they are not used."""
        return vocabulary_size if self.soft_weight else 0

    def __call__(self, targets: Tensor, soft_targets: Tensor, logits: Tensor) -> Tensor:
        """Return the value to minimise.

        Args:
            targets: Ids of the next characters, int32 [B, T].
            soft_targets: The probabilities q, float16 [B, T, V], or [B, T, 0] if not used.
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
    """Return the objective of a config."""
    return Objective(settings.loss_temperature, settings.soft_weight)


class StepResults(NamedTuple):
    """The results of K steps."""

    state: State
    """The hidden state after the last step, float32 [R, H] for each layer."""
    losses: Tensor
    """Loss of each step in nats per character, float32 [K], at temperature 1, unregularized."""
    gradient_norms: Tensor
    """Global norm of each step's gradient before clipping, float32 [K]."""


def part_sizes(rows: int, parts: int) -> list[int]:
    """Return the sizes of at most `parts` nearly equal parts into which `rows` rows are split."""
    return [len(part) for part in np.array_split(np.arange(rows), min(parts, rows))]


class TrainSteps:
    """A compiled function that takes steps of training.

    It updates the weights, their average and the optimizer in place.

    Args:
        model: The network to train.
        optimizer: A Keras optimizer, built on `model.trainable_variables`.
        settings: The objective, parts of this worker (None = one), and `clip_norm`.
        workers: The workers that share each batch.
        height: R, the number of rows of this worker.
        average: The average of the weights to update after each step, or None.

    """

    def __init__(
        self,
        model: CharacterRNN,
        optimizer: keras.optimizers.Optimizer,
        *,
        settings: TrainingConfig,
        workers: Workers,
        height: int,
        average: WeightAverage | None = None,
    ) -> None:
        self._model = model
        self._optimizer = optimizer
        self._settings = settings
        self._average = average
        self._height = height
        self._objective = make_objective(settings)
        sizes = part_sizes(height, settings.parts or 1)
        self._gradients = GradientsOfParts(model, sizes, self._objective, workers=workers)
        self._functions: dict[int, Any] = {}
        """The compiled function for each length of a window."""

    def __call__(
        self, windows: Any, soft_targets: Any, state: State, rates: Any, resets: Any
    ) -> StepResults:
        """Take K steps.

        Args:
            windows: Ids, int32 [K, T + 1, R]: rows 0 to T - 1 of a window are the inputs, rows 1 to
                T the targets.
            soft_targets: float16 [K, T, R, V], or [K, T, R, 0] if the objective does not use them.
            state: The state before the first step.
            rates: Learning rates, float32 [K].
            resets: Whether each stream starts from the zero state, bool [K, R].

        """
        length = windows.shape[1] - 1
        self.build(length)
        results: StepResults = self._functions[length](windows, soft_targets, state, rates, resets)
        return results

    def build(self, length: int) -> None:
        """Build the graph for windows of T = `length`."""
        if length in self._functions:
            return
        soft_width = self._objective.soft_width(self._model.logits.units)
        signature = [
            tf.TensorSpec((None, length + 1, self._height), tf.int32),
            tf.TensorSpec((None, length, self._height, soft_width), tf.float16),
            tuple(tf.TensorSpec((self._height, layer.units)) for layer in self._model.rnn),
            tf.TensorSpec((None,)),
            tf.TensorSpec((None, self._height), tf.bool),
        ]
        # Without autograph, the graph is built faster. TensorFlow warns about several graphs of one
        # function, which are intended here, so each graph has its own partial.
        function = tf.function(partial(self._take), autograph=False, input_signature=signature)
        function.get_concrete_function()
        self._functions[length] = function

    def _take(
        self, windows: Tensor, soft_targets: Tensor, state: State, rates: Tensor, resets: Tensor
    ) -> StepResults:
        count = tf.shape(windows)[0]

        def take_step(index: Tensor, state: State, losses: Any, norms: Any) -> tuple[Any, ...]:
            self._optimizer.learning_rate.assign(rates[index])
            kept = tuple(tf.where(resets[index][:, None], 0.0, layer) for layer in state)
            state, loss, norm = self._take_one(windows[index], soft_targets[index], kept)
            return index + 1, state, losses.write(index, loss), norms.write(index, norm)

        losses = tf.TensorArray(tf.float32, count)
        norms = tf.TensorArray(tf.float32, count)
        _, state, losses, norms = tf.while_loop(
            lambda index, *_: index < count, take_step, (0, state, losses, norms)
        )
        return StepResults(state, losses.stack(), norms.stack())

    def _take_one(self, window: Tensor, soft: Tensor, state: State) -> tuple[State, Tensor, Tensor]:
        """Take a step; return the state after it, its loss, and the norm of its gradient."""
        state, loss, gradients = self._gradients(window, state, soft)
        norm = tf.norm(tf.stack([tf.sqrt(2 * tf.nn.l2_loss(gradient)) for gradient in gradients]))
        clip_norm = self._settings.clip_norm
        if clip_norm is not None:
            gradients, _ = tf.clip_by_global_norm(gradients, clip_norm, use_norm=norm)
        self._optimizer.apply(gradients, self._model.trainable_variables)
        if self._average is not None:
            self._average.update(self._optimizer.iterations)
        return state, loss, norm


class GradientsOfParts:
    """The gradients of a batch, added over its parts in a fixed order, then over the workers.

    Args:
        model: The network.
        sizes: Number of rows in each part of this worker.
        objective: The objective.
        workers: The workers that share each batch.

    """

    def __init__(
        self,
        model: CharacterRNN,
        sizes: Sequence[int],
        objective: Objective,
        *,
        workers: Workers,
    ) -> None:
        self._model = model
        self._sizes = list(sizes)
        self._workers = workers
        self._objective = objective

    def __call__(
        self, window: Tensor, state: State, soft: Tensor
    ) -> tuple[State, Tensor, list[Tensor]]:
        """Compute the gradients of a batch.

        Args:
            window: Ids, int32 [T + 1, R].
            state: The state before the first character.
            soft: The soft targets, float16 [T, R, V], or [T, R, 0] if they are not used.

        Returns:
            The state after the window, its loss in nats per character, and the gradients.

        """
        rows = self._workers.count * sum(self._sizes)
        windows = tf.split(window, self._sizes, axis=1)
        softs = tf.split(soft, self._sizes, axis=1)
        layers = [tf.split(layer, self._sizes) for layer in state]
        states = zip(*layers, strict=True)
        shift_seeds(self._model, self._workers.index)
        results = [
            self._of_part(*part, share=size / rows)
            for size, *part in zip(self._sizes, windows, states, softs, strict=True)
        ]
        shift_seeds(self._model, -self._workers.index)
        last_states, tensors = zip(*results, strict=True)
        state = tuple(tf.concat(layer, 0) for layer in zip(*last_states, strict=True))
        loss, *gradients = self._workers.sum(add_in_order(tensors, _add))
        return state, loss, gradients

    def _of_part(
        self, window: Tensor, state: State, soft: Tensor, *, share: float
    ) -> tuple[State, list[Tensor]]:
        """Return the state after a part, and its share of the loss and of the gradients."""
        ids = tf.transpose(window[:-1])
        targets = tf.transpose(window[1:])
        with tf.GradientTape() as tape:
            logits, state = self._model(ids, state, training=True)
            logits = tf.cast(logits, tf.float32)
            loss = mean_nats(targets, logits)
            minimised = loss
            if not self._objective.is_plain:
                minimised = self._objective(targets, tf.transpose(soft, [1, 0, 2]), logits)
            penalties = [tf.cast(penalty, tf.float32) for penalty in self._model.losses]
            minimised = tf.add_n([minimised, *penalties]) * share
        gradients = tape.gradient(minimised, self._model.trainable_variables)
        state = tuple(tf.cast(layer, tf.float32) for layer in state)
        return state, [loss * share, *map(tf.convert_to_tensor, gradients)]


def _add(firsts: list[Tensor], seconds: list[Tensor]) -> list[Tensor]:
    return [first + second for first, second in zip(firsts, seconds, strict=True)]


def add_in_order(parts: Sequence[Part], add: Callable[[Part, Part], Part]) -> Part:
    """Return the sum over the parts: the first 2^k and the rest are summed recursively.

    Args:
        parts: At least one part.
        add: Function that returns the sum of two parts.

    """
    if len(parts) == 1:
        return parts[0]
    middle = 1 << (len(parts) - 1).bit_length() - 1
    return add(add_in_order(parts[:middle], add), add_in_order(parts[middle:], add))
