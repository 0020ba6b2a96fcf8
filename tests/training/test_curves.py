"""Every value that TensorBoard shows, compared with its definition."""

import contextlib
import math
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import reference
from fake_engine import Faults, interrupt_after
from fake_runs import Clock, resume, train
from fake_runs import Trained as FakeRun
from followed_runs import OPTIMIZERS, Followed, follow
from numpy.typing import NDArray
from reference_training import Forward, Trained, rate_of
from run_folders import EVENT_FOLDERS, read_events, read_metrics
from tensorboard.backend.event_processing.event_file_loader import EventFileLoader
from tensorboard.util.tensor_util import make_ndarray

from charlm.network.model_file import read_model, read_tensors
from charlm.network.rnn import Parameters
from charlm.runs.run import open_run
from charlm.training.logs import RunLog
from charlm.training.probes import probe

LOGGED = [7, 14, 21, 28, 30, 35, 42, 49, 56, 60]
"""Steps of a run of 60 steps with `log_every: 7` and two evaluations, at which it logs."""
EVALUATED = [30, 60]
LAYERS = [0, 1]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Followed:
    """Train a run with two layers, whose weights are averaged."""
    pytest.importorskip("tensorflow", reason="the engine trains the run of these tests")
    return follow(
        tmp_path_factory.mktemp("curves"),
        OPTIMIZERS["sgd"],
        "training.log_every=7",
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


def lines_of(run: Followed, split: str) -> list[dict[str, Any]]:
    """Return the lines of metrics.jsonl about a split."""
    return [line for line in read_metrics(run.folder) if line["split"] == split]


# The training text


def test_the_training_loss_is_the_mean_since_the_previous_entry(
    run: Followed,
    events: dict[str, Any],
    expected: Trained,
) -> None:
    means = {step: np.mean(expected.losses[before:step]) for before, step in pairwise([0, *LOGGED])}
    assert curve(events["train"], "loss") == pytest.approx(means, rel=1e-5)
    logged = {line["step"]: line["nats_per_char"] for line in lines_of(run, "train")}
    assert logged == pytest.approx(means, rel=1e-5)


def test_the_gradient_norm_is_that_of_the_step_before_clipping(
    run: Followed,
    events: dict[str, Any],
    expected: Trained,
) -> None:
    norms = {step: expected.norms[step - 1] for step in LOGGED}
    assert curve(events["."], "optimization/gradient_norm") == pytest.approx(norms, rel=1e-4)
    logged = {line["step"]: line["gradient_norm"] for line in lines_of(run, "train")}
    assert logged == pytest.approx(norms, rel=1e-4)


def test_the_learning_rate_is_that_of_the_step(run: Followed, events: dict[str, Any]) -> None:
    rates = {step: rate_of(step - 1, run.settings) for step in LOGGED}
    assert curve(events["."], "optimization/learning_rate") == pytest.approx(rates)
    logged = {line["step"]: line["learning_rate"] for line in lines_of(run, "train")}
    assert logged == pytest.approx(rates)


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
    logged = {line["step"]: line["nats_per_char"] for line in lines_of(run, "validation")}
    assert logged == pytest.approx(losses, abs=1e-5)


def test_the_line_of_the_5_gram_model_is_its_loss_on_the_validation_text(
    run: Followed,
    events: dict[str, Any],
) -> None:
    ids = run.ids("validation").tolist()
    size = len(run.weights(0)["logits.bias"])
    model = reference.KneserNey(run.ids("train").tolist(), size, 5)
    losses: list[float] = []
    for position in range(1, len(ids)):
        context = tuple(ids[max(0, position - 4) : position])
        losses.append(-math.log(model.probability(context, ids[position])))
    constant = dict.fromkeys([0, *EVALUATED], np.mean(losses))
    assert curve(events["5-gram"], "loss") == pytest.approx(constant)


# Each layer


def windows_of(ids: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return 16 windows of 81 ids, from the first to the last of the text, [81, 16]."""
    starts = [int(number * (len(ids) - 81) / 15) for number in range(16)]
    return np.array([ids[start : start + 81] for start in starts]).T


class Reading:
    """The network of an evaluation, while it reads windows of validation text."""

    def __init__(self, run: Followed, step: int) -> None:
        weights = {name: weight.astype(float) for name, weight in run.average(step).items()}
        zeros = np.zeros((16, 24))
        self.forward = Forward(weights, windows_of(run.ids("validation")), (zeros, zeros))
        layers = [self.forward.lower, self.forward.upper]
        self.outputs = [np.array(outputs[-48:]) for outputs in layers]
        """Outputs of each layer after the last 48 characters that are read, [48, 16, H]."""

    def relative_gradients(self, layer: int) -> list[float]:
        """Return the median size of the gradient of the last prediction at each lag, 0 to 47."""
        for by_logits in self.forward.by_logits[:-1]:
            by_logits[:] = 0
        norms = [
            np.linalg.norm(by_outputs[layer], axis=1)
            for _, by_outputs, _ in self.forward.backward()
        ]
        return [float(np.median(norm / norms[0])) for norm in norms[:48]]


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
    shares = {step: np.mean(np.abs(Reading(run, step).outputs[layer]) > 0.9) for step in EVALUATED}
    assert min(shares.values()) > 0.02
    assert curve(events["."], f"saturation/layer_{layer}") == pytest.approx(shares, abs=2e-4)


@pytest.mark.parametrize("layer", LAYERS)
def test_the_reach_of_the_gradient_is_the_first_lag_below_a_tenth(
    layer: int,
    run: Followed,
    events: dict[str, Any],
) -> None:
    shape = read_model(run.folder / "last.safetensors").parameters.architecture
    windows = windows_of(run.ids("validation"))
    lags: dict[int, int] = {}
    for step in EVALUATED:
        sizes = Reading(run, step).relative_gradients(layer)
        lags[step] = next(lag for lag, size in enumerate(sizes) if size < 0.1)
        probed = probe(Parameters(shape, run.average(step)), windows)[layer]
        assert probed.gradient.median[:10] == pytest.approx(sizes[:10], rel=1e-3)
    assert curve(events["."], f"reach_of_gradient/layer_{layer}") == lags


def buckets(events: Any, tag: str) -> dict[int, NDArray[np.float64]]:
    """Return the buckets of a histogram by step, [30, left, right and count]."""
    return {event.step: make_ndarray(event.tensor_proto) for event in events.Tensors(tag)}


def check_histogram(found: NDArray[Any], values: NDArray[Any], *, wrong: int = 0) -> None:
    """Check the buckets of values, except a number of values on an edge between two buckets."""
    counts, edges = np.histogram(values.astype(float), bins=30)
    np.testing.assert_allclose(found[:, 0], edges[:-1], atol=1e-5)
    np.testing.assert_allclose(found[:, 1], edges[1:], atol=1e-5)
    assert found[:, 2].sum() == values.size
    assert np.abs(found[:, 2] - counts).sum() <= 2 * wrong


@pytest.mark.parametrize("layer", LAYERS)
def test_the_histogram_of_states_has_every_sixth_output(
    layer: int,
    run: Followed,
    events: dict[str, Any],
) -> None:
    found = buckets(events["."], f"state/layer_{layer}")
    assert [*found] == EVALUATED
    for step in EVALUATED:
        check_histogram(found[step], Reading(run, step).outputs[layer][::6], wrong=3)


@pytest.mark.parametrize(
    "name",
    ["embedding", "rnn.0.kernel", "rnn.1.recurrent_kernel", "rnn.1.bias", "logits.kernel"],
)
def test_the_histogram_of_weights_has_the_trained_weights(
    name: str,
    run: Followed,
    events: dict[str, Any],
) -> None:
    found = buckets(events["."], f"weights/{name}")
    assert [*found] == EVALUATED
    for step in EVALUATED:
        check_histogram(found[step], run.weights(step)[name])


# Texts


def test_the_samples_are_those_of_the_evaluations(run: Followed, events: dict[str, Any]) -> None:
    shown = {
        event.step: event.tensor_proto.string_val[0].decode()
        for event in events["."].Tensors("sample")
    }
    assert [*run.samples] == EVALUATED
    assert run.samples[30] != run.samples[60]
    assert shown == {step: f"    {sample}\n" for step, sample in run.samples.items()}


# The logs of a run with a fake engine

FAULTS = Faults(
    loss=lambda step, _rate: 0.5 * step,
    norm=lambda step: 100.0 + step,
    seconds=lambda step: 2.0 * step,
)
"""Each call of the engine has one step; step 3 has a loss of 1.5 nats and takes 6 seconds."""
SETTINGS = [
    "training.steps=10",
    "training.log_every=4",
    "training.evaluations=2",
    "training.keep_checkpoints=true",
    "training.schedule.name=constant",
    "training.optimizer.learning_rate=0.001",
]
POSITIONS = {4: (0.2, 64, 20.0), 5: (0.25, 80, 30.0), 8: (0.4, 128, 72.0), 10: (0.5, 160, 110.0)}
"""Epoch, characters and seconds at each entry: 16 characters per step, 20 steps per epoch."""
MEAN_LOSSES = {4: 1.25, 5: 2.5, 8: 3.5, 10: 4.75}
SPEEDS = {4: 64 / 20, 5: 16 / 10, 8: 48 / 42, 10: 32 / 38}
"""Characters per second since the previous entry."""


@pytest.fixture(scope="module")
def faked(tmp_path_factory: pytest.TempPathFactory) -> FakeRun:
    """Train a run with the losses, norms and times of FAULTS."""
    return train(tmp_path_factory.mktemp("faked") / "run", *SETTINGS, faults=FAULTS)


def common_fields(step: int, split: str, nats: float) -> dict[str, Any]:
    """Return the fields of every line of metrics.jsonl."""
    epoch, characters, seconds = POSITIONS[step]
    return {
        "step": step,
        "epoch": epoch,
        "characters": characters,
        "seconds": seconds,
        "split": split,
        "nats_per_char": pytest.approx(nats),
        "bits_per_char": pytest.approx(nats / math.log(2)),
    }


@pytest.mark.parametrize(("step", "position"), [(4, 0), (5, 1), (8, 3), (10, 4)])
def test_a_line_about_the_training_text_has_its_fields(
    step: int,
    position: int,
    faked: FakeRun,
) -> None:
    assert faked.metrics[position] == {
        **common_fields(step, "train", MEAN_LOSSES[step]),
        "learning_rate": pytest.approx(0.001),
        "gradient_norm": 100.0 + step,
        "characters_per_second": pytest.approx(SPEEDS[step]),
    }


def loss_of_bias(bias: NDArray[np.float32], ids: NDArray[Any]) -> float:
    """Return the mean loss of a network whose only weights that are not zero are this bias."""
    logits = bias.astype(float)
    return float(np.log(np.exp(logits).sum()) - logits[ids[1:]].mean())


@pytest.mark.parametrize(("step", "position"), [(5, 2), (10, 5)])
def test_a_line_about_the_validation_text_has_its_fields(
    step: int,
    position: int,
    faked: FakeRun,
) -> None:
    tensors = read_tensors(faked.folder / f"checkpoints/step-{step}.safetensors")[2]
    validation = open_run(faked.folder).corpus.split("validation")
    nats = loss_of_bias(tensors["logits.bias"], validation)
    assert faked.metrics[position] == common_fields(step, "validation", nats)


def test_a_model_has_the_step_and_the_epoch_of_its_weights(faked: FakeRun) -> None:
    facts = faked.model("last.safetensors").facts
    assert (facts["step"], facts["epoch"]) == (10, 0.5)


def test_the_speed_is_that_since_the_previous_entry(faked: FakeRun) -> None:
    speeds = curve(read_events(faked.folder), "speed/characters_per_second")
    assert speeds == pytest.approx(SPEEDS)


def test_a_resumed_run_has_the_speed_of_a_whole_one(tmp_path: Path) -> None:
    interrupted = replace(FAULTS, after_call=interrupt_after(7).after_call)
    stopped = train(tmp_path / "run", *SETTINGS, faults=interrupted)
    assert stopped.outcome.progress.step == 7
    resumed = resume(stopped.folder, faults=FAULTS)
    speeds = curve(read_events(resumed.folder), "speed/characters_per_second")
    assert speeds == pytest.approx(SPEEDS)


# Wall times


def wall_times(folder: Path) -> list[tuple[int, float]]:
    """Return the steps and the times of all events in a folder."""
    (path,) = folder.glob("events.*")
    return [(event.step, event.wall_time) for event in EventFileLoader(str(path)).Load()]


def test_every_event_has_its_time(tmp_path: Path) -> None:
    clock = Clock(1000.0)
    with contextlib.closing(RunLog(tmp_path, clock=clock)) as log:
        for step in (5, 10):
            clock.now += 2.5
            log.log({"step": step, "split": "train", "nats_per_char": 1.5, "learning_rate": 0.5})
    expected = [(0, 1002.5), (0, 1002.5), (5, 1002.5), (10, 1005.0)]
    assert wall_times(tmp_path) == expected
    assert wall_times(tmp_path / "train") == expected


def test_the_times_of_a_run_are_those_of_the_system(faked: FakeRun) -> None:
    (path,) = faked.folder.glob("events.*")
    times = [time for _, time in wall_times(faked.folder)]
    assert times == pytest.approx([path.stat().st_mtime] * len(times), abs=3600)
