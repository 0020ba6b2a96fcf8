"""Every setting: its range, its default, what is refused, and its place in the JSON Schema."""

import json
import re
from typing import Any

import pytest

from charlm.config.file import flatten, load_config, parse_config
from charlm.config.recipes import SCHEMA, find_recipe, recipe_names, section_name
from charlm.config.schema import (
    ACTIVATIONS,
    DECIDED_BY_THE_TASK,
    Config,
    TrainingConfig,
    json_schema,
)
from charlm.config.yaml import parse_yaml
from charlm.errors import CharlmError
from charlm.network.rnn import ACTIVATIONS as NUMPY_ACTIVATIONS


def parse(text: str) -> Config:
    return parse_config(parse_yaml(text, origin="test"), origin="test")


@pytest.mark.parametrize(
    ("text", "key", "found", "demand"),
    [
        ("seed: -1", "seed", "-1 (a whole number)", "must be 0 or more"),
        ("seed: 2147483648", "seed", "2147483648", "must be less than 2,147,483,648"),
        ("corpus: {encoding: no}", "corpus.encoding", "false", "must be text"),
        ("corpus: 3", "corpus", "3 (a whole number)", "must be a section, that is a mapping of keys to values"),
        ("model: {units: 65537}", "model.units", "65537", "must be 65,536 or less"),
        ("model: {input_initializer: 3}", "model.input_initializer", "3 (a", "must be text or a mapping of keys"),
        ("model: {rnn: {activation: softmax}}", "model.rnn.activation", "'softmax'", "must be 'tanh'"),
        ("training: {epochs: 1, clip_norm: 0}", "training.clip_norm", "0", "must be 1e-30 or more"),
        ("training: {loss_temperature: 1e-40}", "training.loss_temperature", "1e-40", "must be 1e-30 or more"),
        ("training: {steps: 9007199254740993}", "training.steps", "9007199254740993", "must be 1,000,000,000 or less"),
        ("training: {epochs: 1, precision: float16}", "training.precision", "'float16'", "'bfloat16'"),
    ],
)  # fmt: skip
def test_a_wrong_value_is_refused_with_its_key_what_was_found_and_what_it_must_be(
    text: str, key: str, found: str, demand: str
) -> None:
    with pytest.raises(CharlmError) as error:
        parse(text)
    message = str(error.value)
    assert message.startswith(f"test: {key}: found {found}")
    assert demand in message
    assert "\n" not in message


@pytest.mark.parametrize("key", DECIDED_BY_THE_TASK)
def test_an_argument_that_the_task_decides_is_refused_with_the_reason(key: str) -> None:
    with pytest.raises(CharlmError) as error:
        parse(f"model: {{rnn: {{{key}: true}}}}")
    assert f"model.rnn.{key}: unknown key here: {DECIDED_BY_THE_TASK[key]}" in str(error.value)


@pytest.mark.parametrize("value", ["{class_name: L2}", "{class_name: L2, config: {l2: 0.1}}", "l2", "null"])
def test_a_keras_object_is_given_by_its_name_or_by_a_mapping(value: str) -> None:
    assert parse(f"model: {{rnn: {{kernel_regularizer: {value}}}}}").model.rnn.kernel_regularizer == parse_yaml(
        value, origin="test"
    )


@pytest.mark.parametrize(
    "value", ["{module: os, class_name: system}", "{class_name: 3}", "{}", "{class_name: L2, registered_name: x>L2}"]
)
def test_a_keras_object_with_other_keys_than_its_name_and_config_is_refused(value: str) -> None:
    with pytest.raises(CharlmError, match=r"kernel_regularizer: a mapping must have class_name and may have config"):
        parse(f"model: {{rnn: {{kernel_regularizer: {value}}}}}")


def test_a_network_too_large_for_any_memory_is_refused() -> None:
    assert parse("model: {units: 65536}").model.units == 65536
    with pytest.raises(CharlmError, match=r"model: 2 layers of 65536 units; .* must be at most 4,294,967,296"):
        parse("model: {units: 65536, layers: 2}")


def test_fractions_that_leave_no_training_text_are_refused() -> None:
    with pytest.raises(CharlmError, match=r"corpus: validation_fraction \+ test_fraction must be less than 1"):
        parse("corpus: {validation_fraction: 0.5, test_fraction: 0.5}")


def test_the_weights_of_the_soft_targets_leave_something_to_the_text() -> None:
    assert parse("training: {ngram_weight: 0.9}").training.soft_weight == 0.9  # teacher_weight counts with teachers
    assert parse("training: {ngram_weight: 0.5, teachers: [a]}").training.soft_weight == 1
    with pytest.raises(CharlmError, match=r"training: teacher_weight \+ ngram_weight: found 1.1; must be at most 1"):
        parse("training: {ngram_weight: 0.6, teachers: [a]}")


def test_numpy_has_every_activation_that_a_config_can_name() -> None:
    assert {*ACTIVATIONS} == {*NUMPY_ACTIVATIONS}


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ("{corpus: {level: byte}}", r"teacher_settings.corpus: must be in the section model or training"),
        ("{model: {unit: 4}}", r"training.teacher_settings.model.unit: there is no such key here"),
        ("{model: {units: many}}", r"training.teacher_settings.model.units: must be a whole number"),
        ("{model: 3}", r"training.teacher_settings.model: must be a section"),
        ("{training: {teachers: [a]}}", r"training.teacher_settings.training.teachers: a teacher begins anew and has"),
        ("{training: null}", r"training.teacher_settings.training: must be a section"),
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
    is_current = SCHEMA.read_text(encoding="utf-8") == json.dumps(json_schema(), indent=2) + "\n"
    assert is_current, "regenerate it: charlm config schema > configs/schema.json"


def test_every_setting_is_described_in_the_schema_and_nothing_else() -> None:
    schema, found = json_schema(), dict[str, str]()

    def collect(before: str, section: dict[str, Any]) -> None:
        for name, setting in section["properties"].items():
            if inner := section_name(setting):
                collect(f"{before}{name}.", schema["$defs"][inner])
            else:
                found[f"{before}{name}"] = setting["description"]

    collect("", schema)
    assert {*found} == {*flatten(Config(training=TrainingConfig(epochs=1)))}
    assert flatten(TrainingConfig(epochs=1, teacher_seeds=(1, 2)))["teacher_seeds"] == [1, 2]  # as JSON has it
    assert all(meaning.endswith((".", "?")) for meaning in found.values())


@pytest.mark.parametrize("name", recipe_names())
def test_a_recipe_names_the_schema_in_its_first_line(name: str) -> None:
    first = find_recipe(name).read_text(encoding="utf-8").partition("\n")[0]
    found = re.fullmatch(r"# yaml-language-server: \$schema=(\S+)", first)
    assert found is not None
    assert find_recipe(name).parent / found[1] == SCHEMA
