"""Where the state goes if one character is repeated for ever: what becomes of it, fixed and slow points, stability.

With the character c held constant, the state follows h <- F(h) = f(x_c U + h V + b) in each layer. A fixed point has
F(h) = h. A slow point is a minimum of the speed |F(h) - h| above 0, near which the state lingers (Sussillo and Barak
2013, "Opening the black box").

Both are found by Levenberg and Marquardt's method on the speed. The input of a layer does not depend on the layers
above it: the layers are searched from the lowest up, each with its input held constant.

Axes: S states side by side, H units.
"""

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from charlm.errors import CharlmError
from charlm.network.gradients import slope, spectral_radius
from charlm.network.rnn import ACTIVATIONS, Floats, Parameters, State, advance, probabilities

MAX_UNITS = 1024
"""The widest layer that is searched: the time of a step grows with the cube of the width."""
CHARACTERS, STARTS, MOST_POINTS, LIKELIEST = 3, 3, 3, 3
"""How many characters are held constant, at how many states of the text each search begins, how many points are
described for a character, and how many likely characters at a point."""
REPETITIONS, LONGEST_PERIOD = 400, 32
NEAR, RETURNED = 1e-3, 1e-5
"""The distances, relative to 1 + |h|, up to which a state counts as having settled (and, unit by unit, two points as
the same), and as having come back to a cycle."""
APPROACH = 0.99
"""How much nearer a state must have come to a point in the last half of the repetitions to settle there in the end."""
LARGEST = 1e6
"""The |h| above which a state counts as growing without end."""
TOLERANCE = 1e-10
"""The speed, relative to 1 + |h|, up to which a point counts as fixed."""
MOST_STEPS, FIRST_DAMPING, LEAST_DAMPING, WORTH = 40, 1e-6, 1e-14, 0.25
"""A step is taken if it lowers the speed by the share WORTH of what the Jacobian says; else it is damped more."""
STATIONARY, HALTED = 1e-3, 1e-4
"""The speed is at a minimum where its gradient is smaller than STATIONARY, and a step would lower it by less than the
share HALTED of it."""
ALL_UP_TO, BORDERLINE = 256, 0.95
"""Up to so many units, all eigenvalues are computed; those of a larger layer if its spectral radius seems to be more
than BORDERLINE."""
Outcome = Literal["settles", "cycles", "wanders", "grows"]


@dataclass(frozen=True)
class FixedPoint:
    """A point at which the state stays, or nearly stays, while a character is held constant."""

    is_fixed: bool
    """Whether it is a fixed point; else it is a slow one."""
    speed: float
    """|F(h) - h| over all layers; about 1e-10 or less at a fixed point."""
    norm: float
    """|h| over all layers."""
    spectral_radius: float
    """The largest size of an eigenvalue of the Jacobian of F at the point, V diag f'(a) in each layer: the state
    returns to a fixed point if it is below 1. In a layer of more than 256 units, a radius below 0.95 is known to about
    1%."""
    unstable_directions: int
    """How many eigenvalues have a size above 1."""
    is_stable: bool
    """Whether the spectral radius is below 1; if it is about 1, rounding decides."""
    time_constant: float | None
    """-1 / ln(spectral radius), the characters in which a small distance falls to about 1/e; None if it is not stable
    or falls at once."""
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
    """What becomes of most states of a text when the character is repeated: it settles at a point, or comes nearer to
    it all the time; cycles through the same few states; wanders without coming back in 400 repetitions; or grows
    without end."""
    period: int | None
    """The length of the cycle in characters if the outcome is `cycles`; 1 if it settles; else None."""
    points: tuple[FixedPoint, ...]
    """Those that most searches led to first, at most MOST_POINTS."""


def find_fixed_points(parameters: Parameters, ids: NDArray[Any], outputs: State) -> tuple[HeldCharacter, ...]:
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
    return tuple(_describe_character(exact, index, states) for index in commonest)


def _describe_character(parameters: Parameters, index: int, states: State) -> HeldCharacter:
    held = hold_character(parameters, index, states)
    outcomes = [each.outcome for each in held]
    common = held[outcomes.index(max(outcomes, key=outcomes.count))]
    begins = [find_point(parameters, index, tuple(layer[number] for layer in states)) for number in range(len(held))]
    same: list[list[Point]] = []
    for point in filter(None, (*(each.point for each in held), *begins)):
        group = next((group for group in same if np.allclose(point.state, group[0].state, NEAR, NEAR)), None)
        if group is None:
            same.append(group := [])
        group.append(point)
    same.sort(key=len, reverse=True)
    return HeldCharacter(
        id=index,
        outcome=common.outcome,
        period=common.period,
        points=tuple(_describe_point(parameters, group[0], starts=len(group)) for group in same[:MOST_POINTS]),
    )


