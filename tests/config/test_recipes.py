"""The recipes that come with charlm, and how one is found."""

from pathlib import Path

import pytest

from charlm.config.file import load_config
from charlm.config.recipes import DEFAULT_CORPUS, RecipeAdvice, find_recipe, smaller_recipe, suited_recipe
from charlm.errors import CharlmError


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
