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
from engine.networks import V, config
from numpy.typing import NDArray

from charlm.config.schema import TrainingConfig
from charlm.engine.kernel import Kernel
from charlm.engine.model import build_model, named_seeds, to_parameters, zero_state
from charlm.engine.step import (
    GradientsOfParts,
    Objective,
    StepResults,
    TrainSteps,
    part_sizes,
)
from charlm.hardware import COMPILERS, multiplies_bfloat16
from charlm.network.rnn import nats
from charlm.text.batches import Batches
from charlm.training.workers import Workers

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


class Trainer:
    """A small network and its compiled step; a learning rate of 1 subtracts the gradient."""

    def __init__(
        self,
        *,
        batch: int = B,
        training: dict[str, Any] | None = None,
        **model: Any,
    ) -> None:
        self.model = build_model(config(**model), V)
        optimizer = keras.optimizers.SGD()
        optimizer.build(self.model.trainable_variables)
        settings = TrainingConfig(**{"steps": 1, "clip_norm": None, "parts": 2, **(training or {})})
        batches = Batches(length=1000, batch_size=batch, sequence_length=T, seed=0)
        self.run = TrainSteps(self.model, optimizer, batches, settings=settings, workers=Workers())

    def take(
        self,
        windows: NDArray[np.int32],
        *,
        rate: Any = 1.0,
        state: Any = None,
        soft: Any = None,
    ) -> StepResults:
        """Take a step for each window, from the zero state by default."""
        count, _, batch = windows.shape
        if soft is None:
            soft = np.zeros((count, T, batch, 0), np.float16)
        if state is None:
            state = zero_state(self.model, batch)
        return self.run(windows, soft, state, np.broadcast_to(np.float32(rate), count))

    def update(self, windows: NDArray[np.int32], **options: Any) -> Arrays:
        """Take steps, and return the differences that they subtract from the weights."""
        before = self.weights()
        self.take(windows, **options)
        return [old - new for old, new in zip(before, self.weights(), strict=True)]

    def weights(self) -> Arrays:
        return [weight.numpy() for weight in self.model.trainable_variables]

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
            state = zero_state(self.model, B)
        rows = len(state[0])
        inputs = WINDOWS[0, :-1, :rows].T
        targets = WINDOWS[0, 1:, :rows].T
        soft_targets = SOFT_TARGETS[0, :, :rows].astype(np.float32).transpose(1, 0, 2)
        hard_loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
        soft_loss = keras.losses.CategoricalCrossentropy(from_logits=True)
        with tf.GradientTape() as tape:
            logits, _ = self.model(inputs, state)
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
    temperature: float = 1.0,
    weight: float = 0.0,
) -> None:
    """Compare the gradient of a batch in parts with the gradient of the whole batch."""
    training = {"parts": parts, "loss_temperature": temperature, "ngram_weight": weight}
    trainer = Trainer(training=training, batch=batch, **network)
    state = tuple(layer + 0.1 for layer in zero_state(trainer.model, batch))
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
    [(7, 3, [3, 2, 2]), (8, 2, [4, 4]), (2, 3, [1, 1]), (5, 1, [5])],
    ids=str,
)
def test_rows_are_divided_into_nearly_equal_parts(
    rows: int,
    parts: int,
    sizes: list[int],
) -> None:
    assert part_sizes(rows, parts) == sizes


