"""The recurrence and the network in NumPy, long texts in blocks, and derivatives, all by definitions in float64."""

import math
from itertools import product
from typing import Any

import numpy as np
import pytest
import reference
from arrays import check_close
from inspection.networks import random_ids, traced
from models import random_parameters
from numpy.typing import NDArray

from charlm.config.schema import Config
from charlm.network import gradients, rnn
from charlm.network.architecture import Architecture, architecture
from charlm.network.gradients import (
    DERIVATIVES,
    follow_back,
    lag_curves,
    push_forward,
    read_text,
    spectral_radius,
)
from charlm.network.reading import Stepper, read_blocks, read_segments
from charlm.network.rnn import Parameters, nats, recur

IDS = np.random.default_rng(1).integers(0, 5, (7, 3))  # [T, B]


def test_recurrence_of_two_units_over_1_2_3_4_gives_the_known_states() -> None:
    random = np.random.RandomState(0)
    u, v, b = random.random((2, 1)), random.random((2, 2)), random.random(2)
    x = np.array([1.0, 2.0, 3.0, 4.0])[:, None]
    states = recur((x * u[:, 0] + b)[:, None, :], v.T, np.zeros((1, 2)))
    first, second = (
        [0.75582339, 0.98644211, 0.99682389, 0.99895519],
        [0.92270988, 0.99692686, 0.99944992, 0.99986996],
    )
    np.testing.assert_allclose(states[:, 0].T, [first, second], atol=5e-9)


@pytest.mark.parametrize("network", reference.NETWORKS, ids=str)
def test_step_and_unroll_equal_the_definition(network: dict[str, Any]) -> None:
    parameters = random_parameters(**network)
    whole, last = parameters.unroll(IDS, parameters.zero_state(3))
    rows, state = [], parameters.zero_state(3)
    for ids in IDS:
        row, state = parameters.step(ids, state)
        rows.append(row)
    check_close([np.stack(rows), *state], [whole, *last], atol=1e-5)
    for stream in range(3):
        logits, expected = reference.read(parameters, IDS[:, stream].tolist())
        check_close(
            [whole[:, stream], *(output[stream] for output in last)], [logits, *expected], atol=1e-5
        )


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
        expected, result = (
            [reference.ACTIVATIONS[name](value) for value in x.tolist()],
            activation(x),
        )
        assert result.dtype == np.float32
        np.testing.assert_allclose(result, expected, rtol=2e-6, atol=5e-7)
        assert np.isfinite(activation(np.array([-1e4, 1e4], np.float32))).all()


def test_nats_are_minus_the_logarithm_of_the_softmax() -> None:
    logits = np.random.default_rng(5).standard_normal((2, 3, 4)).astype(np.float32)
    targets = np.array([[0, 1, 2], [3, 3, 0]])
    expected = [
        [reference.log_sum_exp(logits[t, b]) - logits[t, b, targets[t, b]] for b in range(3)]
        for t in range(2)
    ]
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
        **{
            "rnn.0.kernel": (5, 4),
            "rnn.1.kernel": (4, 4),
            "rnn.0.bias": (4,),
            "rnn.1.bias": (4,),
            **recurrent,
        },
        **{"logits.kernel": (4, 5), "logits.bias": (5,)},
    }
    rnn = {"use_bias": False, "activation": "relu"}
    model = {**plain, "embedding": 3, "skip_connections": True, "rnn": rnn}
    found = architecture(Config.model_validate({"model": model}), 5)
    assert found == Architecture(
        5, 2, 4, embedding=3, use_bias=False, activation="relu", skip_connections=True
    )
    assert found.shapes() == {
        **{"embedding": (5, 3), "rnn.0.kernel": (3, 4), "rnn.1.kernel": (7, 4), **recurrent},
        **{"logits.kernel": (8, 5), "logits.bias": (5,)},
    }
    assert found.size == 15 + 12 + 28 + 2 * 16 + 40 + 5


