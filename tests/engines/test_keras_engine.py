"""The Keras engine: its settings, its state and its tensors."""

import functools
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import numpy as np
import pytest
import tensorflow as tf
from arrays import bytes_of, check_close
from engines.networks import OPTIMIZERS
from fake_engine import OF_ENGINES
from numpy.typing import NDArray

from charlm import hardware
from charlm.config.file import load_config
from charlm.config.recipes import find_recipe
from charlm.config.schema import Config, ModelConfig, RnnConfig, TrainingConfig
from charlm.core.batches import Batches
from charlm.core.engine import Engine, StepMetrics
from charlm.core.scoring import mean_score, score_stream
from charlm.engines import kernel
from charlm.engines.factory import KerasEngines
from charlm.engines.keras_engine import KerasEngine
from charlm.engines.kernel import load_kernel
from charlm.engines.step import Workers
from charlm.errors import CharlmError
from charlm.events import Event, Note, ignore
from charlm.hardware import multiplies_bfloat16

pytestmark = pytest.mark.usefixtures("eagerly")

V, T, B = 5, 4, 6
SETTINGS = [
    "model={layers: 2, units: 8, layer_dropout: 0.2, output_dropout: 0.2}",
    "model.rnn={dropout: 0.2, recurrent_dropout: 0.2}",
    "training.average_momentum=0.9",
    "training.state_reset=0.1",
    "training.parts=1",
]
NO_DROPOUT = "model.rnn.dropout=0"
"""A setting with which the kernel can train."""
BATCHES = Batches(length=1000, batch_size=B, sequence_length=T, seed=1)
IDS = np.random.default_rng(0).integers(0, V, 1000).astype(np.int32)


def make(
    *overrides: str, batches: Batches = BATCHES, workers: Workers | None = None
) -> KerasEngine:
    config = load_config(find_recipe("tiny"), overrides=[*SETTINGS, *overrides])
    return KerasEngine(config, batches, vocabulary_size=V, workers=workers)


def take(
    engine: Engine, first: int, count: int, batches: Batches = BATCHES, reset: bool | None = None
) -> StepMetrics:
    """Take steps first to first + count - 1; the first step of the text resets the state."""
    windows = IDS[batches.positions(epoch=0, first=first, count=count)]
    rates = np.full(count, 3e-3, np.float32)
    reset_state = first == 0 if reset is None else reset
    return engine.take_steps(windows, rates, reset_state=reset_state)


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_an_engine_restored_from_tensors_in_any_order_continues_to_the_bit(optimizer: str) -> None:
    setting = f"training.optimizer={{name: {optimizer}, learning_rate: 3e-3}}"
    uninterrupted, stopped = make(setting), make(setting)
    restored = make(setting, "seed=2")
    take(stopped, 0, 2)
    restored.restore(dict(reversed(stopped.tensors().items())))
    losses = take(uninterrupted, 0, 3).losses
    assert take(restored, 2, 1).losses == losses[2:]
    assert bytes_of(restored.tensors()) == bytes_of(uninterrupted.tensors())


@pytest.mark.parametrize("setting", ["average_momentum=0.9", "average_momentum=null"])
def test_an_engine_can_start_from_initial_weights(setting: str) -> None:
    engine = make(f"training.{setting}")
    shapes = {name: tensor.shape for name, tensor in engine.weights().items()}
    weights = {name: np.full(shape, 0.5, np.float32) for name, shape in shapes.items()}
    engine.load_initial_weights(weights)
    assert bytes_of(engine.weights()) == bytes_of(weights)
    assert bytes_of(engine.parameters().tensors) == bytes_of(weights)


@pytest.mark.parametrize("kernel", ["compiled", "keras"])
def test_the_whole_text_is_scored_in_one_stream(kernel: str) -> None:
    engine = make(f"training.kernel={kernel}", NO_DROPOUT)
    parameters = engine.parameters()
    expected = mean_score(score_stream(parameters, IDS))
    score = engine.score(parameters, IDS)
    assert score.characters == expected.characters == 999
    assert score.nats_per_char == pytest.approx(expected.nats_per_char, abs=1e-5)


