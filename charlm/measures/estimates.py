"""Numbers with their standard errors, which are estimated from blocks of a text."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from charlm.core.rnn import Floats, Values
from charlm.core.scoring import ERROR_BLOCK, MIN_BLOCKS, Score
from charlm.errors import CharlmError

MAX_CORRELATION = 0.8
"""Upper limit of the estimated correlation of neighbouring blocks in a standard error."""


@dataclass(frozen=True)
class Estimate:
    """A number and its standard error."""

    value: float | None
    """The number; None if it is unknown."""
    error: float | None = None
    """Standard error: over texts for a single run, over runs for several; None if unknown."""

    @classmethod
    def of(cls, value: float, error: float) -> "Estimate":
        """Return an estimate from numbers that are NaN if unknown."""
        known = [None if math.isnan(number) else float(number) for number in (value, error)]
        return cls(*known)


UNKNOWN = Estimate(None)


@dataclass(frozen=True)
class Measured:
    """The characters that were measured. Numbers on other characters cannot be compared."""

    text: str = field(compare=False)
    """Name of the text, for the user."""
    sha256: str
    """SHA-256 of the text."""
    part: tuple[int, int]
    """Start and end of the measured part of the text."""


def loss_of(score: Score) -> Estimate:
    """Return the mean loss in nats; its error is unknown for fewer than 2,400 characters."""
    return Estimate(score.nats_per_char, standard_error(np.array(score.block_means)))


def difference(score: Score, other: Score) -> Estimate:
    """Return how much higher a score is than another score of the same text, in nats.

    The same passages are hard for both models, so the error is smaller than the errors of the two
    scores suggest. It is unknown for fewer than 2,400 characters, or without means of blocks.

    Raises:
        CharlmError: The scores are of different numbers of characters.

    """
    if score.characters != other.characters:
        raise CharlmError("scores of different texts cannot be compared")
    nats = score.nats_per_char - other.nats_per_char
    if len(score.block_means) != len(other.block_means):
        return Estimate(nats)
    return Estimate(nats, standard_error(np.subtract(score.block_means, other.block_means)))


def over_runs(estimates: Sequence[Estimate]) -> Estimate:
    """Return the mean of one or more runs with its standard error over the runs."""
    if len(estimates) == 1:
        return Estimate(estimates[0].value)
    values = np.array([each.value for each in estimates], np.float64)  # None becomes NaN
    with np.errstate(invalid="ignore"):  # the error of an infinite mean is unknown
        return Estimate.of(values.mean(), values.std(ddof=1) / math.sqrt(len(values)))


def as_arrays(estimates: Iterable[Estimate]) -> tuple[Values, Values]:
    """Return the values and the errors of n estimates, float64 [n]; NaN if unknown."""
    pairs = [(each.value, each.error) for each in estimates]
    values, errors = np.array(pairs, np.float64).reshape(-1, 2).T
    return values, errors


def mean_at(values: Floats, positions: NDArray[Any], *, block: int = ERROR_BLOCK) -> Estimate:
    """Return the mean of values at some characters of a text.

    The blocks of the text contain different numbers of these characters, so this is the error of a
    ratio of sums (Cochran 1977, "Sampling techniques").

    Args:
        values: [n], n >= 1.
        positions: Positions of the values in the text, integers [n].
        block: Number of characters in a block.

    Returns:
        The mean. Its error is unknown if the mean is not finite, or the characters are in fewer
        than MIN_BLOCKS blocks.

    """
    mean = float(np.mean(values, dtype=np.float64))
    if not math.isfinite(mean):
        return Estimate(mean)
    _, blocks = np.unique(positions // block, return_inverse=True)
    error = error_of_sum(np.bincount(blocks, weights=values - mean).astype(np.float64, copy=False))
    return Estimate(mean, None if error is None else error / len(values))


def standard_error(means: Values) -> float | None:
    """Return the standard error of a mean from the means of blocks, [k]; see `error_of_sum`."""
    error = error_of_sum(means - means.mean()) if len(means) else None
    return None if error is None else error / len(means)


def error_of_sum(deviations: Values) -> float | None:
    """Return the standard error of a sum over a text, for other texts of the same kind.

    Neighbouring blocks are modelled as an autoregressive process of order 1: with the correlation r
    of neighbours, the variance is (1 + r) / (1 - r) times the variance of independent blocks.

    Args:
        deviations: The sum over each block minus its share of the total, in text order, [k]; their
            sum is 0.

    Returns:
        The error; None for fewer than MIN_BLOCKS blocks.

    """
    count = len(deviations)
    if count < MIN_BLOCKS:
        return None
    total = float(deviations @ deviations)
    if not total:
        return 0.0
    correlation = float(deviations[1:] @ deviations[:-1]) / total
    correlation = min(max(correlation, 0.0), MAX_CORRELATION)
    inflation = (1 + correlation) / (1 - correlation)
    return math.sqrt(inflation * count / (count - 1) * total)


def student(errors: float, *, freedom: float) -> float:
    """Return the number of estimated standard errors that is as improbable as `errors` known ones.

    A standard error from few numbers is itself uncertain: two of them cover 95% of many means from
    many numbers, but 2.4 are needed for 8 numbers. The substitution t = sqrt(f) tan(a) turns the
    density of Student's t distribution with f degrees of freedom into cos(a)^(f - 1).

    Args:
        errors: A quantile of the normal distribution, 0 to 3.
        freedom: Degrees of freedom f, 1 or more.

    """
    angles = np.linspace(0, np.pi / 2, 100_001)
    density = np.cos(angles) ** (freedom - 1)
    within = np.cumsum(density) - (density + density[0]) / 2
    angle = np.interp(math.erf(errors / math.sqrt(2)), within / within[-1], angles)
    return math.sqrt(freedom) * math.tan(angle)


def is_clear(difference: Estimate, *, characters: int) -> bool:
    """Return whether a difference of two losses on the same text is more than chance.

    It is beyond chance (99.7%), and is not 0.0000 when rounded. For many characters, it is then
    more than three standard errors.

    Args:
        difference: The difference, in nats.
        characters: Number of characters that were scored.

    """
    if difference.value is None or difference.error is None:
        return False
    errors = student(3, freedom=characters // ERROR_BLOCK - 1)
    return abs(difference.value) > max(errors * difference.error, 5e-5)


@dataclass(frozen=True)
class SeedsDifference:
    """The difference of the mean losses of two groups of runs with different seeds."""

    nats_per_char: float
    """Mean loss of the first group minus the mean loss of the second."""
    standard_error: float | None = None
    """Standard error over the seeds; None if a group has fewer than two runs, or nothing varies."""
    t: float | None = None
    """The difference divided by its error: Welch's statistic."""
    degrees_of_freedom: float | None = None
    is_beyond_chance: bool = False
    """Whether seeds alone cause such a difference in fewer than 5% of cases."""

    def __str__(self) -> str:
        """Return the difference as a sentence about the row of a table."""
        nats = f"{abs(self.nats_per_char):.4f}"
        side = f"nats {'higher' if self.nats_per_char > 0 else 'lower'} than the row above"
        if self.t is None:
            return f"{nats} {side}; too few seeds: not known to be more than chance"
        chance = "more than chance" if self.is_beyond_chance else "may be chance"
        return (
            f"{nats} ± {self.standard_error:.4f} {side}: {chance} (Student's t = "
            f"{abs(self.t):.1f}, {self.degrees_of_freedom:.1f} degrees of freedom, 95%)"
        )


