"""Dynamic evaluation: it never looks ahead, and it updates the weights as the equations say."""

from dataclasses import replace

import numpy as np
import pytest
import tensorflow as tf
from numpy.typing import NDArray

from charlm.config.file import dump_config
from charlm.config.schema import Config, ModelConfig, RnnConfig
from charlm.engine.dynamic import EPSILON, LONGEST_UNROLLED, score_dynamic
from charlm.engine.model import (
    CharacterRNN,
    State,
    build_model,
    named_weights,
    to_parameters,
    zero_state,
)
from charlm.errors import CharlmError
from charlm.evaluation.dynamic_rule import DECREASE_NATS, DynamicRule
from charlm.evaluation.scoring import score_stream
from charlm.network.architecture import architecture
from charlm.network.bundle import Bundle
from charlm.text.vocabulary import Vocabulary

V = 5
CONFIG = Config(seed=3, model=ModelConfig(layers=2, units=8, skip_connections=True, output_dropout=0.5))
VOCABULARY = Vocabulary("char", tuple("abcde"))
FROZEN = {"rate": 0.0, "decay": 0.0}
"""Settings with which the weights do not change."""

Ids = NDArray[np.int64]
Floats = NDArray[np.float32]


@pytest.fixture(scope="module")
def bundle() -> Bundle:
    parameters = to_parameters(build_model(CONFIG, V))
    return Bundle(architecture(CONFIG, V), parameters, VOCABULARY, dump_config(CONFIG))


def text(length: int, *, seed: int = 0) -> Ids:
    return np.random.default_rng(seed).integers(0, V, length)


def dynamic(bundle: Bundle, ids: Ids, rule: DynamicRule, training_ids: Ids | None = None) -> NDArray[np.float32]:
    return np.concatenate(list(score_dynamic(bundle, ids, rule, training_ids=training_ids).blocks))


def rms(**settings: float | None) -> DynamicRule:
    return DynamicRule(**{"name": "rms", "segment": 4, **settings})  # type: ignore[arg-type]


def sgd(**settings: float) -> DynamicRule:
    return DynamicRule(**{"name": "sgd", "segment": 4, **settings})  # type: ignore[arg-type]


@pytest.mark.usefixtures("eagerly")
@pytest.mark.parametrize("rule", [sgd(rate=0.5, decay=0.1), rms(rate=0.01, decay=0.1)], ids=lambda rule: rule.name)
def test_a_score_does_not_depend_on_later_characters(bundle: Bundle, rule: DynamicRule) -> None:
    ids, training_ids = text(16), text(20, seed=1)
    scores = dynamic(bundle, ids, rule, training_ids)
    for position in (3, 8, 9):  # the last of a segment, the first, the second
        changed = ids.copy()
        changed[position + 1 :] = (changed[position + 1 :] + 1) % V
        found = dynamic(bundle, changed, rule, training_ids)
        np.testing.assert_array_equal(found[:position], scores[:position])
        assert found[position] != scores[position]


@pytest.mark.usefixtures("eagerly")
@pytest.mark.parametrize(
    ("rule", "length"), [*((sgd(**FROZEN), length) for length in (2, 4, 5, 6, 23)), (rms(**FROZEN), 23)], ids=str
)
def test_weights_that_do_not_change_score_like_a_stream(bundle: Bundle, rule: DynamicRule, length: int) -> None:
    expected = np.concatenate(list(score_stream(bundle.parameters, text(length))))
    found = dynamic(bundle, text(length), rule, text(20, seed=1))
    assert found.shape == (length - 1,)
    np.testing.assert_allclose(found, expected, atol=1e-5)


def test_a_repetitive_text_is_learnt(bundle: Bundle) -> None:
    ids = np.tile([0, 1, 2, 3, 4, 4, 2], 100)
    static = np.concatenate(list(score_stream(bundle.parameters, ids)))
    learning = dynamic(bundle, ids, sgd(rate=0.3, decay=0.0))
    np.testing.assert_allclose(learning[:4], static[:4], rtol=1e-5)
    assert learning[-100:].mean() < static[-100:].mean() / 2


@pytest.mark.parametrize("name", ["sgd", "rms"])
def test_a_segment_updates_the_weights_as_the_equation_says(bundle: Bundle, name: str) -> None:
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
            scale, share = (1 / (root + EPSILON), root / mean) if name == "rms" else (1.0, 1.0)
            now = weight.numpy()
            weight.assign(now - rate * g * scale + np.minimum(decay * share, 1) * (first - now))
    rule = DynamicRule(name, rate, decay, 4)  # type: ignore[arg-type]
    np.testing.assert_allclose(dynamic(bundle, ids, rule, training_ids), np.concatenate(expected), rtol=1e-4)