@dataclass(frozen=True, eq=False)
class _Rest:
    """A state of one layer, and how it moves."""

    state: Floats
    """[H]."""
    change: Floats
    """F(h) - h, [H]."""
    gains: Floats
    """f'(a), [H]."""

    @property
    def speed(self) -> float:
        return float(np.linalg.norm(self.change))

    @property
    def is_fixed(self) -> bool:
        return self.speed <= TOLERANCE * (1 + float(np.linalg.norm(self.state)))


@dataclass(frozen=True, eq=False)
class Point:
    """Where a search has ended."""

    layers: tuple[_Rest, ...]

    @property
    def state(self) -> Floats:
        """Of all layers side by side."""
        return np.concatenate([layer.state for layer in self.layers])

    @property
    def speed(self) -> float:
        """|F(h) - h| over all layers."""
        return float(np.linalg.norm([layer.speed for layer in self.layers]))

    @property
    def is_fixed(self) -> bool:
        """Whether every layer stands still."""
        return all(layer.is_fixed for layer in self.layers)


def _describe_point(parameters: Parameters, point: Point, *, starts: int) -> FixedPoint:
    """Return the stability of a point, and what the network expects there."""
    # The Jacobian has the eigenvalues of its layers alone, since no layer reads those above.
    jacobians = [layer.recurrent_kernel * at.gains for layer, at in zip(parameters.layers, point.layers, strict=True)]
    sizes = np.concatenate([_sizes(jacobian) for jacobian in jacobians])
    radius = float(sizes.max())
    chances = probabilities(parameters.logits([layer.state for layer in point.layers]))
    return FixedPoint(
        is_fixed=point.is_fixed,
        speed=point.speed,
        norm=float(np.linalg.norm(point.state)),
        spectral_radius=radius,
        unstable_directions=int((sizes > 1).sum()),
        is_stable=radius < 1,
        time_constant=-1 / float(np.log(radius)) if 0 < radius < 1 else None,
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


@dataclass(frozen=True, eq=False)
class Held:
    """What became of one state when a character was read over and over."""

    outcome: Outcome
    period: int | None
    """The length of the cycle; 1 if the state settles; None if it wanders or grows."""
    point: Point | None
    """The fixed or slow point that a search finds from the state after the last repetition."""


def hold_character(parameters: Parameters, index: int, states: State) -> tuple[Held, ...]:
    """Read one character over and over from some states.

    Args:
        parameters: The weights, float64.
        index: The id of the character.
        states: The states to begin at, [S, H] for each layer.

    Returns:
        What became of each state.

    """
    ids, now, path = np.full(len(states[0]), index), states, [np.concatenate(states, 1)]
    for _ in range(REPETITIONS):
        _, now = advance(parameters, ids, now)
        path.append(np.concatenate(now, 1))
        if np.abs(path[-1] - path[-2]).max() <= 1e-13:
            break  # all states have settled
    joined = np.stack(path)
    return tuple(
        _outcome(parameters, index, joined[:, number], tuple(layer[number] for layer in now))
        for number in range(len(ids))
    )


def _outcome(parameters: Parameters, index: int, path: Floats, end: State) -> Held:
    """Return what became of a state with a path of states of all layers, [repetitions + 1, H of all layers]."""
    if not np.abs(path[-1]).max() <= LARGEST:
        return Held("grows", None, None)
    scale = 1 + float(np.linalg.norm(path[-1]))
    point = find_point(parameters, index, end)
    if point is not None and point.is_fixed:
        distances = np.linalg.norm(path - point.state, axis=1)
        if distances[-1] <= max(NEAR * scale, APPROACH * distances[len(distances) // 2]):
            return Held("settles", 1, point)
    returns = np.linalg.norm(path[-2 : -2 - LONGEST_PERIOD : -1] - path[-1], axis=1) <= RETURNED * scale
    period = int(returns.argmax()) + 1
    if returns.any() and period > 1:
        return Held("cycles", period, point)
    return Held("wanders", None, point)


def find_point(parameters: Parameters, index: int, start: State) -> Point | None:
    """Search for a fixed or slow point of the whole stack while one character is held constant.

    Args:
        parameters: The weights, float64.
        index: The id of the character.
        start: The state to begin at, [H] for each layer.

    Returns:
        The point; None if the search has ended at none, or left the finite numbers.

    """
    found: list[_Rest] = []
    for layer, table, below, first in zip(
        parameters.layers, parameters.input_tables, parameters.below_kernels, start, strict=True
    ):
        constant = table[index if len(table) > 1 else 0]
        if found:
            constant = constant + found[-1].state @ below
        rest = _search(parameters.activation, constant, layer.recurrent_kernel, first)
        if rest is None:
            return None
        found.append(rest)
    return Point(tuple(found))


def _search(activation: str, constant: Floats, kernel: Floats, start: Floats) -> _Rest | None:
    """Search for a fixed or slow point of one layer, h <- f(constant + h V)."""

    def look(state: Floats) -> _Rest:
        """Return how far a state is from rest."""
        total = constant + state @ kernel
        output = ACTIVATIONS[activation](total)
        return _Rest(state, output - state, slope(activation, total, output))

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
