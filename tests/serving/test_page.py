"""The page, driven in a headless browser: it writes, stops, goes on from a chosen character, and loads nothing else."""

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from bundles import architecture_of
from chromium import chromium
from conftest import RandomParameters
from faults.serve_load import serving
from serving.conftest import Server

from charlm.api.model import load
from charlm.config.file import dump_config
from charlm.config.schema import Config
from charlm.network.bundle import Bundle, write_bundle
from charlm.sampling.generation import generate
from charlm.sampling.sampler import Sampler
from charlm.text.vocabulary import Vocabulary

pytestmark = pytest.mark.slow

SECONDS = 30


class Page:
    """The page in a browser."""

    def __init__(self, browser: Any, url: str) -> None:
        self.browser, self.url = browser, url

    def one(self, selector: str) -> Any:
        return self.browser.find_element("css selector", selector)

    def all(self, selector: str) -> list[Any]:
        return list(self.browser.find_elements("css selector", selector))

    def wait(self, is_true: Any) -> None:
        end = time.monotonic() + SECONDS
        while not is_true():
            assert time.monotonic() < end, f"it did not come true; the page says: {self.status}"
            time.sleep(0.05)

    def open(self, *, width: int = 1280, scheme: str = "light") -> None:
        """Load the page at a width and in a colour scheme, and wait until it offers characters."""
        metrics = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": width < 600}
        self.browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
        features = [{"name": "prefers-color-scheme", "value": scheme}]
        self.browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": features})
        self.browser.get(self.url)
        self.wait(lambda: self.all("#next button"))

    def fill(self, name: str, value: str) -> None:
        self.browser.execute_script(
            "arguments[0].value = arguments[1];"
            "for (const kind of ['input', 'change']) arguments[0].dispatchEvent(new Event(kind));",
            self.one(f"#{name}"),
            value,
        )

    def values(self) -> list[str]:
        """Return the values of the chosen unit beside each character of the text."""
        script = "return [...document.getElementById('text').children].map((span) => span.dataset.value)"
        return list(self.browser.execute_script(script))

    @property
    def text(self) -> str:
        return str(self.one("#text").get_property("textContent"))

    @property
    def status(self) -> str:
        return str(self.one("#status").text)

    def write(self, *, prompt: str, seed: int, characters: int) -> str:
        """Write a text, and return it with its prompt."""
        self.fill("prompt", prompt)
        self.fill("seed", str(seed))
        self.fill("length", str(characters))
        self.wait(lambda: self.text == prompt)
        self.one("#write").click()
        self.wait(lambda: f"{characters} characters" in self.status)
        return self.text

    def choose(self, index: int) -> str:
        """Click one of the next characters, and return it; the buttons may be replaced at any moment."""
        script = "const button = document.querySelectorAll('#next button')[arguments[0]]; button.click(); "
        return str(self.browser.execute_script(script + "return button.value", index))

    def errors(self) -> list[str]:
        return [entry["message"] for entry in self.browser.get_log("browser")]


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with chromium() as started:
        yield started


@pytest.fixture
def page(browser: Any, server: Server) -> Iterator[Page]:
    made = Page(browser, server.url)
    yield made
    assert made.errors() == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1280, 400])
def test_a_text_streams_in_and_fits_the_width(page: Page, width: int, scheme: str) -> None:
    page.open(width=width, scheme=scheme)
    assert page.one("h1").text == "run"
    assert len(page.write(prompt="The ", seed=1, characters=200)) == 204
    assert page.browser.execute_script("return document.documentElement.scrollWidth") <= width
    background = page.one("body").value_of_css_property("background-color")
    assert ("251" in background) == (scheme == "light")


def test_a_chosen_character_is_added_and_writing_goes_on_after_it(page: Page) -> None:
    page.open()
    before = page.write(prompt="The ", seed=1, characters=20)
    choice = page.choose(2)
    page.wait(lambda: page.text == before + choice)
    page.one("body").send_keys("2")
    page.wait(lambda: len(page.text) == len(before) + 2)
    assert page.text.startswith(before + choice)
    page.one("#write").click()
    page.wait(lambda: len(page.text) == 46)


