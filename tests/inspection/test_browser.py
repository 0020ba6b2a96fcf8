"""The page in headless Chromium, wide and narrow, light and dark: by mouse and by keyboard, without any network."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from chromium import chromium
from inspection.reports import CHARACTERS, report

from charlm.inspection.markup import visible
from charlm.inspection.page import write_page

pytestmark = pytest.mark.slow
Driver = Any
LONG_NAME = "runs/" + "long" * 60


@pytest.fixture(scope="module")
def driver() -> Iterator[Driver]:
    with chromium() as browser:
        yield browser


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Write a page on two runs, one with a name that does not fit, and one line of thousands of characters."""
    path = tmp_path_factory.mktemp("page") / "report.html"
    long = report(length=3000).get("surprise")
    long.ids[:] = 2  # nothing but the letter a
    write_page([report(), report(name=LONG_NAME, layers=1, surprise=long)], path)
    return path


def open_page(driver: Driver, page: Path, *, width: int = 1280, theme: str = "light") -> None:
    """Open a page in a window of some width, in a theme, and forget what was logged before."""
    metrics = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": False}
    driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
    features = [{"name": "prefers-color-scheme", "value": theme}]
    driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": features})
    for log in ("browser", "performance"):
        driver.get_log(log)
    driver.get(page.as_uri())


def hover(driver: Driver, selector: str) -> None:
    """Point at an element."""
    from selenium.webdriver import ActionChains

    element = driver.find_element("css selector", selector)
    driver.execute_script("arguments[0].scrollIntoView({block: 'center', behavior: 'instant'})", element)
    ActionChains(driver).move_to_element(element).perform()


def press(driver: Driver, *keys: str) -> None:
    """Press keys, one after the other."""
    from selenium.webdriver import ActionChains

    for key in keys:
        ActionChains(driver).send_keys(key).perform()


def text_of(driver: Driver, selector: str) -> str:
    """Return the text of an element as it is displayed."""
    found: str = driver.find_element("css selector", selector).text
    return found


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("width", [1280, 400])
def test_nothing_is_requested_no_script_fails_and_nothing_is_wider_than_the_window(
    driver: Driver, page: Path, width: int, theme: str
) -> None:
    open_page(driver, page, width=width, theme=theme)
    hover(driver, ".reader .passage[tabindex] span:nth-child(9)")
    driver.execute_script("for (const each of document.querySelectorAll('details')) each.open = true")
    messages = [json.loads(entry["message"])["message"] for entry in driver.get_log("performance")]
    requested = {
        message["params"]["request"]["url"] for message in messages if message["method"] == "Network.requestWillBeSent"
    }
    assert {url for url in requested if not url.startswith("data:")} == {page.as_uri()}
    assert driver.get_log("browser") == []
    widths = driver.execute_script("return [document.documentElement.scrollWidth, window.innerWidth]")
    assert widths[0] <= widths[1] == width
    turned = driver.execute_script("return getComputedStyle(document.querySelector('img.chart')).filter")
    assert turned == ("none" if theme == "light" else "invert(1) hue-rotate(180deg)")


def test_pointing_at_a_character_shows_its_alternatives_and_what_decided_it(driver: Driver, page: Path) -> None:
    open_page(driver, page)
    found = report().get("surprise")
    hover(driver, ".reader .passage[tabindex] span:nth-child(9)")
    panel = text_of(driver, ".reader .panel")
    assert panel.startswith(f"{visible(CHARACTERS[found.ids[8]])} at 9: {found.nats[8]:.4g} nats")
    bars = driver.find_elements("css selector", ".reader .panel .bar b")
    assert [bar.text for bar in bars[:5]] == [visible(CHARACTERS[index]) for index in found.likeliest[8]]
    lit = driver.execute_script(
        "return Array.from(document.querySelector('.reader .passage[tabindex]').children, (span) => span.className)"
    )
    assert lit[7::-1] == [f"cold l{round(9 * share)}" for share in found.influence[8, :8]]
    assert "here" in lit[8]
    assert set(lit[9:]) == {"cold l0"}


def test_the_keyboard_walks_through_the_text(driver: Driver, page: Path) -> None:
    from selenium.webdriver.common.keys import Keys

    open_page(driver, page)
    press(driver, Keys.TAB)
    driver.execute_script("document.querySelector('nav li:last-child a').focus()")
    for _ in range(40):
        press(driver, Keys.TAB)
        if driver.execute_script("return document.activeElement.closest('.reader') !== null"):
            break
    assert " at 1: " in text_of(driver, ".reader .panel")
    press(driver, Keys.ARROW_RIGHT, Keys.ARROW_RIGHT, Keys.ARROW_LEFT)
    assert " at 2: " in text_of(driver, ".reader .panel")
    press(driver, Keys.END)
    assert " at 59: " in text_of(driver, ".reader .panel")
    press(driver, Keys.ARROW_RIGHT)
    assert " at 59: " in text_of(driver, ".reader .panel")
    press(driver, Keys.HOME, Keys.ARROW_UP)
    assert " at 1: " in text_of(driver, ".reader .panel")
    press(driver, Keys.ARROW_DOWN)
    assert " at 1: " not in text_of(driver, ".reader .panel")


def test_the_browser_of_units_colours_the_text_by_any_unit_or_the_nearest_one(driver: Driver, page: Path) -> None:
    open_page(driver, page)
    units = report().get("units")
    assert text_of(driver, ".browser .panel") == "rnn.0, unit 0: follows \u201cvowel next\u201d, strength 0.93"
    choose = (
        "const unit = document.querySelector('.browser .unit'), layer = document.querySelector('.browser .layer');"
        "layer.value = '1'; unit.value = arguments[0]; unit.dispatchEvent(new Event('change'))"
    )
    driver.execute_script(choose, "3")
    assert text_of(driver, ".browser .panel") == "rnn.1, unit 3: follows no feature beyond chance"
    hover(driver, ".browser .passage span:nth-child(5)")
    shown = text_of(driver, ".browser .panel").partition("h is about ")[2].replace("\N{MINUS SIGN}", "-")
    values = units.layers[1].values
    assert float(shown) == pytest.approx(values[4, 3], abs=0.05 * abs(values[4, 3]) + abs(values).max() / 254)
    driver.execute_script(choose, "999")
    assert text_of(driver, ".browser .panel").startswith("rnn.1, unit 4")
