"""Read and write a `Config` as YAML, compare configs, and explain invalid values.

YAML is untrusted and restricted to values that JSON can express.
"""

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from numbers import Integral, Real
from pathlib import Path
from typing import Any, Literal, get_args

import yaml
from pydantic import BaseModel, ValidationError
from pydantic.fields import FieldInfo

from charlm.checks import MAX_DEPTH, check_json, check_text
from charlm.config.schema import USUAL_NAMES, Config, merge
from charlm.errors import CharlmError, several_problems
from charlm.storage import read_file
from charlm.wording import nearest, short_repr

Overrides = str | Iterable[str] | Mapping[str, Any]
"""Settings that replace settings of a config: one or more strings `KEY=VALUE`, a mapping of dotted
keys to values, or a mapping of sections as in a YAML file."""


OVERRIDE = "override"
"""Start of messages about an override."""
Spelling = Literal["override", "file", "key"]
"""Form of a setting in a message: KEY=VALUE, YAML, or only the dotted key."""


def parse_overrides(overrides: Overrides) -> dict[str, Any]:
    """Return overrides as nested mappings; the last value of a repeated key counts.

    Raises:
        CharlmError: A string is not KEY=VALUE, or a value cannot be expressed in JSON.

    """
    if isinstance(overrides, Mapping):
        pairs = []
        for key, value in overrides.items():
            pairs.append((str(key), as_json(value, origin=f"override {key}")))
        return nest(pairs)
    try:
        texts = [overrides] if isinstance(overrides, str) else [*overrides]
    except TypeError:
        problem = f"found {short_repr(overrides)}; must be KEY=VALUE, a list of these, or a mapping"
        raise CharlmError(f"overrides: {problem}") from None
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
        before = mapping.get(last)
        if isinstance(before, dict) and isinstance(value, dict):
            mapping[last] = {**before, **value}
        else:
            mapping[last] = value
    return values


def dotted(values: Mapping[str, Any], before: str = "") -> Iterator[tuple[str, Any]]:
    """Yield the dotted key and the value of each item, a mapping before its own items."""
    for key, value in values.items():
        yield f"{before}{key}", value
        if isinstance(value, Mapping):
            yield from dotted(value, f"{before}{key}.")


def load_config(path: Path, *, overrides: Overrides = ()) -> Config:
    """Read a config from a YAML file.

    Args:
        path: YAML file, UTF-8, of at most 100,000 bytes.
        overrides: Settings that replace settings of the file.

    Raises:
        CharlmError: The file cannot be read or is not a YAML mapping, or keys or values are
            invalid; the message describes every problem.

    """
    values = read_config(path)
    others = parse_overrides(overrides)
    if others:
        try:
            return Config.model_validate(merge(values, others))
        except ValidationError:
            parse_config(values, origin=str(path))  # the file itself may be to blame
    return parse_config(merge(values, others), origin=OVERRIDE if others else str(path))


def read_config(path: Path) -> dict[str, Any]:
    """Return the mapping in a YAML file, without checking its keys and values.

    Args:
        path: YAML file, UTF-8, of at most 100,000 bytes; an empty file is an empty mapping.

    Raises:
        CharlmError: The file cannot be read or is not a YAML mapping.

    """
    values = read_yaml(path)
    if not isinstance(values, dict | None):
        raise CharlmError(
            f"{path}: found {show_value(values)}; must be a mapping of keys to values"
        )
    return values or {}


def parse_config(
    values: Mapping[str, Any], *, origin: str, spelling: Spelling | None = None
) -> Config:
    """Return the config with the given values, and defaults for the rest.

    Args:
        values: Sections and settings as in a YAML file.
        origin: Start of messages: a file or an option.
        spelling: Form of settings in suggestions; None = the form that suits the origin.

    Raises:
        CharlmError: Keys are unknown or values are invalid; the message describes every problem.

    """
    try:
        return Config.model_validate(values)
    except ValidationError as error:
        raise explain_all(error, Config, origin=origin, spelling=spelling) from None


def dump_config(config: Config) -> str:
    """Return a config with all defaults as YAML; `parse_yaml` reads it back."""
    return dump_yaml(config.model_dump(mode="json"))


def flatten(section: BaseModel, before: str = "") -> dict[str, Any]:
    """Return the settings of a config, or of a section with the key `before`, by dotted keys."""
    settings: dict[str, Any] = {}
    plain = section.model_dump(mode="json", warnings=False)
    for name, value in section:
        if isinstance(value, BaseModel):
            settings |= flatten(value, f"{before}{name}.")
        else:
            settings[before + name] = plain[name]
    return settings


