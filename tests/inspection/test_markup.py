"""Pieces of HTML: equations, numbers, tables."""

import math

import pytest

from charlm.inspection.markup import equation, folded, number, table


def test_indices_of_an_equation_are_set_lower_and_higher() -> None:
    html = equation("dh_t/dh_{t-1} = V D_t, (V D_t)^T")
    assert html == (
        '<p class="equation">dh<sub>t</sub>/dh<sub>t\N{MINUS SIGN}1</sub> = V D<sub>t</sub>, (V D<sub>t</sub>)'
        "<sup>T</sup></p>"
    )


def test_an_equation_is_escaped() -> None:
    assert "a &lt; b &amp; c" in equation("a < b & c")


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (1.23456, "1.235"),
        (-0.5, "\N{MINUS SIGN}0.5"),
        (12345, "12,345"),
        (0.0000123456, "1.235e\N{MINUS SIGN}05"),
        (None, "\N{EN DASH}"),
        (math.nan, "\N{EN DASH}"),
    ],
)
def test_a_number_has_four_digits_that_count_and_a_whole_one_all(value: float | None, text: str) -> None:
    assert number(value) == text


def test_a_table_escapes_texts_and_sets_numbers_to_the_right() -> None:
    html = table(("<a>", "b"), [("<i>", 2.0), ("x", None)], caption="A & B")
    assert "<caption>A &amp; B</caption>" in html
    assert '<th scope="col">&lt;a&gt;</th>' in html
    assert '<td>&lt;i&gt;</td><td class="number">2</td>' in html
    assert '<td class="number">\N{EN DASH}</td>' in html


def test_a_summary_is_escaped() -> None:
    assert folded("<b>", "<p>x</p>") == "<details><summary>&lt;b&gt;</summary><p>x</p></details>"
