"""One network or several that read a text: an ensemble, and long texts read with bounded memory.

    logits_t = (logits_t of network 1 + ... + logits_t of network N) / N

The softmax of an ensemble is the geometric mean of the probabilities of its networks, normalized. They may have any
shapes, but one vocabulary. A long text is read in blocks one after the other, or in pieces side by side.

Axes: B batch, T time, V vocabulary, H units. All arrays are float32 unless said otherwise.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from charlm.errors import CharlmError, short_repr
from charlm.hardware import core_count
from charlm.network.architecture import VOCABULARY_FILE
from charlm.network.bundle import Bundle
from charlm.network.rnn import Floats, Parameters, State
from charlm.text.vocabulary import Vocabulary


@dataclass(frozen=True)
class Ensemble:
    """Networks whose logits are averaged. The state is that of all layers of all networks."""

    networks: tuple[Parameters, ...]
    """One or more, with the same V."""

    @property
    def vocabulary_size(self) -> int:
        """V, the number of ids."""
        return self.networks[0].vocabulary_size

    @property
    def width(self) -> int:
        """The most values that an array has for each character."""
        return max(network.width for network in self.networks)

    def zero_state(self, batch: int) -> State:
        """Return the state before the first character."""
        return tuple(layer for network in self.networks for layer in network.zero_state(batch))

    def step(self, ids: NDArray[Any], state: State) -> tuple[Floats, State]:
        """Read one character in each stream, as `charlm.network.rnn.Parameters.step` does."""
        return self._read(Parameters.step, ids, state)

    def unroll(self, ids: NDArray[Any], state: State) -> tuple[Floats, State]:
        """Read a window of characters in each stream, as `charlm.network.rnn.Parameters.unroll` does."""
        return self._read(Parameters.unroll, ids, state)

    def split(self, state: State) -> list[State]:
        """Return the state of each network."""
        layers = iter(state)
        return [tuple(next(layers) for _ in network.layers) for network in self.networks]

    def _read(
        self, read: Callable[[Parameters, NDArray[Any], State], tuple[Floats, State]], ids: NDArray[Any], state: State
    ) -> tuple[Floats, State]:
        """Return the mean of the logits of `read` with each network, and the states after it."""
        results = [read(network, ids, part) for network, part in zip(self.networks, self.split(state), strict=True)]
        logits = mean_logits([logits for logits, _ in results])
        return logits, tuple(layer for _, part in results for layer in part)


Network = Parameters | Ensemble
"""What scoring needs: a network, or an ensemble with the same methods. `charlm.network.rnn` describes them."""


def join_networks(bundles: Mapping[Path, Bundle]) -> Network:
    """Return the network of a bundle, or the ensemble of several.

    Args:
        bundles: One or more, by their folders.

    Raises:
        CharlmError: a vocabulary is not that of the first bundle.

    """
    first, *others = bundles
    for folder in others:
        check_vocabulary(folder, bundles[folder].vocabulary, bundles[first].vocabulary, expected_by=str(first))
    networks = tuple(bundle.parameters for bundle in bundles.values())
    return Ensemble(networks) if others else networks[0]


def check_vocabulary(folder: Path, found: Vocabulary, expected: Vocabulary, *, expected_by: str) -> None:
    """Raise CharlmError if the vocabulary of a bundle is not the expected one; the message names the first difference.

    Args:
        folder: The folder of the bundle.
        found: Its vocabulary.
        expected: What it must be.
        expected_by: What has that vocabulary, for the message.

    """
    if found == expected:
        return
    raise CharlmError(
        f"{folder / VOCABULARY_FILE}: {_difference(found, expected)}; must be the vocabulary of {expected_by}"
    )


def _difference(found: Vocabulary, expected: Vocabulary) -> str:
    """Return the first difference of two vocabularies, for the user."""
    if found.level != expected.level:
        return f"level {found.level} instead of {expected.level}"
    if len(found) != len(expected):
        return f"{len(found)} ids instead of {len(expected)}"
    pairs = enumerate(zip(found.characters, expected.characters, strict=True))
    index, (one, other) = next((item for item in pairs if item[1][0] != item[1][1]), (None, (None, None)))
    if index is None:
        return "other reserved ids"
    return f"id {index} is {short_repr(one)} instead of {short_repr(other)}"


def mean_logits(logits: Sequence[Floats]) -> Floats:
    """Return the mean of arrays of one shape, in the first of them."""
    total, *others = logits
    for other in others:
        total += other
    total /= len(logits)
    return total


BLOCK = 2048
VALUES_AT_ONCE = 1 << 21  # 8 MB
STREAMS_A_THREAD = 32
"""How many streams a thread reads, at least; the groups do not depend on the machine, so neither do the bits."""


def read_blocks(
    network: Network,
    ids: NDArray[Any],
    state: State,
    *,
    block: int = BLOCK,
    values_at_once: int = VALUES_AT_ONCE,
) -> Iterator[tuple[Floats, State]]:
    """Read ids in blocks of t steps.

    Many streams are read in groups by threads of our own, each with products of a single thread. The threads of NumPy's
    own products wait for each other without pause: beside busy processes, that took four times as long.

    Args:
        network: The weights of a network, or an ensemble.
        ids: Integers [T, B].
        state: The state to begin at.
        block: The largest t, 1 or more.
        values_at_once: How many values an array of logits or outputs may have; it limits the memory.

    Yields:
        The logits after each character of a block, float32 [t, B, V], and the state after it.

    """
    streams = ids.shape[1]
    size = max(1, min(block, values_at_once // (network.width * streams)))
    groups = np.array_split(np.arange(streams), max(1, streams // STREAMS_A_THREAD))
    if len(groups) == 1:
        for start in range(0, len(ids), size):
            logits, state = network.unroll(ids[start : start + size], state)
            yield logits, state
        return

    from threadpoolctl import threadpool_limits

    with threadpool_limits(1, "blas"), ThreadPoolExecutor(core_count()) as threads:
        parts = [ids[:, group[0] : group[-1] + 1] for group in groups]
        states: list[State] = [tuple(layer[group] for layer in state) for group in groups]
        for start in range(0, len(ids), size):
            blocks = [part[start : start + size] for part in parts]
            read = list(threads.map(network.unroll, blocks, states))
            states = [after for _, after in read]
            yield (
                np.concatenate([logits for logits, _ in read], 1),
                tuple(map(np.concatenate, zip(*states, strict=True))),
            )


def read_pieces(
    network: Network, ids: NDArray[Any], *, streams: int, warm_up: int
) -> Iterator[tuple[Floats, NDArray[np.int64]]]:
    """Read a text many times faster than from start to end: in pieces of it, side by side.

    The text is divided into `streams` pieces, or fewer, so that none is shorter than `warm_up`. The first piece is read
    from the zero state, every other piece from the state after the `warm_up` ids before it. The logits are close to
    those of a stream if the network forgets within `warm_up` ids; with a single piece they are the same.

    Args:
        network: The weights of a network, or an ensemble.
        ids: Integers [n], n >= 2; the last one is not read.
        streams: The number of pieces, at most; 1 or more.
        warm_up: How many ids to read before each piece, 0 or more.

    Yields:
        Logits, float32 [m, V], and the positions of the ids after which they are, int64 [m]. Each position from 0 to
        n - 2 comes once.

    """
    last = len(ids) - 1
    length = -(-last // max(1, min(streams, last // max(1, warm_up))))
    starts = np.arange(0, last, length)
    state = network.zero_state(len(starts))
    if len(starts) > 1 and warm_up:
        before = sliding_window_view(ids[:-1], warm_up)[np.maximum(starts - warm_up, 0)]
        *_, (_, state) = read_blocks(network, before.T, state)
        for output in state:
            output[0] = 0  # nothing precedes the first piece
    padded = np.pad(ids[:-1], (0, length * len(starts) - last), mode="edge")
    time = 0
    for logits, _ in read_blocks(network, padded.reshape(-1, length).T, state):
        positions = starts + np.arange(time, time + len(logits))[:, None]
        is_real = positions < last
        yield logits[is_real], positions[is_real]
        time += len(logits)
