"""page.js and state.js in Node: what the page shows, and what its fields, keys and pictures do."""

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from exports.html_page import HtmlPage, shown_number
from exports.networks import make_deep_model, make_model
from javascript import Node

from charlm.api.model import Model
from charlm.core.model_file import TrainedModel

UNITS = 48
"""Units of each of the two layers of the deep model."""


@pytest.fixture(scope="module")
def model() -> Model:
    """Return a model of two layers and many characters."""
    return Model(Path("model.safetensors"), make_deep_model())


@pytest.fixture
def page(node: Node, model: Model) -> HtmlPage:
    """Open the page of the model."""
    page = HtmlPage(node)
    page.open(model.trained)
    return page


def shown_share(probability: float) -> str:
    """Return a probability as the page writes it."""
    if probability >= 0.0995:
        return f"{100 * probability:.0f}%"
    return f"{100 * probability:.1f}%"


# How characters and numbers are shown


@pytest.mark.parametrize(
    ("character", "label", "name"),
    [
        ("\n", "↵", "new line"),
        ("\U000e0001", "U+E0001", "U+E0001"),
        ("😀", "😀", "😀"),
    ],
    ids=ascii,
)
def test_a_character_that_cannot_be_seen_has_a_label(
    page: HtmlPage, character: str, label: str, name: str
) -> None:
    found = page.run("return describeCharacter(values.character)", character=character)
    assert found == [label, name]


# The start


@pytest.mark.parametrize(
    ("temperature", "shown", "maximum"),
    [(0, "0.00", 2), (2.5, "2.50", 2.5)],
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


def test_the_page_describes_its_model(page: HtmlPage) -> None:
    page.open(make_model(layers=3, units=6), title="a <b> & c")
    assert page.text_of("summary").startswith("A SimpleRNN of 3 layers of 6 units")
    assert page.get('document.querySelector("title").textContent') == "a <b> & c"
    layers = page.get("page.on.layer.children.map((one) => [one.value, one.textContent])")
    assert layers == [["0", "rnn.0"], ["1", "rnn.1"], ["2", "rnn.2"]]
    assert page.get("page.on.unit.max") == 5


# Writing


def test_an_empty_seed_is_drawn_and_shown(page: HtmlPage, model: Model) -> None:
    page.run("drawnSeed = 4294967295")
    expected = model.generate("The ", length=30, temperature=1, seed=2**32 - 1)
    assert page.write(prompt="The ", length=30, temperature=1, seed="") == f"The {expected}"
    assert "; seed 4294967295." in page.text_of("status")


STARTED = """
const frame = () => new Promise((resolve) => requestAnimationFrame(resolve));
page.on.write.click();
for (let count = 0; count < 30; count++) await frame();
"""


@pytest.fixture
def writing(page: HtmlPage) -> HtmlPage:
    """Fill in the fields for a text that takes long."""
    page.fill(prompt="The ", length=100_000, seed=1, pace=30)
    return page


STOPPED_BY = {
    "Escape": 'page.on.prompt.dispatch("keydown", {key: "Escape"})',
    "the button": "page.on.write.click()",
}


@pytest.mark.parametrize("action", STOPPED_BY.values(), ids=STOPPED_BY)
def test_writing_can_be_stopped(writing: HtmlPage, action: str) -> None:
    labels = writing.act(
        f"""{STARTED}
        result = [page.on.write.textContent, page.on.status.textContent];
        {action}"""
    )
    assert labels == ["Stop", "Writing, seed 1 ..."]
    assert writing.text_of("write") == "Write"
    count = len(writing.text_of("text")) - 4
    assert 10 < count < 20  # in 30 frames of 16 ms at 30 characters per second
    assert writing.text_of("status").startswith(f"{count} characters, ")
    assert writing.text_of("status").endswith(" per second; stopped; seed 1.")


def test_a_new_prompt_replaces_the_text_that_is_written(writing: HtmlPage) -> None:
    writing.act(f"{STARTED} page.on.prompt.value = 'A boat'; page.on.prompt.dispatch('input')")
    assert writing.text_of("text") == "A boat"
    assert writing.text_of("write") == "Write"
    assert writing.text_of("status") == ""


def test_the_text_starts_again_with_the_prompt(page: HtmlPage, model: Model) -> None:
    page.write(prompt="The ", length=50, seed=1)
    page.on_character("pointerover", 20)
    page.click("restart")
    assert page.text_of("text") == "The "
    assert page.text_of("detail") == ""
    expected = model.generate("The ", length=50, seed=1)
    page.click("write")
    assert page.text_of("text") == f"The {expected}"


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("length", "0"),
        ("length", "100001"),
        ("seed", "-1"),
    ],
)
def test_fields_out_of_range_write_nothing(page: HtmlPage, field: str, value: str) -> None:
    written = page.write(**{"prompt": "The ", "length": 3, "seed": 1, field: value})
    assert written == "The "