def test_a_kernel_declares_the_parts_that_its_rows_multiply_in_their_order() -> None:
    tensors = random_parameters(layers=2, embedding=3, skip_connections=True).architecture.tensors
    assert {name: [*spec.reads.items()] for name, spec in tensors.items() if spec.reads} == {
        **{"embedding": [("one-hot", 5)], "rnn.0.kernel": [("embedding", 3)]},
        **{
            "rnn.1.kernel": [("rnn.0", 4), ("embedding", 3)],
            "logits.kernel": [("rnn.0", 4), ("rnn.1", 4)],
        },
        **{f"rnn.{layer}.recurrent_kernel": [(f"rnn.{layer}", 4)] for layer in range(2)},
    }
    rows = [tensors["rnn.1.kernel"].rows(part) for part in ("rnn.0", "embedding", "rnn.1")]
    assert rows == [slice(0, 4), slice(4, 7), slice(0, 0)]


# Long texts, in blocks and in segments side by side


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
        segments = [*read_segments(parameters, TEXT, streams=streams, warm_up=warm_up)]
        assert sorted(np.concatenate([positions for _, positions in segments])) == [*range(100)]
    expected, _ = parameters.unroll(TEXT[:-1, None], parameters.zero_state(1))
    for streams in (2, 4):
        for logits, positions in read_segments(parameters, TEXT, streams=streams, warm_up=20):
            np.testing.assert_allclose(logits, expected[positions, 0], atol=1e-4)


FEW = np.random.default_rng(2).integers(0, 5, 6)


@pytest.mark.parametrize("network", reference.NETWORKS, ids=str)
def test_stepper_equals_step_but_for_forbidden_ids_which_have_a_logit_of_minus_infinity(
    network: Any,
) -> None:
    parameters = random_parameters(**network)
    _, state = parameters.unroll(FEW[::-1, None], parameters.zero_state(1))
    free, bound = Stepper(parameters, state), Stepper(parameters, state, forbidden=[1, 4])
    assert (bound.logits[[1, 4]] == -np.inf).all()
    np.testing.assert_array_equal(bound.logits[[0, 2, 3]], free.logits[[0, 2, 3]])
    for index in FEW.tolist():
        (logits,), state = parameters.step(np.array([index]), state)
        free.advance(index)
        np.testing.assert_allclose(free.logits, logits, rtol=1e-4, atol=1e-5)


# Derivatives: slopes and gradients, by central differences and by eigenvalues

READ = [0, 3, 1, 1, 4, 2, 0, 2]
SHORT = np.array(READ[:6])
POINTS = np.array(
    [-7.3, -2.9, -1.1, -0.6, -0.05, 0.04, 0.3, 0.9, 1.4, 3.2, 5.7, 6.4]
)  # no kink among them
STEP = 1e-6


def test_the_slope_is_that_of_central_differences() -> None:
    assert set(DERIVATIVES) == set(reference.ACTIVATIONS)
    for activation in DERIVATIVES:
        f = np.vectorize(reference.ACTIVATIONS[activation], otypes=[float])
        expected = (f(POINTS + STEP) - f(POINTS - STEP)) / (2 * STEP)
        np.testing.assert_allclose(
            gradients.slope(activation, f(POINTS)), expected, rtol=1e-6, atol=1e-8
        )


AT = 5
"""The step whose prediction is followed back, of character AT + 1."""
KINDS: list[dict[str, Any]] = [
    *({}, {"layers": 2, "activation": "sigmoid", "embedding": 3}),
    {"layers": 3, "skip_connections": True, "embedding": 3},
    {"layers": 2, "skip_connections": True, "use_bias": False, "activation": "sigmoid"},
]


def loss(parameters: Parameters, time: int, layer: int, nudge: NDArray[Any]) -> float:
    """Return the loss of the prediction at AT if the output of a layer at a time is nudged."""
    logits, _ = reference.read(parameters, READ[: AT + 1], nudges={(time, layer): nudge})
    return reference.log_sum_exp(logits[AT]) - float(logits[AT, READ[AT + 1]])


