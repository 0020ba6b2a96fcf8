"""How closely outputs follow a feature, by ranks: within groups of positions, and against what chance gives.

For a yes/no feature the association is 2 AUC - 1, AUC the probability that an output is higher at a position with the
feature than at one without (Mann and Whitney 1947); pairs are compared only within a group (van Elteren 1960):

    2 AUC - 1 = sum of R over the positions with the feature / (sum over groups of with * without / 2)

R is the rank of the output in its group, less the mean rank. For a number it is the correlation of R with the ranks of
the feature, made in the same way. Ties share their mean rank, and their pairs count as half.

Axes: N outputs, T positions, K variants of a feature.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from charlm.inspection.features import Kind

Ranks = NDArray[np.float32]
Values = NDArray[np.floating[Any]]

ROWS_AT_ONCE = 256
MIN_COUNT = 20
"""Features that occur less often are not scored, and characters that do get no random label of their own: by chance,
some unit tells a few positions from all others."""


@dataclass(frozen=True, eq=False)
class Ranked:
    """The ranks of some outputs within groups of positions."""

    ranks: Ranks
    """R, [N, T]."""
    norms: NDArray[np.float64]
    """|R| of each output, [N]."""
    groups: NDArray[np.int64]
    """The group of each position, [T], 0 to G - 1."""


def rank_outputs(outputs: Values, groups: NDArray[Any]) -> Ranked:
    """Rank outputs within groups.

    Args:
        outputs: Any finite numbers, [N, T].
        groups: The group of each position, integers [T], 0 or more.

    """
    ranks = centred_ranks(outputs, groups)
    norms = np.sqrt(np.einsum("nt,nt->n", ranks, ranks, dtype=np.float64))
    return Ranked(ranks, norms, np.asarray(groups, np.int64))


def centred_ranks(values: Values, groups: NDArray[Any]) -> Ranks:
    """Return the rank of each value among those of its row and group, less the mean rank; ties share a rank.

    Args:
        values: Any finite numbers, [N, T].
        groups: Integers [T].

    """
    ranks = np.empty(values.shape, np.float32)
    order = np.argsort(groups, kind="stable")
    borders = np.flatnonzero(np.diff(groups[order])) + 1
    for members in np.split(order, borders):
        for start in range(0, len(values), ROWS_AT_ONCE):
            rows = slice(start, start + ROWS_AT_ONCE)
            ranks[rows, members] = _middle_ranks(values[rows, members]) - np.float32((len(members) - 1) / 2)
    return ranks


def _middle_ranks(values: Values) -> Ranks:
    """Return the ranks from 0 in each row of [N, T]; equal values get the mean of their ranks."""
    count = values.shape[1]
    order = np.argsort(values, axis=1)
    ascending = np.take_along_axis(values, order, 1)
    is_first = np.ones(values.shape, bool)
    np.not_equal(ascending[:, 1:], ascending[:, :-1], out=is_first[:, 1:])
    is_last = np.ones(values.shape, bool)
    is_last[:, :-1] = is_first[:, 1:]
    index = np.arange(count, dtype=np.int32)
    first = np.maximum.accumulate(np.where(is_first, index, 0), axis=1)
    last = np.minimum.accumulate(np.where(is_last, index, count)[:, ::-1], axis=1)[:, ::-1]
    ranks = np.empty(values.shape, np.float32)
    np.put_along_axis(ranks, order, ((first + last) * np.float32(0.5)).astype(np.float32), 1)
    return ranks


def associate(ranked: Ranked, features: NDArray[np.float64], kind: Kind) -> NDArray[np.float64]:
    """Compute the association of every output with every variant of a feature.

    Args:
        ranked: The ranks of N outputs.
        features: [K, T]; 0 or 1 if the kind is yes/no.
        kind: Of the feature.

    Returns:
        [N, K], from -1 to 1; 0 if the feature or the output does not vary within any group.

    """
    if kind == "yes/no":
        sums = ranked.ranks @ features.T.astype(np.float32)
        scales = np.broadcast_to(_pairs(features, ranked.groups) / 2, sums.shape)
    else:
        ranks = centred_ranks(features, ranked.groups)
        sums = ranked.ranks @ ranks.T
        scales = ranked.norms[:, None] * np.sqrt(np.einsum("kt,kt->k", ranks, ranks, dtype=np.float64))
    found = np.divide(sums, scales, out=np.zeros(sums.shape, np.float64), where=scales > 0)
    return np.clip(found, -1, 1)


def _pairs(features: NDArray[np.float64], groups: NDArray[np.int64]) -> NDArray[np.float64]:
    """Return the number of pairs, with and without the feature, within groups, [K]."""
    sizes = np.bincount(groups)
    having = np.array([np.bincount(groups, weights=feature, minlength=len(sizes)) for feature in features])
    return np.asarray((having * (sizes - having)).sum(1))


def shift_feature(values: NDArray[np.float64], *, count: int, rng: np.random.Generator) -> NDArray[np.float64]:
    """Return a feature moved round the text by random distances, [count, T], none of them close to 0."""
    size = len(values)
    nearest = max(1, size // 20)
    shifts = rng.integers(nearest, max(nearest + 1, size - nearest), count)
    return np.asarray(values[(np.arange(size) + shifts[:, None]) % size])


def label_characters(
    values: NDArray[np.float64], ids: NDArray[Any], *, count: int, rng: np.random.Generator
) -> NDArray[np.float64]:
    """Return random features of the character alone, with values drawn from those of a feature, [count, T].

    This is the control task of Hewitt and Liang 2019. Characters that occur less than MIN_COUNT times have a common
    value.
    """
    counts = np.bincount(ids)
    labels = rng.choice(values, (count, len(counts)))
    labels[:, counts < MIN_COUNT] = np.median(values)
    return np.asarray(labels[:, ids])


def chance_level(ranked: Ranked, features: NDArray[np.float64], kind: Kind) -> float:
    """Return the 99th percentile, over K variants of a feature, of the association of the best output."""
    return float(np.percentile(np.abs(associate(ranked, features, kind)).max(0), 99))