def test_escapes_in_the_stop_text_are_characters(page: HtmlPage) -> None:
    page.fill(stop=r"\n\t\\n")
    assert page.get("page.settings.stop") == "\n\t\\n"


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


def test_characters_are_coloured_by_their_surprise(page: HtmlPage, model: Model) -> None:
    text = "The ferry lies on the mud.\n" + str(
        model.generate("The ", length=200, temperature=0.5, seed=1)
    )
    page.fill(prompt=text)
    expected = [0]
    for nats in model.score(text).tolist():
        expected.append(sum(nats >= limit for limit in (0.7, 1.6, 3, 5)))
    assert page.spans("className") == [f"l{level}" if level else "" for level in expected]
    assert {*expected} == {*range(5)}


def test_unknown_characters_are_named_once(page: HtmlPage, model: Model) -> None:
    page.write(prompt="éa\u00a0bé", length=3, seed=1)
    expected = "The model does not know these characters, so they are left out: é ⍽"
    assert page.text_of("left-out") == expected
    page.fill(prompt="ab")
    assert page.text_of("left-out") == ""


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
        width = pytest.approx(100 * shares[index], rel=1e-4)
        expected.append([str(number), label, share, f"{name}, {share}", width])
    rows = page.get(
        """page.on.next.querySelectorAll("button").map((button) => [
            ...button.children.slice(0, 3).map((part) => part.textContent),
            button.attributes["aria-label"],
            parseFloat(button.querySelector(".bar").style.width)])"""
    )
    assert rows == expected


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


@pytest.mark.parametrize(
    ("key", "on", "modifiers"),
    [
        pytest.param("1", "prompt", {}, id="in the prompt"),
        pytest.param("1", "", {"ctrlKey": True}, id="with Ctrl"),
    ],
)
def test_other_keys_choose_no_character(
    page: HtmlPage, key: str, on: str, modifiers: dict[str, bool]
) -> None:
    page.fill(prompt="The ")
    page.press(key, on=on, **modifiers)
    assert page.text_of("text") == "The "


# The state after a character


def state_after(model: Model, text: str) -> list[float]:
    """Return the state after a text, from the lowest layer to the highest."""
    return [float(value) for value in np.hstack(model.states(text))[-1]]


def test_a_click_shows_the_state_after_a_character(page: HtmlPage, model: Model) -> None:
    page.fill(prompt="The ferry", unit=7, layer=1)
    page.on_character("click", 2)
    value = state_after(model, "The")[UNITS + 7]
    assert page.text_of("unit-value") == f"rnn.1, unit 7: {shown_number(value)}"
    note = "2 layers of 48 units after character 3 of the text, e, the lowest"
    assert note in page.text_of("state-note")
    assert page.get('page.on.state.attributes["aria-label"]') == page.text_of("state-note")
    here = ["here" in name for name in page.spans("className")]
    assert here == [number == 2 for number in range(9)]


