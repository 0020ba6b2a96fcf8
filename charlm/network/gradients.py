"""Derivatives of the network in NumPy: a text read, gradients followed back, and the radius of V.

    a_t = x_t U + h_{t-1} V + b,  h_t = f(a_t),  D_t = diag f'(a_t)
    g_t = dL/dh_t,  d_t = dL/da_t = g_t D_t,  and from t to t - 1 through one layer: g_{t-1} = d_t V^T    (Werbos 1990)

`charlm.engine` trains with automatic differentiation; this is for what a network shows of itself. The dtype is that of
the weights, float32 or float64 (`Parameters.cast`). Axes: T time, B texts, P rows (predictions or texts), K lags, L
layers, V vocabulary, E embedding, H units.
"""

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from charlm.network.rnn import Floats, Parameters, State, advance, probabilities

DERIVATIVES: Mapping[str, Callable[[Floats], Any]] = {
    "tanh": lambda h: 1 - h * h,
    "relu": lambda h: (h > 0) * 1.0,
    "sigmoid": lambda h: h * (1 - h),
    "linear": np.ones_like,
}
"""f'(a) by the name of f, from h = f(a); at a kink the slope of one side."""
LARGEST_SLOPES = {"sigmoid": 1 / 4}
"""The largest f'(a) by the name of f, where it is not 1."""
SATURATED_BELOW = 0.19
"""As a share of the largest f'(a): where tanh has |h| > 0.9, since 1 - 0.9 ** 2 = 0.19."""


def slope(activation: str, h: Floats) -> Floats:
    """Return f'(a) from h = f(a), of the shape and dtype of h; `activation` is a key of DERIVATIVES."""
    return np.asarray(DERIVATIVES[activation](h), h.dtype)


@dataclass(frozen=True, eq=False)
class Trace:
    """What happened while B texts of T characters were read side by side."""

    parameters: Parameters
    ids: NDArray[np.int64]
    """The characters, int64 [T, B]."""
    before: State
    """The state before the first character, [B, H] for each layer."""
    outputs: State
    """h_t of each layer, [T, B, H]."""

    @cached_property
    def slopes(self) -> State:
        """f'(a_t) of each layer, [T, B, H]."""
        with np.errstate(over="ignore", invalid="ignore"):
            return tuple(slope(self.parameters.activation, output) for output in self.outputs)


def read_text(parameters: Parameters, ids: NDArray[Any]) -> Trace:
    """Read texts side by side from the zero state, and keep their outputs.

    Args:
        parameters: The weights; their dtype is that of the result.
        ids: Integers [T, B], or [T] for a single text.

    Returns:
        The trace; values that overflow are not finite in it.

    """
    columns = np.asarray(ids, np.int64).reshape(len(ids), -1)
    before = parameters.zero_state(columns.shape[1])
    outputs = tuple(np.empty((len(columns), *first.shape), first.dtype) for first in before)
    now = before
    with np.errstate(over="ignore", invalid="ignore"):
        for time, characters in enumerate(columns):
            now = advance(parameters, characters, now)
            for kept, output in zip(outputs, now, strict=True):
                kept[time] = output
    return Trace(parameters, columns, before, outputs)


def follow_back(
    trace: Trace, steps: NDArray[np.int64], *, lags: int, texts: NDArray[np.int64] | int = 0
) -> Iterator[tuple[State, State]]:
    """Follow the gradients of the losses of single predictions back, all of them side by side.

    Args:
        trace: Texts, read; the loss is that of their next character.
        steps: The steps t that made the predictions, int64 [P], 0 to T - 2. A gradient at a step before the text is
            zero.
        lags: How many steps to yield, the first being t itself.
        texts: In which text each prediction was made, int64 [P].

    Yields:
        For k = 0, 1, ..., lags - 1: dL_t/dh_{t-k} and dL_t/da_{t-k} of each layer, [P, H].

    """
    parameters = trace.parameters
    logits = parameters.logits([output[steps, texts] for output in trace.outputs])
    by_logits = probabilities(
        logits
    )  # less 1 at the target: dL/dlogits of L = -log softmax(logits)[target], [P, V]
    by_logits[np.arange(len(steps)), trace.ids[steps + 1, texts]] -= 1
    arriving = [  # at h of each layer, from the logits and from later characters: [P, H]
        by_logits @ layer.logits_kernel.T
        if len(layer.logits_kernel)
        else np.zeros((len(steps), layer.units), by_logits.dtype)
        for layer in parameters.layers
    ]
    for lag in range(lags):
        now = np.maximum(steps - lag, 0)
        inside = (steps >= lag)[:, None]
        gradients, changes = list(arriving), list(arriving)
        for layer in reversed(range(len(arriving))):
            if layer + 1 < len(arriving):
                gradients[layer] = (
                    arriving[layer]
                    + changes[layer + 1] @ parameters.layers[layer + 1].below_kernel.T
                )
            gradients[layer] = np.where(inside, gradients[layer], 0)
            changes[layer] = gradients[layer] * trace.slopes[layer][now, texts]
        yield tuple(gradients), tuple(changes)
        arriving = [
            change @ each.recurrent_kernel.T
            for change, each in zip(changes, parameters.layers, strict=True)
        ]


