"""Where the state goes if one character is repeated for ever: what becomes of it, fixed and slow points, stability.

With the character c held constant, the state follows h <- F(h) = f(x_c U + h V + b) in each layer. A fixed point has
F(h) = h. A slow point is a minimum of the speed |F(h) - h| above 0, near which the state lingers (Sussillo and Barak
2013, "Opening the black box").

Both are found by Levenberg and Marquardt's method on the speed. The input of a layer does not depend on the layers
above it: the layers are searched from the lowest up, each with its input held constant.

The picture of it shows the state of all layers while it reads the text, in the plane of its first two principal
components, and where the points lie in this plane.

Axes: S states side by side, H units, D those of all layers.
"""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from charlm.errors import CharlmError
from charlm.inspection.figures import GRID, MUTED, SERIES, canvas, legend
from charlm.inspection.markup import visible
from charlm.inspection.section import MOST_STATES, Characters, Chart, Rows, Section, Table
from charlm.network.gradients import slope, spectral_radius
from charlm.network.rnn import ACTIVATIONS, Floats, Parameters, State, advance, probabilities

if TYPE_CHECKING:
    from matplotlib.figure import Figure

MAX_UNITS = 1024
"""The widest layer that is searched: the time of a step grows with the cube of the width."""
CHARACTERS, STARTS, MOST_POINTS, LIKELIEST = 3, 3, 3, 3
"""How many characters are held constant, at how many states of the text each search begins, how many points are
described for a character, and how many likely characters at a point."""
PATH = 400
"""Characters of the text whose states are drawn."""
REPETITIONS, LONGEST_PERIOD = 400, 32
NEAR = 1e-3
"""The distance, relative to 1 + |h|, up to which two states count as the same."""
LARGEST = 1e6
"""The |h| above which a state counts as growing without end."""
TOLERANCE = 1e-10
"""The change of a unit, relative to 1 + the largest |h| of a unit, up to which a point counts as fixed."""
MOST_STEPS, FIRST_DAMPING, LEAST_DAMPING, WORTH = 40, 1e-6, 1e-14, 0.25
"""A step is taken if it lowers the speed by the share WORTH of what the Jacobian says; else it is damped more."""
STATIONARY, HALTED = 1e-3, 1e-4
"""The speed is at a minimum where its gradient is smaller than STATIONARY, and a step would lower it by less than the
share HALTED of it."""
ALL_UP_TO, BORDERLINE = 256, 0.95
"""Up to so many units, all eigenvalues are computed; those of a larger layer if its spectral radius seems to be more
than BORDERLINE."""
MARKERS = {"stable": "o", "unstable": "s", "slow": "X"}
Project = Callable[[Floats], Floats]
Outcome = Literal["settles", "cycles", "wanders", "grows"]


@dataclass(frozen=True)
class RestPoint:
    """A point at which the state stays, or nearly stays, while a character is held constant."""

    is_fixed: bool
    """Whether it is a fixed point; else it is a slow one."""
    speed: float
    """|F(h) - h| over all layers; about 1e-10 or less at a fixed point."""
    norm: float
    """|h| over all layers."""
    place: tuple[float, float]
    """Its coordinates in the plane of `FixedPoints.path`."""
    spectral_radius: float
    """The largest size of an eigenvalue of the Jacobian of F at the point, V diag f'(a) in each layer: the state
    returns to a fixed point if it is below 1. In a layer of more than 256 units, a radius below 0.95 is known to about
    1%."""
    unstable_directions: int
    """How many eigenvalues have a size above 1."""
    is_stable: bool
    """Whether the spectral radius is below 1; if it is about 1, rounding decides."""
    starts: int
    """How many of the searches led here; one begins at each state of the text, one where each is after all
    repetitions."""
    likeliest: tuple[tuple[int, float], ...]
    """The ids that the network expects next at this point, with their probabilities, likeliest first."""


