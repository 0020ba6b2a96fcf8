"""The `.keras` model of stock layers has the logits and the states of the NumPy network."""

from typing import Any

import keras
import numpy as np
import pytest
import reference
from arrays import check_close
from models import make_random_model

from charlm.engine.model import build_stock_model

IDS = np.array([[0, 3, 1, 4, 2, 2]])


@pytest.mark.parametrize(
    "network",
    [{"layers": 2, "skip_connections": True, "embedding": 3}, {"activation": "sigmoid", "use_bias": False}],
    ids=str,
)
def test_the_logits_and_the_states_are_those_of_the_reference(network: dict[str, Any]) -> None:
    trained = make_random_model(**network)
    parameters, model = trained.parameters, build_stock_model(trained)
    logits, *states = model([keras.ops.array(IDS), *[keras.ops.zeros((1, 4)) for _ in parameters.layers]])
    expected, last = reference.read(parameters, IDS[0].tolist())
    check_close([logits[0], *(state[0] for state in states)], [expected, *last], atol=1e-5)
    assert {type(layer).__module__.partition(".")[0] for layer in model.layers} == {"keras"}
