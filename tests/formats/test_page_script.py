"""page.js and state.js in Node: what the page shows, and what its fields, keys and pictures do."""

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from formats.html_page import SETTLE, HtmlPage
from formats.networks import make_deep_model, make_model
from javascript import Node
from models import make_random_model

from charlm.api.model import Model
from charlm.network.model_file import TrainedModel

UNITS = 48
"""Units of each of the two layers of the deep model."""
MINUS = "\N{MINUS SIGN}"


@pytest.fixture
def page(node: Node) -> HtmlPage:
    """Return a page on which no model is open."""
    return HtmlPage(node)


@pytest.fixture
def model(page: HtmlPage) -> Model:
    """Open the page of a model of two layers and many characters, and return the model."""
    return page.open(make_deep_model())


def shown_number(value: float) -> str:
    """Return a number as the page writes it, with a minus sign instead of a hyphen."""
    return f"{value:.3f}".replace("-", MINUS)


def shown_share(probability: float) -> str:
    """Return a probability as the page writes it."""
    if probability >= 0.0995:
        return f"{100 * probability:.0f}%"
    return f"{100 * probability:.1f}%"


# How characters and numbers are shown


@pytest.mark.parametrize(
    ("character", "label", "name"),
    [
        (" ", "␣", "space"),
        ("\n", "↵", "new line"),
        ("\t", "⇥", "tab"),
        ("\r", "␍", "return"),
        ("\u00a0", "⍽", "no-break space"),
        ("\x00", "U+0000", "U+0000"),
        ("\x1b", "U+001B", "U+001B"),
        ("\u2028", "U+2028", "U+2028"),
        ("\U000e0001", "U+E0001", "U+E0001"),
        ("a", "a", "a"),
        ("😀", "😀", "😀"),
        ("\u0301", "\u0301", "\u0301"),
    ],
    ids=ascii,
)
def test_a_character_that_cannot_be_seen_has_a_label(
    page: HtmlPage, model: Model, character: str, label: str, name: str
) -> None:
    found = page.run("return describeCharacter(values.character)", character=character)
    assert found == [label, name]


@pytest.mark.parametrize(
    ("expression", "expected"),
    [
        ("percent(0)", "0.0%"),
        ("percent(0.0004)", "0.0%"),
        ("percent(0.0123)", "1.2%"),
        ("percent(0.0994)", "9.9%"),
        ("percent(0.0995)", "10%"),
        ("percent(0.996)", "100%"),
        ("bits(0)", "0.00"),
        ("bits(1)", "1.44"),
        ("bits(Math.LN2)", "1.00"),
        ("signed(0)", "0.000"),
        ("signed(-0.0625)", f"{MINUS}0.063"),
        ("signed(0.9994)", "0.999"),
        ("surpriseClass(null)", ""),
        ("surpriseClass(0)", ""),
        ("surpriseClass(0.69)", ""),
        ("surpriseClass(0.7)", "s1"),
        ("surpriseClass(1.59)", "s1"),
        ("surpriseClass(1.6)", "s2"),
        ("surpriseClass(2.99)", "s2"),
        ("surpriseClass(3)", "s3"),
        ("surpriseClass(4.99)", "s3"),
        ("surpriseClass(5)", "s4"),
    ],
)
def test_a_number_is_shown_with_few_digits(
    page: HtmlPage, model: Model, expression: str, expected: str
) -> None:
    assert page.get(expression) == expected


# The start


@pytest.mark.parametrize(
    ("temperature", "shown", "maximum"),
    [(0, "0.00", 2), (0.65, "0.65", 2), (2.5, "2.50", 2.5)],
    ids=str,
)
def test_the_page_starts_at_the_temperature_of_the_model(
    page: HtmlPage, trained: TrainedModel, temperature: float, shown: str, maximum: float
) -> None:
    config = {"sampling": {"temperature": temperature}}
    page.open(replace(trained, config=config))
    assert float(page.get("page.on.temperature.value")) == temperature
    assert page.get("page.on.temperature.max") == maximum
    assert page.text_of("temperature-value") == shown


def test_the_page_starts_without_a_filter(page: HtmlPage, model: Model) -> None:
    assert page.text_of("top-p-value") == "1.00"
    assert page.get("page.settings.topP") == 1
    assert page.get("page.settings.length") == 500
    assert page.get("page.settings.stop") == ""
    assert page.get("page.on.pace.value") == "0"


