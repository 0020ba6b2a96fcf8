"""The event files of a run, read with TensorBoard's own reader."""

import json
import math
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from commands import charlm
from run_folders import read_events, read_metrics
from tensorboard.plugins.custom_scalar import layout_pb2
from tensorboard.plugins.histogram.summary_v2 import histogram_pb as tensorboard_histogram_pb
from tensorboard.util.tensor_util import make_ndarray

from charlm.network.bundle import read_bundle
from charlm.training.events import BUCKETS, histogram_pb

WEIGHTS = ["rnn.0.kernel", "rnn.0.recurrent_kernel", "rnn.0.bias", "logits.kernel", "logits.bias"]


def steps_of(events: Any, tag: str) -> list[int]:
    return [event.step for event in events.Tensors(tag)]


def values_of(events: Any, tag: str) -> dict[int, float]:
    return {event.step: float(make_ndarray(event.tensor_proto)) for event in events.Tensors(tag)}


def text_of(events: Any, tag: str, index: int = -1) -> str:
    return str(events.Tensors(tag)[index].tensor_proto.string_val[0].decode())


@pytest.fixture(scope="module")
def events(trained_run: Path) -> Any:
    pytest.importorskip("tensorflow", reason="the engine writes what these tests read")
    return read_events(trained_run)


@pytest.mark.parametrize("split", ["train", "validation"])
def test_scalars_are_the_figures_in_metrics_jsonl(split: str, events: Any, trained_run: Path) -> None:
    metrics = {line["step"]: line for line in read_metrics(trained_run) if line["split"] == split}
    for unit in ("nats_per_char", "bits_per_char"):
        shown = {event.step: float(make_ndarray(event.tensor_proto)) for event in events.Tensors(f"{unit}/{split}")}
        assert shown == pytest.approx({step: line[unit] for step, line in metrics.items()})


def test_each_weight_has_a_histogram_at_every_evaluation(events: Any) -> None:
    for name in WEIGHTS:
        assert steps_of(events, f"weights/{name}") == [30, 60]


def test_a_sample_is_shown_as_a_code_block_at_every_evaluation(events: Any) -> None:
    assert steps_of(events, "sample") == [30, 60]
    lines = text_of(events, "sample").splitlines()
    assert all(line.startswith("    ") for line in lines)
    assert len("\n".join(line.removeprefix("    ") for line in lines)) == pytest.approx(80, abs=1)  # a last line break


def test_the_config_is_shown_as_it_is(events: Any, trained_run: Path) -> None:
    shown = "".join(line.removeprefix("    ") + "\n" for line in text_of(events, "config").splitlines())
    assert shown == (trained_run / "config.yaml").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    "tag",
    [
        *(f"{kind}/{layer}" for kind in ("gradient_norm", "update_norm") for layer in ("rnn.0", "logits")),
        *(f"{kind}_to_weights/{layer}" for kind in ("gradient", "update") for layer in ("rnn.0", "logits")),
        *("spectral_radius/rnn.0", "saturated/rnn.0", "nats_per_char/5-gram", "best_nats_per_char"),
        *("state/rnn.0", "gradient_reach/rnn.0"),
    ],
)
def test_every_view_is_written_at_every_evaluation(tag: str, events: Any) -> None:
    assert steps_of(events, tag) == [30, 60]


def test_the_gradient_norms_of_the_layers_add_up_to_that_of_the_step(events: Any, trained_run: Path) -> None:
    whole = {line["step"]: line["gradient_norm"] for line in read_metrics(trained_run) if line["split"] == "train"}
    layers = [values_of(events, f"gradient_norm/{layer}") for layer in ("rnn.0", "logits")]
    for step in (30, 60):
        assert math.hypot(*(layer[step] for layer in layers)) == pytest.approx(whole[step], rel=1e-5)


def test_the_spectral_radius_is_that_of_the_last_kernel(events: Any, trained_run: Path) -> None:
    kernel = read_bundle(trained_run / "last").parameters.layers[0].recurrent_kernel
    found = values_of(events, "spectral_radius/rnn.0")[60]
    assert found == pytest.approx(np.abs(np.linalg.eigvals(kernel)).max(), rel=1e-2)


def test_the_n_gram_model_scores_what_evaluate_says(events: Any, trained_run: Path) -> None:
    command = charlm("evaluate", trained_run, "--baselines", "--json")
    expected = json.loads(command.stdout)["baselines"]["5-gram"]
    assert [*values_of(events, "nats_per_char/5-gram").values()] == pytest.approx([expected, expected], rel=1e-6)


def test_the_charts_name_only_tags_that_exist(events: Any) -> None:
    tags = events.Tags()["tensors"]
    (layout,) = events.Tensors("custom_scalars__config__")
    found = layout_pb2.Layout.FromString(layout.tensor_proto.string_val[0])
    patterns = [tag for category in found.category for chart in category.chart for tag in chart.multiline.tag]
    assert len(patterns) >= 8
    for pattern in patterns:
        assert any(re.fullmatch(pattern, tag) for tag in tags), pattern


def test_a_histogram_equals_that_of_tensorboard() -> None:
    values = np.random.default_rng(0).standard_normal((20, 30)).astype(np.float32)
    found, expected = histogram_pb("x", values).value[0], tensorboard_histogram_pb("x", values).value[0]
    np.testing.assert_allclose(make_ndarray(found.tensor), make_ndarray(expected.tensor), atol=1e-6)
    assert found.metadata == expected.metadata


def test_a_histogram_may_span_more_than_the_range_of_float32() -> None:
    values = np.array([-3e38, 0, 0, 3e38], np.float32)
    counts = make_ndarray(histogram_pb("x", values).value[0].tensor)[:, 2]
    assert (counts[0], counts[BUCKETS // 2], counts[-1], counts.sum()) == (1, 2, 1, 4)
