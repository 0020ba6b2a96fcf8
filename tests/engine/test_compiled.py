"""Gradients that kernel.c computes, against those of Keras.

Axes: B batch, T time, V characters, H units.
"""

import shutil
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from arrays import check_close
from engine.networks import V, config

from charlm.engine.compiler import COMPILERS
from charlm.engine.model import build_model, zero_state
from charlm.engine.step import GradientsOfParts, Objective
from charlm.hardware import multiplies_bfloat16
from charlm.training.machines import Machines

T, B = 9, 7
NETWORKS: list[dict[str, Any]] = [
    *({}, {"layers": 3, "skip_connections": True, "units": 20}, {"layers": 2, "use_bias": False}),
    *({"layers": 2, "embedding": 4, "skip_connections": True}, {"layers": 2, "embedding": 4, "units": 7}),
    {"layers": 2, "layer_dropout": 0.3, "output_dropout": 0.3},
    {"layers": 3, "skip_connections": True, "output_dropout": 0.2, "rnn": {"recurrent_dropout": 0.3}},
    {"layers": 2, "rnn": {"kernel_regularizer": "l2", "bias_regularizer": "l1"}},
    *({"activation": "relu", "units": 7}, {"activation": "sigmoid"}, {"activation": "linear"}),
]
"""Settings of networks."""


@pytest.fixture(autouse=True)
def compiler() -> None:
    if not any(shutil.which(name) for name in COMPILERS):
        pytest.skip("missing: a C compiler")


def results(
    settings: dict[str, Any],
    *,
    compiled: bool,
    objective: Objective | None = None,
    precision: str = "float32",
    sizes: tuple[int, ...] = (3, 4),
) -> list[Any]:
    """Return the loss of a window, the gradients, and the state after it."""
    model = build_model(config(**settings), V, precision=precision)
    wanted, rng = objective or Objective(), np.random.default_rng(0)
    gradients_of = GradientsOfParts(model, sizes, wanted, machines=Machines(), compiled=compiled)
    window = tf.constant(rng.integers(0, V, (T + 1, B)), tf.int32)
    soft = rng.dirichlet(np.ones(V), (T, B))[..., : wanted.soft_width(V)].astype(np.float16)
    compute = tf.function(lambda: gradients_of(window, zero_state(model, B), tf.constant(soft)), autograph=False)
    state, loss, gradients = compute()
    return [value.numpy() for value in (loss, *gradients, *state)]


@pytest.mark.usefixtures("eagerly")
@pytest.mark.parametrize(
    ("settings", "objective"),
    [
        *((network, Objective()) for network in NETWORKS),
        *((NETWORKS[1], objective) for objective in (Objective(0.8, 0.6), Objective(temperature=0.9))),
    ],
    ids=str,
)
def test_loss_gradients_and_state_are_those_of_keras(settings: dict[str, Any], objective: Objective) -> None:
    expected, found = (results(settings, compiled=compiled, objective=objective) for compiled in (False, True))
    check_close(found, expected, atol=2e-6, rtol=1e-4)


@pytest.mark.usefixtures("eagerly")
@pytest.mark.parametrize("settings", NETWORKS[1:4], ids=str)
def test_bfloat16_changes_them_only_by_rounding(settings: dict[str, Any]) -> None:
    if not multiplies_bfloat16():
        pytest.skip("this processor does not multiply bfloat16")
    expected, found = (results(settings, compiled=compiled, precision="bfloat16") for compiled in (False, True))
    check_close(found, expected, of_peak=0.03)


def test_in_a_graph_results_repeat_to_the_bit_and_are_those_of_the_whole_batch_however_it_is_cut() -> None:
    check_close(*(results(NETWORKS[6], compiled=True) for _ in range(2)))
    expected, *others = (results(NETWORKS[1], compiled=True, sizes=each) for each in ((3, 4), (7,), (2, 2, 3)))
    for found in others:
        check_close(found, expected, atol=1e-6)
