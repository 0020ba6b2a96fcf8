"""Where the state goes if one character is repeated for ever: fixed points, slow points, and their stability.

With the character c held constant, the state follows h <- F(h) = f(x_c U + h V + b) in each layer. A fixed point has
F(h) = h. A slow point is a minimum of the speed |F(h) - h| above 0, near which the state lingers (Sussillo and Barak
2013, "Opening the black box").
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from charlm.errors import CharlmError
from charlm.inspection.eigenvalues import leading_eigenvalues
from charlm.inspection.held_character import Outcome, hold_character
from charlm.inspection.point_search import Point, as_float64, find_point
from charlm.inspection.states import read_states
from charlm.inspection.trace import Layers, Weights, cut_weights
from charlm.network.derivatives import slope
from charlm.network.rnn import Parameters

MAX_UNITS = 1024
"""The widest layer that is searched: the time of a step grows with the cube of the width."""
MAX_POSITIONS = 2000
CHARACTERS = 4
STARTS = 4
MOST_POINTS = 3
"""How many points are described for a character."""
LIKELIEST = 3
SAME = 1e-3
"""The distance, relative to 1 + |h|, up to which two points are the same."""


@dataclass(frozen=True)
class FixedPoint:
    """A point at which the state stays, or nearly stays, while a character is held constant."""

    is_fixed: bool
    """Whether it is a fixed point; else it is a slow one."""
    speed: float
    """|F(h) - h| over all layers; about 1e-10 or less at a fixed point."""
    spectral_radius: float
    """The largest size of an eigenvalue of the Jacobian of F at the point, V diag f'(a) in each layer: the state
    returns to a fixed point if it is below 1."""
    unstable_directions: int
    """How many eigenvalues have a size above 1; of each layer of more than 256 units, the 200 outermost at most."""
    is_stable: bool
    """Whether the spectral radius is below 1."""
    time_constant: float | None
    """-1 / ln(spectral radius), the characters in which a small distance falls to 1/e; None if it is not stable or
    falls at once."""
    starts: int
    """How many of the searches led here; one begins at each state of the text, one where each is after all
    repetitions."""
    norm: float
    """|h| over all layers."""
    likeliest: tuple[tuple[int, float], ...]
    """The ids that the network expects next at this point, with their probabilities, likeliest first."""


@dataclass(frozen=True)
class HeldCharacter:
    """What the state does while one character is held constant."""

    id: int
    """The character."""
    outcome: Outcome
    """What becomes of most states of a text when the character is repeated: it settles at a point, cycles through the
    same few states, wanders without coming back in 400 repetitions, or grows without end."""
    period: int | None
    """The length of the cycle in characters if the outcome is `cycles`; 1 if it settles; else None."""
    settling_characters: int | None
    """After how many repetitions the state has settled to within 1e-3 of its size; None if it does not settle."""
    points: tuple[FixedPoint, ...]
    """Those that most states led to first, at most MOST_POINTS."""


@dataclass(frozen=True)
class FixedPoints:
    """The fixed and slow points of a network for some characters."""

    starts: int
    """From how many states of the text the search began, for each character."""
    characters: tuple[HeldCharacter, ...]


def find_fixed_points(
    parameters: Parameters,
    ids: NDArray[Any],
    *,
    characters: Sequence[int] | None = None,
    starts: int = STARTS,
    max_positions: int = MAX_POSITIONS,
) -> FixedPoints:
    """Search for the fixed and slow points of a network, one character held constant at a time.

    Args:
        parameters: The weights.
        ids: A text whose states the searches begin at, integers [T], T >= 1.
        characters: The ids to hold constant; None = the commonest ones of the text.
        starts: How many states of the text to begin at, at most; 1 or more.
        max_positions: If the text is longer, only its beginning is used.

    Raises:
        CharlmError: a layer has more than MAX_UNITS units, or an output of the network is not finite.

    """
    widest = max(layer.units for layer in parameters.layers)
    if widest > MAX_UNITS:
        raise CharlmError(f"a layer of {widest:,} units; fixed points are searched up to {MAX_UNITS:,}")
    weights = cut_weights(parameters)
    read = np.asarray(ids[:max_positions], np.int64)
    outputs = read_states(parameters, read)
    places = np.unique(np.linspace((len(read) - 1) // 2, len(read) - 1, starts).round().astype(np.int64))
    states = tuple(as_float64(output[places]) for output in outputs)
    chosen = _commonest(read) if characters is None else characters
    return FixedPoints(len(places), tuple(_describe_character(weights, index, states) for index in chosen))


def _commonest(ids: NDArray[np.int64]) -> list[int]:
    counts = np.bincount(ids)
    return [index for index in np.argsort(-counts, kind="stable")[:CHARACTERS].tolist() if counts[index]]


def _describe_character(weights: Weights, index: int, states: Layers) -> HeldCharacter:
    held = hold_character(weights, index, states)
    outcomes = [each.outcome for each in held]
    common = max(held, key=lambda each: outcomes.count(each.outcome))
    ends = _distinct([each.state for each in held if each.outcome != "grows"])
    begins = [(tuple(layer[number] for layer in states), 1) for number in range(len(held))]
    points = _merge([(find_point(weights, index, start), count) for start, count in (*ends, *begins)])
    return HeldCharacter(
        id=index,
        outcome=common.outcome,
        period=common.period,
        settling_characters=_median([each.settling_characters for each in held if each.outcome == common.outcome]),
        points=tuple(describe_point(weights, index, point, starts=count) for point, count in points[:MOST_POINTS]),
    )


def _median(values: Sequence[int | None]) -> int | None:
    known = sorted(value for value in values if value is not None)
    return known[len(known) // 2] if known else None


def _distinct(states: Sequence[Layers]) -> list[tuple[Layers, int]]:
    """Return the states that differ, each with the number of states that are the same."""
    found: list[tuple[Layers, int]] = []
    for state in states:
        same = next((number for number, (other, _) in enumerate(found) if _is_same(state, other)), None)
        if same is None:
            found.append((state, 1))
        else:
            found[same] = found[same][0], found[same][1] + 1
    return found


def _merge(points: Sequence[tuple[Point | None, int]]) -> list[tuple[Point, int]]:
    """Return the points that differ, with the number of searches that led to each, commonest first."""
    found: list[tuple[Point, int]] = []
    for point, count in points:
        if point is None:
            continue
        same = next((number for number, (other, _) in enumerate(found) if _is_same(point.state, other.state)), None)
        if same is None:
            found.append((point, count))
        else:
            found[same] = found[same][0], found[same][1] + count
    return sorted(found, key=lambda each: -each[1])


def _is_same(state: Layers, other: Layers) -> bool:
    here, there = np.concatenate(state), np.concatenate(other)
    return float(np.linalg.norm(here - there)) <= SAME * (1 + float(np.linalg.norm(there)))


def describe_point(weights: Weights, index: int, point: Point, *, starts: int) -> FixedPoint:
    """Return the stability of a point, and what the network expects there.

    Args:
        weights: The weights, float64.
        index: The id that is held constant.
        point: The point.
        starts: How many searches led there.

    """
    sizes = np.abs(np.concatenate(_eigenvalues(weights, index, point.state)))
    radius = float(sizes.max())
    logits = as_float64(weights.logits(point.state))
    probabilities = np.exp(logits - logits.max())
    probabilities /= probabilities.sum()
    likeliest = np.argsort(-probabilities, kind="stable")[:LIKELIEST].tolist()
    return FixedPoint(
        is_fixed=point.is_fixed,
        speed=point.speed,
        spectral_radius=radius,
        unstable_directions=int((sizes > 1).sum()),
        is_stable=radius < 1,
        time_constant=-1 / float(np.log(radius)) if 0 < radius < 1 else None,
        starts=starts,
        norm=float(np.linalg.norm(np.concatenate(point.state))),
        likeliest=tuple((choice, float(probabilities[choice])) for choice in likeliest),
    )


def _eigenvalues(weights: Weights, index: int, state: Layers) -> list[NDArray[np.complex128]]:
    """Return the eigenvalues of the Jacobian of F by layer; it has no others, since no layer reads those above."""
    found = []
    for layer, (table, kernel, below) in enumerate(zip(weights.tables, weights.recurrent, weights.below, strict=True)):
        total = table[index if len(table) > 1 else 0] + state[layer] @ kernel
        total = total + state[layer - 1] @ below if layer else total
        gains = slope(weights.activation, total, np.asarray(weights.activate(total)))
        found.append(leading_eigenvalues(kernel * gains))
    return found
