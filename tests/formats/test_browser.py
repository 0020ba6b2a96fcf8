"""The page in headless Chromium: its text and its pictures, without a request to any server."""

import json
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from formats.networks import make_deep_model
from models import make_random_model

from charlm.api.model import Model
from charlm.formats.exporting import export_html
from charlm.network.model_file import TrainedModel
from charlm.network.rnn import Parameters

pytestmark = pytest.mark.slow

LAYERS, UNITS = 2, 48
BROWSERS = ("chromium", "chromium-browser", "google-chrome")


def shown_number(value: float) -> str:
    """Return a number as the page writes it, with a minus sign instead of a hyphen."""
    return f"{value:.3f}".replace("-", "\N{MINUS SIGN}")


class Browser:
    """The page in Chromium, with the actions of a user."""

    def __init__(self, driver: Any) -> None:
        self.driver = driver
        self.script = driver.execute_script

    def open(self, path: Path, trained: TrainedModel, *, title: str = "plays") -> Model:
        """Write the page of a model, open it, and return the model."""
        path.write_bytes(export_html(trained, title=title)["index.html"])
        self.driver.get(path.as_uri())
        return Model(path, trained)

    def find(self, name: str) -> Any:
        """Return an element by its id."""
        return self.driver.find_element("id", name)

    def fill(self, **values: str | float) -> None:
        """Set fields as a user would; an underscore in a name stands for a hyphen."""
        script = """
            const [field, value] = arguments;
            field.value = value;
            field.dispatchEvent(new Event('input', {bubbles: true}));
        """
        for name, value in values.items():
            self.script(script, self.find(name.replace("_", "-")), str(value))
        self.wait()

    def wait(self) -> None:
        """Wait until the page has read its prompt and written its text."""
        self.driver.execute_async_script(
            "const done = arguments[0]; setTimeout(() => page.job.done.then(done), 20)"
        )

    def click(self, name: str) -> None:
        """Click an element by its id, and wait."""
        self.find(name).click()
        self.wait()

    def spans(self, attribute: str) -> list[Any]:
        """Return an attribute of each character of the text."""
        return list(
            self.script(
                f"return [...page.on.text.children].map((span) => span.{attribute} ?? null)"
            )
        )

    def press(self, key: str) -> None:
        """Press a key outside of the fields, and wait."""
        event = json.dumps({"key": key, "bubbles": True})
        self.script(f"document.body.dispatchEvent(new KeyboardEvent('keydown', {event}))")
        self.wait()

    def text_of(self, name: str) -> str:
        """Return the text of an element, with every blank."""
        return str(self.find(name).get_property("textContent"))

    @property
    def choices(self) -> list[str]:
        """The characters on the buttons, the most probable first."""
        script = """
            const buttons = [...document.querySelectorAll('#next button')];
            return buttons.map((button) => button.dataset.text);
        """
        return list(self.script(script))


@pytest.fixture(scope="module")
def driver() -> Iterator[Any]:
    """Start a headless Chromium that logs its requests and the errors of scripts."""
    webdriver = pytest.importorskip("selenium.webdriver", reason="missing: selenium")
    installed = [path for path in map(shutil.which, BROWSERS) if path]
    chromedriver = shutil.which("chromedriver")
    if not installed or not chromedriver:
        pytest.skip("missing: chromium or chromedriver")
    options = webdriver.ChromeOptions()
    options.binary_location = installed[0]
    options.add_argument("--headless=new")
    options.add_argument("--no-sandbox")
    options.add_argument("--disable-gpu")
    options.add_argument("--disable-dev-shm-usage")
    options.add_argument("--window-size=1280,1000")
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    driver = webdriver.Chrome(options=options, service=webdriver.ChromeService(chromedriver))
    yield driver
    driver.quit()


@pytest.fixture
def browser(driver: Any) -> Iterator[Browser]:
    """Return the browser, and check afterwards that no script failed and no server was asked."""
    for log in ("browser", "performance"):
        driver.get_log(log)  # this empties the log of the test before
    yield Browser(driver)
    assert driver.get_log("browser") == []
    messages = [json.loads(line["message"])["message"] for line in driver.get_log("performance")]
    requests = [each for each in messages if each["method"] == "Network.requestWillBeSent"]
    urls = [request["params"]["request"]["url"] for request in requests]
    assert [url for url in urls if not url.startswith(("file://", "data:"))] == []


