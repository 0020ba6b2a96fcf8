"""What is wrong with a value that pydantic refuses, in the words of charlm: messages for the user quote no pydantic."""

from typing import Any

from pydantic_core import ErrorDetails

_DEMANDS = {
    "string_type": "must be text",
    "int_type": "must be a whole number",
    "int_from_float": "must be a whole number",
    "float_type": "must be a number",
    "finite_number": "must be a finite number",
    "bool_type": "must be true or false",
    "literal_error": "must be {expected}",
    "tuple_type": "must be a list",
    "list_type": "must be a list",
    "dict_type": "must be a mapping of keys to values",
    "model_type": "must be a section, that is a mapping of keys to values",
    "invalid_key": "a key must be text",
    "missing": "is missing",
    "extra_forbidden": "there is no such key here",
    "greater_than_equal": "must be {ge} or more",
    "greater_than": "must be more than {gt}",
    "less_than_equal": "must be {le} or less",
    "less_than": "must be less than {lt}",
    "string_too_short": "must have {min_length} characters or more",
    "string_too_long": "must have {max_length} characters or fewer",
    "too_short": "must have {min_length} items or more",
    "too_long": "must have {max_length} items or fewer",
}


def demand(error: ErrorDetails) -> str:
    """Return what a refused value must be, for instance `must be 1 or more`.

    Args:
        error: One of the errors of a pydantic.ValidationError.

    """
    if error["type"] in _DEMANDS:
        facts = {name: _plain(value) for name, value in error.get("ctx", {}).items()}
        return _DEMANDS[error["type"]].format(**facts)
    return error["msg"].removeprefix("Value error, ").replace("Input should", "must")


def path_of(problem: ErrorDetails) -> list[str]:
    """Return the parts of the dotted key that a problem is about, without the kinds that pydantic adds.

    Args:
        problem: One of the errors of a pydantic.ValidationError.

    """
    return [str(part) for part in problem["loc"] if part not in {"str", "dict[str,any]", "function-after", "[key]"}]


def _plain(value: Any) -> Any:
    """Return a limit with thousands apart, and without the zero after the point of a whole number."""
    return f"{value:,}".removesuffix(".0") if isinstance(value, int | float) else value
