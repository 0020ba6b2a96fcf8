"""Fixed points that attract the state while one character is repeated.

While the character c is repeated, the state follows h <- F(h) = f(x_c U + h V + b) in each layer,
and F(h) = h at a fixed point. Repetition finds the fixed points that attract. Sussillo and Barak
(2013, "Opening the black box") minimise the speed |F(h) - h| instead, which also finds points that
repel.

Axes: S states side by side, H units of a layer, D units of all layers, T characters of the text.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from charlm.errors import CharlmError
from charlm.inspection.figures import GRID, MUTED, SERIES, Figure, canvas, draw_legend
from charlm.inspection.reading import FULL_SIZE, MOST_STATES, Reading
from charlm.inspection.section import Content, Drawing, Sample, Section, Table
from charlm.network.gradients import slope
from charlm.network.rnn import Floats, Parameters, State, advance, probabilities
from charlm.text.markup import visible
from charlm.wording import counted

MAX_UNITS = 1024
"""Maximum number of units of a layer; the time for the eigenvalues grows with its cube."""
CHARACTERS = 3
"""Number of characters that are repeated, one at a time."""
STARTS = 3
"""Number of states of the text to start from."""
LIKELIEST = 3
"""Number of likely next characters that are listed for a fixed point."""
PATH = 400
"""Number of characters whose states are drawn."""
REPETITIONS = 12_800
"""Maximum number of repetitions in a network of up to FULL_SIZE parameters; fewer in a larger
network."""
AT_REST = 1e-9
"""Largest change of a unit in one step, relative to 1 + the largest |h|, for a state at rest."""
NEAR = 1e-6
"""Largest distance of a unit between two points that count as the same."""


@dataclass(frozen=True)
class FixedPoint:
    """A state that stays the same while a character is repeated."""

    place: tuple[float, float]
    """Coordinates in the plane of `FixedPoints.path`."""
    spectral_radius: float
    """Factor per step by which a small difference from the point eventually shrinks: the largest
    modulus of an eigenvalue of the Jacobian of F, V diag f'(a) in each layer."""
    starts: int
    """Number of starting states that end here."""
    likeliest: tuple[tuple[int, float], ...]
    """Ids that the network expects next at this point, with their probabilities, likeliest
    first."""


@dataclass(frozen=True)
class RepeatedCharacter:
    """Fixed points of the state while one character is repeated."""

    id: int
    """Id of the character."""
    starts: int
    """Number of starting states."""
    at_rest: int
    """Number of starting states that come to rest."""
    points: tuple[FixedPoint, ...]
    """Fixed points, most starts first."""


@dataclass(frozen=True, eq=False)
class FixedPoints:
    """Fixed points of repeated characters, and the path of the state on a text."""

    held: tuple[RepeatedCharacter, ...]
    """The most common characters of the text, most common first."""
    path: Floats
    """States of all layers after the first characters of the text, projected on the plane of their
    first two principal components, with their mean at the origin: float64 [up to PATH, 2]."""
    shares: tuple[float, float]
    """The share of the variance of these states along each component, from 0 to 1."""
    repetitions: int
    """Maximum number of repetitions of a character."""
    positions: Sample
    """Characters that were read before each state of the path."""
    counted: Sample
    """Characters of which the most common were found."""
    starts: tuple[int, ...]
    """Characters that were read before each starting state."""


