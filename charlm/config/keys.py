"""The settings by dotted keys, read from the JSON Schema that ships, without pydantic: completion must be fast."""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from charlm.config.recipes import SCHEMA

Setting = Mapping[str, Any]
"""The JSON Schema of one setting."""


def read_settings(path: Path = SCHEMA) -> dict[str, Setting]:
    """Return the schema of each setting by its dotted key; a section is not a setting."""
    schema = json.loads(path.read_text(encoding="utf-8"))
    return dict(_settings(schema, schema["$defs"]))


def known_values(setting: Setting) -> list[str]:
    """Return the words that a setting can have as YAML: its choices, true and false, null; none for a number."""
    return [value for choice in setting.get("anyOf", [setting]) for value in _words(choice)]


def _settings(section: Setting, sections: Mapping[str, Setting], before: str = "") -> Iterator[tuple[str, Setting]]:
    for name, setting in section["properties"].items():
        key = f"{before}{name}"
        inner = section_name(setting)
        if inner is None:
            yield key, setting
        else:
            yield from _settings(sections[inner], sections, f"{key}.")


def section_name(setting: Setting) -> str | None:
    """Return the definition to which the schema of a setting refers if the setting is a section, None for a value."""
    references = [choice["$ref"] for choice in setting.get("anyOf", [setting]) if "$ref" in choice]
    return references[0].rpartition("/")[2] if references else None


def _words(choice: Setting) -> list[str]:
    kinds = {"boolean": ["true", "false"], "null": ["null"]}
    words: list[str] = choice.get("enum") or kinds.get(choice.get("type", ""), [])
    return words
