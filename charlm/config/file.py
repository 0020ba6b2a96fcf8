"""A YAML text or file -> a `Config` and back, what is wrong with a value of a model, and what a resume may change.

YAML is restricted to what JSON can express: it is read from untrusted sources, and written so that it reads back the
same.
"""

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from numbers import Integral, Real
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

import yaml
from pydantic import BaseModel, ValidationError
from pydantic.fields import FieldInfo

from charlm.checks import MAX_DEPTH, check_json, check_text
from charlm.config.schema import RESUMABLE, USUAL_NAMES, Config, merge
from charlm.errors import CharlmError, several_problems
from charlm.storage import read_file
from charlm.wording import nearest, short_repr

Overrides = str | Iterable[str] | Mapping[str, Any]
"""Values that replace those of a config: one `KEY=VALUE` as on the command line, several of them, or a mapping of
dotted keys, or of sections as in a YAML file, to values."""


OVERRIDE = "override"
"""Origin of an override: the first word of a message about it."""
Spelling = Literal["override", "file", "key"]
"""How a message writes a setting: KEY=VALUE, as a part of a YAML file, or as a dotted key alone."""


def parse_overrides(overrides: Overrides) -> dict[str, Any]:
    """Return overrides as nested mappings, as a YAML file has them; if a key occurs twice, the last value counts.

    Raises:
        CharlmError: a text is not KEY=VALUE with a value in YAML, or a value is nothing that JSON has.

    """
    if isinstance(overrides, Mapping):
        return nest(
            (str(key), as_json(value, origin=f"override {key}")) for key, value in overrides.items()
        )
    try:
        texts = [overrides] if isinstance(overrides, str) else [*overrides]
    except TypeError:
        problem = f"found {short_repr(overrides)}; must be KEY=VALUE, a list of such, or a mapping"
        raise CharlmError(f"overrides: {problem}") from None
    return nest(map(_parse, texts))


def nest(pairs: Iterable[tuple[str, Any]]) -> dict[str, Any]:
    """Return values by dotted keys as nested mappings; if a key occurs twice, the last value counts."""
    values: dict[str, Any] = {}
    for key, value in pairs:
        *sections, last = key.split(".")
        place = values
        for section in sections:
            found = place.get(section)
            place[section] = dict(found) if isinstance(found, dict) else {}
            place = place[section]
        before = place.get(last)
        place[last] = (
            {**before, **value} if isinstance(before, dict) and isinstance(value, dict) else value
        )
    return values


def dotted(values: Mapping[str, Any], before: str = "") -> Iterator[tuple[str, Any]]:
    """Yield what nested mappings hold by dotted keys; a mapping comes before what is in it."""
    for key, value in values.items():
        yield f"{before}{key}", value
        if isinstance(value, Mapping):
            yield from dotted(value, f"{before}{key}.")


def load_config(path: Path, *, overrides: Overrides = (), origin: str = OVERRIDE) -> Config:
    """Read a config from a YAML file.

    Args:
        path: A file of at most 100,000 bytes, UTF-8.
        overrides: Values that replace those of the file.
        origin: What the message of an error in them starts with.

    Raises:
        CharlmError: the file cannot be read, is too large, or is not a mapping in YAML, or a key or value is not valid;
            the message has every problem, and names the file or override, the key, the value and the nearest valid
            key.

    """
    values = read_config(path)
    config, others = parse_config(values, origin=str(path)), parse_overrides(overrides)
    return parse_config(merge(values, others), origin=origin) if others else config


def read_config(path: Path) -> dict[str, Any]:
    """Return the mapping in the YAML file of a config; its keys and values are not checked.

    Args:
        path: A file of at most 100,000 bytes, UTF-8; an empty one is an empty mapping.

    Raises:
        CharlmError: the file cannot be read, is too large, or is not a mapping in YAML.

    """
    values = read_yaml(path)
    if not isinstance(values, dict | None):
        raise CharlmError(
            f"{path}: found {show_value(values)}; a config is a mapping of keys to values"
        )
    return values or {}


