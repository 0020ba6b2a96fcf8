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


@pytest.mark.parametrize(
    ("text", "html"),
    [("(V D_t)^T", "(V D<sub>t</sub>)<sup>T</sup>"), ("V^{-1}", f"V<sup>{MINUS}1</sup>")],
)
def test_an_equation_has_superscripts(text: str, html: str) -> None:
    assert equation(text) == f'<p class="equation">{html}</p>'


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (1.23456, "1.235"),
        (-0.5, f"{MINUS}0.5"),
        (12345, "12,345"),
        (-1234, f"{MINUS}1,234"),
        (0, "0"),
        (0.0, "0"),
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
        (1234.7, 340.0, "1235 ± 340"),
        (1.0, 1.5e-6, "1.0000000 ± 0.0000015"),
        (1.0, 1.5e-7, "1"),
        (2.0, 0.0, "2"),
        (3.0420381512, 1.6e-13, "3.042"),
        (1.31848, math.nan, "1.318"),
    ],
    ids=[
        "positive",
        "negative",
        "large",
        "very large",
        "seven decimals",
        "eight decimals",
        "no error",
        "rounding error",
        "unknown error",
    ],
)
def test_a_mean_has_the_decimal_places_of_its_error(mean: float, error: float, text: str) -> None:
    assert with_error(mean, error) == text


@pytest.fixture
def html() -> str:
    """Return a table with markup in its texts."""
    rows = [("<i>", 2.0), ("x", None), ("y", (2.5, 0.25))]
    return table(("<a>", "b"), rows, caption="A & B")


def test_the_texts_of_a_table_are_escaped(html: str) -> None:
    assert "<caption>A &amp; B</caption>" in html
    assert '<th scope="col">&lt;a&gt;</th>' in html
    assert "<td>&lt;i&gt;</td>" in html


def test_the_numbers_of_a_table_have_their_class(html: str) -> None:
    assert '<td class="number">2</td>' in html
    assert f'<td class="number">{DASH}</td>' in html
    assert '<td class="number">2.50 ± 0.25</td>' in html
