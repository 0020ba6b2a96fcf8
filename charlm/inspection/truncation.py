"""The bias of truncated backpropagation: the gradient by window length against that of the whole text.

The state is carried from window to window, as in training; only the gradient stops at the border of a window.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from charlm.inspection.backward import loss_slope, step_back, through_logits
from charlm.inspection.trace import Layers, Trace, Values, zeros

Gradients = dict[str, Values]
Floats = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class TruncationBias:
    """The gradient of the mean loss with windows of some lengths, beside the gradient over the whole text."""

    window: NDArray[np.int64]
    """The lengths in characters, rising; the last one is the whole text: int64 [n]."""
    angle_degrees: Floats
    """The angle between the truncated and the full gradient of all weights, float64 [n]; 0 for the last."""
    length_ratio: Floats
    """|truncated| / |full|, float64 [n]; 1 for the last."""
    recurrent_angle_degrees: Floats
    """The same angle for the recurrent kernel V of each layer alone, float64 [layers, n]."""
    recurrent_length_ratio: Floats
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
    recurrent = [f"recurrent.{layer}" for layer in range(len(trace.outputs))]
    groups = [[*full], *([name] for name in recurrent)]
    compared = [_compare(weight_gradients(trace, window=window), full, groups) for window in windows[:-1]]
    compared.append(_compare(full, full, groups))
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
    weights, steps = trace.weights, len(trace.ids) - 1
    slopes = loss_slope(trace.logits[:-1], trace.ids[1:]) / (steps * trace.ids.shape[1])
    sums = _output_gradients(trace, slopes)
    carried = zeros(weights, trace.ids.shape[1])
    for end in range(steps, 0, -chunk):
        start = max(0, end - chunk)
        changes: list[Layers] = []
        for time in reversed(range(start, end)):
            direct = through_logits(weights, slopes[time])
            arriving = tuple(a + b for a, b in zip(direct, carried, strict=True))
            _, change = step_back(weights, arriving, tuple(gain[time] for gain in trace.slopes))
            changes.append(change)
            goes_on = time % window > 0
            carried = tuple(goes_on * (d @ kernel.T) for d, kernel in zip(change, weights.recurrent, strict=True))
        stacked = [np.stack(layer) for layer in zip(*reversed(changes), strict=True)]  # [chunk, B, H] each
        _add_layer_gradients(sums, trace, stacked, start=start)
    return sums


def _output_gradients(trace: Trace, slopes: Values) -> Gradients:
    """Return the gradients of the logits' kernel and bias from dL/dlogits [T - 1, B, V]; no window truncates them."""
    rows = slopes.reshape(-1, slopes.shape[-1])
    found = {
        f"output.{layer}": output[:-1].reshape(len(rows), -1).T @ rows
        for layer, (output, kernel) in enumerate(zip(trace.outputs, trace.weights.outputs, strict=True))
        if len(kernel)
    }
    return found | {"logits.bias": rows.sum(0)}


def _add_layer_gradients(sums: Gradients, trace: Trace, changes: Sequence[Values], *, start: int) -> None:
    """Add the gradients of the layers' weights from dL/da of each layer at the steps from `start` on, [t, B, H]."""
    weights, end = trace.weights, start + len(changes[0])
    ids = _one_hot(trace.ids[start:end].ravel(), len(weights.bias), weights.bias.dtype)  # [t B, V]
    for layer, change in enumerate(changes):
        rows = change.reshape(len(ids), -1)
        outputs = trace.outputs[layer]
        first = trace.before[layer] if start == 0 else outputs[start - 1]
        previous = np.concatenate([first[None], outputs[start : end - 1]]).reshape(len(ids), -1)
        _add(sums, f"recurrent.{layer}", previous.T @ rows)
        if weights.has_bias:
            _add(sums, f"bias.{layer}", rows.sum(0))
        if layer:
            _add(sums, f"below.{layer}", trace.outputs[layer - 1][start:end].reshape(len(ids), -1).T @ rows)
        if len(weights.inputs[layer]):
            by_character = ids.T @ rows  # [V, H]
            if weights.embedding is None:
                _add(sums, f"input.{layer}", by_character)
            else:
                _add(sums, f"input.{layer}", weights.embedding.T @ by_character)
                _add(sums, "embedding", by_character @ weights.inputs[layer].T)


def _one_hot(ids: NDArray[np.int64], size: int, dtype: np.dtype[Any]) -> Values:
    found = np.zeros((len(ids), size), dtype)
    found[np.arange(len(ids)), ids] = 1
    return found


def _add(sums: Gradients, name: str, gradient: Values) -> None:
    sums[name] = sums[name] + gradient if name in sums else gradient


def _compare(found: Gradients, full: Gradients, groups: Sequence[Sequence[str]]) -> list[tuple[float, float]]:
    """Return the cosine of the angle and the ratio of the lengths, for each group of tensors."""
    return [_cosine_and_ratio([found[name] for name in names], [full[name] for name in names]) for names in groups]


def _cosine_and_ratio(found: Sequence[Values], full: Sequence[Values]) -> tuple[float, float]:
    length, full_length = (np.sqrt(sum(_product(each, each) for each in tensors)) for tensors in (found, full))
    if not length or not full_length:
        return np.nan, np.nan
    along = sum(_product(a, b) for a, b in zip(found, full, strict=True))
    return float(along / (length * full_length)), float(length / full_length)


def _product(a: Values, b: Values) -> float:
    return float(np.sum(a * b, dtype=np.float64))
