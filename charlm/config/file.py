"""Read and write a `Config` as YAML, and explain invalid values.

YAML is untrusted.
"""

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import BaseModel, TypeAdapter, ValidationError

from charlm.config.schema import Config, merge, section_of, walk
from charlm.errors import CharlmError
from charlm.storage import UnreadableError, read_file
from charlm.version import __version__
from charlm.wording import nearest, short_repr

Stored = TypeVar("Stored")
MAX_PROBLEMS = 10
"""Maximum number of problems shown for one file."""


def nearest_key(name: str, model: type[BaseModel]) -> str | None:
    """Return the key that an unknown dotted key, or the last part of a key, resembles most."""
    fields = dict(walk(model))
    by_last_name = {key.rpartition(".")[2]: key for key in reversed(fields)}
    near = nearest(name.rpartition(".")[2].lower(), by_last_name)
    meant = nearest(name, fields, similarity=0.85) or by_last_name.get(near or "")
    section = section_of(fields[meant]) if meant else None
    if section is not None and "name" in section.model_fields:
        return f"{meant}.name"
    return meant


Overrides = str | Iterable[str] | Mapping[str, Any]
"""Settings that replace settings of a config: one or more strings `KEY=VALUE`, a mapping of dotted
keys to values, or a mapping of sections as in a YAML file."""


def parse_overrides(overrides: Overrides) -> dict[str, Any]:
    """Return overrides as nested mappings; the last value of a repeated key counts.

    Raises:
        CharlmError: A string is not KEY=VALUE, or a value is not YAML.

    """
    if isinstance(overrides, Mapping):
        return nest(overrides.items())
    texts = [overrides] if isinstance(overrides, str) else overrides
    return nest(map(_parse, texts))


def nest(pairs: Iterable[tuple[str, Any]]) -> dict[str, Any]:
    """Return values by dotted keys as nested mappings; the last value of a repeated key counts."""
    values: dict[str, Any] = {}
    for key, value in pairs:
        *sections, last = key.split(".")
        mapping = values
        for section in sections:
            before = mapping.get(section)
            mapping[section] = dict(before) if isinstance(before, dict) else {}
            mapping = mapping[section]
        mapping[last] = value
    return values


def dotted(values: Mapping[str, Any], before: str = "") -> Iterator[tuple[str, Any]]:
    """Yield the dotted key and the value of each item, a mapping before its own items."""
    for key, value in values.items():
        yield f"{before}{key}", value
        if isinstance(value, Mapping):
            yield from dotted(value, f"{before}{key}.")


