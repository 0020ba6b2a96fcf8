"""Logits -> ids for rows that each have settings of their own; `charlm.sampling.sampler` has one setting for all.

A row gets what `sampler.choose` gives it alone. A row whose logits are not finite has no id, and does not disturb the
others.

Axes: B rows, V vocabulary.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from charlm.network.rnn import Floats
from charlm.sampling.sampler import Sampler, inverse_temperature

NO_ID = -1
"""Takes the place of an id in a row whose logits are not finite."""


@dataclass(frozen=True)
class RowSettings:
    """The settings of the choice in each row; the arrays are changed in place when a row gets other settings."""

    scales: Floats
    """1 / temperature, float32 [B, 1]; 1 where `is_greedy`."""
    is_greedy: NDArray[np.bool_]
    """Whether the temperature is 0, bool [B]."""
    top_k: NDArray[np.int64]
    """[B, 1]; at least V = no filter."""
    top_p: NDArray[np.float64]
    """[B, 1]; 1 = no filter."""
    min_p: Floats
    """float32 [B, 1]; 0 = no filter."""

    def set(self, row: int, sampler: Sampler) -> None:
        """Give a row the settings of a Sampler."""
        self.is_greedy[row] = sampler.temperature == 0
        self.scales[row] = inverse_temperature(sampler.temperature or 1.0)
        self.top_k[row] = np.iinfo(np.int64).max if sampler.top_k is None else sampler.top_k
        self.top_p[row] = 1 if sampler.top_p is None else sampler.top_p
        self.min_p[row] = sampler.min_p or 0

    def has_filter(self, rows: int) -> bool:
        """Return whether one of the first rows has a filter."""
        largest = np.iinfo(np.int64).max
        return bool(
            (self.top_k[:rows] < largest).any() or (self.top_p[:rows] < 1).any() or (self.min_p[:rows] > 0).any()
        )

    def move(self, source: int, target: int) -> None:
        """Give a row the settings of another."""
        for values in (self.scales, self.is_greedy, self.top_k, self.top_p, self.min_p):
            values[target] = values[source]


def row_settings(rows: int) -> RowSettings:
    """Return settings for a number of rows: temperature 1, no filters."""
    return RowSettings(
        scales=np.ones((rows, 1), np.float32),
        is_greedy=np.zeros(rows, np.bool_),
        top_k=np.full((rows, 1), np.iinfo(np.int64).max),
        top_p=np.ones((rows, 1)),
        min_p=np.zeros((rows, 1), np.float32),
    )


def choose_rows(
    logits: Floats, settings: RowSettings, uniform: NDArray[np.float64], *, is_filtered: bool | None = None
) -> NDArray[np.int64]:
    """Choose an id for each row by inverting the cumulative distribution, as `sampler.choose` does.

    Args:
        logits: float32 [b, V], b at most B: the first b rows.
        settings: For B rows.
        uniform: Random numbers, float64 [b] in [0, 1).
        is_filtered: Whether one of the rows has a filter; None = look, which takes time in a loop.

    Returns:
        The ids, int64 [b]; NO_ID in a row whose largest logit is not finite.

    """
    rows = len(logits)
    with np.errstate(over="ignore", invalid="ignore"):
        weights: Floats = logits - logits.max(-1, keepdims=True)
        weights *= settings.scales[:rows]
        np.exp(weights, out=weights)
        if settings.has_filter(rows) if is_filtered is None else is_filtered:
            weights *= _kept(weights, settings, rows)
        up_to = np.add.accumulate(weights, -1, np.float64)
        chosen = (up_to > uniform[:, None] * up_to[:, -1:]).argmax(-1)
    if settings.is_greedy[:rows].any():
        chosen = np.where(settings.is_greedy[:rows], logits.argmax(-1), chosen)
    is_finite = up_to[:, -1] >= 1  # the largest weight is 1, or NaN
    return np.asarray(chosen if is_finite.all() else np.where(is_finite, chosen, NO_ID), np.int64)


def _kept(weights: Floats, settings: RowSettings, rows: int) -> NDArray[np.bool_]:
    """Return which ids the filters of each row keep, bool [b, V]."""
    kept = weights >= settings.min_p[:rows]
    order = np.argsort(-weights, axis=-1, kind="stable")
    ranked = np.take_along_axis(weights, order, -1)
    up_to = ranked.cumsum(-1, np.float64)
    top_p = settings.top_p[:rows]
    is_leading = (up_to - ranked < top_p * up_to[:, -1:]) | (top_p >= 1)
    is_leading &= np.arange(weights.shape[1]) < settings.top_k[:rows]
    leading = np.empty_like(kept)
    np.put_along_axis(leading, order, is_leading, -1)
    return np.asarray(kept & leading)
