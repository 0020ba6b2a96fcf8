"""README and docs/: links, commands, settings and code are valid, and the lesson runs."""

import contextlib
import json
import os
import re
import shutil
import signal
import sqlite3
import subprocess
import sys
from itertools import product
from pathlib import Path
from typing import Any

import click
import pytest
from commands import all_commands, charlm
from corpora import write_plays
from docs.follow import short_search
from models import make_random_model
from pages import PAGES, ROOT, anchors, code_blocks, parse_command, quoted_commands, text_of
from processes import started, wait_until

from charlm.config.file import flatten, load_config, parse_config, parse_yaml
from charlm.config.recipes import find_recipe, recipe_names
from charlm.core.model_file import TrainedModel, write_model

LESSON = ROOT / "docs/lesson.ipynb"
MAX_SECONDS = 900
"""The time limit of a cell, in which a slow processor trains the recipe `default`."""
every_page = pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)


@every_page
def test_relative_links_lead_to_files_and_headings(page: Path) -> None:
    links = re.findall(r"\]\((?!https?:)([^)#]*)(?:#([^)]*))?\)", page.read_text(encoding="utf-8"))
    for path, anchor in links:
        target = page.parent / path if path else page
        assert target.exists(), path
        assert not anchor or anchor in anchors(target.read_text(encoding="utf-8")), (
            f"{path}#{anchor}"
        )


