"""Dynamic evaluation: score a text as a stream, and train on each segment of it after that segment has been scored.

After each segment, with g the gradient of its mean nats per character and w* the trained weights,

    sgd:  w <- w - rate g + decay (w* - w)
    rms:  w <- w - rate g / (r + eps) + decay (w* - w) r / mean(r),   r = sqrt(mean of g^2 over training text)

(Krause et al. 2018, equations 4 and 5, and the RMS-scaled decay of section 4.2). `charlm.evaluation.dynamic_rule` says
how the rate of rms is chosen. The gradient is truncated at the start of the segment; the state is carried from one
segment to the next. A segment never affects its own score: there is no look-ahead.

Axes: T time, the characters of a segment. The batch size is 1. Tensors are float32.
"""

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray
from tqdm import tqdm

from charlm.config.schema import ModelConfig
from charlm.engine.model import CharacterRNN, State, named_weights, to_parameters, zero_state
from charlm.engine.recurrence import Tensor
from charlm.errors import CharlmError
from charlm.evaluation.dynamic_rule import DECREASE_NATS, DynamicRule
from charlm.network.architecture import Architecture
from charlm.network.bundle import Bundle
from charlm.network.rnn import Floats, nats, unroll

EPSILON = 2e-5
"""A hundredth of a typical r. It limits the step of a weight with r = 0, such as the row of a character that does not
occur in the text from which r is taken."""
LONGEST_UNROLLED = 256
"""A longer segment is a loop in the graph: a node for each character would take too long to build."""
STATISTICS_SEGMENTS = 2000
"""r is taken from this many segments at the end of the training text."""

Update = Callable[[Tensor, Tensor, int], Tensor]
"""(weight, gradient, index of the weight) -> the new value of the weight."""


class DynamicScores(NamedTuple):
    """The scores of a text, and the rule that gives them."""

    rule: DynamicRule
    """The rule with the learning rate that is used, a number."""
    blocks: Iterator[Floats]
    """The nats of ids 1 to n - 1 in text order: float32, one array for each segment."""


