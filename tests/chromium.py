"""A headless Chromium for the tests of pages."""

import contextlib
import shutil
from collections.abc import Iterator
from typing import Any

import pytest


def _program(*names: str) -> str:
    """Return the path of the first of these programs that exists, or skip the test."""
    found = next(filter(None, map(shutil.which, names)), None)
    if found is None:
        pytest.skip(f"missing: {names[0]}")
    return found


@contextlib.contextmanager
def chromium() -> Iterator[Any]:
    """Run a Chromium that writes down its requests and the errors of scripts."""
    webdriver = pytest.importorskip("selenium.webdriver", reason="missing: selenium")
    options = webdriver.ChromeOptions()
    options.binary_location = _program("chromium", "chromium-browser", "google-chrome")
    for argument in ("headless=new", "no-sandbox", "disable-gpu", "disable-dev-shm-usage", "window-size=1280,1000"):
        options.add_argument(f"--{argument}")
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    browser = webdriver.Chrome(options=options, service=webdriver.ChromeService(_program("chromedriver")))
    try:
        yield browser
    finally:
        browser.quit()
