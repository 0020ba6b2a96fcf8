"""A reference implementation of training in float64, from the definitions in docs/settings.md.

The network has two layers of tanh with biases, an embedding and skip connections.

Axes: T time, B batch.
"""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray
from reference import Doubles

Ids = NDArray[np.int64]
Weights = dict[str, Doubles]
States = tuple[Doubles, Doubles]
POLYNOMIALS = [
    (7.351352158721994, -17.85479811840422, 12.270786956202068),
    (3.456423482465975, -2.2619066820609377, 0.418843881571326),
    (2.793617425491335, -2.084269870735374, 0.4645438866243433),
]


@dataclass(frozen=True)
class Settings:
    """Settings of a run, with the names of docs/settings.md."""

    name: str
    learning_rate: float
    weight_decay: float
    momentum: float = 0.0
    steps: int = 60
    seed: int = 1
    batch_size: int = 8
    sequence_length: int = 16
    warmup_steps: int = 5
    final_fraction: float = 0.1
    clip_norm: float = 0.3
    average_momentum: float = 0.9


@dataclass(frozen=True)
class Trained:
    """The results of a run."""

    losses: list[float]
    """Loss of each step."""
    norms: list[float]
    """Norm of the gradient of each step before clipping."""
    average: Weights
    """Moving average of the weights after the last step."""


class Forward:
    """The outputs of the network while it reads a window of ids [T + 1, B] from two states."""

    def __init__(self, weights: Weights, window: Ids, states: States) -> None:
        self.weights = weights
        self.window = window
        self.lower = [states[0]]
        self.upper = [states[1]]
        self.inputs: list[Doubles] = []
        self.loss = 0.0
        self.by_logits: list[Doubles] = []
        """Gradient with respect to the logits after each character, [B, V]."""
        for ids, targets in pairwise(window):
            self._read(ids, targets)

    def _read(self, ids: Ids, targets: Ids) -> None:
        x = self.weights["embedding"][ids]
        h = np.tanh(self._activation("rnn.0", x, self.lower[-1]))
        g = np.tanh(self._activation("rnn.1", np.concatenate([h, x], 1), self.upper[-1]))
        features = np.concatenate([h, g], 1)
        logits = features @ self.weights["logits.kernel"] + self.weights["logits.bias"]
        probabilities = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
        rows = np.arange(len(ids))
        count = self.window[1:].size
        self.loss -= np.log(probabilities[rows, targets]).sum() / count
        probabilities[rows, targets] -= 1
        self.by_logits.append(probabilities / count)
        self.inputs.append(x)
        self.lower.append(h)
        self.upper.append(g)

    def _activation(self, layer: str, inputs: Doubles, state: Doubles) -> Doubles:
        sums = inputs @ self.weights[f"{layer}.kernel"]
        sums += state @ self.weights[f"{layer}.recurrent_kernel"]
        return np.asarray(sums + self.weights[f"{layer}.bias"])

    def backward(self) -> Iterator[tuple[int, States, States]]:
        """Follow the gradients of the loss back in time.

        Yields:
            From the last time to the first: the time; the gradients with respect to the outputs of
            both layers, and with respect to their activations before tanh, [B, H].

        """
        weights = self.weights
        units = len(weights["rnn.0.bias"])
        by_lower = np.zeros_like(self.lower[0])
        by_upper = np.zeros_like(self.upper[0])
        for time in reversed(range(len(self.inputs))):
            by_features = self.by_logits[time] @ weights["logits.kernel"].T
            by_upper = by_upper + by_features[:, units:]
            upper = by_upper * (1 - self.upper[time + 1] ** 2)
            by_below = upper @ weights["rnn.1.kernel"][:units].T
            by_lower = by_lower + by_features[:, :units] + by_below
            lower = by_lower * (1 - self.lower[time + 1] ** 2)
            yield time, (by_lower, by_upper), (lower, upper)
            by_lower = lower @ weights["rnn.0.recurrent_kernel"].T
            by_upper = upper @ weights["rnn.1.recurrent_kernel"].T

    def gradients(self) -> Weights:
        """Return the gradients of the loss with respect to the weights."""
        weights = self.weights
        units = len(weights["rnn.0.bias"])
        total = {name: np.zeros_like(weight) for name, weight in weights.items()}
        for time, _, (lower, upper) in self.backward():
            x = self.inputs[time]
            h = self.lower[time + 1]
            g = self.upper[time + 1]
            total["logits.kernel"] += np.concatenate([h, g], 1).T @ self.by_logits[time]
            total["logits.bias"] += self.by_logits[time].sum(0)
            total["rnn.1.kernel"] += np.concatenate([h, x], 1).T @ upper
            total["rnn.1.recurrent_kernel"] += self.upper[time].T @ upper
            total["rnn.1.bias"] += upper.sum(0)
            total["rnn.0.kernel"] += x.T @ lower
            total["rnn.0.recurrent_kernel"] += self.lower[time].T @ lower
            total["rnn.0.bias"] += lower.sum(0)
            by_x = upper @ weights["rnn.1.kernel"][units:].T + lower @ weights["rnn.0.kernel"].T
            np.add.at(total["embedding"], self.window[time], by_x)
        return total


def orthogonalized(matrix: Doubles) -> Doubles:
    """Return a matrix whose singular values are changed by the three polynomials of Muon."""
    u, sizes, v = np.linalg.svd(matrix, full_matrices=False)
    sizes = sizes / math.sqrt((sizes**2).sum())
    for a, b, c in POLYNOMIALS:
        sizes = a * sizes + b * sizes**3 + c * sizes**5
    return np.asarray(u * sizes @ v)