def test_the_page_describes_its_model(page: HtmlPage) -> None:
    page.open(make_model(layers=3, units=6), title="a <b> & c")
    assert page.text_of("summary").startswith("A SimpleRNN of 3 layers of 6 units")
    assert page.get('document.querySelector("title").textContent') == "a <b> & c"
    layers = page.get("page.on.layer.children.map((one) => [one.value, one.textContent])")
    assert layers == [["0", "rnn.0"], ["1", "rnn.1"], ["2", "rnn.2"]]
    assert page.get("page.on.unit.max") == 5


def test_the_data_are_no_longer_in_the_document(page: HtmlPage, model: Model) -> None:
    assert page.get('document.querySelectorAll("script[type]").length') == 0


# Writing


def test_an_empty_seed_is_drawn_and_shown(page: HtmlPage, model: Model) -> None:
    page.run("drawnSeed = 4294967295")
    expected = model.generate("The ", length=30, temperature=1, seed=2**32 - 1)
    assert page.write(prompt="The ", length=30, temperature=1, seed="") == f"The {expected}"
    assert "; seed 4294967295." in page.text_of("status")


def test_the_status_has_the_rate(page: HtmlPage, model: Model) -> None:
    page.run("clock.tick = 0")
    page.write(prompt="The ", length=60, seed=0, pace=30)
    expected = "60 characters, 30 per second; the length is reached; seed 0."
    assert page.text_of("status") == expected


def test_a_slow_text_grows_by_single_characters(page: HtmlPage, model: Model) -> None:
    page.fill(prompt="The ", length=5, seed=1, pace=30)
    body = """
        clock.tick = 0;
        const start = clock.now, lengths = [];
        const writing = page.write();
        while (lengths.at(-1) !== 9) {
          await new Promise((resolve) => requestAnimationFrame(resolve));
          clock.now -= 16;
          lengths.push(page.on.text.children.length);
        }
        await writing;
        return [[...new Set(lengths)], clock.now - start];
    """
    lengths, milliseconds = page.run(body)
    assert lengths == [4, 5, 6, 7, 8, 9]
    assert milliseconds == pytest.approx(5000 / 30 + 16, abs=1)


STARTED = """
const frame = () => new Promise((resolve) => requestAnimationFrame(resolve));
page.on.write.click();
for (let count = 0; count < (values.frames ?? 30); count++) await frame();
"""


@pytest.fixture
def writing(page: HtmlPage, model: Model) -> Model:
    """Fill in the fields for a text that takes long."""
    page.fill(prompt="The ", length=100_000, seed=1, pace=30)
    return model


STOPPED_BY = {
    "Escape": 'document.body.dispatch("keydown", {key: "Escape"})',
    "Escape in a field": 'page.on.prompt.dispatch("keydown", {key: "Escape"})',
    "the button": "page.on.write.click()",
}


@pytest.mark.parametrize("action", STOPPED_BY.values(), ids=STOPPED_BY)
def test_writing_can_be_stopped(page: HtmlPage, writing: Model, action: str) -> None:
    labels = page.act(
        f"""{STARTED}
        result = [page.on.write.textContent, page.on.status.textContent];
        {action}"""
    )
    assert labels == ["Stop", "Writing, seed 1 ..."]
    assert page.text_of("write") == "Write"
    count = len(page.text_of("text")) - 4
    assert 5 < count < 40
    assert page.text_of("status").startswith(f"{count} characters, ")
    assert page.text_of("status").endswith(" per second; stopped; seed 1.")


@pytest.mark.parametrize("frames", [30, 31], ids=["before a character", "after a character"])
def test_a_new_prompt_replaces_the_text_that_is_written(
    page: HtmlPage, writing: Model, frames: int
) -> None:
    type_prompt = "page.on.prompt.value = 'A boat'; page.on.prompt.dispatch('input')"
    page.act(STARTED + type_prompt, frames=frames)
    assert page.text_of("text") == "A boat"
    assert page.text_of("write") == "Write"
    assert page.text_of("status") == ""


def test_a_chosen_character_stops_the_writing(page: HtmlPage, writing: Model) -> None:
    page.act(f"{STARTED} document.body.dispatch('keydown', {{key: '1'}})")
    assert page.text_of("write") == "Write"
    assert page.spans("className")[-1].endswith("chosen")
    assert len(page.text_of("text")) < 45


def test_the_text_starts_again_with_the_prompt(page: HtmlPage, model: Model) -> None:
    page.write(prompt="The ", length=50, seed=1)
    page.on_character("pointerover", 20)
    page.click("restart")
    assert page.text_of("text") == "The "
    assert page.text_of("detail") == ""
    expected = model.generate("The ", length=50, seed=1)
    page.click("write")
    assert page.text_of("text") == f"The {expected}"


