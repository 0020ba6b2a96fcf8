"""The Keras engine: its settings, its state and its tensors; the optimizers; what this machine trains with."""

import json
from dataclasses import replace
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf
from arrays import bytes_of, check_close
from engine.networks import OPTIMIZERS
from fake_engine import OF_ENGINES

from charlm.config.file import load_config
from charlm.config.recipes import find_recipe
from charlm.config.schema import Config, OptimizerConfig, TrainingConfig
from charlm.engine.factory import KerasEngines
from charlm.engine.keras_engine import KerasEngine
from charlm.engine.kernel import load_kernel
from charlm.engine.optimizer import POLYNOMIALS, Muon, build_optimizer, share_evenly
from charlm.engine.runtime import read_tf_config
from charlm.errors import CharlmError
from charlm.evaluation.scoring import mean_score, score_stream
from charlm.events import Event, SettingReplaced
from charlm.hardware import multiplies_bfloat16
from charlm.text.batches import Batches
from charlm.training.interface import Engine, StepMetrics
from charlm.training.session import Session
from charlm.training.workers import Workers

pytestmark = pytest.mark.usefixtures("eagerly")

V, T, B = 5, 4, 6
SETTINGS = (
    *("model.layers=2", "model.units=8", "model.layer_dropout=0.2", "model.output_dropout=0.2"),
    *("model.rnn.dropout=0.2", "model.rnn.recurrent_dropout=0.2"),
    *("training.average_momentum=0.9", "training.state_reset=0.1", "training.parts=1"),
)
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
    """Take steps first to first + count - 1 of the text."""
    windows, rates = (
        IDS[batches.positions(epoch=0, first=first, count=count)],
        np.full(count, 3e-3, np.float32),
    )
    return engine.take_steps(windows, rates, reset_state=first == 0 if reset is None else reset)


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_an_engine_restored_from_tensors_in_any_order_continues_to_the_bit(optimizer: str) -> None:
    setting = f"training.optimizer={{name: {optimizer}, learning_rate: 3e-3}}"
    uninterrupted, restored = make(setting), make(setting, "seed=2")
    take(uninterrupted, 0, 2)
    restored.restore(dict(reversed(uninterrupted.tensors().items())))
    assert take(restored, 2, 1).losses == take(uninterrupted, 2, 1).losses
    assert bytes_of(restored.tensors()) == bytes_of(uninterrupted.tensors())


def test_an_engine_begins_with_given_weights() -> None:
    weights = {
        name: np.full(shape.shape, 0.5, np.float32) for name, shape in make().weights().items()
    }
    for engine in (make(), make("training.average_momentum=null")):
        engine.load_initial_weights(weights)
        assert (
            bytes_of(engine.weights()) == bytes_of(engine.parameters().tensors) == bytes_of(weights)
        )


@pytest.mark.parametrize("kernel", ["compiled", "keras"])
def test_a_score_is_that_of_the_text_from_start_to_end(kernel: str) -> None:
    engine = make(f"training.kernel={kernel}", "model.rnn.dropout=0")
    parameters = engine.parameters()
    expected = mean_score(score_stream(parameters, IDS))
    found = engine.score(parameters, IDS)
    assert found.characters == expected.characters == 999
    assert found.nats_per_char == pytest.approx(expected.nats_per_char, abs=1e-5)


def test_tensors_and_shapes_have_the_same_names() -> None:
    engine = make()
    assert {name: tensor.shape for name, tensor in engine.tensors().items()} == engine.shapes()
    assert {
        "weights/rnn.1.kernel",
        "logits.bias",
        "seeds/rnn.0",
        "state/rnn.1",
    } <= engine.shapes().keys()
    assert {
        "optimizer/iterations",
        "optimizer/rnn.0.recurrent_kernel/momentums",
    } <= engine.shapes().keys()


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