class _DynamicScorer:
    """Scores a text with weights that are updated after each segment."""

    def __init__(self, bundle: Bundle, rule: DynamicRule) -> None:
        self.model = _build(bundle.architecture, unroll=rule.segment <= LONGEST_UNROLLED)
        self.rule = rule
        tensors = bundle.parameters.tensors()
        self.weights = list(named_weights(self.model).values())
        self.trained = [tf.constant(tensors[name]) for name in named_weights(self.model)]
        self.reset()

    def reset(self) -> None:
        """Restore the trained weights and the zero state."""
        for weight, trained in zip(self.weights, self.trained, strict=True):
            weight.assign(trained)
        self.state = zero_state(self.model, 1)

    def mean_square_gradients(self, ids: NDArray[Any]) -> list[Tensor]:
        """Return the mean of g^2 of each weight over training text ids [n], without updating the weights."""
        totals = [tf.Variable(tf.zeros_like(weight)) for weight in self.trained]

        @tf.function(autograph=False, reduce_retracing=True)
        def add(window: Tensor, state: State) -> State:
            """Add the squared gradients of a segment [T + 1, 1]; return the state after it."""
            _, gradients, state = _gradients(self.model, window, state, self.weights)
            for total, gradient in zip(totals, gradients, strict=True):
                total.assign_add(gradient**2)
            return state

        count = min(STATISTICS_SEGMENTS, (len(ids) - 1) // self.rule.segment)
        ids = ids[len(ids) - 1 - count * self.rule.segment :]
        for window in tqdm(_segments(ids, self.rule.segment, count), "gradients", count, leave=False, disable=None):
            self.state = add(window, self.state)
        self.reset()
        return [total / count for total in totals]

    def score(self, ids: NDArray[Any], update: Update) -> Iterator[Floats]:
        """Score ids [n]: yield the nats of each segment, float32 [T], and update the weights after it."""

        @tf.function(autograph=False, reduce_retracing=True)
        def score_and_update(window: Tensor, state: State) -> tuple[Tensor, State]:
            """Score a segment [T + 1, 1], then update the weights; return the nats [T] and the state after it."""
            scores, gradients, state = _gradients(self.model, window, state, self.weights)
            for index, (weight, gradient) in enumerate(zip(self.weights, gradients, strict=True)):
                weight.assign(update(weight, gradient, index))
            return scores, state

        count = (len(ids) - 1) // self.rule.segment
        for window in tqdm(_segments(ids, self.rule.segment, count), "scoring", count, leave=False, disable=None):
            scores, self.state = score_and_update(window, self.state)
            yield scores.numpy()
        rest = ids[count * self.rule.segment :, None]
        if len(rest) > 1:  # a shorter segment; the weights are not needed after it
            state = tuple(layer.numpy() for layer in self.state)
            logits, _ = unroll(to_parameters(self.model), rest[:-1], state)
            yield nats(logits, rest[1:])[:, 0]


def _build(architecture: Architecture, *, unroll: bool) -> CharacterRNN:
    """Return the network that model.json describes, with weights of 0; config.yaml has no say in it."""
    sizes = {name: getattr(architecture, name) for name in ("layers", "units", "embedding", "skip_connections")}
    rnn = {
        "activation": architecture.activation,
        "use_bias": architecture.use_bias,
        "kernel_initializer": "zeros",
        "recurrent_initializer": "zeros",
        "unroll": unroll,
    }
    config = ModelConfig.model_validate({**sizes, "input_initializer": "zeros", "rnn": rnn})
    return CharacterRNN(config, architecture.vocabulary_size)


def score_dynamic(
    bundle: Bundle, ids: NDArray[Any], rule: DynamicRule, *, training_ids: NDArray[Any] | None
) -> DynamicScores:
    """Score a text with dynamic evaluation.

    Args:
        bundle: The trained network. It is not changed.
        ids: The text, integers [n], 0 to V - 1; n is 2 or more.
        rule: How the weights are updated; the rule sgd has a rate.
        training_ids: The text that the network was trained on, integers [m]; the rule rms needs at least
            `rule.segment` + 1 of them, sgd needs none.

    Returns:
        The rule with its rate, and an iterator over the nats.

    Raises:
        CharlmError: there are fewer than 2 ids, or the rule is rms and `training_ids` is None or too short.

    """
    if len(ids) < 2:
        raise CharlmError(f"a text of {len(ids)} characters: at least 2 are needed for a score")
    if rule.name == "rms" and (training_ids is None or len(training_ids) <= rule.segment):
        raise CharlmError(
            "--dynamic-rule rms needs the training text of the run that the bundle came from: "
            "evaluate the bundle in its run, or use --dynamic-rule sgd"
        )
    scorer = _DynamicScorer(bundle, rule)
    if rule.name == "sgd" or training_ids is None:
        assert rule.rate is not None, "check_rule refuses sgd without a rate"
        return DynamicScores(rule, scorer.score(ids, _sgd(rule.rate, rule.decay, scorer.trained)))
    roots = [tf.sqrt(square) for square in scorer.mean_square_gradients(training_ids)]
    rate = _own_rate(roots) if rule.rate is None else rule.rate
    return DynamicScores(replace(rule, rate=rate), scorer.score(ids, _rms(rate, rule.decay, scorer.trained, roots)))


def _own_rate(roots: list[Tensor]) -> float:
    """Return the rate at which a step lowers the loss of a training segment by DECREASE_NATS, for r of each weight."""
    decrease = sum(float(tf.reduce_sum(root**2 / (root + EPSILON))) for root in roots)
    return DECREASE_NATS / decrease if decrease else 0.0  # without gradients there is nothing to learn


def _sgd(rate: float, decay: float, trained: list[Tensor]) -> Update:
    def update(weight: Tensor, gradient: Tensor, index: int) -> Tensor:
        return weight - rate * gradient + decay * (trained[index] - weight)

    return update


def _rms(rate: float, decay: float, trained: list[Tensor], roots: list[Tensor]) -> Update:
    mean = tf.add_n([tf.reduce_sum(root) for root in roots]) / sum(root.shape.num_elements() for root in roots)
    rates = [rate / (root + EPSILON) for root in roots]
    decays = [tf.minimum(decay * root / mean, 1.0) for root in roots]  # not beyond the trained weights

    def update(weight: Tensor, gradient: Tensor, index: int) -> Tensor:
        return weight - rates[index] * gradient + decays[index] * (trained[index] - weight)

    return update


def _gradients(
    model: CharacterRNN, window: Tensor, state: State, weights: list[Any]
) -> tuple[Tensor, list[Tensor], State]:
    """Return the nats [T] of a segment [T + 1, 1], the gradients of their mean, and the state after it."""
    with tf.GradientTape() as tape:
        logits, _, state = model.predict_window(window[:-1], state, training=False)
        scores = tf.nn.sparse_softmax_cross_entropy_with_logits(window[1:], logits)[:, 0]
        loss = tf.reduce_mean(scores)
    gradients = tape.gradient(loss, [getattr(weight, "value", weight) for weight in weights])
    return scores, [tf.convert_to_tensor(gradient) for gradient in gradients], state


def _segments(ids: NDArray[Any], length: int, count: int) -> Iterator[NDArray[np.int32]]:
    """Return `count` segments of ids [n], each [length + 1, 1] and starting at the last id of the one before."""
    starts = range(0, count * length, length)
    return (np.asarray(ids[start : start + length + 1, None], np.int32) for start in starts)
