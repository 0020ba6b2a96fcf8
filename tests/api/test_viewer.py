"""Text as HTML: visible labels, escaped markup and coloured texts."""

import pytest
from charlm.text.markup import coloured_text, safe, visible


@pytest.mark.parametrize(
    ("character", "label"),
    [
        ("a", "a"),
        (" ", "␣"),
        ("\n", "↵"),
        ("\t", "→"),
        ("\r", "\\r"),
        ("\x1b", "\\x1b"),
        ("\xa0", "\\xa0"),
        ("\u0378", "\\u0378"),
        ("\u200f", "\\u200f"),
        ("\u202e", "\\u202e"),
        ("\u3000", "\\u3000"),
        ("\ud800", "\\ud800"),
        ("\ue000", "\\ue000"),
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
        (" ", 2.3, '<span class="l3" title="2.30 nats"> </span>'),
        ("\n", 12.9, '<span class="l9" title="12.90 nats"><i>↵</i>\n</span>'),
        ("\t", 0.7, '<span title="0.70 nats"><i>→</i>\t</span>'),
        (None, 0.76, '<span class="l1" title="0.76 nats"><i>□</i></span>'),
    ],
    ids=["not scored", "space", "line break", "tab", "no character"],
)
def test_a_character_is_an_element_with_its_loss(
    character: str | None, nats: float | None, html: str
) -> None:
    assert html in coloured_text([character], [nats])


def test_the_elements_of_a_text_follow_each_other() -> None:
    html = coloured_text(["a", " "], [None, 2.3])
    assert '<span title="not scored">a</span><span class="l3" title="2.30 nats"> </span>' in html
