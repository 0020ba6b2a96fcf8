"""Write docs/settings.md and configs/schema.json from `charlm.config.schema`.

    PYTHONPATH=tests python -m docs.settings

Each section of the config gets a table in the page. The text above the first table is not changed.
"""

import inspect
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel

from charlm.config.schema import DECIDED_BY_THE_TASK, Config, section_of, walk

PAGE = Path(__file__).parents[2] / "docs/settings.md"
SCHEMA = Path(__file__).parents[2] / "configs/schema.json"
LIMITS = {
    "minimum": "\u2265",
    "exclusiveMinimum": ">",
    "maximum": "\u2264",
    "exclusiveMaximum": "<",
}

BILLION = re.compile(r",? *\u2264 1,000,000,000(\.0)?$")
"""An upper bound that goes unsaid."""


def page() -> str:
    """Return what docs/settings.md must hold."""
    introduction = PAGE.read_text(encoding="utf-8").partition("\n## ")[0].rstrip()
    tables = [*lines("", Config)]
    for key, field in walk(Config):
        if section := section_of(field):
            tables += lines(key, section)
    return "\n".join([introduction, *tables]) + "\n"


def lines(key: str, section: type[BaseModel]) -> Iterator[str]:
    """Yield the lines about a section, given its dotted key."""
    yield from (f"\n## {key or 'Top level'}", "", inspect.getdoc(section) or "", "")
    if key == "model.rnn":
        yield "These arguments of the layer are not settings:\n"
        yield from (f"- `{name}`: {reason}" for name, reason in DECIDED_BY_THE_TASK.items())
        yield ""
    yield from ("| key | value | default | meaning |", "|---|---|---|---|")
    settings = section.model_json_schema()["properties"]
    for name, field in section.model_fields.items():
        whole = f"{key}.{name}".lstrip(".")
        see = f"See [{whole}](#{whole.replace('.', '')})."
        cells: tuple[str, ...] = ("section", "", see)
        if field.default is None and section_of(field):
            cells = ("section or null", "`null`", f"{field.description} {see}")
        elif not section_of(field):
            default = yaml.safe_dump(
                [settings[name]["default"]], default_flow_style=True, width=1000
            ).strip()[1:-1]
            cells = (
                values(settings[name]),
                f"`{default}`",
                " ".join((field.description or "").split()),
            )
        yield "| " + " | ".join(cell.replace("|", r"\|") for cell in (f"`{name}`", *cells)) + " |"


def values(kind: dict[str, Any]) -> str:
    """Return the values that a JSON Schema allows, for instance `integer >= 1 or null`."""
    if "anyOf" in kind:
        return " or ".join(map(values, kind["anyOf"]))
    if "enum" in kind:
        return " or ".join(f"`{value}`" for value in kind["enum"])
    limits = ", ".join(f"{sign} {kind[name]:,}" for name, sign in LIMITS.items() if name in kind)
    items = f"of {kind['items'].get('type', 'mapping')}s" if "items" in kind else ""
    limits = BILLION.sub("", limits).replace("\u2265 1e-09", "> 0")
    return " ".join(filter(None, [kind["type"], items, limits]))


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
    SCHEMA.write_text(json.dumps(Config.model_json_schema(), indent=2) + "\n", encoding="utf-8")