@pytest.mark.parametrize("key", ["ctrlKey", "metaKey"])
def test_a_key_starts_the_writing(page: HtmlPage, model: Model, key: str) -> None:
    page.fill(prompt="The ", length=9, seed=1)
    page.press("Enter", on="prompt", **{key: True})
    assert len(page.text_of("text")) == 13


def test_enter_alone_does_not_start_the_writing(page: HtmlPage, model: Model) -> None:
    page.fill(prompt="The ", length=9, seed=1)
    page.press("Enter", on="prompt")
    assert page.text_of("text") == "The "


@pytest.mark.parametrize(
    ("field", "value", "count"),
    [
        pytest.param("length", "1", 1, id="smallest length"),
        pytest.param("length", "0", 0, id="length too small"),
        pytest.param("length", "100001", 0, id="length too large"),
        pytest.param("length", "", 0, id="no length"),
        pytest.param("length", "1.5", 0, id="part of a character"),
        pytest.param("seed", "-1", 0, id="negative seed"),
        pytest.param("seed", "1e3", 0, id="no digits"),
        pytest.param("seed", "007", 3, id="zeros before a seed"),
    ],
)
def test_fields_out_of_range_write_nothing(
    page: HtmlPage, model: Model, field: str, value: str, count: int
) -> None:
    written = page.write(**{"prompt": "The ", "length": 3, "seed": 1, field: value})
    assert len(written) == 4 + count


def test_the_largest_length_is_100000(page: HtmlPage, model: Model) -> None:
    page.fill(length=100_000)
    assert page.get("page.on.settings.reportValidity()")


@pytest.mark.parametrize(
    ("typed", "stop"),
    [
        (r"\n", "\n"),
        (r"a\tb", "a\tb"),
        (r"\\n", r"\n"),
        (r"\x", r"\x"),
        (r"\n\n", "\n\n"),
    ],
)
def test_escapes_in_the_stop_text_are_characters(
    page: HtmlPage, model: Model, typed: str, stop: str
) -> None:
    page.fill(stop=typed)
    assert page.get("page.settings.stop") == stop


@pytest.mark.parametrize(
    ("field", "value", "shown"),
    [("temperature", 0, "0.00"), ("temperature", 1.25, "1.25"), ("top_p", 0.05, "0.05")],
)
def test_the_value_of_a_slider_is_shown(
    page: HtmlPage, model: Model, field: str, value: float, shown: str
) -> None:
    page.fill(**{field: value})
    assert page.text_of(f"{field.replace('_', '-')}-value") == shown


# The text


def test_the_surprise_of_a_character_is_shown(page: HtmlPage, model: Model) -> None:
    text = "The ferry\n"
    nats = model.score(text)
    page.fill(prompt=text)
    for index in (1, 3, 9):
        page.on_character("pointerover", index)
        loss = float(nats[index - 1])
        glyph = {" ": "␣", "\n": "↵"}.get(text[index], text[index])
        share = shown_share(math.exp(-loss))
        bits = loss / math.log(2)
        expected = f"{glyph}: probability {share}, {loss:.2f} nats, {bits:.2f} bits"
        assert page.text_of("detail") == expected


def test_the_first_character_has_no_surprise(page: HtmlPage, model: Model) -> None:
    page.fill(prompt="The")
    page.on_character("pointerover", 1)
    page.on_character("pointerover", 0)
    assert page.text_of("detail") == ""


def test_a_certain_character_has_no_surprise(page: HtmlPage) -> None:
    page.open(make_model("x"))
    page.fill(prompt="xx")
    page.on_character("pointerover", 1)
    assert page.text_of("detail") == "x: probability 100%, 0.00 nats, 0.00 bits"


def test_pointing_between_the_characters_shows_nothing_new(page: HtmlPage, model: Model) -> None:
    page.fill(prompt="The")
    page.on_character("pointerover", 1)
    before = page.text_of("detail")
    page.act("page.on.text.dispatch('pointerover')")
    assert page.text_of("detail") == before != ""


def test_characters_are_coloured_by_their_surprise(page: HtmlPage, model: Model) -> None:
    text = "The ferry lies on the mud.\n" + str(
        model.generate("The ", length=200, temperature=0.5, seed=1)
    )
    page.fill(prompt=text)
    expected = [0]
    for nats in model.score(text).tolist():
        expected.append(sum(nats >= limit for limit in (0.7, 1.6, 3, 5)))
    assert page.spans("className") == [f"s{level}" if level else "" for level in expected]
    assert {*expected} == {*range(5)}


def test_the_legend_has_a_sample_of_each_surprise(page: HtmlPage, model: Model) -> None:
    samples = page.get("page.on.legend.children.map((one) => [one.className, one.textContent])")
    assert samples == [
        ["", "50% or more"],
        ["s1", "< 50%"],
        ["s2", "< 20%"],
        ["s3", "< 5%"],
        ["s4", "< 0.7%"],
    ]
    assert page.text_of("legend").startswith("Background: the probability that the model gave")


