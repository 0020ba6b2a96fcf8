"""The compiled step: its gradients, its results and its repeatability.

Axes: B batch, T time, V vocabulary, K steps in one call.
"""

from itertools import product
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf
from arrays import check_close
from numpy.typing import NDArray

from charlm.config.schema import Config, ModelConfig, RnnConfig, Teachers, TrainingConfig
from charlm.engine.model import CharacterRNN, build_model, to_parameters, zero_state
from charlm.engine.step import Objective, StepResults, compile_steps, make_objective, mean_nats
from charlm.network.rnn import nats
from charlm.text.batches import Batches
from charlm.training.machines import Machines

B, T, V = 7, 5, 6
BATCHES = Batches(length=1000, batch_size=B, sequence_length=T, seed=0)

Arrays = list[NDArray[Any]]

REGULARIZED: dict[str, Any] = {
    "kernel_regularizer": {"class_name": "L2", "config": {"l2": 0.1}},
    "activity_regularizer": {"class_name": "L1", "config": {"l1": 0.05}},
}
NETWORKS: list[dict[str, Any]] = [
    {},
    {"layers": 2, "embedding": 3, "skip_connections": True},
    {"layers": 2, "rnn": REGULARIZED},
    {"rnn": {"activation": "sigmoid", "use_bias": False, "unroll": True}},
]


class Trainer:
    """A small network and its compiled step; a rate of 1 subtracts the gradient."""

    def __init__(
        self,
        *,
        batches: Batches = BATCHES,
        rnn: dict[str, Any] | None = None,
        training: dict[str, Any] | None = None,
        **model: Any,
    ) -> None:
        arguments = RnnConfig(**{"bias_initializer": "random_normal", **(rnn or {})})
        self.model = build_model(Config(seed=1, model=ModelConfig(**{"units": 8, **model}, rnn=arguments)), V)
        optimizer = keras.optimizers.SGD()
        optimizer.build(self.model.trainable_variables)
        settings = TrainingConfig(**{"steps": 1, "clip_norm": None, "parts": 2, **(training or {})})
        self.run = compile_steps(self.model, optimizer, batches, settings=settings, machines=Machines())

    def take(
        self,
        windows: NDArray[np.int32],
        *,
        rate: float | NDArray[np.float32] = 1.0,
        state: Any = None,
        soft_targets: NDArray[np.float16] | None = None,
    ) -> StepResults:
        """Take one step for each window, from the zero state by default."""
        if soft_targets is None:
            soft_targets = np.zeros((len(windows), T, windows.shape[2], 0), np.float16)
        state = zero_state(self.model, windows.shape[2]) if state is None else state
        rates = np.broadcast_to(np.float32(rate), len(windows))
        return self.run(windows, soft_targets, state, rates)

    def weights(self) -> Arrays:
        """Return a copy of the trained weights."""
        return [variable.numpy() for variable in self.model.trainable_variables]

    def update(self, windows: NDArray[np.int32], **options: Any) -> Arrays:
        """Return what the steps subtract from the weights."""
        before = self.weights()
        self.take(windows, **options)
        return self.subtracted(before)

    def subtracted(self, before: Arrays) -> Arrays:
        """Return the weights before less those of now."""
        return [old - new for old, new in zip(before, self.weights(), strict=True)]


def random_windows(count: int, batch: int = B) -> NDArray[np.int32]:
    """Return windows [K, T + 1, B]."""
    return np.random.default_rng(0).integers(0, V, (count, T + 1, batch), dtype=np.int32)


def random_soft_targets() -> NDArray[np.float16]:
    """Return probabilities for a window, [1, T, B, V]."""
    return np.random.default_rng(0).dirichlet(np.ones(V), (1, T, B)).astype(np.float16)


def whole_batch_gradients(
    model: CharacterRNN, window: NDArray[np.int32], state: Any, *, temperature: float = 1.0
) -> Arrays:
    """Return the gradients of Keras's own loss, over the whole batch [T + 1, B] at once."""
    with tf.GradientTape() as tape:
        logits, _ = model(window[:-1].T, state)
        loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)(window[1:].T, logits / temperature)
        gradients = tape.gradient(tf.add_n([loss, *model.losses]), model.trainable_variables)
    return [np.array(tf.convert_to_tensor(gradient)) for gradient in gradients]


def norm(gradients: Arrays) -> float:
    return float(np.sqrt(sum(float(np.square(gradient).sum()) for gradient in gradients)))


def assert_close(found: Arrays, expected: Arrays) -> None:
    check_close(found, expected, rtol=1e-5, atol=1e-6)


