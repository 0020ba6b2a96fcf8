"""Values in files of charlm: a missing one has its default, and an unknown one is refused.

Sampling must not wait for pydantic, so the default settings are read from configs/schema.json.
"""

import json
from typing import Any

from charlm.config.recipes import CONFIGS
from charlm.storage import UnreadableError
from charlm.version import __version__
from charlm.wording import short_repr

_SCHEMA = json.loads((CONFIGS / "schema.json").read_bytes())
SETTINGS = {name: setting["default"] for name, setting in _SCHEMA["properties"].items()}
"""The default of each setting, in sections."""
SETTINGS["training"]["epochs"] = None  # if the file has steps


def complete(values: Any, defaults: Any, *, origin: str) -> Any:
    """Return values of a file, with the default of each missing value.

    Args:
        values: Values by key, in sections; anything else is returned, to be refused elsewhere.
        defaults: The default of each known key, in sections.
        origin: Start of the message: the file, and the version of charlm that wrote it.

    Raises:
        UnreadableError: A key is unknown.

    """
    are_sections = isinstance(values, dict) and isinstance(defaults, dict)
    if not are_sections or "class_name" in defaults:
        return values
    for key in values.keys() - defaults.keys():
        raise UnreadableError(f"{origin}{short_repr(key)[1:-1]}: unknown to charlm {__version__}")
    completed = values | (defaults | values)  # in the order of the file
    return {
        key: complete(value, defaults[key], origin=f"{origin}{key}.")
        for key, value in completed.items()
    }
