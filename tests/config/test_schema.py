"""Every setting, its place in the JSON Schema, and the recipes that come with charlm."""

import re
from pathlib import Path

import pytest
from commands import charlm

from charlm.config.file import dotted, flatten, load_config, read_config
from charlm.config.recipes import CONFIGS, find_recipe, recipe_names
from charlm.config.schema import ACTIVATIONS, Config, SamplingConfig
from charlm.core.rnn import ACTIVATIONS as NUMPY_ACTIVATIONS
from charlm.errors import CharlmError


def test_numpy_has_every_activation() -> None:
    assert {*ACTIVATIONS} == {*NUMPY_ACTIVATIONS}


def test_a_temperature_is_chosen_unless_it_is_set() -> None:
    assert SamplingConfig(length=1).chooses_temperature
    assert not SamplingConfig(length=0).chooses_temperature
    assert not SamplingConfig(temperature=0).chooses_temperature


# The JSON Schema


def test_the_schema_that_ships_is_up_to_date() -> None:
    is_current = (CONFIGS / "schema.json").read_text(encoding="utf-8") == charlm(
        "config", "schema"
    ).stdout
    assert is_current, "regenerate it: PYTHONPATH=tests python -m docs.settings"


@pytest.mark.parametrize("name", recipe_names())
def test_a_recipe_names_its_schema(name: str) -> None:
    load_config(find_recipe(name))
    first = find_recipe(name).read_text(encoding="utf-8").partition("\n")[0]
    found = re.fullmatch(r"# yaml-language-server: \$schema=(\S+)", first)
    assert found is not None
    assert find_recipe(name).parent / found[1] == CONFIGS / "schema.json"


@pytest.mark.parametrize("name", recipe_names())
def test_a_recipe_names_only_what_differs_from_the_defaults(name: str) -> None:
    named = dotted(read_config(find_recipe(name)))
    defaults = flatten(Config())
    assert [key for key, value in named if defaults.get(key, {}) == value] == []


def test_a_recipe_is_found_by_name_or_path() -> None:
    Path("default").write_text("model: {units: 3}\n", encoding="utf-8")
    assert load_config(find_recipe("default")).model.units != 3
    assert load_config(find_recipe("./default")).model.units == 3
    with pytest.raises(
        CharlmError, match=r"^tinny: no such recipe or YAML file; did you mean tiny\?"
    ):
        find_recipe("tinny")
    Path("text.txt").touch()
    with pytest.raises(CharlmError, match=r"^text\.txt: not a recipe, .* a text needs no -c$"):
        find_recipe("text.txt")
