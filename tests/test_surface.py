"""The size of charlm, and the number of things in it that people have to learn.

Whoever adds one of them removes another one: each is read, tested and documented for as long as
charlm exists, and a program that grows by a little in every month is soon too large to be read in
an afternoon. The numbers are those of today; lower one when you have removed something.
"""

from pathlib import Path

import click
import pytest
from docs.prose import density

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


NUMBERS = {
    "tokens": (density("charlm").tokens, 91_500),
    "modules": (len(MODULES), 95),
    "entries of charlm/": (len({path.relative_to(PACKAGE).parts[0] for path in MODULES}), 20),
    "settings": (len(settings()), 58),
    "options and arguments": (len(options()), 41),
    "kinds of events": (len(events.Event.__subclasses__()), 8),
    "routes": ((PACKAGE / "serving/server.py").read_text("utf-8").count("Route("), 5),
    "sections of the report": (len(SECTIONS), 7),
}


@pytest.mark.parametrize(("number", "limit"), NUMBERS.values(), ids=NUMBERS)
def test_charlm_does_not_grow(number: int, limit: int) -> None:
    """A limit far above the number is to be lowered: something was removed."""
    assert number <= limit, "whoever adds one removes one"
    assert number >= 0.9 * limit, "something was removed: lower the limit"
