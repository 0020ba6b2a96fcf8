"""The event files of a run, read with TensorBoard's own reader."""

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tensorboard.backend.event_processing import event_accumulator
from tensorboard.plugins.histogram.summary_v2 import histogram_pb as tensorboard_histogram_pb
from tensorboard.plugins.hparams import plugin_data_pb2
from tensorboard.util.tensor_util import make_ndarray

from charlm.training.events import BUCKETS, histogram_pb

PER_CHAR = [f"{unit}_per_char/{split}" for unit in ("nats", "bits") for split in ("train", "validation")]
WEIGHTS = ["rnn.0.kernel", "rnn.0.recurrent_kernel", "rnn.0.bias", "logits.kernel", "logits.bias"]


def read_events(run: Path) -> Any:
    events = event_accumulator.EventAccumulator(str(run / "tensorboard"), size_guidance={"tensors": 0})
    events.Reload()
    return events


def read_metrics(run: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (run / "metrics.jsonl").read_text(encoding="utf-8").splitlines()]


def steps_of(events: Any, tag: str) -> list[int]:
    return [event.step for event in events.Tensors(tag)]


def text_of(events: Any, tag: str, index: int = -1) -> str:
    return str(events.Tensors(tag)[index].tensor_proto.string_val[0].decode())


@pytest.fixture(scope="module")
def events(trained_run: Path) -> Any:
    return read_events(trained_run)


def test_every_scalar_of_the_contract_has_a_tag(events: Any) -> None:
    wanted = {*PER_CHAR, "learning_rate", "gradient_norm", "characters_per_second"}
    assert wanted <= set(events.Tags()["tensors"])


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


def test_the_hyperparameters_are_those_of_the_config(events: Any) -> None:
    content = events.summary_metadata["_hparams_/session_start_info"].plugin_data.content
    hparams = plugin_data_pb2.HParamsPluginData.FromString(content).session_start_info.hparams
    assert hparams["model.units"].number_value == 16
    assert hparams["training.optimizer.name"].string_value == "adam"


def test_the_graph_shows_the_recurrence(events: Any) -> None:
    graph = events.Graph()
    assert sum(node.op == "Tanh" for node in all_nodes(graph)) >= 3


def all_nodes(graph: Any) -> list[Any]:
    return [*graph.node, *(node for function in graph.library.function for node in function.node_def)]


def test_a_histogram_equals_that_of_tensorboard() -> None:
    values = np.random.default_rng(0).standard_normal((20, 30)).astype(np.float32)
    found, expected = histogram_pb("x", values).value[0], tensorboard_histogram_pb("x", values).value[0]
    np.testing.assert_allclose(make_ndarray(found.tensor), make_ndarray(expected.tensor), atol=1e-6)
    assert found.metadata == expected.metadata


def test_a_histogram_leaves_out_values_that_are_not_finite() -> None:
    counts = make_ndarray(histogram_pb("x", np.array([1, 2, np.nan, np.inf], np.float32)).value[0].tensor)[:, 2]
    assert counts.sum() == 2


def test_a_histogram_may_span_more_than_the_range_of_float32() -> None:
    values = np.array([-3e38, 0, 0, 3e38], np.float32)
    counts = make_ndarray(histogram_pb("x", values).value[0].tensor)[:, 2]
    assert (counts[0], counts[BUCKETS // 2], counts[-1], counts.sum()) == (1, 2, 1, 4)


def test_event_files_are_named_as_tensorboard_expects(trained_run: Path) -> None:
    files = [path.name for path in (trained_run / "tensorboard").iterdir()]
    assert [bool(re.match(r"events\.out\.tfevents\.", name)) for name in files] == [True]
