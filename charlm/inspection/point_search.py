"""The search for points where a map h -> F(h) stands still, or nearly so, in one layer and in a stack of them.

Newton's method for F(h) = h, which takes shorter steps where it must; where it cannot lower the speed |F(h) - h| at
all, gradient steps of Levenberg and Marquardt lead to the nearest minimum of the speed. The input of a layer does not
depend on the layers above it. So the layers are searched from the lowest up, each with its input held constant.

Axes: H units.
"""

from dataclasses import dataclass

import numpy as np

from charlm.network.gradients import slope
from charlm.network.rnn import ACTIVATIONS, Floats, Parameters, State

TOLERANCE = 1e-10
"""The speed, relative to 1 + |h|, up to which a point counts as fixed."""
MAX_STEPS = 40
MAX_DAMPED_STEPS = 12
"""After so many steps that Newton's method could not take, the search is given up: in a chaotic network, most are."""
SHORTEST = 1 / 64
"""The smallest share of a Newton step that is tried."""
MAX_DAMPING = 1e6
LARGEST = 1e100
"""Beyond this, squares are not finite."""
STATIONARY = 1e-3
"""Where the gradient of the speed is smaller than this, the speed is at a minimum."""


@dataclass(frozen=True, eq=False)
class Point:
    """Where a search has ended."""

    state: State
    """[H] for each layer."""
    speed: float
    """|F(h) - h| over all layers."""
    is_fixed: bool
    """Whether every layer stands still."""


@dataclass(frozen=True, eq=False)
class _Here:
    """A state of a layer and what decides the next step."""

    state: Floats
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
class _Map:
    """F(h) = f(constant + h V) of one layer."""

    activation: str
    constant: Floats
    kernel: Floats

    def look(self, state: Floats) -> _Here | None:
        """Return what decides the next step at a state; None if a number is too large or not finite."""
        with np.errstate(over="ignore", invalid="ignore"):
            total = self.constant + state @ self.kernel
            output = ACTIVATIONS[self.activation](total)
            gains = slope(self.activation, total, output)
            change = output - state
        is_small = (np.abs(change) < LARGEST).all() and (np.abs(gains) < LARGEST).all()
        return _Here(state, change, gains) if is_small else None


def find_point(parameters: Parameters, index: int, start: State) -> Point | None:
    """Search for a fixed or slow point of the whole stack while one character is held constant.

    Args:
        parameters: The weights, float64.
        index: The id of the character.
        start: The state to begin at, [H] for each layer.

    Returns:
        The point; None if the search has ended at none, or left the finite numbers.

    """
    found: list[_Here] = []
    for layer, table, below, first in zip(
        parameters.layers, parameters.input_tables, parameters.below_kernels, start, strict=True
    ):
        constant = table[index if len(table) > 1 else 0]
        constant = constant + found[-1].state @ below if found else constant
        here = _search(_Map(parameters.activation, constant, layer.recurrent_kernel), first)
        if here is None:
            return None
        found.append(here)
    return Point(
        state=tuple(here.state for here in found),
        speed=float(np.linalg.norm([here.speed for here in found])),
        is_fixed=all(here.is_fixed for here in found),
    )


def _search(layer: _Map, start: Floats) -> _Here | None:
    """Search for a fixed or slow point of one layer."""
    here = layer.look(start)
    damping, damped_steps = 1e-3, 0
    for _ in range(MAX_STEPS):
        if here is None or here.is_fixed:
            return here
        # Of the change F(h) - h: a small row vector d changes it by d J.
        jacobian = layer.kernel * here.gains - np.eye(len(start))
        if np.linalg.norm(jacobian @ here.change) <= STATIONARY * here.speed:
            return here
        after = _newton_step(layer, here, jacobian)
        if after is None and damped_steps < MAX_DAMPED_STEPS:
            after, damping = _damped_step(layer, here, jacobian, damping)
            damped_steps += 1
        here = after
    return None


def _newton_step(layer: _Map, here: _Here, jacobian: Floats) -> _Here | None:
    """Return the state after the longest Newton step that lowers the speed clearly; None if none does."""
    try:
        step = np.linalg.solve(jacobian.T, -here.change)
    except np.linalg.LinAlgError:
        return None
    share = 1.0
    while share >= SHORTEST:
        after = layer.look(here.state + share * step)
        if after is not None and after.speed < (1 - share / 4) * here.speed:
            return after
        share /= 2
    return None


def _damped_step(layer: _Map, here: _Here, jacobian: Floats, damping: float) -> tuple[_Here | None, float]:
    """Return the state after the least damped step that lowers the speed, or None, and the damping of the next one."""
    square = jacobian @ jacobian.T
    while damping <= MAX_DAMPING:
        step = np.linalg.solve(square + damping * np.eye(len(square)), -jacobian @ here.change)
        after = layer.look(here.state + step)
        if after is not None and after.speed < here.speed:
            return after, damping / 10
        damping *= 10
    return None, damping
