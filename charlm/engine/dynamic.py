"""Dynamic evaluation: score a text as a stream, and train on each segment of it after that segment has been scored.

After each segment, with g the gradient of its mean nats per character and w* the trained weights,

    w <- w - rate g / (r + eps) + decay (w* - w) r / mean(r),   r = sqrt(mean of g^2 over training text)

(Krause et al. 2018, equation 5, and the RMS-scaled decay of section 4.2). The gradient is truncated at the start of the
segment; the state is carried from one segment to the next. A segment never affects its own score: there is no
look-ahead.

The rate comes from the network. On training text, a step lowers the loss of the segment that it is computed from, to
first order, by rate * sum of r^2 / (r + eps) nats per character on average; the rate is such that this is
DECREASE_NATS. One rate for all networks is too high for large ones, all of whose weights move at once, or too low for
small ones. docs/experiments.md has the measurements.

Axes: T time, the characters of a segment. The batch size is 1. Tensors are float32.
"""

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray
from tqdm import tqdm

from charlm.config.schema import ModelConfig
from charlm.engine.model import CharacterRNN, State, named_weights, to_parameters, zero_state
from charlm.engine.recurrence import Tensor
from charlm.engine.step import mean_nats
from charlm.errors import CharlmError, counted
from charlm.network.architecture import Architecture
from charlm.network.bundle import Bundle
from charlm.network.rnn import Floats

SEGMENT = 20
"""Characters scored between two updates."""
DECAY = 0.003
"""The share by which the weights return to the trained ones after each segment, on average."""
DECREASE_NATS = 0.25
"""Nats per character by which a step should lower the loss of a segment of training text, to first order."""
EPSILON = 2e-5
"""A hundredth of a typical r. It limits the step of a weight with r = 0, such as the row of a character that does not
occur in the text from which r is taken."""
STATISTICS_SEGMENTS = 2000
"""r is taken from this many segments at the end of the training text."""


class DynamicScores(NamedTuple):
    """The scores of a text, and the rate at which the weights learn."""

    rate: float
    blocks: Iterator[Floats]
    """The logits after ids 0 to n - 2 in text order: float32 [T, V] for each segment."""