def compare_seeds(losses: Sequence[float], others: Sequence[float]) -> SeedsDifference | None:
    """Compare the losses of two groups of runs by Welch's test (Welch 1947).

    Returns:
        The difference; None if a group is empty.

    """
    groups = (losses, others)
    counts = np.array([*map(len, groups)])
    if not counts.all():
        return None
    nats = float(np.mean(losses) - np.mean(others))
    if counts.min() < 2:
        return SeedsDifference(nats)
    variances = np.array([np.var(group, ddof=1) for group in groups]) / counts
    variance = variances.sum()
    if not variance:
        return SeedsDifference(nats)
    error = math.sqrt(variance)
    freedom = float(variance**2 / (variances**2 / (counts - 1)).sum())
    is_beyond_chance = abs(nats / error) > student(1.96, freedom=freedom)
    return SeedsDifference(nats, error, nats / error, freedom, is_beyond_chance)


def spread_over_seeds(groups: Sequence[Sequence[float]]) -> float | None:
    """Return the standard deviation of the losses of runs that differ only in their seeds.

    Args:
        groups: Losses of the runs of each setting, whose variances are pooled.

    Returns:
        The standard deviation; None if no group has two runs.

    """
    freedom = sum(len(group) - 1 for group in groups if group)
    if not freedom:
        return None
    return math.sqrt(sum(np.var(group) * len(group) for group in groups if group) / freedom)
