"""Characters as labels: every one can be seen, and none acts on the page."""

import unicodedata

import pytest

from charlm.inspection.visible import safe, visible, visible_text


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
        ("\u200f", "\\u200f"),
        ("\xa0", "\\xa0"),
        ("\u3000", "\\u3000"),
        ("\ud800", "\\ud800"),
        ("\ue000", "\\ue000"),
        ("\u0378", "\\u0378"),
        ("\u0301", "\u25cc\u0301"),
        ("\u05d0", "\u05d0"),
        (None, "\u25a1"),
    ],
)
def test_every_character_has_a_label_that_can_be_seen(character: str | None, label: str) -> None:
    assert visible(character) == label


def test_no_label_holds_a_blank_or_a_character_that_controls() -> None:
    labels = [visible(chr(point)) for point in range(0x3100)]
    assert all(labels)
    assert not {unicodedata.category(c) for label in labels for c in label} & {"Cc", "Cf", "Cs", "Cn", "Zs", "Zl", "Zp"}


def test_a_text_is_made_visible_on_one_line() -> None:
    assert visible_text("a b\n\x07") == "a␣b↵\\x07"


def test_markup_and_quotes_are_escaped() -> None:
    assert safe("</script><b class='x\">&") == "&lt;/script&gt;&lt;b class=&#x27;x&quot;&gt;&amp;"


def test_marks_that_turn_the_direction_are_shown_and_line_breaks_kept() -> None:
    assert safe("a\u202eb\nc") == "a\\u202eb\nc"