def test_unknown_characters_are_named_once(page: HtmlPage, model: Model) -> None:
    page.fill(prompt="éa\u00a0bé")
    expected = "The model does not know these characters, so they are left out: é ⍽"
    assert page.text_of("status") == expected
    page.fill(prompt="ab")
    assert page.text_of("status") == ""


@pytest.mark.parametrize(
    ("scrolled_to", "expected"),
    [pytest.param(100, 154, id="at the end"), pytest.param(10, 10, id="above")],
)
def test_the_page_follows_a_text_whose_end_is_in_view(
    page: HtmlPage, model: Model, scrolled_to: int, expected: int
) -> None:
    page.fill(prompt="a" * 152, length=2, seed=1)  # a line for each character, 50 in view
    page.run("page.on.text.scrollTop = values.scrolled_to", scrolled_to=scrolled_to)
    page.click("write")
    assert page.get("page.on.text.scrollTop") == expected


# The next characters


def test_the_next_characters_have_their_probabilities(page: HtmlPage, model: Model) -> None:
    page.fill(prompt="The ")
    logits = model.logits("The ")[-1].astype(float)
    shares = np.exp(logits) / np.exp(logits).sum()
    labels = {" ": ("␣", "space"), "\n": ("↵", "new line")}
    expected = []
    for number, index in enumerate((-shares).argsort()[:9], 1):
        character = model.vocabulary.characters[index]
        label, name = labels.get(character, (character, character))
        share = shown_share(shares[index])
        expected.append([str(number), label, share, f"{name}, {share}", character])
    rows = page.get(
        """page.on.next.querySelectorAll("button").map((button) => [
            ...button.children.slice(0, 3).map((part) => part.textContent),
            button.attributes["aria-label"], button.value])"""
    )
    assert rows == expected
    widths = page.get('page.on.next.querySelectorAll(".bar").map((bar) => bar.style.width)')
    shown = [float(width.removesuffix("%")) for width in widths]
    assert shown == pytest.approx(
        [100 * shares[index] for index in (-shares).argsort()[:9]], rel=1e-4
    )


def test_a_small_vocabulary_has_few_next_characters(page: HtmlPage, model: Model) -> None:
    assert len(page.choices) == 9
    page.open(make_random_model("abc"))
    assert sorted(page.choices) == ["a", "b", "c"]


def test_reserved_ids_are_no_next_characters(page: HtmlPage, trained: TrainedModel) -> None:
    trained.parameters.logits_bias[3:] += 9
    page.open(trained)
    assert sorted(page.choices) == ["\n", "a", "b"]


def test_chosen_characters_are_appended(page: HtmlPage, model: Model) -> None:
    page.fill(prompt="The ")
    second = page.choices[1]
    page.act("page.on.next.querySelectorAll('button')[1].click()")
    third = page.choices[2]
    page.press("3")
    assert page.text_of("text") == "The " + second + third
    assert ["chosen" in name for name in page.spans("className")] == [False] * 4 + [True] * 2
    likeliest = int(model.logits("The " + second + third)[-1].argmax())
    assert page.choices[0] == model.vocabulary.characters[likeliest]


def test_nine_keys_choose_a_character(page: HtmlPage, model: Model) -> None:
    page.fill(prompt="The ")
    ninth = page.choices[8]
    page.press("9")
    assert page.text_of("text") == "The " + ninth


@pytest.mark.parametrize(
    ("key", "on", "modifiers"),
    [
        pytest.param("0", "", {}, id="0"),
        pytest.param("12", "", {}, id="two digits"),
        pytest.param("1", "prompt", {}, id="in the prompt"),
        pytest.param("1", "length", {}, id="in a field"),
        pytest.param("1", "layer", {}, id="in a list"),
        pytest.param("1", "", {"ctrlKey": True}, id="with Ctrl"),
        pytest.param("1", "", {"metaKey": True}, id="with Meta"),
        pytest.param("1", "", {"altKey": True}, id="with Alt"),
    ],
)
def test_other_keys_choose_no_character(
    page: HtmlPage, model: Model, key: str, on: str, modifiers: dict[str, bool]
) -> None:
    page.fill(prompt="The ")
    page.press(key, on=on, **modifiers)
    assert page.text_of("text") == "The "


# The state after a character


def state_after(model: Model, text: str) -> list[float]:
    """Return the state after a text, from the lowest layer to the highest."""
    return [float(value) for value in np.hstack(model.states(text))[-1]]