def through_inputs(parameters: Parameters, changes: State) -> Floats:
    """Return dL/dx, [P, V or E], from dL/da of each layer, [P, H]: x is the one-hot character or its embedding."""
    pairs = zip(changes, parameters.layers, strict=True)
    first, *others = [
        change @ layer.input_kernel.T for change, layer in pairs if len(layer.input_kernel)
    ]
    return np.asarray(sum(others, first))


def push_forward(parameters: Parameters, differences: Floats, slopes: State) -> Floats:
    """Multiply differences of the state before a step by the Jacobian of the step, of all layers together.

        d_l <- (d_l V_l + d_{l-1} U_l) D_l,  from the lowest layer l up

    Args:
        parameters: The weights.
        differences: Small differences of the whole state, lowest layer first: [n, sum of H].
        slopes: f'(a_t) of each layer at the step, [n, H] or [1, H].

    Returns:
        The differences after the step, [n, sum of H].

    """
    after: list[Floats] = []
    for part, layer, gain in zip(
        parameters.split(differences), parameters.layers, slopes, strict=True
    ):
        total = part @ layer.recurrent_kernel
        if after:
            total += after[-1] @ layer.below_kernel
        after.append(total * gain)
    return np.concatenate(after, axis=1)


@dataclass(frozen=True, eq=False)
class LagCurve:
    """How the gradient of the loss at t reaches one layer k characters earlier: |dL_t/dh_{t-k}| / |dL_t/dh_t|."""

    layer: int
    """From 0, lowest first."""
    lag: NDArray[np.int64]
    """k = 0, 1, ..., int64 [K]."""
    median: NDArray[np.float64]
    """Over the predictions, float64 [K]; 1 at lag 0. NaN, like the others, if no prediction has a gradient."""
    low: NDArray[np.float64]
    """The 10th percentile, float64 [K]."""
    high: NDArray[np.float64]
    """The 90th percentile, float64 [K]."""


def lag_curves(
    trace: Trace, steps: NDArray[np.int64], *, lags: int, texts: NDArray[np.int64] | int = 0
) -> tuple[LagCurve, ...]:
    """Return the curve of each layer over some predictions; the arguments are those of `follow_back`.

    A prediction whose gradient at t is zero is left out of the layer's percentiles.
    """
    flow = follow_back(trace, steps, lags=lags, texts=texts)
    norms = np.array(
        [[np.linalg.norm(layer, axis=-1) for layer in gradients] for gradients, _ in flow],
        np.float64,
    )
    curves = []
    for layer in range(norms.shape[1]):
        known = norms[:, layer, norms[0, layer] > 0]  # [K, P]
        low, median, high = np.full((3, lags), np.nan)
        if known.size:
            low, median, high = np.percentile(known / known[0], [10, 50, 90], axis=1)
        curves.append(LagCurve(layer, np.arange(lags), median, low, high))
    return tuple(curves)


def spectral_radius(matrix: Floats, *, squarings: int = 8) -> float:
    """Estimate the largest size of an eigenvalue from repeated squares, many times faster than all eigenvalues.

        rho = lim |M^k|^(1/k)   (Gelfand 1941), here (|M^(2n)| / |M^n|)^(1/n) with n = 2^(squarings - 1)

    The ratio leaves out the constant factor of |M^k|, so that it is exact for an orthogonal matrix. Each square is
    scaled to a Frobenius norm of 1, so that nothing overflows.

    Args:
        matrix: float32 [H, H].
        squarings: How often to square, 1 or more; the error falls by half each time.

    Returns:
        The radius, 0 or more; NaN if a value of the matrix is not finite.

    """
    power, log_norm, growth = matrix, 0.0, 0.0
    for squaring in range(squarings + 1):
        power = power @ power if squaring else matrix
        norm = float(np.linalg.norm(power))
        if norm == 0 or not math.isfinite(
            norm
        ):  # all eigenvalues are 0 (or float32 ends here), or NaN
            return 0 * norm
        power, before, log_norm = power / np.float32(norm), log_norm, 2 * log_norm + math.log(norm)
        growth = (log_norm - before) / 2 ** (squaring - 1)
    return math.exp(growth)
