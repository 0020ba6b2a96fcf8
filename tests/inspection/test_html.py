"""Equations, numbers and tables of a report as HTML."""

import math

from charlm.inspection.html import equation, number, table, with_error


def test_indices_of_an_equation_are_subscripts_and_superscripts() -> None:
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
