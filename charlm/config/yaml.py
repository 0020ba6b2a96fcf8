"""YAML restricted to what JSON can express: read from untrusted sources, and written so that it reads back the same."""

import json
import re
from pathlib import Path
from typing import Any

import yaml

from charlm.errors import CharlmError, short_repr
from charlm.storage.files import read_file

MAX_CONFIG_BYTES = 100_000
MAX_DEPTH = 32
"""Mappings and lists inside each other. A schema of settings needs 5."""
_INT = "tag:yaml.org,2002:int"


class _Loader(yaml.SafeLoader):
    """YAML without tags, aliases (a few hundred bytes of them can fill the memory), repeated keys and deep nesting."""

    depth = 0

    def compose_node(self, parent: Any, index: Any) -> Any:
        """Return the next node; a tag, an alias and deep nesting are refused."""
        event: Any = self.peek_event()  # type: ignore[no-untyped-call]
        if isinstance(event, yaml.AliasEvent) or getattr(event, "tag", None) or self.depth > MAX_DEPTH:
            problem = f"aliases, tags and nesting more than {MAX_DEPTH} deep are not allowed"
            raise yaml.MarkedYAMLError(problem=problem, problem_mark=event.start_mark)
        self.depth += 1
        node = super().compose_node(parent, index)
        self.depth -= 1
        return node

    def construct_mapping(self, node: Any, deep: bool = False) -> dict[Any, Any]:
        """Return a mapping; a key that occurs twice is refused."""
        mapping = super().construct_mapping(node, deep)  # refuses a key that is a list or a mapping
        seen = set[str]()
        for key, _ in node.value:
            if key.value in seen:
                raise yaml.MarkedYAMLError(problem=f"{key.value!r} occurs twice", problem_mark=key.start_mark)
            seen.add(key.value)
        return mapping

    def construct_yaml_int(self, node: Any) -> int:
        """Return a whole number; what only YAML 1.1 takes for one is refused: 010 is 8 there, and 1:30 is 90."""
        if not re.fullmatch("[-+]?(0|[1-9][0-9]*)", node.value):
            problem = f"{short_repr(node.value)} is not a decimal number; put a text in quotes"
            raise yaml.MarkedYAMLError(problem=problem, problem_mark=node.start_mark)
        return int(node.value)


class _Dumper(yaml.SafeDumper):
    """Safe YAML without aliases: a value that is there twice is written twice."""

    def ignore_aliases(self, data: Any) -> bool:
        """Return True."""
        return True


def _represent_text(dumper: Any, text: str) -> Any:
    """Return a text as a node, with escapes for line breaks: PyYAML reads U+0085 and its like back as spaces."""
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style=None if text.isprintable() else '"')


_Loader.add_constructor(_INT, _Loader.construct_yaml_int)
_Dumper.add_representer(str, _represent_text)
for _class in (_Loader, _Dumper):  # 1e-3, a text in YAML 1.1; what the one reads as a number, the other must quote
    _class.add_implicit_resolver(
        "tag:yaml.org,2002:float", re.compile(r"^[-+]?([0-9]+\.?[0-9]*|\.[0-9]+)[eE][-+]?[0-9]+$"), [*"-+.0123456789"]
    )


def parse_yaml(text: str, *, origin: str) -> Any:
    """Return the value that a YAML text holds.

    Args:
        text: At most 100,000 characters of YAML that JSON could express.
        origin: What the message of an error starts with: a file or an option.

    Raises:
        CharlmError: the text is longer, not YAML, nested more than 32 deep, or has an alias, a tag, a repeated key or
            a whole number that is not decimal, with the line and column; or as `as_json`.

    """
    if len(text) > MAX_CONFIG_BYTES:
        raise CharlmError(f"{origin}: {len(text):,} characters; a config has at most {MAX_CONFIG_BYTES:,}")
    try:
        value = yaml.load(text, _Loader)
    except (yaml.YAMLError, ValueError) as error:  # ValueError: no such date, thousands of digits
        mark = getattr(error, "problem_mark", None)
        place = f"line {mark.line + 1}, column {mark.column + 1}: " if mark else ""
        problem = getattr(error, "problem", None) or str(error).partition("\n")[0]
        raise CharlmError(f"{origin}: {place}not valid YAML: {problem}") from None
    return as_json(value, origin=origin)


def read_yaml(path: Path) -> Any:
    """Return the value that a YAML file holds.

    Args:
        path: A file of at most 100,000 bytes, UTF-8.

    Raises:
        CharlmError: the file cannot be read, or as `parse_yaml`.

    """
    try:
        text = read_file(path, limit=MAX_CONFIG_BYTES).decode("utf-8")
    except UnicodeDecodeError:
        raise CharlmError(f"{path}: cannot be read as YAML: not UTF-8 text") from None
    return parse_yaml(text, origin=str(path))


def dump_yaml(values: Any) -> str:
    """Return a mapping as YAML, its keys in their order; `parse_yaml` reads it back."""
    return yaml.dump(values, Dumper=_Dumper, sort_keys=False, allow_unicode=True)


def as_json(value: Any, *, origin: str) -> Any:
    """Return a value as JSON has it: a tuple is a list, and every key a text.

    Raises:
        CharlmError: JSON cannot express the value, for instance a date, an infinite number, an unpaired surrogate or a
            mapping that holds itself; the message starts with `origin`.

    """
    try:
        return json.loads(json.dumps(value, ensure_ascii=False, allow_nan=False).encode())
    except (ValueError, TypeError, RecursionError):
        problem = "must be what JSON can express; put a date in quotes"
        raise CharlmError(f"{origin}: found {short_repr(value)}; {problem}") from None


def show_value(value: Any) -> str:
    """Return a value as a line of YAML would have it, with long parts left out."""
    names = {None: "null", True: "true", False: "false"}
    return names[value] if value is None or isinstance(value, bool) else short_repr(value)
