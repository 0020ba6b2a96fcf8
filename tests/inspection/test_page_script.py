"""page.js of a report in Node: what the mouse and the keyboard show of a text."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from javascript import Node

from charlm import inspection
from charlm.inspection.surprise import Predictions, reader

SCRIPT = Path(inspection.__file__).with_name("assets") / "page.js"
CHARACTERS = ("a", "b", "\n", " ", "\u0301", None)
LABELS = ("a", "b", "↵", "␣", "\u25cc\u0301", "\u25a1")
MINUS = "\N{MINUS SIGN}"
COLUMNS = 10
LEVELS = "953", "009", "310"
"""Influence of the last three characters, as levels; rows of a text repeat these."""


def make_predictions(count: int, *, first: int = 0) -> Predictions:
    """Return predictions of a text that repeats the characters, starting with one of them."""
    rows = (np.arange(count) + first) % len(CHARACTERS)
    nats = np.array([0.5, 2.25, 12.3456, 0.0, 20.0, 0.0625])
    likeliest = np.array([[0, 1, 2], [3, 0, 1], [4, 1, 0], [3, 2, 1], [5, 0, 4], [1, 5, 0]])
    probabilities = np.array([0.625, 0.25, 0.0123456])
    influence = np.array([[int(level) / 9 for level in row] for row in LEVELS])
    return Predictions(
        ids=rows,
        nats=nats[rows],
        likeliest=likeliest[rows],
        probabilities=probabilities / (1 + rows[:, None]),
        influence=influence[rows % 3],
    )


class ReportPage:
    """A report in Node with some texts, of which a test uses the first, and its user's actions."""

    def __init__(self, node: Node, *texts: Predictions) -> None:
        self.node = node
        readers = "".join(reader(text, CHARACTERS) for text in texts)
        script = SCRIPT.read_text(encoding="utf-8")
        node.open(f"<html><body>{readers}<script>{script}</script></body></html>")
        self.find_parts(0)
        self.help = self.panel

    def find_parts(self, number: int) -> None:
        """Use a text by its number."""
        body = """
            globalThis.view = document.querySelectorAll(".reader")[values.number];
            globalThis.panel = view.querySelector(".panel");
            globalThis.passage = view.querySelector(".passage[tabindex]");
        """
        self.node.run(body, number=number)

    def on_character(self, event: str, index: int) -> None:
        """Send an event to a character."""
        self.node.run(f"passage.children[{index}].dispatch(values.event)", event=event)

    def on_passage(self, event: str) -> None:
        """Send an event to the text."""
        self.node.run("passage.dispatch(values.event)", event=event)

    def press(self, *keys: str, **modifiers: bool) -> bool:
        """Press keys in the text, and return whether the page used the last one."""
        body = """
            const press = (key) => passage.dispatch("keydown", {key, ...values.modifiers});
            return values.keys.map(press).at(-1).isPrevented;
        """
        return bool(self.node.run(body, keys=keys, modifiers=modifiers))

    def focus(self, *, with_keyboard: bool) -> None:
        """Focus the text."""
        self.node.run("passage.focus(values.visible)", visible=with_keyboard)

    @property
    def panel(self) -> str:
        """The text of the panel."""
        return str(self.node.run("return panel.textContent"))

    @property
    def bars(self) -> list[list[Any]]:
        """The class, label, width in percent and number of each bar."""
        body = """
            return panel.querySelectorAll(".bar").map((bar) => {
              const [label, track, share] = bar.children;
              const width = parseFloat(track.firstChild.style.width);
              return [bar.className, label.textContent, width, share.textContent];
            });
        """
        return list(self.node.run(body))

    @property
    def colours(self) -> list[str]:
        """The classes of the characters."""
        return list(self.node.run("return passage.children.map((span) => span.className)"))

    @property
    def here(self) -> list[int]:
        """The characters with an outline."""
        return [index for index, name in enumerate(self.colours) if "here" in name.split()]


@pytest.fixture
def page(node: Node) -> ReportPage:
    """Open a report with two texts."""
    return ReportPage(node, make_predictions(25), make_predictions(9, first=1))


# What is shown of a character


