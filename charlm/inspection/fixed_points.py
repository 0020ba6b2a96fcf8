"""Where the state goes if one character is repeated for ever: what becomes of it, and the fixed points that it finds.

With the character c held constant, the state follows h <- F(h) = f(x_c U + h V + b) in each layer. A fixed point has
F(h) = h (Sussillo and Barak 2013, "Opening the black box"). What becomes of a state, and the points that attract, are
found by repeating the character.

The picture shows the state of all layers while it reads the text, in the plane of its first two principal components,
and where the points lie in this plane.

Axes: S states side by side, H units, D those of all layers.
"""

from collections import Counter
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from charlm.errors import CharlmError
from charlm.inspection.figures import GRID, MUTED, SERIES, Figure, canvas, legend
from charlm.inspection.reading import FULL_SIZE, MOST_STATES, Found, Reading
from charlm.network.gradients import slope
from charlm.network.rnn import Floats, Parameters, State, advance, probabilities
from charlm.text.markup import visible

MAX_UNITS = 1024
"""The widest layer: the time for the eigenvalues grows with the cube of the width."""
CHARACTERS, STARTS, LIKELIEST = 3, 3, 3
"""How many characters are held constant, from how many states of the text, and how many likely characters are named at
a point."""
PATH = 400
"""Characters of the text whose states are drawn."""
REPETITIONS, LONGEST_PERIOD = 12_800, 64
"""How often a character is repeated at most: fewer times in a network of more than FULL_SIZE parameters."""
AT_REST = 1e-9
"""The change of a unit, relative to 1 + the largest |h| of a unit, up to which a state counts as the same."""
MOVING = 1e-3
"""The change of a unit in every step of a cycle, relative as above. A spiral towards a fixed point that passes for a
cycle would have to shrink by less than a millionth while it turns once."""
LARGEST = 1e6
"""The |h| above which a state counts as growing without end."""
NEAR = 1e-6
"""The distance of a unit up to which two points count as one."""
Outcome = Literal["settles", "cycles", "not settled", "grows"]


@dataclass(frozen=True)
class FixedPoint:
    """A point at which the state comes to rest while a character is held constant."""

    place: tuple[float, float]
    """Its coordinates in the plane of `FixedPoints.path`."""
    spectral_radius: float
    """The largest size of an eigenvalue of the Jacobian of F at the point, V diag f'(a) in each layer: what is left of
    a small difference after a step, in the end."""
    starts: int
    """From how many of the states of the text the state came here."""
    likeliest: tuple[tuple[int, float], ...]
    """The ids that the network expects next at this point, with their probabilities, likeliest first."""


@dataclass(frozen=True)
class HeldCharacter:
    """What the state does while one character is held constant."""

    id: int
    """The character."""
    outcome: Outcome
    """What becomes of most states of a text when the character is repeated: a state comes to rest (settles), returns
    to itself after a few characters (cycles), grows without end, or does none of these in `repetitions` characters."""
    period: int | None
    """The length of the cycle in characters if the outcome is `cycles`; 1 if it settles; else None."""
    points: tuple[FixedPoint, ...]
    """Where states came to rest, those that most of them came to first."""


@dataclass(frozen=True, eq=False)
class FixedPoints:
    """What the state does while a character is held constant, and where it goes while it reads the text."""

    held: tuple[HeldCharacter, ...]
    """The commonest characters of the text."""
    path: Floats
    """The states of all layers after the first characters of the text, in the plane of their first two principal
    components: float64 [up to PATH, 2], the mean of these states at 0."""
    shares: tuple[float, float]
    """The share of the variance of these states that each component has, from 0 to 1."""
    repetitions: int
    """How often a character was repeated at most."""
    positions: range
    """Of the characters of `path`."""


