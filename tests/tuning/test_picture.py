"""The picture of a search: what is drawn where, judged by the colours of its pixels."""

import numpy as np
import pytest
from numpy.typing import NDArray

pytest.importorskip("optuna", reason="missing: optuna")

from matplotlib.colors import to_rgb
from optuna.distributions import CategoricalDistribution, FloatDistribution
from optuna.trial import FrozenTrial, TrialState, create_trial

from charlm.training.pictures import Picture
from charlm.tuning.picture import BEST, MARKS, draw_search
from charlm.tuning.space import Range

RATE, RNN = "training.optimizer.learning_rate", "model.rnn.activation"
SEARCH: dict[str, Range] = {
    RATE: FloatDistribution(0.001, 0.01, log=True),
    RNN: CategoricalDistribution(("tanh", "relu")),
}
COMPLETE, PRUNED = MARKS[TrialState.COMPLETE][2], MARKS[TrialState.PRUNED][2]


def make_trial(number: int, nats: float | None, *, rate: float = 0.003, state: TrialState) -> FrozenTrial:
    """Make a trial that has ended."""
    trial = create_trial(
        state=state,
        value=nats,
        params={RATE: rate, RNN: "relu"},
        distributions={**SEARCH},
    )
    trial.number = number
    return trial


def complete(number: int, nats: float, *, rate: float = 0.003) -> FrozenTrial:
    return make_trial(number, nats, rate=rate, state=TrialState.COMPLETE)


def pixels(picture: Picture, colour: str) -> NDArray[np.int64]:
    """Return the rows and columns of the pixels of a colour, [pixels, 2]."""
    return np.argwhere((np.abs(picture - 255 * np.array(to_rgb(colour))) < 1).all(axis=2))


def test_the_line_of_the_best_so_far_falls_from_left_to_right_and_never_rises() -> None:
    picture = draw_search([complete(0, 2.2), complete(1, 2.4), complete(2, 2.0), complete(3, 2.3)], SEARCH)
    history = pixels(picture[40:260], BEST)  # without the legend above it
    rows = [history[history[:, 1] == column, 0].mean() for column in np.unique(history[:, 1])]
    assert rows[-1] > rows[0] + 50  # rows count from the top
    assert (np.diff(rows) >= -1).all()


def test_the_ring_is_around_the_best_trial_on_the_axis_of_the_setting() -> None:
    places = []
    for best, other in ((0.001, 0.01), (0.01, 0.001)):
        trials = [complete(0, 2.0, rate=best), complete(1, 2.5, rate=other)]
        ring = pixels(draw_search(trials, SEARCH)[280:, :270], BEST)
        assert len(ring) > 0
        places.append(ring[:, 1].mean())
    assert places[1] > places[0] + 100


def test_pruned_trials_have_another_mark_and_failed_ones_none() -> None:
    without = draw_search([complete(0, 2.0)], SEARCH)
    pruned = draw_search([complete(0, 2.0), make_trial(1, 2.1, state=TrialState.PRUNED)], SEARCH)
    failed = draw_search([complete(0, 2.0), make_trial(1, None, state=TrialState.FAIL)], SEARCH)
    assert len(pixels(pruned, PRUNED)) > len(pixels(without, PRUNED)) > 0  # the legend has one
    assert len(pixels(pruned, COMPLETE)) > 0
    assert np.array_equal(failed, without)