@every_page
def test_quoted_names_exist(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    for arguments in quoted_commands(text):
        try:
            recipe = str(parse_command(arguments).get("recipe") or "default")
        except (click.UsageError, KeyError) as error:
            pytest.fail(f"charlm {' '.join(arguments)}: {error}")
        assert recipe.isupper() or find_recipe(recipe).suffix == ".yaml"
    known = {
        option
        for command in all_commands().values()
        for parameter in command.params
        for option in parameter.opts
    }
    assert {*re.findall(r"`(--[a-z-]+)", text)} - known <= {"--help"}
    for override in re.findall(r"-s ([a-z_.]+=[^\s`'\")]+)", text):
        load_config(find_recipe("default"), overrides=[override])


def test_quoted_yaml_is_a_config() -> None:
    found = 0
    for page in PAGES:
        for block in code_blocks(page.read_text(encoding="utf-8"), "yaml"):
            values = parse_yaml(block, origin=page.name)
            if isinstance(values, dict):  # a list is of another program
                parse_config(values, origin=page.name)
                found += 1
    assert found


@pytest.mark.parametrize("page", ["README.md", "docs/recipes.md"])
def test_every_recipe_is_in_the_table_of_a_page(page: str) -> None:
    table = text_of(page).partition("| recipe |")[2].partition("\n\n")[0]
    assert sorted(re.findall(r"^\| `([^`]+)` \|", table, re.MULTILINE)) == recipe_names()


WITHOUT_A_NAME = {"default": "charlm train"}
"""The command that takes a recipe without naming it."""


@pytest.mark.parametrize("recipe", recipe_names())
def test_a_recipe_opens_with_its_command(recipe: str) -> None:
    command = (
        find_recipe(recipe).read_text(encoding="utf-8").splitlines()[1].removeprefix("# ")
    )  # after the schema
    if recipe in WITHOUT_A_NAME:
        assert command == WITHOUT_A_NAME[recipe]
    else:
        assert parse_command(command.removeprefix("charlm ").split())["recipe"] == recipe


@pytest.mark.parametrize(
    "page", ["README.md", pytest.param("docs/library.md", marks=pytest.mark.slow)]
)
def test_quoted_library_code_runs(page: str) -> None:
    write_plays(Path("mytext.txt"))
    blocks = code_blocks(text_of(page), "python")
    assert blocks
    for block in blocks:
        exec(re.sub(r'recipe="default"|on_event=print(?=\))', 'recipe="tiny"', block), {})


@pytest.mark.slow
def test_the_search_begins_with_the_recipe_even_after_a_kill() -> None:
    pytest.importorskip("optuna", reason="missing: optuna")
    write_plays(Path("mytext.txt"), characters=3000)
    (program,) = code_blocks(text_of("docs/search.md"), "python")
    Path("search.py").write_text(short_search(program), encoding="utf-8")
    command = [sys.executable, "search.py"]
    with started(command) as (search,):
        wait_until(Path("runs/search/trial-0/metrics.jsonl").exists, [search])
        search.kill()
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    assert "\ncharlm train mytext.txt -c default -s model.units=" in done.stdout
    with contextlib.closing(sqlite3.connect("runs/search/study.db")) as study:
        states = [state for (state,) in study.execute("select state from trials")]
        values = dict(
            study.execute("select param_name, param_value from trial_params where trial_id = 2")
        )
    assert states == ["FAIL", "COMPLETE", "COMPLETE"]
    assert values.items() <= flatten(load_config(find_recipe("default"))).items()


def test_the_program_that_reads_a_model_writes_what_charlm_writes(
    capsys: pytest.CaptureFixture[str],
) -> None:
    check, program = code_blocks(text_of("docs/model-file.md"), "python")
    command = next(
        line for line in quoted_commands(text_of("docs/model-file.md")) if line[0] == "sample"
    )
    for embedding, skip in product((None, 3), (False, True)):
        network: dict[str, Any] = {
            "layers": 2,
            "units": 8,
            "embedding": embedding,
            "skip_connections": skip,
        }
        write_model(Path("best.safetensors"), make_random_model("The quick\n", **network))
        exec(check, {})
        exec(program, {})
        assert capsys.readouterr().out == charlm(*command).stdout + "\n"


def test_the_check_of_a_model_notices_damage(trained: TrainedModel) -> None:
    path, check = Path("best.safetensors"), code_blocks(text_of("docs/model-file.md"), "python")[0]
    write_model(path, trained)
    for old, new in (
        (b'step\\": 7', b'step\\": 8'),
        (trained.parameters.logits_bias.tobytes(), bytes(20)),
    ):
        damaged = path.read_bytes().replace(old, new)
        assert damaged != path.read_bytes()
        Path("damaged").write_bytes(damaged)
        with pytest.raises(AssertionError):
            exec(check.replace("best.safetensors", "damaged"), {})


def test_the_folders_of_the_architecture_are_those_of_the_package() -> None:
    listed = re.findall(r"^\| `([\w.]+/?)` \|", text_of("docs/architecture.md"), re.MULTILINE)
    found = [path for path in (ROOT / "charlm").iterdir() if path.suffix in {".py", ".typed"}]
    folders = [path.parent for path in (ROOT / "charlm").glob("*/__init__.py")]
    assert sorted(listed) == sorted(
        [path.name for path in found] + [f"{path.name}/" for path in folders]
    )


def test_the_readme_is_short() -> None:
    readme = text_of("README.md")
    assert len(readme.splitlines()) <= 130
    for marker in ("run", "test"):
        _, found, rest = readme.partition(f"\n<!-- {marker} -->\n")
        assert found
        assert rest.startswith("```sh\npython3 -m venv .venv && ")
        assert len(code_blocks(rest, "sh")[0].splitlines()) == 1


def test_the_worked_example_prints_what_the_page_says(capsys: pytest.CaptureFixture[str]) -> None:
    page = text_of("docs/understanding.md")
    (code,) = code_blocks(page, "python")
    exec(code, {})
    printed = "".join(f"    {line}\n" for line in capsys.readouterr().out.splitlines())
    assert printed
    assert f"```\n\n{printed}" in page


@pytest.mark.nightly
def test_the_lesson_runs_from_top_to_bottom(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    nbclient = pytest.importorskip("nbclient", reason="missing: nbclient")
    nbformat = pytest.importorskip("nbformat", reason="missing: nbformat")
    pytest.importorskip("ipykernel", reason="missing: ipykernel")
    monkeypatch.setenv(
        "PATH", os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    )
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    lesson = nbformat.read(shutil.copy(LESSON, tmp_path), 4)
    try:
        nbclient.NotebookClient(lesson, timeout=MAX_SECONDS, kernel_name="python3").execute()
    finally:
        for info in tmp_path.glob(
            ".tensorboard-info/pid-*.info"
        ):  # TensorBoard outlives the notebook
            with contextlib.suppress(ProcessLookupError):
                os.kill(json.loads(info.read_text(encoding="utf-8"))["pid"], signal.SIGTERM)
    printed = "".join(
        output.get("text", "") for cell in lesson.cells for output in cell.get("outputs", ())
    )
    assert "[0.75582339 0.92270988]" in printed, "the numbers of the recurrence by hand"
    assert "step 1,536 of 1,536" in printed