def find_fixed_points(parameters: Parameters, ids: NDArray[Any], outputs: State) -> FixedPoints:
    """Find what becomes of the state, each of the commonest characters of a text held constant.

    Args:
        parameters: The weights.
        ids: The text, from whose states each begins, integers [T], T >= 1.
        outputs: The states after each of its characters, finite, [T, H] for each layer.

    Raises:
        CharlmError: a layer has more than MAX_UNITS units.

    """
    widest = max(layer.units for layer in parameters.layers)
    if widest > MAX_UNITS:
        raise CharlmError(f"a layer of {widest:,} units; fixed points are found up to {MAX_UNITS:,}")
    last = len(ids) - 1
    places = np.unique(np.linspace(last // 2, last, STARTS).round().astype(np.int64))
    starts = np.concatenate([output[places] for output in outputs], 1).astype(np.float64)
    path = np.concatenate([output[:PATH] for output in outputs], 1).astype(np.float64)
    mean = path.mean(0)
    _, sizes, rows = np.linalg.svd(np.pad(path - mean, ((0, 2), (0, 1))), full_matrices=False)
    plane = rows[:2, :-1].T * (sizes[:2] > 0)  # [D, 2]: the first two principal components, or 0
    first, second = (sizes[:2] ** 2 / (float(sizes @ sizes) or 1.0)).tolist()
    most = int(REPETITIONS * min(1.0, FULL_SIZE / parameters.architecture.size))
    exact, held = parameters.cast(np.float64), []
    for index, _ in Counter(ids.tolist()).most_common(CHARACTERS):
        ends, outcomes = repeat_character(exact, index, starts, most=most)
        (outcome, period), _ = Counter(outcomes).most_common(1)[0]
        groups: list[list[Floats]] = []
        for end in (end for end, (each, _) in zip(ends, outcomes, strict=True) if each == "settles"):
            same = next((group for group in groups if np.allclose(end, group[0], NEAR, NEAR)), None)
            if same is None:
                groups.append(same := [])
            same.append(end)
        groups.sort(key=len, reverse=True)
        points = (_describe(exact, group, (group[0] - mean) @ plane) for group in groups)
        held.append(HeldCharacter(index, outcome, period, tuple(points)))
    return FixedPoints(tuple(held), (path - mean) @ plane, (first, second), most, range(len(path)))


def _describe(parameters: Parameters, found: list[Floats], place: Floats) -> FixedPoint:
    """Return the stability of a point [D], given once for each state that came to it, and what is expected there."""
    state = parameters.split(found[0])
    # The Jacobian has the eigenvalues of its layers alone, since no layer reads those above.
    jacobians = (
        layer.recurrent_kernel * slope(parameters.activation, part)
        for layer, part in zip(parameters.layers, state, strict=True)
    )
    sizes = np.concatenate([np.abs(np.linalg.eigvals(jacobian)) for jacobian in jacobians])
    chances = probabilities(parameters.logits(state))
    likeliest = np.argsort(-chances, kind="stable")[:LIKELIEST].tolist()
    return FixedPoint(
        place=(float(place[0]), float(place[1])),
        spectral_radius=float(sizes.max()),
        starts=len(found),
        likeliest=tuple((choice, float(chances[choice])) for choice in likeliest),
    )


def repeat_character(
    parameters: Parameters, index: int, starts: Floats, *, most: int = REPETITIONS
) -> tuple[Floats, list[tuple[Outcome, int | None]]]:
    """Read one character over and over, until it is known what becomes of every state.

    Args:
        parameters: The weights, float64.
        index: The id of the character.
        starts: The states to begin at, all layers side by side, [S, D].
        most: How often, LONGEST_PERIOD or more.

    Returns:
        The states at the end, [S, D], and the outcome and the period of each.

    """
    ids, now = np.full(len(starts), index), starts
    outcomes: list[tuple[Outcome, int | None]] = []
    for _ in range(most // LONGEST_PERIOD):
        path = [now]
        for _ in range(LONGEST_PERIOD):
            path.append(np.concatenate(advance(parameters, ids, parameters.split(path[-1])), 1))
        now = path[-1]
        outcomes = [_outcome(each) for each in np.stack(path, 1)]
        if all(outcome != "not settled" for outcome, _ in outcomes):
            break
    return now, outcomes


def _outcome(path: Floats) -> tuple[Outcome, int | None]:
    """Return the outcome and the period of a state by its last steps, [LONGEST_PERIOD + 1, D]."""
    size = 1 + np.abs(path[-1]).max()
    if not size <= LARGEST:
        return "grows", None
    changes = np.abs(path[-2::-1] - path[-1]).max(1) / size  # in 1, 2, ... steps
    returns = np.flatnonzero(changes <= AT_REST)
    if not len(returns):
        return "not settled", None
    period = int(returns[0]) + 1
    if period == 1:
        return "settles", 1
    steps = np.abs(np.diff(path[-1 - period :], axis=0)).max(1) / size
    return ("cycles", period) if steps.min() > MOVING else ("not settled", None)


def draw_path(found: FixedPoints) -> Figure:
    """Draw the path of the state through the plane, and the points in it."""
    figure, (axes,) = canvas("The state on the text, and the points", height=3.2)
    axes.plot(*found.path.T, color=GRID, linewidth=0.5, marker=".", markersize=3, mec=MUTED, label="state on the text")
    for colour, which, held in zip(SERIES, ("first", "second", "third"), found.held, strict=False):
        for point in held.points:
            style: dict[str, Any] = {"marker": "o", "s": 45, "facecolors": "none", "edgecolors": colour, "zorder": 4}
            axes.scatter(*point.place, label=f"point, {which} character held", **style)
    axes.set(xlabel=f"component 1, {found.shares[0]:.0%} of the variance", ylabel=f"component 2, {found.shares[1]:.0%}")
    legend(figure, columns=2)
    return figure


def make_fixed_points(reading: Reading) -> Found:
    """Find what becomes of the state with each of the commonest characters of a text."""
    found = find_fixed_points(reading.parameters, reading.ids[:MOST_STATES], reading.states)
    items = [
        {
            "character": visible(reading.characters[held.id]),
            "held": held,
            "point": point,
            "expected": " ".join(visible(reading.characters[index]) for index, _ in point.likeliest) if point else "",
        }
        for held in found.held
        for point in held.points or (None,)
    ]
    return Found(found, partial(draw_path, found), items, positions=found.positions)