@pytest.mark.parametrize("event", ["mouseover", "click"])
@pytest.mark.parametrize(
    ("index", "nats", "probability"),
    [
        (0, "0.5", "0.6065"),
        (1, "2.25", "0.1054"),
        (2, "12.35", "0.000004349"),
        (3, "0", "1"),
        (4, "20", f"2.061e{MINUS}9"),
        (5, "0.0625", "0.9394"),
        (24, "0.5", "0.6065"),
    ],
)
def test_the_surprise_of_a_character_is_shown(
    page: ReportPage, event: str, index: int, nats: str, probability: str
) -> None:
    page.on_character(event, index)
    label = LABELS[index % 6]
    assert page.panel.startswith(
        f"Character {index + 2}, {label}: {nats} nats, probability {probability}. "
        "The network expected:"
    )
    assert page.here == [index]


def test_positions_have_commas(node: Node) -> None:
    page = ReportPage(node, make_predictions(1100))
    page.on_character("mouseover", 998)
    assert page.panel.startswith("Character 1,000, ")


@pytest.mark.parametrize(
    ("index", "expected"),
    [
        pytest.param(
            0, [("a", 0.625, True), ("b", 0.25, False), ("↵", 0.0123456, False)], id="1st"
        ),
        pytest.param(
            1, [("␣", 0.625, False), ("a", 0.25, False), ("b", 0.0123456, True)], id="3rd"
        ),
        pytest.param(
            2,
            [("\u25cc\u0301", 0.625, False), ("b", 0.25, False), ("a", 0.0123456, False)],
            id="no",
        ),
    ],
)
def test_the_likeliest_characters_have_bars(
    page: ReportPage, index: int, expected: list[tuple[str, float, bool]]
) -> None:
    page.on_character("mouseover", index)
    rows = []
    for label, share, is_true in expected:
        shown = share / (1 + index)
        name = "bar true" if is_true else "bar"
        rows.append([name, label, pytest.approx(100 * shown), f"{shown:.4g}"])
    assert page.bars == rows


def test_earlier_characters_have_the_colour_of_their_influence(page: ReportPage) -> None:
    page.on_character("mouseover", 6)
    expected = ["cold l0"] * 25
    expected[5], expected[4], expected[3] = "cold l9", "cold l5", "cold l3"
    expected[6] = "cold l0 here"
    assert page.colours == expected


def test_the_start_of_the_text_has_no_influence(page: ReportPage) -> None:
    page.on_character("mouseover", 2)
    assert page.colours == ["cold l1", "cold l3", "cold l0 here", *["cold l0"] * 22]


def test_another_character_replaces_the_last_one(page: ReportPage) -> None:
    page.on_character("mouseover", 6)
    page.on_character("mouseover", 3)
    assert page.here == [3]
    assert page.panel.count("Character") == 1
    assert len(page.bars) == 3


def test_the_label_in_a_character_belongs_to_it(page: ReportPage) -> None:
    page.node.run('passage.children[2].querySelector("i").dispatch("mouseover")')
    assert page.here == [2]


def test_pointing_between_the_characters_shows_nothing(page: ReportPage) -> None:
    page.on_passage("mouseover")
    assert page.panel == page.help


def test_each_text_has_its_own_data(page: ReportPage) -> None:
    page.find_parts(1)
    page.on_character("mouseover", 0)
    assert page.panel.startswith("Character 2, b: 2.25 nats")
    page.find_parts(0)
    assert page.panel == page.help
    assert page.here == []


# Leaving the text


@pytest.mark.parametrize("event", ["mouseleave", "blur"])
def test_the_text_has_its_colours_again(page: ReportPage, event: str) -> None:
    before = page.colours
    assert before[:6] == ["", "l3", "l9", "", "l9", ""]
    page.on_character("mouseover", 6)
    page.on_passage(event)
    assert page.colours == before
    assert page.panel == page.help
    assert page.help.startswith("Point at a character")


def test_the_mouse_may_leave_a_text_that_has_the_focus(page: ReportPage) -> None:
    page.focus(with_keyboard=True)
    page.on_passage("mouseleave")
    assert page.here == [0]


# The keyboard


def test_the_tab_key_shows_the_first_character(page: ReportPage) -> None:
    page.focus(with_keyboard=True)
    assert page.here == [0]
    assert page.panel.startswith("Character 2, a")


def test_a_click_that_gives_the_focus_shows_its_character(page: ReportPage) -> None:
    page.focus(with_keyboard=False)
    assert page.here == []
    page.on_character("click", 7)
    assert page.here == [7]


def test_the_focus_keeps_the_shown_character(page: ReportPage) -> None:
    page.on_character("mouseover", 7)
    page.focus(with_keyboard=True)
    assert page.here == [7]


