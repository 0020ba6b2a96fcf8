"""The rising weight decay: its course, its mean, and what it needs."""

from typing import Any

import keras
import numpy as np
import pytest

from charlm.engine.decay import RisingDecay
from charlm.engine.muon import Muon
from charlm.errors import CharlmError


def weights_after_each_step(optimizer: Any, total: int) -> list[float]:
    """Return a weight that starts at 1 and has no gradient, after each of `total` steps."""
    weight = keras.Variable(np.ones((2, 2), np.float32))
    optimizer.build([weight])
    decay = RisingDecay(optimizer, total)
    found = []
    for _ in range(total):
        decay.update()
        optimizer.apply([keras.ops.zeros((2, 2))], [weight])
        found.append(float(weight[0][0]))
    return found


@pytest.mark.parametrize("name", ["AdamW", "SGD"])
def test_the_decay_rises_in_a_straight_line_to_twice_that_of_the_optimizer(name: str) -> None:
    optimizer = getattr(keras.optimizers, name)(learning_rate=0.5, weight_decay=0.4)
    decays = np.array([0.1, 0.3, 0.5, 0.7])
    assert decays.mean() == pytest.approx(0.4)
    assert weights_after_each_step(optimizer, 4) == pytest.approx(np.cumprod(1 - 0.5 * decays), rel=1e-6)


@pytest.mark.parametrize(("arguments", "decay"), [({}, 0.4), ({"exclude_layers": [""]}, 0.2)], ids=["muon", "adam"])
def test_both_decays_of_muon_rise(arguments: Any, decay: float) -> None:
    optimizer = Muon(learning_rate=0.5, weight_decay=0.4, adam_weight_decay=0.2, **arguments)
    decays = decay * np.array([0.5, 1.5])
    assert weights_after_each_step(optimizer, 2) == pytest.approx(np.cumprod(1 - 0.5 * decays), rel=1e-6)


def test_an_optimizer_without_weight_decay_is_refused() -> None:
    with pytest.raises(CharlmError, match=r"^training\.rising_decay: found true, but .*weight_decay is not set$"):
        RisingDecay(keras.optimizers.Adam(), 10)