def test_a_character_that_is_gone_has_no_state(page: HtmlPage) -> None:
    page.fill(prompt="The ferry")
    problem = page.act('result = ""; page.goTo(99).catch((error) => { result = error.message; })')
    assert problem == ""


@pytest.mark.parametrize(
    ("keys", "index"),
    [
        pytest.param(["ArrowLeft", "ArrowLeft", "ArrowRight"], 8, id="left and right"),
        pytest.param(["Home"], 0, id="home"),
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


# Units


def test_the_text_is_coloured_by_a_unit(page: HtmlPage, model: Model) -> None:
    text = "The ferry"
    page.fill(prompt=text, layer=1, unit=7)
    values = [float(value) for value in model.states(text)[1][:, 7]]
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
        "Background: rnn.1, unit 7 after a character; "
        f"blue is negative, orange positive, strongest at {largest:.2f}."
    )


@pytest.mark.parametrize("unit", ["", UNITS])
def test_without_a_unit_the_text_is_coloured_by_surprise(page: HtmlPage, unit: Any) -> None:
    page.fill(prompt="The ferry", unit=7)
    page.fill(unit=unit)
    assert page.spans("style.backgroundColor") == [""] * 9
    assert page.get("page.on.off.disabled")
    assert page.text_of("unit-value") == ""
    assert page.text_of("legend").startswith("Background: the probability")


# The picture of the state: 220 pixels hold 20 cells of 11, so that 48 units take 3 rows of 16

CELL, ROW, BLOCK = 220 / 16, 220 / 16, 3 * 220 / 16 + 4


@pytest.fixture
def pictured(page: HtmlPage) -> HtmlPage:
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


@pytest.mark.parametrize("index", [16, 95])
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


def test_pointing_at_a_cell_shows_its_unit(pictured: HtmlPage, model: Model) -> None:
    state = state_after(model, "The ferry")
    pictured.fill(unit=7)
    pictured.on_cell("pointermove", 3.5 * CELL, BLOCK + 1.5 * ROW)
    assert pictured.text_of("unit-value") == f"rnn.1, unit 19: {shown_number(state[UNITS + 19])}"
    pictured.on_cell("pointerleave", 0, -5)
    assert pictured.text_of("unit-value") == f"rnn.0, unit 7: {shown_number(state[7])}"


# Units that are switched off


def test_units_are_switched_off_and_on(pictured: HtmlPage) -> None:
    pictured.fill(unit=7)
    pictured.click("off")
    assert pictured.text_of("off") == "Switch on"
    assert pictured.text_of("unit-value") == "rnn.0, unit 7: 0.000, now off"
    assert pictured.text_of("all-on") == "1 unit is off: switch all on"
    pictured.fill(unit=9, layer=1)
    pictured.click("off")
    assert pictured.text_of("all-on") == "2 units are off: switch all on"
    assert not pictured.get('page.on["all-on"].hidden')
    pictured.click("off")
    pictured.fill(unit=7, layer=0)
    pictured.click("off")
    assert pictured.text_of("off") == "Switch off"
    assert pictured.get('page.on["all-on"].hidden')


def test_switching_a_unit_off_keeps_the_state_that_is_shown(
    pictured: HtmlPage, model: Model
) -> None:
    pictured.fill(unit=7)
    pictured.on_character("click", 2)
    pictured.click("off")
    value = state_after(model, "The")[7]
    assert pictured.text_of("unit-value") == f"rnn.0, unit 7: {shown_number(value)}, now off"


# Errors


def test_an_error_while_writing_is_shown(page: HtmlPage) -> None:
    page.fill(prompt="The ", seed=1)
    page.run("page.source.network.logitsBias.fill(NaN)")
    page.click("write")
    assert page.text_of("status").startswith("The logits are not finite")
    assert page.get("page.on.status.className") == "wrong"
    assert page.text_of("write") == "Write"
    page.click("restart")
    assert (page.text_of("status"), page.get("page.on.status.className")) == ("", "")
