"""How much of its range a layer uses: saturated and dead units, and the number of dimensions of its states.

Axes: T the characters of the text, H units.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from charlm.inspection.states import read_states
from charlm.network.rnn import Floats, Parameters

THRESHOLD = 0.9
BINS = 40
MAX_POSITIONS = 2000
BOUNDED: Mapping[str, tuple[float, float]] = {"tanh": (-1, 1), "softsign": (-1, 1), "sigmoid": (0, 1)}
"""The activations whose outputs have a size of at most 1, with their ranges."""


@dataclass(frozen=True, eq=False)
class LayerSaturation:
    """How the outputs of a layer are spread over a text."""

    layer: int
    units: int
    """H."""
    saturated_share: float | None
    """Share of outputs where |h| > 0.9, from 0 to 1; None if the outputs are not bounded by 1."""
    always_saturated_units: int | None
    """Units whose output is saturated at every position; None as above."""
    dead_units: int | None
    """Units whose output is 0 at every position; None if the activation cannot be flat at 0 (relu can)."""
    participation_ratio: float
    """(sum of l_i)^2 / sum of l_i^2 of the eigenvalues l of the covariance of h, from 1 to H: how many dimensions the
    states fill; 0 if the states do not vary."""
    counts: NDArray[np.int64]
    """A histogram of all outputs: how many lie in each bin, [bins]."""
    edges: NDArray[np.float64]
    """The borders of the bins, [bins + 1]."""


@dataclass(frozen=True)
class Saturation:
    """How the outputs of all layers are spread over a text."""

    positions: int
    """T."""
    threshold: float
    """The size above which an output counts as saturated."""
    layers: tuple[LayerSaturation, ...]


def measure_saturation(parameters: Parameters, ids: NDArray[Any], *, max_positions: int = MAX_POSITIONS) -> Saturation:
    """Measure how the outputs of each layer are spread while a text is read as one stream.

    Args:
        parameters: The weights.
        ids: The text, integers [T], T >= 1.
        max_positions: If the text is longer, only its beginning is used.

    Raises:
        CharlmError: an output is not finite.

    """
    outputs = read_states(parameters, ids[:max_positions])
    layers = (_measure(layer, output, parameters.activation) for layer, output in enumerate(outputs))
    return Saturation(positions=len(outputs[0]), threshold=THRESHOLD, layers=tuple(layers))


def _measure(layer: int, outputs: Floats, activation: str) -> LayerSaturation:
    is_saturated = np.abs(outputs) > THRESHOLD if activation in BOUNDED else None
    counts, edges = np.histogram(outputs, BINS, range=_range(outputs, activation))
    return LayerSaturation(
        layer=layer,
        units=outputs.shape[1],
        saturated_share=None if is_saturated is None else float(is_saturated.mean()),
        always_saturated_units=None if is_saturated is None else int(is_saturated.all(0).sum()),
        dead_units=int((outputs == 0).all(0).sum()) if activation == "relu" else None,
        participation_ratio=participation_ratio(outputs),
        counts=counts.astype(np.int64),
        edges=edges.astype(np.float64),
    )


def participation_ratio(states: NDArray[np.floating[Any]]) -> float:
    """Return how many dimensions states [T, H] fill, from 1 to H: trace(C)^2 / |C|_F^2 of their covariance C.

    0 if the states do not vary (Gao et al. 2017, "A theory of multineuronal dimensionality").
    """
    centred = states - states.mean(0, dtype=np.float64)
    small = centred if len(centred) < centred.shape[1] else centred.T  # both products have the same eigenvalues
    covariance = small @ small.T
    square = float((covariance**2).sum())
    return float(np.trace(covariance)) ** 2 / square if square > 0 else 0.0


def _range(outputs: Floats, activation: str) -> tuple[float, float]:
    """Return the ends of the histogram: the range of a bounded activation, else that of the outputs."""
    if activation in BOUNDED:
        return BOUNDED[activation]
    return float(outputs.min()), float(outputs.max())
