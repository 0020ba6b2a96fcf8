"""YAML restricted to what JSON can express: read from untrusted sources, and written so that it reads back the same."""

import math
import re
from pathlib import Path
from typing import Any

import yaml

from charlm.errors import CharlmError, shorten
from charlm.storage.files import read_file

MAX_CONFIG_BYTES = 100_000
MAX_DEPTH = 32
"""Mappings and lists inside each other. A schema of settings needs 5."""
MAX_DIGITS = 200
"""Characters of a whole number, far more than 64 bits have."""
PLAIN_INTEGER = re.compile(r"[-+]?(0|[1-9][0-9]*|0x[0-9a-fA-F]+)")
"""What YAML 1.1 and 1.2 read as the same whole number."""
_KINDS = {
    "null": "null",
    "bool": "true or false",
    "int": "a whole number",
    "float": "a number",
    "str": "a text",
    "seq": "a list",
    "map": "a mapping",
}
"""What messages call the values of a tag."""
JSON_TAGS = {f"tag:yaml.org,2002:{kind}" for kind in _KINDS}


class _Loader(yaml.SafeLoader):
    """YAML without objects, dates, sets, merge keys, repeated keys, deep nesting, and numbers of more than 64 bits.

    Aliases are refused too: a few hundred bytes of them can fill the memory.
    """

    depth = 0

    yaml_constructors = {  # noqa: RUF012
        tag: construct
        for tag, construct in yaml.SafeLoader.yaml_constructors.items()
        if tag is None or tag in JSON_TAGS  # the one for None refuses all other tags
    }
    yaml_implicit_resolvers = {  # noqa: RUF012
        first: [(tag, pattern) for tag, pattern in resolvers if tag in JSON_TAGS]
        for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
    }

    def compose_node(self, parent: Any, index: Any) -> Any:
        """Return the next node; an alias is refused, and so is deep nesting."""
        if self.check_event(yaml.AliasEvent):
            mark = self.get_event().start_mark  # type: ignore[no-untyped-call]
            raise yaml.MarkedYAMLError(problem="aliases are not allowed", problem_mark=mark)
        if self.depth >= MAX_DEPTH and self.check_event(yaml.CollectionStartEvent):
            mark = self.peek_event().start_mark  # type: ignore[no-untyped-call]
            raise yaml.MarkedYAMLError(problem=f"nested more than {MAX_DEPTH} deep", problem_mark=mark)
        self.depth += 1
        node = super().compose_node(parent, index)
        self.depth -= 1
        return node

    def construct_object(self, node: Any, deep: bool = False) -> Any:
        """Return the value of a node; a text that is not what its tag says is refused."""
        try:
            return super().construct_object(node, deep)
        except (ValueError, LookupError, ArithmeticError):  # PyYAML's constructors assume that the text is right
            kind = _KINDS[node.tag.rpartition(":")[2]]
            problem = f"{shorten(node.value)} is not {kind}"
            raise yaml.MarkedYAMLError(problem=problem, problem_mark=node.start_mark) from None

    def construct_mapping(self, node: Any, deep: bool = False) -> dict[Any, Any]:
        """Return a mapping; a key that is not a scalar, or that occurs twice, is refused."""
        if not isinstance(node, yaml.MappingNode):
            raise yaml.MarkedYAMLError(problem="found another value under !!map", problem_mark=node.start_mark)
        seen: set[str] = set()
        for key, _ in node.value:
            if not isinstance(key, yaml.ScalarNode) or key.tag not in JSON_TAGS:
                raise yaml.MarkedYAMLError(problem="a key must be a word", problem_mark=key.start_mark)
            if key.value in seen:
                raise yaml.MarkedYAMLError(problem=f"{key.value!r} occurs twice", problem_mark=key.start_mark)
            seen.add(str(key.value))
        return super().construct_mapping(node, deep)

    def construct_yaml_int(self, node: Any) -> int:
        """Return a whole number; one that does not fit into 64 bits is refused."""
        text = self.construct_scalar(node)
        value = None if len(text) > MAX_DIGITS else super().construct_yaml_int(node)
        if value is not None and not PLAIN_INTEGER.fullmatch(text):
            raise self._disagreement(node)
        if value is None or not -(2**63) <= value < 2**63:
            raise yaml.MarkedYAMLError(problem="a number is too large", problem_mark=node.start_mark)
        return int(value)

    def construct_yaml_float(self, node: Any) -> float:
        """Return a number; one in base 60, with underscores, or not finite is refused."""
        if set(self.construct_scalar(node)) & set(":_"):
            raise self._disagreement(node)
        value = float(super().construct_yaml_float(node))
        if not math.isfinite(value):
            raise yaml.MarkedYAMLError(problem=f"{value} is not a finite number", problem_mark=node.start_mark)
        return value

    def _disagreement(self, node: Any) -> yaml.MarkedYAMLError:
        """Return the refusal of a number that is octal, binary or in base 60, or has underscores, in YAML 1.1 alone."""
        problem = (
            f"readers of YAML disagree about {shorten(node.value)}; write a number in decimal digits, quote a text"
        )
        return yaml.MarkedYAMLError(problem=problem, problem_mark=node.start_mark)

    def construct_yaml_str(self, node: Any) -> str:
        """Return a text; a surrogate in it, which no encoding of Unicode can hold, is refused."""
        text = super().construct_yaml_str(node)
        if any("\ud800" <= character <= "\udfff" for character in text):
            raise yaml.MarkedYAMLError(problem="half of a surrogate pair", problem_mark=node.start_mark)
        return str(text)


