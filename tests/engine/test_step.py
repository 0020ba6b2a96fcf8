"""The step of training: its gradients, by Keras and by kernel.c, its results and its repeatability.

Axes: B batch, T time, V vocabulary, H units, K steps in one call.
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
from charlm.engine.model import build_model, to_parameters, zero_state
from charlm.engine.step import GradientsOfParts, Objective, StepResults, TrainSteps
from charlm.hardware import COMPILERS, multiplies_bfloat16
from charlm.network.rnn import nats
from charlm.text.batches import Batches
from charlm.training.workers import Workers

pytestmark = pytest.mark.usefixtures("eagerly")

B, T = 7, 5
RNG = np.random.default_rng(0)
WINDOWS = RNG.integers(0, V, (4, T + 1, B), dtype=np.int32)
SOFT = RNG.dirichlet(np.ones(V), (1, T, B)).astype(np.float16)
"""Four windows, and the soft targets of one."""
REGULARIZED: dict[str, Any] = {
    "kernel_regularizer": {"class_name": "L2", "config": {"l2": 0.1}},
    "activity_regularizer": {"class_name": "L1", "config": {"l1": 0.05}},
}
NETWORKS: list[dict[str, Any]] = [
    *(
        {},
        {"layers": 2, "embedding": 3, "skip_connections": True},
        {"layers": 2, "rnn": REGULARIZED},
    ),
    {"rnn": {"activation": "sigmoid", "use_bias": False, "unroll": True}},
]
Arrays = list[NDArray[Any]]


class Trainer:
    """A small network and its compiled step; a rate of 1 subtracts the gradient."""

    def __init__(
        self, *, batch: int = B, training: dict[str, Any] | None = None, **model: Any
    ) -> None:
        self.model = build_model(config(**model), V)
        optimizer = keras.optimizers.SGD()
        optimizer.build(self.model.trainable_variables)
        settings = TrainingConfig(**{"steps": 1, "clip_norm": None, "parts": 2, **(training or {})})
        batches = Batches(length=1000, batch_size=batch, sequence_length=T, seed=0)
        self.run = TrainSteps(self.model, optimizer, batches, settings=settings, workers=Workers())

    def take(
        self, windows: NDArray[np.int32], *, rate: Any = 1.0, state: Any = None, soft: Any = None
    ) -> tuple[StepResults, Arrays]:
        """Take a step for each window, from the zero state by default; return what is subtracted from weights, too."""
        count, _, batch = windows.shape
        before = [weight.numpy() for weight in self.model.trainable_variables]
        soft = np.zeros((count, T, batch, 0), np.float16) if soft is None else soft
        state = zero_state(self.model, batch) if state is None else state
        results = self.run(windows, soft, state, np.broadcast_to(np.float32(rate), count))
        return results, [
            old - new.numpy()
            for old, new in zip(before, self.model.trainable_variables, strict=True)
        ]

    def whole_batch_gradients(
        self, state: Any = None, temperature: float = 1.0, weight: float = 0.0
    ) -> Arrays:
        """Return the gradients of Keras's own losses on a window, over as many streams as the state has, at once."""
        state = zero_state(self.model, B) if state is None else state
        rows = len(state[0])
        losses = keras.losses.SparseCategoricalCrossentropy, keras.losses.CategoricalCrossentropy
        targets = WINDOWS[0, 1:, :rows].T, SOFT[0, :, :rows].astype(np.float32).transpose(1, 0, 2)
        with tf.GradientTape() as tape:
            logits, _ = self.model(WINDOWS[0, :-1, :rows].T, state)
            pairs = zip(losses, targets, strict=True)
            hard, soft = (
                loss(from_logits=True)(wanted, logits / temperature) for loss, wanted in pairs
            )
            minimised = tf.add_n([(1 - weight) * hard + weight * soft, *self.model.losses])
            gradients = tape.gradient(minimised, self.model.trainable_variables)
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
    """Compare the gradient of a batch in parts with that of the whole."""
    training = {"parts": parts, "loss_temperature": temperature, "ngram_weight": weight}
    trainer = Trainer(training=training, batch=batch, **network)
    state = tuple(layer + 0.1 for layer in zero_state(trainer.model, batch))
    expected = trainer.whole_batch_gradients(state, temperature, weight)
    _, found = trainer.take(
        WINDOWS[:1, :, :batch], state=state, soft=SOFT[..., :batch, :] if weight else None
    )
    check_close(
        found, expected, rtol=1e-5, atol=2e-4 if weight else 1e-6
    )  # float16 rounds the soft targets


