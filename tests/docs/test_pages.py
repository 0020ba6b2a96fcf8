"""The README and docs/: links lead somewhere, commands and settings exist, code runs."""

import os
import re
import subprocess
import sys
from pathlib import Path

import click
import pytest
from commands import all_commands, charlm
from models import as_model, random_parameters
from pages import PAGES, ROOT, anchors, code_blocks, parse_command, quoted_commands, recipe_table, text_of

from charlm.config.file import load_config, parse_config, parse_yaml
from charlm.config.recipes import DEFAULT_CORPUS, find_recipe, recipe_names
from charlm.network.model_file import TrainedModel, write_model
from charlm.text.vocabulary import Vocabulary
from charlm.tuning.space import load_space

every_page = pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)


@every_page
def test_relative_links_lead_to_files_and_headings(page: Path) -> None:
    links = re.findall(r"\]\((?!https?:)([^)#]*)(?:#([^)]*))?\)", page.read_text(encoding="utf-8"))
    for path, anchor in links:
        target = page.parent / path if path else page
        assert target.exists(), path
        assert not anchor or anchor in anchors(target.read_text(encoding="utf-8")), f"{path}#{anchor}"


@every_page
def test_quoted_commands_their_options_and_recipes_exist(page: Path) -> None:
    for arguments in quoted_commands(page.read_text(encoding="utf-8")):
        try:
            recipe = str(parse_command(arguments).get("recipe") or "default")
        except (click.UsageError, KeyError) as error:
            pytest.fail(f"charlm {' '.join(arguments)}: {error}")
        assert recipe.isupper() or find_recipe(recipe).suffix == ".yaml"


@every_page
def test_options_named_in_running_text_are_those_of_a_command(page: Path) -> None:
    named = set(re.findall(r"`(--[a-z-]+)", page.read_text(encoding="utf-8")))
    known = {option for command in all_commands().values() for parameter in command.params for option in parameter.opts}
    assert named - known <= {"--help"}


@every_page
def test_settings_given_by_option_exist(page: Path) -> None:
    overrides = re.findall(r"-s ([a-z_.]+=[^\s`'\")]+)", page.read_text(encoding="utf-8"))
    for override in overrides:
        load_config(find_recipe("default"), overrides=[override])


@every_page
def test_quoted_yaml_is_a_config_or_a_search_space(page: Path, tmp_path: Path) -> None:
    for block in code_blocks(page.read_text(encoding="utf-8"), "yaml"):
        values = parse_yaml(block, origin=page.name)
        if isinstance(values, dict) and "search" in values:
            (tmp_path / "space.yaml").write_text(block, encoding="utf-8")
            load_space(tmp_path / "space.yaml")
        elif isinstance(values, dict):  # a list is of another program
            parse_config(values, origin=page.name)


def test_the_page_of_recipes_lists_every_recipe() -> None:
    assert sorted(recipe_table(text_of("docs/recipes.md"))) == recipe_names()


@pytest.mark.parametrize("recipe", recipe_names())
def test_a_recipe_opens_with_its_command(recipe: str) -> None:
    head = find_recipe(recipe).read_text(encoding="utf-8").splitlines()[1]  # after the schema
    arguments = head.removeprefix("# charlm ").split()
    assert parse_command(arguments).get("recipe", "default") == recipe


@pytest.mark.parametrize("page", ["README.md", pytest.param("docs/library.md", marks=pytest.mark.slow)])
def test_quoted_library_code_runs(page: str) -> None:
    Path("mytext.txt").write_text(DEFAULT_CORPUS.read_text(encoding="utf-8")[:20_000], encoding="utf-8")
    blocks = code_blocks(text_of(page), "python")
    assert blocks
    for block in blocks:
        exec(block.replace('recipe="default"', 'recipe="tiny"'), {})


@pytest.mark.slow
def test_quoted_library_code_has_right_types() -> None:
    for number, block in enumerate(code_blocks(text_of("docs/library.md"), "python")):
        Path(f"block{number}.py").write_text(block, encoding="utf-8")
    paths = sorted(map(str, Path().glob("block*.py")))
    command = [sys.executable, "-m", "mypy", "--config-file", str(ROOT / "pyproject.toml"), *paths]
    checked = subprocess.run(
        command, capture_output=True, text=True, check=False, env=os.environ | {"MYPYPATH": str(ROOT)}
    )
    assert checked.returncode == 0, checked.stdout


@pytest.mark.parametrize("embedding", [None, 3])
@pytest.mark.parametrize("skip_connections", [False, True])
def test_the_program_that_reads_a_model_writes_what_charlm_writes(
    skip_connections: bool,
    embedding: int | None,
    capsys: pytest.CaptureFixture[str],
) -> None:
    characters = tuple("The quick\n")
    parameters = random_parameters(
        vocabulary_size=len(characters), layers=2, units=8, embedding=embedding, skip_connections=skip_connections
    )
    write_model(Path("best.safetensors"), as_model(parameters, Vocabulary(characters)))
    check, program = code_blocks(text_of("docs/model-file.md"), "python")
    exec(check, {})
    exec(program, {})
    command = next(line for line in quoted_commands(text_of("docs/model-file.md")) if line[0] == "sample")
    assert capsys.readouterr().out == charlm(*command).stdout + "\n"


def test_the_check_of_a_model_notices_damage(trained: TrainedModel) -> None:
    path, check = Path("best.safetensors"), code_blocks(text_of("docs/model-file.md"), "python")[0]
    write_model(path, trained)
    for old, new in ((b'step\\": 7', b'step\\": 8'), (trained.parameters.logits_bias.tobytes(), bytes(20))):
        damaged = path.read_bytes().replace(old, new)
        assert damaged != path.read_bytes()
        Path("damaged").write_bytes(damaged)
        with pytest.raises(AssertionError):
            exec(check.replace("best.safetensors", "damaged"), {})


def test_the_folders_of_the_architecture_are_those_of_the_package() -> None:
    listed = re.findall(r"^\| `([\w.]+/?)` \|", text_of("docs/architecture.md"), re.MULTILINE)
    found = [path for path in (ROOT / "charlm").iterdir() if path.suffix in {".py", ".typed"}]
    folders = [path.parent for path in (ROOT / "charlm").glob("*/__init__.py")]
    assert sorted(listed) == sorted([path.name for path in found] + [f"{path.name}/" for path in folders])
