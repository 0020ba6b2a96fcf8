"""Reading a text with everything kept, compared with the definition of the network."""

from typing import Any

import numpy as np
import pytest
import reference
from conftest import RandomParameters

from charlm.inspection.trace import cut_weights, read_text

IDS = np.array([0, 3, 1, 1, 4, 2])
KINDS: list[dict[str, Any]] = [
    {},
    {"layers": 3},
    {"layers": 2, "embedding": 3},
    {"layers": 3, "skip_connections": True},
    {"layers": 2, "embedding": 2, "skip_connections": True, "use_bias": False, "activation": "softsign"},
]


@pytest.mark.parametrize("kind", KINDS)
def test_logits_and_states_are_those_of_the_definition(
    random_parameters: RandomParameters, kind: dict[str, Any]
) -> None:
    parameters = random_parameters(scale=0.7, **kind)
    trace = read_text(cut_weights(parameters), IDS)
    logits, state = reference.read(parameters, IDS.tolist())
    np.testing.assert_allclose(trace.logits[:, 0], logits, atol=1e-7)
    for output, expected in zip(trace.outputs, state, strict=True):
        np.testing.assert_allclose(output[-1, 0], expected, atol=1e-7)


def test_texts_side_by_side_do_not_touch_each_other(random_parameters: RandomParameters) -> None:
    weights = cut_weights(random_parameters(layers=2))
    both = read_text(weights, np.stack([IDS, IDS[::-1]], axis=1))
    alone = read_text(weights, IDS[::-1])
    np.testing.assert_allclose(both.outputs[1][:, 1], alone.outputs[1][:, 0], atol=1e-12)


def test_a_text_goes_on_from_a_state(random_parameters: RandomParameters) -> None:
    weights = cut_weights(random_parameters(layers=2))
    whole, start = read_text(weights, IDS), read_text(weights, IDS[:3])
    rest = read_text(weights, IDS[3:], state=tuple(output[-1] for output in start.outputs))
    np.testing.assert_allclose(rest.logits, whole.logits[3:], atol=1e-12)
