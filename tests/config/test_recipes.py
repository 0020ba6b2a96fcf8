"""The recipes that come with charlm, and how one is found."""

from pathlib import Path

import pytest

from charlm.config.file import load_config
from charlm.config.recipes import DEFAULT_CORPUS, RecipeAdvice, find_recipe, recipe_names, suited_recipe
from charlm.errors import CharlmError


@pytest.mark.parametrize("name", recipe_names())
def test_a_recipe_loads(name: str) -> None:
    load_config(find_recipe(name))


def test_a_yaml_file_is_found_by_its_path_even_if_it_does_not_exist(tmp_path: Path) -> None:
    assert find_recipe(str(tmp_path / "some.yaml")) == tmp_path / "some.yaml"
    assert find_recipe(str(tmp_path / "some.yml")) == tmp_path / "some.yml"


def test_the_name_of_a_recipe_is_not_a_file_of_the_current_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "default").write_text("model: {units: 3}\n", encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    assert load_config(find_recipe("default")).model.units != 3
    assert load_config(find_recipe("./default")).model.units == 3


def test_an_unknown_recipe_is_refused_with_the_nearest() -> None:
    with pytest.raises(CharlmError, match=r"^tinny: no such recipe or YAML file; did you mean tiny\?"):
        find_recipe("tinny")


@pytest.mark.parametrize("characters", [0, 59_999, 60_000, 499_999, 500_000, 1_999_999, 2_000_000, 20_000_000, 10**12])
def test_every_size_of_text_has_a_recipe_that_exists(characters: int) -> None:
    assert suited_recipe(characters).recipe in recipe_names()


def test_the_texts_that_recipes_were_measured_on_are_given_these_recipes() -> None:
    plays = len(DEFAULT_CORPUS.read_text(encoding="utf-8"))
    assert suited_recipe(9 * plays // 10).recipe == "default"
    shakespeare = suited_recipe(1_003_854)  # Tiny Shakespeare
    assert (shakespeare.recipe, shakespeare.better) == ("shakespeare", "shakespeare-15m")


def test_an_advice_can_be_typed_as_options() -> None:
    advice = RecipeAdvice("tiny", "a reason", minutes=0.5)
    assert advice.options == "-c tiny --minutes 0.5"
