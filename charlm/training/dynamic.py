"""Dynamic evaluation: a text is scored as a stream, and the network learns from what it has just scored.

After each stretch of text, with g the gradient of its mean nats per character and w* the trained weights,

    sgd:  w <- w - rate g + decay (w* - w)
    rms:  w <- w - rate g / (r + eps) + decay (w* - w) r / mean(r),   r = sqrt(mean of g^2 over training text)

(Krause et al. 2018, eq. 4 and 5, and the RMS-scaled decay of their section 4.2). The gradient reaches no further
back than the stretch, the state is carried on. A stretch is scored before anything is learnt from it: there is no
look ahead.

Axes: T characters of a stretch; the batch is 1. Tensors are float32.
"""

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray
from tqdm import tqdm

from charlm.bundle import Bundle
from charlm.errors import CharlmError
from charlm.evaluation import DynamicRule, config_of
from charlm.rnn import Floats, unroll
from charlm.scoring import nats
from charlm.training.model import CharacterRNN, State, build_model, named_weights, to_parameters, zero_state
from charlm.training.recurrence import Tensor

EPSILON = 2e-5
"""A hundredth of a usual r. A weight that the training text did not move, such as the row of a character that it
has not shown so far, would otherwise take a step of any size."""
STATISTICS_STRETCHES = 2000
"""Stretches at the start of the training text from which the mean square of the gradient is taken."""


class _Follower:
    """A network whose weights follow a text."""

    def __init__(self, bundle: Bundle, rule: DynamicRule) -> None:
        config = config_of(bundle, origin="config.yaml of the bundle")
        self.model = build_model(config, bundle.architecture.vocabulary_size)
        self.rule = rule
        tensors = bundle.parameters.tensors()
        self.weights = list(named_weights(self.model).values())
        self.trained = [tf.constant(tensors[name]) for name in named_weights(self.model)]
        self.reset()

    def reset(self) -> None:
        """Put the trained weights and the zero state back."""
        for weight, trained in zip(self.weights, self.trained, strict=True):
            weight.assign(trained)
        self.state = zero_state(self.model, 1)

    def mean_square_gradients(self, ids: NDArray[Any]) -> list[Tensor]:
        """Return the mean square of the gradient of a stretch, of each weight, over training text ids [n]."""
        totals = [tf.Variable(tf.zeros_like(weight)) for weight in self.trained]

        @tf.function(reduce_retracing=True)
        def read(window: Tensor, state: State) -> State:
            """Add the squared gradients of a stretch [T + 1, 1]; returns the state after it."""
            _, gradients, state = _gradients(self.model, window, state, self.weights)
            for total, gradient in zip(totals, gradients, strict=True):
                total.assign_add(gradient**2)
            return state

        count = min(STATISTICS_STRETCHES, (len(ids) - 1) // self.rule.stretch)
        for window in tqdm(
            _stretches(ids, self.rule.stretch, count), "gradients", count, leave=False, disable=None
        ):
            self.state = read(window, self.state)
        self.reset()
        return [total / count for total in totals]

    def follow(self, ids: NDArray[Any], update: Callable[[Tensor, Tensor, int], Tensor]) -> Iterator[Floats]:
        """Score ids [n]; yield the nats of each stretch, float32 [T], and learn from it after that.

        `update(weight, gradient, index)` returns the new value of a weight.
        """

        @tf.function(reduce_retracing=True)
        def read(window: Tensor, state: State) -> tuple[Tensor, State]:
            """Score a stretch [T + 1, 1], then learn from it; returns the nats [T] and the state after it."""
            scores, gradients, state = _gradients(self.model, window, state, self.weights)
            for index, (weight, gradient) in enumerate(zip(self.weights, gradients, strict=True)):
                weight.assign(update(weight, gradient, index))
            return scores, state

        count = (len(ids) - 1) // self.rule.stretch
        for window in tqdm(_stretches(ids, self.rule.stretch, count), "scoring", count, leave=False, disable=None):
            scores, self.state = read(window, self.state)
            yield scores.numpy()
        rest = ids[count * self.rule.stretch :, None]
        if len(rest) > 1:  # a shorter stretch, after which nobody asks for the weights
            state = tuple(layer.numpy() for layer in self.state)
            logits, _ = unroll(to_parameters(self.model), rest[:-1], state)
            yield nats(logits, rest[1:])[:, 0]


def score_dynamic(
    bundle: Bundle, ids: NDArray[Any], rule: DynamicRule, *, training_ids: NDArray[Any] | None
) -> Iterator[Floats]:
    """Score ids [n] by a rule; yield the nats of ids 1 to n - 1 in text order.

    `training_ids` is the text that the network was trained on, which the rule rms takes its scale from. Raises
    CharlmError if n < 2, or if that is missing or shorter than a stretch.
    """
    if len(ids) < 2:
        raise CharlmError(f"a text of {len(ids)} characters: at least 2 are needed to score one")
    if rule.name == "rms" and (training_ids is None or len(training_ids) <= rule.stretch):
        raise CharlmError(
            "--dynamic-rule rms needs the training text of the run that the bundle came from: "
            "evaluate the bundle in its run, or use --dynamic-rule sgd"
        )
    follower = _Follower(bundle, rule)
    if rule.name == "sgd" or training_ids is None:
        return follower.follow(ids, _sgd(rule, follower.trained))
    return follower.follow(ids, _rms(rule, follower.trained, follower.mean_square_gradients(training_ids)))


def _sgd(rule: DynamicRule, trained: list[Tensor]) -> Callable[[Tensor, Tensor, int], Tensor]:
    def update(weight: Tensor, gradient: Tensor, index: int) -> Tensor:
        return weight - rule.rate * gradient + rule.decay * (trained[index] - weight)

    return update


def _rms(
    rule: DynamicRule, trained: list[Tensor], squares: list[Tensor]
) -> Callable[[Tensor, Tensor, int], Tensor]:
    roots = [tf.sqrt(square) for square in squares]
    mean = tf.add_n([tf.reduce_sum(root) for root in roots]) / sum(root.shape.num_elements() for root in roots)
    rates = [rule.rate / (root + EPSILON) for root in roots]
    decays = [tf.minimum(rule.decay * root / mean, 1.0) for root in roots]  # no further than the trained weights

    def update(weight: Tensor, gradient: Tensor, index: int) -> Tensor:
        return weight - rates[index] * gradient + decays[index] * (trained[index] - weight)

    return update


def _gradients(
    model: CharacterRNN, window: Tensor, state: State, weights: list[Any]
) -> tuple[Tensor, list[Tensor], State]:
    """Return the nats [T] of a stretch [T + 1, 1], the gradients of their mean, and the state after it."""
    with tf.GradientTape() as tape:
        logits, _, state = model.predict_window(window[:-1], state, training=False)
        scores = tf.nn.sparse_softmax_cross_entropy_with_logits(window[1:], logits)[:, 0]
        loss = tf.reduce_mean(scores)
    gradients = tape.gradient(loss, [getattr(weight, "value", weight) for weight in weights])
    return scores, [tf.convert_to_tensor(gradient) for gradient in gradients], state


def _stretches(ids: NDArray[Any], length: int, count: int) -> Iterator[NDArray[np.int32]]:
    """Return `count` stretches of ids [n], each [length + 1, 1] and beginning where the one before it ended."""
    starts = range(0, count * length, length)
    return (np.asarray(ids[start : start + length + 1, None], np.int32) for start in starts)
