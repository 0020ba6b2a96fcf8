"""What becomes of a state when one character is read over and over: it settles, cycles, wanders or grows.

Axes: S states side by side, H units.
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from charlm.inspection.trace import Layers, Weights, step_layers

Outcome = Literal["settles", "cycles", "wanders", "grows"]

REPETITIONS = 400
LONGEST_PERIOD = 32
SAME = 1e-5
"""The distance, relative to 1 + |h|, up to which a state counts as having come back."""
NEAR = 1e-3
"""The distance, relative to 1 + |h|, up to which a state counts as having settled."""
STILL = 1e-13
LARGEST = 1e6
"""The |h| above which a state counts as growing without end."""


@dataclass(frozen=True, eq=False)
class Held:
    """What became of one state."""

    outcome: Outcome
    period: int | None
    """The length of the cycle; 1 if the state settles; None if it wanders or grows."""
    settling_characters: int | None
    """After how many repetitions the state stays within NEAR of its end; None unless it settles."""
    state: Layers
    """The state after the last repetition, [H] for each layer."""


def hold_character(weights: Weights, index: int, states: Layers, *, repetitions: int = REPETITIONS) -> tuple[Held, ...]:
    """Read one character over and over from some states.

    Args:
        weights: The weights, float64.
        index: The id of the character.
        states: The states to begin at, [S, H] for each layer.
        repetitions: How often it is read; more than LONGEST_PERIOD. A state that has not come back by then wanders.

    Returns:
        What became of each state.

    """
    ids = np.full(len(states[0]), index)
    path = [np.concatenate(states, 1)]
    now = states
    with np.errstate(over="ignore", invalid="ignore"):
        for _ in range(repetitions):
            now, _ = step_layers(weights, ids, now)
            path.append(np.concatenate(now, 1))
            if np.abs(path[-1] - path[-2]).max() <= STILL:
                break  # all states have settled
    joined = np.stack(path).astype(np.float64)
    return tuple(_judge(joined[:, number], tuple(layer[number] for layer in now)) for number in range(len(states[0])))


def _judge(path: NDArray[np.float64], state: Layers) -> Held:
    """Return what became of a state with a path of states of all layers, [repetitions + 1, H of all layers]."""
    if not np.abs(path[-1]).max() <= LARGEST:
        return Held("grows", None, None, state)
    scale = 1 + float(np.linalg.norm(path[-1]))
    returns = np.linalg.norm(path[-2 : -2 - LONGEST_PERIOD : -1] - path[-1], axis=1) <= SAME * scale
    if not returns.any():
        return Held("wanders", None, None, state)
    period = int(returns.argmax()) + 1
    if period > 1:
        return Held("cycles", period, None, state)
    is_away = np.linalg.norm(path - path[-1], axis=1) > NEAR * scale
    settled = int(np.flatnonzero(is_away)[-1]) + 1 if is_away.any() else 0
    return Held("settles", 1, settled, state)