@pytest.mark.parametrize(("parts", "calls"), [(None, 1), (3, 3)])
def test_the_kernel_is_called_for_each_part(
    parts: int | None,
    calls: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    rows: list[int] = []
    gradient = Kernel.gradient

    def note(
        self: Kernel,
        *arguments: Any,
        window: Any,
        **options: Any,
    ) -> Any:
        rows.append(window.shape[1])
        return gradient(self, *arguments, window=window, **options)

    monkeypatch.setattr(Kernel, "gradient", note)
    Trainer(training={"parts": parts, "kernel": "compiled"}).take(WINDOWS[:1])
    assert (len(rows), sum(rows)) == (calls, B)


@pytest.mark.parametrize(
    ("parts", "batch"),
    [
        pytest.param(1, B, id="a single part"),
        pytest.param(3, 1, id="a single stream"),
        pytest.param(3, 2, id="fewer streams than parts"),
    ],
)
def test_a_batch_of_any_size_has_its_gradient(parts: int, batch: int) -> None:
    check_gradient(DEEP, parts, batch=batch)


@pytest.mark.parametrize(("temperature", "weight"), [(0.8, 0.3), (1.0, 0.3), (2.0, 0.0)])
def test_another_objective_has_its_gradient(temperature: float, weight: float) -> None:
    check_gradient({}, parts=3, temperature=temperature, weight=weight)


def test_a_compiled_graph_computes_the_gradient() -> None:
    tf.config.run_functions_eagerly(False)
    check_gradient(UNROLLED, parts=2)


@pytest.fixture
def clipping() -> Trainer:
    """Return a trainer that clips gradients."""
    return Trainer(training={"clip_norm": 0.1})


def norm_of(gradients: Arrays) -> float:
    return float(np.linalg.norm(np.concatenate([gradient.ravel() for gradient in gradients])))


def test_a_gradient_above_the_clip_norm_is_scaled_down_to_it(clipping: Trainer) -> None:
    gradients = clipping.whole_batch_gradients()
    norm = norm_of(gradients)
    assert norm > 0.2
    expected = [gradient * 0.1 / norm for gradient in gradients]
    check_close(clipping.update(WINDOWS[:1]), expected, rtol=1e-5, atol=1e-6)


def test_the_returned_norm_is_the_norm_before_clipping(clipping: Trainer) -> None:
    norm = norm_of(clipping.whole_batch_gradients())
    results = clipping.take(WINDOWS[:1])
    assert results.gradient_norms.numpy() == pytest.approx([norm], rel=1e-5)


def test_each_step_has_its_learning_rate() -> None:
    trainer = Trainer()
    expected = [gradient / 4 for gradient in trainer.whole_batch_gradients()]
    check_close(trainer.update(WINDOWS[:2], rate=[0.25, 0]), expected, rtol=1e-5, atol=1e-6)


# Results


@pytest.mark.parametrize(
    ("settings", "soft"),
    [
        pytest.param({"loss_temperature": 0.5}, None, id="temperature"),
        pytest.param({"ngram_weight": 1.0}, SOFT_TARGETS, id="soft targets"),
    ],
)
def test_the_losses_are_nats_per_character_whatever_the_objective(
    settings: dict[str, Any],
    soft: Any,
) -> None:
    trainer = Trainer(rnn=REGULARIZED, training=settings)
    parameters = to_parameters(trainer.model)
    logits, _ = parameters.unroll(WINDOWS[0, :-1], parameters.zero_state(B))
    expected = nats(logits, WINDOWS[0, 1:]).mean()
    results = trainer.take(WINDOWS[:1], soft=soft)
    assert results.losses.numpy() == pytest.approx([expected], rel=1e-6)


def test_the_returned_state_is_the_same_as_in_numpy() -> None:
    trainer = Trainer(layers=2, training={"parts": 3})
    parameters = to_parameters(trainer.model)
    ids = np.concatenate(WINDOWS[:, :-1])
    _, expected = parameters.unroll(ids, parameters.zero_state(B))
    # At a rate of 0, four windows are the same as one long window.
    check_close(trainer.take(WINDOWS, rate=0.0).state, expected, rtol=1e-5, atol=1e-6)


def last_state(
    reset_rate: float,
    *,
    steps: int,
) -> NDArray[np.float32]:
    """Return the state [B, H] after some steps of a network that keeps its state of 0.5."""
    trainer = Trainer(training={"state_reset": reset_rate}, activation="linear")
    for weight in trainer.model.trainable_variables:
        weight.assign(tf.zeros_like(weight))
    trainer.model.rnn[0].cell.recurrent_kernel.assign(np.eye(8))
    windows = np.repeat(WINDOWS, 3, axis=0)[:steps]
    state = (np.full((B, 8), 0.5, np.float32),)
    return np.array(trainer.take(windows, rate=0.0, state=state).state[0])


def test_without_resets_every_stream_keeps_its_state() -> None:
    assert (last_state(0.0, steps=3) == 0.5).all()


def test_a_reset_rate_sets_some_streams_to_zero() -> None:
    kept = last_state(0.3, steps=1).all(axis=1)
    assert B / 2 < np.count_nonzero(kept) < B


def test_every_stream_is_eventually_reset() -> None:
    assert not last_state(0.5, steps=12).any()


def test_a_reset_rate_of_one_reads_every_window_from_the_zero_state() -> None:
    stateless = Trainer(training={"state_reset": 1.0})
    from_zeros = Trainer()
    stateless.take(WINDOWS)
    for window in WINDOWS:
        from_zeros.take(window[None])
    check_close(stateless.weights(), from_zeros.weights())


def test_grouping_steps_does_not_change_the_reset_streams() -> None:
    together = Trainer(training={"state_reset": 0.5})
    alone = Trainer(training={"state_reset": 0.5})
    state: Any = None
    for window in WINDOWS:
        state = alone.take(window[None], state=state).state
    check_close(together.take(WINDOWS).state, state)


# Gradients by kernel.c

WIDE = {"layers": 3, "skip_connections": True, "units": 20}
COMPILED: dict[str, dict[str, Any]] = {
    "plain": {},
    "wide": WIDE,
    "no bias": {"layers": 2, "use_bias": False},
    "embedding, skips": {"layers": 2, "embedding": 4, "skip_connections": True},
    "embedding": {"layers": 2, "embedding": 4, "units": 7},
    "dropout": {"layers": 2, "layer_dropout": 0.3, "output_dropout": 0.3},
    "recurrent dropout": {
        "layers": 3,
        "skip_connections": True,
        "output_dropout": 0.2,
        "rnn": {"recurrent_dropout": 0.3},
    },
    "regularized": {"layers": 2, "rnn": {"kernel_regularizer": "l2", "bias_regularizer": "l1"}},
    "relu": {"activation": "relu", "units": 7},
    "sigmoid": {"activation": "sigmoid"},
    "linear": {"activation": "linear"},
}
"""Settings of networks."""


class SecondOfTwo(Workers):
    """The second of two workers; the other one has no gradients."""

    count = 2
    index = 1


def gradient_results(
    network: dict[str, Any],
    objective: Objective | None = None,
    *,
    compiled: bool = True,
    precision: str = "float32",
    sizes: tuple[int, ...] = (3, 4),
    workers: Workers | None = None,
) -> list[Any]:
    """Return the loss of a window, the gradients, and the state after it.

    Args:
        network: The settings of the network.
        objective: The loss to minimise.
        compiled: Whether kernel.c computes it, or Keras.
        precision: float32 or bfloat16.
        sizes: How many streams each part of the batch has.
        workers: The workers that share the batch; None = a single worker.

    """
    if compiled and not any(shutil.which(name) for name in COMPILERS):
        pytest.skip("missing: a C compiler")
    model = build_model(config(**network), V, precision=precision)
    objective = objective or Objective()
    workers = workers or Workers()
    gradients_of = GradientsOfParts(model, sizes, objective, workers=workers, compiled=compiled)
    window = tf.constant(WINDOWS[0])
    soft = tf.constant(SOFT_TARGETS[0, ..., : objective.soft_width(V)])
    compute = tf.function(lambda: gradients_of(window, zero_state(model, B), soft), autograph=False)
    state, loss, gradients = compute()
    return [value.numpy() for value in (loss, *gradients, *state)]


@pytest.mark.slow
@pytest.mark.parametrize("network", COMPILED.values(), ids=COMPILED)
def test_the_kernel_computes_the_same_as_keras(network: dict[str, Any]) -> None:
    by_keras = gradient_results(network, compiled=False)
    check_close(gradient_results(network), by_keras, atol=2e-6, rtol=1e-4)


@pytest.mark.parametrize(
    "objective",
    [
        pytest.param(Objective(0.8, 0.6), id="soft targets"),
        pytest.param(Objective(temperature=0.9), id="temperature"),
    ],
)
def test_the_kernel_computes_the_objective_of_keras(objective: Objective) -> None:
    by_keras = gradient_results(WIDE, objective, compiled=False)
    check_close(gradient_results(WIDE, objective), by_keras, atol=2e-6, rtol=1e-4)


@pytest.mark.parametrize("name", ["wide", "no bias", "embedding, skips"])
def test_bfloat16_differs_from_keras_only_by_rounding(name: str) -> None:
    if not multiplies_bfloat16():
        pytest.skip("this processor does not multiply bfloat16")
    by_keras = gradient_results(COMPILED[name], compiled=False, precision="bfloat16")
    by_kernel = gradient_results(COMPILED[name], precision="bfloat16")
    check_close(by_kernel, by_keras, of_peak=0.03)


def test_results_of_a_graph_repeat_to_the_bit() -> None:
    tf.config.run_functions_eagerly(False)
    network = COMPILED["recurrent dropout"]
    check_close(gradient_results(network), gradient_results(network))


@pytest.mark.slow
@pytest.mark.parametrize("sizes", [(7,), (2, 2, 3)], ids=str)
def test_results_of_a_graph_do_not_depend_on_the_parts(sizes: tuple[int, ...]) -> None:
    tf.config.run_functions_eagerly(False)
    check_close(gradient_results(WIDE, sizes=sizes), gradient_results(WIDE), atol=1e-6)


# Several workers


@pytest.mark.parametrize("compiled", [True, False], ids=["compiled", "keras"])
def test_a_worker_adds_its_share_of_the_loss_and_the_gradients(compiled: bool) -> None:
    loss, *gradients, _, _ = gradient_results(DEEP, compiled=compiled)
    found = gradient_results(DEEP, compiled=compiled, workers=SecondOfTwo())
    own_loss, *own_gradients, _, _ = found
    assert own_loss == pytest.approx(loss / 2, rel=1e-6)
    check_close(own_gradients, [gradient / 2 for gradient in gradients], atol=1e-7, rtol=1e-5)


def test_the_sum_over_the_workers_is_used() -> None:
    tripling = SecondOfTwo()
    tripling.sum = lambda tensors: [3 * tensor for tensor in tensors]  # type: ignore[method-assign]
    loss, *_ = gradient_results(DEEP)
    total, *_ = gradient_results(DEEP, workers=tripling)
    assert total == pytest.approx(1.5 * loss, rel=1e-6)


def test_every_worker_draws_other_masks_but_keeps_the_same_seeds() -> None:
    masks: list[NDArray[Any]] = []
    seeds: list[NDArray[Any]] = []
    for workers in (Workers(), SecondOfTwo()):
        model = build_model(config(output_dropout=0.5), V)
        for weight in model.trainable_variables[:-1]:
            weight.assign(tf.ones_like(weight))
        compute = GradientsOfParts(model, [B], Objective(), workers=workers, compiled=False)
        _, _, gradients = compute(
            tf.constant(WINDOWS[0]), zero_state(model, B), tf.zeros((T, B, 0))
        )
        masks.append(np.array(gradients[-2]))
        seeds.append(named_seeds(model)["logits"].numpy())
    assert not np.allclose(masks[0], 2 * masks[1])
    np.testing.assert_array_equal(seeds[0], seeds[1])
