"""The recurrence and the network in NumPy, by their definition in float64, and long texts in blocks."""

import math
from typing import Any

import numpy as np
import pytest
import reference
from arrays import check_close
from models import architecture_of, random_parameters
from reference import NETWORKS

from charlm.config.schema import Config
from charlm.network import rnn
from charlm.network.reading import Stepper, read_blocks, read_pieces
from charlm.network.rnn import Architecture, architecture, nats, parameters_from_tensors, recur

IDS = np.random.default_rng(1).integers(0, 5, (7, 3))  # [T, B]


def test_recurrence_of_two_units_over_1_2_3_4_gives_the_known_states() -> None:
    random = np.random.RandomState(0)
    u, v, b = random.random((2, 1)), random.random((2, 2)), random.random(2)
    x = np.array([1.0, 2.0, 3.0, 4.0])[:, None]
    states = recur((x * u[:, 0] + b)[:, None, :], v.T, np.zeros((1, 2)))
    first, second = [0.75582339, 0.98644211, 0.99682389, 0.99895519], [0.92270988, 0.99692686, 0.99944992, 0.99986996]
    np.testing.assert_allclose(states[:, 0].T, [first, second], atol=5e-9)


@pytest.mark.parametrize("network", reference.NETWORKS, ids=str)
def test_step_and_unroll_equal_the_definition_also_of_parameters_from_their_tensors(network: dict[str, Any]) -> None:
    made = random_parameters(**network)
    tensors = made.tensors()
    parameters = parameters_from_tensors(tensors, activation="tanh", skip_connections=made.skip_connections)
    assert {name: id(tensor) for name, tensor in parameters.tensors().items()} == {
        name: id(tensor) for name, tensor in tensors.items()
    }
    assert made.size == sum(tensor.size for tensor in tensors.values()) == architecture_of(made).size
    whole, last = parameters.unroll(IDS, parameters.zero_state(3))
    rows, state = [], parameters.zero_state(3)
    for ids in IDS:
        row, state = parameters.step(ids, state)
        rows.append(row)
    check_close([np.stack(rows), *state], [whole, *last], atol=1e-5)
    for stream in range(3):
        logits, expected = reference.read(parameters, IDS[:, stream].tolist())
        check_close([whole[:, stream], *(output[stream] for output in last)], [logits, *expected], atol=1e-5)


def test_the_given_state_is_not_changed_also_not_by_an_empty_window() -> None:
    parameters = random_parameters(layers=2)
    state = parameters.zero_state(3)
    parameters.step(IDS[0], state)
    _, last = parameters.unroll(IDS, state)
    assert not state[0].any()
    logits, after = parameters.unroll(IDS[:0], last)
    assert logits.shape == (0, 3, 5)
    check_close(after, last)


def test_activation_equals_its_definition() -> None:
    x = np.linspace(-8, 8, 65, dtype=np.float32)
    for name, activation in rnn.ACTIVATIONS.items():
        expected, result = [reference.ACTIVATIONS[name](value) for value in x.tolist()], activation(x)
        assert result.dtype == np.float32
        np.testing.assert_allclose(result, expected, rtol=2e-6, atol=5e-7)
        assert np.isfinite(activation(np.array([-1e4, 1e4], np.float32))).all()


def test_nats_are_minus_the_logarithm_of_the_softmax() -> None:
    logits = np.random.default_rng(5).standard_normal((2, 3, 4)).astype(np.float32)
    targets = np.array([[0, 1, 2], [3, 3, 0]])
    expected = [[reference.log_sum_exp(logits[t, b]) - logits[t, b, targets[t, b]] for b in range(3)] for t in range(2)]
    result = nats(logits, targets)
    assert result.dtype == np.float32
    np.testing.assert_allclose(result, expected, rtol=1e-5)
    large = np.array([[1e4, -1e4], [1e38, -3e38]], np.float32)
    np.testing.assert_allclose(nats(large, np.array([1, 0])), [2e4, 0])
    for value in (math.nan, math.inf):
        assert not np.isfinite(nats(np.array([[0.0, value]], np.float32), np.array([0]))).any()


def test_a_config_decides_the_tensors_with_the_names_and_shapes_of_the_format() -> None:
    plain = {"layers": 2, "units": 4}
    recurrent = {f"rnn.{layer}.recurrent_kernel": (4, 4) for layer in (0, 1)}
    assert architecture(Config.model_validate({"model": plain}), 5).shapes() == {
        **{"rnn.0.kernel": (5, 4), "rnn.1.kernel": (4, 4), "rnn.0.bias": (4,), "rnn.1.bias": (4,), **recurrent},
        **{"logits.kernel": (4, 5), "logits.bias": (5,)},
    }
    rnn = {"use_bias": False, "activation": "relu"}
    model = {**plain, "embedding": 3, "skip_connections": True, "rnn": rnn}
    found = architecture(Config.model_validate({"model": model}), 5)
    assert found == Architecture(5, 2, 4, embedding=3, use_bias=False, activation="relu", skip_connections=True)
    assert found.shapes() == {
        **{"embedding": (5, 3), "rnn.0.kernel": (3, 4), "rnn.1.kernel": (7, 4), **recurrent},
        **{"logits.kernel": (8, 5), "logits.bias": (5,)},
    }


# Long texts, in blocks and in pieces side by side


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


FEW = np.random.default_rng(2).integers(0, 5, 6)


@pytest.mark.parametrize("network", NETWORKS, ids=str)
def test_stepper_equals_step_but_for_forbidden_ids_which_have_a_logit_of_minus_infinity(network: Any) -> None:
    parameters = random_parameters(**network)
    _, state = parameters.unroll(FEW[::-1, None], parameters.zero_state(1))
    free, bound = Stepper(parameters, state), Stepper(parameters, state, forbidden=[1, 4])
    assert (bound.logits[[1, 4]] == -np.inf).all()
    np.testing.assert_array_equal(bound.logits[[0, 2, 3]], free.logits[[0, 2, 3]])
    for index in FEW.tolist():
        (logits,), state = parameters.step(np.array([index]), state)
        free.advance(index)
        np.testing.assert_allclose(free.logits, logits, rtol=1e-4, atol=1e-5)