def parse_config(
    values: Mapping[str, Any], *, origin: str, spelling: Spelling | None = None
) -> Config:
    """Return the Config that a mapping describes.

    Args:
        values: Sections and settings as in a YAML file; what is missing has its default.
        origin: What the message of an error starts with: a file or an option.
        spelling: How a message writes what was probably meant; None = as the origin does.

    Raises:
        CharlmError: keys are unknown or values are not valid; the message describes each of them.

    """
    try:
        return Config.model_validate(values)
    except ValidationError as error:
        raise explain_all(error, Config, origin=origin, spelling=spelling) from None


def dump_config(config: Config) -> str:
    """Return a config as YAML, defaults included; `parse_yaml` reads it back."""
    return dump_yaml(config.model_dump(mode="json"))


def flatten(section: BaseModel, before: str = "") -> dict[str, Any]:
    """Return the settings of a config, or of a section whose key is `before`, by dotted keys, as JSON has them."""
    found: dict[str, Any] = {}
    plain = section.model_dump(mode="json", warnings=False)
    for name, value in section:
        if isinstance(value, BaseModel):
            found |= flatten(value, f"{before}{name}.")
        else:
            found[before + name] = plain[name]
    return found


def check_resume(
    before: Config, after: Config, *, origin: str = OVERRIDE
) -> dict[str, tuple[Any, Any]]:
    """Refuse to resume a run with settings that a resume may not change.

    Args:
        before: The settings that the run has.
        after: The settings to continue with.
        origin: What the message of an error starts with: a file or an option.

    Returns:
        The old and the new value of each setting that changes, by dotted keys.

    Raises:
        CharlmError: settings differ that are not marked as Resumable; the message names each of them.

    """
    changes = {key: (old, new) for key, old, new in differences(before, after)}
    problems = [
        f"{key}: found {show_value(new)}; must be {show_value(old)}, as at the start of the run: it decided the steps "
        f"that have been taken; leave it as it was, or start a new run"
        for key, (old, new) in changes.items()
        if not is_resumable(key)
    ]
    if problems:
        raise several_problems(origin, problems, count=len(problems))
    return changes


def differences(
    before: BaseModel, after: BaseModel, prefix: str = ""
) -> Iterator[tuple[str, Any, Any]]:
    """Yield the settings in which two sections differ: the dotted key and both values, as JSON has them.

    A section that only one of them has is a single difference.

    Args:
        before: A config, or a section of one.
        after: The same of another config.
        prefix: What the keys start with.

    """
    old_values, new_values = dict(before), dict(after)
    old_plain, new_plain = (
        section.model_dump(mode="json", warnings=False) for section in (before, after)
    )
    for name in dict.fromkeys([*old_values, *new_values]):
        old, new = old_values.get(name), new_values.get(name)
        if isinstance(old, BaseModel) and isinstance(new, BaseModel):
            yield from differences(old, new, f"{prefix}{name}.")
        elif old_plain.get(name) != new_plain.get(name):
            yield f"{prefix}{name}", old_plain.get(name), new_plain.get(name)


def is_resumable(key: str) -> bool:
    """Return whether a resume may change a setting, given its dotted key."""
    resumable = (name for name, field in walk(Config) if RESUMABLE in field.metadata)
    return any(f"{key}.".startswith(f"{name}.") for name in resumable)


def _parse(override: str) -> tuple[str, Any]:
    """Return the key and the value of KEY=VALUE."""
    check_text("overrides", override)
    key, equals, text = override.partition("=")
    if not equals or not key.strip():
        raise CharlmError(f"override {override}: must be KEY=VALUE, for instance training.epochs=3")
    return key.strip(), parse_yaml(text, origin=f"override {key.strip()}")


def walk(model: type[BaseModel], before: str = "") -> Iterator[tuple[str, FieldInfo]]:
    """Yield every field of a model with its dotted key; a field that is a model comes before those in it.

    Args:
        model: The model.
        before: What the keys start with.

    """
    for name, field in model.model_fields.items():
        yield before + name, field
        if section := section_of(field):
            yield from walk(section, f"{before}{name}.")


def section_of(field: FieldInfo) -> type[BaseModel] | None:
    """Return the model that a field holds, or may hold; None if it holds a value, or several models."""
    if get_origin(field.annotation) is tuple:
        return None
    kinds = field.annotation, *get_args(field.annotation)
    return next(
        (kind for kind in kinds if isinstance(kind, type) and issubclass(kind, BaseModel)), None
    )


