"""The page, and a report, in headless Chromium, without a request to any server.

test_page_script.py tests the same scripts in Node, which is much faster.
"""

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from exports.html_page import shown_number
from exports.networks import make_deep_model
from inspection.reports import report

from charlm.api.model import Model
from charlm.core.model_file import TrainedModel
from charlm.exports.exporting import export_html
from charlm.inspection.report import render_page

pytestmark = pytest.mark.slow

BROWSERS = ("chromium", "chromium-browser", "google-chrome")


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

    def press(self, key: str) -> None:
        """Press a key outside of the fields, and wait."""
        event = json.dumps({"key": key, "bubbles": True})
        self.script(f"document.body.dispatchEvent(new KeyboardEvent('keydown', {event}))")
        self.wait()

    def text_of(self, name: str) -> str:
        """Return the text of an element, with every blank."""
        return str(self.find(name).get_property("textContent"))


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


def test_a_report_unfolds_its_tables_and_shows_the_character_under_the_mouse(
    browser: Browser, tmp_path: Path
) -> None:
    from selenium.webdriver import ActionChains

    (tmp_path / "report.html").write_text(render_page([report()]), encoding="utf-8")
    browser.driver.get((tmp_path / "report.html").as_uri())
    browser.script("document.documentElement.style.scrollBehavior = 'auto'")
    find = browser.driver.find_element
    find("css selector", "details:not([open]) summary").click()
    assert find("css selector", "details[open] table").is_displayed()
    letter = find("xpath", "//*[@class='passage']/span[.='a']")
    browser.script("arguments[0].scrollIntoView({block: 'center'})", letter)
    ActionChains(browser.driver).move_to_element(letter).perform()
    assert ", a: " in find("css selector", ".panel").text
