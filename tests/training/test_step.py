"""The compiled step: its gradients, its repeatability and what it returns.

Axes: B batch, T time, V vocabulary, K steps in one call.
"""

from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf
from numpy.typing import NDArray

from charlm import rnn
from charlm.batches import Batches
from charlm.config import Config, ModelConfig, RnnConfig
from charlm.scoring import nats
from charlm.training.model import CharacterRNN, build_model, to_parameters, zero_state
from charlm.training.step import StepResults, compile_steps

B, T, V = 7, 5, 6
CUT = Batches(length=1000, batch_size=B, sequence_length=T, seed=0)

Arrays = list[NDArray[Any]]

REGULARIZED: dict[str, Any] = {
    "kernel_regularizer": {"class_name": "L2", "config": {"l2": 0.1}},
    "activity_regularizer": {"class_name": "L1", "config": {"l1": 0.05}},
}
DROPOUT: dict[str, Any] = {"dropout": 0.2, "recurrent_dropout": 0.2}


class Trainer:
    """A small network and its compiled step; with the plain optimizer a rate of 1 subtracts the gradient."""

    def __init__(
        self,
        *,
        optimizer: Any = None,
        clip_norm: float | None = None,
        parts: int = 2,
        cut: Batches = CUT,
        rnn: dict[str, Any] | None = None,
        reset_rate: float = 0.0,
        loss_temperature: float = 1.0,
        **model: Any,
    ) -> None:
        arguments = RnnConfig(**{"bias_initializer": "random_normal", **(rnn or {})})
        self.model = build_model(Config(seed=1, model=ModelConfig(**{"units": 8, **model}, rnn=arguments)), V)
        self.optimizer = optimizer or keras.optimizers.SGD()
        self.optimizer.build(self.model.trainable_variables)
        self.run = compile_steps(
            self.model,
            self.optimizer,
            cut,
            clip_norm=clip_norm,
            parts=parts,
            reset_rate=reset_rate,
            loss_temperature=loss_temperature,
        )

    def take(self, windows: NDArray[np.int32], *, rate: float = 1.0, state: Any = None) -> StepResults:
        """Take one step a window, from the zero state unless told."""
        state = zero_state(self.model, windows.shape[2]) if state is None else state
        return self.run(windows, state, np.full(len(windows), rate, np.float32))

    def weights(self) -> Arrays:
        """Return a copy of what is trained."""
        return [variable.numpy() for variable in self.model.trainable_variables]

    def update(self, windows: NDArray[np.int32], **options: Any) -> Arrays:
        """Return by how much the weights fall in the steps."""
        before = self.weights()
        self.take(windows, **options)
        return [old - new for old, new in zip(before, self.weights(), strict=True)]


def random_windows(count: int, batch: int = B, *, seed: int = 0) -> NDArray[np.int32]:
    """Return windows [K, T + 1, B]."""
    return np.random.default_rng(seed).integers(0, V, (count, T + 1, batch), dtype=np.int32)


def whole_batch_gradients(
    model: CharacterRNN, window: NDArray[np.int32], state: Any, *, temperature: float = 1.0
) -> Arrays:
    """Return the gradients of Keras's own loss, over the whole batch [T + 1, B] at once."""
    with tf.GradientTape() as tape:
        logits, outputs, _ = model.predict_window(tf.constant(window[:-1]), state, training=False)
        loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)(window[1:], logits / temperature)
        gradients = tape.gradient(loss + model.regularization(outputs), model.trainable_variables)
    return [np.array(tf.convert_to_tensor(gradient)) for gradient in gradients]


def norm(gradients: Arrays) -> float:
    return float(np.sqrt(sum(float(np.square(gradient).sum()) for gradient in gradients)))


def assert_close(found: Arrays, expected: Arrays) -> None:
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-6)


def assert_identical(found: Arrays, expected: Arrays) -> None:
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_array_equal(one, other)


# Gradients


