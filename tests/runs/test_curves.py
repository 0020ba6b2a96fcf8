"""Every value that TensorBoard shows, compared with its definition."""

import json
import math
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import reference
from fake_engine import Faults
from fake_runs import train
from followed_runs import OPTIMIZERS, Followed, follow
from numpy.typing import NDArray
from reference import Doubles
from reference_training import Forward, Trained, rate_of
from run_folders import EVENT_FOLDERS, read_events
from tensorboard.util.tensor_util import make_ndarray

from charlm.core.model_file import read_model
from charlm.core.rnn import Parameters
from charlm.runs.run import open_run

LOGGED = [*range(6, 61, 6)]
"""Steps of a run of 60 steps and two evaluations, at which it logs."""
EVALUATED = [30, 60]
LAYERS = [0, 1]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Followed:
    """Train a run with two layers, whose weights are averaged."""
    pytest.importorskip("tensorflow", reason="the engine trains the run of these tests")
    return follow(
        tmp_path_factory.mktemp("curves"),
        OPTIMIZERS["sgd"],
        "training.evaluations=2",
        "sampling.length=20",
    )


@pytest.fixture(scope="module")
def expected(run: Followed) -> Trained:
    """Return the results of the reference for the run."""
    return run.reference()


@pytest.fixture(scope="module")
def events(run: Followed) -> dict[str, Any]:
    """Return everything that TensorBoard reads in each folder of the run."""
    return {name: read_events(run.folder / name) for name in EVENT_FOLDERS}


def curve(events: Any, tag: str) -> dict[int, float]:
    """Return the values of a tag by step."""
    return {event.step: float(make_ndarray(event.tensor_proto)) for event in events.Tensors(tag)}


# The training text


def test_the_training_loss_is_the_mean_since_the_previous_entry(
    events: dict[str, Any], expected: Trained
) -> None:
    means = {step: np.mean(expected.losses[before:step]) for before, step in pairwise([0, *LOGGED])}
    assert curve(events["train"], "loss") == pytest.approx(means, rel=1e-5)


def test_the_gradient_norm_is_that_of_the_step_before_clipping(
    events: dict[str, Any], expected: Trained
) -> None:
    norms = {step: expected.norms[step - 1] for step in LOGGED}
    assert curve(events["."], "optimization/gradient_norm") == pytest.approx(norms, rel=1e-4)


def test_the_learning_rate_is_that_of_the_step(run: Followed, events: dict[str, Any]) -> None:
    rates = {step: rate_of(step - 1, run.settings) for step in LOGGED}
    assert curve(events["."], "optimization/learning_rate") == pytest.approx(rates)


# The validation text


def test_the_validation_loss_is_that_of_the_average_of_the_weights(
    run: Followed,
    events: dict[str, Any],
) -> None:
    shape = read_model(run.folder / "last.safetensors").parameters.architecture
    ids = run.ids("validation").tolist()
    losses = {
        step: np.mean(reference.nats(Parameters(shape, run.average(step)), ids))
        for step in EVALUATED
    }
    assert curve(events["validation"], "loss") == pytest.approx(losses, abs=1e-5)


def test_the_line_of_the_8_gram_model_is_its_loss_on_the_validation_text(
    run: Followed,
    events: dict[str, Any],
) -> None:
    ended = json.loads((run.folder / "ended.json").read_text(encoding="utf-8"))
    constant = dict.fromkeys(EVALUATED, ended["baselines"]["8-gram"])
    assert curve(events["8-gram"], "loss") == pytest.approx(constant)


# Each layer


