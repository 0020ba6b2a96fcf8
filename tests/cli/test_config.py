"""`charlm config`: recipes listed, shown and checked."""

from pathlib import Path

from commands import charlm, messages

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


def test_every_mistake_of_a_file_is_a_line(tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").write_text("seed: x\nmodel: {unit: 3}\n", encoding="utf-8")
    command = charlm("config", "check", tmp_path / "mine.yaml")
    assert (command.exit_code, command.stdout) == (1, "")
    assert messages(command) == [
        f"charlm: {tmp_path}/mine.yaml: seed: found 'x' (text); must be a whole number",
        f"charlm: {tmp_path}/mine.yaml: model.unit: unknown key; did you mean model.units?",
    ]


def test_a_file_without_mistakes_is_told() -> None:
    command = charlm("config", "check", find_recipe("tiny"))
    assert (command.exit_code, command.stdout, command.stderr) == (0, f"{find_recipe('tiny')}: no mistakes\n", "")
