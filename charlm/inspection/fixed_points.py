"""Where the state goes if one character is repeated for ever: what becomes of it, fixed and slow points, stability.

With the character c held constant, the state follows h <- F(h) = f(x_c U + h V + b) in each layer. A fixed point has
F(h) = h. A slow point is a minimum of the speed |F(h) - h| above 0, near which the state lingers (Sussillo and Barak
2013, "Opening the black box"). `charlm.inspection.point_search` searches for the points.

Axes: S states side by side, H units.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from charlm.errors import CharlmError
from charlm.inspection.point_search import Point, find_point
from charlm.inspection.stability import leading_eigenvalues
from charlm.network.gradients import slope
from charlm.network.rnn import ACTIVATIONS, Parameters, State, advance, probabilities

MAX_UNITS = 1024
"""The widest layer that is searched: the time of a step grows with the cube of the width."""
CHARACTERS = 4
STARTS = 4
MOST_POINTS = 3
"""How many points are described for a character."""
LIKELIEST = 3
NEAR = 1e-3
"""The distance, relative to 1 + |h|, up to which two points are the same, or a state counts as having settled."""
REPETITIONS = 400
LONGEST_PERIOD = 32
RETURNED = 1e-5
"""The distance, relative to 1 + |h|, up to which a state counts as having come back to a cycle."""
APPROACH = 0.99
"""How much nearer a state must have come to a point in the last half of the repetitions to settle there in the end."""
BORDERLINE = 0.02
"""If the spectral radius of a large layer, which is known to 1%, is nearer to 1, all eigenvalues are computed."""
STILL = 1e-13
LARGEST = 1e6
"""The |h| above which a state counts as growing without end."""
Outcome = Literal["settles", "cycles", "wanders", "grows"]


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
    """What becomes of most states of a text when the character is repeated: it settles at a point, or comes nearer to
    it all the time; cycles through the same few states; wanders without coming back in 400 repetitions; or grows
    without end."""
    period: int | None
    """The length of the cycle in characters if the outcome is `cycles`; 1 if it settles; else None."""
    settling_characters: int | None
    """After how many repetitions the state is within 1e-3 of its size from the point; None if it does not settle, or
    not in 400 repetitions."""
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
    outputs: State,
    *,
    characters: Sequence[int] | None = None,
    starts: int = STARTS,
) -> FixedPoints:
    """Search for the fixed and slow points of a network, one character held constant at a time.

    Args:
        parameters: The weights.
        ids: A text whose states the searches begin at, integers [T], T >= 1.
        outputs: The states after each of its characters, [T, H] for each layer.
        characters: The ids to hold constant; None = the commonest ones of the text.
        starts: How many states of the text to begin at, at most; 1 or more.

    Raises:
        CharlmError: a layer has more than MAX_UNITS units.

    """
    widest = max(layer.units for layer in parameters.layers)
    if widest > MAX_UNITS:
        raise CharlmError(f"a layer of {widest:,} units; fixed points are searched up to {MAX_UNITS:,}")
    exact, last = parameters.cast(np.float64), len(ids) - 1
    places = np.unique(np.linspace(last // 2, last, starts).round().astype(np.int64))
    states = tuple(output[places].astype(np.float64) for output in outputs)
    chosen = _commonest(ids) if characters is None else characters
    return FixedPoints(len(places), tuple(_describe_character(exact, index, states) for index in chosen))


def _commonest(ids: NDArray[Any]) -> list[int]:
    counts = np.bincount(ids)
    return [index for index in np.argsort(-counts, kind="stable")[:CHARACTERS].tolist() if counts[index]]


def _describe_character(parameters: Parameters, index: int, states: State) -> HeldCharacter:
    held = hold_character(parameters, index, states)
    outcomes = [each.outcome for each in held]
    common = max(held, key=lambda each: outcomes.count(each.outcome))
    settling = [each.settling_characters for each in held if each.outcome == common.outcome]
    begins = [find_point(parameters, index, tuple(layer[number] for layer in states)) for number in range(len(held))]
    points = [point for point in (*(each.point for each in held), *begins) if point is not None]
    found = {id(point.state): point for point in points}
    counted = _count_distinct([point.state for point in points])
    return HeldCharacter(
        id=index,
        outcome=common.outcome,
        period=common.period,
        settling_characters=_median(settling),
        points=tuple(
            describe_point(parameters, index, found[id(state)], starts=count)
            for state, count in sorted(counted, key=lambda each: -each[1])[:MOST_POINTS]
        ),
    )


def _median(values: Sequence[int | None]) -> int | None:
    known = sorted(value for value in values if value is not None)
    return known[len(known) // 2] if known else None


def _count_distinct(states: Sequence[State]) -> list[tuple[State, int]]:
    """Return the states that differ, each with the number of those that are the same."""
    found: list[tuple[State, int]] = []
    for state in states:
        same = next((number for number, (other, _) in enumerate(found) if _is_same(state, other)), None)
        if same is None:
            found.append((state, 1))
        else:
            found[same] = found[same][0], found[same][1] + 1
    return found


def _is_same(state: State, other: State) -> bool:
    here, there = np.concatenate(state), np.concatenate(other)
    return float(np.linalg.norm(here - there)) <= NEAR * (1 + float(np.linalg.norm(there)))


@dataclass(frozen=True, eq=False)
class Held:
    """What became of one state when a character was read over and over."""

    outcome: Outcome
    period: int | None
    """The length of the cycle; 1 if the state settles; None if it wanders or grows."""
    settling_characters: int | None
    """After how many repetitions the state stays within NEAR of the point; None if it does not, or does not settle."""
    point: Point | None
    """The fixed or slow point that a search finds from the state after the last repetition."""


def hold_character(
    parameters: Parameters, index: int, states: State, *, repetitions: int = REPETITIONS
) -> tuple[Held, ...]:
    """Read one character over and over from some states.

    Args:
        parameters: The weights, float64.
        index: The id of the character.
        states: The states to begin at, [S, H] for each layer.
        repetitions: How often it is read; more than LONGEST_PERIOD.

    Returns:
        What became of each state.

    """
    ids = np.full(len(states[0]), index)
    path = [np.concatenate(states, 1)]
    now = states
    with np.errstate(over="ignore", invalid="ignore"):
        for _ in range(repetitions):
            _, now = advance(parameters, ids, now)
            path.append(np.concatenate(now, 1))
            if np.abs(path[-1] - path[-2]).max() <= STILL:
                break  # all states have settled
    joined = np.stack(path)
    ends = [tuple(layer[number] for layer in now) for number in range(len(ids))]
    return tuple(_outcome(parameters, index, joined[:, number], end) for number, end in enumerate(ends))


def _outcome(parameters: Parameters, index: int, path: NDArray[np.floating[Any]], end: State) -> Held:
    """Return what became of a state with a path of states of all layers, [repetitions + 1, H of all layers]."""
    if not np.abs(path[-1]).max() <= LARGEST:
        return Held("grows", None, None, None)
    scale = 1 + float(np.linalg.norm(path[-1]))
    point = find_point(parameters, index, end)
    if point is None or not point.is_fixed:
        point = find_point(parameters, index, _extrapolate(path, end)) or point
    if point is not None and point.is_fixed:
        distances = np.linalg.norm(path - np.concatenate(point.state), axis=1)
        is_away = distances > NEAR * scale
        if not is_away[-1]:
            return Held("settles", 1, int(np.flatnonzero(is_away)[-1]) + 1 if is_away.any() else 0, point)
        later = distances[len(distances) // 2 :]
        if later[-1] < APPROACH * later[0] and (np.diff(later) < 0).all():
            return Held("settles", 1, None, point)
    returns = np.linalg.norm(path[-2 : -2 - LONGEST_PERIOD : -1] - path[-1], axis=1) <= RETURNED * scale
    period = int(returns.argmax()) + 1
    if returns.any() and period > 1:
        return Held("cycles", period, None, point)
    return Held("wanders", None, None, point)


def _extrapolate(path: NDArray[np.floating[Any]], end: State) -> State:
    """Return where a path leads whose steps go on to shrink by the same factor: a search from afar ends too early."""
    step, before = path[-1] - path[-2], float(np.linalg.norm(path[-2] - path[-3]))
    factor = float(np.linalg.norm(step)) / before if before else 1.0
    limit = path[-1] + step * (factor / (1 - factor) if factor < 1 else 0)
    return tuple(np.split(limit, np.cumsum([len(layer) for layer in end])[:-1]))


def describe_point(parameters: Parameters, index: int, point: Point, *, starts: int) -> FixedPoint:
    """Return the stability of a point, and what the network expects there.

    Args:
        parameters: The weights, float64.
        index: The id that is held constant.
        point: The point.
        starts: How many searches led there.

    """
    sizes = np.abs(np.concatenate(_eigenvalues(parameters, index, point.state)))
    radius = float(sizes.max())
    chances = probabilities(parameters.logits(point.state))
    likeliest = np.argsort(-chances, kind="stable")[:LIKELIEST].tolist()
    return FixedPoint(
        is_fixed=point.is_fixed,
        speed=point.speed,
        spectral_radius=radius,
        unstable_directions=int((sizes > 1).sum()),
        is_stable=radius < 1,
        time_constant=-1 / float(np.log(radius)) if 0 < radius < 1 else None,
        starts=starts,
        norm=float(np.linalg.norm(np.concatenate(point.state))),
        likeliest=tuple((choice, float(chances[choice])) for choice in likeliest),
    )


def _eigenvalues(parameters: Parameters, index: int, state: State) -> list[NDArray[np.complex128]]:
    """Return the eigenvalues of the Jacobian of F by layer; it has no others, since no layer reads those above."""
    found = []
    for number, (layer, table) in enumerate(zip(parameters.layers, parameters.input_tables, strict=True)):
        total = table[index if len(table) > 1 else 0] + state[number] @ layer.recurrent_kernel
        if number:
            total = total + state[number - 1] @ parameters.below_kernels[number]
        slopes = slope(parameters.activation, total, ACTIVATIONS[parameters.activation](total))
        jacobian = layer.recurrent_kernel * slopes
        leading = leading_eigenvalues(jacobian)
        if len(leading) < len(jacobian) and abs(abs(leading[0]) - 1) < BORDERLINE:
            leading = np.linalg.eigvals(jacobian).astype(np.complex128)
        found.append(leading)
    return found
