"""YAML that means no more than JSON: read from strangers, and written so that it is read back the same."""

import re
from typing import Any

import yaml

from charlm.errors import CharlmError

MAX_CONFIG_BYTES = 100_000
JSON_TAGS = {f"tag:yaml.org,2002:{kind}" for kind in ("null", "bool", "int", "float", "str", "seq", "map")}


class _Loader(yaml.SafeLoader):
    """YAML that means no more than JSON: no objects, dates, sets, merge keys or repeated keys.

    Nor are there aliases, a few hundred bytes of which can fill the memory, or numbers that no machine counts to.
    """

    yaml_constructors = {  # noqa: RUF012
        tag: construct
        for tag, construct in yaml.SafeLoader.yaml_constructors.items()
        if tag is None or tag in JSON_TAGS  # the one for None refuses the others
    }
    yaml_implicit_resolvers = {  # noqa: RUF012
        first: [(tag, pattern) for tag, pattern in resolvers if tag in JSON_TAGS]
        for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
    }

    def compose_node(self, parent: Any, index: Any) -> Any:
        """Return the next node, which is no alias."""
        if self.check_event(yaml.AliasEvent):
            mark = self.get_event().start_mark  # type: ignore[no-untyped-call]
            raise yaml.MarkedYAMLError(problem="aliases are not allowed", problem_mark=mark)
        return super().compose_node(parent, index)

    def construct_mapping(self, node: Any, deep: bool = False) -> dict[Any, Any]:
        """Return a mapping of words, none of which stands twice."""
        seen: set[str] = set()
        for key, _ in node.value:
            if not isinstance(key, yaml.ScalarNode) or key.tag not in JSON_TAGS:
                raise yaml.MarkedYAMLError(problem="a key should be a word", problem_mark=key.start_mark)
            if key.value in seen:
                raise yaml.MarkedYAMLError(problem=f"{key.value!r} stands twice", problem_mark=key.start_mark)
            seen.add(str(key.value))
        return super().construct_mapping(node, deep)

    def construct_yaml_int(self, node: Any) -> int:
        """Return a whole number of 64 bits."""
        value = super().construct_yaml_int(node)
        if not -(2**63) <= value < 2**63:
            raise yaml.MarkedYAMLError(problem="a number is too large", problem_mark=node.start_mark)
        return int(value)

    def construct_yaml_str(self, node: Any) -> str:
        """Return a text that every encoding of Unicode can hold."""
        text = super().construct_yaml_str(node)
        if any("\ud800" <= character <= "\udfff" for character in text):
            raise yaml.MarkedYAMLError(problem="half of a surrogate pair", problem_mark=node.start_mark)
        return str(text)


_Loader.add_constructor("tag:yaml.org,2002:int", _Loader.construct_yaml_int)
_Loader.add_constructor("tag:yaml.org,2002:str", _Loader.construct_yaml_str)


class _Dumper(yaml.SafeDumper):
    """Safe YAML that quotes what the loader would not read as text."""


for _class in (_Loader, _Dumper):  # PyYAML follows YAML 1.1, in which 1e-3 is a text
    _class.add_implicit_resolver(
        "tag:yaml.org,2002:float", re.compile(r"^[-+]?[0-9]+(\.[0-9]*)?[eE][-+]?[0-9]+$"), list("-+0123456789")
    )


def parse_yaml(text: str, *, origin: str) -> Any:
    """Return the value that a YAML text holds.

    Raises CharlmError, starting with `origin`, where the text is not YAML, is too large or uses aliases.
    """
    if len(text) > MAX_CONFIG_BYTES:
        raise CharlmError(f"{origin}: {len(text):,} characters; a config has at most {MAX_CONFIG_BYTES:,}")
    try:
        return yaml.load(text, _Loader)
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise CharlmError(f"{origin}: {_describe(error)}") from None


def dump_yaml(values: Any) -> str:
    """Return a mapping as YAML, its keys in their order; `parse_yaml` reads it back."""
    return yaml.dump(values, Dumper=_Dumper, sort_keys=False, allow_unicode=True)


def _describe(error: Exception) -> str:
    if isinstance(error, RecursionError):
        return "nested too deeply for a config"
    mark = getattr(error, "problem_mark", None)
    place = f"line {mark.line + 1}, column {mark.column + 1}: " if mark else ""
    problem = getattr(error, "problem", None) or str(error).splitlines()[0]
    return f"{place}not valid YAML: {problem}"
