"""Texts coloured by a number, and the data that their script reads."""

import re
from dataclasses import replace

import numpy as np
from inspection.reports import CHARACTERS, report, some

from charlm.inspection.passages import browser, gallery, levels, passage, reader, reader_data, units_data
from charlm.inspection.plain import to_json


def test_levels_rise_with_the_size_and_keep_the_sign() -> None:
    assert levels(np.array([0.0, 0.5, 1.0, -1.0, 7.0, np.nan]), scale=1.0).tolist() == [0, 4, 9, -9, 9, 0]


def test_each_character_is_an_element_and_blanks_keep_their_effect() -> None:
    html = passage(["a", " ", "\n", "\t", None], [0, 3, -9, 0, 0], label="it")
    assert '<span>a</span><span class="l3"> </span><span class="cold l9"><i>↵</i>\n</span>' in html
    assert "<span><i>→</i>\t</span><span><i>□</i></span>" in html


def test_markup_and_controls_in_a_text_are_shown_as_text() -> None:
    html = passage(["<", "&", "\x1b", "\u202e"], [0, 0, 0, 0], label="<it>")
    assert "<span>&lt;</span><span>&amp;</span><span><i>\\x1b</i></span><span><i>\\u202e</i></span>" in html
    assert 'aria-label="&lt;it&gt;"' in html


def test_only_a_text_that_the_script_walks_is_a_stop_of_the_tab_key() -> None:
    assert "tabindex" in passage(["a"], [0], label="it")
    assert "tabindex" not in passage(["a"], [0], label="it", is_walked=False)


def test_a_character_is_coloured_by_its_nats() -> None:
    found = some(report().surprise)
    text = reader(found, CHARACTERS, run=0).split('role="group"')[1].split("</p>")[0]
    levels = [int(level or 0) for level in re.findall(r'<span(?: class="l(\d)")?>', text)]
    assert levels == [min(9, int(nats / 0.75)) for nats in found.nats]


def test_the_data_of_the_reader_are_the_numbers_of_the_report() -> None:
    found = some(report().surprise)
    data = reader_data(found)
    characters = to_json(report())["surprise"]
    assert data["nats"] == [each["nats"] for each in characters]
    assert data["probabilities"] == [[guess["probability"] for guess in each["likeliest"]] for each in characters]
    assert [[CHARACTERS[index] for index in row] for row in data["likeliest"]] == [
        [guess["character"] for guess in each["likeliest"]] for each in characters
    ]
    assert [data["positions"][0], data["positions"][-1]] == [1, len(found.nats)]
    assert data["influence"][2] == "94200000"  # 1, 1/2 and 1/4 of what decided most, then the beginning of the text


def test_a_number_that_json_lacks_is_null() -> None:
    found = some(report().surprise)
    found.nats[1] = np.nan
    assert reader_data(found)["nats"][1] is None


def test_the_gallery_shows_the_interpretable_units_on_the_text() -> None:
    units = some(report().units)
    html = gallery(units, CHARACTERS)
    assert "rnn.0, unit 0: vowel next, 0.93 (given the character 0.7)" in html
    assert html.count("<span") == len(units.excerpt)


def test_a_unit_is_coloured_by_the_distance_from_its_median() -> None:
    units = some(report().units)
    layer = units_data(units)["layers"][0]
    for unit, (centre, scale) in enumerate(layer["scales"]):
        values = units.layers[0].values[:, unit]
        assert centre == np.median(values)
        assert scale == np.abs(values - centre).max()


def test_without_an_interpretable_unit_the_gallery_says_so() -> None:
    assert "No unit follows a feature" in gallery(replace(some(report().units), interpretable=()), CHARACTERS)


def test_without_an_interpretable_unit_the_browser_offers_no_list_of_them() -> None:
    units = some(report().units)
    assert "<label hidden>" not in browser(units, CHARACTERS, run=0)
    assert "<label hidden>" in browser(replace(units, interpretable=()), CHARACTERS, run=0)


def test_the_browser_offers_every_layer_and_its_data_every_output() -> None:
    units = some(report(layers=3).units)
    html = browser(units, CHARACTERS, run=1)
    assert 'data-run="1"' in html
    assert [f'<option value="{layer}">rnn.{layer}' in html for layer in range(3)] == [True] * 3
    data = units_data(units)
    assert [layer["values"] for layer in data["layers"]] == [
        layer["values"] for layer in to_json(report(layers=3))["units"]["layers"]
    ]
