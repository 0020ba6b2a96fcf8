"""`charlm config`: recipes listed and shown."""

from commands import charlm

from charlm.config.file import load_config
from charlm.config.recipes import describe_recipe, find_recipe, recipe_names
from charlm.config.yaml import parse_yaml


def test_every_recipe_is_listed_with_what_it_is_for() -> None:
    shown = " ".join(charlm("config", "list").stdout.split())
    assert all(f"{name} {describe_recipe(name)}" in shown for name in recipe_names())
    assert shown.count(" For ") == len(recipe_names())


def test_a_recipe_is_shown_with_every_value() -> None:
    config = load_config(find_recipe("tiny"), overrides=["model.units=3"]).model_dump(mode="json")
    assert parse_yaml(charlm("config", "show", "tiny", "-s", "model.units=3").stdout, origin="test") == config
