"""Every setting as a JSON Schema that accepts what charlm accepts, by dotted keys, and on the page of settings."""

import json
import re
from collections.abc import Callable, Mapping
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from charlm.config.file import flatten, parse_config
from charlm.config.recipes import SCHEMA, find_recipe, recipe_names
from charlm.config.reference import DIALECT, json_schema, known_values, read_settings, settings_page
from charlm.config.schema import ACTIVATIONS, Config, EarlyStoppingConfig, TrainingConfig
from charlm.config.yaml import parse_yaml
from charlm.errors import CharlmError

TYPES: dict[str, tuple[type, ...]] = {
    "string": (str,),
    "integer": (int,),
    "number": (int, float),
    "boolean": (bool,),
    "null": (type(None),),
    "object": (dict,),
    "array": (list,),
}
SCHEMA_OF_A_RECIPE = json_schema()


def accepts(schema: Mapping[str, Any], value: Any) -> bool:
    """Return whether a value is valid by the words of JSON Schema that occur here."""
    if "$ref" in schema:
        return accepts(SCHEMA_OF_A_RECIPE["$defs"][schema["$ref"].rpartition("/")[2]], value)
    if "anyOf" in schema:
        return any(accepts(choice, value) for choice in schema["anyOf"])
    kinds = TYPES[schema["type"]] if "type" in schema else (object,)
    if not isinstance(value, kinds) or (isinstance(value, bool) and bool not in kinds and object not in kinds):
        return False
    if isinstance(value, dict):
        properties, further = schema.get("properties", {}), schema.get("additionalProperties", True)
        return set(schema.get("required", ())) <= value.keys() and all(
            accepts(properties[key], inner) if key in properties else further for key, inner in value.items()
        )
    if isinstance(value, list):
        return all(accepts(schema["items"], inner) for inner in value)
    limits: dict[str, Callable[[Any], bool]] = {
        "minimum": lambda limit: value >= limit,
        "maximum": lambda limit: value <= limit,
        "exclusiveMinimum": lambda limit: value > limit,
        "exclusiveMaximum": lambda limit: value < limit,
    }
    return value in schema.get("enum", [value]) and all(
        is_within(schema[name]) for name, is_within in limits.items() if name in schema
    )


def nested(key: str, value: Any) -> dict[str, Any]:
    """Return the sections with one setting."""
    for part in reversed(key.split(".")):
        value = {part: value}
    result: dict[str, Any] = value
    return result


def test_the_schema_that_ships_is_up_to_date() -> None:
    is_current = SCHEMA.read_text(encoding="utf-8") == json.dumps(SCHEMA_OF_A_RECIPE, indent=2) + "\n"
    assert is_current, "regenerate it: charlm config schema > configs/schema.json"


def test_the_schema_names_its_dialect_and_describes_every_setting() -> None:
    assert SCHEMA_OF_A_RECIPE["$schema"] == DIALECT
    for section in (SCHEMA_OF_A_RECIPE, *SCHEMA_OF_A_RECIPE["$defs"].values()):
        for name, setting in section["properties"].items():
            assert setting["description"].endswith((".", "?")), name
            assert "default" in setting


@pytest.mark.parametrize("name", recipe_names())
def test_a_recipe_is_valid_and_names_the_schema_in_its_first_line(name: str) -> None:
    text = find_recipe(name).read_text(encoding="utf-8")
    assert accepts(SCHEMA_OF_A_RECIPE, parse_yaml(text, origin=name))
    found = re.fullmatch(r"# yaml-language-server: \$schema=(\S+)", text.partition("\n")[0])
    assert found is not None
    assert find_recipe(name).parent / found[1] == SCHEMA


values = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-2, 3),
    st.sampled_from([64, 65, 1024, 1025, 65536, 65537, 10**5, 10**5 + 1, 10**6, 2**31 - 1, 2**31]),
    st.floats(-1, 2),
    st.sampled_from(["tanh", "cosine", "float32", "char", "NFC", ""]),
    st.lists(st.sampled_from(["bias", 3]), max_size=2),
    st.dictionaries(st.sampled_from(["class_name", "config", "other"]), st.sampled_from(["L2", 1]), max_size=2),
)


@settings(derandomize=True, deadline=None, max_examples=400)
@given(st.sampled_from([*flatten(Config()), "training.steps", "model.rnn.units", "sed"]), values)
def test_the_schema_accepts_a_value_exactly_if_charlm_does(key: str, value: Any) -> None:
    config = nested(key, value)
    if key.startswith("training.") and key not in {"training.epochs", "training.steps"}:
        config["training"]["epochs"] = 1
    try:
        parse_config(config, origin="test")
        message = None
    except CharlmError as error:
        message = str(error)
    goes_together = message is None or "found" in message or "key" in message or "mapping" in message
    assert accepts(SCHEMA_OF_A_RECIPE, config) == (message is None or not goes_together), message


SETTINGS = read_settings()


def test_every_setting_is_known_and_nothing_else() -> None:
    config = Config(training=TrainingConfig(epochs=1, early_stopping=EarlyStoppingConfig()))
    assert {*SETTINGS} == {*flatten(config)}


@pytest.mark.parametrize(
    ("key", "words"),
    [
        ("model.rnn.activation", list(ACTIVATIONS)),
        ("training.shuffle", ["true", "false"]),
        ("model.embedding", ["null"]),
        ("model.units", []),
    ],
)
def test_the_words_that_a_setting_can_have_are_known(key: str, words: list[str]) -> None:
    assert known_values(SETTINGS[key]) == words


@pytest.mark.parametrize(
    ("key", "cells"),
    [
        ("seed", "whole number, 0 or more, below 2,147,483,648 | `1` |"),
        ("normalize", "`none`, `NFC` or `NFKC` | `none` |"),
        ("embedding", "whole number, 1 to 65,536, or null | `null` |"),
        ("input_initializer", "text, mapping or null | `null` |"),
        ("teachers", "list of texts | `[]` |"),
        ("final_fraction", "number, above 0, at most 1 | `0.01` |"),
        ("model", "section | `{}` |"),
        ("training", "section | `{epochs: 10}` |"),
        ("early_stopping", "section or null | `{min_weights_per_character: 10.0}` |"),
    ],
)
def test_the_page_has_the_values_and_the_default_of_a_setting(key: str, cells: str) -> None:
    (row,) = [line for line in settings_page().splitlines() if line.startswith(f"| `{key}` ")]
    assert row.startswith(f"| `{key}` | {cells} ")
