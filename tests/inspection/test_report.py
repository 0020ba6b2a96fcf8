"""The contents of a report: its JSON, its tables, and the words around its figures."""

import json
from typing import Any

import numpy as np
import pytest
from inspection.reports import CHARACTERS, numbers_in, report

from charlm.inspection.figures import clipping_note
from charlm.inspection.html import number, to_plain
from charlm.inspection.section import Chart, Content, Sample
from charlm.text.markup import visible

# JSON


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        pytest.param(
            np.array([1.0, np.nan, np.inf, -np.inf]), [1.0, None, None, None], id="not finite"
        ),
        pytest.param(np.float32(0.1), 0.1, id="float32"),
        pytest.param(
            np.array([1 + 2j, complex(np.nan, 0)]), [[1.0, 2.0], [None, 0.0]], id="complex"
        ),
        pytest.param(np.int64(3), 3, id="int64"),
        pytest.param(True, True, id="truth value"),
        pytest.param(
            (1, "a", None, {2: np.zeros((1, 2))}), [1, "a", None, {"2": [[0.0, 0.0]]}], id="nested"
        ),
        pytest.param(123456789.123, 123456800.0, id="seven digits"),
    ],
)
def test_a_value_is_converted_for_json(value: Any, expected: Any) -> None:
    assert json.dumps(to_plain(value), allow_nan=False) == json.dumps(expected)


def test_the_json_begins_with_the_name_of_the_run() -> None:
    keys = ["name", "text_name", "characters", "activation", "notes", "network", "surprise"]
    assert list(report().data)[:7] == keys
    assert report().data["text_name"] == "the validation text"


def test_each_layer_has_a_gradient_by_lag() -> None:
    curves = report(layers=3).data["gradient_by_lag"]
    assert [curve["layer"] for curve in curves] == [0, 1, 2]
    assert curves[0]["median"][0] == 1


def test_each_layer_has_a_spectral_radius() -> None:
    data = report(layers=3).data
    expected = [layer["spectral_radius"] for layer in data["spectrum"]]
    assert len(expected) == 3
    assert data["spectral_radius"] == pytest.approx(expected)


@pytest.mark.parametrize(
    ("key", "expected"), [("surprise", None), ("gradient_by_lag", None), ("spectral_radius", [])]
)
def test_a_section_that_is_not_made_is_empty_in_the_json(key: str, expected: Any) -> None:
    assert report(only=()).data[key] == expected


# Tables


def numbers_of_table(content: Content) -> set[str]:
    """Return the finite numbers in the table of a section."""
    if content.table is None:
        return set()
    texts = set()
    for row in content.table.rows:
        for value in row:
            parts = value if isinstance(value, tuple) else (value,)
            for part in parts:
                if isinstance(part, int | float) and np.isfinite(part):
                    texts.add(number(part))
    return texts


def test_every_number_in_a_table_is_in_the_json() -> None:
    whole = report()
    tables = [numbers_of_table(content) for content in whole.contents.values()]
    shown = set[str]().union(*tables)
    assert len(shown) > 50
    assert shown <= {number(value) for value in numbers_in(whole.data)}


# The basis of each section

BASES = {
    "surprise": "the predictions of 239 characters (2 to 240)",
    "loss_by_class": "the predictions of 239 characters (2 to 240)",
    "usable_context": "the predictions of 199 characters (2 to 200)",
    "gradient_by_lag": "the losses of 20 evenly spaced characters (121 to 240)",
    "impulse_response": "replacements of 121 characters (1 to 121)",
    "lyapunov": "the steps that read 180 characters (61 to 240)",
    "units": "the outputs of 10 units after each of 240 characters (1 to 240)",
}
"""The basis of each section for 240 characters and the limits 300, 200 and 20.

The gradient is followed back for 119 characters, half of the text. As many characters follow a
replacement. The exponents warm up for a quarter of the text.
"""


@pytest.mark.parametrize("section", BASES)
def test_a_section_has_a_basis(section: str) -> None:
    assert f"ased on {BASES[section]}" in report().contents[section].basis


@pytest.mark.parametrize(
    "part",
    [
        "the states after 240 characters (1 to 240).",
        "the most common of 240 characters (1 to 240).",
        "up to 12,800 times, "
        "starting from the state at each of these positions of the text: 120, 180, 240.",
    ],
    ids=["states", "characters", "starts"],
)
def test_fixed_points_have_a_basis(part: str) -> None:
    assert part in report().contents["fixed_points"].basis


@pytest.mark.parametrize(
    ("sample", "text"),
    [
        pytest.param(Sample.of(range(4, 9)), "5 characters (5 to 9)", id="every character"),
        pytest.param(
            Sample.of(np.array([0, 1000, 2000])),
            "3 evenly spaced characters (1 to 2,001)",
            id="spaced",
        ),
        pytest.param(Sample.of(range(1)), "1 character (1)", id="a single character"),
    ],
)
def test_characters_are_counted_from_1(sample: Sample, text: str) -> None:
    assert str(sample) == text


# Captions and legends


def test_the_caption_of_the_fixed_points_has_the_variance_that_is_not_shown() -> None:
    content = report().contents["fixed_points"]
    share = sum(content.data.shares)
    text = f"holds {share:.0%} of the variance of these states; {1 - share:.0%} is not shown."
    assert content.figure is not None
    assert text in content.figure.caption


def test_the_legend_of_the_fixed_points_has_the_characters() -> None:
    legend = report().figures["fixed_points"].legends[0]
    held = [held for held in report().get("fixed_points").held if held.points]
    repeated = [f"repeated: {visible(CHARACTERS[held.id])}" for held in held]
    assert repeated
    labels = [text.get_text() for text in legend.get_texts()]
    assert labels == ["state on the text", *repeated]


@pytest.mark.parametrize("section", ["usable_context", "gradient_by_lag", "impulse_response"])
def test_values_that_are_not_drawn_are_noted_in_the_details(section: str) -> None:
    chart = report().contents[section].figure
    assert isinstance(chart, Chart)
    assert ("are not drawn" in chart.details) == bool(clipping_note(chart.panels))
