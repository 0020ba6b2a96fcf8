"""Derivatives of the network in NumPy: gradients back in time, growth forwards, the radius of V.

    a_t = x_t U + h_{t-1} V + b,  h_t = f(a_t),  D_t = diag f'(a_t)
    g_t = dL/dh_t,  d_t = dL/da_t = g_t D_t,  from t to t - 1 in one layer: g_{t-1} = d_t V^T
    (Werbos 1990)

These functions measure a network; `charlm.engines` trains with automatic differentiation. Results
have the dtype of the weights, float32 or float64 (`Parameters.cast`). Axes: T time, B texts, P rows
(predictions or texts), K lags, L layers, V vocabulary, E embedding, H units.
"""

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from charlm.core.rnn import (
    ACTIVATIONS,
    Floats,
    Integers,
    Parameters,
    State,
    Values,
    ignore_overflow,
    probabilities,
    read_outputs,
)
from charlm.core.vocabulary import Ids

SATURATED_BELOW = 0.19
"""Share of the largest f'(a) below which a unit is saturated; for tanh, |h| > 0.9."""

WINDOWS, WARM_UP, LAGS = 16, 32, 48
"""Number of windows, and their length, WARM_UP + LAGS characters. The warm-up lets a network forget
its zero state."""
STRIDE = 6
"""Number of characters between two states that are counted in the histogram."""
REACHED = 0.1
"""Smallest size that counts when asking how far a gradient or a difference lasts, as a share of its
size at lag 0."""
SQUARINGS = 8
"""Number of squarings of a matrix for its spectral radius; each squaring halves the error."""


def slope(activation: str, h: Floats) -> Floats:
    """Return f'(a) from h = f(a), in the shape and dtype of h."""
    return np.asarray(ACTIVATIONS[activation].derivative(h), h.dtype)


@dataclass(frozen=True, eq=False)
class Trace:
    """The inputs and outputs of a network that read B texts of T characters side by side."""

    parameters: Parameters
    ids: Integers
    """The characters, int64 [T, B]."""
    before: State
    """The state before the first character, [B, H] for each layer."""
    outputs: State
    """h_t of each layer, [T, B, H]."""

    @cached_property
    def slopes(self) -> State:
        """f'(a_t) of each layer, [T, B, H]."""
        with ignore_overflow():
            return tuple(slope(self.parameters.activation, output) for output in self.outputs)


def read_trace(parameters: Parameters, ids: Ids) -> Trace:
    """Read texts side by side from the zero state, and keep the outputs.

    Args:
        parameters: The weights.
        ids: Integers [T, B], or [T] for a single text.

    Returns:
        The trace; it contains values that are not finite if the network overflows.

    """
    columns = np.asarray(ids, np.int64).reshape(len(ids), -1)
    before = parameters.zero_state(columns.shape[1])
    with ignore_overflow():
        outputs = read_outputs(parameters, columns, before)
    return Trace(parameters, columns, before, outputs)


def follow_back(
    trace: Trace, steps: Integers, *, lags: int, texts: Integers | int = 0
) -> Iterator[tuple[State, State]]:
    """Follow the gradients of the losses of single predictions back in time, side by side.

    Args:
        trace: The texts; the loss of a prediction is the loss of the next character.
        steps: The steps t of the predictions, int64 [P], 0 to T - 2. Gradients at steps before the
            text are zero.
        lags: Number of steps to yield, including t itself.
        texts: The text of each prediction, int64 [P].

    Yields:
        For k = 0, 1, ..., lags - 1: dL_t/dh_{t-k} and dL_t/da_{t-k} of each layer, [P, H].

    """
    layers = trace.parameters.layers
    logits = trace.parameters.logits([output[steps, texts] for output in trace.outputs])
    # dL/dlogits of L = -log softmax(logits)[target] is softmax(logits), minus 1 at the target.
    by_logits = probabilities(logits)
    by_logits[np.arange(len(steps)), trace.ids[steps + 1, texts]] -= 1
    zeros = np.zeros((len(steps), layers[0].units), by_logits.dtype)
    # The gradients that reach h of each layer from the logits and from later characters, [P, H].
    arriving = [
        by_logits @ layer.to_logits.T if len(layer.to_logits) else zeros for layer in layers
    ]
    for lag in range(lags):
        now = np.maximum(steps - lag, 0)
        is_inside = (steps >= lag)[:, None]
        gradients = list(arriving)
        changes = list(arriving)
        for index in reversed(range(len(layers))):
            gradient = arriving[index]
            if index + 1 < len(layers):
                gradient = gradient + changes[index + 1] @ layers[index + 1].from_below.T
            gradients[index] = np.where(is_inside, gradient, 0)
            changes[index] = gradients[index] * trace.slopes[index][now, texts]
        yield tuple(gradients), tuple(changes)
        pairs = zip(changes, layers, strict=True)
        arriving = [change @ layer.recurrent_kernel.T for change, layer in pairs]


