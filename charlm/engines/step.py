"""A step of training in Keras, from one hidden state to the next, and its optimizer.

A batch is split into parts, one for each core. Each part has its own forward and backward pass. The
gradients are added in a fixed order, so a run repeats to the last bit on the same machine. With
several workers, each worker reads its own rows, and their gradients are added last.

Axes: R rows of the batch on this worker, T time, V vocabulary, L layers, H units.
"""

import operator
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial, reduce
from typing import Any, NamedTuple

import keras
import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from charlm.config.schema import Config, OptimizerConfig, TrainingConfig
from charlm.core.engine import SoftTargets
from charlm.core.model_file import Tensors
from charlm.core.rnn import Floats
from charlm.core.vocabulary import Ids
from charlm.engines.model import CharacterRNN, Tensor, keras_errors, shift_seeds

VECTOR_DECAY = 0.004
"""Default weight decay of Keras's Muon, and the largest of biases."""
CHARACTER_RATE = 8.0
"""Learning rate of the weights of characters, as a multiple of the learning rate of Muon."""
POLYNOMIALS = (
    (7.351352158721994, -17.85479811840422, 12.270786956202068),
    (3.456423482465975, -2.2619066820609377, 0.418843881571326),
    (2.793617425491335, -2.084269870735374, 0.4645438866243433),
)
"""Coefficients a, b and c of the polynomial of each iteration. Together, the iterations move
singular values from the range 0.01 to 1 into the range 0.68 to 1.32.

The coefficients are computed by the Remez algorithm for intervals whose lower end is at least 0.1
of the upper end, with the same error at both ends. All intervals except the last are stretched by
1.01, so that rounding does not produce values outside the interval."""


@dataclass(eq=False)
class Workers:
    """The workers that share each batch: one. `charlm.engines.workers` has several."""

    count: int = 1
    index: int = 0
    """Number of this worker, from 0."""

    def sum(self, tensors: list[Any]) -> list[Any]:
        """Sum each float32 tensor over all workers, inside a TensorFlow graph."""
        return tensors

    def total(self, array: NDArray[Any]) -> NDArray[Any]:
        """Return the sum of an array over all workers."""
        return array


class StepResult(NamedTuple):
    """The result of a step."""

    state: Floats
    """The hidden state after the step, [L, R, H]."""
    loss: float
    """Loss in nats per character, at temperature 1, unregularized."""
    norm: float
    """Global norm of the gradient before clipping."""


def mean_nats(targets: Tensor, logits: Tensor) -> Tensor:
    """Return the mean loss in nats: ids int32 [...], logits float32 [..., V] -> float32 []."""
    return tf.reduce_mean(tf.nn.sparse_softmax_cross_entropy_with_logits(targets, logits))


def objective(
    settings: TrainingConfig, targets: Tensor, soft_targets: Tensor, logits: Tensor
) -> Tensor:
    """Return the value that training minimises, without regularization.

        (1 - w) * H(text, p) + w * H(q, p),  p = softmax(logits / temperature)

    H is the cross entropy, and w is the weight of the soft targets q, the probabilities of the
    n-grams. H is linear in its first argument, so both terms are computed as one cross entropy.

    Args:
        settings: The temperature of the loss, and w.
        targets: Ids of the next characters, int32 [R, T].
        soft_targets: The probabilities q, float16 [R, T, V]; not used if w is 0.
        logits: float32 [R, T, V].

    Returns:
        The mean over the characters in nats, float32 [].

    """
    logits = logits / settings.loss_temperature
    weight = settings.ngram_weight
    if not weight:
        return mean_nats(targets, logits)
    hard = tf.one_hot(targets, logits.shape[-1])
    mixed = (1 - weight) * hard + weight * tf.cast(soft_targets, tf.float32)
    return tf.reduce_mean(tf.nn.softmax_cross_entropy_with_logits(mixed, logits))


def part_sizes(rows: int, parts: int) -> list[int]:
    """Return the sizes of at most `parts` nearly equal parts into which `rows` rows are split."""
    return [len(part) for part in np.array_split(np.arange(rows), min(parts, rows))]


@dataclass(eq=False)
class Step:
    """State of a step of training, which a subclass takes."""

    model: CharacterRNN
    optimizer: keras.optimizers.Optimizer
    """The Keras optimizer, built on `model.trainable_variables`."""
    weights: dict[str, Any]
    """The trained weights by name, changed in place: variables of Keras, or arrays for the compiled
    kernel."""
    average: Tensors
    """Their average, changed in place, or an empty mapping."""
    slots: dict[str, Any]
    """The variables of the optimizer by name, changed in place."""
    config: Config
    """The objective, precision, parts of this worker (None = one), `clip_norm`, dropout, seed."""
    workers: Workers
    """The workers that share each batch."""
    height: int
    """R, the number of rows of this worker."""