@dataclass(frozen=True)
class HeldCharacter:
    """What the state does while one character is held constant."""

    id: int
    """The character."""
    outcome: Outcome
    """What becomes of most states of a text when the character is repeated 400 times: in the end a state hardly moves
    any more (settles), cycles through the same few states, wanders without coming back, or grows without end."""
    period: int | None
    """The length of the cycle in characters if the outcome is `cycles`; 1 if it settles; else None."""
    points: tuple[RestPoint, ...]
    """Those that most searches led to first, at most MOST_POINTS."""


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
    positions: range
    """Of the characters of `path`."""


def find_fixed_points(parameters: Parameters, ids: NDArray[Any], outputs: State) -> FixedPoints:
    """Search for the fixed and slow points of a network, each of the commonest characters of a text held constant.

    Args:
        parameters: The weights.
        ids: The text, whose states the searches begin at, integers [T], T >= 1.
        outputs: The states after each of its characters, [T, H] for each layer.

    Raises:
        CharlmError: a layer has more than MAX_UNITS units, or the states are not finite.

    """
    widest = max(layer.units for layer in parameters.layers)
    if widest > MAX_UNITS:
        raise CharlmError(f"a layer of {widest:,} units; fixed points are searched up to {MAX_UNITS:,}")
    if not all(np.isfinite(output).all() for output in outputs):
        raise CharlmError("the states of the network are not finite")
    last = len(ids) - 1
    places = np.unique(np.linspace(last // 2, last, STARTS).round().astype(np.int64))
    states = tuple(output[places].astype(np.float64) for output in outputs)
    counts = np.bincount(ids)
    commonest = [index for index in np.argsort(-counts, kind="stable")[:CHARACTERS].tolist() if counts[index]]
    exact = parameters.cast(np.float64)
    path = np.concatenate([output[:PATH] for output in outputs], 1).astype(np.float64)
    mean, plane, shares = principal_plane(path)

    def project(state: Floats) -> Floats:
        """Return the coordinates of states [..., D] in the plane, [..., 2]."""
        return np.asarray((state - mean) @ plane)

    held = (_describe_character(exact, index, states, project) for index in commonest)
    return FixedPoints(tuple(held), project(path), shares, range(len(path)))


def principal_plane(states: Floats) -> tuple[Floats, Floats, tuple[float, float]]:
    """Find the plane in which states vary most.

    Args:
        states: [T, D].

    Returns:
        Their mean, [D]; the first two principal components, [D, 2], unit vectors, or 0 where there are fewer; and the
        share of the variance that each has, from 0 to 1.

    """
    mean = states.mean(0)
    _, sizes, rows = np.linalg.svd(np.pad(states - mean, ((0, 2), (0, 1))), full_matrices=False)
    first, second = (sizes[:2] ** 2 / (float(sizes @ sizes) or 1.0)).tolist()
    return mean, rows[:2, :-1].T * (sizes[:2] > 0), (first, second)


@dataclass(frozen=True, eq=False)
class Point:
    """A state of one layer, or of all layers side by side, and how it moves."""

    state: Floats
    """h, [H]."""
    change: Floats
    """F(h) - h, [H]."""
    gains: Floats
    """f'(a), [H]."""

    @property
    def speed(self) -> float:
        """|F(h) - h|."""
        return float(np.linalg.norm(self.change))

    @property
    def is_fixed(self) -> bool:
        """Whether no unit moves; a point whose layers are fixed is fixed."""
        return bool(np.abs(self.change).max() <= TOLERANCE * (1 + np.abs(self.state).max()))


def _describe_character(parameters: Parameters, index: int, states: State, project: Project) -> HeldCharacter:
    path = repeat_character(parameters, index, states)
    (outcome, period), _ = Counter(map(outcome_of, path.swapaxes(0, 1))).most_common(1)[0]
    same: list[list[Point]] = []
    for start in (*path[-1], *path[0]):
        point = find_point(parameters, index, start)
        if point is None:
            continue
        group = next((group for group in same if np.allclose(point.state, group[0].state, NEAR, NEAR)), None)
        if group is None:
            same.append(group := [])
        group.append(point)
    same.sort(key=len, reverse=True)
    points = tuple(_describe_point(parameters, group[0], project, starts=len(group)) for group in same[:MOST_POINTS])
    return HeldCharacter(index, outcome, period, points)


def _describe_point(parameters: Parameters, point: Point, project: Project, *, starts: int) -> RestPoint:
    """Return the stability of a point, and what the network expects there."""
    # The Jacobian has the eigenvalues of its layers alone, since no layer reads those above.
    pairs = zip(parameters.layers, parameters.split(point.gains), strict=True)
    sizes = np.concatenate([_sizes(layer.recurrent_kernel * gains) for layer, gains in pairs])
    radius = float(sizes.max())
    chances = probabilities(parameters.logits(parameters.split(point.state)))
    x, y = project(point.state).tolist()
    return RestPoint(
        is_fixed=point.is_fixed,
        speed=point.speed,
        norm=float(np.linalg.norm(point.state)),
        place=(x, y),
        spectral_radius=radius,
        unstable_directions=int((sizes > 1).sum()),
        is_stable=radius < 1,
        starts=starts,
        likeliest=tuple(
            (choice, float(chances[choice])) for choice in np.argsort(-chances, kind="stable")[:LIKELIEST].tolist()
        ),
    )


def _sizes(jacobian: Floats) -> Floats:
    """Return the sizes of all eigenvalues, or an estimate of the largest one if it is clearly below 1."""
    if len(jacobian) > ALL_UP_TO and (radius := spectral_radius(jacobian.astype(np.float32))) < BORDERLINE:
        return np.array([radius])
    return np.asarray(np.abs(np.linalg.eigvals(jacobian)))


def repeat_character(parameters: Parameters, index: int, states: State) -> Floats:
    """Read one character over and over.

    Args:
        parameters: The weights, float64.
        index: The id of the character.
        states: The states to begin at, [S, H] for each layer.

    Returns:
        The states after 0, 1, ... repetitions, all layers side by side, [n, S, H of all layers]; n is REPETITIONS + 1,
        or less if all states have come to rest.

    """
    ids, now, path = np.full(len(states[0]), index), states, [np.concatenate(states, 1)]
    for _ in range(REPETITIONS):
        now = advance(parameters, ids, now)
        path.append(np.concatenate(now, 1))
        if np.abs(path[-1] - path[-2]).max() <= 1e-13:
            break
    return np.stack(path)


def outcome_of(path: Floats) -> tuple[Outcome, int | None]:
    """Return the outcome and the period of a state by its path, [n, H of all layers]."""
    if not np.abs(path[-1]).max() <= LARGEST:
        return "grows", None
    before = path[-2 : -2 - LONGEST_PERIOD : -1]
    returns = np.linalg.norm(before - path[-1], axis=1) <= NEAR * (1 + np.linalg.norm(path[-1]))
    if not returns.any():
        return "wanders", None
    period = int(returns.argmax()) + 1
    return "settles" if period == 1 else "cycles", period


def find_point(parameters: Parameters, index: int, start: Floats) -> Point | None:
    """Search for a fixed or slow point of the whole stack while one character is held constant.

    Args:
        parameters: The weights, float64.
        index: The id of the character.
        start: The state to begin at, all layers side by side, [H of all layers].

    Returns:
        The point; None if the search has ended at none, or left the finite numbers.

    """
    found: list[Point] = []
    for layer, table, below, first in zip(
        parameters.layers, parameters.input_tables, parameters.below_kernels, parameters.split(start), strict=True
    ):
        constant = table[index if len(table) > 1 else 0]
        if found:
            constant = constant + found[-1].state @ below
        point = _search(parameters.activation, constant, layer.recurrent_kernel, first)
        if point is None:
            return None
        found.append(point)
    parts = ([point.state for point in found], [point.change for point in found], [point.gains for point in found])
    return Point(*map(np.concatenate, parts))


def _search(activation: str, constant: Floats, kernel: Floats, start: Floats) -> Point | None:
    """Search for a fixed or slow point of one layer, h <- f(constant + h V)."""

    def look(state: Floats) -> Point:
        """Return how far a state is from rest."""
        output = ACTIVATIONS[activation](constant + state @ kernel)
        return Point(state, output - state, slope(activation, output))

    here, damping = look(start), FIRST_DAMPING
    for _ in range(MOST_STEPS):
        if here.is_fixed or not np.isfinite(here.speed):
            break
        jacobian = kernel * here.gains - np.eye(len(start))  # a small row vector d changes F(h) - h by d J
        gradient = jacobian @ here.change
        move = -np.linalg.solve(jacobian @ jacobian.T + damping * np.eye(len(start)), gradient)
        tried = look(here.state + move)
        expected = here.speed - float(np.linalg.norm(here.change + move @ jacobian))
        if np.linalg.norm(gradient) <= STATIONARY * here.speed and expected < HALTED * here.speed:
            return here
        if here.speed - tried.speed >= WORTH * expected:
            here, damping = tried, max(damping / 10, LEAST_DAMPING)
        else:
            damping *= 10
    return here if here.is_fixed else None


def _kind(point: RestPoint) -> str:
    return ("stable" if point.is_stable else "unstable") if point.is_fixed else "slow"


def draw_path(found: FixedPoints) -> "Figure":
    """Draw the path of the state through the plane, and the points in it; one outside is put at the edge, hollow."""
    figure, (axes,) = canvas("The state on the text, and the points", height=3.2)
    axes.plot(*found.path.T, color=GRID, linewidth=0.5, marker=".", markersize=3, mec=MUTED, label="state on the text")
    low, high = (np.array(limits) for limits in zip(axes.get_xlim(), axes.get_ylim(), strict=True))
    for colour, which, held in zip(SERIES, ("first", "second", "third"), found.held, strict=False):
        for point in held.points:
            place, kind = np.clip(point.place, low, high), _kind(point)
            face = colour if (place == point.place).all() else "none"
            style: dict[str, Any] = {"marker": MARKERS[kind], "s": 45, "edgecolors": colour, "facecolors": face}
            axes.scatter(*place, label=f"{kind}, {which} character held", clip_on=False, zorder=4, **style)
    axes.set(xlim=(low[0], high[0]), ylim=(low[1], high[1]))
    axes.set(xlabel=f"component 1, {found.shares[0]:.0%} of the variance", ylabel=f"component 2, {found.shares[1]:.0%}")
    legend(figure, columns=2)
    return figure


def point_rows(found: FixedPoints, characters: Characters) -> Rows:
    """Return a row for each point of each character, or one that says what the state does if no point was found."""
    rows: list[tuple[object, ...]] = []
    for held in found.held:
        begin = (visible(characters[held.id]), held.outcome, held.period)
        rows += [
            (
                *(*begin, _kind(point), point.speed, point.spectral_radius, point.unstable_directions),
                " ".join(visible(characters[index]) for index, _ in point.likeliest),
            )
            for point in held.points
        ] or [(*begin, *[None] * 5)]
    return rows


FIXED_POINTS = Section(
    "fixed_points",
    "Fixed and slow points",
    "F(h) = f(x_c U + h V + b) = h, the character c held constant",
    "A stable point, whose spectral radius is below 1, attracts a state that is close enough: repeat the character "
    "and the network comes to rest there; near a slow one it only lingers.",
    lambda reading: find_fixed_points(reading.parameters, reading.ids[:MOST_STATES], reading.states),
    Chart("state-path", "states of all layers by principal components, and the points", draw_path, shares_limits=False),
    Table(
        "The points",
        (
            *("character held", "the state", "period, characters"),
            *("point", "speed", "spectral radius", "unstable directions", "expects next"),
        ),
        point_rows,
        is_folded=False,
    ),
)