# Gradients


def check_gradient(network: dict[str, Any], parts: int, batch: int = B) -> None:
    """Compare the gradient of a batch in parts with that of the whole."""
    batches = Batches(length=1000, batch_size=batch, sequence_length=T, seed=0)
    trainer, windows = Trainer(training={"parts": parts}, batches=batches, **network), random_windows(1, batch)
    state = tuple(layer + 0.1 for layer in zero_state(trainer.model, batch))
    expected = whole_batch_gradients(trainer.model, windows[0], state)
    assert_close(trainer.update(windows, state=state), expected)


@pytest.mark.usefixtures("eagerly")
def test_the_gradient_of_a_batch_in_parts_is_that_of_the_whole() -> None:
    for network in NETWORKS:
        check_gradient(network, parts=3)
    for parts, batch in ((1, B), (3, 1), (3, 2)):  # also fewer streams than parts
        check_gradient(NETWORKS[1], parts, batch)


def test_the_gradient_of_a_compiled_graph_is_that_of_the_whole_batch() -> None:
    check_gradient(NETWORKS[-1], 2)


@pytest.mark.usefixtures("eagerly")
def test_a_gradient_above_the_clip_norm_is_scaled_down_to_it_and_its_norm_before_is_returned() -> None:
    trainer = Trainer(training={"clip_norm": 0.1})
    windows, before = random_windows(1), trainer.weights()
    gradients = whole_batch_gradients(trainer.model, windows[0], zero_state(trainer.model, B))
    assert norm(gradients) > 0.2
    assert trainer.take(windows).gradient_norms.numpy() == pytest.approx([norm(gradients)], rel=1e-5)
    assert_close(trainer.subtracted(before), [gradient * 0.1 / norm(gradients) for gradient in gradients])


@pytest.mark.usefixtures("eagerly")
def test_each_step_uses_its_own_learning_rate() -> None:
    trainer, windows = Trainer(), np.repeat(random_windows(1), 2, axis=0)
    gradient = whole_batch_gradients(trainer.model, windows[0], zero_state(trainer.model, B))
    found = trainer.update(windows, rate=np.array([0.25, 0], np.float32))
    assert_close(found, [g / 4 for g in gradient])


@pytest.mark.usefixtures("eagerly")
@pytest.mark.parametrize("parts", [1, 3])
def test_the_gradient_mixes_that_of_the_text_and_that_of_the_soft_targets(parts: int) -> None:
    trainer = Trainer(training={"parts": parts, "loss_temperature": 0.8, "ngram_weight": 0.3})
    windows, soft, state = random_windows(1), random_soft_targets(), zero_state(trainer.model, B)
    expected = whole_batch_gradients(trainer.model, windows[0], state, temperature=0.8)
    with tf.GradientTape() as tape:
        logits, _ = trainer.model(windows[0, :-1].T, state)
        q = soft[0].astype(np.float32).transpose(1, 0, 2)
        taught = keras.losses.CategoricalCrossentropy(from_logits=True)(q, logits / 0.8)
        gradients = tape.gradient(taught, trainer.model.trainable_variables)
    mixed = [
        0.7 * one + 0.3 * np.array(tf.convert_to_tensor(two)) for one, two in zip(expected, gradients, strict=True)
    ]
    found = trainer.update(windows, soft_targets=soft)
    check_close(found, mixed, rtol=1e-7, atol=2e-4)  # the soft targets have the rounding of float16


@pytest.mark.usefixtures("eagerly")
def test_a_constraint_holds_after_every_step() -> None:
    trainer = Trainer(rnn={"recurrent_constraint": "unit_norm"})
    trainer.take(random_windows(3))
    kernel = to_parameters(trainer.model).layers[0].recurrent_kernel
    np.testing.assert_allclose(np.linalg.norm(kernel, axis=0), 1, rtol=1e-6)


# Results


@pytest.mark.usefixtures("eagerly")
@pytest.mark.parametrize("settings", [{"loss_temperature": 0.5}, {"ngram_weight": 1.0}], ids=str)
def test_the_losses_are_nats_per_character_of_the_text_whatever_is_minimised(settings: dict[str, Any]) -> None:
    trainer, windows = Trainer(rnn=REGULARIZED, training=settings), random_windows(1)
    parameters = to_parameters(trainer.model)
    logits, _ = parameters.unroll(windows[0, :-1], parameters.zero_state(B))
    soft = random_soft_targets() if "ngram_weight" in settings else None
    losses = trainer.take(windows, soft_targets=soft).losses.numpy()
    assert losses == pytest.approx([nats(logits, windows[0, 1:]).mean()], rel=1e-6)


