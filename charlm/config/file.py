"""A YAML text or file -> a `Config` and back, what is wrong with a value of a model, and what a resume may change.

YAML is restricted to what JSON can express: it is read from untrusted sources, and written so that it reads back the
same.
"""

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, get_args, get_origin

import yaml
from pydantic import BaseModel, ValidationError
from pydantic.fields import FieldInfo

from charlm.checks import MAX_DEPTH, check_json, check_text
from charlm.config.schema import RESUMABLE, Config, merge
from charlm.errors import CharlmError
from charlm.storage import read_file
from charlm.wording import nearest, short_repr

Overrides = str | Iterable[str] | Mapping[str, Any]
"""Values that replace those of a config: one `KEY=VALUE` as on the command line, several of them, or a mapping of
dotted keys, or of sections as in a YAML file, to values."""


def parse_overrides(overrides: Overrides) -> dict[str, Any]:
    """Return overrides as nested mappings, as a YAML file has them; if a key occurs twice, the last value counts.

    Raises:
        CharlmError: a text is not KEY=VALUE with a value in YAML, or a value is nothing that JSON has.

    """
    if not isinstance(overrides, str | Mapping | Iterable):
        raise CharlmError(f"overrides: found {short_repr(overrides)}; must be KEY=VALUE, a list of such, or a mapping")
    if isinstance(overrides, Mapping):
        return nest((str(key), as_json(value, origin=f"override {key}")) for key, value in overrides.items())
    return nest(map(_parse, [overrides] if isinstance(overrides, str) else overrides))


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
        place[last] = {**before, **value} if isinstance(before, dict) and isinstance(value, dict) else value
    return values


def dotted(values: Mapping[str, Any], before: str = "") -> Iterator[tuple[str, Any]]:
    """Yield what nested mappings hold by dotted keys; a mapping comes before what is in it."""
    for key, value in values.items():
        yield f"{before}{key}", value
        if isinstance(value, Mapping):
            yield from dotted(value, f"{before}{key}.")


def load_config(path: Path, *, overrides: Overrides = (), origin: str = "override") -> Config:
    """Read a config from a YAML file.

    Args:
        path: A file of at most 100,000 bytes, UTF-8.
        overrides: Values that replace those of the file.
        origin: What the message of an error in them starts with.

    Raises:
        CharlmError: the file cannot be read, is too large, or is not a mapping in YAML, or a key or value is not valid;
            the message names the file or override, the key, the value and the nearest valid key.

    """
    values = read_yaml(path)
    if not isinstance(values, dict | None):
        raise CharlmError(f"{path}: found {show_value(values)}; a config is a mapping of keys to values")
    values = values or {}
    config, others = parse_config(values, origin=str(path)), parse_overrides(overrides)
    return parse_config(merge(values, others), origin=origin) if others else config


def parse_config(values: Mapping[str, Any], *, origin: str) -> Config:
    """Return the Config that a mapping describes.

    Args:
        values: Sections and settings as in a YAML file; what is missing has its default.
        origin: What the message of an error starts with: a file or an option.

    Raises:
        CharlmError: a key is unknown or a value is not valid; the message describes the first of them.

    """
    try:
        return Config.model_validate(values)
    except ValidationError as error:
        raise CharlmError(f"{origin}: {explain(error, Config)}") from None


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


def check_resume(before: Config, after: Config, *, origin: str = "") -> dict[str, tuple[Any, Any]]:
    """Refuse to resume a run with settings that a resume may not change.

    Args:
        before: The settings that the run has.
        after: The settings to continue with.
        origin: What the message of an error starts with, for instance a file and a colon.

    Returns:
        The old and the new value of each setting that changes, by dotted keys.

    Raises:
        CharlmError: a setting differs that is not marked as Resumable.

    """
    changes: dict[str, tuple[Any, Any]] = {}
    for key, old, new in differences(before, after):
        if not is_resumable(key):
            raise CharlmError(
                f"{origin}{key}: found {show_value(new)}; must be {show_value(old)}, as at the start of the run: "
                f"it decided the steps that have been taken; leave it as it was, or start a new run"
            )
        changes[key] = (old, new)
    return changes


def differences(before: BaseModel, after: BaseModel, prefix: str = "") -> Iterator[tuple[str, Any, Any]]:
    """Yield the settings in which two sections differ: the dotted key and both values, as JSON has them.

    A section that only one of them has is a single difference.

    Args:
        before: A config, or a section of one.
        after: The same of another config.
        prefix: What the keys start with.

    """
    old_values, new_values = dict(before), dict(after)
    old_plain, new_plain = (section.model_dump(mode="json", warnings=False) for section in (before, after))
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
    return next((kind for kind in kinds if isinstance(kind, type) and issubclass(kind, BaseModel)), None)


def explain(error: ValidationError, model: type[BaseModel]) -> str:
    """Return what is wrong: the key, what was found, and what would do. The first error counts.

    Args:
        error: What the model raised.
        model: The model, from whose keys the nearest to an unknown one is proposed.

    """
    first = error.errors()[0]
    kind, path = first["type"], [str(part) for part in first["loc"]]
    words = re.sub(r"^\w+ should (.*?)( after validation.*)?$", r"must \1", first["msg"].removeprefix("Value error, "))
    line = {"extra_forbidden": "there is no such key", "missing": "is missing"}.get(kind, words)
    if kind != "missing" and (path or kind != "value_error"):
        line = f"found {show_value(first['input'])}; {line}"
    if path:
        line = f"{'.'.join(path)}: {line}"
    if kind == "literal_error":
        wrong, right = str(first["input"]), {word: word for word in re.findall("'(.*?)'", first["ctx"]["expected"])}
    elif kind == "extra_forbidden":
        keys = (key.rpartition(".") for key, _ in walk(model))
        own_last = sorted(keys, key=lambda key: key[0] == ".".join(path[:-1]))  # of two with one name, the last counts
        wrong, right = path[-1], {key[2]: "".join(key) for key in own_last}
    else:
        return line
    near = nearest(wrong, right)
    return f"{line}; did you mean {right[near]}?" if near else line


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
            raise yaml.MarkedYAMLError(problem="aliases and tags are not allowed", problem_mark=event.start_mark)
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
                raise yaml.MarkedYAMLError(problem=f"{key.value!r} occurs twice", problem_mark=key.start_mark)
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
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style=None if text.isprintable() else '"')


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
        CharlmError: JSON cannot express the value, for instance a date or a mapping that holds itself, or `check_json`
            refuses it; the message starts with `origin`.

    """
    try:
        plain = json.loads(json.dumps(value))
    except (ValueError, TypeError, RecursionError):
        problem = "must be what JSON can express; put a date in quotes"
        raise CharlmError(f"{origin}: found {short_repr(value)}; {problem}") from None
    check_json(plain, origin=origin)
    return plain


def show_value(value: Any) -> str:
    """Return a value as a line of YAML would have it, with long parts left out."""
    return json.dumps(value) if value is None or isinstance(value, bool) else short_repr(value)
