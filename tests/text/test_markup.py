"""Text as HTML: labels that can be seen, escaped markup, and coloured texts."""

from charlm.text.markup import coloured_text, safe, visible


def test_every_character_has_a_label_that_can_be_seen() -> None:
    for character, label in (
        *(
            ("a", "a"),
            (" ", "␣"),
            ("\n", "↵"),
            ("\t", "→"),
            ("\r", "\\r"),
            ("\x1b", "\\x1b"),
            ("\u202e", "\\u202e"),
        ),
        *((character, ascii(character)[1:-1]) for character in "\u200f\xa0\u3000\ud800\ue000"),
        *(
            ("\u0378", "\\u0378"),
            ("\u0301", "\u25cc\u0301"),
            ("\u05d0", "\u05d0"),
            (None, "\u25a1"),
        ),
    ):
        assert visible(character) == label


def test_markup_is_escaped() -> None:
    assert safe("</script><b class='x\">&") == "&lt;/script&gt;&lt;b class=&#x27;x&quot;&gt;&amp;"


def test_each_character_is_an_element_with_its_nats_and_spaces_keep_their_effect() -> None:
    html = coloured_text(["a", " ", "\n", "\t", None], [None, 2.3, 12.9, 0.7, 0.76])
    assert '<span title="not scored">a</span><span class="l3" title="2.30 nats"> </span>' in html
    assert (
        '<span class="l9" title="12.90 nats"><i>↵</i>\n</span><span title="0.70 nats"><i>→</i>\t</span>'
        in html
    )
    assert '<span class="l1" title="0.76 nats"><i>□</i></span>' in html