_Loader.add_constructor("tag:yaml.org,2002:int", _Loader.construct_yaml_int)
_Loader.add_constructor("tag:yaml.org,2002:float", _Loader.construct_yaml_float)
_Loader.add_constructor("tag:yaml.org,2002:str", _Loader.construct_yaml_str)


class _Dumper(yaml.SafeDumper):
    """Safe YAML that quotes every text that the loader would read as something else."""

    def analyze_scalar(self, scalar: str) -> Any:
        """Return how a scalar may be written: with Unicode line breaks, only escaped; U+0085 would become a space."""
        analysis = super().analyze_scalar(scalar)
        if set(scalar) & set("\x85\u2028\u2029"):
            analysis.allow_flow_plain = analysis.allow_block_plain = False
            analysis.allow_single_quoted = analysis.allow_block = False
        return analysis


for _class in (_Loader, _Dumper):  # PyYAML follows YAML 1.1, in which 1e-3 is a text
    _class.add_implicit_resolver(
        "tag:yaml.org,2002:float", re.compile(r"^[-+]?[0-9]+(\.[0-9]*)?[eE][-+]?[0-9]+$"), list("-+0123456789")
    )


def parse_yaml(text: str, *, origin: str) -> Any:
    """Return the value that a YAML text holds.

    Args:
        text: At most 100,000 characters of YAML that JSON could express.
        origin: What the message of an error starts with: a file or an option.

    Raises:
        CharlmError: the text is longer, not YAML, nested more than 32 deep, or has an alias, a repeated key, a tag that
            its value does not fit, or a number that is not finite or has more than 64 bits; the message names the line
            and column.

    """
    if len(text) > MAX_CONFIG_BYTES:
        raise CharlmError(f"{origin}: {len(text):,} characters; a config has at most {MAX_CONFIG_BYTES:,}")
    try:
        return yaml.load(text, _Loader)
    except (yaml.YAMLError, ValueError) as error:
        raise CharlmError(f"{origin}: {_describe(error)}") from None


def read_yaml(path: Path, *, follow_links: bool = True) -> Any:
    """Return the value that a YAML file holds.

    Args:
        path: A file of at most 100,000 bytes, UTF-8.
        follow_links: Whether `path` may be a link.

    Raises:
        CharlmError: the file cannot be read, or as `parse_yaml`.

    """
    try:
        text = read_file(path, limit=MAX_CONFIG_BYTES, follow_links=follow_links).decode("utf-8")
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
    except yaml.YAMLError:
        kind = f"{shorten(value)} (a {type(value).__name__})"
        raise CharlmError(f"{origin}: found {kind}; must be a text, a number, a list or a mapping") from None
    return parse_yaml(text, origin=origin)


def show_value(value: Any) -> str:
    """Return a value as a line of YAML would have it, with long parts left out."""
    names = {None: "null", True: "true", False: "false"}
    return names[value] if value is None or isinstance(value, bool) else shorten(value)


def _describe(error: Exception) -> str:
    mark = getattr(error, "problem_mark", None)
    place = f"line {mark.line + 1}, column {mark.column + 1}: " if mark else ""
    problem = getattr(error, "problem", None) or str(error).splitlines()[0]
    return f"{place}not valid YAML: {problem}"
