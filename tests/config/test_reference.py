"""The page of settings: every key of the config, with its values, its default and its meaning."""

import re

import pytest

from charlm.config.file import flatten
from charlm.config.reference import settings_page
from charlm.config.schema import Config, EarlyStoppingConfig, TrainingConfig
from charlm.config.yaml import parse_yaml

Rows = dict[str, tuple[str, str, str]]


@pytest.fixture(scope="module")
def rows() -> Rows:
    """Return values, default and meaning of each setting and section on the page, by dotted key."""
    found: Rows = {}
    for block in settings_page().split("\n## ")[1:]:
        heading, *lines = block.splitlines()
        prefix = "" if heading == "Top level" else f"{heading}."
        for line in lines:
            if line.startswith("| `"):
                key, *cells = (cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1])
                values, default, meaning = cells
                found[prefix + key.strip("`")] = (values, default.strip("`"), meaning)
    return found


def is_section(values: str) -> bool:
    return values.startswith("section")


def test_every_setting_is_on_the_page_and_nothing_else(rows: Rows) -> None:
    config = Config(training=TrainingConfig(epochs=1, early_stopping=EarlyStoppingConfig()))
    assert {key for key, cells in rows.items() if not is_section(cells[0])} == {*flatten(config)}


def test_the_defaults_on_the_page_are_those_of_the_config(rows: Rows) -> None:
    config = Config(training=TrainingConfig(steps=1, early_stopping=EarlyStoppingConfig()))
    defaults = {key: cells[1] for key, cells in rows.items() if not is_section(cells[0])}
    assert defaults.pop("training.steps") == "null"
    assert {key: parse_yaml(text, origin=key) for key, text in defaults.items()} == {
        key: value for key, value in flatten(config).items() if key != "training.steps"
    }


def test_every_setting_has_a_meaning(rows: Rows) -> None:
    assert [key for key, cells in rows.items() if not cells[2]] == []


@pytest.mark.parametrize(
    ("key", "values"),
    [
        ("seed", "whole number, 0 or more, below 2,147,483,648"),
        ("corpus.encoding", "text"),
        ("corpus.level", "`char` or `byte`"),
        ("corpus.normalize", "`none`, `NFC` or `NFKC`"),
        ("corpus.test_fraction", "number, 0 or more, below 1"),
        ("model.layers", "whole number, 1 to 64"),
        ("model.embedding", "whole number, 1 to 65,536, or null"),
        ("model.input_initializer", "text, mapping or null"),
        ("model.rnn", "section"),
        ("training.shuffle", "true or false"),
        ("training.teachers", "list of texts"),
        ("training.early_stopping", "section or null"),
        ("training.schedule.final_fraction", "number, above 0, at most 1"),
        ("training.divergence.rate_factor", "number, above 0, below 1"),
    ],
)
def test_the_values_of_a_setting_are_described(rows: Rows, key: str, values: str) -> None:
    assert rows[key][0] == values


def test_the_default_of_a_section_shows_what_differs_from_its_own_defaults(rows: Rows) -> None:
    assert rows["training"][1] == "{epochs: 10}"
    assert rows["model"][1] == "{}"
    assert rows["training.early_stopping"][1] == "{min_weights_per_character: 10.0}"


def test_a_section_is_linked_to_its_heading(rows: Rows) -> None:
    page = settings_page()
    for key in (key for key, cells in rows.items() if is_section(cells[0])):
        assert f"\n## {key}\n" in page
        assert rows[key][2].endswith(f"See [{key}](#{key.replace('.', '')}).")