@dataclass
class Optimizer:
    """Adam, AdamW, Muon or SGD, with the defaults of Keras for what has no setting."""

    settings: Settings
    count: int = 0
    """Number of steps."""
    momentums: Weights = field(default_factory=dict)
    squares: Weights = field(default_factory=dict)

    def update(self, weights: Weights, gradients: Mapping[str, Doubles], rate: float) -> None:
        """Take a step with all weights."""
        self.count += 1
        for name, gradient in gradients.items():
            weight = weights[name]
            decay = self.settings.weight_decay
            beta_2 = 0.999
            factor = 1.0
            is_matrix = gradient.ndim == 2 and name != "embedding"
            if self.settings.name == "muon" and not is_matrix:
                beta_2 = 0.99
                if name == "embedding":
                    factor = 8.0
                else:
                    decay = 0.004
            kept = (1 - rate * decay) * weight
            if self.settings.name == "sgd":
                weights[name] = kept + self._sgd(name, gradient, rate)
            elif self.settings.name == "muon" and is_matrix:
                weights[name] = kept - rate * self._muon(name, gradient)
            else:
                weights[name] = kept - factor * rate * self._adam(name, gradient, beta_2)

    def _sgd(self, name: str, gradient: Doubles, rate: float) -> Doubles:
        before = self.momentums.get(name, np.zeros_like(gradient))
        self.momentums[name] = self.settings.momentum * before - rate * gradient
        return self.momentums[name]

    def _muon(self, name: str, gradient: Doubles) -> Doubles:
        """Return the step for a matrix (Jordan et al. 2024, with Nesterov's momentum)."""
        before = self.momentums.get(name, np.zeros_like(gradient))
        momentum = self.settings.momentum * before + gradient
        self.momentums[name] = momentum
        scale = 0.2 * math.sqrt(max(gradient.shape))
        return scale * orthogonalized(gradient + self.settings.momentum * momentum)

    def _adam(self, name: str, gradient: Doubles, beta_2: float) -> Doubles:
        """Return the step of Adam (Kingma and Ba 2015, the end of section 2)."""
        momentum = 0.9 * self.momentums.get(name, 0.0) + 0.1 * gradient
        squares = beta_2 * self.squares.get(name, 0.0) + (1 - beta_2) * gradient**2
        self.momentums[name] = momentum
        self.squares[name] = squares
        correction = math.sqrt(1 - beta_2**self.count) / (1 - 0.9**self.count)
        return correction * momentum / (np.sqrt(squares) + 1e-7)


def window_of(ids: Ids, step: int, settings: Settings) -> tuple[Ids, bool]:
    """Return the window [T + 1, B] of a step, counted from 0, and whether it begins an epoch.

    Streams are shuffled: each begins an epoch at a random window.
    """
    length = settings.sequence_length
    streams = settings.batch_size
    spare = (len(ids) - 1) % (streams * length)
    largest_offset = min(spare, length - 1)
    width = (len(ids) - 1 - largest_offset) // streams
    windows = width // length
    epoch, index = divmod(step, windows)
    offset = np.random.default_rng([settings.seed, epoch]).integers(0, largest_offset + 1)
    first_windows = np.random.default_rng([settings.seed, epoch, 1]).integers(0, windows, streams)
    window = np.empty((length + 1, streams), np.int64)
    for stream, first in enumerate(first_windows):
        start = offset + stream * width + (first + index) % windows * length
        window[:, stream] = ids[start : start + length + 1]
    return window, index == 0


def rate_of(step: int, settings: Settings) -> float:
    """Return the learning rate of a step, counted from 0: a linear warm-up, then half a cosine."""
    if step < settings.warmup_steps:
        return settings.learning_rate * (step + 1) / (settings.warmup_steps + 1)
    progress = (step - settings.warmup_steps) / (settings.steps - 1 - settings.warmup_steps)
    height = (1 + math.cos(math.pi * progress)) / 2
    final = settings.final_fraction
    return settings.learning_rate * (final + (1 - final) * height)


def train(initial: Mapping[str, NDArray[Any]], ids: Ids, settings: Settings) -> Trained:
    """Train a network with some initial weights on a training text."""
    weights = {name: weight.astype(np.float64) for name, weight in initial.items()}
    average = dict(weights)
    optimizer = Optimizer(settings)
    trained = Trained([], [], average)
    zeros = np.zeros((settings.batch_size, len(weights["rnn.0.bias"])))
    states = (zeros, zeros)
    for step in range(settings.steps):
        window, begins_epoch = window_of(ids, step, settings)
        if begins_epoch:
            states = (zeros, zeros)
        forward = Forward(weights, window, states)
        states = (forward.lower[-1], forward.upper[-1])
        gradients = forward.gradients()
        norm = math.sqrt(sum((gradient**2).sum() for gradient in gradients.values()))
        scale = min(1.0, settings.clip_norm / norm)
        clipped = {name: scale * gradient for name, gradient in gradients.items()}
        optimizer.update(weights, clipped, rate_of(step, settings))
        kept = min(settings.average_momentum, (2 + step) / (11 + step))
        for name, weight in weights.items():
            average[name] = kept * average[name] + (1 - kept) * weight
        trained.losses.append(forward.loss)
        trained.norms.append(norm)
    return trained
