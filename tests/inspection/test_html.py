"""Equations, numbers and tables of a report as HTML."""

import math

import pytest

from charlm.inspection.html import equation, number, table, with_error

DASH, MINUS = "\N{EN DASH}", "\N{MINUS SIGN}"


def test_markup_in_an_equation_is_escaped() -> None:
    assert equation("a < <b>") == '<p class="equation">a &lt; &lt;b&gt;</p>'


def test_an_equation_has_subscripts() -> None:
    html = equation("dh_t/dh_{t-1}")
    assert html == f'<p class="equation">dh<sub>t</sub>/dh<sub>t{MINUS}1</sub></p>'


def test_an_equation_has_superscripts() -> None:
    assert equation("(V D_t)^T") == '<p class="equation">(V D<sub>t</sub>)<sup>T</sup></p>'


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (1.23456, "1.235"),
        (-0.5, f"{MINUS}0.5"),
        (12345, "12,345"),
        (0.0000123456, f"1.235e{MINUS}05"),
        (math.nan, DASH),
        (None, DASH),
    ],
)
def test_a_number_has_four_significant_digits(value: float | None, text: str) -> None:
    assert number(value) == text
    assert with_error(value, None) == text


@pytest.mark.parametrize(
    ("mean", "error", "text"),
    [
        (1.31848, 0.02149, "1.318 ± 0.021"),
        (-0.44971, 0.0114, f"{MINUS}0.450 ± 0.011"),
        (12.0, 3.4, "12.0 ± 3.4"),
        (2.0, 0.0, "2"),
        (3.0420381512, 1.6e-13, "3.042"),
        (1.31848, math.nan, "1.318"),
    ],
    ids=["positive", "negative", "large", "no error", "rounding error", "unknown error"],
)
def test_a_mean_has_the_decimal_places_of_its_error(mean: float, error: float, text: str) -> None:
    assert with_error(mean, error) == text


@pytest.fixture
def html() -> str:
    """Return a table with markup in its texts."""
    return table(("<a>", "b"), [("<i>", 2.0), ("x", None)], caption="A & B")


def test_the_texts_of_a_table_are_escaped(html: str) -> None:
    assert "<caption>A &amp; B</caption>" in html
    assert '<th scope="col">&lt;a&gt;</th>' in html
    assert "<td>&lt;i&gt;</td>" in html


def test_the_numbers_of_a_table_have_their_class(html: str) -> None:
    assert '<td class="number">2</td>' in html
    assert f'<td class="number">{DASH}</td>' in html