def windows_of(ids: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return 16 windows of 81 ids, from the first to the last of the text, [81, 16]."""
    starts = [int(number * (len(ids) - 81) / 15) for number in range(16)]
    return np.array([ids[start : start + 81] for start in starts]).T


def outputs_of(run: Followed, step: int, layer: int) -> Doubles:
    """Return a layer's outputs after the last 48 characters of the windows, [48, 16, H]."""
    weights = {name: weight.astype(float) for name, weight in run.average(step).items()}
    zeros = np.zeros((16, 24))
    forward = Forward(weights, windows_of(run.ids("validation")), (zeros, zeros))
    return np.array([forward.lower, forward.upper][layer][-48:])


@pytest.mark.parametrize("layer", LAYERS)
def test_the_spectral_radius_is_the_largest_eigenvalue_of_the_average(
    layer: int,
    run: Followed,
    events: dict[str, Any],
) -> None:
    radii: dict[int, float] = {}
    for step in EVALUATED:
        kernel = run.average(step)[f"rnn.{layer}.recurrent_kernel"]
        radii[step] = np.abs(np.linalg.eigvals(kernel)).max()
    found = curve(events["."], f"spectral_radius/layer_{layer}")
    assert found == pytest.approx(radii, rel=0.01)


@pytest.mark.parametrize("layer", LAYERS)
def test_the_saturation_is_the_share_of_outputs_above_0_9(
    layer: int,
    run: Followed,
    events: dict[str, Any],
) -> None:
    shares = {step: np.mean(np.abs(outputs_of(run, step, layer)) > 0.9) for step in EVALUATED}
    assert min(shares.values()) > 0.02
    assert curve(events["."], f"saturation/layer_{layer}") == pytest.approx(shares, abs=2e-4)


def check_histograms(events: Any, tag: str, values: Sequence[NDArray[Any]]) -> None:
    """Check the buckets at each evaluation."""
    shown = {event.step: make_ndarray(event.tensor_proto) for event in events.Tensors(tag)}
    assert [*shown] == EVALUATED
    for found, expected in zip(shown.values(), values, strict=True):
        counts, edges = np.histogram(expected.astype(float), bins=30)
        np.testing.assert_allclose(found[:, 0], edges[:-1], atol=1e-5)
        np.testing.assert_allclose(found[:, 1], edges[1:], atol=1e-5)
        assert found[:, 2].tolist() == counts.tolist()


@pytest.mark.parametrize("name", ["embedding", "rnn.1.recurrent_kernel", "logits.kernel"])
def test_the_histogram_of_weights_has_the_trained_weights(
    name: str, run: Followed, events: dict[str, Any]
) -> None:
    values = [run.weights(step)[name] for step in EVALUATED]
    check_histograms(events["."], f"weights/{name}", values)


# The logs of a run with a fake engine

FAULTS = Faults(
    loss=lambda step, _rate: 0.5 * step,
    norm=lambda step: 100.0 + step,
    seconds=lambda step: 2.0 * step,
)
"""Each call of the engine has one step; step 8 has a loss of 4 nats and takes 16 seconds."""
SETTINGS = [
    "training.steps=20",
    "training.evaluations=1",
    "training.schedule.final_fraction=1",
    "training.optimizer.learning_rate=0.001",
]


def test_a_line_has_its_fields(tmp_path: Path) -> None:
    """Each line is about four steps, and step 20 has two lines.

    A step has 16 characters, and an epoch 20 steps. All weights but one bias are zero.
    """
    run = train(tmp_path / "run", *SETTINGS, faults=FAULTS)
    train_line, validation_line = run.metrics[1], run.metrics[5]
    assert train_line == {
        "step": 8,
        "epoch": 0.4,
        "characters": 128,
        "seconds": 72.0,
        "split": "train",
        "nats_per_char": 3.25,
        "bits_per_char": pytest.approx(3.25 / math.log(2)),
        "learning_rate": pytest.approx(0.001),
        "gradient_norm": 108.0,
        "characters_per_second": pytest.approx(16 / 16),
    }
    bias = run.model("last.safetensors").parameters.logits_bias.astype(float)
    ids = open_run(run.folder).corpus.split("validation")
    nats = np.log(np.exp(bias).sum()) - bias[ids[1:]].mean()
    assert validation_line == {
        "step": 20,
        "epoch": 1.0,
        "characters": 320,
        "seconds": 420.0,
        "split": "validation",
        "nats_per_char": pytest.approx(nats),
        "bits_per_char": pytest.approx(nats / math.log(2)),
    }
