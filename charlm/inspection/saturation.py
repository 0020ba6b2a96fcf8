"""Saturation and dimension: how the outputs of a network are spread over a text.

Axes: T the characters of a text, H units.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from charlm.errors import CharlmError
from charlm.evaluation.scoring import mean_and_error
from charlm.inspection.section import Rows, Section, Table, layer_name
from charlm.network.gradients import LARGEST_SLOPES, SATURATED_BELOW, Trace
from charlm.network.rnn import Floats


@dataclass(frozen=True, eq=False)
class LayerSaturation:
    """How the outputs of a layer are spread over a text."""

    layer: int
    units: int
    """H."""
    saturated_share: float
    """Share of outputs at which f' is below `threshold`, from 0 to 1."""
    standard_error: float | None
    """Of this share, by blocks of 500 characters; None with fewer than two."""
    always_saturated_units: int
    """Units that are saturated at every position; with relu these are dead."""
    participation_ratio: float
    """(sum of l_i)^2 / sum of l_i^2 of the eigenvalues l of the covariance of h, from 1 to H: how many dimensions the
    states fill; 0 if the states do not vary."""


@dataclass(frozen=True)
class Saturation:
    """How the outputs of all layers are spread over a text."""

    positions: range
    """Of the characters that were read."""
    threshold: float
    """The share of the largest f' below which an output is saturated: where tanh has |h| > 0.9."""
    layers: tuple[LayerSaturation, ...]


def measure_saturation(trace: Trace) -> Saturation:
    """Measure how the outputs of each layer are spread over a text.

    Args:
        trace: One text, read; T >= 1.

    Raises:
        CharlmError: an output is not finite, as the activations relu and linear can make it.

    """
    if not all(np.isfinite(output).all() for output in trace.outputs):
        raise CharlmError("the outputs of the network are not finite on this text")
    limit = SATURATED_BELOW * LARGEST_SLOPES.get(trace.parameters.activation, 1.0)
    pairs = zip(trace.outputs, trace.slopes, strict=True)
    layers = (_measure(layer, output[:, 0], slope[:, 0] < limit) for layer, (output, slope) in enumerate(pairs))
    return Saturation(range(len(trace.ids)), SATURATED_BELOW, tuple(layers))


def _measure(layer: int, outputs: Floats, is_saturated: NDArray[np.bool_]) -> LayerSaturation:
    share, error = mean_and_error(is_saturated.mean(1), np.arange(len(is_saturated)))
    return LayerSaturation(
        layer=layer,
        units=outputs.shape[1],
        saturated_share=share,
        standard_error=error,
        always_saturated_units=int(is_saturated.all(0).sum()),
        participation_ratio=participation_ratio(outputs),
    )


def participation_ratio(states: Floats) -> float:
    """Return how many dimensions states [T, H] fill, from 1 to H: trace(C)^2 / |C|_F^2 of their covariance C.

    0 if the states do not vary (Gao et al. 2017, "A theory of multineuronal dimensionality").
    """
    centred = states - states.mean(0, dtype=np.float64)
    small = centred if len(centred) < centred.shape[1] else centred.T  # both products have the same eigenvalues
    covariance = small @ small.T
    square = float((covariance**2).sum())
    return float(np.trace(covariance)) ** 2 / square if square > 0 else 0.0


def saturation_rows(saturation: Saturation, _: object) -> Rows:
    """Return a row for each layer."""
    return [
        (
            *(layer_name(each.layer), each.units, (each.saturated_share, each.standard_error)),
            *(each.always_saturated_units, each.participation_ratio),
        )
        for each in saturation.layers
    ]


def saturation_sentence(saturation: Saturation) -> str:
    """Return which layer is saturated most."""
    most = max(saturation.layers, key=lambda layer: layer.saturated_share)
    return f"is saturated at {most.saturated_share:.0%} in {layer_name(most.layer)}"


SATURATION = Section(
    "saturation",
    "Saturation and dimension",
    "share of f'(a) < 0.19 max f'; participation ratio (sum l_i)^2 / sum l_i^2 of the covariance of h",
    "A saturated output passes hardly any gradient, since f' is near 0 there; "
    "the participation ratio says how many directions the states fill.",
    lambda reading: measure_saturation(reading.trace),
    table=Table(
        "By layer",
        ("layer", "units", "share of saturated outputs", "units always saturated", "participation ratio"),
        saturation_rows,
        is_folded=False,
    ),
    sentence=saturation_sentence,
)
