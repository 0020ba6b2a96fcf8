"""Pieces of HTML: labels that can be seen, equations, numbers, tables, coloured texts and the data of their script."""

import math

from charlm.text.markup import coloured_text, equation, number, safe, table, visible, with_error


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


def test_markup_is_escaped_and_indices_of_an_equation_are_set_lower_and_higher() -> None:
    assert safe("</script><b class='x\">&") == "&lt;/script&gt;&lt;b class=&#x27;x&quot;&gt;&amp;"
    assert equation("a < <b>") == '<p class="equation">a &lt; &lt;b&gt;</p>'
    html = equation("dh_t/dh_{t-1} = (V D_t)^T")
    t, previous = "<sub>t</sub>", "<sub>t\N{MINUS SIGN}1</sub>"
    assert html == f'<p class="equation">dh{t}/dh{previous} = (V D{t})<sup>T</sup></p>'


DASH, MINUS = "\N{EN DASH}", "\N{MINUS SIGN}"


def test_a_number_has_four_significant_digits_or_the_places_of_its_error_and_a_whole_one_all() -> (
    None
):
    for mean, error, text in (
        *(
            (1.23456, None, "1.235"),
            (-0.5, None, f"{MINUS}0.5"),
            (12345, None, "12,345"),
            (None, None, DASH),
        ),
        *(
            (0.0000123456, None, f"1.235e{MINUS}05"),
            (math.nan, None, DASH),
            (1.31848, math.nan, "1.318"),
        ),
        *((1.31848, 0.02149, "1.318 ± 0.021"), (-0.44971, 0.0114, f"{MINUS}0.450 ± 0.011")),
        *((12.0, 3.4, "12.0 ± 3.4"), (2.0, 0.0, "2"), (3.0420381512, 1.6e-13, "3.042")),
    ):
        assert with_error(mean, error) == text
        assert error is not None or number(mean) == text


def test_a_table_escapes_texts_and_sets_numbers_to_the_right() -> None:
    html = table(("<a>", "b"), [("<i>", 2.0), ("x", None)], caption="A & B")
    assert "<caption>A &amp; B</caption>" in html
    assert '<th scope="col">&lt;a&gt;</th>' in html
    assert '<td>&lt;i&gt;</td><td class="number">2</td>' in html
    assert '<td class="number">\N{EN DASH}</td>' in html


def test_each_character_is_an_element_with_its_nats_and_blanks_keep_their_effect() -> None:
    html = coloured_text(["a", " ", "\n", "\t", None], [None, 2.3, 12.9, 0.7, 0.76])
    assert '<span title="not scored">a</span><span class="l3" title="2.30 nats"> </span>' in html
    assert (
        '<span class="l9" title="12.90 nats"><i>↵</i>\n</span><span title="0.70 nats"><i>→</i>\t</span>'
        in html
    )
    assert '<span class="l1" title="0.76 nats"><i>□</i></span>' in html