def test_a_mistake_is_told_in_words(page: Page) -> None:
    page.open()
    page.fill("prompt", "\N{SNOWMAN}")
    page.wait(lambda: "was not in the training text" in page.status)
    assert "wrong" in page.one("#status").get_attribute("class")
    assert all("400" in error for error in page.errors())  # the browser notes the answer, no script has failed


def test_what_was_not_shown_when_the_user_stopped_is_not_part_of_the_text(page: Page) -> None:
    page.open()
    page.fill("prompt", "The ")
    page.fill("length", "400")
    page.fill("pace", "30")
    page.wait(lambda: page.text == "The ")
    page.one("#write").click()
    page.wait(lambda: len(page.text) > 6)
    page.one("#write").click()
    page.wait(lambda: "stopped" in page.status)
    assert page.browser.execute_script("return globalThis.page.source.text") == page.text
    assert len(page.text) < 200


def test_a_unit_colours_the_text_and_a_character_shows_the_state_after_it(page: Page, server: Server) -> None:
    page.open()
    assert page.one("#temperature-value").text == f"{load(server.run).sampling_temperature:.2f}"
    page.fill("unit", "3")
    text = page.write(prompt="The ", seed=1, characters=20)
    page.wait(lambda: all(page.values()))
    states = np.hstack(load(server.run).states(text))
    np.testing.assert_allclose([*map(float, page.values())], states[:, 3], atol=1e-5)
    page.all("#text span")[9].click()
    page.wait(lambda: "after character 10" in page.one("#state-note").text)
    shown = page.browser.execute_script("return Array.from(globalThis.page.state)")
    np.testing.assert_allclose(shown, states[9], atol=1e-5)


def test_the_server_writes_on_without_a_unit_that_is_off(page: Page, server: Server) -> None:
    model = load(server.run)
    page.open()
    page.fill("temperature", "0")
    page.fill("length", "20")
    page.fill("unit", "3")
    page.fill("prompt", "The ")
    page.wait(lambda: all(page.values()))
    page.one("#off").click()
    assert page.one("#all-on").text == "1 unit is off: switch all on"
    page.one("#write").click()
    page.wait(lambda: len(page.text) == 24)
    parameters, vocabulary = model.bundle.parameters.without_units([3]), model.vocabulary
    written = generate(parameters, vocabulary.encode("The "), sampler=Sampler(temperature=0), length=20, seed=1)
    assert page.text == "The " + vocabulary.decode(np.array([*written]))
    page.wait(lambda: page.values() == ["0"] * 24)
    page.one("#all-on").click()
    page.wait(lambda: set(page.values()) != {"0"})


def test_a_character_of_several_bytes_has_the_value_after_the_last_one(
    browser: Any, random_parameters: RandomParameters, tmp_path: Path
) -> None:
    pytest.importorskip("uvicorn", reason="missing: uvicorn")
    parameters = random_parameters(vocabulary_size=256)
    vocabulary = Vocabulary("byte", tuple(map(chr, range(256))))
    write_bundle(tmp_path / "bytes", Bundle(architecture_of(parameters), parameters, vocabulary, dump_config(Config())))
    states = load(tmp_path / "bytes").states("né€")[0]
    with serving(tmp_path / "bytes") as (_, port):
        page = Page(browser, f"http://127.0.0.1:{port}")
        page.open()
        page.fill("prompt", "né€")
        page.fill("unit", "2")
        page.wait(lambda: len(page.values()) == 3 and all(page.values()))
        np.testing.assert_allclose([*map(float, page.values())], states[[0, 2, 5], 2], atol=1e-5)


def test_a_text_of_which_the_server_leaves_characters_out_is_not_coloured(browser: Any, server: Server) -> None:
    with serving(server.run, "--unknown", "skip") as (_, port):
        page = Page(browser, f"http://127.0.0.1:{port}")
        page.open()
        page.fill("prompt", "The \N{SNOWMAN} lies")
        page.fill("unit", "2")
        page.wait(lambda: "leaves out characters" in page.status)
