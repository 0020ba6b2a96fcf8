"""model.js in Node: the numbers of the network, the choice of ids, and the text of a source."""

import math
from typing import Any

import numpy as np
import pytest
import reference
from exports.html_page import HtmlPage
from exports.networks import EVERY_NETWORK, IDS, make_deep_model, make_model
from javascript import Node
from models import make_random_model

from charlm.core.model_file import TrainedModel
from charlm.core.rnn import Parameters
from charlm.core.vocabulary import Vocabulary


@pytest.fixture
def page(node: Node) -> HtmlPage:
    """Return a page on which no model is open."""
    return HtmlPage(node)


@pytest.fixture
def script(page: HtmlPage, trained: TrainedModel) -> HtmlPage:
    """Return a page with a small model, for tests that call functions of its scripts."""
    page.open(trained)
    return page


# The network


@pytest.mark.parametrize("network", EVERY_NETWORK, ids=str)
def test_logits_and_states_are_those_of_the_reference(
    page: HtmlPage,
    network: dict[str, Any],
) -> None:
    trained = make_model(**network)
    page.open(trained)
    body = """
        const {network} = page.source, state = network.zeroState();
        const logits = values.ids.map((id) => Array.from(network.step(id, state)));
        return [logits, Array.from(state)];
    """
    logits, state = page.run(body, ids=IDS.tolist())
    expected, last = reference.read(trained.parameters, IDS.tolist())
    np.testing.assert_allclose(logits, expected, atol=1e-5, rtol=1e-5)
    np.testing.assert_allclose(state, np.concatenate(last), atol=1e-5, rtol=1e-5)


# Random numbers

SEEDS = [0, 2**32 - 1, 2**32, 2**128 + 5]


@pytest.mark.parametrize("seed", SEEDS)
def test_random_numbers_are_those_of_numpy(script: HtmlPage, seed: int) -> None:
    body = """
        const random = new Random(values.seed);
        return Array.from({length: 200}, () => random.next());
    """
    expected = np.random.default_rng([seed, 0]).random(200)
    assert script.run(body, seed=str(seed)) == expected.tolist()


# The choice of an id

FLAT = [1.0, 2.0, 1.0]
CHOICES: dict[str, tuple[list[float], dict[str, float], int]] = {
    "start of the second": (FLAT, {"uniform": 0.25}, 1),
    "start of the third": (FLAT, {"uniform": 0.75}, 2),
    "rounding error at the end": ([1, 2, 0], {"uniform": 1.0}, 1),
    "low temperature, first": (FLAT, {"temperature": 0.5, "uniform": 0.166}, 0),
    "low temperature, second": (FLAT, {"temperature": 0.5, "uniform": 0.167}, 1),
    "temperature 0": (FLAT, {"temperature": 0, "uniform": 0.99}, 1),
    "temperature 0, the first of equal ones": ([1, 2, 2], {"temperature": 0, "uniform": 0.99}, 1),
    "top-p reached by one": (FLAT, {"topP": 0.5, "uniform": 0.1}, 1),
    "top-p reached by two, first": (FLAT, {"topP": 0.51, "uniform": 0.3}, 0),
    "top-p reached by two, second": (FLAT, {"topP": 0.51, "uniform": 0.4}, 1),
    "top-p after the temperature": (FLAT, {"temperature": 0.5, "topP": 0.6, "uniform": 0.1}, 1),
}


@pytest.mark.parametrize(("weights", "settings", "expected"), CHOICES.values(), ids=CHOICES)
def test_an_id_is_chosen_by_its_share_of_the_probability(
    script: HtmlPage,
    weights: list[float],
    settings: dict[str, float],
    expected: int,
) -> None:
    body = """
        const logits = Float64Array.from(values.weights, Math.log);
        return choose(logits, {temperature: 1, topP: 1, ...values}, values.uniform);
    """
    assert script.run(body, weights=weights, **settings) == expected


