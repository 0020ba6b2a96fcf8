"""The training step: its gradients, by Keras and by kernel.c, its results and its repeatability.

Axes: B batch, T time, V vocabulary, H units.
"""

import shutil
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf
from arrays import check_close
from engines.networks import V, config, parameters_of
from numpy.typing import NDArray

from charlm.config.schema import TrainingConfig
from charlm.core.learning import Objective, backpropagate
from charlm.core.rnn import nats
from charlm.engines import compiled as compiled_step
from charlm.engines.compiled import CompiledStep, draw_masks
from charlm.engines.model import build_model, copied, named_seeds, named_weights
from charlm.engines.step import KerasStep, StepResult, Workers, part_sizes
from charlm.errors import CharlmError
from charlm.hardware import COMPILERS, multiplies_bfloat16

pytestmark = pytest.mark.usefixtures("eagerly")

B, T = 7, 5
RNG = np.random.default_rng(0)
WINDOWS = RNG.integers(0, V, (4, T + 1, B), dtype=np.int32)
SOFT_TARGETS = RNG.dirichlet(np.ones(V), (1, T, B)).astype(np.float16)
"""Soft targets of the first window."""
REGULARIZED: dict[str, Any] = {
    "kernel_regularizer": {"class_name": "L2", "config": {"l2": 0.1}},
    "activity_regularizer": {"class_name": "L1", "config": {"l1": 0.05}},
}
Arrays = list[NDArray[Any]]
BOTH = pytest.mark.parametrize("compiled", [False, True], ids=["keras", "compiled"])


class Trainer:
    """A small network and its steps; a learning rate of 1 subtracts the gradient."""

    def __init__(
        self,
        *,
        batch: int = B,
        compiled: bool = False,
        workers: Workers | None = None,
        training: dict[str, Any] | None = None,
        **model: Any,
    ) -> None:
        if compiled and not any(shutil.which(name) for name in COMPILERS):
            pytest.skip("missing: a C compiler")
        fixed: dict[str, Any] = {"steps": 1, "clip_norm": None, "parts": 2}
        fixed |= {"precision": "float32", "state_reset": 0.0, "average_momentum": None}
        settings = TrainingConfig(**{**fixed, **(training or {})})
        network = config(**model).model_copy(update={"training": settings})
        self.model = build_model(network, V, precision=settings.precision)
        optimizer = keras.optimizers.SGD()
        optimizer.build(self.model.trainable_variables)
        self.variables: dict[str, Any] = named_weights(self.model)
        slots: dict[str, Any] = {"learning_rate": optimizer.learning_rate}
        if compiled:
            self.variables = copied(self.variables)
            slots = {"learning_rate": np.array(0.0), "iterations": np.array(0)}
        step: Any = CompiledStep if compiled else KerasStep
        self.step = step(
            self.model,
            optimizer,
            weights=self.variables,
            average={},
            slots=slots,
            config=network,
            workers=workers or Workers(),
            height=batch,
        )

    def zero_state(self, batch: int) -> NDArray[np.float32]:
        shape = self.model.architecture
        return np.zeros((shape.layers, batch, shape.units), np.float32)

    def take(
        self,
        windows: NDArray[np.int32],
        *,
        rates: Any = 1.0,
        state: Any = None,
        soft: Any = None,
    ) -> list[StepResult]:
        """Take a step for each window, from the zero state by default."""
        count, _, batch = windows.shape
        if soft is None:
            soft = np.zeros((count, T, batch, 0), np.float16)
        if state is None:
            state = self.zero_state(batch)
        results: list[StepResult] = []
        for window, targets, rate in zip(
            windows, soft, np.broadcast_to(rates, count).tolist(), strict=True
        ):
            results.append(self.step(window, targets, state, rate))
            state = results[-1].state
        return results

    def update(self, windows: NDArray[np.int32], **options: Any) -> Arrays:
        """Take steps, and return the differences that they subtract from the weights."""
        before = self.weights()
        self.take(windows, **options)
        return [old - new for old, new in zip(before, self.weights(), strict=True)]

    def weights(self) -> Arrays:
        return [*copied(self.variables).values()]

    def whole_batch_gradients(
        self,
        state: Any = None,
        temperature: float = 1.0,
        weight: float = 0.0,
    ) -> Arrays:
        """Return the gradients of Keras's losses on the first window, with all streams together.

        The window has as many streams as the state.
        """
        if state is None:
            state = self.zero_state(B)
        rows = state.shape[1]
        inputs = WINDOWS[0, :-1, :rows].T
        targets = WINDOWS[0, 1:, :rows].T
        soft_targets = SOFT_TARGETS[0, :, :rows].astype(np.float32).transpose(1, 0, 2)
        hard_loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
        soft_loss = keras.losses.CategoricalCrossentropy(from_logits=True)
        with tf.GradientTape() as tape:
            logits, _ = self.model(inputs, [*state])
            hard = hard_loss(targets, logits / temperature)
            soft = soft_loss(soft_targets, logits / temperature)
            loss = tf.add_n([(1 - weight) * hard + weight * soft, *self.model.losses])
            gradients = tape.gradient(loss, self.model.trainable_variables)
        return [np.array(tf.convert_to_tensor(gradient)) for gradient in gradients]