@pytest.mark.parametrize("parts", [1, 2, 3])
@pytest.mark.parametrize(
    "network",
    [
        {},
        {"layers": 2, "embedding": 3, "skip_connections": True},
        {"layers": 2, "rnn": REGULARIZED},
        {"rnn": {"activation": "silu", "use_bias": False, "unroll": False}},
    ],
    ids=str,
)
def test_the_gradient_of_a_batch_in_parts_is_that_of_the_whole(network: dict[str, Any], parts: int) -> None:
    trainer = Trainer(parts=parts, **network)
    windows, state = random_windows(1), tuple(layer + 0.1 for layer in zero_state(trainer.model, B))
    expected = whole_batch_gradients(trainer.model, windows[0], state)
    assert_close(trainer.update(windows, state=state), expected)


@pytest.mark.parametrize("batch", [1, 2])
def test_a_batch_smaller_than_the_number_of_parts_is_cut_into_fewer(batch: int) -> None:
    trainer = Trainer(parts=3, cut=Batches(length=100, batch_size=batch, sequence_length=T, seed=0))
    windows = random_windows(1, batch)
    expected = whole_batch_gradients(trainer.model, windows[0], zero_state(trainer.model, batch))
    assert_close(trainer.update(windows), expected)


def test_the_norm_returned_is_that_before_clipping() -> None:
    trainer = Trainer(clip_norm=0.01)
    windows = random_windows(1)
    expected = whole_batch_gradients(trainer.model, windows[0], zero_state(trainer.model, B))
    assert trainer.take(windows).gradient_norms.numpy() == pytest.approx([norm(expected)], rel=1e-5)


def test_a_gradient_above_the_clip_norm_is_scaled_down_to_it() -> None:
    trainer = Trainer(clip_norm=0.1)
    windows = random_windows(1)
    gradients = whole_batch_gradients(trainer.model, windows[0], zero_state(trainer.model, B))
    assert norm(gradients) > 0.2
    scale = 0.1 / norm(gradients)
    assert_close(trainer.update(windows), [gradient * scale for gradient in gradients])


def test_a_gradient_below_the_clip_norm_stays() -> None:
    assert_close(Trainer(clip_norm=100.0).update(random_windows(1)), Trainer().update(random_windows(1)))


def test_each_step_is_taken_at_the_rate_given_for_it() -> None:
    trainer = Trainer()
    windows, state = np.repeat(random_windows(1), 2, axis=0), zero_state(trainer.model, B)
    gradient = whole_batch_gradients(trainer.model, windows[0], state)
    before = trainer.weights()
    trainer.run(windows, state, np.array([0.25, 0], np.float32))
    assert_close(
        [old - new for old, new in zip(before, trainer.weights(), strict=True)], [g / 4 for g in gradient]
    )


@pytest.mark.parametrize("temperature", [0.5, 3.0])
def test_the_gradient_is_that_of_the_logits_over_the_temperature(temperature: float) -> None:
    trainer = Trainer(loss_temperature=temperature)
    windows, state = random_windows(1), zero_state(trainer.model, B)
    expected = whole_batch_gradients(trainer.model, windows[0], state, temperature=temperature)
    assert_close(trainer.update(windows), expected)


def test_a_constraint_holds_after_every_step() -> None:
    trainer = Trainer(rnn={"recurrent_constraint": "unit_norm"})
    trainer.take(random_windows(3))
    kernel = to_parameters(trainer.model).layers[0].recurrent_kernel
    np.testing.assert_allclose(np.linalg.norm(kernel, axis=0), 1, rtol=1e-6)


# Results


def test_the_losses_are_nats_per_character_without_regularization_or_temperature() -> None:
    trainer = Trainer(rnn=REGULARIZED, loss_temperature=0.5)
    windows, state = random_windows(1), zero_state(trainer.model, B)
    logits, _ = rnn.unroll(
        to_parameters(trainer.model), windows[0, :-1], tuple(np.array(layer) for layer in state)
    )
    losses = trainer.take(windows).losses.numpy()
    assert losses == pytest.approx([nats(logits, windows[0, 1:]).mean()], rel=1e-6)


