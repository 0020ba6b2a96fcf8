"""Every setting: its range, its default, what is refused, and its place in the JSON Schema."""

import json
import re
from typing import Any

import pytest

from charlm.config.file import flatten, load_config, parse_config, parse_yaml, section_of, walk
from charlm.config.recipes import CONFIGS, find_recipe, recipe_names
from charlm.config.schema import ACTIVATIONS, Config, Teachers, TrainingConfig
from charlm.errors import CharlmError
from charlm.network.rnn import ACTIVATIONS as NUMPY_ACTIVATIONS


def parse(text: str) -> Config:
    return parse_config(parse_yaml(text, origin="test"), origin="test")


@pytest.mark.parametrize("value", ["{class_name: L2}", "{class_name: L2, config: {l2: 0.1}}", "l2", "null"])
def test_a_keras_object_is_given_by_its_name_or_by_a_mapping(value: str) -> None:
    assert parse(f"model: {{rnn: {{kernel_regularizer: {value}}}}}").model.rnn.kernel_regularizer == parse_yaml(
        value, origin="test"
    )


def test_the_weights_of_the_soft_targets_leave_something_to_the_text() -> None:
    assert parse("training: {ngram_weight: 0.9}").training.soft_weight == 0.9  # teacher_weight counts with teachers
    assert parse("training: {ngram_weight: 0.5, teachers: {models: [a]}}").training.soft_weight == 1
    assert {*ACTIVATIONS} == {*NUMPY_ACTIVATIONS}


@pytest.mark.parametrize(
    ("value", "message"),
    [
        *(
            (value, r"training\.teachers: found .*; must be \{recipe: NAME, seeds: \[N, \.\.\.\]\} or \{models: \[FILE")
            for value in ("{}", "{recipe: tiny}", "{seeds: [1]}", "{models: [a], seeds: [1]}", "{recipe: a, seeds: []}")
        ),
        ("{recipe: tiny, seeds: [1, 1]}", r"training\.teachers: found .*; a seed occurs twice; each teacher needs its"),
        ("{recipe: tiny, seds: [1]}", r"training\.teachers\.seds: .*; did you mean training\.teachers\.seeds\?"),
    ],
)
def test_teachers_are_trained_by_a_recipe_or_named(value: str, message: str) -> None:
    with pytest.raises(CharlmError, match=message):
        parse(f"training: {{teachers: {value}}}")


def test_teachers_of_the_other_kind_replace_those_of_a_recipe() -> None:
    def teachers(override: str) -> dict[str, Any]:
        config = load_config(find_recipe("shakespeare-15m"), overrides=[f"training.teachers{override}"])
        assert config.training.teachers is not None
        return config.training.teachers.model_dump(exclude_defaults=True)

    assert teachers("={models: [a]}") == {"models": ("a",)}
    assert teachers(".seeds=[4]") == {"recipe": "shakespeare", "seeds": (4,)}


# The JSON Schema


def test_the_schema_that_ships_is_up_to_date() -> None:
    is_current = (CONFIGS / "schema.json").read_text(encoding="utf-8") == json.dumps(
        Config.model_json_schema(), indent=2
    ) + "\n"
    assert is_current, "regenerate it: charlm config schema > configs/schema.json"


def test_every_setting_is_described_and_has_a_value_in_a_config() -> None:
    values = {key: field.description for key, field in walk(Config) if not section_of(field)}
    taught = flatten(Config(training=TrainingConfig(teachers=Teachers(models=("a",)))))
    assert values.keys() == taught.keys()
    assert all(meaning and meaning.endswith(".") for meaning in values.values())
    assert taught["training.teachers.models"] == ["a"]  # as JSON has it
    assert flatten(Config())["training.teachers"] is None


@pytest.mark.parametrize("name", recipe_names())
def test_a_recipe_loads_and_names_the_schema_in_its_first_line(name: str) -> None:
    load_config(find_recipe(name))
    first = find_recipe(name).read_text(encoding="utf-8").partition("\n")[0]
    found = re.fullmatch(r"# yaml-language-server: \$schema=(\S+)", first)
    assert found is not None
    assert find_recipe(name).parent / found[1] == CONFIGS / "schema.json"
