"""Predictions of several models, mixed into one while a text is read: networks, n-gram models and the longest match.

    p ~ exp(sum over models i of w_i log p_i),    w_i <- w_i + rate (log p_i(x) - sum over c of p(c) log p_i(c))

This is geometric mixing (Mattern 2012), as compressors of the PAQ family do it: w follows the gradient of log p(x) once
the character x has been scored, so nothing looks ahead. p sums to 1 at every character. w is the sum of weights that
serve everywhere and of others for each character just read. The n-gram models go on counting in the text, and the
longest match is found in all that has been read, so they learn from it, as a compressor does. They begin with the
training text, but a second set of n-gram models begins with nothing, and soon knows what is peculiar to this text.

Axes: T time, V vocabulary, M models.
"""

from collections.abc import Iterable, Iterator, Sequence
from itertools import chain
from typing import Any

import numpy as np
from numpy.typing import NDArray

from charlm.network.rnn import Floats, log_softmax

ORDERS = (2, 3, 4, 5, 6)
"""How many characters each of the n-gram models knows before the one that it predicts."""
LOCAL_ORDERS = (2, 3, 4)
"""The same of those that count nothing but the text."""
DISCOUNT = 0.6
"""What is taken from each count, and given to the next lower order (absolute discounting, Ney et al. 1994)."""
MATCH = 7
"""The longest match is looked for once this many characters agree."""
LONGEST = 32
"""A match of more characters counts as one of so many."""
RATE = 5e-4
"""The step of the weights."""
MAX_TRAINING = 1_000_000
"""How much of the end of the training text the n-gram and the match model begin with, in characters."""
FLOOR = 1e-9
"""The least probability that a model is taken to give."""


class Counts:
    """Several n-gram models that go on counting, each interpolated with the next lower order.

    Args:
        vocabulary_size: V, the number of ids.
        orders: How many characters each knows, ascending.

    """

    def __init__(self, vocabulary_size: int, orders: Sequence[int] = ORDERS) -> None:
        self.orders = orders
        self._uniform = np.full(vocabulary_size, 1 / vocabulary_size)
        self._counts: list[dict[tuple[int, ...], dict[int, int]]] = [{} for _ in orders]

    def predict(self, read: Sequence[int]) -> Iterator[Floats]:
        """Yield the probabilities of the next id by each order, float64 [V], lowest first, after the ids read."""
        found = self._uniform
        for order, table in zip(self.orders, self._counts, strict=True):
            seen = table.get(tuple(read[-order:]))
            if seen is not None:
                total = sum(seen.values())
                found = found * (DISCOUNT * len(seen) / total)
                for index, count in seen.items():
                    found[index] += (count - DISCOUNT) / total
            yield found

    def update(self, read: Sequence[int], index: int) -> None:
        """Count an id after the ids read before it."""
        for order, table in zip(self.orders, self._counts, strict=True):
            seen = table.setdefault(tuple(read[-order:]), {})
            seen[index] = seen.get(index, 0) + 1


class Match:
    """The longest match of what was just read with what was read before: it predicts the id that followed there.

    How sure it is depends on how often matches of the same length were right.

    Args:
        vocabulary_size: V, the number of ids.

    """

    def __init__(self, vocabulary_size: int) -> None:
        self._size, self._places = vocabulary_size, dict[tuple[int, ...], int]()
        self._place, self._length = 0, 0
        self._right, self._tried = np.ones(LONGEST + 1), np.full(LONGEST + 1, 2.0)

    def predict(self, read: Sequence[int]) -> Floats:
        """Return the probabilities of the next id, float64 [V], after the ids read."""
        if not self._length:
            return np.full(self._size, 1 / self._size)
        share = self._right[self._length] / self._tried[self._length]  # more than 0 and less than 1
        found = np.full(self._size, (1 - share) / max(1, self._size - 1))
        found[read[self._place]] = share
        return found

    def update(self, read: list[int], index: int) -> None:
        """Record the id that came next; `read` ends with it."""
        if self._length:
            is_right = read[self._place] == index
            self._tried[self._length] += 1
            self._right[self._length] += is_right
            self._length = min(self._length + 1, LONGEST) if is_right else 0
            self._place += 1
        context = tuple(read[-MATCH:])
        if not self._length and (place := self._places.get(context)) is not None:
            self._place, self._length = place, MATCH
            while self._length < min(LONGEST, place) and read[place - 1 - self._length] == read[-1 - self._length]:
                self._length += 1
        self._places[context] = len(read)


