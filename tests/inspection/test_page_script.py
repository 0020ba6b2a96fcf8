"""page.js of a report in Node: what the mouse and the keyboard show of a text."""

from importlib.resources import files

import numpy as np
import pytest
from javascript import Node

from charlm.api.viewer import VIEWER_SCRIPT
from charlm.inspection.style import Line
from charlm.inspection.surprise import Predictions, details

CHARACTERS = ("a", "b", "\n", " ", "\u0301", None)
NATS = [0.5, 2.25, 12.3456, 0.0, 20.0, 0.0625]
LEVELS = "431", "004", "310"
"""Influence of the last three characters, as levels; the rows of a text repeat these."""
COLOURS = ["", "l2", "l4", "", "l4", ""]
"""Classes of the first characters, by their nats."""


def make_predictions(count: int) -> Predictions:
    """Return the surprise of a text that repeats the characters."""
    rows = np.arange(count) % len(CHARACTERS)
    likeliest = np.array([[0, 1, 2], [3, 0, 1], [4, 1, 0], [3, 2, 1], [5, 0, 4], [1, 5, 0]])
    probabilities = np.array([0.625, 0.25, 0.0123456])
    influence = np.array([[int(level) / 4.4 for level in row] for row in LEVELS])
    return Predictions(
        characters=CHARACTERS,
        ids=rows,
        nats=np.array(NATS)[rows],
        likeliest=likeliest[rows],
        probabilities=probabilities / (1 + rows[:, None]),
        influence=influence[rows % 3],
    )


class ReportPage:
    """A text of a report in Node, and its user's actions."""

    def __init__(self, node: Node, count: int = 30) -> None:
        self.node = node
        reader = details({Line("", "", "blue"): make_predictions(count)})
        own = files("charlm.inspection").joinpath("assets", "page.js").read_text(encoding="utf-8")
        script = f"<script>{VIEWER_SCRIPT}{own}</script>"
        node.open(f"<html><body>{reader}{script}</body></html>")
        body = """
            globalThis.panel = document.querySelector(".panel");
            globalThis.passage = document.querySelector(".passage");
        """
        node.run(body)

    def on_character(self, event: str, index: int) -> None:
        """Send an event to a character."""
        self.node.run(f"passage.children[{index}].dispatch(values.event)", event=event)

    def press(self, key: str, **modifiers: bool) -> bool:
        """Press a key in the text, and return whether the page used it."""
        body = 'return passage.dispatch("keydown", values.event).isPrevented'
        return bool(self.node.run(body, event={"key": key, **modifiers}))

    @property
    def panel(self) -> str:
        """The text of the panel."""
        return str(self.node.run("return panel.textContent"))

    @property
    def classes(self) -> list[str]:
        """The classes of the first six characters."""
        body = "return [...passage.children].slice(0, 6).map((span) => span.className)"
        return list(self.node.run(body))

    @property
    def here(self) -> list[int]:
        """The characters with an outline."""
        body = """
            const spans = [...passage.children];
            return [...spans.keys()].filter((index) => spans[index].className.includes("here"));
        """
        return list(self.node.run(body))


@pytest.fixture
def page(node: Node) -> ReportPage:
    """Return a page with a text of 30 characters."""
    return ReportPage(node)


@pytest.mark.parametrize("event", ["mouseover", "click"])
@pytest.mark.parametrize(
    ("index", "sentence"),
    [
        (2, "Character 4, ↵: 12.35 nats, probability 0.000004349."),
        (4, "Character 6, \u25cc\u0301: 20 nats, probability 2.061e\u22129."),
    ],
)
def test_the_surprise_of_a_character_is_shown(
    page: ReportPage, event: str, index: int, sentence: str
) -> None:
    page.on_character(event, index)
    assert page.panel.startswith(f"{sentence} The network expected:")


def test_the_likeliest_characters_have_bars(page: ReportPage) -> None:
    page.on_character("mouseover", 1)
    body = """
        return panel.querySelectorAll(".bar").map((bar) => {
          const [label, track, share] = bar.children, {width} = track.firstChild.style;
          return [bar.className, label.textContent, width, share.textContent];
        });
    """
    assert page.node.run(body) == [
        ["bar", "␣", "31.25%", "0.3125"],
        ["bar", "a", "12.5%", "0.125"],
        ["bar true", "b", "0.61728%", "0.006173"],
    ]


def test_earlier_characters_have_the_colour_of_their_influence(page: ReportPage) -> None:
    page.on_character("mouseover", 3)
    assert page.classes == [
        *("influence l1", "influence l3", "influence l4", "influence l0 here"),
        *("influence l0", "influence l0"),
    ]


@pytest.mark.parametrize("event", ["mouseleave", "blur"])
def test_the_text_has_its_colours_again(page: ReportPage, event: str) -> None:
    assert page.classes == COLOURS
    page.on_character("mouseover", 3)
    page.node.run("passage.dispatch(values.event)", event=event)
    assert page.classes == COLOURS
    assert page.panel == "Point at a character, or press Tab and the arrow keys."
    assert page.node.run("return panel.firstChild.className") == "help"


@pytest.mark.parametrize(("is_keyboard", "here"), [(True, [0]), (False, [])])
def test_the_tab_key_shows_the_first_character(
    page: ReportPage, is_keyboard: bool, here: list[int]
) -> None:
    page.node.run("passage.focus(values.isKeyboard)", isKeyboard=is_keyboard)
    assert page.here == here


@pytest.mark.parametrize(
    ("key", "here"), [("ArrowRight", [4]), ("ArrowLeft", [2]), ("Home", [0]), ("End", [29])]
)
def test_the_keys_move_through_the_text(page: ReportPage, key: str, here: list[int]) -> None:
    page.on_character("mouseover", 3)
    assert page.press(key)
    assert page.here == here


@pytest.mark.parametrize(
    ("key", "here"), [("F5", []), ("PageDown", []), ("ArrowDown", [0]), ("End", [0])]
)
def test_a_first_key_shows_the_first_character(page: ReportPage, key: str, here: list[int]) -> None:
    assert page.press(key) == bool(here)
    assert page.here == here
