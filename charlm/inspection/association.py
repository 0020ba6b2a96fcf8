"""How closely the outputs of units follow a feature of a text, and how closely they would by chance.

For a yes/no feature the association is 2 AUC - 1, AUC the probability that an output is higher at a position with the
feature than at one without (Mann and Whitney 1947); pairs are compared only within a group (van Elteren 1960):

    2 AUC - 1 = sum of R over the positions with the feature / (sum over groups of with * without / 2)

R is the rank of the output in its group, less the mean rank. For a number it is the correlation of R with the ranks of
the feature, made in the same way. Ties share their mean rank, and their pairs count as half. The groups are the whole
text, or the positions with the same character: then the association is what the character itself does not explain.

Axes: T the characters of the text, N rows of values, K variants of a feature.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from charlm.inspection.features import Kind

Ranks = NDArray[np.float32]


def centred_ranks(values: NDArray[Any], groups: NDArray[Any]) -> Ranks:
    """Return the rank of each value among those of its row and group, less the mean rank; ties share a rank.

    Args:
        values: Any finite numbers, [N, T].
        groups: Integers [T].

    """
    sizes = np.bincount(groups)
    middle = (np.cumsum(sizes) - (sizes + 1) / 2)[groups]  # of the places of a group, if one comes after the other
    ranks = np.empty(values.shape, np.float32)
    for row, found in zip(values, ranks, strict=True):
        number = np.unique(row, return_inverse=True)[1]
        _, inverse, counts = np.unique(
            groups.astype(np.int64) * len(row) + number, return_inverse=True, return_counts=True
        )
        found[:] = (np.cumsum(counts) - (counts + 1) / 2)[inverse] - middle
    return ranks


def associate(ranks: Ranks, groups: NDArray[Any], features: NDArray[np.float64], kind: Kind) -> NDArray[np.float64]:
    """Compute the association of every output with every variant of a feature.

    Args:
        ranks: R of N outputs within the groups, [N, T].
        groups: Of each position, integers [T], 0 or more.
        features: [K, T]; 0 or 1 if the kind is yes/no.
        kind: Of the feature.

    Returns:
        [N, K], from -1 to 1; 0 if the output does not vary within any group, NaN if the feature does not.

    """
    if kind == "yes/no":
        sizes = np.bincount(groups)
        having = np.array([np.bincount(groups, weights=feature, minlength=len(sizes)) for feature in features])
        others, sizes_of_rows = features.astype(np.float32), np.ones(len(ranks))
        varying = (having * (sizes - having)).sum(1) / 2
    else:
        others = centred_ranks(features, groups)
        sizes_of_rows, varying = (np.linalg.norm(each.astype(np.float64), axis=1) for each in (ranks, others))
    sums, scales = ranks @ others.T, np.outer(sizes_of_rows, varying)
    found = np.divide(sums, scales, out=np.zeros(sums.shape, np.float64), where=scales > 0)
    return np.where(varying > 0, np.clip(found, -1, 1), np.nan)


def shift_within(
    values: NDArray[np.float64], groups: NDArray[Any], *, count: int, rng: np.random.Generator
) -> NDArray[np.float64]:
    """Return a feature moved round the positions of each group by random distances, [count, T].

    Each group keeps its values, so that as many pairs are compared as with the feature itself. A distance is a
    twentieth of the group or more, in both directions.

    Args:
        values: The feature, [T].
        groups: Of each position, integers [T], 0 or more.
        count: How many variants to return.
        rng: Draws the distances.

    """
    order = np.argsort(groups, kind="stable")
    sizes = np.bincount(groups)
    least = -(-sizes // 20)
    size, start = (each[groups[order]] for each in (sizes, np.cumsum(sizes) - sizes))
    place = np.arange(len(values)) - start
    moved = np.empty((count, len(values)))
    for row in moved:
        distance = rng.integers(least, np.maximum(sizes - least, least) + 1)[groups[order]]
        row[order] = values[order][start + (place + distance) % size]
    return moved


def chance_level(ranks: Ranks, groups: NDArray[Any], features: NDArray[np.float64], kind: Kind) -> float:
    """Return the 99th percentile, over K variants of a feature, of the association of the best output."""
    return float(np.percentile(np.abs(associate(ranks, groups, features, kind)).max(0), 99))
