"""Dynamic evaluation: never a look ahead, and learning as the equations say."""

import numpy as np
import pytest
import tensorflow as tf
from numpy.typing import NDArray

from charlm.bundle import Bundle
from charlm.config import Config, ModelConfig, RnnConfig
from charlm.config_file import dump_config
from charlm.errors import CharlmError
from charlm.evaluation import DynamicRule
from charlm.scoring import score_stream
from charlm.training.dynamic import EPSILON, score_dynamic
from charlm.training.model import (
    CharacterRNN,
    State,
    architecture,
    build_model,
    named_weights,
    to_parameters,
    zero_state,
)
from charlm.vocabulary import Vocabulary

V = 5
CONFIG = Config(seed=3, model=ModelConfig(layers=2, units=8, skip_connections=True, output_dropout=0.5))
VOCABULARY = Vocabulary("char", tuple("abcde"))
STILL = {"rate": 0.0, "decay": 0.0}

Ids = NDArray[np.int64]
Floats = NDArray[np.float32]


@pytest.fixture(scope="module")
def bundle() -> Bundle:
    parameters = to_parameters(build_model(CONFIG, V))
    return Bundle(architecture(CONFIG, V), parameters, VOCABULARY, dump_config(CONFIG))


def text(length: int, *, seed: int = 0) -> Ids:
    return np.random.default_rng(seed).integers(0, V, length)


def dynamic(bundle: Bundle, ids: Ids, rule: DynamicRule, training_ids: Ids | None = None) -> NDArray[np.float32]:
    return np.concatenate(list(score_dynamic(bundle, ids, rule, training_ids=training_ids)))


def rms(**settings: float) -> DynamicRule:
    return DynamicRule(**{"name": "rms", "stretch": 4, **settings})  # type: ignore[arg-type]


def sgd(**settings: float) -> DynamicRule:
    return DynamicRule(**{"name": "sgd", "stretch": 4, **settings})  # type: ignore[arg-type]


@pytest.mark.parametrize("rule", [sgd(rate=0.5, decay=0.1), rms(rate=0.01, decay=0.1)], ids=lambda rule: rule.name)
@pytest.mark.parametrize("position", [3, 20, 21, 37])
def test_there_is_no_look_ahead(bundle: Bundle, rule: DynamicRule, position: int) -> None:
    one, other = text(60), text(60)
    other[position + 1 :] = (other[position + 1 :] + 1) % V
    scores = [dynamic(bundle, ids, rule, text(200, seed=1)) for ids in (one, other)]
    np.testing.assert_array_equal(scores[0][:position], scores[1][:position])
    assert scores[0][position] != scores[1][position]


@pytest.mark.parametrize("length", [2, 4, 5, 6, 50])
@pytest.mark.parametrize("rule", [sgd(**STILL), rms(**STILL)], ids=lambda rule: rule.name)
def test_weights_that_stay_score_like_a_stream(bundle: Bundle, rule: DynamicRule, length: int) -> None:
    expected = np.concatenate(list(score_stream(bundle.parameters, text(length))))
    found = dynamic(bundle, text(length), rule, text(100, seed=1))
    assert found.shape == (length - 1,)
    np.testing.assert_allclose(found, expected, atol=1e-5)


def test_a_text_that_repeats_itself_is_learnt(bundle: Bundle) -> None:
    again = np.tile([0, 1, 2, 3, 4, 4, 2], 100)
    still, learning = dynamic(bundle, again, sgd(**STILL)), dynamic(bundle, again, sgd(rate=0.3, decay=0.0))
    np.testing.assert_array_equal(learning[:4], still[:4])
    assert learning[-100:].mean() < still[-100:].mean() / 2


@pytest.mark.parametrize("name", ["sgd", "rms"])
def test_a_stretch_changes_the_weights_as_the_equation_says(bundle: Bundle, name: str) -> None:
    rate, decay, ids, training_ids = 0.05, 0.1, text(13), text(101, seed=1)
    model = build_model(CONFIG, V)
    trained = [weight.numpy() for weight in named_weights(model).values()]
    squares = [np.zeros_like(weight) for weight in trained]
    state = zero_state(model, 1)
    for start in range(0, 100, 4):
        gradients, _, state = gradient(model, training_ids[start : start + 5], state)
        squares = [total + g**2 / 25 for total, g in zip(squares, gradients, strict=True)]
    roots = [np.sqrt(square) for square in squares]
    mean = np.concatenate([root.ravel() for root in roots]).mean()
    state, expected = zero_state(model, 1), []
    for start in range(0, 12, 4):
        gradients, scores, state = gradient(model, ids[start : start + 5], state)
        expected.append(scores)
        for weight, g, first, root in zip(named_weights(model).values(), gradients, trained, roots, strict=True):
            scale, share = (1 / (root + EPSILON), root / mean) if name == "rms" else (1.0, 1.0)
            now = weight.numpy()
            weight.assign(now - rate * g * scale + np.minimum(decay * share, 1) * (first - now))
    rule = DynamicRule(name, rate, decay, 4)  # type: ignore[arg-type]
    np.testing.assert_allclose(dynamic(bundle, ids, rule, training_ids), np.concatenate(expected), rtol=1e-4)


def gradient(model: CharacterRNN, ids: Ids, state: State) -> tuple[list[Floats], Floats, State]:
    """Return the gradients, the nats and the state after a stretch."""
    window = tf.constant(ids[:, None], tf.int32)
    with tf.GradientTape() as tape:
        logits, state = model((window[:-1], state))
        scores = tf.nn.sparse_softmax_cross_entropy_with_logits(window[1:], logits)[:, 0]
        loss = tf.reduce_mean(scores)
    weights = [weight.value for weight in named_weights(model).values()]
    return [np.array(tf.convert_to_tensor(g)) for g in tape.gradient(loss, weights)], scores.numpy(), state


def test_a_character_that_the_statistics_never_saw_does_not_blow_up_the_weights() -> None:
    config = Config(seed=3, model=ModelConfig(units=8, rnn=RnnConfig(activation="relu")))
    relu = Bundle(architecture(config, V), to_parameters(build_model(config, V)), VOCABULARY, dump_config(config))
    ids, training_ids = text(400), text(200, seed=1) % (V - 1)
    assert V - 1 in ids
    assert V - 1 not in training_ids
    assert dynamic(relu, ids, rms(rate=2e-4, decay=0.01), training_ids).max() < 100


@pytest.mark.parametrize("training_ids", [None, text(4)], ids=["none", "short"])
def test_rms_needs_training_text(bundle: Bundle, training_ids: Ids | None) -> None:
    with pytest.raises(CharlmError, match="rms needs the training text"):
        score_dynamic(bundle, text(10), rms(**STILL), training_ids=training_ids)


def test_a_single_character_cannot_be_scored(bundle: Bundle) -> None:
    with pytest.raises(CharlmError, match="a text of 1 characters"):
        score_dynamic(bundle, text(1), sgd(**STILL), training_ids=None)
