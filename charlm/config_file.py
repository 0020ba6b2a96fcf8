"""A YAML text or file -> a `Config` and back, and what is said where a key or value is not right."""

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from charlm.config import DECIDED_BY_THE_TASK, Config
from charlm.errors import CharlmError, nearest, shorten
from charlm.intake import read_file
from charlm.safe_yaml import MAX_CONFIG_BYTES, dump_yaml, parse_yaml


def load_config(path: Path, *, overrides: Iterable[str] = ()) -> Config:
    """Read a config from a YAML file, with `KEY=VALUE` overrides (dotted keys) on top.

    Raises CharlmError where the file cannot be read, or a key or value is not right; the message names the
    file or override, the key, the value and the nearest right key.
    """
    try:
        text = read_file(path, limit=MAX_CONFIG_BYTES).decode("utf-8")
    except UnicodeDecodeError:
        raise CharlmError(f"{path}: cannot be read as a config: not UTF-8 text") from None
    values = parse_yaml(text, origin=str(path))
    if values is None:
        values = {}
    if not isinstance(values, dict):
        raise CharlmError(f"{path}: holds {_kind(values)}; a config is a mapping of keys to values")
    config = parse_config(values, origin=str(path))
    overrides = list(overrides)
    if not overrides:
        return config
    for override in overrides:
        _set(values, override)
    return parse_config(values, origin="--set")


def parse_config(values: Mapping[str, Any], *, origin: str) -> Config:
    """Return the Config that a mapping describes.

    Raises CharlmError, starting with `origin`, for the first key or value that is not right.
    """
    try:
        return Config.model_validate(values)
    except ValidationError as error:
        raise CharlmError(f"{origin}: {_describe(error)}") from None


def dump_config(config: Config) -> str:
    """Return the config as YAML, defaults included; `parse_yaml` reads it back."""
    return dump_yaml(config.model_dump(mode="json"))


def flatten(config: Config) -> dict[str, Any]:
    """Return the settings as one level of dotted keys."""

    def walk(prefix: str, value: Any) -> Iterator[tuple[str, Any]]:
        """Yield the dotted key and the value of each setting; an empty section is a value."""
        if isinstance(value, dict) and value:
            for key, inner in value.items():
                yield from walk(f"{prefix}.{key}" if prefix else key, inner)
        else:
            yield prefix, value

    return dict(walk("", config.model_dump(mode="json")))


def _set(values: dict[str, Any], override: str) -> None:
    key, equals, text = override.partition("=")
    if not equals or not key.strip():
        raise CharlmError(f"--set {override}: should be KEY=VALUE, for instance training.epochs=3")
    *sections, last = key.strip().split(".")
    for section in sections:
        inner = values.setdefault(section, {})
        if inner is None:
            inner = values[section] = {}
        if not isinstance(inner, dict):
            raise CharlmError(f"--set {override}: {section} is a value, not a section")
        values = inner
    values[last] = parse_yaml(text, origin=f"--set {key}")


def _describe(error: ValidationError) -> str:
    first = error.errors()[0]
    path = [str(part) for part in first["loc"] if part not in {"str", "dict[str,any]", "function-after"}]
    key, found = ".".join(path), first["input"]
    if first["type"] == "extra_forbidden":
        return f"{key}: unknown key{_advice(path)}"
    problem = first["msg"].removeprefix("Value error, ").replace("Input should", "should")
    if first["type"] == "value_error":
        return f"{key}: {problem}" if key else problem
    return f"{key}: found {shorten(found)} ({_kind(found)}); {problem}"


def _advice(path: list[str]) -> str:
    *sections, last = path
    if sections == ["model", "rnn"] and last in DECIDED_BY_THE_TASK:
        return f" here: {DECIDED_BY_THE_TASK[last]}"
    siblings = flatten(Config())
    prefix = ".".join([*sections, ""])
    keys = list(dict.fromkeys(k.removeprefix(prefix).split(".")[0] for k in siblings if k.startswith(prefix)))
    near = nearest(last, keys)
    if near:
        return f"; did you mean {prefix}{near}?"
    elsewhere = nearest(last, [k.rpartition(".")[2] for k in siblings])
    if elsewhere:
        return f"; did you mean {next(k for k in siblings if k.rpartition('.')[2] == elsewhere)}?"
    return f"; there are {', '.join(keys)}"


def _kind(value: Any) -> str:
    names = {str: "text", bool: "true or false", int: "a whole number", float: "a number", dict: "a section"}
    return names.get(type(value), "nothing" if value is None else f"a {type(value).__name__}")