@pytest.mark.parametrize("parts", [1, 2, 3])
def test_the_state_returned_is_that_of_the_numpy_engine(parts: int) -> None:
    trainer = Trainer(layers=2, parts=parts)
    windows, state = random_windows(4), zero_state(trainer.model, B)
    last = trainer.take(windows, rate=0.0).state
    ids = np.concatenate(windows[:, :-1])  # with the weights at rest, four windows are one of 4 T
    _, expected = rnn.unroll(to_parameters(trainer.model), ids, tuple(np.array(layer) for layer in state))
    assert_close([np.array(layer) for layer in last], list(expected))


def test_no_steps_change_nothing() -> None:
    trainer = Trainer(optimizer=keras.optimizers.Adam())
    before, state = trainer.weights(), tuple(layer + 0.1 for layer in zero_state(trainer.model, B))
    results = trainer.take(random_windows(0), state=state)
    assert results.losses.shape == results.gradient_norms.shape == (0,)
    assert_identical([np.array(layer) for layer in results.state], [np.array(layer) for layer in state])
    assert_identical(trainer.weights(), before)
    assert int(trainer.optimizer.iterations) == 0


# Repeatability


def train(calls: int, steps_per_call: int) -> Arrays:
    """Return everything that is left of some steps with every kind of chance at work."""
    trainer = Trainer(
        optimizer=keras.optimizers.Adam(),
        clip_norm=1.0,
        layers=2,
        layer_dropout=0.2,
        output_dropout=0.2,
        rnn=DROPOUT,
    )
    windows, state = random_windows(calls * steps_per_call), zero_state(trainer.model, B)
    results = []
    for chunk in np.split(windows, calls):
        result = trainer.take(chunk, rate=0.01, state=state)
        state = result.state
        results.append(result)
    variables = [*trainer.model.variables, *trainer.optimizer.variables]
    figures = (
        np.concatenate([np.array(result.losses) for result in results]),
        np.concatenate([np.array(result.gradient_norms) for result in results]),
    )
    return [*figures, *(np.array(layer) for layer in state), *(variable.numpy() for variable in variables)]


@pytest.fixture(scope="module")
def twenty_steps() -> Arrays:
    """Return what is left of 20 steps in one call."""
    return train(1, 20)


def test_the_same_seed_gives_the_same_run_to_the_bit(twenty_steps: Arrays) -> None:
    assert_identical(train(1, 20), twenty_steps)


@pytest.mark.parametrize(("calls", "steps_per_call"), [(20, 1), (4, 5)])
def test_the_number_of_calls_does_not_change_a_bit(calls: int, steps_per_call: int, twenty_steps: Arrays) -> None:
    assert_identical(train(calls, steps_per_call), twenty_steps)


# Streams that begin anew


def last_states(reset_rate: float, *, steps: int, first: float) -> NDArray[np.float32]:
    """Return the state [B, H] after some steps of a network that keeps its state and learns nothing."""
    trainer = Trainer(reset_rate=reset_rate, rnn={"activation": "linear", "bias_initializer": "zeros"})
    for weight in trainer.model.trainable_variables:
        weight.assign(tf.zeros_like(weight))
    trainer.model.rnn[0].cell.recurrent_kernel.assign(np.eye(8))
    state = (np.full((B, 8), first, np.float32),)
    return np.array(trainer.take(random_windows(steps), rate=0.0, state=state).state[0])


def test_streams_go_on_unless_told() -> None:
    assert (last_states(0.0, steps=3, first=0.5) == 0.5).all()


def test_some_streams_begin_a_window_from_the_zero_state() -> None:
    kept = [bool(stream.all()) for stream in last_states(0.3, steps=1, first=0.5)]
    assert 0 < sum(kept) < B
    assert not last_states(0.5, steps=60, first=0.5).any(), "each of them sooner or later"


def test_the_streams_that_begin_anew_do_not_depend_on_how_steps_are_grouped() -> None:
    windows = random_windows(4)
    together, alone = (Trainer(reset_rate=0.5) for _ in range(2))
    state = together.take(windows).state
    one_by_one = None
    for window in windows:
        one_by_one = alone.take(window[None], state=one_by_one).state
    assert_identical([np.array(layer) for layer in state], [np.array(layer) for layer in one_by_one or ()])