def _parse(override: str) -> tuple[str, Any]:
    """Return the key and the value of KEY=VALUE."""
    check_text("overrides", override)
    key, equals, text = override.partition("=")
    if not equals or not key.strip():
        raise CharlmError(f"override {override}: must be KEY=VALUE, for example training.epochs=3")
    return key.strip(), parse_yaml(text, origin=f"override {key.strip()}")


def walk(model: type[BaseModel], before: str = "") -> Iterator[tuple[str, FieldInfo]]:
    """Yield the dotted key and the field of each setting and section, a section before its fields.

    Args:
        model: A config or a section.
        before: Start of the dotted keys.

    """
    for name, field in model.model_fields.items():
        yield before + name, field
        section = section_of(field)
        if section is not None:
            yield from walk(section, f"{before}{name}.")


def section_of(field: FieldInfo) -> type[BaseModel] | None:
    """Return the section type of a field; None for a plain setting."""
    for kind in (field.annotation, *get_args(field.annotation)):
        if isinstance(kind, type) and issubclass(kind, BaseModel):
            return kind
    return None


def named_settings(model: type[BaseModel] = Config, *, section: str = "") -> dict[str, str]:
    """Return the dotted keys of settings and sections by their last names and usual names.

    Names that occur in several sections are left out, except in `section`.

    Args:
        model: A config or a section.
        section: Dotted key of the section to prefer.

    """
    keys = [key for key, _ in walk(model)]
    by_last_name = dict[str, list[str]]()
    in_section = {}
    for key in keys:
        parent, _, name = key.rpartition(".")
        by_last_name.setdefault(name, []).append(key)
        if parent == section:
            in_section[name] = key
    unique = {name: same[0] for name, same in by_last_name.items() if len(same) == 1}
    usual = {name: key for name, key in USUAL_NAMES.items() if key in keys}
    return {**unique, **usual, **in_section}


def key_for_value(key: str) -> str | None:
    """Return the dotted key that a single value sets, or None for a section without a name.

    Args:
        key: Dotted key of a setting or section; for training.optimizer, the result is
            training.optimizer.name.

    """
    field = dict(walk(Config))[key]
    if _has_name(field):
        return f"{key}.name"
    return None if section_of(field) else key


def is_valid(overrides: Overrides) -> bool:
    """Return whether overrides are valid together with the defaults."""
    try:
        Config.model_validate(parse_overrides(overrides))
    except (CharlmError, ValidationError):
        return False
    return True


def _has_name(field: FieldInfo) -> bool:
    section = section_of(field)
    return section is not None and "name" in section.model_fields


def explain_all(
    error: ValidationError, model: type[BaseModel], *, origin: str, spelling: Spelling | None = None
) -> CharlmError:
    """Return an error that describes every problem found by a model, one for each key.

    Args:
        error: Error raised by the model.
        model: The model, whose keys are suggested for unknown keys.
        origin: Start of the message: a file or an option.
        spelling: Form of settings in suggestions; None = the form that suits the origin.

    """
    spelling = spelling or ("override" if origin == OVERRIDE else "file")
    by_key = {problem["loc"]: problem for problem in reversed(error.errors())}
    lines = (_explain(by_key[key], model, spelling) for key in reversed(by_key))
    return several_problems(origin, lines, count=len(by_key))


def explain(error: ValidationError, model: type[BaseModel]) -> str:
    """Return the first problem found by a model, with the key, the value and the valid values.

    Args:
        error: Error raised by the model.
        model: The model, whose keys are suggested for unknown keys.

    """
    return _explain(error.errors()[0], model, "file")


def _explain(problem: Mapping[str, Any], model: type[BaseModel], spelling: Spelling) -> str:
    """Return a problem found by Pydantic as a line, with a suggestion if possible."""
    kind = problem["type"]
    path = [str(part) for part in problem["loc"]]
    message = problem["msg"].removeprefix("Value error, ")
    line = _EXPECTED.get(kind) or _expectation(message)
    has_value = kind != "missing" and (path or kind != "value_error")
    if has_value:
        line = f"found {show_value(problem['input'])}; {line}"
    if path:
        line = f"{'.'.join(path)}: {line}"
    suggestion = _suggestion(problem, path, model, spelling)
    return f"{line}; did you mean {suggestion}?" if suggestion else line


