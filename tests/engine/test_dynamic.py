"""Dynamic evaluation: it never looks ahead, and it updates the weights as the equations say."""

import numpy as np
import pytest
import tensorflow as tf
from numpy.typing import NDArray

from charlm.config.file import dump_config
from charlm.config.schema import Config, ModelConfig
from charlm.engine.dynamic import score_dynamic
from charlm.engine.model import CharacterRNN, State, build_model, named_weights, to_parameters, zero_state
from charlm.errors import CharlmError
from charlm.evaluation.scoring import nats_of, score_stream
from charlm.network.architecture import architecture
from charlm.network.bundle import Bundle
from charlm.text.vocabulary import Vocabulary

V = 5
CONFIG = Config(seed=3, model=ModelConfig(layers=2, units=8, skip_connections=True, output_dropout=0.5))
VOCABULARY = Vocabulary("char", tuple("abcde"))

Ids = NDArray[np.int64]
Floats = NDArray[np.float32]


def bundle_of(config: Config) -> Bundle:
    parameters = to_parameters(build_model(config, V))
    return Bundle(architecture(config, V), parameters, VOCABULARY, dump_config(config))


@pytest.fixture(scope="module")
def bundle() -> Bundle:
    return bundle_of(CONFIG)


def text(length: int, *, seed: int = 0) -> Ids:
    return np.random.default_rng(seed).integers(0, V, length)


def dynamic(bundle: Bundle, ids: Ids, training_ids: Ids, *, rate: float, decay: float) -> Floats:
    """Return the nats of a text in segments of 4 characters."""
    found = score_dynamic(bundle, ids, training_ids=training_ids, rate=rate, decay=decay, segment=4)
    assert found.rate == rate
    return np.concatenate(list(nats_of(found.blocks, ids)))


@pytest.mark.usefixtures("eagerly")
def test_a_score_does_not_depend_on_later_characters(bundle: Bundle) -> None:
    ids, training_ids = text(16), text(20, seed=1)
    scores = dynamic(bundle, ids, training_ids, rate=0.01, decay=0.1)
    for position in (3, 8, 9):  # the last of a segment, the first, the second
        changed = ids.copy()
        changed[position + 1 :] = (changed[position + 1 :] + 1) % V
        found = dynamic(bundle, changed, training_ids, rate=0.01, decay=0.1)
        np.testing.assert_array_equal(found[:position], scores[:position])
        assert found[position] != scores[position]


@pytest.mark.usefixtures("eagerly")
@pytest.mark.parametrize("length", [2, 4, 5, 6, 23])
def test_weights_that_do_not_change_score_like_a_stream(bundle: Bundle, length: int) -> None:
    expected = np.concatenate(list(score_stream(bundle.parameters, text(length))))
    found = dynamic(bundle, text(length), text(20, seed=1), rate=0.0, decay=0.0)
    assert found.shape == (length - 1,)
    np.testing.assert_allclose(found, expected, atol=1e-5)


def test_a_segment_updates_the_weights_as_the_equation_says(bundle: Bundle) -> None:
    rate, decay, ids, training_ids = 0.05, 0.1, text(13), text(41, seed=1)
    model = build_model(CONFIG, V)
    trained = [weight.numpy() for weight in named_weights(model).values()]
    squares = [np.zeros_like(weight) for weight in trained]
    state = zero_state(model, 1)
    for start in range(0, 40, 4):
        gradients, _, state = gradient(model, training_ids[start : start + 5], state)
        squares = [total + g**2 / 10 for total, g in zip(squares, gradients, strict=True)]
    roots = [np.sqrt(square) for square in squares]
    mean = np.concatenate([root.ravel() for root in roots]).mean()
    state, expected = zero_state(model, 1), []
    for start in range(0, 12, 4):
        gradients, scores, state = gradient(model, ids[start : start + 5], state)
        expected.append(scores)
        for weight, g, first, root in zip(named_weights(model).values(), gradients, trained, roots, strict=True):
            now = weight.numpy()
            weight.assign(now - rate * g / (root + 2e-5) + np.minimum(decay * root / mean, 1) * (first - now))
    found = dynamic(bundle, ids, training_ids, rate=rate, decay=decay)
    np.testing.assert_allclose(found, np.concatenate(expected), rtol=1e-4)


def gradient(model: CharacterRNN, ids: Ids, state: State) -> tuple[list[Floats], Floats, State]:
    """Return the gradients, the nats and the state after a segment."""
    window = tf.constant(ids[:, None], tf.int32)
    with tf.GradientTape() as tape:
        logits, state = model.predict_window(window[:-1], state)[::2]
        scores = tf.nn.sparse_softmax_cross_entropy_with_logits(window[1:], logits)[:, 0]
        loss = tf.reduce_mean(scores)
    weights = [weight.value for weight in named_weights(model).values()]
    return [np.array(tf.convert_to_tensor(g)) for g in tape.gradient(loss, weights)], scores.numpy(), state


@pytest.mark.usefixtures("eagerly")
def test_without_a_rate_a_step_lowers_the_loss_of_its_training_segment_as_much_for_every_network() -> None:
    training_ids = text(41, seed=1)
    for units in (4, 16):
        config = Config(seed=3, model=ModelConfig(units=units))
        model, gradients = build_model(config, V), []
        state = zero_state(model, 1)
        for start in range(0, 40, 4):
            found, _, state = gradient(model, training_ids[start : start + 5], state)
            gradients.append(np.concatenate([g.ravel() for g in found]))
        squares = np.square(gradients)
        gains = squares / (np.sqrt(squares.mean(0)) + 2e-5)  # of each weight, to first order, at a rate of 1
        rate = score_dynamic(bundle_of(config), text(9), training_ids=training_ids, segment=4).rate
        assert rate == pytest.approx(0.25 / gains.sum(1).mean(), rel=1e-4)


@pytest.mark.parametrize(
    ("length", "training_ids", "message"),
    [
        (10, None, "--dynamic needs the training text of the run"),
        (10, text(20), "--dynamic needs the training text of the run"),
        (1, text(21), "a text of 1 character:"),
    ],
)
def test_texts_that_are_missing_or_too_short_are_refused(
    bundle: Bundle, length: int, training_ids: Ids | None, message: str
) -> None:
    with pytest.raises(CharlmError, match=message):
        score_dynamic(bundle, text(length), training_ids=training_ids)
