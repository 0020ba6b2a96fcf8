"""The ripple of an edit, compared with scoring both texts from the beginning."""

import numpy as np
import pytest
import reference
from conftest import RandomParameters
from inspection.networks import random_ids

from charlm.inspection.edit import edit_text
from charlm.inspection.trace import cut_weights, read_text


@pytest.mark.parametrize("position", [0, 1, 9, 19])
def test_the_nats_are_those_of_the_two_texts(random_parameters: RandomParameters, position: int) -> None:
    parameters, ids = random_parameters(layers=2), random_ids(20, ids=5)
    found = edit_text(read_text(cut_weights(parameters), ids), position, 3)
    changed = ids.copy()
    changed[position] = 3
    for values, text in ((found.nats_before, ids), (found.nats_after, changed)):
        expected = [np.nan, *reference.nats(parameters, text.tolist())]
        np.testing.assert_allclose(values, expected[position:], rtol=1e-6)
    assert found.positions.tolist() == [*range(position, 20)]
    assert (found.before, found.after) == (ids[position], 3)


def test_the_ripple_ends_at_its_reach(random_parameters: RandomParameters) -> None:
    trace = read_text(cut_weights(random_parameters()), random_ids(20, ids=5))
    assert edit_text(trace, 4, 0, reach=6).positions.tolist() == [*range(4, 11)]
