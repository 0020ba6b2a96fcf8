"""A YAML text or file -> a `Config` and back, what is wrong with a value of a model, and what a resume may change."""

import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, get_args

from pydantic import BaseModel, ValidationError
from pydantic.fields import FieldInfo

from charlm.config.schema import RESUMABLE, Config, merge
from charlm.config.yaml import MAX_DEPTH, as_json, dump_yaml, parse_yaml, read_yaml, show_value
from charlm.errors import CharlmError, nearest, short_repr

Overrides = str | Iterable[str] | Mapping[str, Any]
"""Values that replace those of a config: one `KEY=VALUE` as on the command line, several of them, or a mapping of
dotted keys, or of sections as in a YAML file, to values."""


def parse_overrides(overrides: Overrides) -> dict[str, Any]:
    """Return overrides as nested mappings, as a YAML file has them; if a key occurs twice, the last value counts.

    Raises:
        CharlmError: it is neither texts nor a mapping, a text is not KEY=VALUE with a value in YAML, a value is nothing
            that JSON has, or a key is nested too deep.

    """
    if isinstance(overrides, Mapping):
        pairs = [(key, as_json(value, origin=f"override {key}")) for key, value in overrides.items()]
    else:
        texts = [overrides] if isinstance(overrides, str) or not isinstance(overrides, Iterable) else [*overrides]
        if not all(isinstance(text, str) for text in texts):
            raise CharlmError(f"overrides: found {short_repr(overrides)}; must be texts KEY=VALUE, or a mapping")
        pairs = [_parse(text) for text in texts]
    return nest(pairs)


def nest(pairs: Iterable[tuple[str, Any]]) -> dict[str, Any]:
    """Return values by dotted keys as nested mappings; if a key occurs twice, the last value counts.

    Raises:
        CharlmError: a key is nested too deep.

    """
    values: dict[str, Any] = {}
    for key, value in pairs:
        *sections, last = key.split(".")
        if len(sections) > MAX_DEPTH:
            raise CharlmError(f"override {short_repr(key)}: nested more than {MAX_DEPTH} deep")
        place = values
        for section in sections:
            found = place.get(section)
            place[section] = dict(found) if isinstance(found, dict) else {}
            place = place[section]
        before = place.get(last)
        place[last] = {**before, **value} if isinstance(before, dict) and isinstance(value, dict) else value
    return values


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
    for name, value in section:
        if isinstance(value, BaseModel):
            found |= flatten(value, f"{before}{name}.")
        else:
            found[before + name] = list(value) if isinstance(value, tuple) else value
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
    new = flatten(after)
    changes = {key: (old, new[key]) for key, old in flatten(before).items() if old != new[key]}
    resumable = [key for key, field in walk(Config) if RESUMABLE in field.metadata]
    for key, (old, new) in changes.items():
        if not any(f"{key}.".startswith(f"{one}.") for one in resumable):
            raise CharlmError(
                f"{origin}{key}: found {show_value(new)}; must be {show_value(old)}, as at the start of the run: "
                f"it decided the steps that have been taken; leave it as it was, or start a new run"
            )
    return changes


def _parse(override: str) -> tuple[str, Any]:
    """Return the key and the value of KEY=VALUE."""
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
    """Return the model that a field holds, or may hold; None if it holds a value."""
    kinds = field.annotation, *get_args(field.annotation)
    return next((kind for kind in kinds if isinstance(kind, type) and issubclass(kind, BaseModel)), None)


def explain(error: ValidationError, model: type[BaseModel]) -> str:
    """Return what is wrong, in pydantic's words: the key, what was found, and what would do. The first error counts.

    Args:
        error: What the model raised.
        model: The model, from whose keys the nearest to an unknown one is proposed.

    """
    first = error.errors()[0]
    kind, path = first["type"], [str(part) for part in first["loc"]]
    line = first["msg"].removeprefix("Value error, ")
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
