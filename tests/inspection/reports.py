"""Reports of small random networks, to draw and write pages from."""

import functools
from collections.abc import Iterator
from dataclasses import is_dataclass, replace
from typing import Any

import numpy as np
from models import make_random_model

from charlm.inspection.inspecting import inspect_text
from charlm.inspection.reading import Limits, Reading
from charlm.inspection.report import Report
from charlm.inspection.section import Content
from charlm.inspection.sections import SECTIONS
from charlm.text.vocabulary import Vocabulary

CHARACTERS = (
    " ",
    "\n",
    "a",
    "b",
    "<",
    "&",
    '"',
    "\x1b",
    "\u202e",
    "\u05d0",
    "\u0301",
    "$",
    "\u4e2d",
    None,
)
"""With those that could break a page: markup, a control character, right-to-left marks and letters, a bare accent."""
SMALL = Limits(300, 200, 20)


def report(
    *, name: str = "runs/one", only: tuple[str, ...] = tuple(SECTIONS), **settings: int
) -> Report:
    """Return a report on a random network and a random text, with some sections."""
    made = _make(**settings)
    return replace(made, name=name, contents={section: made.contents[section] for section in only})


def found(section: str, **settings: int) -> Content:
    """Return a section of the report on a random network."""
    return _make(**settings).contents[section]


def numbers_in(value: Any) -> Iterator[float]:
    """Yield every number in dataclasses, dictionaries, lists, tuples and arrays."""
    if is_dataclass(value):
        yield from numbers_in(vars(value))
    elif isinstance(value, dict | list | tuple | np.ndarray):
        for item in value.values() if isinstance(value, dict) else value:
            yield from numbers_in(item)
    elif isinstance(value, int | float | np.number) and not isinstance(value, bool):
        yield value.item() if isinstance(value, np.number) else value


@functools.cache
def _make(length: int = 240, layers: int = 2) -> Report:
    vocabulary, rng = Vocabulary(characters=CHARACTERS, unknown_id=13), np.random.default_rng(7)
    trained = make_random_model(vocabulary=vocabulary, layers=layers, units=5, scale=0.6, seed=7)
    ids, training = rng.integers(0, len(CHARACTERS), length), rng.integers(0, len(CHARACTERS), 400)
    return inspect_text(Reading("runs/one", trained, "the validation text", ids, SMALL, training))
