"""Every setting: its range, its default, what is refused, and its place in the JSON Schema."""

import json
import re

import pytest

from charlm.config.file import flatten, load_config, parse_config
from charlm.config.recipes import SCHEMA, find_recipe, recipe_names
from charlm.config.schema import ACTIVATIONS, Config, TrainingConfig
from charlm.config.validation import section_of, walk
from charlm.config.yaml import parse_yaml
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
    assert parse("training: {ngram_weight: 0.5, teachers: [a]}").training.soft_weight == 1


def test_numpy_has_every_activation_that_a_config_can_name() -> None:
    assert {*ACTIVATIONS} == {*NUMPY_ACTIVATIONS}


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ("{corpus: {level: byte}}", r"teacher_settings.corpus: must be in the section model or training"),
        ("{model: {unit: 4}}", r"training.teacher_settings.model.unit: found 4; .* did you mean model.units"),
        ("{model: {units: many}}", r"training.teacher_settings.model.units: found 'many'"),
        ("{model: 3}", r"training.teacher_settings.model: found 3"),
        ("{training: {teachers: [a]}}", r"training.teacher_settings.training.teachers: a teacher begins anew and has"),
        ("{training: null}", r"training.teacher_settings.training: found null"),
    ],
)
def test_settings_of_teachers_that_are_no_settings_are_refused(settings: str, message: str) -> None:
    with pytest.raises(CharlmError, match=message):
        load_config(find_recipe("tiny"), overrides=[f"training.teacher_settings={settings}"])


def test_a_teacher_has_the_settings_of_the_recipe_except_its_own() -> None:
    student = load_config(
        find_recipe("tiny"),
        overrides=[
            "training.teacher_seeds=[7]",
            "training.teachers=[other]",
            "training.optimizer={name: adamw, weight_decay: 0.1}",
            "training.teacher_settings={training: {optimizer: {weight_decay: 0.2}}}",
        ],
    )
    teacher = student.of_teacher(7)
    optimizer = teacher.training.optimizer
    assert (teacher.seed, teacher.model) == (7, student.model)
    assert (optimizer.name, optimizer.arguments) == ("adamw", {"weight_decay": 0.2})
    assert (teacher.training.has_teachers, teacher.training.teacher_settings) == (False, {})


# The JSON Schema


def test_the_schema_that_ships_is_up_to_date() -> None:
    is_current = SCHEMA.read_text(encoding="utf-8") == json.dumps(Config.model_json_schema(), indent=2) + "\n"
    assert is_current, "regenerate it: charlm config schema > configs/schema.json"


def test_every_setting_is_described_and_has_a_value_in_a_config() -> None:
    values = {key: field.description for key, field in walk(Config) if not section_of(field)}
    assert values.keys() == flatten(Config()).keys()
    assert all(meaning and meaning.endswith(".") for meaning in values.values())
    assert flatten(TrainingConfig(epochs=1, teacher_seeds=(1, 2)))["teacher_seeds"] == [1, 2]  # as JSON has it


@pytest.mark.parametrize("name", recipe_names())
def test_a_recipe_names_the_schema_in_its_first_line(name: str) -> None:
    first = find_recipe(name).read_text(encoding="utf-8").partition("\n")[0]
    found = re.fullmatch(r"# yaml-language-server: \$schema=(\S+)", first)
    assert found is not None
    assert find_recipe(name).parent / found[1] == SCHEMA