def test_parameters_are_the_average_of_the_weights_after_each_step() -> None:
    engine = make("training.average_momentum=0.25")
    average = engine.weights()
    for step in (1, 2, 3):
        take(engine, step - 1, 1)
        momentum = min(0.25, (1 + step) / (10 + step))
        average = {
            name: momentum * average[name] + (1 - momentum) * new
            for name, new in engine.weights().items()
        }
    check_close(engine.parameters().tensors.values(), average.values(), rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("kernel", ["compiled", "keras"])
def test_some_streams_start_from_the_zero_state(kernel: str) -> None:
    states = []
    for rate, is_reset in (("0.5", False), ("0", False), ("0", True)):
        engine = make(f"training.state_reset={rate}", f"training.kernel={kernel}", NO_DROPOUT)
        take(engine, 0, 1)
        take(engine, 1, 1, reset=is_reset)
        states.append(engine.state)
    some, continued, from_zeros = states
    is_continued = (some == continued).all((0, 2))
    assert 0 < is_continued.sum() < B
    check_close([some[:, ~is_continued]], [from_zeros[:, ~is_continued]])


def test_the_length_of_a_window_can_differ_from_that_of_the_engine() -> None:
    longer = replace(BATCHES, sequence_length=2 * T)
    losses = []
    for engine in (make(), make(batches=longer)):
        take(engine, 0, 1)
        losses.append(take(engine, 0, 2, batches=longer, reset=False).losses)
    assert losses[0] == losses[1]


@pytest.mark.slow
def test_tensorflow_does_not_warn_of_several_graphs(caplog: pytest.LogCaptureFixture) -> None:
    tf.config.run_functions_eagerly(False)
    tf.get_logger().addHandler(caplog.handler)
    for length in range(2, 8):
        batches = replace(BATCHES, sequence_length=length)
        take(make(batches=batches), 0, 1, batches=batches)
    tf.get_logger().removeHandler(caplog.handler)
    assert caplog.records == []


def test_a_worker_has_the_state_of_its_rows() -> None:
    whole = make("training.state_reset=0")
    take(whole, 0, 1)
    engine = make("training.state_reset=0", workers=Workers(2, 1))
    engine.restore(whole.tensors())
    check_close([engine.state], [whole.state[:, B // 2 :]])
    saved = engine.tensors()["state/rnn.0"]
    assert not saved[: B // 2].any()  # the other worker adds these rows
    check_close([saved[B // 2 :]], [whole.state[0, B // 2 :]])
    windows = IDS[BATCHES.positions(epoch=0, first=0, count=1)]
    engine.take_steps(windows, np.zeros(1, np.float32), reset_state=True)
    assert engine.state.shape == (2, B // 2, 8)


def test_rows_that_cannot_be_divided_evenly_are_refused() -> None:
    message = rf"training\.batch_size: found {B}; must be divisible by 4, the number of workers"
    with pytest.raises(CharlmError, match=message):
        make(workers=Workers(4))


@pytest.mark.parametrize("name", ["compiled", "keras"])
def test_an_engine_names_the_kernel_that_it_uses(name: str) -> None:
    found = make(f"training.kernel={name}", NO_DROPOUT).kernel_sha256
    assert found == (load_kernel().sha256 if name == "compiled" else None)


# Settings

CHANGES: dict[str, Any] = {
    "model.layers": 2,
    "model.units": 5,
    "model.embedding": 3,
    "model.output_dropout": 0.5,
    "model.rnn.activation": "relu",
    "model.rnn.use_bias": False,
    "model.rnn.dropout": 0.5,
    "model.rnn.recurrent_dropout": 0.5,
    "model.rnn.kernel_initializer": "random_normal",
    "model.rnn.recurrent_initializer": "random_normal",
    "model.rnn.bias_initializer": "random_normal",
    "model.rnn.kernel_regularizer": "l2",
    "model.rnn.recurrent_regularizer": "l2",
    "model.rnn.bias_regularizer": "l2",
    "model.rnn.activity_regularizer": "l2",
    "model.rnn.kernel_constraint": "unit_norm",
    "model.rnn.recurrent_constraint": "unit_norm",
    "model.rnn.bias_constraint": "unit_norm",
    "model.skip_connections": True,
    "model.layer_dropout": 0.5,
    "model.input_initializer": "ones",
    "training.optimizer.name": "sgd",
    "training.optimizer.learning_rate": 0.25,
    "training.optimizer.weight_decay": 0.25,
    "training.optimizer.momentum": 0.5,
    "training.clip_norm": 0.01,
    "training.average_momentum": 0.01,
    "training.loss_temperature": 0.5,
    "training.state_reset": 0.5,
    "training.precision": "bfloat16",
}
"""Another value of each setting of an engine."""
PREREQUISITES = {
    "model.skip_connections": "model.layers=2",
    "model.layer_dropout": "model.layers=2",
    "model.input_initializer": "model.layers=2",
    "training.optimizer.momentum": "training.optimizer.name=sgd",
}
"""Another setting that a setting needs to have an effect."""
ONLY_SPEED: dict[str, Any] = {
    "model.rnn.unroll": True,
    "training.parts": 3,
    "training.kernel": "keras",
}
SIMPLE = ("model={layers: 1, units: 4}", "training.parts=1", "training.kernel=keras")


def weights_after_two_steps(*overrides: str) -> list[NDArray[Any]]:
    batches = replace(BATCHES, sequence_length=2)
    config = load_config(find_recipe("tiny"), overrides=[*SIMPLE, *overrides])
    engine = KerasEngine(config, batches, vocabulary_size=V)
    windows = IDS[batches.positions(epoch=0, first=0, count=2)]
    rates = np.full(2, config.training.optimizer.learning_rate, np.float32)
    engine.take_steps(windows, rates, reset_state=True)
    return list(engine.parameters().tensors.values())


unchanged_weights = functools.cache(weights_after_two_steps)


def test_the_settings_of_an_engine_are_known() -> None:
    assert CHANGES.keys() | ONLY_SPEED.keys() == OF_ENGINES


@pytest.mark.slow
@pytest.mark.parametrize(("key", "value"), CHANGES.items())
def test_a_setting_changes_the_weights(key: str, value: Any) -> None:
    if key == "training.precision" and not multiplies_bfloat16():
        pytest.skip("this processor does not multiply bfloat16")
    needed = [PREREQUISITES[key]] if key in PREREQUISITES else []
    before = [weight.tobytes() for weight in unchanged_weights(*needed)]
    changed = weights_after_two_steps(*needed, f"{key}={value}")
    assert [weight.tobytes() for weight in changed] != before


@pytest.mark.slow
@pytest.mark.parametrize(("key", "value"), ONLY_SPEED.items())
def test_a_setting_of_the_speed_does_not_change_the_weights(key: str, value: Any) -> None:
    check_close(weights_after_two_steps(f"{key}={value}"), unchanged_weights(), atol=1e-6)


# Replaced settings


@pytest.mark.parametrize(
    ("is_recorded", "consequence"),
    [
        pytest.param(False, "", id="new run"),
        pytest.param(True, "; results will not be bit-identical", id="resumed run"),
    ],
)
def test_without_bfloat16_float32_is_used(
    is_recorded: bool, consequence: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hardware, "CPUINFO", Path("no such file"))
    config = Config(training=TrainingConfig(precision="bfloat16", kernel="keras", parts=3))
    events: list[Event] = []
    engines = KerasEngines(events.append)
    resolved = engines.resolve(config, is_recorded=is_recorded)
    assert resolved == config.with_training(precision="float32")
    problem = "this processor cannot multiply bfloat16"
    message = f"training.precision: using float32, because {problem}{consequence}"
    assert events == [Note(message, is_warning=True)]


@pytest.mark.parametrize(
    "config",
    [
        Config(training=TrainingConfig(precision="auto", kernel="keras")),
        Config(
            model=ModelConfig(rnn=RnnConfig(dropout=0.5)), training=TrainingConfig(precision="auto")
        ),
    ],
    ids=["chosen", "dropout"],
)
def test_keras_does_not_follow_the_speed_of_the_kernel(
    config: Config, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kernel, "LOADED", [Mock(has_bfloat16=True, has_tiles=True)])
    monkeypatch.setattr("charlm.engines.factory.multiplies_bfloat16", lambda: True)
    resolved = KerasEngines(ignore).resolve(config, is_recorded=False)
    assert (resolved.training.kernel, resolved.training.precision) == ("keras", "float32")


def test_a_resumed_run_with_dropout_uses_keras() -> None:
    model = ModelConfig(rnn=RnnConfig(dropout=0.5))
    config = Config(model=model, training=TrainingConfig(kernel="compiled"))
    events: list[Event] = []
    resolved = KerasEngines(events.append).resolve(config, is_recorded=True)
    assert resolved.training.kernel == "keras"
    message = (
        "training.kernel: using keras, because the compiled kernel does not support "
        "model.rnn.dropout; results will not be bit-identical"
    )
    assert events == [Note(message, is_warning=True)]


def events_of_an_engine() -> list[Event]:
    """Return the events that report how an engine starts."""
    events: list[Event] = []
    config = load_config(find_recipe("tiny"), overrides=["model.units=2"])
    engines = KerasEngines(events.append)
    engines(config, BATCHES, vocabulary_size=V)
    return events


def test_the_start_of_tensorflow_is_reported_only_once() -> None:
    assert events_of_an_engine() == []


def refuse(_threads: int) -> None:
    """Refuse a number of threads as TensorFlow does after its first operation."""
    raise RuntimeError


def test_a_program_that_has_used_tensorflow_keeps_its_threads(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(tf.config.threading, "get_inter_op_parallelism_threads", lambda: 0)
    monkeypatch.setattr(tf.config.threading, "set_intra_op_parallelism_threads", refuse)
    (event,) = events_of_an_engine()
    assert isinstance(event, Note)
    assert event.message.startswith("training will be slower: ")