@pytest.mark.usefixtures("eagerly")
@pytest.mark.parametrize("parts", [1, 3])
def test_the_returned_state_is_that_of_the_numpy_engine(parts: int) -> None:
    trainer = Trainer(layers=2, training={"parts": parts})
    windows, state = random_windows(4), zero_state(trainer.model, B)
    last = trainer.take(windows, rate=0.0).state
    ids = np.concatenate(windows[:, :-1])  # at a rate of 0, four windows are one window of 4 T
    _, expected = to_parameters(trainer.model).unroll(ids, tuple(np.array(layer) for layer in state))
    assert_close([*last], [*expected])


# Streams that start from the zero state


def last_states(reset_rate: float, *, steps: int, first: float) -> NDArray[np.float32]:
    """Return the state [B, H] after some steps of a network that keeps its state and its weights."""
    trainer = Trainer(training={"state_reset": reset_rate}, rnn={"activation": "linear", "bias_initializer": "zeros"})
    for weight in trainer.model.trainable_variables:
        weight.assign(tf.zeros_like(weight))
    trainer.model.rnn[0].cell.recurrent_kernel.assign(np.eye(8))
    state = (np.full((B, 8), first, np.float32),)
    return np.array(trainer.take(random_windows(steps), rate=0.0, state=state).state[0])


@pytest.mark.usefixtures("eagerly")
def test_at_a_rate_some_streams_start_a_window_from_the_zero_state() -> None:
    assert (last_states(0.0, steps=3, first=0.5) == 0.5).all()
    kept = [bool(stream.all()) for stream in last_states(0.3, steps=1, first=0.5)]
    assert B / 2 < sum(kept) < B
    assert not last_states(0.5, steps=12, first=0.5).any(), "each stream sooner or later"


@pytest.mark.usefixtures("eagerly")
def test_which_streams_start_anew_does_not_depend_on_how_steps_are_grouped() -> None:
    windows = random_windows(4)
    together, alone = (Trainer(training={"state_reset": 0.5}) for _ in range(2))
    state = together.take(windows).state
    one_by_one = None
    for window in windows:
        one_by_one = alone.take(window[None], state=one_by_one).state
    check_close(state, one_by_one or ())


# The objective


RNG = np.random.default_rng(0)
TARGETS = RNG.integers(0, V, (T, B), dtype=np.int32)
SOFT = RNG.dirichlet(np.ones(V), (T, B)).astype(np.float16)
LOGITS = (3 * RNG.standard_normal((T, B, V))).astype(np.float32)


def cross_entropy(*, temperature: float, weight: float) -> float:
    """Return (1 - w) H(text, p) + w H(q, p), a character at a time."""
    total = 0.0
    softs, all_logits = SOFT.reshape(-1, V).astype(float), LOGITS.reshape(-1, V).astype(float) / temperature
    for target, soft, logits in zip(TARGETS.ravel(), softs, all_logits, strict=True):
        log_p = logits - np.log(np.exp(logits).sum())
        total -= (1 - weight) * log_p[target] + weight * (soft * log_p).sum()
    return total / TARGETS.size


def test_the_cross_entropies_are_weighted() -> None:
    for temperature, weight in product((1.0, 0.7), (0.0, 0.25, 1.0)):
        soft = SOFT if weight else SOFT[..., :0]  # then they are not needed
        found = float(Objective(temperature, weight)(TARGETS, soft, LOGITS))
        assert found == pytest.approx(cross_entropy(temperature=temperature, weight=weight), rel=1e-3)  # float16
        assert Objective(temperature, weight).is_plain == ((temperature, weight) == (1, 0))
    assert float(mean_nats(TARGETS, LOGITS)) == pytest.approx(cross_entropy(temperature=1, weight=0), rel=1e-6)


TAUGHT = Teachers(models=("a",))


@pytest.mark.parametrize(
    ("settings", "objective"),
    [
        ({"teachers": TAUGHT, "teacher_weight": 0.0}, Objective()),
        ({"teacher_weight": 1.0}, Objective()),
        ({"teachers": TAUGHT, "teacher_weight": 0.3}, Objective(1.0, 0.3)),
        ({"ngram_weight": 0.3, "loss_temperature": 0.8}, Objective(0.8, 0.3)),
    ],
    ids=str,
)
def test_the_settings_decide_what_is_minimised(settings: dict[str, Any], objective: Objective) -> None:
    assert make_objective(TrainingConfig(steps=1, **settings)) == objective