# Gradients


def check_gradient(
    network: dict[str, Any],
    parts: int,
    *,
    batch: int = B,
    compiled: bool = False,
    temperature: float = 1.0,
    weight: float = 0.0,
) -> None:
    """Compare the gradient of a batch in parts with the gradient of the whole batch."""
    training = {"parts": parts, "loss_temperature": temperature, "ngram_weight": weight}
    trainer = Trainer(training=training, batch=batch, compiled=compiled, **network)
    state = trainer.zero_state(batch) + np.float32(0.1)
    expected = trainer.whole_batch_gradients(state, temperature, weight)
    soft = SOFT_TARGETS[..., :batch, :] if weight else None
    update = trainer.update(WINDOWS[:1, :, :batch], state=state, soft=soft)
    # float16 rounds the soft targets.
    check_close(update, expected, rtol=1e-5, atol=2e-4 if weight else 1e-6)


DEEP = {"layers": 2, "embedding": 3, "skip_connections": True}
UNROLLED = {"rnn": {"activation": "sigmoid", "use_bias": False, "unroll": True}}


@pytest.mark.parametrize(
    "network",
    [
        pytest.param({}, id="plain"),
        pytest.param(DEEP, id="deep"),
        pytest.param({"layers": 2, "rnn": REGULARIZED}, id="regularized"),
        pytest.param(UNROLLED, id="unrolled"),
    ],
)
def test_the_parts_of_a_batch_have_the_gradient_of_the_whole(network: dict[str, Any]) -> None:
    check_gradient(network, parts=3)


@pytest.mark.parametrize(
    ("rows", "parts", "sizes"),
    [(7, 3, [3, 2, 2]), (2, 3, [1, 1])],
    ids=str,
)
def test_rows_are_divided_into_nearly_equal_parts(
    rows: int,
    parts: int,
    sizes: list[int],
) -> None:
    assert part_sizes(rows, parts) == sizes


@BOTH
@pytest.mark.parametrize(
    ("parts", "batch"),
    [
        pytest.param(1, B, id="a single part"),
        pytest.param(3, 1, id="a single stream"),
        pytest.param(3, 2, id="fewer streams than parts"),
    ],
)
def test_a_batch_of_any_size_has_its_gradient(
    compiled: bool,
    parts: int,
    batch: int,
) -> None:
    check_gradient(DEEP, parts, batch=batch, compiled=compiled)


@BOTH
@pytest.mark.parametrize(("temperature", "weight"), [(0.8, 0.3), (1.0, 0.3), (2.0, 0.0)])
def test_another_objective_has_its_gradient(
    compiled: bool,
    temperature: float,
    weight: float,
) -> None:
    check_gradient({}, 3, temperature=temperature, weight=weight, compiled=compiled)


def test_a_compiled_graph_computes_the_gradient() -> None:
    tf.config.run_functions_eagerly(False)
    check_gradient(UNROLLED, parts=2)


@pytest.fixture(params=[False, True], ids=["keras", "compiled"])
def clipping(request: pytest.FixtureRequest) -> Trainer:
    """Return a trainer that clips gradients."""
    return Trainer(training={"clip_norm": 0.1}, compiled=request.param)


def norm_of(gradients: Arrays) -> float:
    return float(np.linalg.norm(np.concatenate([gradient.ravel() for gradient in gradients])))