def gradient(model: CharacterRNN, ids: Ids, state: State) -> tuple[list[Floats], Floats, State]:
    """Return the gradients, the nats and the state after a segment."""
    window = tf.constant(ids[:, None], tf.int32)
    with tf.GradientTape() as tape:
        logits, state = model((window[:-1], state))
        scores = tf.nn.sparse_softmax_cross_entropy_with_logits(window[1:], logits)[:, 0]
        loss = tf.reduce_mean(scores)
    weights = [weight.value for weight in named_weights(model).values()]
    return [np.array(tf.convert_to_tensor(g)) for g in tape.gradient(loss, weights)], scores.numpy(), state


@pytest.mark.usefixtures("eagerly")
def test_without_a_rate_a_step_lowers_the_loss_of_its_training_segment_as_much_for_every_network() -> None:
    training_ids = text(41, seed=1)
    for units in (4, 16):
        config = Config(seed=3, model=ModelConfig(units=units))
        model = build_model(config, V)
        network = Bundle(architecture(config, V), to_parameters(model), VOCABULARY, dump_config(config))
        state, gradients = zero_state(model, 1), []
        for start in range(0, 40, 4):
            found, _, state = gradient(model, training_ids[start : start + 5], state)
            gradients.append(np.concatenate([g.ravel() for g in found]))
        squares = np.square(gradients)
        gains = squares / (np.sqrt(squares.mean(0)) + EPSILON)  # of each weight, to first order, at a rate of 1
        rate = score_dynamic(network, text(9), rms(rate=None, decay=0.0), training_ids=training_ids).rule.rate
        assert rate == pytest.approx(DECREASE_NATS / gains.sum(1).mean(), rel=1e-4)


def test_a_rate_that_is_given_is_kept(bundle: Bundle) -> None:
    for rule in (rms(rate=1e-3, decay=0.0), sgd(rate=0.1, decay=0.0)):
        assert score_dynamic(bundle, text(9), rule, training_ids=text(20, seed=1)).rule == rule


@pytest.mark.usefixtures("eagerly")
def test_characters_left_over_by_whole_segments_are_those_at_the_start_of_the_training_text(bundle: Bundle) -> None:
    rule, ids, training_ids = rms(rate=0.01, decay=0.1), text(9), text(15, seed=1)
    expected = dynamic(bundle, ids, rule, training_ids[-13:])
    np.testing.assert_array_equal(dynamic(bundle, ids, rule, training_ids), expected)


def test_a_character_missing_in_the_training_text_does_not_make_the_weights_diverge() -> None:
    config = Config(seed=3, model=ModelConfig(units=8, rnn=RnnConfig(activation="relu")))
    relu = Bundle(architecture(config, V), to_parameters(build_model(config, V)), VOCABULARY, dump_config(config))
    ids, training_ids = text(400), text(200, seed=1) % (V - 1)
    assert V - 1 in ids
    assert V - 1 not in training_ids
    assert dynamic(relu, ids, rms(rate=2e-4, decay=0.01), training_ids).max() < 100


def test_config_yaml_has_no_say_in_the_network(bundle: Bundle) -> None:
    rule = sgd(rate=0.1, decay=0.01)
    other = replace(bundle, config="model: {layers: 64, units: 8000, rnn: {activation: relu}}")
    np.testing.assert_array_equal(dynamic(other, text(30), rule), dynamic(bundle, text(30), rule))


def test_a_segment_too_long_for_a_node_each_is_scored_like_a_stream(bundle: Bundle) -> None:
    ids = text(2 * LONGEST_UNROLLED + 10)
    found = dynamic(bundle, ids, sgd(**FROZEN, segment=LONGEST_UNROLLED + 1))
    np.testing.assert_allclose(found, np.concatenate(list(score_stream(bundle.parameters, ids))), atol=1e-5)


@pytest.mark.parametrize("training_ids", [None, text(4)], ids=["none", "short"])
def test_the_rule_rms_needs_training_text(bundle: Bundle, training_ids: Ids | None) -> None:
    with pytest.raises(CharlmError, match="rms needs the training text"):
        score_dynamic(bundle, text(10), rms(**FROZEN), training_ids=training_ids)


def test_a_single_character_cannot_be_scored(bundle: Bundle) -> None:
    with pytest.raises(CharlmError, match="a text of 1 characters"):
        score_dynamic(bundle, text(1), sgd(**FROZEN), training_ids=None)