def through_inputs(parameters: Parameters, changes: State) -> Floats:
    """Return dL/dx, [P, V or E], from dL/da of each layer, [P, H]; x is the input of the layers."""
    pairs = zip(changes, parameters.layers, strict=True)
    first, *others = [
        change @ layer.from_input.T for change, layer in pairs if len(layer.from_input)
    ]
    return np.asarray(sum(others, first))


def push_forward(parameters: Parameters, differences: Floats, slopes: State) -> Floats:
    """Multiply differences of the state before a step by the Jacobian of the step.

        d_l <- (d_l V_l + d_{l-1} U_l) D_l,  from the lowest layer l up

    Args:
        parameters: The weights.
        differences: Small differences of the state, lowest layer first, [n, sum of H].
        slopes: f'(a_t) of each layer at the step, [n, H] or [1, H].

    Returns:
        The differences after the step, [n, sum of H].

    """
    parts = parameters.split(differences)
    after: list[Floats] = []
    for part, layer, gain in zip(parts, parameters.layers, slopes, strict=True):
        total = part @ layer.recurrent_kernel
        if after:
            total += after[-1] @ layer.from_below
        after.append(total * gain)
    return np.concatenate(after, axis=1)


def log_growth(
    trace: Trace, steps: Iterable[int], *, count: int, layer: int | None = None
) -> Values:
    """Follow small differences of the state through a text, and measure how they grow.

        Q_t R_t = (V D_t)^T Q_{t-1}        (Benettin et al. 1980)

    The mean of ln |R_ii| is a Lyapunov exponent. The differences are the columns of Q.

    Args:
        trace: The trace of one text, with weights in float64.
        steps: The steps t, in this order.
        count: Maximum number of differences n, which begin in directions that are random, but
            always the same.
        layer: A layer on its own; None = the whole state.

    Returns:
        ln |R_ii| at each step, float64 [steps, n]; minus infinity for lengths that are only
        rounding.

    """
    parameters = trace.parameters
    units = parameters.state_size if layer is None else parameters.layers[layer].units
    random = np.random.default_rng(0).standard_normal((units, min(count, units)))
    basis = np.linalg.qr(random)[0]
    logs = []
    for step in steps:
        if layer is None:
            slopes = tuple(slope[step] for slope in trace.slopes)
            pushed = push_forward(parameters, basis.T, slopes)
        else:
            pushed = basis.T @ parameters.layers[layer].recurrent_kernel * trace.slopes[layer][step]
        basis, r = np.linalg.qr(pushed.T)
        lengths = np.abs(np.diagonal(r))
        rounding = 64 * np.finfo(np.float64).eps * lengths.max()
        with np.errstate(divide="ignore"):
            logs.append(np.log(np.where(lengths < rounding, 0, lengths)))
    return np.array(logs)


@dataclass(frozen=True, eq=False)
class LagCurve:
    """The relative gradient in one layer k characters before t: |dL_t/dh_{t-k}| / |dL_t/dh_t|."""

    layer: int
    """Index of the layer, from 0, lowest first."""
    lag: Integers
    """k = 0, 1, ..., int64 [K]."""
    median: Values
    """Median over the predictions, float64 [K], 1 at lag 0; NaN if no prediction has a gradient."""
    low: Values
    """10th percentile, float64 [K]; NaN where the median is NaN."""
    high: Values
    """90th percentile, float64 [K]; NaN where the median is NaN."""