@pytest.mark.parametrize("kind", KINDS)
def test_the_gradient_of_the_whole_state_is_that_of_central_differences(
    kind: dict[str, Any],
) -> None:
    parameters = random_parameters(scale=0.7, **kind)
    expected, state = reference.read(parameters, READ)
    trace = traced(parameters, READ)
    check_close(
        [parameters.logits(trace.outputs)[:, 0], *(output[-1, 0] for output in trace.outputs)],
        [expected, *state],
        atol=1e-7,
    )
    for lag, (taught, _) in enumerate(follow_back(trace, np.array([AT]), lags=AT + 1)):
        for layer, (gradient,) in enumerate(taught):
            nudges = 1e-5 * np.eye(len(gradient))
            ends = [
                [loss(parameters, AT - lag, layer, sign * nudge) for nudge in nudges]
                for sign in (1, -1)
            ]
            np.testing.assert_allclose(gradient, np.subtract(ends[0], ends[1]) / 2e-5, atol=1e-9)


def test_a_difference_moves_as_two_readings_do() -> None:
    parameters = random_parameters(layers=3, scale=0.7)
    exact = parameters.cast(np.float64)
    before = read_text(exact, np.array([1, 2])).outputs
    nudge = 1e-6 * np.random.default_rng(0).standard_normal((1, 12))
    states = [tuple(output[-1] + sign * part for output, part in zip(before, np.split(nudge, 3, axis=1), strict=True))
              for sign in (1, -1)]  # fmt: skip
    ends = [np.concatenate(exact.step(np.array([3]), state)[1], axis=-1) for state in states]
    at = read_text(exact, np.array([1, 2, 3]))
    pushed = push_forward(exact, nudge, tuple(gain[2] for gain in at.slopes))
    np.testing.assert_allclose(pushed, (ends[0] - ends[1]) / 2, rtol=1e-6, atol=1e-13)


def test_a_curve_has_percentiles_of_the_predictions_each_followed_as_if_alone() -> None:
    trace = traced(random_parameters(scale=0.7), random_ids(60, ids=5))
    (curve,) = lag_curves(trace, np.arange(20, 50), lags=3)
    each = [lag_curves(trace, np.array([step]), lags=3)[0].median for step in range(20, 50)]
    expected = np.quantile(each, [0.1, 0.5, 0.9], axis=0)
    check_close([curve.low, curve.median, curve.high], expected, rtol=1e-12)
    parameters, texts = random_parameters(layers=2, scale=0.7), random_ids(24, ids=5).reshape(12, 2)
    both = lag_curves(traced(parameters, texts), np.array([9]), lags=5, texts=np.array([1]))
    alone = lag_curves(traced(parameters, texts[:, 1]), np.array([9]), lags=5)
    check_close([one.median for one in both], [one.median for one in alone], rtol=1e-12)
    parameters.logits_kernel[...] = 0  # a gradient of zero is not divided by
    assert np.isnan(
        lag_curves(traced(parameters, texts[:, 0]), np.array([9]), lags=4)[0].median
    ).all()


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_everything_has_the_dtype_of_the_weights(dtype: type) -> None:
    trace = read_text(random_parameters(layers=2, skip_connections=True).cast(dtype), SHORT)
    for taught, changes in follow_back(trace, np.array([3, 4]), lags=3):
        arrays = (*trace.outputs, *trace.slopes, *taught, *changes)
        assert {array.dtype for array in arrays} == {np.dtype(dtype)}


def test_the_radius_is_the_size_of_the_largest_eigenvalue() -> None:
    for size, scale, seed in product((1, 2, 30, 200), (1e-3, 1.0, 1e3), range(5)):
        matrix = (scale * np.random.default_rng(seed).standard_normal((size, size))).astype(
            np.float32
        )
        expected = np.abs(np.linalg.eigvals(matrix.astype(np.float64))).max()
        assert spectral_radius(matrix) == pytest.approx(expected, rel=1e-2), (size, scale, seed)
    assert spectral_radius(np.eye(5, k=1, dtype=np.float32)) == 0  # it only shifts
    assert spectral_radius(np.zeros((3, 3), np.float32)) == 0
    for value in (np.nan, np.inf):
        assert np.isnan(spectral_radius(np.array([[value]], np.float32)))