def test_the_state_goes_on_from_call_to_call_unless_it_is_reset() -> None:
    once, twice, reset, blank = (make("training.state_reset=0") for _ in range(4))
    losses = take(once, 0, 2).losses
    for engine in (twice, reset, blank):
        take(engine, 0, 1)
    tensors = blank.tensors()
    blank.restore(
        tensors | {name: 0 * tensors[name] for name in tensors if name.startswith("state/")}
    )
    assert take(twice, 1, 1).losses == losses[1:]
    after = take(reset, 1, 1, reset=True).losses
    assert after == take(blank, 1, 1).losses
    assert after != losses[1:]


def test_windows_of_another_length_are_read_like_by_an_engine_for_that_length() -> None:
    longer = replace(BATCHES, sequence_length=2 * T)
    engines = make(), make(batches=longer)
    for engine in engines:
        take(engine, 0, 1)
    one, other = (take(engine, 0, 2, batches=longer, reset=False).losses for engine in engines)
    assert one == other


@pytest.mark.slow
def test_tensorflow_does_not_warn_of_several_graphs(caplog: pytest.LogCaptureFixture) -> None:
    tf.config.run_functions_eagerly(False)
    tf.get_logger().addHandler(caplog.handler)
    for batches in (replace(BATCHES, sequence_length=length) for length in range(2, 8)):
        take(make(batches=batches), 0, 1, batches=batches)
    tf.get_logger().removeHandler(caplog.handler)
    assert caplog.records == []