def test_the_returned_norm_is_the_norm_before_clipping(clipping: Trainer) -> None:
    norm = norm_of(clipping.whole_batch_gradients())
    (result,) = clipping.take(WINDOWS[:1])
    assert result.norm == pytest.approx(norm, rel=1e-5)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("bias_constraint", {"class_name": "UnitNorm", "config": {"axis": 1}}),
        ("recurrent_constraint", {"class_name": "MaxNorm", "config": {"max_value": "x"}}),
    ],
    ids=["axis of a matrix", "not a number"],
)
@pytest.mark.parametrize("is_eager", [True, False], ids=["eager", "graph"])
def test_a_constraint_that_does_not_fit_is_refused(
    is_eager: bool,
    key: str,
    value: Any,
) -> None:
    tf.config.run_functions_eagerly(is_eager)
    with pytest.raises(CharlmError, match=r"^model: Keras says: ") as refusal:
        Trainer(rnn={key: value}).take(WINDOWS[:1])
    assert "\n" not in str(refusal.value)


# Results


@pytest.mark.parametrize(
    ("settings", "soft"),
    [
        pytest.param({"loss_temperature": 0.5}, None, id="temperature"),
        pytest.param({"ngram_weight": 1.0}, SOFT_TARGETS, id="soft targets"),
    ],
)
@BOTH
def test_the_losses_are_nats_per_character_whatever_the_objective(
    compiled: bool,
    settings: dict[str, Any],
    soft: Any,
) -> None:
    rnn = None if compiled else REGULARIZED
    trainer = Trainer(rnn=rnn, training=settings, compiled=compiled)
    parameters = parameters_of(trainer.model)
    logits, _ = parameters.unroll(WINDOWS[0, :-1], parameters.zero_state(B))
    expected = nats(logits, WINDOWS[0, 1:]).mean()
    (result,) = trainer.take(WINDOWS[:1], soft=soft)
    assert result.loss == pytest.approx(expected, rel=1e-6)


@BOTH
def test_the_returned_state_is_the_same_as_in_numpy(compiled: bool) -> None:
    trainer = Trainer(layers=2, training={"parts": 3}, compiled=compiled)
    parameters = parameters_of(trainer.model)
    ids = np.concatenate(WINDOWS[:, :-1])
    _, expected = parameters.unroll(ids, parameters.zero_state(B))
    # At a rate of 0, four windows are the same as one long window.
    check_close(trainer.take(WINDOWS, rates=0.0)[-1].state, expected, rtol=1e-5, atol=1e-6)


# Gradients by kernel.c

WIDE = {"layers": 3, "skip_connections": True, "units": 20}
COMPILED: dict[str, dict[str, Any]] = {
    "plain": {},
    "wide": WIDE,
    "no bias": {"layers": 2, "use_bias": False},
    "embedding, skips": {"layers": 2, "embedding": 4, "skip_connections": True},
    "embedding": {"layers": 2, "embedding": 4, "units": 7},
    "relu": {"activation": "relu", "units": 7},
    "sigmoid": {"activation": "sigmoid"},
    "linear": {"activation": "linear"},
}
"""Settings of networks."""


def results_of(
    network: dict[str, Any],
    *,
    compiled: bool = True,
    workers: Workers | None = None,
    windows: NDArray[np.int32] = WINDOWS[:1],
    **training: Any,
) -> Arrays:
    """Return the losses of some windows, the state after them, and the updates of the weights."""
    trainer = Trainer(compiled=compiled, workers=workers, training=training, **network)
    before = trainer.weights()
    results = trainer.take(windows)
    updates = [old - new for old, new in zip(before, trainer.weights(), strict=True)]
    return [np.array([result.loss for result in results]), *results[-1].state, *updates]


@pytest.mark.parametrize("network", COMPILED.values(), ids=COMPILED)
@pytest.mark.parametrize(("temperature", "weight"), [(1.0, 0.0), (0.8, 0.3)])
def test_the_core_computes_the_gradient_of_keras(
    network: dict[str, Any], temperature: float, weight: float
) -> None:
    trainer = Trainer(**network)
    state = trainer.zero_state(B) + np.float32(0.1)
    learnt = backpropagate(
        parameters_of(trainer.model),
        WINDOWS[0],
        tuple(state),
        objective=Objective(temperature, weight),
        soft=SOFT_TARGETS[0] if weight else None,
    )
    expected = trainer.whole_batch_gradients(state, temperature, weight)
    gradients = [*learnt.gradient.tensors.values()]
    check_close(gradients, expected, rtol=1e-5, atol=2e-4 if weight else 1e-6)


