"""The JSON Schema of a recipe: every setting with its meaning, its values and its default, for editors and completion.

    python -m charlm.config.json_schema > configs/schema.json

Values and defaults come from the pydantic models, meanings from the docstrings in `charlm.config.schema`.
"""

import ast
import inspect
import json
import sys
from collections.abc import Iterator
from itertools import pairwise
from typing import Any

from charlm.config import schema
from charlm.config.keys import section_name

DIALECT = "https://json-schema.org/draft/2020-12/schema"


def json_schema() -> dict[str, Any]:
    """Return the JSON Schema of a recipe, draft 2020-12, as an object for `json.dumps`.

    Each property has a description of one line; a section has the docstring of its class.
    """
    found = schema.Config.model_json_schema()
    sections = found["$defs"]
    meanings = field_docstrings(inspect.getsource(schema))
    for section in (found, *sections.values()):
        own = meanings.get(section.pop("title"), {})
        for name, setting in section["properties"].items():
            setting.pop("title", None)
            inner = section_name(setting)
            setting["description"] = own.get(name) or sections[inner]["description"].partition("\n")[0]
    return {"$schema": DIALECT, "title": "Settings of charlm", **found}


def field_docstrings(source: str) -> dict[str, dict[str, str]]:
    """Return the docstring of each annotated field of a module, as one line, by class and field."""
    classes = [node for node in ast.parse(source).body if isinstance(node, ast.ClassDef)]
    return {node.name: dict(_documented_fields(node)) for node in classes}


def _documented_fields(node: ast.ClassDef) -> Iterator[tuple[str, str]]:
    for statements in pairwise(node.body):
        match statements:
            case ast.AnnAssign(target=ast.Name(name)), ast.Expr(value=ast.Constant(value=str(text))):
                yield name, " ".join(text.split())


if __name__ == "__main__":
    sys.stdout.write(json.dumps(json_schema(), indent=2) + "\n")