@pytest.fixture
def model(browser: Browser, tmp_path: Path) -> Model:
    """Return the model whose page is open."""
    return browser.open(tmp_path / "page.html", make_deep_model())


def test_the_same_seed_gives_the_text_of_charlm_also_in_parts(
    browser: Browser, model: Model
) -> None:
    browser.fill(prompt="The ", temperature=0.8, top_p=0.9, seed=7, length=100)
    for _ in range(3):
        browser.click("write")
    expected = str(model.generate("The ", length=300, temperature=0.8, top_p=0.9, seed=7))
    assert browser.text_of("text") == "The " + expected
    assert "100 characters" in browser.text_of("status")
    assert "seed 7" in browser.text_of("status")


def test_the_stop_text_ends_the_text_before_it(browser: Browser, model: Model) -> None:
    written = str(model.generate("The ", length=500, temperature=0.8, seed=7))
    stop = written[written.index("\n", 50) - 1 :][:2]  # the end of a line
    browser.fill(prompt="The ", seed=7, length=500, temperature=0.8, stop=stop.replace("\n", r"\n"))
    browser.click("write")
    expected = str(model.generate("The ", length=500, temperature=0.8, seed=7, stop=stop))
    assert 0 < len(expected) < 500
    assert browser.text_of("text") == "The " + expected
    assert "the stop text came" in browser.text_of("status")
    logits = model.logits("The " + expected)[-1]  # the stop text has been taken back
    assert browser.choices[0] == model.vocabulary.characters[int(logits.argmax())]


def test_combining_accents_are_composed(browser: Browser, tmp_path: Path) -> None:
    model = browser.open(tmp_path / "page.html", make_random_model("\nabé"))
    browser.fill(prompt="ae\u0301", seed=3, length=200, temperature=1, stop="e\u0301")
    browser.click("write")
    expected = model.generate("aé", length=200, temperature=1, seed=3, stop="é").finish()
    assert expected.stopped_by == "stop text"
    assert browser.text_of("text") == f"aé{expected.text}"
    assert "the stop text came" in browser.text_of("status")


def test_the_page_shows_the_results_of_charlm(browser: Browser, model: Model) -> None:
    text = "The ferry lies on the mud.\n" + str(
        model.generate("The ", length=200, temperature=0.5, seed=1)
    )
    browser.fill(prompt=text)
    np.testing.assert_allclose(browser.spans("state"), np.hstack(model.states(text)), atol=1e-5)
    (first, *nats), (no_level, *levels) = browser.spans("dataset.nats"), browser.spans("className")
    assert (first, no_level) == (None, "")
    np.testing.assert_allclose([*map(float, nats)], model.score(text), atol=2e-3)
    expected = [sum(float(each) >= limit for limit in (0.7, 1.6, 3, 5)) for each in nats]
    assert levels == [f"s{level}" if level else "" for level in expected]
    assert {*expected} == {*range(5)}


def test_the_keyboard_starts_and_stops_the_text(browser: Browser, model: Model) -> None:
    browser.fill(prompt="The ", length=100_000, pace=30)
    keys = pytest.importorskip("selenium.webdriver", reason="missing: selenium").Keys
    browser.find("prompt").send_keys(keys.CONTROL, keys.ENTER)
    has_some = (
        "document.getElementById('text').textContent.length > 8 ? done() : setTimeout(look, 20)"
    )
    browser.driver.execute_async_script(
        f"const done = arguments[0], look = () => {has_some}; look()"
    )
    assert browser.find("write").text == "Stop"
    browser.press("Escape")
    assert browser.find("write").text == "Write"
    assert "stopped" in browser.text_of("status")
    assert len(browser.text_of("text")) < 100_000
    browser.find("write").click()
    browser.fill(prompt="A boat")
    assert (browser.text_of("text"), browser.find("write").text) == ("A boat", "Write")


def test_the_likeliest_characters_are_offered(browser: Browser, model: Model) -> None:
    browser.fill(prompt="The é")
    assert browser.text_of("status").endswith(": é")
    offered = browser.choices
    browser.fill(prompt="The ")
    assert (browser.text_of("status"), browser.choices) == ("", offered)
    order = (-model.logits("The ")[-1]).argsort()
    assert browser.choices == [model.vocabulary.characters[index] for index in order[:9]]
    second = browser.choices[1]
    browser.driver.find_elements("css selector", "#next button")[1].click()
    browser.wait()
    third = browser.choices[2]
    browser.press("3")
    assert browser.text_of("text") == "The " + second + third
    assert browser.script("return document.querySelectorAll('#text .chosen').length") == 2