def test_after_leaving_the_keys_begin_again(page: ReportPage) -> None:
    page.on_character("mouseover", 7)
    page.on_passage("mouseleave")
    page.press("ArrowRight")
    assert page.here == [0]


@pytest.fixture
def laid_out(page: ReportPage) -> ReportPage:
    """Return the page with lines of ten characters; the second line is shifted to the right."""
    body = """
        passage.place = {top: 0, bottom: 40};
        passage.children.forEach((span, index) => {
          const line = Math.floor(index / values.columns), left = 10 * (index % values.columns);
          const top = 20 * line + index % 2;
          span.place = {left: line === 1 ? left + 6 : left, top, bottom: 20 * line + 20};
        });
    """
    page.node.run(body, columns=COLUMNS)
    return page


@pytest.mark.parametrize(
    ("start", "keys", "expected"),
    [
        pytest.param(3, ["ArrowRight"], 4, id="right"),
        pytest.param(3, ["ArrowLeft"], 2, id="left"),
        pytest.param(0, ["ArrowLeft"], 0, id="left of the start"),
        pytest.param(24, ["ArrowRight"], 24, id="right of the end"),
        pytest.param(7, ["Home"], 0, id="home"),
        pytest.param(7, ["End"], 24, id="end"),
        pytest.param(3, ["ArrowDown"], 12, id="down"),
        pytest.param(12, ["ArrowUp"], 3, id="up"),
        pytest.param(12, ["ArrowDown"], 23, id="down to the third line"),
        pytest.param(21, ["ArrowUp"], 10, id="up from the third line"),
        pytest.param(19, ["ArrowDown"], 24, id="down to a shorter line"),
        pytest.param(0, ["ArrowDown"], 10, id="down from the first character"),
        pytest.param(22, ["ArrowDown"], 22, id="down from the last line"),
        pytest.param(5, ["ArrowUp"], 5, id="up from the first line"),
        pytest.param(3, ["ArrowDown", "ArrowRight", "ArrowUp"], 4, id="around"),
    ],
)
def test_arrow_keys_move_through_the_lines(
    laid_out: ReportPage, start: int, keys: list[str], expected: int
) -> None:
    laid_out.on_character("mouseover", start)
    assert laid_out.press(*keys)
    assert laid_out.here == [expected]


def test_the_first_key_shows_the_first_character(laid_out: ReportPage) -> None:
    laid_out.press("End")
    assert laid_out.here == [0]


@pytest.mark.parametrize(
    ("key", "modifiers"),
    [
        pytest.param("a", {}, id="letter"),
        pytest.param("Tab", {}, id="tab"),
        pytest.param("ArrowRight", {"ctrlKey": True}, id="with Ctrl"),
        pytest.param("ArrowRight", {"altKey": True}, id="with Alt"),
        pytest.param("ArrowRight", {"metaKey": True}, id="with Meta"),
    ],
)
def test_other_keys_belong_to_the_browser(
    laid_out: ReportPage, key: str, modifiers: dict[str, bool]
) -> None:
    laid_out.on_character("mouseover", 3)
    assert not laid_out.press(key, **modifiers)
    assert laid_out.here == [3]


@pytest.mark.parametrize(
    ("start", "key", "scrolled"),
    [
        pytest.param(3, "ArrowRight", 100, id="in view"),
        pytest.param(12, "ArrowDown", 100 + 60 - 40 + 20, id="below"),
        pytest.param(3, "End", 100 + 60 - 40 + 20, id="end"),
    ],
)
def test_the_keys_scroll_the_text(
    laid_out: ReportPage, start: int, key: str, scrolled: int
) -> None:
    laid_out.node.run("passage.scrollTop = 100")
    laid_out.on_character("mouseover", start)
    laid_out.press(key)
    assert laid_out.node.run("return passage.scrollTop") == scrolled


def test_the_keys_scroll_up(laid_out: ReportPage) -> None:
    laid_out.node.run("passage.scrollTop = 100; passage.place = {top: 35, bottom: 60}")
    laid_out.on_character("mouseover", 12)
    laid_out.press("Home")
    assert laid_out.node.run("return passage.scrollTop") == 100 - 35 - 20


def test_the_mouse_does_not_scroll_the_text(laid_out: ReportPage) -> None:
    laid_out.node.run("passage.scrollTop = 100")
    laid_out.on_character("mouseover", 24)
    assert laid_out.node.run("return passage.scrollTop") == 100