@pytest.mark.parametrize("logit", ["NaN", "Infinity"])
@pytest.mark.parametrize("temperature", [0, 1])
def test_logits_that_are_not_finite_are_an_error(
    script: HtmlPage,
    logit: str,
    temperature: float,
) -> None:
    body = f"""
        const settings = {{temperature: {temperature}, topP: 1}};
        try {{ choose(Float64Array.of(0, {logit}), settings, 0.5); }}
        catch (error) {{ return error.message; }}
    """
    message = "The logits are not finite: no character can be chosen."
    assert script.run(body) == message


# Texts

STRUCTURES: dict[str, dict[str, Any]] = {
    "no line break": {"characters": "xyz"},
    "outside the BMP": {"characters": "a😀𝒳é\n"},
    "combining accent without a composed character": {"characters": "q\u0301ab"},
}
WRITINGS: dict[str, dict[str, Any]] = {
    "largest seed": {"seed": 2**63 - 1},
    "temperature 0": {"temperature": 0},
    "top-p": {"top_p": 0.6},
}


def check_text(page: HtmlPage, trained: TrainedModel, prompt: str, **settings: Any) -> None:
    """Check that the page writes the text of charlm."""
    model = page.open(trained)
    settings = {"length": 100, "seed": 5, "temperature": 1, **settings}
    expected = model.generate(prompt, **settings)
    assert page.write(prompt=prompt, **settings) == prompt + str(expected)
    assert len(str(expected)) == settings["length"]


@pytest.mark.parametrize("structure", STRUCTURES.values(), ids=STRUCTURES)
def test_every_network_writes_the_text_of_charlm(page: HtmlPage, structure: dict[str, Any]) -> None:
    trained = make_model(**structure)
    check_text(page, trained, "".join(map(str, trained.vocabulary.characters[:2])))


@pytest.mark.parametrize("settings", WRITINGS.values(), ids=WRITINGS)
def test_every_setting_gives_the_text_of_charlm(page: HtmlPage, settings: dict[str, Any]) -> None:
    check_text(page, make_deep_model(), "The ", **settings)


EMPTY_PROMPTS = {
    "end of text": Vocabulary(("a", "\n", "b", None), end_of_text_id=3),
    "line break": Vocabulary(("a", "b", "\n")),
    "first id": Vocabulary(("b", "a", "c")),
}


@pytest.mark.parametrize("paragraphs", [False, True])
@pytest.mark.parametrize("vocabulary", EMPTY_PROMPTS.values(), ids=EMPTY_PROMPTS)
def test_an_empty_prompt_begins_a_text_like_charlm(
    page: HtmlPage, vocabulary: Vocabulary, paragraphs: bool
) -> None:
    facts = {"paragraphs": paragraphs}
    trained = make_random_model(vocabulary=vocabulary, facts=facts, units=6)
    trained.parameters.logits_bias[3:] = -np.inf  # the model does not end the text
    check_text(page, trained, "", seed=1)


@pytest.mark.parametrize(
    ("likely", "reason"),
    [
        pytest.param(4, "the model ended the text", id="end of text"),
        pytest.param(3, "the length is reached", id="unknown id"),
    ],
)
def test_reserved_ids_have_the_effect_that_they_have_in_charlm(
    page: HtmlPage,
    trained: TrainedModel,
    likely: int,
    reason: str,
) -> None:
    trained.parameters.logits_bias[3:] -= 9
    trained.parameters.logits_bias[likely] += 12
    model = page.open(trained)
    expected = str(model.generate("ab", length=60, temperature=1, seed=2))
    assert page.write(prompt="ab", length=60, temperature=1, seed=2) == f"ab{expected}"
    assert reason in page.text_of("status")


# Stop texts


def chain() -> TrainedModel:
    """Return a model that always writes abcdabcd..."""
    vocabulary = Vocabulary(("a", "b", "c", "d", None), end_of_text_id=4)
    trained = make_random_model(vocabulary=vocabulary, units=5, scale=0)
    trained.parameters.tensors["rnn.0.kernel"][:] = 5 * np.eye(5)
    for index in range(4):
        trained.parameters.logits_kernel[index, (index + 1) % 4] = 50
    return trained


