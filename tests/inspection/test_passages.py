"""Pieces of HTML: labels that can be seen, equations, numbers, tables, coloured texts and the data of their script."""

import math
import re

import numpy as np
import pytest
from inspection.reports import CHARACTERS, report

from charlm.inspection.passages import (
    equation,
    levels,
    number,
    passage,
    reader,
    reader_data,
    safe,
    table,
    units_data,
    visible,
)
from charlm.inspection.report import to_json


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


def test_markup_and_quotes_are_escaped() -> None:
    assert safe("</script><b class='x\">&") == "&lt;/script&gt;&lt;b class=&#x27;x&quot;&gt;&amp;"


def test_indices_of_an_equation_are_set_lower_and_higher() -> None:
    html = equation("dh_t/dh_{t-1} = V D_t, (V D_t)^T")
    assert html == (
        '<p class="equation">dh<sub>t</sub>/dh<sub>t\N{MINUS SIGN}1</sub> = V D<sub>t</sub>, (V D<sub>t</sub>)'
        "<sup>T</sup></p>"
    )


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


def test_levels_rise_with_the_size_and_keep_the_sign() -> None:
    assert levels(np.array([0.0, 0.5, 1.0, -1.0, 7.0, np.nan]), scale=1.0).tolist() == [0, 4, 9, -9, 9, 0]


def test_each_character_is_an_element_and_blanks_keep_their_effect() -> None:
    html = passage(["a", " ", "\n", "\t", None], [0, 3, -9, 0, 0], label="it")
    assert '<span>a</span><span class="l3"> </span><span class="cold l9"><i>↵</i>\n</span>' in html
    assert "<span><i>→</i>\t</span><span><i>□</i></span>" in html


def test_a_character_is_coloured_by_its_nats() -> None:
    found = report().get("surprise")
    text = reader(found, CHARACTERS, run=0).split('role="group"')[1].split("</p>")[0]
    levels = [int(level or 0) for level in re.findall(r'<span(?: class="l(\d)")?>', text)]
    assert levels == [min(9, int(nats / 0.75)) for nats in found.nats]


def test_the_data_of_the_reader_are_the_numbers_of_the_report() -> None:
    found = report().get("surprise")
    data = reader_data(found)
    characters = to_json(report())["surprise"]
    assert data["nats"] == [each["nats"] for each in characters]
    assert data["probabilities"] == [[guess["probability"] for guess in each["likeliest"]] for each in characters]
    assert [[CHARACTERS[index] for index in row] for row in data["likeliest"]] == [
        [guess["character"] for guess in each["likeliest"]] for each in characters
    ]
    assert [data["positions"][0], data["positions"][-1]] == [1, len(found.nats)]
    assert [int(level) for level in data["influence"][2]] == np.rint(9 * found.influence[2]).tolist()


def test_a_unit_is_coloured_by_the_distance_from_its_median() -> None:
    units = report().get("units")
    layer = units_data(units)["layers"][0]
    for unit, (centre, scale) in enumerate(layer["scales"]):
        values = units.layers[0].values[:, unit]
        assert centre == np.median(values)
        assert scale == np.abs(values - centre).max()
