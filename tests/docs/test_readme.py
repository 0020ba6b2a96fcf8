"""README.md: short, and true about the commands and the recipes."""

from pages import code_blocks, recipe_table, text_of

from charlm.config.recipes import recipe_names

README = text_of("README.md")


def test_the_readme_is_short() -> None:
    assert len(README.splitlines()) <= 130


def test_the_readme_has_a_command_that_runs_charlm_and_one_that_tests_it() -> None:
    for marker in ("run", "test"):
        _, found, rest = README.partition(f"\n<!-- {marker} -->\n")
        assert found
        assert rest.startswith("```sh\npython3 -m venv .venv && ")
        assert len(code_blocks(rest, "sh")[0].splitlines()) == 1


def test_the_readme_lists_every_recipe() -> None:
    assert sorted(recipe_table(README)) == recipe_names()
