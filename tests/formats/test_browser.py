"""The page in headless Chromium: it writes what charlm writes, shows what charlm computes, and asks for nothing."""

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from chromium import chromium
from formats.networks import STRANGE, make_model, write_export

from charlm.api.model import Model, load
from charlm.formats.exporting import export_html
from charlm.network.model_file import TrainedModel
from charlm.network.rnn import Parameters, parameters_from_tensors

pytestmark = pytest.mark.slow


def minus(value: float) -> str:
    """Return a number as the page writes it."""
    return f"{value:.3f}".replace("-", "\N{MINUS SIGN}")


class Browser:
    """The page in Chromium, and what a user does with it."""

    def __init__(self, driver: Any) -> None:
        self.driver = driver

    def open(self, folder: Path, trained: TrainedModel, *, title: str = "plays") -> "Browser":
        """Write the page of a model and open it."""
        write_export(folder, trained, export_html(trained, title=title))
        self.driver.get((folder / "index.html").as_uri())
        return self

    def find(self, name: str) -> Any:
        """Return an element by its id."""
        return self.driver.find_element("id", name)

    def fill(self, **values: str | float) -> None:
        """Set fields, as if they had been filled in; `_` is - in a name."""
        script = "arguments[0].value = arguments[1]; arguments[0].dispatchEvent(new Event('input', {bubbles: true}))"
        for name, value in values.items():
            self.driver.execute_script(script, self.find(name.replace("_", "-")), str(value))
        self.wait()

    def wait(self) -> None:
        """Wait until nothing is being read or written."""
        self.driver.execute_async_script("const done = arguments[0]; setTimeout(() => page.job.done.then(done), 20)")

    def click(self, name: str) -> None:
        """Click an element by its id, and wait."""
        self.find(name).click()
        self.wait()

    def point_at(self, unit: int, *, click: bool = False) -> None:
        """Point at the cell of a unit, or click it."""
        from selenium.webdriver import ActionChains

        script = "return page.view.places[arguments[0]].map((edge, axis) => edge + page.view.size[axis] / 2)"
        canvas, place = self.find("state"), self.driver.execute_script(script, unit)
        x, y = (at - size / 2 for at, size in zip(place, (canvas.size["width"], canvas.size["height"]), strict=True))
        actions = ActionChains(self.driver).move_to_element_with_offset(canvas, round(x), round(y))
        (actions.click() if click else actions).perform()
        self.wait()

    def spans(self, attribute: str) -> list[Any]:
        """Return an attribute of each character of the text."""
        return list(self.driver.execute_script(f"return [...page.on.text.children].map((span) => span.{attribute})"))

    def press(self, key: str, **options: Any) -> None:
        """Press a key outside of the fields, and wait."""
        event = json.dumps({"key": key, "bubbles": True, **options})
        self.driver.execute_script(f"document.body.dispatchEvent(new KeyboardEvent('keydown', {event}))")
        self.wait()

    @property
    def text(self) -> str:
        """The text in the page."""
        return str(self.driver.execute_script("return document.getElementById('text').textContent"))

    @property
    def status(self) -> str:
        """The line beside the buttons."""
        return str(self.find("status").text)

    @property
    def choices(self) -> list[str]:
        """The characters on the buttons, likeliest first."""
        script = "return [...document.querySelectorAll('#next button')].map((button) => button.dataset.text)"
        return list(self.driver.execute_script(script))


@pytest.fixture(scope="module")
def driver() -> Iterator[Any]:
    with chromium() as browser:
        yield browser


@pytest.fixture
def browser(driver: Any) -> Iterator[Browser]:
    """Return the browser; the test fails if a script failed or anything but the file was asked for."""
    driver.set_window_size(1280, 1000)
    driver.get_log("browser"), driver.get_log("performance")  # what comes from here on is of this test
    yield Browser(driver)
    assert driver.get_log("browser") == []
    messages = [json.loads(line["message"])["message"] for line in driver.get_log("performance")]
    urls = [m["params"]["request"]["url"] for m in messages if m["method"] == "Network.requestWillBeSent"]
    assert [url for url in urls if not url.startswith(("file://", "data:"))] == []