def named_settings(model: type[BaseModel] = Config, *, section: str = "") -> dict[str, str]:
    """Return the dotted key of each setting or section of a model by its own last name and by its usual names.

    A last name that several sections have is left out, and so are the settings of teachers: they are not valid alone.
    Those of the given section are always there.

    Args:
        model: The model.
        section: The dotted key of a section; its settings come first if several settings have one name.

    """
    keys = [key for key, _ in walk(model)]
    by_last_name = dict[str, list[str]]()
    for key in keys:
        if ".teachers." not in key:
            by_last_name.setdefault(key.rpartition(".")[2], []).append(key)
    last_names = {name: found[0] for name, found in by_last_name.items() if len(found) == 1}
    usual_names = {name: key for name, key in USUAL_NAMES.items() if key in keys}
    own_names = {key.rpartition(".")[2]: key for key in keys if key.rpartition(".")[0] == section}
    return {**last_names, **usual_names, **own_names}


def key_for_value(key: str) -> str | None:
    """Return the dotted key that takes a single value: that of a setting, or of the name of a section.

    Args:
        key: The dotted key of a setting or section, for instance training.optimizer.

    Returns:
        The key, for instance training.optimizer.name; None for a section without a name.

    """
    field = dict(walk(Config))[key]
    if _has_name(field):
        return f"{key}.name"
    return None if section_of(field) else key


def is_valid(overrides: Overrides) -> bool:
    """Return whether overrides are valid if every other setting has its default."""
    try:
        Config.model_validate(parse_overrides(overrides))
    except (CharlmError, ValidationError):
        return False
    return True


def _has_name(field: FieldInfo) -> bool:
    """Return whether a field holds a section with a setting `name`."""
    section = section_of(field)
    return section is not None and "name" in section.model_fields


def explain_all(
    error: ValidationError, model: type[BaseModel], *, origin: str, spelling: Spelling | None = None
) -> CharlmError:
    """Return an error that describes every problem that a model has found, one for each key.

    Args:
        error: What the model raised.
        model: The model, from whose keys the nearest to an unknown one is proposed.
        origin: What the message starts with: a file or an option.
        spelling: How the message writes what was probably meant; None = as the origin does.

    """
    spelling = spelling or ("override" if origin == OVERRIDE else "file")
    by_key = {problem["loc"]: problem for problem in reversed(error.errors())}
    lines = (_explain(by_key[key], model, spelling) for key in reversed(by_key))
    return several_problems(origin, lines, count=len(by_key))


def explain(error: ValidationError, model: type[BaseModel]) -> str:
    """Return the first problem that a model has found: the key, the value, and the values that it may have.

    Args:
        error: What the model raised.
        model: The model, from whose keys the nearest to an unknown one is proposed.

    """
    return _explain(error.errors()[0], model, "file")


def _explain(problem: Mapping[str, Any], model: type[BaseModel], spelling: Spelling) -> str:
    """Return a problem that Pydantic has found as a line, with a hint if the right spelling is known."""
    kind, path, value = problem["type"], [str(part) for part in problem["loc"]], problem["input"]
    message = problem["msg"].removeprefix("Value error, ")
    expected = _EXPECTED.get(kind) or _expectation(message)
    has_value = kind != "missing" and (path or kind != "value_error")
    line = f"found {show_value(value)}; {expected}" if has_value else expected
    if path:
        line = f"{'.'.join(path)}: {line}"
    meant = _meant(problem, path, model, spelling)
    return f"{line}; did you mean {meant}?" if meant else line


def _expectation(message: str) -> str:
    """Return a message of Pydantic, such as "Input should be 3", as "must be 3"; another message as it is."""
    subject, should, expected = message.partition(" should ")
    return (
        f"must {expected.partition(' after validation')[0]}"
        if should and subject.isalpha()
        else message
    )


_MAPPING, _LIST = "must be a mapping of keys to values", "must be a list"
_EXPECTED = {
    "extra_forbidden": "there is no such key",
    "missing": "is missing",
    "model_type": _MAPPING,
    "model_attributes_type": _MAPPING,
    "dict_type": _MAPPING,
    "tuple_type": _LIST,
    "list_type": _LIST,
}
"""Message for each kind of error whose message by Pydantic is not for users."""


