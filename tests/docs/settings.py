"""docs/settings.md from `charlm.config.schema`: PYTHONPATH=tests python -m docs.settings, in the root of a checkout.

Each section of the config gets a table; what stands above the first is left as it is.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from charlm.config.recipes import section_name
from charlm.config.schema import DECIDED_BY_THE_TASK, json_schema

PAGE = Path(__file__).parents[2] / "docs/settings.md"
LIMITS = {"minimum": "\u2265", "exclusiveMinimum": ">", "maximum": "\u2264", "exclusiveMaximum": "<"}
SCHEMA = json_schema()


def page() -> str:
    """Return what docs/settings.md must hold."""
    introduction = PAGE.read_text(encoding="utf-8").partition("\n## ")[0].rstrip()
    return "\n".join([introduction, *lines("", SCHEMA)]) + "\n"


def lines(key: str, section: dict[str, Any]) -> Iterator[str]:
    """Yield the lines about a section, given its dotted key, and about those in it."""
    yield from (f"\n## {key or 'Top level'}", "", section["description"], "")
    if key == "model.rnn":
        yield "These arguments of the layer are not settings:\n"
        yield from (f"- `{name}`: {reason}" for name, reason in DECIDED_BY_THE_TASK.items())
        yield ""
    yield from ("| key | value | default | meaning |", "|---|---|---|---|")
    inner = {f"{key}.{name}".lstrip("."): section_name(one) for name, one in section["properties"].items()}
    for whole, (name, setting) in zip(inner, section["properties"].items(), strict=True):
        link = f" See [{whole}](#{whole.replace('.', '')})." if inner[whole] else ""
        cells = (f"`{name}`", values(setting), f"`{default(setting)}`", setting["description"] + link)
        yield "| " + " | ".join(cell.replace("|", r"\|") for cell in cells) + " |"
    for whole, definition in inner.items():
        if definition:
            yield from lines(whole, SCHEMA["$defs"][definition])


def values(setting: dict[str, Any]) -> str:
    """Return which values a setting takes, for instance `integer >= 1 or null`."""
    if "anyOf" in setting:
        return " or ".join(map(values, setting["anyOf"]))
    if "enum" in setting:
        return " or ".join(f"`{value}`" for value in setting["enum"])
    limits = ", ".join(f"{sign} {setting[name]:,}" for name, sign in LIMITS.items() if name in setting)
    items = f"of {setting['items']['type']}s" if "items" in setting else ""
    return " ".join(filter(None, [setting.get("type", "section"), items, limits]))


def default(setting: dict[str, Any]) -> str:
    """Return the default in YAML; of a section, what differs from the defaults of its settings."""
    value, inner = setting["default"], section_name(setting)
    if inner and value:
        settings = SCHEMA["$defs"][inner]["properties"]
        value = {name: one for name, one in value.items() if one != settings[name]["default"]}
    return yaml.safe_dump([value], default_flow_style=True, width=1000).strip()[1:-1]


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
