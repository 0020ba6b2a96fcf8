"""An ensemble: several networks that read the same text side by side, and the mean of their logits.

    logits_t = (logits_t of network 1 + ... + logits_t of network N) / N

Their softmax is the geometric mean of the probabilities of the networks, normalized. The networks may have any shapes,
but one vocabulary.

Axes: B batch, T time, V vocabulary, H units. All arrays are float32 unless said otherwise.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from numpy.typing import NDArray

from charlm.errors import CharlmError, shorten
from charlm.network.bundle import Bundle
from charlm.network.files import VOCABULARY_FILE
from charlm.network.rnn import Floats, Parameters, State
from charlm.network.stepper import Stepper
from charlm.text.vocabulary import Vocabulary


class Network(Protocol):
    """What scoring and generation need: a network, or an ensemble. `charlm.network.rnn` describes the methods."""

    @property
    def vocabulary_size(self) -> int:
        """V, the number of ids."""

    @property
    def width(self) -> int:
        """The most values that an array has for each character."""

    def zero_state(self, batch: int) -> State:
        """Return the state before the first character."""

    def step(self, ids: NDArray[Any], state: State) -> tuple[Floats, State]:
        """Read one character in each stream: ids [B] -> logits [B, V], state."""

    def unroll(self, ids: NDArray[Any], state: State) -> tuple[Floats, State]:
        """Read a window of characters in each stream: ids [T, B] -> logits [T, B, V], state."""


@dataclass(frozen=True)
class Ensemble:
    """Networks whose logits are averaged; implements `Network`. The state is that of all layers of all networks."""

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
        """Read one character in each stream, as `charlm.network.rnn.step` does."""
        return self._read(Parameters.step, ids, state)

    def unroll(self, ids: NDArray[Any], state: State) -> tuple[Floats, State]:
        """Read a window of characters in each stream, as `charlm.network.rnn.unroll` does."""
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
        logits = _mean([logits for logits, _ in results])
        return logits, tuple(layer for _, part in results for layer in part)


class EnsembleStepper:
    """What `Stepper` is for a network: streams that are read one character at a time.

    Args:
        ensemble: The networks.
        state: The state to begin at; it is not changed.
        forbidden: Ids whose logits are always minus infinity.

    """

    def __init__(self, ensemble: Ensemble, state: State, *, forbidden: Iterable[int] = ()) -> None:
        forbidden = set(forbidden)
        self._steppers = [
            Stepper(network, part, forbidden=forbidden)
            for network, part in zip(ensemble.networks, ensemble.split(state), strict=True)
        ]

    @property
    def logits(self) -> Floats:
        """The logits after the last character read, [B, V] or [V], in a buffer that the next access overwrites."""
        return _mean([stepper.logits for stepper in self._steppers])

    def advance(self, ids: Any) -> None:
        """Read the next character in each stream: ids, integers [B], or an int if there is one stream."""
        for stepper in self._steppers:
            stepper.advance(ids)


def make_stepper(network: Network, state: State, *, forbidden: Iterable[int] = ()) -> Stepper | EnsembleStepper:
    """Return the stepper of a network or an ensemble, to begin at a state; see `Stepper`."""
    if isinstance(network, Ensemble):
        return EnsembleStepper(network, state, forbidden=forbidden)
    assert isinstance(network, Parameters)
    return Stepper(network, state, forbidden=forbidden)


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
    return f"id {index} is {shorten(one)} instead of {shorten(other)}"


def _mean(logits: Sequence[Floats]) -> Floats:
    """Return the mean of arrays of one shape, in the first of them."""
    total, *others = logits
    for other in others:
        total += other
    total /= len(logits)
    return total