@pytest.fixture
def loaded(trained_runs: dict[str, Path]) -> Model:
    """Return the model with skip connections."""
    return load(trained_runs["skip"])


@pytest.fixture
def page(browser: Browser, loaded: Model, tmp_path: Path) -> Browser:
    """Return the browser with the page of that model."""
    return browser.open(tmp_path / "page", loaded.trained)


def test_the_same_seed_gives_the_text_of_charlm_also_in_parts(page: Browser, loaded: Model) -> None:
    page.fill(prompt="The ", temperature=0.8, top_p=0.9, seed=7, length=100)
    for _ in range(3):
        page.click("write")
    assert page.text == "The " + str(loaded.generate("The ", length=300, temperature=0.8, top_p=0.9, seed=7))
    assert "100 characters" in page.status
    assert "seed 7" in page.status


def test_the_stop_text_ends_the_text_before_it(page: Browser, loaded: Model) -> None:
    written = str(loaded.generate("The ", length=500, temperature=0.8, seed=7))
    stop = written[written.index("\n", 50) - 1 :][:2]  # the end of a line
    page.fill(prompt="The ", seed=7, length=500, temperature=0.8, stop=stop.replace("\n", r"\n"))
    page.click("write")
    expected = str(loaded.generate("The ", length=500, temperature=0.8, seed=7, stop=stop))
    assert 0 < len(expected) < 500
    assert page.text == "The " + expected
    assert "the stop text came" in page.status
    logits = loaded.logits("The " + expected)[-1]  # the stop text has been taken back
    assert page.choices[0] == loaded.vocabulary.characters[int(logits.argmax())]


def test_the_colours_and_the_details_are_the_surprise_of_charlm(page: Browser, loaded: Model) -> None:
    text = "The ferry lies."
    page.fill(prompt=text)
    found = page.driver.execute_script(
        "return [...document.querySelectorAll('#text span')].map((span) => [span.dataset.nats ?? null, span.className])"
    )
    assert found[0] == [None, ""]
    limits = (0.7, 1.6, 3, 5)
    for nats, (shown, name) in zip(loaded.score(text).tolist(), found[1:], strict=True):
        assert float(shown) == pytest.approx(nats, abs=2e-3)
        level = sum(float(shown) >= limit for limit in limits)
        assert name == (f"s{level}" if level else "")


def test_the_keyboard_starts_and_stops_and_a_new_prompt_begins_anew(page: Browser) -> None:
    page.fill(prompt="The ", length=100_000, pace=30)
    keys = pytest.importorskip("selenium.webdriver", reason="missing: selenium").Keys
    page.find("prompt").send_keys(keys.CONTROL, keys.ENTER)
    has_some = "document.getElementById('text').textContent.length > 8 ? done() : setTimeout(look, 20)"
    page.driver.execute_async_script(f"const done = arguments[0], look = () => {has_some}; look()")
    assert page.find("write").text == "Stop"
    page.press("Escape")
    assert page.find("write").text == "Write"
    assert "stopped" in page.status
    assert len(page.text) < 100_000
    page.find("write").click()
    page.fill(prompt="A boat")
    assert page.text == "A boat"
    assert page.find("write").text == "Write"


def test_the_likeliest_characters_are_offered_and_can_be_chosen_and_unknown_ones_are_named(
    page: Browser, loaded: Model
) -> None:
    page.fill(prompt="The é")
    assert page.status.endswith(": é")
    offered = page.choices
    page.fill(prompt="The ")
    assert (page.status, page.choices) == ("", offered)
    order = (-loaded.logits("The ")[-1]).argsort()
    assert page.choices == [loaded.vocabulary.characters[index] for index in order[:9]]
    second = page.choices[1]
    page.driver.find_elements("css selector", "#next button")[1].click()
    page.wait()
    third = page.choices[2]
    page.press("3")
    assert page.text == "The " + second + third
    assert page.driver.execute_script("return document.querySelectorAll('#text .chosen').length") == 2


