"""The size of charlm, and the number of things in it that people have to learn.

Each of them is read, tested and documented for as long as charlm exists, and a program that grows
by a little in every month is soon too large to be read in an afternoon. The limits of sizes are
1.5% above the sizes at the time when they were set. CONTRIBUTING.md says what to do at a limit.
"""

import re
from pathlib import Path

import click
import pytest
from docs.prose import density
from test_imports import imports

import charlm
from charlm import events
from charlm.cli.main import main
from charlm.config.schema import Config, section_of, walk
from charlm.inspection.report import SECTIONS

PACKAGE = Path(charlm.__file__).parent
MODULES = [*PACKAGE.rglob("*.py")]


def commands(command: click.Command) -> list[click.Command]:
    """Return a command and all commands below it."""
    found = [command]
    if isinstance(command, click.Group):
        context = click.Context(command)
        for name in command.list_commands(context):
            child = command.get_command(context, name)
            assert child is not None
            found += commands(child)
    return found


def settings() -> list[str]:
    return [key for key, field in walk(Config) if section_of(field) is None]


def options() -> set[tuple[str, ...]]:
    """Return the names of options and arguments; those of several commands count once."""
    parameters = [parameter for command in commands(main) for parameter in command.params]
    return {(parameter.param_type_name, *parameter.opts) for parameter in parameters}


COMMENT = r"/\*.*?\*/|//[^\n]*"
STRING = r"\"(?:\\.|[^\"\\])*\"|'(?:\\.|[^'\\])*'|`[^`]*`"
TOKEN = re.compile(rf"{COMMENT}|{STRING}|\w+|[^\w\s]", re.DOTALL)
"""A comment, string, word or sign of C and JavaScript, roughly."""


def other_tokens() -> int:
    """Return the number of tokens of C and JavaScript, without comments."""
    paths = [path for path in PACKAGE.rglob("*") if path.suffix in {".c", ".h", ".js"}]
    tokens = [token for path in paths for token in TOKEN.findall(path.read_text("utf-8"))]
    return sum(not token.startswith(("/*", "//")) for token in tokens)


def outward_names() -> list[str]:
    """Return the names that the core imports from charlm outside of itself and what it may use."""
    usual = {"core", "config", "errors", "events", "wording", "version", "storage", "checks"}
    names = [name for path in (PACKAGE / "core").glob("*.py") for name in imports(path)]
    own = [name for name in names if name.startswith("charlm.")]
    return [name for name in own if name.split(".")[1] not in usual]


NUMBERS = {
    "tokens of the core": (density("charlm/core").tokens, 16_000),
    "modules of the core": (len([*(PACKAGE / "core").glob("*.py")]), 16),
    "names from outside in the core": (len(outward_names()), 1),
    "tokens of Python": (density("charlm").tokens, 96_000),
    "modules": (len(MODULES), 93),
    "tokens of C and JavaScript": (other_tokens(), 24_000),
    "tokens of the tests": (density("tests").tokens, 172_000),
    "settings": (len(settings()), 59),
    "options and arguments": (len(options()), 41),
    "events": (len(events.Event.__subclasses__()), 8),
    "routes": ((PACKAGE / "serving/server.py").read_text("utf-8").count("Route("), 5),
    "sections of the report": (len(SECTIONS), 7),
    "commands": (len(main.list_commands(click.Context(main))), 13),
}


@pytest.mark.parametrize(("number", "limit"), NUMBERS.values(), ids=NUMBERS)
def test_charlm_does_not_grow(number: int, limit: int) -> None:
    """A limit far above the number is to be lowered: something was removed."""
    assert number <= limit, "whoever adds one removes one"
    assert number >= 0.9 * limit, "something was removed: lower the limit"