class _DynamicScorer:
    """Scores a text with weights that are updated after each segment."""

    def __init__(self, bundle: Bundle, segment: int) -> None:
        self.model = _build(bundle.architecture)
        self.segment = segment
        tensors = bundle.parameters.tensors()
        self.weights = list(named_weights(self.model).values())
        self.trained = [tf.constant(tensors[name]) for name in named_weights(self.model)]
        self.reset()

    def reset(self) -> None:
        """Restore the trained weights and the zero state."""
        for weight, trained in zip(self.weights, self.trained, strict=True):
            weight.assign(trained)
        self.state = zero_state(self.model, 1)

    def mean_square_gradients(self, ids: NDArray[Any], *, show_progress: bool) -> list[Tensor]:
        """Return the mean of g^2 of each weight over training text ids [n], without updating the weights."""
        totals = [tf.Variable(tf.zeros_like(weight)) for weight in self.trained]

        @tf.function(autograph=False, reduce_retracing=True)
        def add(window: Tensor, state: State) -> State:
            """Add the squared gradients of a segment [T + 1, 1]; return the state after it."""
            _, gradients, state = _gradients(self.model, window, state, self.weights)
            for total, gradient in zip(totals, gradients, strict=True):
                total.assign_add(gradient**2)
            return state

        count = min(STATISTICS_SEGMENTS, (len(ids) - 1) // self.segment)
        ids = ids[len(ids) - 1 - count * self.segment :]
        segments = _segments(ids, self.segment, count)
        for window in tqdm(segments, "gradients", count, leave=False, disable=not show_progress):
            self.state = add(window, self.state)
        self.reset()
        return [total / count for total in totals]

    def score(self, ids: NDArray[Any], *, roots: list[Tensor], rate: float, decay: float) -> Iterator[Floats]:
        """Read ids [n]: yield the logits of each segment, float32 [T, V], and update the weights after it."""
        mean = tf.add_n([tf.reduce_sum(root) for root in roots]) / sum(root.shape.num_elements() for root in roots)
        rates = [rate / (root + EPSILON) for root in roots]
        decays = [tf.minimum(decay * root / mean, 1.0) for root in roots]  # not beyond the trained weights

        @tf.function(autograph=False, reduce_retracing=True)
        def read_and_update(window: Tensor, state: State) -> tuple[Tensor, State]:
            """Read a segment [T + 1, 1], then update the weights; return the logits [T, V] and the state after it."""
            logits, gradients, state = _gradients(self.model, window, state, self.weights)
            for index, (weight, gradient) in enumerate(zip(self.weights, gradients, strict=True)):
                back = decays[index] * (self.trained[index] - weight)
                weight.assign(weight - rates[index] * gradient + back)
            return logits, state

        count = (len(ids) - 1) // self.segment
        for window in _segments(ids, self.segment, count):
            logits, self.state = read_and_update(window, self.state)
            yield logits.numpy()
        rest = ids[count * self.segment :, None]
        if len(rest) > 1:  # a shorter segment; the weights are not needed after it
            state = tuple(layer.numpy() for layer in self.state)
            logits, _ = to_parameters(self.model).unroll(rest[:-1], state)
            yield logits[:, 0]


def _build(architecture: Architecture) -> CharacterRNN:
    """Return the network that model.json describes, with weights of 0; config.yaml has no say in it."""
    sizes = {name: getattr(architecture, name) for name in ("layers", "units", "embedding", "skip_connections")}
    rnn = {
        "activation": architecture.activation,
        "use_bias": architecture.use_bias,
        "kernel_initializer": "zeros",
        "recurrent_initializer": "zeros",
        "unroll": True,
    }
    config = ModelConfig.model_validate({**sizes, "input_initializer": "zeros", "rnn": rnn})
    return CharacterRNN(config, architecture.vocabulary_size)


def score_dynamic(
    bundle: Bundle,
    ids: NDArray[Any],
    *,
    training_ids: NDArray[Any] | None,
    rate: float | None = None,
    decay: float = DECAY,
    segment: int = SEGMENT,
    show_progress: bool = False,
) -> DynamicScores:
    """Score a text with dynamic evaluation.

    Args:
        bundle: The trained network. It is not changed.
        ids: The text, integers [n], 0 to V - 1; n is 2 or more.
        training_ids: The text that the network was trained on, integers [m], m > `segment`.
        rate: The learning rate, 0 or more; None = from the gradients on the training text.
        decay: The share by which the weights return to the trained ones after each segment, 0 to 1.
        segment: The number of characters scored between two updates, 1 or more.
        show_progress: Whether to show a bar on standard error while r is taken.

    Returns:
        The rate, and an iterator over the logits.

    Raises:
        CharlmError: there are fewer than 2 ids, or `training_ids` is None or too short.

    """
    if len(ids) < 2:
        raise CharlmError(f"a text of {counted(len(ids), 'character')}: at least 2 are needed for a score")
    if training_ids is None or len(training_ids) <= segment:
        raise CharlmError(
            "--dynamic needs the training text of the run that the bundle came from: evaluate the bundle in its run"
        )
    scorer = _DynamicScorer(bundle, segment)
    roots = [tf.sqrt(square) for square in scorer.mean_square_gradients(training_ids, show_progress=show_progress)]
    rate = _own_rate(roots) if rate is None else rate
    return DynamicScores(rate, scorer.score(ids, roots=roots, rate=rate, decay=decay))


def _own_rate(roots: list[Tensor]) -> float:
    """Return the rate at which a step lowers the loss of a training segment by DECREASE_NATS, for r of each weight."""
    decrease = sum(float(tf.reduce_sum(root**2 / (root + EPSILON))) for root in roots)
    return DECREASE_NATS / decrease if decrease else 0.0  # without gradients there is nothing to learn


def _gradients(
    model: CharacterRNN, window: Tensor, state: State, weights: list[Any]
) -> tuple[Tensor, list[Tensor], State]:
    """Return the logits [T, V] of a segment [T + 1, 1], the gradients of its mean nats, and the state after it."""
    with tf.GradientTape() as tape:
        logits, _, state = model.predict_window(window[:-1], state)
        loss = mean_nats(window[1:], logits)
    gradients = tape.gradient(loss, [getattr(weight, "value", weight) for weight in weights])
    return logits[:, 0], [tf.convert_to_tensor(gradient) for gradient in gradients], state


def _segments(ids: NDArray[Any], length: int, count: int) -> Iterator[NDArray[np.int32]]:
    """Return `count` segments of ids [n], each [length + 1, 1] and starting at the last id of the one before."""
    starts = range(0, count * length, length)
    return (np.asarray(ids[start : start + length + 1, None], np.int32) for start in starts)
