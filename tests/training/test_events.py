"""The event files of a run, read with TensorBoard's own reader."""

import contextlib
import re
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from arrays import check_close
from inspection.networks import one_layer
from models import random_parameters
from run_folders import read_events, read_metrics
from tensorboard.backend.event_processing.event_file_loader import EventFileLoader
from tensorboard.plugins.custom_scalar import layout_pb2
from tensorboard.util.tensor_util import make_ndarray

from charlm.network.gradients import LagCurve
from charlm.network.model_file import read_model
from charlm.network.rnn import Layer, Parameters
from charlm.training.events import RunLog, choose_windows, cut_events, probe, reach


def values_of(events: Any, tag: str) -> dict[int, float]:
    return {event.step: float(make_ndarray(event.tensor_proto)) for event in events.Tensors(tag)}


@pytest.fixture(scope="module")
def events(trained_run: Path) -> Any:
    pytest.importorskip("tensorflow", reason="the engine writes what these tests read")
    return read_events(trained_run)


@pytest.mark.parametrize("split", ["train", "validation"])
def test_scalars_are_the_figures_in_metrics_jsonl(split: str, events: Any, trained_run: Path) -> None:
    metrics = {line["step"]: line for line in read_metrics(trained_run) if line["split"] == split}
    for unit in ("nats_per_char", "bits_per_char"):
        expected = {step: line[unit] for step, line in metrics.items()}
        assert values_of(events, f"{unit}/{split}") == pytest.approx(expected)


def test_the_config_and_a_sample_are_shown_as_code_blocks(events: Any, trained_run: Path) -> None:
    config, sample = (events.Tensors(tag)[-1].tensor_proto.string_val[0].decode() for tag in ("config", "sample"))
    assert all(line.startswith("    ") for line in (*config.splitlines(), *sample.splitlines()))
    config, sample = ("\n".join(line[4:] for line in text.splitlines()) for text in (config, sample))
    assert config + "\n" == (trained_run / "config.yaml").read_text(encoding="utf-8")
    assert len(sample) == pytest.approx(80, abs=1)  # a last line break


AT_THE_BEGINNING = {"config", "custom_scalars__config__"}
AT_LOGS = {"nats_per_char/train", "bits_per_char/train", "learning_rate", "gradient_norm", "characters_per_second"}
AT_EVALUATIONS = {
    *("nats_per_char/validation", "bits_per_char/validation", "nats_per_char/5-gram", "best_nats_per_char"),
    *("spectral_radius/rnn.0", "saturated/rnn.0", "state/rnn.0", "gradient_reach/rnn.0", "sample"),
    *(f"weights/rnn.0.{name}" for name in ("kernel", "recurrent_kernel", "bias")),
    *("weights/logits.kernel", "weights/logits.bias"),
}


def test_each_tag_is_written_at_every_log_or_evaluation(events: Any) -> None:
    expected = {tag: [0] for tag in AT_THE_BEGINNING}
    expected |= {tag: [10, 20, 30, 40, 50, 60] for tag in AT_LOGS} | {tag: [30, 60] for tag in AT_EVALUATIONS}
    found = {tag: [event.step for event in events.Tensors(tag)] for tag in events.Tags()["tensors"]}
    assert found == expected


def test_the_spectral_radius_is_that_of_the_last_kernel(events: Any, trained_run: Path) -> None:
    kernel = read_model(trained_run / "last.safetensors").parameters.layers[0].recurrent_kernel
    found = values_of(events, "spectral_radius/rnn.0")[60]
    assert found == pytest.approx(np.abs(np.linalg.eigvals(kernel)).max(), rel=1e-2)


def test_the_charts_name_only_tags_that_exist(events: Any) -> None:
    tags = events.Tags()["tensors"]
    (layout,) = events.Tensors("custom_scalars__config__")
    found = layout_pb2.Layout.FromString(layout.tensor_proto.string_val[0])
    patterns = [tag for category in found.category for chart in category.chart for tag in chart.multiline.tag]
    assert len(patterns) >= 7
    for pattern in patterns:
        assert any(re.fullmatch(pattern, tag) for tag in tags), pattern


TEXT = np.random.default_rng(0).integers(0, 5, 4000).astype(np.uint8)
WINDOWS: Any = choose_windows(TEXT)


def test_windows_are_spread_over_the_text_and_a_short_one_has_fewer_and_shorter_windows() -> None:
    assert WINDOWS.shape == (32 + 48 + 1, 16)
    np.testing.assert_array_equal(WINDOWS[:, 0], TEXT[: len(WINDOWS)])
    np.testing.assert_array_equal(WINDOWS[:, -1], TEXT[-len(WINDOWS) :])
    for length, shape in ((0, None), (1, None), (2, (2, 1)), (10, (10, 1)), (82, (81, 2))):
        windows = choose_windows(TEXT[:length])
        assert (None if windows is None else windows.shape) == shape


@pytest.mark.parametrize("factor", [0.9, 1.0, 1.05])
def test_the_gradient_of_a_linear_network_is_a_power_of_its_factor(factor: float) -> None:
    (layer,) = probe(one_layer(factor * np.eye(2), ids=5), WINDOWS)
    expected = factor ** np.arange(48)
    check_close([layer.gradient.low, layer.gradient.median, layer.gradient.high], 3 * [expected], rtol=1e-4)
    assert layer.saturated_share == 0


def test_large_weights_saturate_and_small_ones_do_not() -> None:
    for activation, (scale, low, high) in product(("tanh", "sigmoid"), ((1e-3, 0, 0), (100, 0.9, 1))):
        layers = probe(random_parameters(layers=2, units=8, activation=activation, scale=scale), WINDOWS)
        assert all(low <= layer.saturated_share <= high for layer in layers)
    for h, share in ((0.895, 0), (0.905, 1)):  # a unit of tanh beyond 0.9
        layer = Layer(np.full((5, 1), np.arctanh(h), np.float32), np.zeros((1, 1), np.float32), None)
        unit = Parameters(None, (layer,), np.ones((1, 5), np.float32), np.zeros(5, np.float32))
        assert probe(unit, WINDOWS)[0].saturated_share == share


def test_the_gradient_reaches_to_the_first_lag_at_which_it_is_below_a_tenth() -> None:
    cases = ([1, 0.5, 0.09, 0.2], 2), ([1, 0.5, 0.2], 3), ([1, np.nan, 0.5], 1), ([np.nan], 0), ([1, np.inf, 0.0], 2)
    for median, lag in cases:
        values = np.array(median)
        assert reach(LagCurve(0, np.arange(len(values)), values, values, values)) == lag


def test_an_event_file_is_cut_before_a_later_step_and_before_what_is_damaged(tmp_path: Path) -> None:
    with contextlib.closing(RunLog(tmp_path)) as log:
        for step in (5, 10, 15):
            log.show_text("sample", "x", step=step)
    (path,) = tmp_path.glob("events.*")
    whole, steps = path.read_bytes(), [0, 0, 5, 10, 15]
    for data, step, kept in (
        *((whole, 12, 4), (whole, 99, 5), (whole, -1, 0)),
        *((whole[:-size], 99, 4) for size in (1, 9)),
        *((whole + more, 99, 5) for more in (b"\xff" * 40, (9).to_bytes(8, "little") + b"\xff" * 17)),  # no event
    ):
        path.write_bytes(data)
        cut_events(path, step=step)
        assert whole.startswith(path.read_bytes())
        assert [event.step for event in EventFileLoader(str(path)).Load()] == steps[:kept]
