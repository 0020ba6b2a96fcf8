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
MAX_DIGITS = 20
"""With its sign, the longest number of 64 bits."""
TAG = "tag:yaml.org,2002:"
SCALARS = (
    ("null", r"~|null|Null|NULL|", "~nN"),
    ("bool", r"yes|Yes|YES|no|No|NO|true|True|TRUE|false|False|FALSE|on|On|ON|off|Off|OFF", "yYnNtTfFoO"),
    ("int", r"[-+]?(0|[1-9][0-9]*)", "-+0123456789"),
    ("float", r"[-+]?([0-9]+\.[0-9]*|\.[0-9]+|[0-9]+(?=[eE]))([eE][-+]?[0-9]+)?", "-+.0123456789"),
)
"""The kinds of values that are not texts, how they are written, and how they begin. Numbers are those of JSON; what
only some readers of YAML take for a number (octal, base 60, underscores) is a text, which a setting refuses."""


class _Loader(yaml.SafeLoader):
    """YAML without tags, aliases (a few hundred bytes of them can fill the memory), repeated keys and deep nesting."""

    depth = 0
    yaml_implicit_resolvers = {}  # noqa: RUF012

    def compose_node(self, parent: Any, index: Any) -> Any:
        """Return the next node; a tag, an alias and deep nesting are refused."""
        event: Any = self.peek_event()  # type: ignore[no-untyped-call]
        problem = None
        if isinstance(event, yaml.AliasEvent):
            problem = "aliases are not allowed"
        elif getattr(event, "tag", None) is not None:
            problem = "tags are not allowed"
        elif self.depth >= MAX_DEPTH and isinstance(event, yaml.CollectionStartEvent):
            problem = f"nested more than {MAX_DEPTH} deep"
        if problem:
            raise yaml.MarkedYAMLError(problem=problem, problem_mark=event.start_mark)
        self.depth += 1
        node = super().compose_node(parent, index)
        self.depth -= 1
        return node

    def construct_mapping(self, node: Any, deep: bool = False) -> dict[Any, Any]:
        """Return a mapping; a key that is not a scalar, or that occurs twice, is refused."""
        seen: set[str] = set()
        for key, _ in node.value:
            if not isinstance(key, yaml.ScalarNode):
                raise yaml.MarkedYAMLError(problem="a key must be a word", problem_mark=key.start_mark)
            if key.value in seen:
                raise yaml.MarkedYAMLError(problem=f"{key.value!r} occurs twice", problem_mark=key.start_mark)
            seen.add(str(key.value))
        return super().construct_mapping(node, deep)

    def construct_yaml_int(self, node: Any) -> int:
        """Return a whole number; one that does not fit into 64 bits is refused."""
        if len(node.value) > MAX_DIGITS or not -(2**63) <= int(node.value) < 2**63:
            raise yaml.MarkedYAMLError(problem="a number is too large", problem_mark=node.start_mark)
        return int(node.value)


_Loader.add_constructor(f"{TAG}int", _Loader.construct_yaml_int)


class _Dumper(yaml.SafeDumper):
    """Safe YAML that quotes every text that the loader would read as something else, and has no aliases."""

    def ignore_aliases(self, data: Any) -> bool:
        """Return True: a value that is there twice is written twice."""
        return True

    def analyze_scalar(self, scalar: str) -> Any:
        """Return how a scalar may be written: with Unicode line breaks, only escaped; U+0085 would become a space."""
        analysis = super().analyze_scalar(scalar)
        if set(scalar) & set("\x85\u2028\u2029"):
            analysis.allow_flow_plain = analysis.allow_block_plain = False
            analysis.allow_single_quoted = analysis.allow_block = False
        return analysis


for _kind, _pattern, _first in SCALARS:
    for _class in (_Loader, _Dumper):  # what the one reads as a number, the other must quote if it is a text
        _class.add_implicit_resolver(
            f"{TAG}{_kind}", re.compile(rf"^({_pattern})$"), [*_first, *([""] * (_kind == "null"))]
        )


def parse_yaml(text: str, *, origin: str) -> Any:
    """Return the value that a YAML text holds.

    Args:
        text: At most 100,000 characters of YAML that JSON could express.
        origin: What the message of an error starts with: a file or an option.

    Raises:
        CharlmError: the text is longer, not YAML, nested more than 32 deep, or has an alias, a tag or a repeated key,
            with the line and column; or a number is not finite, or a text has an unpaired surrogate.

    """
    if len(text) > MAX_CONFIG_BYTES:
        raise CharlmError(f"{origin}: {len(text):,} characters; a config has at most {MAX_CONFIG_BYTES:,}")
    try:
        value = yaml.load(text, _Loader)
        json.dumps(value, ensure_ascii=False, allow_nan=False).encode()
    except yaml.YAMLError as error:
        raise CharlmError(f"{origin}: {_describe(error)}") from None
    except ValueError:
        problem = "a number is not finite, or a text has an unpaired surrogate"
        raise CharlmError(f"{origin}: not valid YAML: {problem}") from None
    return value


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


def as_yaml(value: Any, *, origin: str) -> Any:
    """Return a value of a program as YAML would hold it, so that it can be written and read back; a tuple is a list.

    Raises:
        CharlmError: YAML cannot express the value, or as `parse_yaml`; the message starts with `origin`.

    """
    try:
        text = dump_yaml(value)
    except (yaml.YAMLError, RecursionError):  # a mapping that holds itself has no end
        kind = f"{short_repr(value)} (a {type(value).__name__})"
        raise CharlmError(f"{origin}: found {kind}; must be a text, a number, a list or a mapping") from None
    return parse_yaml(text, origin=origin)


def show_value(value: Any) -> str:
    """Return a value as a line of YAML would have it, with long parts left out."""
    names = {None: "null", True: "true", False: "false"}
    return names[value] if value is None or isinstance(value, bool) else short_repr(value)


def _describe(error: yaml.YAMLError) -> str:
    mark = getattr(error, "problem_mark", None)
    place = f"line {mark.line + 1}, column {mark.column + 1}: " if mark else ""
    problem = getattr(error, "problem", None) or str(error).splitlines()[0]
    return f"{place}not valid YAML: {problem}"