@dataclass(eq=False)
class KerasStep(Step):
    """Takes steps of training in Keras, with a graph for each length of a window."""

    def __post_init__(self) -> None:
        self._settings = self.config.training
        self._sizes = part_sizes(self.height, self._settings.parts or 1)
        # Without autograph, the graph is built faster. TensorFlow would warn about the graphs of
        # several networks, so each has its own partial.
        self._take = tf.function(partial(self._step), autograph=False)

    def __call__(self, window: Ids, soft: SoftTargets, state: Floats, rate: float) -> StepResult:
        """Take a step.

        Args:
            window: Ids, int32 [T + 1, R]: rows 0 to T - 1 are the inputs, rows 1 to T the targets.
            soft: The soft targets, [T, R, V], or [T, R, 0] if the objective does not use them.
            state: The state before the first character, [L, R, H].
            rate: The learning rate.

        Raises:
            CharlmError: Keras cannot use a regularizer or constraint.

        """
        self.slots["learning_rate"].assign(rate)
        with keras_errors():
            after, loss, norm = self._take(window, soft, state)
        momentum = self._settings.average_momentum
        if momentum is not None:
            share = average_share(momentum, int(self.slots["iterations"]))
            for name, weight in self.weights.items():
                self.average[name] += share * (weight.numpy() - self.average[name])
        return StepResult(after.numpy(), float(loss), float(norm))

    def _step(self, window: Tensor, soft: Tensor, state: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Change the weights; return the state after the step, the loss, and the norm."""
        state, loss, gradients = self._gradients(window, soft, state)
        norm = tf.norm(tf.stack([tf.sqrt(2 * tf.nn.l2_loss(gradient)) for gradient in gradients]))
        clip_norm = self._settings.clip_norm
        if clip_norm is not None:
            gradients, _ = tf.clip_by_global_norm(gradients, clip_norm, use_norm=norm)
        self.optimizer.apply(gradients, self.model.trainable_variables)
        return state, loss, norm

    def _gradients(
        self, window: Tensor, soft: Tensor, state: Tensor
    ) -> tuple[Tensor, Tensor, list[Tensor]]:
        """Return the state after a window, its loss, and the gradients of the batch."""
        split = [tf.split(tensor, self._sizes, axis=1) for tensor in (window, soft, state)]
        parts = zip(self._sizes, *split, strict=True)
        shift_seeds(self.model, self.workers.index)
        results = [self._of_part(*part) for part in parts]
        shift_seeds(self.model, -self.workers.index)
        states, tensors = zip(*results, strict=True)
        sums = [reduce(operator.add, parts) for parts in zip(*tensors, strict=True)]
        loss, *gradients = self.workers.sum(sums)
        return tf.concat(states, 1), loss, gradients

    def _of_part(
        self, rows: int, window: Tensor, soft: Tensor, state: Tensor
    ) -> tuple[Tensor, list[Tensor]]:
        """Return the state after a part, and its share of the loss and of the gradients."""
        share = rows / (self.workers.count * sum(self._sizes))
        targets = tf.transpose(window[1:])
        with tf.GradientTape() as tape:
            logits, last = self.model(tf.transpose(window[:-1]), tf.unstack(state), training=True)
            logits = tf.cast(logits, tf.float32)
            loss = mean_nats(targets, logits)
            minimised = objective(self._settings, targets, tf.transpose(soft, [1, 0, 2]), logits)
            penalties = [tf.cast(penalty, tf.float32) for penalty in self.model.losses]
            minimised = tf.add_n([minimised, *penalties]) * share
        gradients = tape.gradient(minimised, self.model.trainable_variables)
        tensors = [loss * share, *map(tf.convert_to_tensor, gradients)]
        return tf.cast(tf.stack(last), tf.float32), tensors


class Muon(keras.optimizers.Muon):
    """`keras.optimizers.Muon` with faster iterations, and with Adam for the weights of characters.

    Muon (Jordan et al. 2024, with the scale of Liu et al. 2025, equation 4) replaces the momentum
    of a matrix with the nearest orthogonal matrix, so that no direction is learnt much faster than
    another. It finds that matrix with iterations of three products of the matrix's size. With
    Keras's five iterations, that is about as much work as the gradient, so the number of iterations
    and the speed of the products determine whether Muon is worth it.

    An iteration applies an odd polynomial p(x) = a x + b x^3 + c x^5 to the singular values of a
    matrix. Keras uses the same polynomial every time. Here, each iteration uses the minimax
    approximation of 1 on the interval that contains the singular values at that point (Amsel et al.
    2025, "The Polar Express"). So three iterations do the work of five.

    Each character reads only its own row of weights, so these rows need no common directions. Adam
    trains them at CHARACTER_RATE times the learning rate, which learns about twice as fast.

    Args:
        character_rows: The rows of characters of each variable, an empty slice if it has none.
        weight_decay: Weight decay of matrices.
        settings: Other arguments of `keras.optimizers.Muon`.

    """

    def __init__(
        self,
        character_rows: Sequence[slice],
        *,
        weight_decay: float = VECTOR_DECAY,
        **settings: Any,
    ) -> None:
        super().__init__(
            weight_decay=weight_decay,
            adam_weight_decay=min(weight_decay, VECTOR_DECAY),
            adam_beta_2=0.99,
            exclude_embeddings=False,
            **settings,
        )
        self.character_rows = character_rows

    def build(self, variables: list[Any]) -> None:
        """Make the slots of variables."""
        super().build(variables)
        for index, (variable, rows) in enumerate(zip(variables, self.character_rows, strict=True)):
            if rows.stop:
                sizes = (rows.stop - rows.start, variable.shape[1])
                self.adam_velocities[index] = self.add_variable(sizes, name="velocity")

    def update_step(self, gradient: Tensor, variable: Any, learning_rate: Tensor) -> None:
        """Change a variable; the rows of characters, if it has any, by Adam."""
        index = self._get_variable_index(variable)
        characters = self.character_rows[index]
        if not characters.stop:
            super().update_step(gradient, variable, learning_rate)
            return
        first = characters.start
        momentum, velocity = self.momentums[index], self.adam_velocities[index]
        step = tf.cast(self.iterations + 1, tf.float32)
        correction = tf.sqrt(1 - self.adam_beta_2**step) / (1 - self.adam_beta_1**step)
        below, rows = gradient[:first], gradient[first:]
        below_momentum = self.momentum * momentum[:first] + below
        row_momentum = momentum[first:] + (rows - momentum[first:]) * (1 - self.adam_beta_1)
        momentum.assign(tf.concat([below_momentum, row_momentum], 0))
        velocity.assign_add((rows * rows - velocity) * (1 - self.adam_beta_2))
        change = CHARACTER_RATE * correction * row_momentum / (tf.sqrt(velocity) + self.epsilon)
        if first:
            orthogonal = self.zeropower_via_newtonschulz5(below + self.momentum * below_momentum, 0)
            change = tf.concat([self.lr_adjust(orthogonal), change], 0)
        variable.assign_sub(learning_rate * change)

    def zeropower_via_newtonschulz5(self, x: Tensor, steps: int) -> Tensor:
        """Return approximately U V^T for x = U S V^T, with singular values near 1.

        Starting from x / |x|, for each of POLYNOMIALS: x <- (a I + b A + c A A) x with A = x x^T
        (Jordan et al. 2024). This replaces the method of Keras.

        Args:
            x: float32 [rows, columns].
            steps: Not used.

        Returns:
            float32 [rows, columns].

        """
        x = tf.convert_to_tensor(x)
        rows, columns = x.shape
        if rows > columns:
            return tf.transpose(self.zeropower_via_newtonschulz5(tf.transpose(x), steps))
        x = x / (tf.norm(x) + 1e-7)  # the spectral norm is at most 1
        identity = tf.eye(rows)
        for a, b, c in POLYNOMIALS:
            gram = tf.matmul(x, x, transpose_b=True)
            # gram is symmetric; a transposed factor is faster
            square = tf.matmul(gram, gram, transpose_b=True)
            x = tf.matmul(a * identity + b * gram + c * square, x)
        return x


_OPTIMIZERS = {
    "adam": keras.optimizers.Adam,
    "adamw": keras.optimizers.AdamW,
    "sgd": keras.optimizers.SGD,
}


def build_optimizer(
    config: OptimizerConfig, character_rows: Sequence[slice]
) -> keras.optimizers.Optimizer:
    """Return the Keras optimizer of a config.

    Args:
        config: Its name, learning rate and other arguments.
        character_rows: The rows of characters of each variable that it will train.

    """
    optimizer = _OPTIMIZERS.get(config.name, partial(Muon, character_rows))
    return optimizer(learning_rate=config.learning_rate, **config.arguments)


def average_share(momentum: float, step: int) -> float:
    """Return the share s of the weights in their average after step t, 1 or more.

        average <- average + s (weights - average),  s = 1 - min(momentum, (1 + t) / (10 + t))

    The average begins with the initial weights; with a momentum of 0, it equals the weights.
    """
    return 1 - min(momentum, (1 + step) / (10 + step))


def named_slots(
    optimizer: keras.optimizers.Optimizer, weights: Mapping[str, Any]
) -> dict[str, Any]:
    """Return every variable of a built optimizer by its name.

    A slot, which belongs to a weight, is named after the weight and the optimizer's attribute:
    `rnn.0.kernel/momentums`. Any other variable is named after the attribute: `iterations`.

    Args:
        optimizer: An optimizer built on the trainable variables of a model, in any order.
        weights: These variables by their names in a model file.

    """
    variables = {id(variable) for variable in optimizer.variables}
    names = {id(variable): name for name, variable in weights.items()}
    order = [names[id(variable)] for variable in optimizer._trainable_variables]
    named: dict[str, Any] = {}
    for attribute, value in vars(optimizer).items():
        slot = attribute.strip("_")
        if id(value) in variables:
            named[slot] = value
        elif isinstance(value, list) and len(value) == len(order) and attribute != "_variables":
            slots = zip(order, value, strict=True)
            named |= {f"{name}/{slot}": part for name, part in slots if id(part) in variables}
    return named
