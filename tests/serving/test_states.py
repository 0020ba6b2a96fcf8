"""The states that the server tells: those of the network, and nothing of a unit that does not exist."""

import asyncio
from typing import Any

import numpy as np
import pytest
from bundles import make_random_parameters

from charlm.network.rnn import Parameters, read_outputs
from charlm.serving.requests import RequestError, StatesRequest
from charlm.serving.states import SLICE_CHARACTERS, read_states
from charlm.text.vocabulary import Vocabulary

VOCABULARY = Vocabulary("char", tuple("\nabcd"))
PARAMETERS = make_random_parameters(layers=2, units=4, scale=0.5)


def states(ids: np.ndarray, *, parameters: Parameters = PARAMETERS, **fields: Any) -> dict[str, Any]:
    async def read() -> dict[str, Any]:
        return await read_states(parameters, ids, StatesRequest(**fields), VOCABULARY, turn=asyncio.Lock())

    return asyncio.run(read())


@pytest.mark.parametrize("length", [1, SLICE_CHARACTERS, SLICE_CHARACTERS + 1, 3 * SLICE_CHARACTERS - 1])
def test_the_state_and_the_values_of_a_unit_are_those_of_the_network(length: int) -> None:
    ids = np.random.default_rng(1).integers(0, 5, length)
    expected = read_outputs(PARAMETERS, ids, tuple(layer[0] for layer in PARAMETERS.zero_state(1)))
    found = states(ids, layer=1, unit=2)
    np.testing.assert_allclose(found["state"], [output[-1] for output in expected], atol=1e-6)
    np.testing.assert_allclose(found["values"], expected[1][:, 2], atol=1e-6)
    assert states(ids)["values"] == []


def test_a_new_text_begins_after_a_line_break_and_has_no_values() -> None:
    nothing = np.zeros(0, np.int64)
    assert states(nothing, unit=0) == {"state": states(np.array([0]))["state"], "values": []}


@pytest.mark.parametrize(("layer", "unit"), [(2, None), (0, 4), (2, 0)])
def test_a_unit_that_the_model_does_not_have_is_refused(layer: int, unit: int | None) -> None:
    with pytest.raises(RequestError, match=r"must be below 2 and 4") as caught:
        states(np.array([1]), layer=layer, unit=unit)
    assert (caught.value.status, caught.value.param) == (400, "unit")


def test_a_unit_that_is_off_is_0_and_nothing_reads_it() -> None:
    ids = np.random.default_rng(1).integers(0, 5, SLICE_CHARACTERS + 1)
    part = PARAMETERS.without_units([1, 6])
    start = tuple(layer[0] for layer in part.zero_state(1))
    expected = np.array([output[-1] for output in read_outputs(part, ids, start)])
    expected[0, 1] = expected[1, 2] = 0
    found = states(ids, layer=1, unit=2, units_off=(1, 6))
    np.testing.assert_allclose(found["state"], expected, atol=1e-6)
    assert found["values"] == [0] * len(ids)


def test_states_that_are_not_finite_are_refused() -> None:
    grown = make_random_parameters(activation="linear", scale=1e30)
    with pytest.raises(RequestError, match="not finite") as caught:
        states(np.ones(9, np.int64), parameters=grown)
    assert (caught.value.status, caught.value.code) == (422, "not_finite")