STOPS = {
    "at once": ("b", "a", "the stop text came"),
    "two characters": ("cd", "ab", "the stop text came"),
    "begins again inside": ("cdabd", "abcdabc", "the length is reached"),
    "unfinished at the length": ("bcdabcda", "abcdabc", "the length is reached"),
}


@pytest.mark.parametrize(("stop", "expected", "reason"), STOPS.values(), ids=STOPS)
def test_the_text_ends_before_the_stop_text(
    page: HtmlPage,
    stop: str,
    expected: str,
    reason: str,
) -> None:
    page.open(chain())
    assert page.write(prompt="a", length=6, seed=1, temperature=0.1, stop=stop) == expected
    assert reason in page.text_of("status")


@pytest.mark.parametrize("stop", ["aab", "babb", "aabab"])
def test_a_false_start_does_not_hide_the_stop_text(page: HtmlPage, stop: str) -> None:
    model = page.open(make_random_model("ab", scale=0.3))
    written = page.write(prompt="a", length=200, seed=4, temperature=1, stop=stop)
    expected = model.generate("a", length=200, seed=4, temperature=1, stop=stop)
    assert written == f"a{expected}"
    assert expected.stopped_by == "stop text"


def test_the_stop_text_is_taken_back(page: HtmlPage) -> None:
    page.open(chain())
    page.write(prompt="a", length=6, seed=1, temperature=0, stop="cd")
    assert page.choices[0] == "c"
    assert page.get("Array.from(page.last)") == pytest.approx([0, math.tanh(5), 0, 0, 0])


# What the source of the page knows


def test_unknown_characters_are_read_as_the_unknown_id(
    page: HtmlPage,
    trained: TrainedModel,
) -> None:
    model = page.open(trained)
    page.fill(prompt="aéb")
    assert page.text_of("text") == "a\ufffdb"
    assert page.get("page.source.leftOut") == []
    state = np.hstack(model.states(np.array([1, 3, 2])))[-1]
    np.testing.assert_allclose(page.get("Array.from(page.last)"), state, atol=1e-6)


# Units that are switched off

LAYERS, UNITS = 2, 48


def without_unit(
    parameters: Parameters,
    layer: int,
    unit: int,
) -> Parameters:
    """Return the weights with those that read a unit set to 0, as if the unit were always 0."""
    tensors = {name: tensor.copy() for name, tensor in parameters.tensors.items()}
    tensors[f"rnn.{layer}.recurrent_kernel"][unit] = 0
    if layer + 1 < LAYERS:
        tensors[f"rnn.{layer + 1}.kernel"][unit] = 0
    tensors["logits.kernel"][unit + layer * UNITS] = 0
    return Parameters(parameters.architecture, tensors)


@pytest.mark.parametrize("layer", range(LAYERS))
def test_a_unit_that_is_off_is_0_until_it_is_on_again(page: HtmlPage, layer: int) -> None:
    model = page.open(make_deep_model())
    unit = 5
    written = "The "
    whole = model.trained.parameters
    part = without_unit(whole, layer, unit)
    state = tuple(output[-1:].copy() for output in model.states(written))
    for parameters in (part, whole):
        state[layer][:, unit] = 0
        logits = parameters.logits(state)
        for _ in range(60):
            index = logits.argmax(-1)
            written += model.vocabulary.decode(index)
            logits, state = parameters.step(index, state)
    page.fill(prompt="The ", temperature=0, length=60, layer=layer, unit=unit)
    page.click("off")
    page.click("write")
    assert page.spans("dataset.value")[len("The ") :] == ["0"] * 60
    page.click("all-on")
    page.click("write")
    assert page.text_of("text") == written
    assert written != "The " + str(model.generate("The ", length=120, temperature=0))
