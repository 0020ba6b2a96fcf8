"""README.md: short, and true about the commands and the recipes."""

from pages import code_blocks, text_of

README = text_of("README.md")


def test_the_readme_is_short_and_has_a_command_that_runs_charlm_and_one_that_tests_it() -> None:
    assert len(README.splitlines()) <= 130
    for marker in ("run", "test"):
        _, found, rest = README.partition(f"\n<!-- {marker} -->\n")
        assert found
        assert rest.startswith("```sh\npython3 -m venv .venv && ")
        assert len(code_blocks(rest, "sh")[0].splitlines()) == 1