def test_the_gradient_of_a_batch_in_parts_is_that_of_the_whole() -> None:
    for network in NETWORKS:
        check_gradient(network, parts=3)
    for parts, batch in ((1, B), (3, 1), (3, 2)):  # also fewer streams than parts
        check_gradient(NETWORKS[1], parts, batch=batch)
    for temperature, weight in ((0.8, 0.3), (1.0, 0.3), (2.0, 0.0)):
        check_gradient({}, 3, temperature=temperature, weight=weight)


def test_the_gradient_of_a_compiled_graph_is_that_of_the_whole_batch() -> None:
    tf.config.run_functions_eagerly(False)
    check_gradient(NETWORKS[-1], 2)


def test_a_gradient_above_the_clip_norm_is_scaled_down_to_it_and_its_norm_before_is_returned() -> (
    None
):
    trainer = Trainer(training={"clip_norm": 0.1})
    gradients = trainer.whole_batch_gradients()
    norm = np.linalg.norm(np.concatenate([gradient.ravel() for gradient in gradients]))
    assert norm > 0.2
    results, found = trainer.take(WINDOWS[:1])
    assert results.gradient_norms.numpy() == pytest.approx([norm], rel=1e-5)
    check_close(found, [gradient * 0.1 / norm for gradient in gradients], rtol=1e-5, atol=1e-6)


def test_each_step_uses_its_own_learning_rate() -> None:
    trainer = Trainer()
    expected = [gradient / 4 for gradient in trainer.whole_batch_gradients()]
    check_close(trainer.take(WINDOWS[:2], rate=[0.25, 0])[1], expected, rtol=1e-5, atol=1e-6)


# Results


@pytest.mark.parametrize("settings", [{"loss_temperature": 0.5}, {"ngram_weight": 1.0}], ids=str)
def test_the_losses_are_nats_per_character_of_the_text_whatever_is_minimised(
    settings: dict[str, Any],
) -> None:
    trainer = Trainer(rnn=REGULARIZED, training=settings)
    parameters = to_parameters(trainer.model)
    logits, _ = parameters.unroll(WINDOWS[0, :-1], parameters.zero_state(B))
    losses = trainer.take(WINDOWS[:1], soft=SOFT if "ngram_weight" in settings else None)[
        0
    ].losses.numpy()
    assert losses == pytest.approx([nats(logits, WINDOWS[0, 1:]).mean()], rel=1e-6)


def test_the_returned_state_is_that_of_the_numpy_engine() -> None:
    trainer = Trainer(layers=2, training={"parts": 3})
    ids = np.concatenate(WINDOWS[:, :-1])  # at a rate of 0, four windows are one window of 4 T
    parameters = to_parameters(trainer.model)
    _, expected = parameters.unroll(ids, parameters.zero_state(B))
    check_close(trainer.take(WINDOWS, rate=0.0)[0].state, expected, rtol=1e-5, atol=1e-6)


def last_states(reset_rate: float, *, steps: int) -> NDArray[np.float32]:
    """Return the state [B, H] after some steps of a network that keeps its state, 0.5 at first, and its weights."""
    trainer = Trainer(training={"state_reset": reset_rate}, activation="linear")
    for weight in trainer.model.trainable_variables:
        weight.assign(tf.zeros_like(weight))
    trainer.model.rnn[0].cell.recurrent_kernel.assign(np.eye(8))
    windows, state = np.repeat(WINDOWS, 3, axis=0)[:steps], (np.full((B, 8), 0.5, np.float32),)
    return np.array(trainer.take(windows, rate=0.0, state=state)[0].state[0])


