"""A long text read in blocks and in pieces gives the logits of reading it at once.

That estimates of the loss are close is a test of `charlm.evaluation.scoring`.
"""

import numpy as np
import pytest
from conftest import RandomParameters

from charlm.network.blocks import read_blocks, read_pieces

TEXT = np.random.default_rng(4).integers(0, 5, 101)


@pytest.mark.parametrize(("block", "values"), [(7, 1 << 20), (100, 60), (100, 1)])
def test_blocks_give_the_logits_of_the_whole_text(block: int, values: int, random_parameters: RandomParameters) -> None:
    parameters = random_parameters(layers=2, scale=0.5)
    zero, ids = parameters.zero_state(1), TEXT[:, None]
    blocks = [*read_blocks(parameters, ids, zero, block=block, values_at_once=values)]
    expected, state = parameters.unroll(ids, zero)
    np.testing.assert_allclose(np.concatenate([logits for logits, _ in blocks]), expected, atol=1e-5)
    np.testing.assert_allclose(blocks[-1][1][0], state[0], atol=1e-5)


@pytest.mark.parametrize(("streams", "warm_up"), [(1, 0), (7, 14), (64, 1), (64, 0)])
def test_pieces_give_each_position_once(streams: int, warm_up: int, random_parameters: RandomParameters) -> None:
    pieces = [*read_pieces(random_parameters(), TEXT, streams=streams, warm_up=warm_up)]
    assert sorted(np.concatenate([positions for _, positions in pieces])) == [*range(100)]


def test_pieces_give_the_logits_of_a_stream_if_the_network_forgets(random_parameters: RandomParameters) -> None:
    parameters = random_parameters(layers=2, scale=0.3)
    expected, _ = parameters.unroll(TEXT[:-1, None], parameters.zero_state(1))
    for logits, positions in read_pieces(parameters, TEXT, streams=4, warm_up=20):
        np.testing.assert_allclose(logits, expected[positions, 0], atol=1e-4)


def test_the_first_piece_starts_from_the_zero_state(random_parameters: RandomParameters) -> None:
    parameters = random_parameters(scale=2.0)
    expected, _ = parameters.unroll(TEXT[:1, None], parameters.zero_state(1))
    logits, positions = next(read_pieces(parameters, TEXT, streams=5, warm_up=10))
    np.testing.assert_allclose(logits[positions == 0][0], expected[0, 0], atol=1e-6)
