"""What differs between two configs, and whether a resumed run may change it, which `schema.Resumable` marks."""

from collections.abc import Iterator
from typing import Any

from pydantic import BaseModel

from charlm.config.schema import RESUMABLE, Config
from charlm.config.yaml import show_value
from charlm.errors import CharlmError


def changed_settings(before: Config, after: Config) -> dict[str, tuple[Any, Any]]:
    """Return the old and the new value of each setting that differs, by dotted keys; a missing one is None.

    An argument of an optimizer that is missing on one side differs even from None.
    """
    old, new = dict(_settings(before)), dict(_settings(after))
    differing = (key for key in {**old, **new} if (key in old, old.get(key)) != (key in new, new.get(key)))
    return {key: (old.get(key), new.get(key)) for key in differing}


def check_resume(before: Config, after: Config, *, origin: str = "") -> dict[str, tuple[Any, Any]]:
    """Refuse to resume a run with settings that a resume may not change.

    Args:
        before: The settings that the run has.
        after: The settings to continue with.
        origin: What the message of an error starts with, for instance a file and a colon.

    Returns:
        The old and the new value of each setting that changes, by dotted keys.

    Raises:
        CharlmError: a setting differs that is not marked as Resumable.

    """
    changes = changed_settings(before, after)
    for key, (old, new) in changes.items():
        if not is_resumable(key):
            raise CharlmError(
                f"{origin}{key}: found {show_value(new)}; must be {show_value(old)}, as at the start of the run: "
                f"it decided the steps that have been taken; leave it as it was, or start a new run"
            )
    return changes


def is_resumable(key: str) -> bool:
    """Return whether a setting, given by its dotted key, or a section around it is marked as Resumable."""
    section: Any = Config
    for name in key.split("."):
        field = section.model_fields.get(name)
        if field is None or RESUMABLE in field.metadata:
            return field is not None
        section = field.annotation
    return False


def _settings(section: BaseModel, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Yield the dotted key and the value of each setting, arguments of the optimizer included."""
    for name in (*type(section).model_fields, *(section.model_extra or {})):
        value = getattr(section, name)
        if isinstance(value, BaseModel):
            yield from _settings(value, f"{prefix}{name}.")
        else:
            yield prefix + name, value
