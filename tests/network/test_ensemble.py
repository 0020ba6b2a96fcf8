"""An ensemble predicts by the mean of the logits of its networks."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import reference
from arrays import check_close
from conftest import RandomParameters

from charlm.errors import CharlmError
from charlm.network.bundle import Bundle
from charlm.network.ensemble import Ensemble, join_networks, read_blocks, read_pieces
from charlm.text.vocabulary import Vocabulary

IDS = np.random.default_rng(2).integers(0, 5, (6, 3))  # [T, B]


@pytest.fixture
def ensemble(random_parameters: RandomParameters) -> Ensemble:
    """Return three networks of different shapes."""
    return Ensemble(
        (
            random_parameters(layers=2, units=4, seed=1),
            random_parameters(layers=3, units=6, embedding=2, skip_connections=True, seed=2),
            random_parameters(units=3, activation="sigmoid", use_bias=False, seed=3),
        )
    )


def test_the_logits_are_the_mean_of_those_of_the_networks(ensemble: Ensemble) -> None:
    logits, _ = ensemble.unroll(IDS, ensemble.zero_state(3))
    for stream in range(3):
        single = [reference.read(network, IDS[:, stream].tolist())[0] for network in ensemble.networks]
        np.testing.assert_allclose(logits[:, stream], np.mean(single, axis=0), atol=1e-4)


def test_a_text_can_be_read_in_parts_and_by_character(ensemble: Ensemble) -> None:
    whole, _ = ensemble.unroll(IDS, ensemble.zero_state(3))
    _, state = ensemble.unroll(IDS[:4], ensemble.zero_state(3))
    for time in (4, 5):
        logits, state = ensemble.step(IDS[time], state)
        np.testing.assert_allclose(logits, whole[time], atol=1e-5)


def test_a_bundle_alone_is_its_network_and_several_are_an_ensemble(bundle: Bundle) -> None:
    assert join_networks({Path("a"): bundle}) is bundle.parameters
    joined = join_networks({Path("a"): bundle, Path("b"): bundle})
    assert isinstance(joined, Ensemble)
    assert [network is bundle.parameters for network in joined.networks] == [True, True]


@pytest.mark.parametrize(
    ("change", "difference"),
    [
        ({"level": "byte"}, "level byte instead of char"),
        ({"characters": ("\n", "a", None, None)}, "4 ids instead of 5"),
        ({"characters": ("\n", "a", "c", None, None)}, "id 2 is 'c' instead of 'b'"),
        ({"end_of_text_id": None}, "other reserved ids"),
    ],
)
def test_networks_with_different_vocabularies_are_refused(
    change: dict[str, Any], difference: str, bundle: Bundle, vocabulary: Vocabulary
) -> None:
    other = replace(bundle, vocabulary=replace(vocabulary, **change))
    with pytest.raises(CharlmError, match=f"^b/vocabulary.json: {difference}; must be the vocabulary of a$"):
        join_networks({Path("a"): bundle, Path("b"): other})


TEXT = np.random.default_rng(4).integers(0, 5, 101)


@pytest.mark.parametrize(
    ("streams", "block", "values"), [(1, 7, 1 << 20), (1, 100, 60), (1, 100, 1), (150, 4, 1 << 20)]
)  # several threads read 150 streams
def test_blocks_give_the_logits_of_the_whole_text(
    streams: int, block: int, values: int, random_parameters: RandomParameters
) -> None:
    parameters, rng = random_parameters(layers=2, scale=0.5), np.random.default_rng(0)
    ids = rng.integers(0, 5, (101, streams))
    state = tuple(rng.standard_normal((streams, 4)).astype(np.float32) for _ in range(2))
    blocks = [*read_blocks(parameters, ids, state, block=block, values_at_once=values)]
    expected, last = parameters.unroll(ids, state)
    found = np.concatenate([logits for logits, _ in blocks])
    check_close([found, *blocks[-1][1]], [expected, *last], atol=1e-5)


@pytest.mark.parametrize(("streams", "warm_up"), [(1, 0), (7, 14), (64, 1), (64, 0)])
def test_pieces_give_each_position_once(streams: int, warm_up: int, random_parameters: RandomParameters) -> None:
    pieces = [*read_pieces(random_parameters(), TEXT, streams=streams, warm_up=warm_up)]
    assert sorted(np.concatenate([positions for _, positions in pieces])) == [*range(100)]


def test_pieces_give_the_logits_of_a_stream_if_the_network_forgets(random_parameters: RandomParameters) -> None:
    parameters = random_parameters(layers=2, scale=0.3)
    expected, _ = parameters.unroll(TEXT[:-1, None], parameters.zero_state(1))
    for logits, positions in read_pieces(parameters, TEXT, streams=4, warm_up=20):
        np.testing.assert_allclose(logits, expected[positions, 0], atol=1e-4)