def leaves(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return the values in nested mappings by their dotted keys, without the mappings."""
    return {key: value for key, value in dotted(values) if not isinstance(value, Mapping)}


def load_config(path: Path, *, overrides: Overrides = ()) -> Config:
    """Read a config from a YAML file.

    Args:
        path: YAML file, UTF-8, of at most 50,000 bytes.
        overrides: Settings that replace settings of the file.

    Raises:
        CharlmError: The file cannot be read or is not a YAML mapping, or keys or values are
            invalid; the message describes every problem.

    """
    config = parse_config(read_config(path), origin=str(path))
    others = parse_overrides(overrides)
    if not others:
        return config
    values = config.model_dump()
    # What is left out does not have to agree with a corpus that exists.
    values["corpus"] = config.corpus.model_dump(exclude_unset=True)
    return parse_config(merge(values, others), origin="override")


def read_config(path: Path) -> dict[str, Any]:
    """Return the mapping in a YAML file, without checking its keys and values.

    Args:
        path: YAML file, UTF-8, of at most 50,000 bytes; an empty file is an empty mapping.

    Raises:
        CharlmError: The file cannot be read or is not a YAML mapping.

    """
    try:
        text = read_file(path, limit=MAX_CONFIG_BYTES).decode("utf-8")
    except UnicodeDecodeError:
        raise CharlmError(f"{path}: cannot be read as YAML: not UTF-8 text") from None
    values = parse_yaml(text, origin=str(path))
    if not isinstance(values, dict | None):
        raise CharlmError(
            f"{path}: found {show_value(values)}; must be a mapping of keys to values"
        )
    return values or {}


def parse_config(values: Mapping[str, Any], *, origin: str) -> Config:
    """Return the config with the given values, and defaults for the rest.

    Args:
        values: Sections and settings as in a YAML file.
        origin: Start of messages: a file or an option.

    Raises:
        CharlmError: Keys are unknown or values are invalid; the message describes every problem.

    """
    try:
        return Config.model_validate(values)
    except ValidationError as error:
        problems = error.errors()
        lines = [explain(problem, Config) for problem in problems[:MAX_PROBLEMS]]
        if len(problems) == 1:
            raise CharlmError(f"{origin}: {lines[0]}") from None
        raise CharlmError(f"{origin}: {len(problems):,} errors", problems=lines) from None


def dump_config(config: Config) -> str:
    """Return a config with all defaults as YAML; `parse_yaml` reads it back."""
    return dump_yaml(config.model_dump(mode="json"))


def flatten(config: Config) -> dict[str, Any]:
    """Return the settings of a config by their dotted keys."""
    values = dict(dotted(config.model_dump(mode="json", warnings=False)))
    return {key: values[key] for key, field in walk(Config) if section_of(field) is None}


def _parse(override: str) -> tuple[str, Any]:
    """Return the key and the value of KEY=VALUE."""
    key, equals, text = override.partition("=")
    if not equals or not key.strip():
        raise CharlmError(f"override {override}: must be KEY=VALUE, for example training.epochs=3")
    return key.strip(), parse_yaml(text, origin=f"override {key.strip()}")


def explain(problem: Mapping[str, Any], model: type[BaseModel]) -> str:
    """Return a problem as a line: the key, the value, what is expected, and a suggestion.

    Args:
        problem: Problem found by the model, an item of `ValidationError.errors()`.
        model: The model, whose keys are suggested for an unknown key.

    """
    kind = problem["type"]
    key = ".".join(map(str, problem["loc"]))
    message = problem["msg"].removeprefix("Value error, ")
    line = _EXPECTED.get(kind) or _expectation(message)
    if kind != "missing" and (key or kind != "value_error"):
        line = f"found {show_value(problem['input'])}; {line}"
    if key:
        line = f"{key}: {line}"
    hint = _hint(problem, key, model)
    return f"{line}; {hint}" if hint else line


def parse_stored(kind: type[Stored], data: str | bytes, *, origin: str) -> Stored:
    """Return the value in a file that charlm wrote.

    Args:
        kind: A Pydantic model or dataclass.
        data: A JSON object, which may have the version of charlm that wrote it.
        origin: Start of the message.

    Raises:
        CharlmError: The first value that is wrong or missing.
        UnreadableError: A key is unknown.

    """
    try:
        return TypeAdapter(kind).validate_json(data)
    except ValidationError as error:
        problem = error.errors()[0]
    line = f"{origin}: {explain(problem, Config)}"
    if problem["type"] not in _UNKNOWN:
        raise CharlmError(line)
    writer = json.loads(data).get("charlm", "of a later version")
    raise UnreadableError(f"{line}; written by charlm {writer}")


def _expectation(message: str) -> str:
    """Return the Pydantic message "Input should be 3" as "must be 3", and others unchanged."""
    subject, should, expected = message.partition(" should ")
    if should and subject.isalpha():
        return f"must {expected.partition(' after validation')[0]}"
    return message


_UNKNOWN = {"extra_forbidden", "unexpected_keyword_argument"}
"""Types of the error for an unknown key, of Pydantic models and of dataclasses."""
_MAPPING = "must be a mapping of keys to values"
_EXPECTED = {
    **dict.fromkeys(_UNKNOWN, f"there is no such key in version {__version__}"),
    "missing": "is missing",
    "model_type": _MAPPING,
    "model_attributes_type": _MAPPING,
    "dict_type": _MAPPING,
    "list_type": "must be a list",
}
"""Messages that replace messages of Pydantic, by the type of the error."""


def _hint(problem: Mapping[str, Any], key: str, model: type[BaseModel]) -> str | None:
    """Return a guess at the meaning of a wrong key or value, or None."""
    kind = problem["type"]
    if kind == "literal_error" and isinstance(problem["input"], str):
        near = nearest(problem["input"], re.findall("'(.*?)'", problem["ctx"]["expected"]))
        return f"did you mean {near}?" if near else None
    if kind in {"extra_forbidden", "model_type"}:
        meant = nearest_key(key, model)
        return f"did you mean {meant}?" if meant not in {None, key} else None
    return None


MAX_CONFIG_BYTES = 50_000
_FLOAT = "tag:yaml.org,2002:float"
_NUMBER = re.compile(r"[-+]?[0-9]++(\.[0-9]*+)?+[eE][-+]?[0-9]++$")
"""Number with an exponent, such as 1e-3, which is a text in YAML 1.1."""


class _Loader(yaml.SafeLoader):
    """Safe YAML without repeated keys, and without aliases, which can fill the memory."""

    def compose_node(self, parent: Any, index: Any) -> Any:
        """Return the next node; refuse an alias."""
        if self.check_event(yaml.AliasEvent):
            mark = self.peek_event().start_mark  # type: ignore[no-untyped-call]
            raise yaml.MarkedYAMLError(problem="aliases are not allowed", problem_mark=mark)
        return super().compose_node(parent, index)

    def construct_mapping(self, node: Any, deep: bool = False) -> dict[Any, Any]:
        """Return a mapping; refuse a repeated key."""
        mapping = super().construct_mapping(node, deep)  # refuses a key that is a list or a mapping
        seen = set[str]()
        for key, _ in node.value:
            if key.value in seen:
                problem = f"{key.value!r} occurs twice"
                raise yaml.MarkedYAMLError(problem=problem, problem_mark=key.start_mark)
            seen.add(key.value)
        return mapping


class _Dumper(yaml.SafeDumper):
    """Safe YAML that quotes the strings that `_Loader` would read as numbers."""


for _class in (_Loader, _Dumper):
    _class.add_implicit_resolver(_FLOAT, _NUMBER, [*"-+0123456789"])


def parse_yaml(text: str, *, origin: str) -> Any:
    """Return the value of a YAML text.

    Args:
        text: YAML.
        origin: Start of messages: a file or an option.

    Raises:
        CharlmError: The text is not YAML, nested too deeply, or contains an alias or a repeated
            key.

    """
    try:
        value = yaml.load(text, _Loader)
        str(value)  # a ValueError for a number of thousands of digits
        return value
    except RecursionError:
        raise CharlmError(f"{origin}: not valid YAML: nested too deeply") from None
    except Exception as error:  # tags with a wrong value, `!!bool maybe`, raise many other kinds
        mark = getattr(error, "problem_mark", None)
        place = f"line {mark.line + 1}, column {mark.column + 1}: " if mark else ""
        problem = getattr(error, "problem", None) or str(error).partition("\n")[0]
        raise CharlmError(
            f"{origin}: {place}not valid YAML: {problem}; check the indentation, without tabs"
        ) from None


def dump_yaml(values: Any) -> str:
    """Return a mapping as YAML in the order of its keys; `parse_yaml` reads it back."""
    return yaml.dump(values, Dumper=_Dumper, sort_keys=False, allow_unicode=True)


def show_value(value: Any) -> str:
    """Return a value as in YAML, shortened if it is long."""
    return json.dumps(value) if value is None or isinstance(value, bool) else short_repr(value)