class Mixture:
    """Mixes the predictions of networks with those of n-gram models and the longest match, M models in all.

    Args:
        vocabulary_size: V, the number of ids.
        networks: The number of networks, 1 or more.
        training_ids: The text that they were trained on, integers [n].

    """

    def __init__(self, vocabulary_size: int, *, networks: int, training_ids: NDArray[Any]) -> None:
        self._counts, self._local = Counts(vocabulary_size), Counts(vocabulary_size, LOCAL_ORDERS)
        self._match, self._read = Match(vocabulary_size), list[int]()
        others = len(ORDERS) + len(LOCAL_ORDERS) + 1
        self.weights = np.array([1 / networks] * networks + [0.0] * others)
        """What w has everywhere, float64 [M]: for the networks, both kinds of orders, the match."""
        self.weights_after = np.zeros((vocabulary_size, len(self.weights)))
        """What w has besides after each id, float64 [V, M]."""
        for index in training_ids[-MAX_TRAINING:].tolist():
            self._record(index)

    def log_probabilities(self, networks: Sequence[Floats]) -> Floats:
        """Return log p_i of the next id by each model, float64 [M, V], given that of each network, float64 [V]."""
        counted = (*self._counts.predict(self._read), *self._local.predict(self._read))
        others = [*counted, self._match.predict(self._read)]
        return np.stack([*networks, *(np.log(np.maximum(one, FLOOR)) for one in others)])

    def mix(self, logs: Floats) -> Floats:
        """Return log p of the next id, float64 [V], given log p_i of each model, float64 [M, V]."""
        return log_softmax((self.weights + self.weights_after[self._read[-1]]) @ logs)

    def update(self, index: int, logs: Floats, found: Floats) -> None:
        """Learn from the id that came, given what `log_probabilities` and `mix` returned before it."""
        step = RATE * (logs[:, index] - logs @ np.exp(found))
        self.weights += step
        self.weights_after[self._read[-1]] += step
        self.learn(index)

    def learn(self, index: int) -> None:
        """Let the n-gram models and the match read an id of the text, which need not have been predicted."""
        self._local.update(self._read, index)
        self._record(index)

    def _record(self, index: int) -> None:
        self._counts.update(self._read, index)
        self._read.append(index)
        self._match.update(self._read, index)


def mix(
    streams: Sequence[Iterable[Floats]],
    ids: NDArray[Any],
    *,
    vocabulary_size: int,
    training_ids: NDArray[Any],
) -> Iterator[Floats]:
    """Score a text by the mixture of some networks, n-gram models and the longest match.

    Args:
        streams: For each network, its logits after each id but the last, float32 [T, V] in blocks of any lengths.
        ids: The text, integers [n], n >= 2.
        vocabulary_size: V, the number of ids.
        training_ids: The text that the networks were trained on, integers [m].

    Yields:
        The nats of ids 1 to n - 1 in order, float32 [1] each; not finite if the logits are not.

    """
    mixture = Mixture(vocabulary_size, networks=len(streams), training_ids=training_ids)
    first, *targets = ids.tolist()
    mixture.learn(first)
    rows = zip(*(chain.from_iterable(stream) for stream in streams), strict=True)
    for logits, target in zip(rows, targets, strict=True):
        logs = mixture.log_probabilities([log_softmax(row.astype(np.float64)) for row in logits])
        found = mixture.mix(logs)
        yield np.array([-found[target]], np.float32)
        mixture.update(target, logs, found)
