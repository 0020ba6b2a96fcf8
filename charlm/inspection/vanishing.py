"""How far back a network can learn: gradients by lag, which vanish or explode, and the bias of cutting them off.

    dh_t / dh_{t-1} = V D_t, D_t = diag f'(a_t)   (rows: v -> v V D_t)

In truncated backpropagation the state is carried from window to window, as in training; only the gradient stops at the
border of a window. Axes: T time, B texts, V vocabulary, E embedding, H units.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from charlm.network.gradients import LagCurve, Trace, lag_curves, loss_slope, step_back, through_logits, through_time
from charlm.network.rnn import Floats, State

Values = NDArray[np.float64]
Gradients = dict[str, Floats]


@dataclass(frozen=True, eq=False)
class GradientByLag:
    """How the gradients of a text's predictions reach each layer at earlier characters."""

    layers: tuple[LagCurve, ...]
    positions: int
    """How many predictions were followed back."""


def gradient_by_lag(trace: Trace, *, positions: int = 200, max_lag: int = 128) -> GradientByLag:
    """Follow the gradients of evenly spaced predictions of a text back, and compare their norms with those at t.

    Args:
        trace: One text, read; T >= 2.
        positions: How many predictions to follow at most, 1 or more. Those that have fewer characters before them than
            the largest lag are left out, half of a short text at most.
        max_lag: The largest k, at most; it is less for a short text.

    """
    last = len(trace.ids) - 2
    first = min(max_lag, last // 2)
    steps = np.unique(np.linspace(first, last, min(positions, last + 1 - first)).astype(np.int64))
    lags = min(max_lag, int(steps.min())) + 1
    return GradientByLag(lag_curves(trace, steps, lags=lags), len(steps))


@dataclass(frozen=True, eq=False)
class TruncationBias:
    """The gradient of the mean loss with windows of some lengths, beside the gradient over the whole text."""

    window: NDArray[np.int64]
    """The lengths in characters, rising; the last one is the whole text: int64 [n]."""
    angle_degrees: Values
    """The angle between the truncated and the full gradient of all weights, float64 [n]; 0 for the last."""
    length_ratio: Values
    """|truncated| / |full|, float64 [n]; 1 for the last."""
    recurrent_angle_degrees: Values
    """The same angle for the recurrent kernel V of each layer alone, float64 [layers, n]."""
    recurrent_length_ratio: Values
    """The same ratio for the recurrent kernel V of each layer alone, float64 [layers, n]."""
    characters: int
    """The length of each text over which the gradient was taken."""
    texts: int
    """How many texts were averaged."""


def truncation_bias(trace: Trace) -> TruncationBias:
    """Compare truncated gradients with the full one, for windows of 1, 2, 4, ... characters up to the whole text.

    Args:
        trace: B texts of T characters, read side by side from any state; T >= 2. The first T - 1 of each are read,
            and the others are predicted.

    Returns:
        The comparison; the angles of a gradient that is zero are NaN.

    """
    steps, texts = trace.ids.shape[0] - 1, trace.ids.shape[1]
    windows = [*(1 << power for power in range((steps - 1).bit_length())), steps]
    full = weight_gradients(trace, window=steps)
    groups = [[*full], *([f"recurrent.{layer}"] for layer in range(len(trace.outputs)))]
    truncated = (full if window == steps else weight_gradients(trace, window=window) for window in windows)
    compared = [[_compare(found, full, names) for names in groups] for found in truncated]
    cosines, ratios = np.array(compared).transpose(2, 1, 0)  # [1 + layers, n] each
    angles = np.degrees(np.arccos(np.clip(cosines, -1, 1)))
    return TruncationBias(np.array(windows), angles[0], ratios[0], angles[1:], ratios[1:], steps, texts)


def weight_gradients(trace: Trace, *, window: int, chunk: int = 64) -> Gradients:
    """Compute the gradient of the mean loss with respect to all weights, stopped at the borders of windows.

    Args:
        trace: B texts of T characters, read side by side; the loss is the mean over B (T - 1) predictions.
        window: W: no gradient flows from step W, 2W, ... to the step before it.
        chunk: For how many steps gradients are held in memory before they are summed.

    Returns:
        The gradients, of the dtype of the trace: `input.i` [V or E, H], `below.i` [H below, H], `recurrent.i` [H, H],
        `bias.i` [H] for each layer i that has them, `output.i` [H, V], `logits.bias` [V], and `embedding` [V, E].

    """
    parameters, steps = trace.parameters, len(trace.ids) - 1
    by_logits = loss_slope(trace.logits[:-1], trace.ids[1:]) / (steps * trace.ids.shape[1])
    sums = _output_gradients(trace, by_logits)
    carried = parameters.zero_state(trace.ids.shape[1])
    for end in range(steps, 0, -chunk):
        start = max(0, end - chunk)
        changes: list[State] = []
        for time in reversed(range(start, end)):
            arriving = tuple(a + b for a, b in zip(through_logits(parameters, by_logits[time]), carried, strict=True))
            _, change = step_back(parameters, arriving, tuple(gain[time] for gain in trace.slopes))
            changes.append(change)
            carried = through_time(parameters, change) if time % window else parameters.zero_state(len(change[0]))
        stacked = [np.stack(layer) for layer in zip(*reversed(changes), strict=True)]  # [chunk, B, H] each
        _add_layer_gradients(sums, trace, stacked, start=start)
    return sums


def _output_gradients(trace: Trace, by_logits: Floats) -> Gradients:
    """Return the gradients of the logits' kernel and bias from dL/dlogits [T - 1, B, V]; no window truncates them."""
    rows = by_logits.reshape(-1, by_logits.shape[-1])
    found = {
        f"output.{layer}": output[:-1].reshape(len(rows), -1).T @ rows
        for layer, (output, kernel) in enumerate(zip(trace.outputs, trace.parameters.logits_kernels, strict=True))
        if len(kernel)
    }
    return found | {"logits.bias": rows.sum(0)}


def _add_layer_gradients(sums: Gradients, trace: Trace, changes: Sequence[Floats], *, start: int) -> None:
    """Add the gradients of the layers' weights from dL/da of each layer at the steps from `start` on, [t, B, H]."""
    parameters, end = trace.parameters, start + len(changes[0])
    characters = trace.ids[start:end].ravel()
    ids = np.zeros((len(characters), parameters.vocabulary_size), changes[0].dtype)  # one-hot, [t B, V]
    ids[np.arange(len(ids)), characters] = 1
    for layer, change in enumerate(changes):
        rows = change.reshape(len(ids), -1)
        outputs, kernel = trace.outputs[layer], parameters.input_kernels[layer]
        first = trace.before[layer] if start == 0 else outputs[start - 1]
        previous = np.concatenate([first[None], outputs[start : end - 1]]).reshape(len(ids), -1)
        _add(sums, f"recurrent.{layer}", previous.T @ rows)
        if parameters.layers[layer].bias is not None:
            _add(sums, f"bias.{layer}", rows.sum(0))
        if layer:
            _add(sums, f"below.{layer}", trace.outputs[layer - 1][start:end].reshape(len(ids), -1).T @ rows)
        if len(kernel):
            by_character = ids.T @ rows  # [V, H]
            if parameters.embedding is None:
                _add(sums, f"input.{layer}", by_character)
            else:
                _add(sums, f"input.{layer}", parameters.embedding.T @ by_character)
                _add(sums, "embedding", by_character @ kernel.T)


def _add(sums: Gradients, name: str, gradient: Floats) -> None:
    sums[name] = sums[name] + gradient if name in sums else gradient


def _compare(found: Gradients, full: Gradients, names: Sequence[str]) -> tuple[float, float]:
    """Return the cosine of the angle between two gradients of some tensors, and the ratio of their lengths."""

    def product(one: Gradients, other: Gradients) -> Any:
        return sum(float(np.sum(one[name] * other[name], dtype=np.float64)) for name in names)

    length, full_length = np.sqrt(product(found, found)), np.sqrt(product(full, full))
    if not length or not full_length:
        return np.nan, np.nan
    return float(product(found, full) / (length * full_length)), float(length / full_length)
