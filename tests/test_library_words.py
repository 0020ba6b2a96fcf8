"""Messages of library packages name settings and files, not commands or options."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from commands import all_commands

import charlm

PACKAGE = Path(charlm.__file__).parent
OF_THE_COMMAND_LINE = {"cli", "__main__.py"}
FOR_READERS = {"formats/card.py", "inspection/next_steps.py"}
"""Texts of model cards and of report pages, which tell their readers which commands to use."""
MODULES = [
    path
    for path in sorted(PACKAGE.rglob("*.py"))
    if path.relative_to(PACKAGE).parts[0] not in OF_THE_COMMAND_LINE
    and str(path.relative_to(PACKAGE)) not in FOR_READERS
]
COMMANDS = "|".join(sorted({name.split()[0] for name in all_commands()}))
WORDS = {
    "an option": re.compile(r"(?<![\w-])--[a-z][a-z-]+"),
    "a short option": re.compile(r"(?<![\w-])-[scrpnt] [a-zA-Z{]"),
    "a command": re.compile(rf"\bcharlm ({COMMANDS})\b"),
    "the prefix of a line": re.compile(r"^charlm: "),
}


def texts_of(path: Path) -> Iterator[tuple[int, str]]:
    """Yield the line and the text of each string of a module, without docstrings."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    parents = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
    bodies = [node.body for node in ast.walk(tree) if isinstance(node, parents)]
    docstrings = {
        id(statement.value)
        for body in bodies
        for statement in body
        if isinstance(statement, ast.Expr)
    }
    for node in ast.walk(tree):
        if (
            isinstance(node, ast.Constant)
            and isinstance(node.value, str)
            and id(node) not in docstrings
        ):
            yield node.lineno, node.value


OPTIONS_OF_OTHER_PROGRAMS = {
    "formats/programs.py": {
        "--logits",
        "--headless",
        "--disable-gpu",
        "--user-data-dir",
        "--dump-dom",
        "--no-sandbox",
    },
    "text/findings.py": {"--first-only"},
}


def part_of(path: Path) -> str:
    """Return the package or the module at the top of charlm/ that a module lies in."""
    return path.relative_to(PACKAGE).parts[0]


@pytest.mark.parametrize("part", sorted({part_of(path) for path in MODULES}))
def test_library_modules_name_nothing_of_the_command_line(part: str) -> None:
    found = []
    for path in MODULES:
        if part_of(path) == part:
            name = str(path.relative_to(PACKAGE))
            others = OPTIONS_OF_OTHER_PROGRAMS.get(name, set())
            found += [
                f"{name}, line {line}: {kind}: {match[0]}"
                for line, text in texts_of(path)
                for kind, pattern in WORDS.items()
                for match in pattern.finditer(text)
                if match[0] not in others
            ]
    assert found == []