def _expectation(message: str) -> str:
    """Return the Pydantic message "Input should be 3" as "must be 3", and others unchanged."""
    subject, should, expected = message.partition(" should ")
    if should and subject.isalpha():
        return f"must {expected.partition(' after validation')[0]}"
    return message


_MAPPING = "must be a mapping of keys to values"
_LIST = "must be a list"
_EXPECTED = {
    "extra_forbidden": "there is no such key",
    "missing": "is missing",
    "model_type": _MAPPING,
    "model_attributes_type": _MAPPING,
    "dict_type": _MAPPING,
    "tuple_type": _LIST,
    "list_type": _LIST,
}
"""Messages that replace messages of Pydantic, by the type of the error."""


def _suggestion(
    problem: Mapping[str, Any], path: list[str], model: type[BaseModel], spelling: Spelling
) -> str | None:
    """Return the probable spelling of a wrong value, key or section, or None."""
    kind, value = problem["type"], problem["input"]
    if kind == "literal_error":
        return nearest(str(value), re.findall("'(.*?)'", problem["ctx"]["expected"]))
    is_unknown_key = kind == "extra_forbidden"
    key: str | None = ".".join(path)
    if is_unknown_key:
        names = named_settings(model, section=".".join(path[:-1]))
        near = nearest(path[-1], names)
        key = names[near] if near else None
    field = dict(walk(model)).get(key or "")
    if key is None or field is None:
        return None
    is_name = _has_name(field) and isinstance(value, str) and is_valid({f"{key}.name": value})
    if is_name or is_unknown_key:
        return _spell(key, value, spelling, is_name=is_name)
    return None


def _spell(key: str, value: Any, spelling: Spelling, *, is_name: bool) -> str:
    """Return a setting with its value, or only its key if the value is invalid.

    Args:
        key: Dotted key of a setting or section.
        value: Value that the user chose.
        spelling: Form of the setting.
        is_name: Whether the value is the name in the section, for example of an optimizer.

    """
    if is_name and spelling == "file":
        return f"{key}: {{name: {value}}}"
    if is_name:
        key = f"{key}.name"
    if spelling == "override" and not isinstance(value, dict | list) and is_valid({key: value}):
        return f"{key}={value if isinstance(value, str) else json.dumps(value)}"
    return key


MAX_CONFIG_BYTES = 100_000
_INT, _FLOAT = "tag:yaml.org,2002:int", "tag:yaml.org,2002:float"
_NUMBER = re.compile(
    r"""(?: [-+]? (?: (?: [0-9]++\.[0-9]*+ | \.[0-9]++ ) (?: [eE][-+]?[0-9]++ )?+  # 1.5, .5, 1.5e-3
                  | [0-9]++ [eE][-+]?[0-9]++  # 1e-3, a text in YAML 1.1
                  | \.(?:inf|Inf|INF) )
          | \.(?:nan|NaN|NAN) ) $""",
    re.VERBOSE,
)
"""Number with a decimal point or an exponent, infinity, or NaN.

Possessive quantifiers keep the time linear in the number of digits."""
_DECIMAL = re.compile(r"[-+]?(?:0|[1-9][0-9]*+)")


class _Loader(yaml.SafeLoader):
    """YAML without tags, repeated keys and aliases; a few aliases can fill the memory."""

    def __init__(self, stream: Any) -> None:
        super().__init__(stream)
        self._depth = 0

    def compose_node(self, parent: Any, index: Any) -> Any:
        """Return the next node; refuse tags, aliases and deep nesting."""
        event: Any = self.peek_event()  # type: ignore[no-untyped-call]
        if isinstance(event, yaml.AliasEvent) or getattr(event, "tag", None):
            raise yaml.MarkedYAMLError(
                problem="aliases and tags are not allowed", problem_mark=event.start_mark
            )
        if self._depth > MAX_DEPTH:
            problem = f"lists or mappings nested more than {MAX_DEPTH} levels deep"
            raise yaml.MarkedYAMLError(problem=problem, problem_mark=event.start_mark)
        self._depth += 1
        node = super().compose_node(parent, index)
        self._depth -= 1
        return node

    def construct_mapping(self, node: Any, deep: bool = False) -> dict[Any, Any]:
        """Return a mapping; refuse repeated keys."""
        mapping = super().construct_mapping(node, deep)  # refuses a key that is a list or a mapping
        seen = set[str]()
        for key, _ in node.value:
            if key.value in seen:
                raise yaml.MarkedYAMLError(
                    problem=f"{key.value!r} occurs twice", problem_mark=key.start_mark
                )
            seen.add(key.value)
        return mapping

    def construct_yaml_int(self, node: Any) -> int:
        """Return a whole number; refuse 010 and 1:30, which are 8 and 90 in YAML 1.1."""
        if not _DECIMAL.fullmatch(node.value):
            problem = (
                f"{short_repr(node.value)} is not a decimal number; if it is meant as text, put "
                "it in quotes"
            )
            raise yaml.MarkedYAMLError(problem=problem, problem_mark=node.start_mark)
        return int(node.value)