def find_fixed_points(parameters: Parameters, ids: NDArray[Any], outputs: State) -> FixedPoints:
    """Find the fixed points of the state for each of the most common characters of a text.

    Args:
        parameters: The weights.
        ids: The text, integers [T], T >= 1.
        outputs: The states after each character, finite, [T, H] for each layer.

    Raises:
        CharlmError: A layer has more than MAX_UNITS units.

    """
    units = parameters.architecture.units
    if units > MAX_UNITS:
        raise CharlmError(
            f"a layer has {units:,} units; fixed points are computed for up to {MAX_UNITS:,}"
        )
    last = len(ids) - 1
    places = np.unique(np.linspace(last // 2, last, STARTS).round().astype(np.int64))
    starts = np.concatenate([output[places] for output in outputs], 1).astype(np.float64)
    states = np.concatenate([output[:PATH] for output in outputs], 1).astype(np.float64)
    mean = states.mean(0)
    plane, shares = principal_plane(states - mean)
    repetitions = repetitions_for(parameters.architecture.size)
    exact = parameters.cast(np.float64)
    held = []
    for index, _ in Counter(ids.tolist()).most_common(CHARACTERS):
        ends, is_at_rest = repeat_character(exact, index, starts, most=repetitions)
        groups = _same_points(ends[is_at_rest])
        points = tuple(_describe(exact, group, (group[0] - mean) @ plane) for group in groups)
        held.append(RepeatedCharacter(index, len(starts), int(is_at_rest.sum()), points))
    return FixedPoints(
        held=tuple(held),
        path=(states - mean) @ plane,
        shares=shares,
        repetitions=repetitions,
        positions=Sample.of(range(len(states))),
        counted=Sample.of(range(len(ids))),
        starts=tuple((places + 1).tolist()),
    )


def repetitions_for(weights: int) -> int:
    """Return the largest number of repetitions for a network with this number of weights."""
    return max(1, int(REPETITIONS * min(1.0, FULL_SIZE / weights)))


def principal_plane(centred: Floats) -> tuple[Floats, tuple[float, float]]:
    """Return the first two principal components of states whose mean is 0, with their variance.

    Args:
        centred: The states, [T, D].

    Returns:
        The plane [D, 2]: unit vectors, or zeros where there is no variance; and the share of the
        variance along each vector, from 0 to 1.

    """
    # zeros give at least two components, even for a single state or unit
    padded = np.pad(centred, ((0, 2), (0, 1)))
    _, sizes, rows = np.linalg.svd(padded, full_matrices=False)
    plane = rows[:2, :-1].T * (sizes[:2] > 0)
    total = float(sizes @ sizes) or 1.0
    first, second = (sizes[:2] ** 2 / total).tolist()
    return plane, (first, second)


def _same_points(points: Floats) -> list[list[Floats]]:
    """Return points [n, D] in groups of the same point, the largest group first."""
    groups: list[list[Floats]] = []
    for point in points:
        same = [group for group in groups if np.allclose(point, group[0], NEAR, NEAR)]
        if same:
            same[0].append(point)
        else:
            groups.append([point])
    return sorted(groups, key=len, reverse=True)


def _describe(parameters: Parameters, ends: list[Floats], place: Floats) -> FixedPoint:
    """Return the stability of a point, and the likeliest next characters there.

    The states `ends` [D], which came to the point, are equal up to rounding.
    """
    state = parameters.split(ends[0])
    # No layer reads the layers above it, so the whole Jacobian has the eigenvalues of its layers.
    jacobians = [
        layer.recurrent_kernel * slope(parameters.activation, part)
        for layer, part in zip(parameters.layers, state, strict=True)
    ]
    moduli = np.abs([np.linalg.eigvals(jacobian) for jacobian in jacobians])
    chances = probabilities(parameters.logits(state))
    likeliest = np.argsort(-chances, kind="stable")[:LIKELIEST].tolist()
    x, y = place.tolist()
    return FixedPoint(
        place=(x, y),
        spectral_radius=float(moduli.max()),
        starts=len(ends),
        likeliest=tuple((index, float(chances[index])) for index in likeliest),
    )


def repeat_character(
    parameters: Parameters, index: int, starts: Floats, *, most: int = REPETITIONS
) -> tuple[Floats, NDArray[np.bool_]]:
    """Read one character repeatedly until every state is at rest.

    Args:
        parameters: The weights, float64.
        index: The id of the character.
        starts: The states at the beginning, all layers side by side, [S, D].
        most: The largest number of repetitions, 1 or more.

    Returns:
        The states at the end, [S, D], and whether each of them is at rest, [S].

    """
    ids = np.full(len(starts), index)
    now = starts
    is_at_rest = np.zeros(len(starts), bool)
    for _ in range(most):
        before = now
        now = np.concatenate(advance(parameters, ids, parameters.split(before)), 1)
        sizes = 1 + np.abs(now).max(1)
        is_finite = np.isfinite(sizes)
        is_at_rest = is_finite & (np.abs(now - before).max(1) <= AT_REST * sizes)
        if (is_at_rest | ~is_finite).all():
            break
    return now, is_at_rest


def make_fixed_points(reading: Reading) -> Content:
    """Find the fixed points of a network for the most common characters of a text."""
    found = find_fixed_points(reading.parameters, reading.ids[:MOST_STATES], reading.states)
    starts = ", ".join(f"{character:,}" for character in found.starts)
    shown = sum(found.shares)
    variance = "The state is always the same."
    if shown:
        variance = (
            f"The plane holds {shown:.0%} of the variance of these states; "
            f"{1 - shown:.0%} is not shown."
        )
    return Content(
        found,
        basis=(
            f"The path shows the states after {found.positions}. The repeated characters are the "
            f"most common of {found.counted}. Each is read up to "
            f"{counted(found.repetitions, 'time')}, starting from the state at each of these "
            f"positions of the text: {starts}."
        ),
        figure=Drawing(
            partial(draw_path, found, reading.characters),
            "The states of all layers while the network reads the text, in the plane of their "
            "first two principal components, and the fixed points of repeated characters. "
            f"{variance}",
        ),
        table=point_table(found, reading.characters),
    )


def point_table(found: FixedPoints, characters: Sequence[str | None]) -> Table:
    """List the fixed points of each repeated character."""
    rows = [(held, point) for held in found.held for point in held.points or (None,)]
    return Table(
        "The fixed points. Radius: the factor per step by which a small difference from the point "
        "eventually shrinks.",
        {
            "character repeated": [visible(characters[held.id]) for held, _ in rows],
            "starting states that lead here": [
                f"{point.starts if point else 0} of {held.starts}" for held, point in rows
            ],
            "radius": [point and point.spectral_radius for _, point in rows],
            "expects next": [_expected(point, characters) for _, point in rows],
        },
        is_open=True,
    )


def _expected(point: FixedPoint | None, characters: Sequence[str | None]) -> str:
    """Return the likeliest characters at a point with their probabilities: "e (60%)  l (10%)"."""
    if point is None:
        return "does not come to rest"
    return "  ".join(
        f"{visible(characters[index])} ({chance:.0%})" for index, chance in point.likeliest
    )


def draw_path(found: FixedPoints, characters: Sequence[str | None]) -> Figure:
    """Draw the path of the state through the plane, and the fixed points."""
    figure, (axes,) = canvas("The state on the text, and the fixed points", heights=[3.2])
    axes.plot(
        *found.path.T,
        color=GRID,
        linewidth=0.5,
        marker=".",
        markersize=3,
        mec=MUTED,
        label="state on the text",
    )
    for colour, held in zip(SERIES, found.held, strict=False):
        for point in held.points:
            axes.scatter(
                *point.place,
                label=f"repeated: {visible(characters[held.id])}",
                s=45,
                facecolors="none",
                edgecolors=colour,
                zorder=4,
            )
    first, second = found.shares
    axes.set_xlabel(f"component 1, {first:.0%} of the variance")
    axes.set_ylabel(f"component 2, {second:.0%}")
    draw_legend(figure, columns=2)
    return figure


SECTION = Section(
    name="fixed_points",
    title="Fixed points",
    equation="F(h) = f(x_c U + h V + b) = h, the character c repeated",
    text=(
        "One character is repeated until the state comes to rest: until a step changes no unit by "
        "more than 1e-9 (1 + max |h|). The state has then reached a fixed point that attracts it. "
        "Points that repel the state are not found in this way. A radius near 1 means that the "
        "network approaches the point slowly."
    ),
    make=make_fixed_points,
)
