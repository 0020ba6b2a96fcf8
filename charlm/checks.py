"""Check values from outside: JSON from untrusted files and requests, and the arguments of library calls."""

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
"""Number of lists and mappings that may be inside each other in untrusted JSON or YAML."""
INTEGERS = range(-(2**63), 2**63)
"""The whole numbers that untrusted JSON or YAML may hold."""
MAX_NAME_BYTES, MAX_PATH = 255, 4095
"""Largest length of the name of a file and of a path on Linux."""


def parse_json(text: str | bytes, *, origin: str) -> Any:
    """Return the value of an untrusted JSON text.

    Args:
        text: The JSON text, as text or in UTF-8.
        origin: What the message of an error starts with, for instance the path of the file.

    Raises:
        CharlmError: the text is not JSON, or `check_json` refuses the value.

    """
    try:
        value = json.loads(text if isinstance(text, str) else text.decode("utf-8"))
    except (ValueError, RecursionError) as error:
        raise CharlmError(f"{origin}: not valid JSON: {str(error)[:200]}") from None
    check_json(value, origin=origin)
    return value


def check_json(value: Any, *, origin: str, keys: tuple[Any, ...] = ()) -> None:
    """Refuse a value that other code might not be able to handle.

    Texts must be valid Unicode, numbers finite and of at most 64 bits, and lists and mappings at most MAX_DEPTH deep.

    Args:
        value: A value as `json.loads` returns it.
        origin: What the message of an error starts with.
        keys: The keys and indices that lead to the value, joined only for an error message, because keys can be huge.

    Raises:
        CharlmError: the value is none of these.

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
    """Return the reason to refuse a value, without looking inside it; None if there is no reason."""
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
        return f"more than {MAX_DEPTH} lists or mappings inside each other"
    return None


def check_name(argument: str, found: Any, names: Iterable[str]) -> None:
    """Refuse an argument that is not one of some names.

    Args:
        argument: The name of the argument, for the message.
        found: Its value.
        names: The values that it may have, one or more.

    Raises:
        CharlmError: the value is none of the names.

    """
    allowed = [*names]
    if not isinstance(found, str) or found not in allowed:
        raise CharlmError(f"{argument}: found {short_repr(found)}; must be {listed(allowed, 'or')}")


def check_whole(argument: str, found: Any, *, least: int, most: int | None = None) -> int:
    """Return an argument that is a whole number in a range; a NumPy integer is one.

    Args:
        argument: The name of the argument, for the message.
        found: Its value.
        least: The smallest value that it may have.
        most: The largest value that it may have; None = no limit.

    Raises:
        CharlmError: the value is of another type or out of range.

    """
    is_whole = isinstance(found, Integral) and not isinstance(found, bool)
    if not is_whole or found < least or (most is not None and found > most):
        allowed = f"{least:,} or more" if most is None else f"from {least:,} to {most:,}"
        raise CharlmError(
            f"{argument}: found {short_repr(found)}; must be a whole number, {allowed}"
        )
    return int(found)


def check_number(
    argument: str, found: Any, *, least: float, above: bool = False, most: float = math.inf
) -> float:
    """Return an argument that is a finite number in a range; a NumPy number is one.

    Args:
        argument: The name of the argument, for the message.
        found: Its value.
        least: The lower end of the range.
        above: Whether the value must be above the lower end.
        most: The largest value that it may have.

    Raises:
        CharlmError: the value is of another type, not finite or out of range.

    """
    try:
        value = math.nan if isinstance(found, bool) or not isinstance(found, Real) else float(found)
    except OverflowError:  # a whole number of hundreds of digits
        value = math.inf
    is_above = value > least if above else value >= least
    if not math.isfinite(value) or not is_above or value > most:
        if most == math.inf:
            allowed = f"above {least:g}" if above else f"{least:g} or more"
        else:
            allowed = (
                f"above {least:g} and at most {most:g}" if above else f"from {least:g} to {most:g}"
            )
        raise CharlmError(f"{argument}: found {short_repr(found)}; must be a number, {allowed}")
    return value


def check_flag(argument: str, found: Any) -> None:
    """Refuse an argument that is neither true nor false; raises CharlmError."""
    if not isinstance(found, bool):
        raise CharlmError(f"{argument}: found {short_repr(found)}; must be True or False")


def check_text(argument: str, found: Any) -> str:
    """Return an argument that is a text; raises CharlmError if it is none."""
    if not isinstance(found, str):
        raise CharlmError(f"{argument}: found {short_repr(found)}; must be a text")
    return found


def check_path(argument: str, found: Any, *, hint: str = "") -> str:
    """Return an argument that can be the path of a file, as it was given: a Path would drop `./`.

    Args:
        argument: The name of the argument, for the message.
        found: Its value.
        hint: The end of the message about a text where a path is expected.

    Raises:
        CharlmError: the value is not a path, is empty, or cannot be the name of a file.

    """
    name = os.fspath(found) if isinstance(found, os.PathLike) else found
    if not isinstance(name, str):
        raise CharlmError(f"{argument}: found {short_repr(found)}; must be the path of a file")
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


def check_text_path(argument: str, found: Any, *, in_memory: str = "") -> str:
    """Return an argument that can be the path of a text, as it was given; recognize a text itself.

    Args:
        argument: The name of the argument, for the message.
        found: Its value.
        in_memory: The call that takes a text in memory, for the message; "" = there is none.

    Raises:
        CharlmError: as `check_path`, or the value has several words and no such file exists.

    """
    hint = f"write it to a file{f', or use {in_memory} in Python' if in_memory else ''}"
    name = check_path(argument, found, hint=f": {hint}")
    has_words = name.count(" ") >= 2 and "/" not in name and not Path(name).suffix
    if has_words and not _exists(Path(name)):
        raise CharlmError(
            f"{argument}: found {name!r}: no such file or folder; if this is a text, {hint}"
        )
    return name


def check_each(argument: str, found: Any, check: Callable[[str, Any], str]) -> list[str]:
    """Return an argument that is a text or a path, or several of them, as a list; each is checked."""
    is_single = isinstance(found, str | bytes | os.PathLike | Mapping) or not isinstance(
        found, Iterable
    )
    return [check(argument, each) for each in ([found] if is_single else found)]


def check_names(argument: str, found: Any, names: Iterable[str]) -> None:
    """Refuse an argument that is not a list of names; a single name is a list of one, as `check_name` says."""
    for each in found if isinstance(found, list | tuple | set | frozenset) else [found]:
        check_name(argument, each, names)


def _can_be_path(name: str) -> bool:
    """Return whether a text can be a path that somebody has typed: it is not too long, and has a single line."""
    longest = max(len(part.encode("utf-8", "surrogatepass")) for part in name.split("/"))
    return (
        longest <= MAX_NAME_BYTES
        and len(name) <= MAX_PATH
        and "\n" not in name
        and "\0" not in name
    )


def _exists(path: Path) -> bool:
    try:
        return path.exists()
    except (OSError, ValueError):  # too long, or with a zero character
        return False


def check_not_read(out: Path, *, read: Collection[Path]) -> None:
    """Refuse to write over a file that the same call reads.

    Args:
        out: The file to write.
        read: The files and folders that are read.

    Raises:
        CharlmError: the file exists, and is one of these, lies in one of these folders, or a link in one of them leads
            to it.

    """
    if not _exists(out):
        return
    for path in read:
        if _exists(path) and (path.samefile(out) or _is_inside(out, path)):
            place = f"is in {path}, which is read" if path.is_dir() else "is a file that is read"
            raise CharlmError(f"{out}: {place}; name another file")


def _is_inside(file: Path, folder: Path) -> bool:
    """Return whether an existing file lies in a folder, which may be a file, or a link in the folder leads to it."""
    if folder.resolve() in file.resolve().parents:
        return True
    entries = (Path(place, name) for place, _, names in os.walk(folder) for name in names)
    return any(_exists(entry) and entry.samefile(file) for entry in entries)
