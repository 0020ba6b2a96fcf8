"""Pieces of HTML: labels that can be seen, equations, numbers, tables, coloured texts and the data of their script."""

import math

import numpy as np
import pytest

from charlm.inspection.markup import equation, levels, number, passage, safe, table, visible


@pytest.mark.parametrize(
    ("character", "label"),
    [
        *(("a", "a"), (" ", "␣"), ("\n", "↵"), ("\t", "→"), ("\r", "\\r"), ("\x1b", "\\x1b"), ("\u202e", "\\u202e")),
        *(
            ("\u200f", "\\u200f"),
            ("\xa0", "\\xa0"),
            ("\u3000", "\\u3000"),
            ("\ud800", "\\ud800"),
            ("\ue000", "\\ue000"),
        ),
        *(("\u0378", "\\u0378"), ("\u0301", "\u25cc\u0301"), ("\u05d0", "\u05d0"), (None, "\u25a1")),
    ],
)
def test_every_character_has_a_label_that_can_be_seen(character: str | None, label: str) -> None:
    assert visible(character) == label


def test_markup_and_quotes_are_escaped() -> None:
    assert safe("</script><b class='x\">&") == "&lt;/script&gt;&lt;b class=&#x27;x&quot;&gt;&amp;"


def test_an_equation_is_escaped() -> None:
    assert equation("a < <b>") == '<p class="equation">a &lt; &lt;b&gt;</p>'


def test_indices_of_an_equation_are_set_lower_and_higher() -> None:
    html = equation("dh_t/dh_{t-1} = V D_t, (V D_t)^T")
    assert html == (
        '<p class="equation">dh<sub>t</sub>/dh<sub>t\N{MINUS SIGN}1</sub> = V D<sub>t</sub>, (V D<sub>t</sub>)'
        "<sup>T</sup></p>"
    )


@pytest.mark.parametrize(
    ("value", "text"),
    [
        *((1.23456, "1.235"), (-0.5, "\N{MINUS SIGN}0.5"), (12345, "12,345"), (0.0000123456, "1.235e\N{MINUS SIGN}05")),
        *((None, "\N{EN DASH}"), (math.nan, "\N{EN DASH}")),
    ],
)
def test_a_number_has_four_significant_digits_and_a_whole_one_all(value: float | None, text: str) -> None:
    assert number(value) == text


def test_a_table_escapes_texts_and_sets_numbers_to_the_right() -> None:
    html = table(("<a>", "b"), [("<i>", 2.0), ("x", None)], caption="A & B")
    assert "<caption>A &amp; B</caption>" in html
    assert '<th scope="col">&lt;a&gt;</th>' in html
    assert '<td>&lt;i&gt;</td><td class="number">2</td>' in html
    assert '<td class="number">\N{EN DASH}</td>' in html


def test_levels_rise_with_the_size_and_keep_the_sign() -> None:
    assert levels(np.array([0.0, 0.5, 1.0, -1.0, 7.0, np.nan]), scale=1.0).tolist() == [0, 4, 9, -9, 9, 0]


def test_each_character_is_an_element_and_blanks_keep_their_effect() -> None:
    html = passage(["a", " ", "\n", "\t", None], [0, 3, -9, 0, 0], label="it")
    assert '<span>a</span><span class="l3"> </span><span class="cold l9"><i>↵</i>\n</span>' in html
    assert "<span><i>→</i>\t</span><span><i>□</i></span>" in html