@pytest.mark.parametrize(
    ("index", "place"),
    [
        pytest.param(0, "character 1 of the text, T", id="first"),
        pytest.param(3, "character 4 of the text, ␣", id="middle"),
        pytest.param(8, "character 9 of the text, y", id="last"),
    ],
)
def test_a_click_shows_the_state_after_a_character(
    page: HtmlPage, model: Model, index: int, place: str
) -> None:
    text = "The ferry"
    page.fill(prompt=text, unit=7, layer=1)
    page.on_character("click", index)
    value = state_after(model, text[: index + 1])[UNITS + 7]
    assert page.text_of("unit-value") == f"rnn.1, unit 7: {shown_number(value)}"
    assert f"2 layers of 48 units after {place}, the lowest" in page.text_of("state-note")
    assert page.get('page.on.state.attributes["aria-label"]') == page.text_of("state-note")
    here = ["here" in name for name in page.spans("className")]
    assert here == [number == index for number in range(9)]


def test_a_second_click_returns_to_the_last_character(page: HtmlPage, model: Model) -> None:
    page.fill(prompt="The ferry", unit=7)
    page.on_character("click", 2)
    page.on_character("click", 2)
    value = state_after(model, "The ferry")[7]
    assert page.text_of("unit-value") == f"rnn.0, unit 7: {shown_number(value)}"
    assert "units after the last character, the" in page.text_of("state-note")
    assert not any("here" in name for name in page.spans("className"))


def test_a_click_shows_the_surprise_of_the_character(page: HtmlPage, model: Model) -> None:
    page.fill(prompt="The ferry")
    page.on_character("click", 2)
    loss = float(model.score("The ferry")[1])
    assert f", {loss:.2f} nats, " in page.text_of("detail")


@pytest.mark.parametrize(
    ("keys", "index"),
    [
        pytest.param(["ArrowLeft"], 8, id="left of the end"),
        pytest.param(["ArrowLeft", "ArrowLeft"], 7, id="left twice"),
        pytest.param(["ArrowLeft", "ArrowLeft", "ArrowRight"], 8, id="left and right"),
        pytest.param(["Home"], 0, id="home"),
        pytest.param(["Home", "ArrowRight"], 1, id="right of the start"),
        pytest.param(["Home", "End"], 8, id="end"),
        pytest.param(["Home", "ArrowLeft"], 0, id="left of the start"),
        pytest.param(["End", "ArrowRight"], 8, id="right of the end"),
    ],
)
def test_arrow_keys_move_through_the_text(
    page: HtmlPage, model: Model, keys: list[str], index: int
) -> None:
    page.fill(prompt="The ferry", unit=7)
    for key in keys:
        page.press(key, on="text")
    value = state_after(model, "The ferry"[: index + 1])[7]
    assert page.text_of("unit-value") == f"rnn.0, unit 7: {shown_number(value)}"
    assert page.get("page.on.text.children.indexOf(document.inView)") == index


@pytest.mark.parametrize(
    ("key", "modifiers", "is_used"),
    [
        pytest.param("Home", {}, True, id="home"),
        pytest.param("ArrowRight", {}, False, id="right of the end"),
        pytest.param("a", {}, False, id="letter"),
        pytest.param("Home", {"ctrlKey": True}, False, id="with Ctrl"),
    ],
)
def test_only_keys_that_move_are_taken_from_the_browser(
    page: HtmlPage, model: Model, key: str, modifiers: dict[str, bool], is_used: bool
) -> None:
    page.fill(prompt="The ferry")
    assert page.press(key, on="text", **modifiers) == is_used


def test_escape_returns_to_the_last_character(page: HtmlPage, model: Model) -> None:
    page.fill(prompt="The ferry", unit=7)
    page.press("Home", on="text")
    page.press("Escape")
    value = state_after(model, "The ferry")[7]
    assert page.text_of("unit-value") == f"rnn.0, unit 7: {shown_number(value)}"


def test_new_characters_are_shown_at_the_end(page: HtmlPage, model: Model) -> None:
    page.fill(prompt="The ferry")
    page.press("Home", on="text")
    page.press("1")
    assert "after the last character" in page.text_of("state-note")


# Units


@pytest.mark.parametrize("layer", [0, 1])
def test_the_text_is_coloured_by_a_unit(page: HtmlPage, model: Model, layer: int) -> None:
    text = "The ferry"
    page.fill(prompt=text, layer=layer, unit=7)
    values = [float(value) for value in model.states(text)[layer][:, 7]]
    largest = max(map(abs, values))
    expected = []
    for value in values:
        colour = "negative" if value < 0 else "positive"
        share = round(60 * abs(value) / largest)
        expected.append(f"color-mix(in srgb, var(--{colour}) {share}%, transparent)")
    assert page.spans("style.backgroundColor") == expected
    shown = [float(value) for value in page.spans("dataset.value")]
    assert shown == pytest.approx(values, abs=1e-5)
    assert page.text_of("legend") == (
        f"Background: rnn.{layer}, unit 7 after a character; "
        f"blue is negative, orange positive, strongest at {largest:.2f}."
    )