def test_strange_characters_and_titles_are_text(browser: Browser, tmp_path: Path) -> None:
    made = make_model(characters=STRANGE, scale=1.0)
    title = "<img src=x onerror=alert(1)>"
    browser.open(tmp_path / "page", made, title=title).fill(prompt='<"😀', seed=1, length=100, temperature=1)
    browser.click("write")
    model = Model(tmp_path / "page", made)
    assert browser.text == '<"😀' + str(model.generate('<"😀', length=100, seed=1, temperature=1))
    assert browser.driver.title == browser.find("summary").find_element("xpath", "../h1").text == title
    assert browser.driver.execute_script("return document.images.length") == 0


def test_the_page_begins_at_the_temperature_of_the_recipe_and_offers_no_reserved_ids(
    browser: Browser, trained: TrainedModel, tmp_path: Path
) -> None:
    trained.parameters.logits_bias[:] = (0, 0, 0, 50, 0)  # 3 is the unknown id, 4 ends the text
    browser.open(tmp_path / "page", replace(trained, config={"sampling": {"temperature": 2.5}}))
    assert float(browser.find("temperature").get_property("value")) == 2.5
    assert browser.find("temperature-value").text == "2.50"
    browser.fill(prompt="", seed=1, length=500, temperature=1)
    assert len(browser.choices) == 3
    browser.click("write")
    generated = Model(tmp_path / "page", trained).generate("", length=500, seed=1, temperature=1)
    assert browser.text == str(generated)
    assert generated.stopped_by == "end of text"
    assert "the model ended the text" in browser.status


@pytest.mark.parametrize("width", [400, 1280])
def test_nothing_is_wider_than_the_page_and_every_field_and_button_has_a_name(
    browser: Browser, loaded: Model, tmp_path: Path, width: int
) -> None:
    metrics = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": width < 500}
    browser.driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
    browser.open(tmp_path / "page", loaded.trained, title="x" * 200).fill(prompt="The ", length=200, seed=1, unit=0)
    browser.click("off")
    browser.click("write")
    root = "document.documentElement"
    assert browser.driver.execute_script(f"return {root}.scrollWidth - {root}.clientWidth") == 0
    for element in browser.driver.find_elements("css selector", "input, select, textarea, button, canvas, [tabindex]"):
        assert element.accessible_name.strip(), element.get_attribute("outerHTML")
    browser.driver.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})


def test_the_most_likely_text_and_the_states_are_those_of_charlm(
    browser: Browser, trained_runs: dict[str, Path], tmp_path: Path
) -> None:
    prompt = "The ferry lies on the mud, and nobody comes.\n" * 5
    for name, run in trained_runs.items():
        model = load(run)
        browser.open(tmp_path / name, model.trained).fill(prompt=prompt, temperature=0, length=300)
        np.testing.assert_allclose(browser.spans("state"), np.hstack(model.states(prompt)), atol=1e-5)
        browser.click("write")
        assert browser.text == prompt + str(model.generate(prompt, length=300, temperature=0))


