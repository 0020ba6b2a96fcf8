"""Models of pydantic: their fields by dotted keys, and what is wrong with their values, as one line."""

import re
from collections.abc import Iterator
from typing import get_args

from pydantic import BaseModel, ValidationError
from pydantic.fields import FieldInfo

from charlm.config.yaml import show_value
from charlm.errors import nearest


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
