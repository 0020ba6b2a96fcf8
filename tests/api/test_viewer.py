"""The viewer of a text: visible labels, escaped markup, colours and keys."""

import pytest
from javascript import Node

from charlm.api.viewer import SURPRISE_NATS, VIEWER_SCRIPT, coloured_text, safe, visible


@pytest.mark.parametrize(
    ("character", "label"),
    [
        ("a", "a"),
        (" ", "␣"),
        ("\n", "↵"),
        ("\t", "→"),
        ("\r", "\\r"),
        ("\x1b", "\\x1b"),
        ("\u202e", "\\u202e"),
        ("\ud800", "\\ud800"),
        ("\u0301", "\u25cc\u0301"),
        ("\u05d0", "\u05d0"),
        (None, "\u25a1"),
    ],
    ids=ascii,
)
def test_every_character_has_a_visible_label(character: str | None, label: str) -> None:
    assert visible(character) == label


def test_markup_is_escaped() -> None:
    assert safe("</script><b class='x\">&") == "&lt;/script&gt;&lt;b class=&#x27;x&quot;&gt;&amp;"


@pytest.mark.parametrize(
    ("character", "nats", "html"),
    [
        ("a", None, '<span title="not scored">a</span>'),
        (" ", 2.3, '<span class="l2" title="2.30 nats"> </span>'),
        ("\n", 12.9, '<span class="l4" title="12.90 nats"><i>↵</i>\n</span>'),
        ("\t", 0.69, '<span title="0.69 nats"><i>→</i>\t</span>'),
        (None, 0.7, '<span class="l1" title="0.70 nats"><i>□</i></span>'),
    ],
    ids=["not scored", "space", "line break", "tab", "no character"],
)
def test_a_character_is_an_element_with_its_loss(
    character: str | None, nats: float | None, html: str
) -> None:
    assert html in coloured_text([character], [nats])


def test_the_script_has_the_limits_of_the_colours() -> None:
    assert f"SURPRISE_NATS = {[*SURPRISE_NATS]};" in VIEWER_SCRIPT


PLACES = [(0, 0), (0, 10), (0, 20), (15, 0), (15, 12), (30, 0), (30, 8), (30, 30)]
"""Top and left of the characters of three lines."""


@pytest.mark.parametrize(
    ("key", "start", "end"),
    [
        ("ArrowRight", 2, 3),
        ("ArrowRight", 7, 7),
        ("End", 0, 7),
        ("ArrowDown", 1, 4),
        ("ArrowDown", 6, 6),
        ("ArrowUp", 7, 4),
        ("a", 1, None),
    ],
)
def test_a_key_leads_to_a_character(node: Node, key: str, start: int, end: int | None) -> None:
    node.open(f"<html><body><script>{VIEWER_SCRIPT}</script></body></html>")
    body = """
        const place = ([top, left]) => ({getBoundingClientRect: () => ({top, left})});
        const spans = values.places.map(place);
        return placeAfterKey(values.key, spans, values.start) ?? null;
    """
    assert node.run(body, places=PLACES, key=key, start=start) == end
