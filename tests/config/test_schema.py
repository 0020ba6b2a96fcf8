"""Every setting, its place in the JSON Schema, and the recipes that come with charlm."""

import re
from pathlib import Path

import pytest
from commands import charlm

from charlm.config.file import flatten, load_config, section_of, walk
from charlm.config.recipes import (
    CONFIGS,
    DEFAULT_CORPUS,
    RecipeAdvice,
    find_recipe,
    recipe_names,
    smaller_recipe,
    suited_recipe,
)
from charlm.config.schema import ACTIVATIONS, Config, SamplingConfig, Teachers, TrainingConfig
from charlm.errors import CharlmError
from charlm.network.rnn import ACTIVATIONS as NUMPY_ACTIVATIONS


def test_the_weights_of_the_soft_targets_leave_something_to_the_text() -> None:
    assert TrainingConfig(ngram_weight=0.9).soft_weight == 0.9  # teacher_weight counts with teachers
    assert TrainingConfig(ngram_weight=0.5, teachers=Teachers(models=("a",))).soft_weight == 1
    assert {*ACTIVATIONS} == {*NUMPY_ACTIVATIONS}


def test_a_temperature_is_chosen_if_none_is_given_and_a_text_is_written() -> None:
    assert SamplingConfig(length=1).chooses_temperature
    assert not SamplingConfig(length=0).chooses_temperature
    assert not SamplingConfig(temperature=0).chooses_temperature


# The JSON Schema


def test_the_schema_that_ships_is_up_to_date() -> None:
    is_current = (CONFIGS / "schema.json").read_text(encoding="utf-8") == charlm("config", "schema").stdout
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


def test_the_name_of_a_recipe_is_not_a_file_of_the_current_folder_and_a_path_is() -> None:
    Path("default").write_text("model: {units: 3}\n", encoding="utf-8")
    assert load_config(find_recipe("default")).model.units != 3
    assert load_config(find_recipe("./default")).model.units == 3
    assert [find_recipe(name) for name in ("a/some.yaml", "some.yml")] == [Path("a/some.yaml"), Path("some.yml")]
    with pytest.raises(CharlmError, match=r"^tinny: no such recipe or YAML file; did you mean tiny\?"):
        find_recipe("tinny")


def test_every_size_of_text_has_a_recipe_and_those_that_recipes_were_measured_on_these() -> None:
    names = ["small", "default", "shakespeare", "5mb"]
    borders = [(0, 59_999), (60_000, 499_999), (500_000, 1_999_999), (2_000_000, 10**12)]
    for name, smaller, sizes in zip(names, [None, *names], borders, strict=False):
        assert [suited_recipe(size).recipe for size in sizes] == [name, name]
        assert smaller_recipe(name) == smaller
    assert smaller_recipe("tiny") is smaller_recipe(None) is None
    plays = len(DEFAULT_CORPUS.read_text(encoding="utf-8"))
    assert suited_recipe(9 * plays // 10).recipe == "default"
    assert suited_recipe(1_003_854).better == "shakespeare-15m"  # Tiny Shakespeare
    assert RecipeAdvice("tiny", "a reason", minutes=0.5).options == "-c tiny --minutes 0.5"