def test_at_a_rate_some_streams_start_a_window_from_the_zero_state() -> None:
    assert (last_states(0.0, steps=3) == 0.5).all()
    assert B / 2 < sum(bool(stream.all()) for stream in last_states(0.3, steps=1)) < B
    assert not last_states(0.5, steps=12).any(), "each stream sooner or later"


def test_which_streams_start_anew_does_not_depend_on_how_steps_are_grouped() -> None:
    together, alone = (Trainer(training={"state_reset": 0.5}) for _ in range(2))
    state = None
    for window in WINDOWS:
        state = alone.take(window[None], state=state)[0].state
    check_close(together.take(WINDOWS)[0].state, state or ())


# Gradients that kernel.c computes

COMPILED: list[dict[str, Any]] = [
    *({}, {"layers": 3, "skip_connections": True, "units": 20}, {"layers": 2, "use_bias": False}),
    *(
        {"layers": 2, "embedding": 4, "skip_connections": True},
        {"layers": 2, "embedding": 4, "units": 7},
    ),
    {"layers": 2, "layer_dropout": 0.3, "output_dropout": 0.3},
    {
        "layers": 3,
        "skip_connections": True,
        "output_dropout": 0.2,
        "rnn": {"recurrent_dropout": 0.3},
    },
    {"layers": 2, "rnn": {"kernel_regularizer": "l2", "bias_regularizer": "l1"}},
    *({"activation": "relu", "units": 7}, {"activation": "sigmoid"}, {"activation": "linear"}),
]
"""Settings of networks."""


def results(
    settings: dict[str, Any],
    objective: Objective | None = None,
    *,
    compiled: bool = True,
    precision: str = "float32",
    sizes: tuple[int, ...] = (3, 4),
) -> list[Any]:
    """Return the loss of a window, the gradients, and the state after it."""
    if compiled and not any(shutil.which(name) for name in COMPILERS):
        pytest.skip("missing: a C compiler")
    model, wanted = (
        build_model(config(**settings), V, precision=precision),
        objective or Objective(),
    )
    gradients_of = GradientsOfParts(model, sizes, wanted, workers=Workers(), compiled=compiled)
    window, soft = tf.constant(WINDOWS[0]), tf.constant(SOFT[0, ..., : wanted.soft_width(V)])
    compute = tf.function(lambda: gradients_of(window, zero_state(model, B), soft), autograph=False)
    state, loss, gradients = compute()
    return [value.numpy() for value in (loss, *gradients, *state)]


OBJECTIVES = Objective(0.8, 0.6), Objective(temperature=0.9)
CASES = [
    *((network, Objective()) for network in COMPILED),
    *((COMPILED[1], each) for each in OBJECTIVES),
]


@pytest.mark.parametrize(("settings", "objective"), CASES, ids=str)
def test_loss_gradients_and_state_are_those_of_keras(
    settings: dict[str, Any], objective: Objective
) -> None:
    expected, found = (
        results(settings, objective, compiled=compiled) for compiled in (False, True)
    )
    check_close(found, expected, atol=2e-6, rtol=1e-4)


@pytest.mark.parametrize("settings", COMPILED[1:4], ids=str)
def test_bfloat16_changes_them_only_by_rounding(settings: dict[str, Any]) -> None:
    if not multiplies_bfloat16():
        pytest.skip("this processor does not multiply bfloat16")
    expected, found = (
        results(settings, compiled=compiled, precision="bfloat16") for compiled in (False, True)
    )
    check_close(found, expected, of_peak=0.03)


def test_in_a_graph_results_repeat_to_the_bit_and_are_those_of_the_whole_batch_however_it_is_cut() -> (
    None
):
    tf.config.run_functions_eagerly(False)
    check_close(*(results(COMPILED[6]) for _ in range(2)))
    expected, *others = (results(COMPILED[1], sizes=sizes) for sizes in ((3, 4), (7,), (2, 2, 3)))
    for found in others:
        check_close(found, expected, atol=1e-6)