def gradient_norms(
    trace: Trace, steps: Integers, *, lags: int, texts: Integers | int = 0
) -> Values:
    """Return |dL_t/dh_{t-k}|, float64 [L, K, P]; see `follow_back` for the arguments."""
    norms: list[list[Floats]] = []
    for gradients, _ in follow_back(trace, steps, lags=lags, texts=texts):
        norms.append([np.linalg.norm(gradient, axis=-1) for gradient in gradients])
    return np.array(norms, np.float64).swapaxes(0, 1)


def lag_curve(layer: int, norms: Values) -> LagCurve:
    """Return the curve of a layer over predictions, whose gradients have the norms [K, P].

    Predictions whose gradient at t is zero are left out.
    """
    lags = len(norms)
    known = norms[:, norms[0] > 0]
    low, median, high = np.full((3, lags), np.nan)
    if known.size:
        low, median, high = np.percentile(known / known[0], [10, 50, 90], axis=1)
    return LagCurve(layer, np.arange(lags), median, low, high)


def spectral_radius(matrix: Floats) -> float:
    """Estimate the largest absolute eigenvalue by repeated squaring.

        rho = lim |M^k|^(1/k)   (Gelfand 1941), here (|M^(2n)| / |M^n|)^(1/n), n = 2^(SQUARINGS - 1)

    This is many times faster than computing all eigenvalues. The ratio cancels the constant factor
    of |M^k|, so the result is exact for an orthogonal matrix. Each square is scaled to a Frobenius
    norm of 1 to avoid overflow.

    Args:
        matrix: float32 [H, H].

    Returns:
        The radius, 0 or more; NaN if a value of the matrix is not finite.

    """
    power = matrix
    log_norm = 0.0
    growth = 0.0
    for squaring in range(SQUARINGS + 1):
        if squaring:
            power = power @ power
        norm = float(np.linalg.norm(power))
        if norm == 0:  # all eigenvalues are 0, or below the range of float32
            return 0.0
        if not math.isfinite(norm):
            return math.nan
        power = power / np.float32(norm)
        before = log_norm
        log_norm = 2 * before + math.log(norm)
        growth = (log_norm - before) / 2 ** (squaring - 1)
    return math.exp(growth)


@dataclass(frozen=True, eq=False)
class LayerProbe:
    """The activity of one layer."""

    states: Floats
    """Sample of the outputs h, float32 of any shape."""
    saturated_share: float
    """Share of units and positions whose activation has a slope below 0.19 of the largest slope."""
    gradient: LagCurve


def choose_windows(ids: Ids) -> Ids:
    """Return evenly spaced windows of a text of 2 or more ids, integers [T + 1, B]."""
    length = min(WARM_UP + LAGS, len(ids) - 1)
    windows = sliding_window_view(ids, length + 1)
    starts = np.unique(np.linspace(0, len(windows) - 1, WINDOWS).astype(np.int64))
    return np.asarray(windows[starts].T, np.int64)


def probe(parameters: Parameters, windows: Ids) -> list[LayerProbe]:
    """Read windows with a network, and follow the gradient of each last prediction back in time.

    Args:
        parameters: The weights.
        windows: Ids from `choose_windows`, integers [T + 1, B].

    Returns:
        A probe of each layer, lowest first.

    """
    end = len(windows) - 1
    lags = min(LAGS, end)
    texts = np.arange(windows.shape[1])
    limit = SATURATED_BELOW * ACTIVATIONS[parameters.activation].largest_slope
    probes = []
    with np.errstate(all="ignore"):  # weights that are not finite give NaN
        trace = read_trace(parameters, windows)
        norms = gradient_norms(trace, np.full(len(texts), end - 1), lags=lags, texts=texts)
        for layer, (output, slope) in enumerate(zip(trace.outputs, trace.slopes, strict=True)):
            saturated_share = float((slope[end - lags : end] < limit).mean())
            states = output[end - lags : end : STRIDE]
            probes.append(LayerProbe(states, saturated_share, lag_curve(layer, norms[layer])))
    return probes


def reach(curve: Values) -> int:
    """Return the last lag of a curve [K] with at least REACHED; 0 if there is none."""
    return int(np.flatnonzero(curve >= REACHED).max(initial=0))
