"""Every setting with its values, default and meaning: as a JSON Schema, by dotted keys, and as docs/settings.md.

    charlm config schema > configs/schema.json
    python -m charlm.config.reference > docs/settings.md

All of it comes from the pydantic models in `charlm.config.schema` and the docstrings of their fields. What completion
asks for is read from the schema that ships, without pydantic: it must be fast.
"""

import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from charlm.config.recipes import SCHEMA

DIALECT = "https://json-schema.org/draft/2020-12/schema"
Setting = Mapping[str, Any]
"""The JSON Schema of one setting."""


def json_schema() -> dict[str, Any]:
    """Return the JSON Schema of a recipe, draft 2020-12, as an object for `json.dumps`.

    Each property has a description of one line; a section has the docstring of its class.
    """
    from charlm.config.schema import Config

    found = Config.model_json_schema()
    sections = found["$defs"]
    for section in (found, *sections.values()):
        del section["title"]
        for setting in section["properties"].values():
            setting.pop("title", None)
            meaning = setting.pop("description", None) or sections[section_name(setting)]["description"].split("\n")[0]
            setting["description"] = " ".join(meaning.split())
    return {"$schema": DIALECT, "title": "Settings of charlm", **found}


def read_settings(path: Path = SCHEMA) -> dict[str, Setting]:
    """Return the schema of each setting by its dotted key; a section is not a setting."""
    schema = json.loads(path.read_text(encoding="utf-8"))
    return {
        join(key, name): setting
        for key, section in _sections("", schema, schema["$defs"])
        for name, setting in section["properties"].items()
        if section_name(setting) is None
    }


def known_values(setting: Setting) -> list[str]:
    """Return the words that a setting can have as YAML: its choices, true and false, null; none for a number."""
    words = {"boolean": ["true", "false"], "null": ["null"]}
    choices = setting.get("anyOf", [setting])
    return [word for choice in choices for word in choice.get("enum") or words.get(choice.get("type", ""), [])]


def _sections(key: str, section: Setting, definitions: Setting) -> Iterator[tuple[str, Setting]]:
    """Yield the dotted key and the schema of a section, and of the sections inside it."""
    yield key, section
    for name, setting in section["properties"].items():
        if inner := section_name(setting):
            yield from _sections(join(key, name), definitions[inner], definitions)


def join(key: str, name: str) -> str:
    """Return the dotted key of what a section, given by its key, holds under a name."""
    return f"{key}.{name}" if key else name


def section_name(setting: Setting) -> str | None:
    """Return the definition to which the schema of a setting refers if the setting is a section, None for a value."""
    references = [choice["$ref"] for choice in setting.get("anyOf", [setting]) if "$ref" in choice]
    return references[0].rpartition("/")[2] if references else None


INTRODUCTION = """\
# Settings

A recipe is a YAML file with some of the sections below. A setting that it leaves out has its default. On the command
line, `-s` overrides a setting by its dotted key: `-s model.units=256 -s model.rnn.activation=relu`. The `config.yaml`
of a run lists every value that the run used. The default of a whole section is what it means to leave it out: `{}` is
all defaults, `{epochs: 10}` all defaults but for that value.

An unknown key, a wrong type or a value out of range is refused in a line that names the key, the value and the
nearest right key. `1e-3` is a number. A Keras object is given by its name, or by a mapping with `class_name` and
`config`: `{class_name: L2, config: {l2: 1e-4}}`.

This page is generated from `charlm/config/schema.py`. Change the docstrings there, then run
`python -m charlm.config.reference > docs/settings.md`.
"""
NAMES = {
    "integer": "whole number",
    "number": "number",
    "boolean": "true or false",
    "string": "text",
    "array": "list of {items}",
    "object": "mapping",
    "null": "null",
}
ITEMS = {"string": "texts", "integer": "whole numbers"}
LIMITS = {
    "minimum": "{:,} or more",
    "exclusiveMinimum": "above {:,}",
    "maximum": "at most {:,}",
    "exclusiveMaximum": "below {:,}",
}


def settings_page() -> str:
    """Return the contents of docs/settings.md."""
    config = json_schema()
    definitions = config["$defs"]
    sections = [_describe_section(key, section, definitions) for key, section in _sections("", config, definitions)]
    return "\n".join([INTRODUCTION, *sections])


def _describe_section(key: str, section: Setting, definitions: Setting) -> str:
    """Return the heading of a section, what it is for, and a table of its settings."""
    from charlm.config.schema import DECIDED_BY_THE_TASK

    lines = [f"## {key or 'Top level'}", "", section["description"], ""]
    if key == "model.rnn":
        reasons = [f"- `{name}`: {reason}" for name, reason in DECIDED_BY_THE_TASK.items()]
        lines += ["These arguments of the layer are not settings:", "", *reasons, ""]
    lines += ["| key | value | default | meaning |", "|---|---|---|---|"]
    for name, setting in section["properties"].items():
        meaning = setting["description"]
        if section_name(setting):
            whole = join(key, name)
            meaning = f"{meaning} See [{whole}](#{whole.replace('.', '')})."
        cells = (f"`{name}`", _describe_values(setting), f"`{_describe_default(setting, definitions)}`", meaning)
        lines.append("| " + " | ".join(cell.replace("|", r"\|") for cell in cells) + " |")
    return "\n".join([*lines, ""])


def _describe_values(setting: Setting) -> str:
    """Return which values a setting takes, for instance `whole number, 1 or more, or null`."""
    if "$ref" in setting:
        return "section"
    if "anyOf" in setting:
        return _either([_describe_values(choice) for choice in setting["anyOf"]])
    if "enum" in setting:
        return _either([f"`{value}`" for value in setting["enum"]])
    if "minimum" in setting and "maximum" in setting:
        return f"{NAMES[setting['type']]}, {setting['minimum']:,} to {setting['maximum']:,}"
    limits = [text.format(setting[name]) for name, text in LIMITS.items() if name in setting]
    items = ITEMS[setting["items"]["type"]] if "items" in setting else ""
    return ", ".join([NAMES[setting["type"]].format(items=items), *limits])


def _either(choices: Sequence[str]) -> str:
    *others, last = choices
    comma = "," if any("," in choice for choice in choices) else ""
    return f"{', '.join(others)}{comma} or {last}"


def _describe_default(setting: Setting, definitions: Setting) -> str:
    """Return the default as YAML; of a section, the values that differ from the defaults of its settings."""
    default = setting["default"]
    inner = section_name(setting)
    if inner is None or default is None:
        return _as_yaml(default)
    settings = definitions[inner]["properties"]
    return _as_yaml({key: value for key, value in default.items() if value != settings[key]["default"]})


def _as_yaml(value: Any) -> str:
    if isinstance(value, dict):
        return "{" + ", ".join(f"{key}: {_as_yaml(inner)}" for key, inner in value.items()) + "}"
    return value if isinstance(value, str) and value else json.dumps(value)


if __name__ == "__main__":
    sys.stdout.write(settings_page())