def _meant(
    problem: Mapping[str, Any], path: list[str], model: type[BaseModel], spelling: Spelling
) -> str | None:
    """Return the right spelling of a wrong word, key or section; None if it is not known."""
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
    """Return a setting with its value, or its key alone if that value would be refused.

    Args:
        key: The dotted key of a setting or section.
        value: The value that the user gave.
        spelling: How to write it.
        is_name: Whether the value is the name of the section, for instance of an optimizer.

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
                  | [0-9]++ [eE][-+]?[0-9]++                                     # 1e-3, a text in YAML 1.1
                  | \.(?:inf|Inf|INF) )
          | \.(?:nan|NaN|NAN) ) $""",
    re.VERBOSE,
)
"""A number that is not whole. The quantifiers are possessive: a million digits take milliseconds."""
_DECIMAL = re.compile(r"[-+]?(?:0|[1-9][0-9]*+)")


class _Loader(yaml.SafeLoader):
    """YAML without tags, aliases (a few hundred bytes of them can fill the memory) and repeated keys."""

    def __init__(self, stream: Any) -> None:
        super().__init__(stream)
        self._depth = 0

    def compose_node(self, parent: Any, index: Any) -> Any:
        """Return the next node; a tag, an alias and deep nesting are refused."""
        event: Any = self.peek_event()  # type: ignore[no-untyped-call]
        if isinstance(event, yaml.AliasEvent) or getattr(event, "tag", None):
            raise yaml.MarkedYAMLError(
                problem="aliases and tags are not allowed", problem_mark=event.start_mark
            )
        if self._depth > MAX_DEPTH:
            problem = f"more than {MAX_DEPTH} lists or mappings inside each other"
            raise yaml.MarkedYAMLError(problem=problem, problem_mark=event.start_mark)
        self._depth += 1
        node = super().compose_node(parent, index)
        self._depth -= 1
        return node

    def construct_mapping(self, node: Any, deep: bool = False) -> dict[Any, Any]:
        """Return a mapping; a key that occurs twice is refused."""
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
        """Return a whole number; what only YAML 1.1 takes for one is refused: 010 is 8 there, and 1:30 is 90."""
        if not _DECIMAL.fullmatch(node.value):
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
    return dumper.represent_scalar(
        "tag:yaml.org,2002:str", text, style=None if text.isprintable() else '"'
    )


_Loader.yaml_implicit_resolvers = {  # without the numbers of YAML 1.1, in which 1:30.5 is 90.5
    first: [(tag, pattern) for tag, pattern in resolvers if tag != _FLOAT]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
_Loader.add_constructor(_INT, _Loader.construct_yaml_int)
_Dumper.add_representer(str, _represent_text)
for _class in (_Loader, _Dumper):  # what the one reads as a number, the other must quote
    _class.add_implicit_resolver(_FLOAT, _NUMBER, [*"-+.0123456789"])


def parse_yaml(text: str, *, origin: str) -> Any:
    """Return the value that a YAML text holds.

    Args:
        text: At most 100,000 characters of YAML that JSON could express.
        origin: What the message of an error starts with: a file or an option.

    Raises:
        CharlmError: the text is longer, not YAML, nested too deep, or has an alias, a tag, a repeated key or
            a whole number that is not decimal, with the line and column; or as `as_json`.

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
        CharlmError: JSON cannot express the value, for instance a date or a mapping that holds itself, or `check_json`
            refuses it; the message starts with `origin`.

    """
    try:
        plain = json.loads(json.dumps(value, default=_plain_number))
    except (ValueError, TypeError, RecursionError) as error:
        hint = "; put a date in quotes" if "date" in str(error) else ""
        problem = f"must be what JSON can express{hint}"
        raise CharlmError(f"{origin}: found {short_repr(value)}; {problem}") from None
    check_json(plain, origin=origin)
    return plain


def _plain_number(value: Any) -> int | float:
    """Return a number of NumPy as one of Python, for `json.dumps`."""
    if isinstance(value, Integral):
        return int(value)
    if isinstance(value, Real):
        return float(value)
    raise TypeError(f"found an object of type {type(value).__name__}")


def show_value(value: Any) -> str:
    """Return a value as a line of YAML would have it, with long parts left out."""
    return json.dumps(value) if value is None or isinstance(value, bool) else short_repr(value)
