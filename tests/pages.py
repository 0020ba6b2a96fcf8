"""The pages of the documentation, and what is quoted in them."""

import re
import shlex
from itertools import takewhile
from pathlib import Path

from commands import all_commands

ROOT = Path(__file__).parent.parent
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]
COMMAND = re.compile(r"(?:^|[\s(])(?:\.venv/bin/)?charlm ")


def text_of(name: str) -> str:
    """Return a page by its path in the project."""
    return (ROOT / name).read_text(encoding="utf-8")


def code_blocks(page: str, language: str) -> list[str]:
    """Return the contents of the fenced blocks of a language."""
    return re.findall(rf"^```{language}\n(.*?)^```$", page, re.MULTILINE | re.DOTALL)


def quoted_commands(page: str) -> list[list[str]]:
    """Return the arguments of each `charlm COMMAND` in a block of shell lines or in inline code."""
    lines = [
        line
        for block in code_blocks(page, "sh") + code_blocks(page, "text")
        for line in block.splitlines()
    ]
    prose = re.sub(r"^```.*?^```$", "", page, flags=re.MULTILINE | re.DOTALL)
    lines += re.findall(r"`(charlm [^`]+)`", prose)
    parts = [part for line in lines for part in line.split("&&")]
    quoted = [COMMAND.split(part, maxsplit=1)[1] for part in parts if COMMAND.search(part)]
    commands = [shlex.split(command.rstrip(")"), comments=True) for command in quoted]
    return [command for command in commands if command[0] != "--help"]


def parse_command(arguments: list[str]) -> dict[str, object]:
    """Return the parameters of a command line, which is not run; none if only the command is named.

    Raises:
        KeyError: there is no such command.
        click.UsageError: there is no such option.

    """
    name, *options = takewhile(lambda argument: argument not in {">", ">>"}, arguments)
    commands = all_commands()
    if name not in commands:  # a command of a group
        name = f"{name} {options.pop(0) if options else ''}"
    command = commands[name]
    return dict(command.make_context(name, options).params) if options else {}


def anchors(page: str) -> set[str]:
    """Return the anchors of the headings, as GitHub makes them."""
    headings = re.findall(r"^#+ (.+)$", page, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}
