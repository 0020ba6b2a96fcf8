"""Reference implementations: the network in float64, one character at a time, and more."""

import math
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise, product
from typing import Any

import numpy as np
from numpy.typing import NDArray

from charlm.core.rnn import Parameters

Doubles = NDArray[np.float64]
NETWORKS = [
    {"layers": layers, "embedding": embedding, "use_bias": use_bias, "skip_connections": skip}
    for layers, embedding, use_bias, skip in product(
        (1, 3), (None, 3), (True, False), (False, True)
    )
]
"""Networks of every structure, as arguments of `random_parameters`."""


def _sigmoid(x: float) -> float:
    return 1 / (1 + math.exp(-x))


ACTIVATIONS: Mapping[str, Callable[[float], float]] = {
    "tanh": math.tanh,
    "relu": lambda x: max(x, 0.0),
    "sigmoid": _sigmoid,
    "linear": lambda x: x,
}


def read(
    parameters: Parameters,
    ids: Sequence[int],
    *,
    nudges: Mapping[tuple[int, int], Doubles] | None = None,
) -> tuple[Doubles, list[Doubles]]:
    """Return the logits [n, V] after each of n ids, and the last state, [H] for each layer.

    `nudges` is added to the output of a layer at a time, by (time, layer): for central differences.
    """
    activate = np.vectorize(ACTIVATIONS[parameters.activation], otypes=[float])
    logits = np.empty((len(ids), parameters.vocabulary_size))
    hs = [np.zeros(layer.units) for layer in parameters.layers]
    for time, index in enumerate(ids):
        x = np.eye(parameters.vocabulary_size)[index]
        if "embedding" in parameters.tensors:
            x = x @ parameters.tensors["embedding"].astype(float)
        below = x
        for number, layer in enumerate(parameters.layers):
            if number > 0 and parameters.architecture.skip_connections:
                below = np.concatenate([below, x])
            input_projection = below @ layer.kernel.astype(float) + layer.bias.astype(float)
            output = activate(input_projection + hs[number] @ layer.recurrent_kernel.astype(float))
            hs[number] = below = output + (nudges or {}).get((time, number), 0.0)
        features = np.concatenate(hs) if parameters.architecture.skip_connections else hs[-1]
        logits[time] = features @ parameters.logits_kernel.astype(float) + parameters.logits_bias
    return logits, hs


def nats(parameters: Parameters, ids: Sequence[int]) -> list[float]:
    """Return the nats of each id but the first, from the zero state."""
    logits, _ = read(parameters, ids[:-1])
    return [
        log_sum_exp(row) - float(row[target]) for row, target in zip(logits, ids[1:], strict=True)
    ]


def log_sum_exp(row: NDArray[Any]) -> float:
    """Return log(sum(exp(row))), computed with Python's floats."""
    peak = max(row.tolist())
    return float(peak + math.log(math.fsum(math.exp(x - peak) for x in row.tolist())))


def standard_error(means: Sequence[float]) -> float:
    """Return the standard error of a mean, given the means of at least 8 correlated blocks."""
    count, mean = len(means), math.fsum(means) / len(means)
    apart = [each - mean for each in means]
    total = math.fsum(each * each for each in apart)
    neighbours = math.fsum(one * other for one, other in pairwise(apart)) / (total or 1)
    correlation = min(0.8, max(0.0, neighbours))
    return math.sqrt(total / (count - 1) / count * (1 + correlation) / (1 - correlation))


class KneserNey:
    """An n-gram model as Chen and Goodman define it: interpolated modified Kneser-Ney."""

    def __init__(self, text: Sequence[int], size: int, order: int) -> None:
        self.size = size
        self.counts: list[dict[tuple[int, ...], int]] = []
        for length in range(1, order + 1):
            grams = [tuple(text[i : i + length]) for i in range(len(text) - length + 1)]
            if length == order:
                self.counts.append(Counter(grams))
                continue
            before = defaultdict(set)
            for i in range(1, len(text) - length + 1):
                before[tuple(text[i : i + length])].add(text[i - 1])
            self.counts.append({gram: len(ids) for gram, ids in before.items()})
        self.counts_of_counts = [Counter(counts.values()) for counts in self.counts]

    def discount(self, order: int, count: int) -> float:
        """Return D(count)."""
        n = self.counts_of_counts[order - 1]
        base = n[1] / (n[1] + 2 * n[2]) if n[1] else 0.5
        k = min(count, 3)
        if k == 0:
            return 0
        discount = k - (k + 1) * base * n[k + 1] / n[k] if n[k] else base
        return min(max(discount, 0.1), k)

    def probability(self, context: tuple[int, ...], index: int) -> float:
        """Return p(index | context)."""
        order = len(context) + 1
        counts = [self.counts[order - 1].get((*context, other), 0) for other in range(self.size)]
        below = self.probability(context[1:], index) if context else 1 / self.size
        if sum(counts) == 0:
            return below
        lost = sum(self.discount(order, count) for count in counts)
        kept = counts[index] - self.discount(order, counts[index])
        return (kept + lost * below) / sum(counts)
