"""The pieces of a training step: what each computes, counted by hand."""

import numpy as np
import pytest
import tensorflow as tf

from charlm.config.schema import Config, ModelConfig, OptimizerConfig, RnnConfig, TrainingConfig
from charlm.engine.profile import StepPieces, count_operations

B, T, V, H = 3, 4, 5, 8
RECURRENCES = 2 * B * T * 3 * H * H  # two layers: two recurrent kernels, and a kernel between them
LOGITS = 2 * B * T * H * V


@pytest.fixture(scope="module")
def pieces() -> StepPieces:
    """Return the pieces of a small network with every kind of dropout, in two parts."""
    rnn = RnnConfig(dropout=0.5, recurrent_dropout=0.5)
    model = ModelConfig(units=H, layers=2, rnn=rnn, layer_dropout=0.5, output_dropout=0.5, weight_dropout=0.5)
    training = TrainingConfig(
        batch_size=B,
        sequence_length=T,
        steps=1,
        parts=2,
        optimizer=OptimizerConfig(name="sgd", learning_rate=1e-3),
        average_momentum=0.9,
    )
    return StepPieces(Config(model=model, training=training), V, precision="float32")


def test_a_piece_has_the_products_of_the_pieces_in_it(pieces: StepPieces) -> None:
    assert pieces.forward().operations == RECURRENCES
    assert pieces.loss().operations == RECURRENCES + LOGITS


def test_a_gradient_takes_two_products_for_each_of_the_forward_pass(pieces: StepPieces) -> None:
    assert pieces.gradients_without_dropout().operations == 3 * (RECURRENCES + LOGITS)
    assert pieces.gradients().operations == 3 * (RECURRENCES + LOGITS)


def test_the_gradients_without_dropout_are_the_same_each_time_and_those_with_it_are_not(pieces: StepPieces) -> None:
    plain, dropped = pieces.gradients_without_dropout().run, pieces.gradients().run
    assert all(np.array_equal(one, other) for one, other in zip(plain(), plain(), strict=True))
    assert not all(np.array_equal(one, other) for one, other in zip(dropped(), dropped(), strict=True))


def test_each_run_of_the_optimizer_and_of_the_step_is_an_update(pieces: StepPieces) -> None:
    optimizer, average = pieces.optimizer(), pieces.average()
    (before,), (after,) = optimizer.run(), optimizer.run()
    pieces.step().run()
    (last,) = average.run()
    assert (after - before, last - after) == (1, 1)


@pytest.mark.parametrize(("transpose_a", "shape"), [(False, (2, 3)), (True, (3, 2))])
def test_a_product_counts_two_operations_for_each_pair_of_factors(transpose_a: bool, shape: tuple[int, ...]) -> None:
    @tf.function
    def multiply(left: tf.Tensor, right: tf.Tensor) -> tf.Tensor:
        return tf.matmul(left, right, transpose_a=transpose_a) + 1.0

    graph = multiply.get_concrete_function(tf.zeros(shape), tf.zeros((3, 7))).graph
    assert count_operations(graph) == 2 * 2 * 3 * 7
