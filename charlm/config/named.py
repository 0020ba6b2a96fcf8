"""A Keras object as a setting names it: an initializer, a regularizer or a constraint."""

from typing import Annotated, Any

from pydantic import AfterValidator, WithJsonSchema

NAMED_KEYS = {"class_name", "config"}


def _check_named(value: Any) -> Any:
    """Refuse further keys of a mapping, such as `module`, which Keras may import."""
    if isinstance(value, dict) and not (isinstance(value.get("class_name"), str) and value.keys() <= NAMED_KEYS):
        raise ValueError("a mapping must have class_name and may have config, and nothing else")
    return value


_ClassAndConfig = Annotated[
    dict[str, Any],
    WithJsonSchema(
        {
            "type": "object",
            "properties": {"class_name": {"type": "string"}, "config": {}},
            "required": ["class_name"],
            "additionalProperties": False,
        }
    ),
]
Named = Annotated[str | _ClassAndConfig | None, AfterValidator(_check_named)]
"""A Keras object: its name, a mapping with `class_name` and `config`, or None."""