def test_a_unit_that_is_always_zero_has_no_colour(page: HtmlPage) -> None:
    page.open(make_model(scale=0))
    page.fill(prompt="ab", unit=0)
    transparent = "color-mix(in srgb, var(--positive) 0%, transparent)"
    assert page.spans("style.backgroundColor") == [transparent] * 2
    assert page.text_of("legend").endswith("strongest at 1.00.")


def test_pointing_at_a_character_shows_the_chosen_unit(page: HtmlPage, model: Model) -> None:
    page.fill(prompt="The ferry", layer=1, unit=7)
    page.on_character("pointerover", 0)
    value = state_after(model, "T")[UNITS + 7]
    assert page.text_of("detail") == f"T: rnn.1, unit 7: {shown_number(value)}"
    page.on_character("pointerover", 1)
    value = state_after(model, "Th")[UNITS + 7]
    assert page.text_of("detail").endswith(f" bits; rnn.1, unit 7: {shown_number(value)}")


def test_new_characters_have_the_colour_of_the_unit(page: HtmlPage, model: Model) -> None:
    page.fill(prompt="The ", unit=7, length=20, seed=1)
    page.click("write")
    text = page.text_of("text")
    values = [float(value) for value in model.states(text)[0][:, 7]]
    shown = [float(value) for value in page.spans("dataset.value")]
    assert shown == pytest.approx(values, abs=1e-5)
    share = round(60 * abs(values[-1]) / max(map(abs, values)))
    assert f" {share}%, " in page.spans("style.backgroundColor")[-1]


@pytest.mark.parametrize("unit", ["", UNITS, -1])
def test_without_a_unit_the_text_is_coloured_by_surprise(
    page: HtmlPage, model: Model, unit: Any
) -> None:
    page.fill(prompt="The ferry", unit=7)
    page.fill(unit=unit)
    assert page.spans("style.backgroundColor") == [""] * 9
    assert page.get("page.on.off.disabled")
    assert page.text_of("unit-value") == ""
    assert page.text_of("legend").startswith("Background: the probability")
    assert page.get("page.on.unit.value") == str(unit)


def test_the_last_unit_can_be_chosen(page: HtmlPage, model: Model) -> None:
    page.fill(prompt="The ferry", unit=UNITS - 1, layer=1)
    assert page.text_of("unit-value").startswith("rnn.1, unit 47: ")
    assert not page.get("page.on.off.disabled")


# The picture of the state: 220 pixels hold 20 cells of 11, so that 48 units take 3 rows of 16

CELL, ROW, BLOCK = 220 / 16, 220 / 16, 3 * 220 / 16 + 4


@pytest.fixture
def pictured(page: HtmlPage, model: Model) -> HtmlPage:
    """Return the page after a short prompt."""
    page.fill(prompt="The ferry")
    return page


def cell_of(index: int) -> tuple[float, float]:
    """Return the left and the top of the cell of a unit."""
    layer, unit = divmod(index, UNITS)
    return unit % 16 * CELL, layer * BLOCK + unit // 16 * ROW


def marks_of(page: HtmlPage, kind: str) -> list[dict[str, Any]]:
    """Return what was drawn of a kind."""
    return [mark for mark in page.get("page.on.state.marks") if mark["kind"] == kind]


def test_each_unit_has_a_cell(pictured: HtmlPage, model: Model) -> None:
    state = state_after(model, "The ferry")
    cells = marks_of(pictured, "fill")[2:]
    assert len(cells) == len(state) == 2 * UNITS
    for index, (mark, value) in enumerate(zip(cells, state, strict=True)):
        assert mark["box"] == pytest.approx([*cell_of(index), CELL, ROW])
        assert mark["fill"] == ("--negative" if value < 0 else "--positive")
        assert mark["alpha"] == pytest.approx(abs(value), abs=1e-5)


def test_each_layer_has_a_block(pictured: HtmlPage) -> None:
    blocks = marks_of(pictured, "fill")[:2]
    boxes = [mark["box"] for mark in blocks]
    assert boxes[0] == pytest.approx([0, 0, 220, BLOCK - 4])
    assert boxes[1] == pytest.approx([0, BLOCK, 220, BLOCK - 4])
    assert [mark["fill"] for mark in blocks] == ["--zero"] * 2