def test_the_page_starts_with_the_settings_of_the_model(
    browser: Browser, trained: TrainedModel, tmp_path: Path
) -> None:
    trained.parameters.logits_bias[:] = (0, 0, 0, 50, 0)  # 3 is the unknown id, 4 ends the text
    config = {"sampling": {"temperature": 2.5}}
    model = browser.open(tmp_path / "page.html", replace(trained, config=config))
    assert float(browser.find("temperature").get_property("value")) == 2.5
    assert browser.find("temperature-value").text == "2.50"
    browser.fill(prompt="", seed=1, length=500, temperature=1)
    assert len(browser.choices) == 3
    browser.click("write")
    generated = model.generate("", length=500, seed=1, temperature=1)
    assert browser.text_of("text") == str(generated)
    assert generated.stopped_by == "end of text"
    assert "the model ended the text" in browser.text_of("status")


def test_the_page_is_accessible(browser: Browser, tmp_path: Path) -> None:
    for width in (400, 1280):
        metrics = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": width < 500}
        browser.driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
        browser.open(tmp_path / "page.html", make_deep_model(), title="x" * 200)
        browser.fill(prompt="The ", length=200, seed=1, unit=0)
        browser.click("off")
        browser.click("write")
        root, fields = (
            "document.documentElement",
            "input, select, textarea, button, canvas, [tabindex]",
        )
        assert browser.script(f"return {root}.scrollWidth - {root}.clientWidth") == 0
        for element in browser.driver.find_elements("css selector", fields):
            assert element.accessible_name.strip(), element.get_attribute("outerHTML")
    browser.driver.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})


def test_the_keyboard_chooses_a_unit_and_a_character(browser: Browser, model: Model) -> None:
    keys = pytest.importorskip("selenium.webdriver", reason="missing: selenium").Keys
    browser.fill(prompt="The ferry", unit=7)
    values = model.states("The ferry")[0][:, 7]
    for pressed, position in (
        ((), -1),
        ((keys.ARROW_LEFT, keys.ARROW_LEFT), -2),
        ((keys.HOME, keys.ARROW_RIGHT), 1),
    ):
        if pressed:
            browser.find("text").send_keys(*pressed)
        assert browser.text_of("unit-value") == f"rnn.0, unit 7: {shown_number(values[position])}"
    browser.press("Escape")
    assert "after the last character" in browser.text_of("state-note")
    browser.fill(unit=UNITS)  # they are numbered from 0
    assert browser.find("off").get_property("disabled")


def without_unit(parameters: Parameters, layer: int, unit: int) -> Parameters:
    """Return the weights with those that read a unit set to 0, as if the unit were always 0."""
    tensors = {name: tensor.copy() for name, tensor in parameters.tensors.items()}
    tensors[f"rnn.{layer}.recurrent_kernel"][unit] = 0
    if layer + 1 < LAYERS:
        tensors[f"rnn.{layer + 1}.kernel"][unit] = 0
    tensors["logits.kernel"][unit + layer * UNITS] = 0
    return Parameters(parameters.architecture, tensors)


@pytest.mark.parametrize("layer", range(LAYERS))
def test_a_unit_that_is_off_is_0_until_it_is_on_again(
    browser: Browser, model: Model, layer: int
) -> None:
    unit, written = 5, "The "
    whole, part = model.trained.parameters, without_unit(model.trained.parameters, layer, unit)
    state = tuple(output[-1:].copy() for output in model.states(written))
    for parameters in (part, whole):
        state[layer][:, unit] = 0
        logits = parameters.logits(state)
        for _ in range(60):
            index = logits.argmax(-1)
            written += model.vocabulary.decode(index)
            logits, state = parameters.step(index, state)
    browser.fill(prompt="The ", temperature=0, length=60, layer=layer, unit=unit)
    browser.click("off")
    assert browser.text_of("all-on") == "1 unit is off: switch all on"
    browser.click("write")
    assert browser.spans("dataset.value")[len("The ") :] == ["0"] * 60
    browser.click("all-on")
    assert not browser.find("all-on").is_displayed()
    browser.click("write")
    assert browser.text_of("text") == written
    assert written != "The " + str(model.generate("The ", length=120, temperature=0))
