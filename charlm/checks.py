"""Check untrusted JSON and the arguments of library calls."""

import json
import math
import os
from collections.abc import Callable, Collection, Iterable, Mapping
from numbers import Integral, Real
from pathlib import Path
from typing import Any

from charlm.errors import CharlmError
from charlm.wording import listed, short_repr

MAX_DEPTH = 32
"""Largest nesting depth of lists and mappings in untrusted JSON or YAML."""
INTEGERS = range(-(2**63), 2**63)
"""Whole numbers allowed in untrusted JSON or YAML."""
MAX_NAME_BYTES = 255
"""Maximum length of a file name on Linux, in bytes."""
MAX_PATH = 4095
"""Maximum length of a path on Linux."""


def parse_json(text: str | bytes, *, origin: str) -> Any:
    """Return the value of an untrusted JSON text.

    Args:
        text: JSON, as a string or in UTF-8.
        origin: Start of messages, for example the path of the file.

    Raises:
        CharlmError: The text is not JSON, or `check_json` refuses the value.

    """
    try:
        value = json.loads(text if isinstance(text, str) else text.decode("utf-8"))
    except (ValueError, RecursionError) as error:
        raise CharlmError(f"{origin}: not valid JSON: {str(error)[:200]}") from None
    check_json(value, origin=origin)
    return value


def check_json(value: Any, *, origin: str, keys: tuple[Any, ...] = ()) -> None:
    """Check that other code can handle a value.

    Strings must be valid Unicode, numbers finite and of at most 64 bits, and lists and mappings at
    most MAX_DEPTH deep.

    Args:
        value: Value returned by `json.loads`.
        origin: Start of messages.
        keys: Keys and indices that lead to the value. They can be huge, so they are joined only for
            an error message.

    Raises:
        CharlmError: The value violates one of these rules.

    """
    problem = _problem_in_json(value, depth=len(keys))
    if problem is not None:
        place = ".".join(map(str, keys))
        raise CharlmError(f"{origin}: {place}: {problem}" if keys else f"{origin}: {problem}")
    if isinstance(value, dict):
        for name, item in value.items():
            check_json(name, origin=origin, keys=keys)
            check_json(item, origin=origin, keys=(*keys, name))
    elif isinstance(value, list):
        for index, item in enumerate(value):
            check_json(item, origin=origin, keys=(*keys, index))


def _problem_in_json(value: Any, *, depth: int) -> str | None:
    """Return the reason to refuse a value itself, without its items, or None."""
    if isinstance(value, str):
        try:
            value.encode()
        except UnicodeEncodeError:
            return f"found {short_repr(value)}, which has an unpaired surrogate"
    elif isinstance(value, int):
        if value not in INTEGERS:
            return "found a whole number of more than 64 bits"
    elif isinstance(value, float):
        if not math.isfinite(value):
            return f"found {value}; expected a finite number"
    elif isinstance(value, list | dict) and depth == MAX_DEPTH:
        return f"lists or mappings nested more than {MAX_DEPTH} levels deep"
    return None


def check_name(argument: str, value: Any, names: Iterable[str]) -> None:
    """Raise CharlmError if the value of an argument is not one of `names`."""
    allowed = [*names]
    if not isinstance(value, str) or value not in allowed:
        raise CharlmError(f"{argument}: found {short_repr(value)}; must be {listed(allowed, 'or')}")


def check_whole(argument: str, value: Any, *, least: int, most: int | None = None) -> int:
    """Return the value of an argument that must be a whole number; NumPy integers are allowed.

    Args:
        argument: Name of the argument, for the message.
        value: Value of the argument.
        least: Smallest allowed value.
        most: Largest allowed value; None = no limit.

    Raises:
        CharlmError: The value is not a whole number, or out of range.

    """
    is_whole = isinstance(value, Integral) and not isinstance(value, bool)
    if not is_whole or value < least or (most is not None and value > most):
        allowed = f"{least:,} or more" if most is None else f"from {least:,} to {most:,}"
        raise CharlmError(
            f"{argument}: found {short_repr(value)}; must be a whole number, {allowed}"
        )
    return int(value)


def check_number(
    argument: str, value: Any, *, least: float, above: bool = False, most: float = math.inf
) -> float:
    """Return the value of an argument that must be a finite number; NumPy numbers are allowed.

    Args:
        argument: Name of the argument, for the message.
        value: Value of the argument.
        least: Lower end of the range.
        above: Whether the value must be above the lower end.
        most: Largest allowed value.

    Raises:
        CharlmError: The value is not a finite number, or out of range.

    """
    number = math.nan
    if isinstance(value, Real) and not isinstance(value, bool):
        try:
            number = float(value)
        except OverflowError:  # a whole number with hundreds of digits
            number = math.inf
    is_in_range = least < number <= most or (number == least and not above)
    if math.isfinite(number) and is_in_range:
        return number
    if above:
        allowed = (
            f"above {least:g}" if most == math.inf else f"above {least:g} and at most {most:g}"
        )
    else:
        allowed = f"{least:g} or more" if most == math.inf else f"from {least:g} to {most:g}"
    raise CharlmError(f"{argument}: found {short_repr(value)}; must be a number, {allowed}")


