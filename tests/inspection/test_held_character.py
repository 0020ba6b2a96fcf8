"""What becomes of states when a character is repeated, for units with known fates."""

import numpy as np
import pytest

from charlm.inspection.held_character import hold_character
from charlm.inspection.trace import Weights, cut_weights
from charlm.network.rnn import Layer, Parameters


def network(kernel: list[list[float]], activation: str = "linear") -> Weights:
    """Return a network of one layer with a recurrent kernel and no input."""
    units = len(kernel)
    layer = Layer(np.zeros((1, units), np.float32), np.array(kernel, np.float32), None)
    logits = np.zeros((units, 1), np.float32)
    return cut_weights(Parameters(None, (layer,), logits, np.zeros(1, np.float32), activation=activation))


def test_a_contracting_state_settles_when_it_is_near_its_end() -> None:
    (held,) = hold_character(network([[0.5]]), 0, (np.array([[1.0]]),))
    assert (held.outcome, held.period) == ("settles", 1)
    assert held.settling_characters == 10  # 0.5 ** 10 < 1e-3 < 0.5 ** 9
    assert held.state[0] == pytest.approx([0], abs=1e-12)


def test_a_state_that_does_not_move_has_settled_at_once() -> None:
    (held,) = hold_character(network([[1.0]]), 0, (np.array([[0.7]]),))
    assert (held.outcome, held.settling_characters) == ("settles", 0)


def test_a_rotation_by_a_quarter_has_a_cycle_of_four() -> None:
    (held,) = hold_character(network([[0, 1], [-1, 0]]), 0, (np.array([[1.0, 0.0]]),))
    assert (held.outcome, held.period, held.settling_characters) == ("cycles", 4, None)


def test_a_rotation_by_an_odd_angle_wanders() -> None:
    angle = np.sqrt(2)
    kernel = [[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]]
    assert hold_character(network(kernel), 0, (np.array([[1.0, 0.0]]),))[0].outcome == "wanders"


@pytest.mark.parametrize(("kernel", "activation"), [([[1.5]], "relu"), ([[-9.0]], "linear")], ids=str)
def test_a_state_that_grows_without_end_does_not_disturb_the_others(kernel: list[list[float]], activation: str) -> None:
    grows, other = hold_character(network(kernel, activation), 0, (np.array([[1.0], [-1e4]]),), repetitions=100)
    assert grows.outcome == "grows"
    assert other.outcome in {"settles", "grows"}
    if activation == "relu":
        assert (other.outcome, other.settling_characters) == ("settles", 1)