def test_the_picture_has_the_pixels_of_the_screen(pictured: HtmlPage) -> None:
    height = 2 * BLOCK - 4
    assert pictured.get("page.on.state.width") == 440
    assert pictured.get("page.on.state.height") == round(2 * height)
    assert pictured.get("page.on.state.style.height") == f"{height:g}px"
    assert [mark["box"] for mark in marks_of(pictured, "scale")] == [[2, 2]]


@pytest.mark.parametrize(
    ("width", "columns", "rows", "height"),
    [
        pytest.param(100, 16, 3, 6.25, id="narrow"),
        pytest.param(400, 24, 2, 16, id="two rows"),
        pytest.param(527, 24, 2, 16, id="almost a row"),
        pytest.param(528, 48, 1, 11, id="a row"),
        pytest.param(960, 48, 1, 16, id="wide"),
    ],
)
def test_cells_are_at_least_11_pixels_wide_unless_there_are_16_in_a_row(
    pictured: HtmlPage, width: int, columns: int, rows: int, height: float
) -> None:
    pictured.act("page.on.state.clientWidth = values.width; listeners.resize()", width=width)
    assert pictured.get("page.view.size") == pytest.approx([width / columns, height])
    shown = float(pictured.get("page.on.state.style.height").removesuffix("px"))
    assert shown == pytest.approx(2 * rows * height + 4)


def test_large_values_have_a_scale_of_their_own(page: HtmlPage) -> None:
    trained = make_model(units=4, activation="linear")
    trained.parameters.tensors["rnn.0.kernel"][:] = [-8, 4, 0, 1]
    trained.parameters.tensors["rnn.0.recurrent_kernel"][:] = 0
    trained.parameters.tensors["rnn.0.bias"][:] = 0
    page.open(trained)
    assert [mark["alpha"] for mark in marks_of(page, "fill")[1:]] == [1, 0.5, 0, 0.125]
    assert page.text_of("state-note").startswith("1 layer of 4 units after the last character")
    assert page.text_of("state-note").endswith("strongest at 8.0.")


def test_small_values_have_the_scale_of_tanh(pictured: HtmlPage) -> None:
    assert pictured.text_of("state-note").endswith("strongest at 1.")


@pytest.mark.parametrize("index", [0, 15, 16, 47, 48, 95])
def test_a_click_on_a_cell_chooses_its_unit(pictured: HtmlPage, model: Model, index: int) -> None:
    left, top = cell_of(index)
    pictured.on_cell("click", left + 1, top + 1)
    layer, unit = divmod(index, UNITS)
    value = state_after(model, "The ferry")[index]
    expected = f"rnn.{layer}, unit {unit}: {shown_number(value)}"
    assert pictured.text_of("unit-value") == expected
    assert pictured.get("[page.on.layer.value, page.on.unit.value]") == [str(layer), str(unit)]
    (frame,) = marks_of(pictured, "frame")
    assert frame["box"] == pytest.approx([left, top, CELL, ROW])
    assert frame["stroke"] == "--ink"


def test_a_second_click_on_a_cell_chooses_no_unit(pictured: HtmlPage) -> None:
    pictured.on_cell("click", 1, 1)
    pictured.on_cell("click", CELL - 1, ROW - 1)
    assert pictured.text_of("unit-value") == ""
    assert pictured.get("page.on.unit.value") == ""
    assert marks_of(pictured, "frame") == []


@pytest.mark.parametrize(
    ("x", "y"), [(-1, 1), (1, -1), (221, 1), (1, BLOCK - 2), (1, 2 * BLOCK)], ids=str
)
def test_a_click_beside_the_cells_chooses_no_unit(pictured: HtmlPage, x: float, y: float) -> None:
    pictured.fill(unit=7)
    pictured.on_cell("click", x, y)
    assert pictured.text_of("unit-value") == ""


def test_pointing_at_a_cell_shows_its_unit(pictured: HtmlPage, model: Model) -> None:
    state = state_after(model, "The ferry")
    pictured.fill(unit=7)
    pictured.on_cell("pointermove", 3.5 * CELL, BLOCK + 1.5 * ROW)
    assert pictured.text_of("unit-value") == f"rnn.1, unit 19: {shown_number(state[UNITS + 19])}"
    pictured.on_cell("pointerleave", 0, -5)
    assert pictured.text_of("unit-value") == f"rnn.0, unit 7: {shown_number(state[7])}"


@pytest.mark.parametrize("event", ["resize", "(prefers-color-scheme: dark)"])
def test_the_picture_is_drawn_again(pictured: HtmlPage, event: str) -> None:
    pictured.act("page.on.state.clientWidth = 400; listeners[values.event]()", event=event)
    assert pictured.get("page.on.state.width") == 800