def check_flag(argument: str, value: Any) -> None:
    """Raise CharlmError if the value of an argument is neither true nor false."""
    if not isinstance(value, bool):
        raise CharlmError(f"{argument}: found {short_repr(value)}; must be True or False")


def check_text(argument: str, value: Any) -> str:
    """Return the value of an argument that must be a string; raises CharlmError if it is not."""
    if not isinstance(value, str):
        raise CharlmError(f"{argument}: found {short_repr(value)}; must be a string")
    return value


def check_path(argument: str, value: Any, *, hint: str = "") -> str:
    """Return the value of an argument that must be a path, unchanged: a Path would drop `./`.

    Args:
        argument: Name of the argument, for the message.
        value: Value of the argument.
        hint: End of the message if the value is a text instead of a path.

    Raises:
        CharlmError: The value is not a path, is empty, or cannot be the name of a file.

    """
    name = os.fspath(value) if isinstance(value, os.PathLike) else value
    if not isinstance(name, str):
        raise CharlmError(f"{argument}: found {short_repr(value)}; must be the path of a file")
    if not name:
        raise CharlmError(f"{argument}: the path is empty")
    try:
        os.fsencode(name)
    except UnicodeEncodeError:
        raise CharlmError(
            f"{argument}: found {short_repr(name)}, which has an unpaired surrogate"
        ) from None
    if not _can_be_path(name) and not _exists(Path(name)):
        raise CharlmError(
            f"{argument}: found {name[:40]!r}..., which is a text, not the path of a file{hint}"
        )
    return name


def check_text_path(argument: str, value: Any, *, in_memory: str = "") -> str:
    """Return the value of an argument that must be the path of a text, unchanged.

    Args:
        argument: Name of the argument, for the message.
        value: Value of the argument.
        in_memory: Function for a text in memory, for the message; "" = no such function.

    Raises:
        CharlmError: `check_path` refuses the value, or the value seems to be a text itself.

    """
    hint = "write it to a file"
    if in_memory:
        hint += f", or use {in_memory} in Python"
    name = check_path(argument, value, hint=f": {hint}")
    has_words = name.count(" ") >= 2 and "/" not in name and not Path(name).suffix
    if has_words and not _exists(Path(name)):
        raise CharlmError(
            f"{argument}: found {name!r}: no such file or folder; if this is a text, {hint}"
        )
    return name


def check_each(argument: str, value: Any, check: Callable[[str, Any], str]) -> list[str]:
    """Check each item of an argument, which is one item or several, and return the items."""
    is_single = isinstance(value, str | bytes | os.PathLike | Mapping)
    items = [value] if is_single or not isinstance(value, Iterable) else value
    return [check(argument, item) for item in items]


def check_names(argument: str, value: Any, names: Iterable[str]) -> None:
    """Raise CharlmError if an argument is not one or several of `names`."""
    for item in value if isinstance(value, list | tuple | set | frozenset) else [value]:
        check_name(argument, item, names)


def _can_be_path(name: str) -> bool:
    """Return whether a user may have meant this as a path: it is short, and a single line."""
    if len(name) > MAX_PATH or "\n" in name or "\0" in name:
        return False
    parts = name.encode("utf-8", "surrogatepass").split(b"/")
    return max(map(len, parts)) <= MAX_NAME_BYTES


def _exists(path: Path) -> bool:
    try:
        return path.exists()
    except (OSError, ValueError):  # too long, or with a null character
        return False


def check_not_read(out: Path, *, read: Collection[Path]) -> None:
    """Check that the file to write is not a file that the same call reads.

    Args:
        out: Path of the file to write.
        read: Files and folders that are read.

    Raises:
        CharlmError: The file is read, is in a folder that is read, or is the target of a link in
            such a folder.

    """
    if not _exists(out):
        return
    for path in read:
        if _exists(path) and (path.samefile(out) or _is_inside(out, path)):
            place = f"in the input folder {path}" if path.is_dir() else "also an input file"
            raise CharlmError(f"{out}: {place}; choose another file")


def _is_inside(file: Path, folder: Path) -> bool:
    """Return whether an existing file is in a folder, or is the target of a link in the folder."""
    if folder.resolve() in file.resolve().parents:
        return True
    for parent, _, names in os.walk(folder):
        for name in names:
            entry = Path(parent, name)
            if _exists(entry) and entry.samefile(file):
                return True
    return False