def test_one_of_several_workers_has_the_state_of_its_rows() -> None:
    whole, second = make("training.state_reset=0"), Workers()
    take(whole, 0, 1)
    second.count, second.index = 2, 1
    engine = make("training.state_reset=0", workers=second)
    engine.restore(whole.tensors())
    check_close(engine.state, [layer[B // 2 :] for layer in whole.state])
    windows = IDS[BATCHES.positions(epoch=0, first=0, count=1)][..., B // 2 :]
    engine.take_steps(windows, np.zeros(1, np.float32), reset_state=True)
    assert [layer.shape for layer in engine.state] == [(B // 2, 8), (B // 2, 8)]


DEEP, SGD = "model.layers=2", "training.optimizer.name=sgd"
MODEL = {
    **{"layers": 2, "units": 5, "embedding": 3, "rnn.activation": "relu", "rnn.use_bias": False},
    **dict.fromkeys(("output_dropout", "rnn.dropout", "rnn.recurrent_dropout"), 0.5),
    **{f"rnn.{key}_initializer": "random_normal" for key in ("kernel", "recurrent", "bias")},
    **{f"rnn.{key}_regularizer": "l2" for key in ("kernel", "recurrent", "bias", "activity")},
    **{f"rnn.{key}_constraint": "unit_norm" for key in ("kernel", "recurrent", "bias")},
}
DEEP_MODEL = {"skip_connections": True, "layer_dropout": 0.5, "input_initializer": "ones"}
OPTIMIZER = {"name": "sgd", "learning_rate": 0.25, "weight_decay": 0.25}
TRAINING = {
    "clip_norm": 0.01,
    "average_momentum": 0.01,
    "loss_temperature": 0.5,
    "state_reset": 0.5,
}
OTHERS: dict[str, tuple[Any, tuple[str, ...]]] = {
    **{f"model.{key}": (value, ()) for key, value in MODEL.items()},
    **{f"model.{key}": (value, (DEEP,)) for key, value in DEEP_MODEL.items()},
    **{f"training.optimizer.{key}": (value, ()) for key, value in OPTIMIZER.items()},
    "training.optimizer.momentum": (0.5, (SGD,)),
    **{
        f"training.{key}": (value, ())
        for key, value in {**TRAINING, "precision": "bfloat16"}.items()
    },
}
"""Another value of each setting that the engine reads, and the settings with which it has an effect."""
SPEED_ALONE = {"model.rnn.unroll": True, "training.parts": 3, "training.kernel": "keras"}


@pytest.mark.slow
def test_every_setting_changes_the_weights_but_for_those_of_the_speed() -> None:
    assert OTHERS.keys() | SPEED_ALONE.keys() == OF_ENGINES
    made: dict[tuple[str, ...], list[bytes]] = {}

    batches = Batches(length=1000, batch_size=B, sequence_length=2, seed=1)
    usual = ("model={layers: 1, units: 4}", "training.parts=1", "training.kernel=keras")

    def trained(*overrides: str) -> dict[str, Any]:
        config = load_config(find_recipe("tiny"), overrides=[*usual, *overrides])
        engine = KerasEngine(config, batches, vocabulary_size=V)
        windows = IDS[batches.positions(epoch=0, first=0, count=2)]
        engine.take_steps(
            windows,
            np.full(2, config.training.optimizer.learning_rate, np.float32),
            reset_state=True,
        )
        return engine.parameters().tensors

    for key, (value, others) in OTHERS.items():
        if others not in made:
            made[others] = [*bytes_of(trained(*others)).values()]
        if key != "training.precision" or multiplies_bfloat16():
            assert [*bytes_of(trained(*others, f"{key}={value}")).values()] != made[others], key
    expected = trained().values()
    for key, value in SPEED_ALONE.items():
        check_close(trained(f"{key}={value}").values(), expected, atol=1e-6)


# The optimizers


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_an_optimizer_is_built_by_its_name_with_its_arguments_and_takes_a_step(name: str) -> None:
    arguments = {"weight_decay": 0.25, **({"momentum": 0.25} if name in {"muon", "sgd"} else {})}
    settings = OptimizerConfig.model_validate({"name": name, "learning_rate": 0.5, **arguments})
    built = build_optimizer(settings, precision="bfloat16")
    assert type(built).__name__.lower() == name
    assert {argument: getattr(built, argument) for argument in arguments} == arguments
    assert getattr(built, "precision", None) == ("bfloat16" if name == "muon" else None)
    assert float(built.learning_rate) == 0.5
    variable = keras.Variable(np.ones((3, 3), np.float32))
    built.apply([keras.ops.ones((3, 3))], [variable])
    assert not np.allclose(variable, 1)


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
@pytest.mark.parametrize("shape", [(6, 6), (12, 5), (5, 12), (1, 7)])
def test_an_update_keeps_the_axes_and_brings_singular_values_near_1(
    shape: tuple[int, int], precision: str
) -> None:
    optimizer = Muon()
    optimizer.precision = precision
    wanted = np.random.default_rng(0).normal(size=shape).astype(np.float32)
    found = optimizer.zeropower_via_newtonschulz5(wanted, 5).numpy()
    u, sizes, v = np.linalg.svd(wanted, full_matrices=False)
    inside = np.diag(u.T @ found @ v.T)[sizes > 0.01 * np.linalg.norm(sizes)]
    assert found.dtype == np.float32
    optimizer.precision = "float32"
    is_rounded = (found != optimizer.zeropower_via_newtonschulz5(wanted, 5).numpy()).any()
    assert is_rounded == (precision == "bfloat16")
    assert len(inside) > 0
    assert np.all((inside > 0.6) & (inside < 1.4))


@pytest.mark.parametrize(
    "fields", [{}, {"weight_decay": 0.2, "nesterov": False, "rms_rate": None}], ids=str
)
def test_muon_by_the_kernel_is_muon_by_keras(fields: dict[str, Any]) -> None:
    rng = np.random.default_rng(0)
    shapes = [(6, 6), (12, 5), (7,), (5, 12), (3, 40)]
    starts, *gradients = (
        [rng.normal(size=shape).astype(np.float32) for shape in shapes] for _ in range(4)
    )
    settings = OptimizerConfig(name="muon", learning_rate=0.1)
    results = []
    for kernel in (None, load_kernel()):
        optimizer = build_optimizer(settings, kernel=kernel)
        vars(optimizer).update(fields)
        variables = [keras.Variable(start) for start in starts]
        for gradient in gradients:
            optimizer.apply([tf.constant(one) for one in gradient], variables)
        results.append([array.numpy() for array in (*variables, *optimizer.variables)])
    check_close(*results, atol=1e-5)


@pytest.mark.parametrize(
    ("amounts", "count", "groups"),
    [
        ([4, 1, 3, 2], 2, [[0, 1], [2, 3]]),
        ([1, 1, 1], 5, [[0], [1], [2]]),
        ([5, 2, 2, 2], 1, [[0, 1, 2, 3]]),
        ([], 2, []),
    ],
    ids=str,
)
def test_work_is_shared_evenly(amounts: list[int], count: int, groups: list[list[int]]) -> None:
    assert sorted(sorted(group) for group in share_evenly(amounts, count)) == groups


def test_the_polynomials_are_minimax_and_bring_the_interval_together() -> None:
    """The error of each has its largest size as often as it has coefficients, and once more (Chebyshev)."""
    x, low, high = np.geomspace(0.01, 1, 100_001), 0.01, 1.0
    for number, (a, b, c) in enumerate(POLYNOMIALS):
        polynomial = np.polynomial.Polynomial([0, a, 0, b, 0, c])
        interval = np.linspace(max(low, 0.1 * high), high, 100_001)
        values = polynomial(interval * (1.01 if number < 2 else 1))
        error = values - (values.min() + values.max()) / 2
        signs = np.sign(error[np.abs(error) > np.abs(error).max() * (1 - 1e-6)])
        assert 1 + np.count_nonzero(np.diff(signs)) == 4
        x = polynomial(x)
        low = float(polynomial(low))
        high = 2 - low
    assert (x.min(), x.max()) == pytest.approx((0.68, 1.32), abs=0.01)


# What this machine trains with, and which workers TF_CONFIG names


@pytest.mark.parametrize("is_recorded", [False, True], ids=["new run", "resumed run"])
def test_without_bfloat16_float32_is_announced(
    is_recorded: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ONEDNN_MAX_CPU_ISA", "AVX2")
    config = Config(training=TrainingConfig(precision="bfloat16", kernel="keras"))
    events: list[Event] = []
    resolved = KerasEngines(Session()).resolve(
        config, on_event=events.append, is_recorded=is_recorded
    )
    assert resolved.training.precision == "float32"
    problem = "this processor cannot multiply bfloat16"
    assert events == [
        SettingReplaced("training.precision", "float32", problem, changes_bits=is_recorded)
    ]
    events.clear()
    assert (
        KerasEngines(Session()).resolve(resolved, on_event=events.append, is_recorded=is_recorded)
        == resolved
    )
    assert events == []


TASK = {"type": "worker", "index": 1}


def variables(worker: Any, task: dict[str, Any], **jobs: list[str]) -> dict[str, str]:
    return {
        "TF_CONFIG": json.dumps(
            {"cluster": {"worker": worker, **jobs}, "task": task, "environment": "cloud"}
        )
    }


def test_tf_config_says_how_many_workers_there_are_and_which_one_this_is() -> None:
    assert read_tf_config(variables(["host-1:2222", "[::1]:80", "10.0.0.1:3"], TASK)) == (3, 1)
    assert read_tf_config({"TF_CONFIG": " "}) == read_tf_config({}) == (1, 0)


def test_another_tf_config_is_refused_in_a_line_that_shows_the_right_one() -> None:
    for wrong in (
        variables(["a:1", "b:2"], {"type": "worker", "index": 2}),
        variables(["a:1", "b:2"], {"type": "worker", "index": -1}),
        variables(["a:1", "b:2"], {"type": "chief", "index": 0}),
        variables(["a:1", "b:2"], TASK, chief=["c:1"]),
        variables(["a:1", "b"], TASK),
        variables([1, 2], TASK),
        variables("a:1", TASK),
        {"TF_CONFIG": "[" * 10_000},
    ):
        with pytest.raises(
            CharlmError, match=r'^TF_CONFIG: must be \{"cluster": .*\}, with N from 0'
        ) as refused:
            read_tf_config(wrong)
        assert len(str(refused.value).splitlines()) == 1
