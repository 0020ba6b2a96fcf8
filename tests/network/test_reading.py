"""Long texts read in blocks, and in pieces side by side."""

from typing import Any

import numpy as np
import pytest
from arrays import check_close
from models import random_parameters
from reference import NETWORKS

from charlm.network.reading import Stepper, read_blocks, read_pieces

TEXT = np.random.default_rng(4).integers(0, 5, 101)


@pytest.mark.parametrize(
    ("streams", "block", "values"), [(1, 7, 1 << 20), (1, 100, 60), (1, 100, 1), (150, 4, 1 << 20)]
)  # several threads read 150 streams
def test_blocks_give_the_logits_of_the_whole_text(streams: int, block: int, values: int) -> None:
    parameters, rng = random_parameters(layers=2, scale=0.5), np.random.default_rng(0)
    ids = rng.integers(0, 5, (101, streams))
    state = tuple(rng.standard_normal((streams, 4)).astype(np.float32) for _ in range(2))
    blocks = [*read_blocks(parameters, ids, state, block=block, values_at_once=values)]
    expected, last = parameters.unroll(ids, state)
    found = np.concatenate([logits for logits, _ in blocks])
    check_close([found, *blocks[-1][1]], [expected, *last], atol=1e-5)


def test_pieces_give_each_position_once_and_the_logits_of_a_stream_if_the_network_forgets() -> None:
    parameters = random_parameters(layers=2, scale=0.3)
    for streams, warm_up in ((1, 0), (2, 20), (7, 14), (64, 1), (64, 0)):
        pieces = [*read_pieces(parameters, TEXT, streams=streams, warm_up=warm_up)]
        assert sorted(np.concatenate([positions for _, positions in pieces])) == [*range(100)]
    expected, _ = parameters.unroll(TEXT[:-1, None], parameters.zero_state(1))
    for streams in (2, 4):
        for logits, positions in read_pieces(parameters, TEXT, streams=streams, warm_up=20):
            np.testing.assert_allclose(logits, expected[positions, 0], atol=1e-4)


IDS = np.random.default_rng(2).integers(0, 5, 6)


@pytest.mark.parametrize("network", NETWORKS, ids=str)
def test_stepper_equals_step_but_for_forbidden_ids_which_have_a_logit_of_minus_infinity(network: Any) -> None:
    parameters = random_parameters(**network)
    _, state = parameters.unroll(IDS[::-1, None], parameters.zero_state(1))
    free, bound = Stepper(parameters, state), Stepper(parameters, state, forbidden=[1, 4])
    assert (bound.logits[[1, 4]] == -np.inf).all()
    np.testing.assert_array_equal(bound.logits[[0, 2, 3]], free.logits[[0, 2, 3]])
    for index in IDS.tolist():
        (logits,), state = parameters.step(np.array([index]), state)
        free.advance(index)
        np.testing.assert_allclose(free.logits, logits, rtol=1e-4, atol=1e-5)