def test_a_cell_colours_the_text_by_its_unit_and_a_character_shows_the_state_after_it(
    page: Browser, loaded: Model
) -> None:
    text, layer, unit = "The ferry", 1, 30
    page.fill(prompt=text)
    states = loaded.states(text)
    page.point_at(layer * 48 + unit)
    assert page.find("unit-value").text == f"rnn.1, unit 30: {minus(states[layer][-1, unit])}"
    page.point_at(layer * 48 + unit, click=True)
    np.testing.assert_allclose([*map(float, page.spans("dataset.value"))], states[layer][:, unit], atol=1e-5)
    assert all(colour.startswith("color-mix") for colour in page.spans("style.backgroundColor"))
    assert (page.find("layer").get_property("value"), page.find("unit").get_property("value")) == ("1", "30")
    page.driver.find_elements("css selector", "#text span")[4].click()
    assert page.find("detail").text.endswith(f"bits; rnn.1, unit 30: {minus(states[layer][4, unit])}")
    assert "after character 5 of the text, f," in page.find("state-note").text
    assert page.find("unit-value").text == f"rnn.1, unit 30: {minus(states[layer][4, unit])}"
    page.point_at(0)
    assert page.find("unit-value").text == f"rnn.0, unit 0: {minus(states[0][4, 0])}"
    page.point_at(layer * 48 + unit, click=True)
    assert set(page.spans("style.backgroundColor")) == {""}
    assert "the chance that the model gave" in page.find("legend").get_property("textContent")


def test_the_keyboard_chooses_a_unit_and_a_character(page: Browser, loaded: Model) -> None:
    page.fill(prompt="The ferry", unit=7)
    states = loaded.states("The ferry")
    assert page.find("unit-value").text == f"rnn.0, unit 7: {minus(states[0][-1, 7])}"
    keys = pytest.importorskip("selenium.webdriver", reason="missing: selenium").Keys
    page.find("text").send_keys(keys.ARROW_LEFT, keys.ARROW_LEFT)
    assert page.find("unit-value").text == f"rnn.0, unit 7: {minus(states[0][-2, 7])}"
    page.find("text").send_keys(keys.HOME, keys.ARROW_RIGHT)
    assert page.find("unit-value").text == f"rnn.0, unit 7: {minus(states[0][1, 7])}"
    page.press("Escape")
    assert "after the last character" in page.find("state-note").text
    page.fill(unit=48)  # there are 48
    assert page.find("off").get_property("disabled")


def without_unit(parameters: Parameters, layer: int, unit: int) -> Parameters:
    """Return the weights without those that read a unit: the network computes as if its value were 0."""
    tensors = {name: tensor.copy() for name, tensor in parameters.tensors().items()}
    tensors[f"rnn.{layer}.recurrent_kernel"][unit] = 0
    if layer + 1 < len(parameters.layers):
        tensors[f"rnn.{layer + 1}.kernel"][unit] = 0
    if parameters.skip_connections or layer + 1 == len(parameters.layers):
        tensors["logits.kernel"][unit + layer * 48 * parameters.skip_connections] = 0
    return parameters_from_tensors(
        tensors, activation=parameters.activation, skip_connections=parameters.skip_connections
    )


@pytest.mark.parametrize("layer", [0, 1])
def test_the_text_is_written_on_without_a_unit_that_is_off_until_it_is_on_again(
    page: Browser, loaded: Model, layer: int
) -> None:
    unit, prompt, vocabulary = 5, "The ", loaded.vocabulary
    whole, part = loaded.trained.parameters, without_unit(loaded.trained.parameters, layer, unit)
    state = tuple(output[-1:].copy() for output in loaded.states(prompt))
    written = prompt
    for parameters in (part, whole):
        state[layer][:, unit] = 0
        logits = parameters.logits(state)
        for _ in range(60):
            index = logits.argmax(-1)
            written += vocabulary.decode(index)
            logits, state = parameters.step(index, state)
    page.fill(prompt=prompt, temperature=0, length=60, layer=layer, unit=unit)
    page.click("off")
    assert page.find("all-on").text == "1 unit is off: switch all on"
    page.click("write")
    assert page.spans("dataset.value")[len(prompt) :] == ["0"] * 60
    page.click("all-on")
    assert not page.find("all-on").is_displayed()
    page.click("write")
    assert page.text == written
    assert written != prompt + str(loaded.generate(prompt, length=120, temperature=0))