class _Dumper(yaml.SafeDumper):
    """Safe YAML without aliases; repeated values are written in full."""

    def ignore_aliases(self, data: Any) -> bool:
        """Return True."""
        return True


def _represent_text(dumper: Any, text: str) -> Any:
    """Return a string as a node; PyYAML would read an unescaped U+0085 back as a space."""
    style = None if text.isprintable() else '"'
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style=style)


_Loader.yaml_implicit_resolvers = {  # without the numbers of YAML 1.1, in which 1:30.5 is 90.5
    first: [(tag, pattern) for tag, pattern in resolvers if tag != _FLOAT]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
_Loader.add_constructor(_INT, _Loader.construct_yaml_int)
_Dumper.add_representer(str, _represent_text)
for _class in (_Loader, _Dumper):  # the dumper must quote strings that the loader reads as numbers
    _class.add_implicit_resolver(_FLOAT, _NUMBER, [*"-+.0123456789"])


def parse_yaml(text: str, *, origin: str) -> Any:
    """Return the value of a YAML text.

    Args:
        text: YAML, at most 100,000 characters.
        origin: Start of messages: a file or an option.

    Raises:
        CharlmError: The text is too long, not YAML, nested too deeply, or contains an alias, a tag,
            a repeated key or a value that JSON cannot express.

    """
    if len(text) > MAX_CONFIG_BYTES:
        raise CharlmError(
            f"{origin}: {len(text):,} characters; a config has at most {MAX_CONFIG_BYTES:,}"
        )
    try:
        value = yaml.load(text, _Loader)
    except (yaml.YAMLError, ValueError) as error:  # ValueError: no such date, thousands of digits
        mark = getattr(error, "problem_mark", None)
        place = f"line {mark.line + 1}, column {mark.column + 1}: " if mark else ""
        problem = getattr(error, "problem", None) or str(error).partition("\n")[0]
        raise CharlmError(f"{origin}: {place}not valid YAML: {problem}") from None
    return as_json(value, origin=origin)


def read_yaml(path: Path) -> Any:
    """Return the value of a YAML file.

    Args:
        path: YAML file, UTF-8, of at most 100,000 bytes.

    Raises:
        CharlmError: The file cannot be read, or `parse_yaml` refuses its text.

    """
    try:
        text = read_file(path, limit=MAX_CONFIG_BYTES).decode("utf-8")
    except UnicodeDecodeError:
        raise CharlmError(f"{path}: cannot be read as YAML: not UTF-8 text") from None
    return parse_yaml(text, origin=str(path))


def dump_yaml(values: Any) -> str:
    """Return a mapping as YAML in the order of its keys; `parse_yaml` reads it back."""
    return yaml.dump(values, Dumper=_Dumper, sort_keys=False, allow_unicode=True)


def as_json(value: Any, *, origin: str) -> Any:
    """Return a value as JSON represents it: tuples as lists, and keys as strings.

    Raises:
        CharlmError: JSON cannot express the value, for example a date, or `check_json` refuses it;
            the message starts with `origin`.

    """
    try:
        plain = json.loads(json.dumps(value, default=_plain_number))
    except (ValueError, TypeError, RecursionError) as error:
        hint = "; put dates in quotes" if "date" in str(error) else ""
        problem = f"must be a value that JSON can express{hint}"
        raise CharlmError(f"{origin}: found {short_repr(value)}; {problem}") from None
    check_json(plain, origin=origin)
    return plain


def _plain_number(value: Any) -> int | float:
    """Return a NumPy number as a Python number, for `json.dumps`."""
    if isinstance(value, Integral):
        return int(value)
    if isinstance(value, Real):
        return float(value)
    raise TypeError(f"found an object of type {type(value).__name__}")


def show_value(value: Any) -> str:
    """Return a value as in YAML, shortened if it is long."""
    return json.dumps(value) if value is None or isinstance(value, bool) else short_repr(value)