# Units that are switched off


def test_units_are_switched_off_and_on(pictured: HtmlPage) -> None:
    pictured.fill(unit=7)
    assert pictured.text_of("off") == "Switch off"
    pictured.click("off")
    assert pictured.text_of("off") == "Switch on"
    assert pictured.text_of("unit-value") == "rnn.0, unit 7: 0.000, now off"
    pictured.click("off")
    assert pictured.text_of("off") == "Switch off"
    assert pictured.get('page.on["all-on"].hidden')
    assert pictured.get("Array.from(page.off).every((isOff) => isOff === 0)")


def test_switching_a_unit_off_keeps_the_state_that_is_shown(
    pictured: HtmlPage, model: Model
) -> None:
    pictured.fill(unit=7)
    pictured.on_character("click", 2)
    pictured.click("off")
    value = state_after(model, "The")[7]
    assert pictured.text_of("unit-value") == f"rnn.0, unit 7: {shown_number(value)}, now off"


def test_the_units_that_are_off_are_counted(pictured: HtmlPage) -> None:
    pictured.fill(unit=7)
    pictured.click("off")
    assert pictured.text_of("all-on") == "1 unit is off: switch all on"
    pictured.fill(unit=9, layer=1)
    pictured.click("off")
    assert pictured.text_of("all-on") == "2 units are off: switch all on"
    assert not pictured.get('page.on["all-on"].hidden')
    pictured.click("all-on")
    assert pictured.get('page.on["all-on"].hidden')


def test_a_unit_that_is_off_has_a_dot(pictured: HtmlPage) -> None:
    pictured.fill(unit=19, layer=1)
    pictured.click("off")
    left, top = cell_of(UNITS + 19)
    dot = marks_of(pictured, "fill")[-1]
    assert dot["box"] == pytest.approx([left + CELL / 2 - 2, top + ROW / 2 - 2, 4, 4])
    assert (dot["fill"], dot["alpha"]) == ("--ink", 1)


def test_switching_a_unit_off_changes_the_next_characters(
    page: HtmlPage, trained: TrainedModel
) -> None:
    model = page.open(trained)
    page.fill(prompt="ab", unit=1, layer=1)
    page.click("off")
    state = model.states("ab")[1][-1].astype(float)
    state[1] = 0
    logits = state @ trained.parameters.logits_kernel + trained.parameters.logits_bias
    order = [index for index in (-logits).argsort() if index < 3]
    assert page.choices == [model.vocabulary.characters[index] for index in order]


# Sources that fail, or have many states

FAKE = """
const source = {
  info: {summary: "a", temperature: 1, layers: 1, units: 2},
  off: new Uint8Array(2),
  leftOut: [],
  async look() { return {likely: [{text: "b", probability: 1}], state: new Float32Array(2)}; },
  async *read(text) { yield* values.read ? make(text) : fail(); },
  async *write() { yield* make("cd"); throw new Error("no more"); },
};
function* fail() { throw new Error("broken"); }
function* make(text) { for (const one of text) yield {text: one, nats: null, state: source.state}; }
source.state = new Float32Array(values.size);
"""


def open_source(page: HtmlPage, *, read: bool, size: int = 2, prompt: str = "") -> None:
    """Start the page again with a source whose first text fails unless `read`."""
    body = "page.on.prompt.value = values.prompt; globalThis.page = startPage(source);"
    page.run(FAKE + body + SETTLE, read=read, size=size, prompt=prompt)


def test_a_prompt_that_cannot_be_read_is_an_error(page: HtmlPage, model: Model) -> None:
    open_source(page, read=False)
    assert page.text_of("status") == "broken"
    assert page.get("page.on.status.className") == "wrong"
    assert page.get("page.on.write.disabled")
    assert page.choices == []


def test_an_error_while_writing_is_shown(page: HtmlPage, model: Model) -> None:
    open_source(page, read=True)
    assert not page.get("page.on.write.disabled")
    page.act("page.on.write.click()")
    assert page.text_of("status") == "no more"
    assert page.text_of("write") == "Write"
    page.act("page.on.restart.click()")
    assert (page.text_of("status"), page.get("page.on.status.className")) == ("", "")


def test_only_the_last_states_are_kept(page: HtmlPage, model: Model) -> None:
    """States of 2^22 values: four are kept, 2^24 values."""
    open_source(page, read=True, size=2**22, prompt="abcdef")
    has_state = page.get("page.on.text.children.map((span) => span.state !== undefined)")
    assert has_state == [False, False, True, True, True, True]
    page.on_character("click", 1)
    assert "after the last character" in page.text_of("state-note")