@pytest.mark.parametrize("network", COMPILED.values(), ids=COMPILED)
def test_the_kernel_computes_the_same_as_keras(network: dict[str, Any]) -> None:
    check_close(results_of(network), results_of(network, compiled=False), atol=2e-6, rtol=1e-4)


@pytest.mark.parametrize("name", ["wide", "no bias", "embedding, skips"])
def test_bfloat16_differs_from_keras_only_by_rounding(name: str) -> None:
    if not multiplies_bfloat16():
        pytest.skip("this processor does not multiply bfloat16")
    by_keras = results_of(COMPILED[name], compiled=False, precision="bfloat16")
    check_close(results_of(COMPILED[name], precision="bfloat16"), by_keras, of_peak=0.03)


DROPOUT: dict[str, Any] = {
    "layers": 2,
    "layer_dropout": 0.4,
    "output_dropout": 0.4,
    "rnn": {"recurrent_dropout": 0.4},
}


@pytest.mark.parametrize("cores", [1, 2, 3])
def test_steps_repeat_to_the_bit_on_any_number_of_cores(
    cores: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    expected = results_of(DROPOUT, windows=WINDOWS, parts=3)
    monkeypatch.setattr(compiled_step, "core_count", lambda: cores)
    check_close(results_of(DROPOUT, windows=WINDOWS, parts=3), expected)


@pytest.mark.parametrize(
    ("name", "rate", "shape"),
    [
        pytest.param("recurrent_mask", 0.5, (3, 40, 50), id="recurrent, once per window"),
        pytest.param("layer_mask", 0.25, (2, 40, 50), id="between layers, once per window"),
        pytest.param("output_mask", 0.001, (30, 40, 50), id="output, each step"),
    ],
)
def test_a_mask_is_scaled_by_the_kept_share(
    name: str,
    rate: float,
    shape: Any,
) -> None:
    rnn = {"recurrent_dropout": 0.5}
    network = config(layers=3, units=50, layer_dropout=0.25, output_dropout=0.001, rnn=rnn).model
    mask = draw_masks(network, [0], time=30, rows=40)[name]
    assert mask.shape == shape
    assert mask.dtype == np.float32
    np.testing.assert_allclose(np.unique(mask), [0, 1 / (1 - rate)], rtol=1e-6)
    assert (mask == 0).mean() == pytest.approx(rate, rel=0.3)


# Several workers


SECOND_OF_TWO = Workers(2, 1)
"""The second of two workers; the other one has no gradients."""


class Tripling(Workers):
    """A worker; another one has twice its gradients."""

    def sum(self, tensors: list[Any]) -> list[Any]:
        return [3 * tensor for tensor in tensors]

    def total(self, array: NDArray[Any]) -> NDArray[Any]:
        return 3 * array


@BOTH
@pytest.mark.parametrize(
    ("workers", "share"), [(SECOND_OF_TWO, 0.5), (Tripling(2, 1), 1.5)], ids=["share", "sum"]
)
def test_the_shares_of_the_workers_are_summed(
    compiled: bool,
    workers: Workers,
    share: float,
) -> None:
    loss, *states_and_updates = results_of(DEEP, compiled=compiled)
    own_loss, *own = results_of(DEEP, compiled=compiled, workers=workers)
    check_close([own_loss], [share * loss], rtol=1e-6)
    expected = [share * update for update in states_and_updates[2:]]
    check_close(own[2:], expected, atol=5e-7, rtol=1e-5)


@BOTH
def test_every_worker_draws_other_masks(compiled: bool) -> None:
    network = {"output_dropout": 0.5}
    updates = results_of(network, compiled=compiled)[-2]
    others = results_of(network, compiled=compiled, workers=SECOND_OF_TWO)[-2]
    assert np.abs(updates - 2 * others).max() > 0.1 * np.abs(updates).max()


def test_drawing_masks_changes_the_seeds_of_all_workers_equally() -> None:
    seeds = []
    for workers in (Workers(), SECOND_OF_TWO):
        trainer = Trainer(workers=workers, output_dropout=0.5)
        trainer.take(WINDOWS[:1])
        seeds.append(named_seeds(trainer.model)["logits"].numpy())
    np.testing.assert_array_equal(*seeds)
