"""Reports of small random networks, to draw and write pages from."""

import functools
from collections.abc import Iterator
from copy import deepcopy
from dataclasses import is_dataclass, replace
from typing import Any

import numpy as np

from charlm.inspection.report import Report, inspect_run
from charlm.inspection.section import Limits, Subject
from charlm.inspection.units import Chance, FeatureScores, Units, UnitScore
from charlm.network.architecture import Architecture
from charlm.network.model_file import TrainedModel
from charlm.network.rnn import parameters_from_tensors
from charlm.text.vocabulary import Vocabulary

CHARACTERS = (" ", "\n", "a", "b", "<", "&", '"', "\x1b", "\u202e", "\u05d0", "\u0301", "$", "\u4e2d", None)
"""With those that could break a page: markup, a control character, right-to-left marks and letters, a bare accent."""
SMALL = Limits(300, 120, 20, 200, 2, np.float64)


def report(*, name: str = "runs/one", length: int = 60, layers: int = 2, **parts: Any) -> Report:
    """Return a report with every quantity on a random text; `parts` replaces some."""
    made = deepcopy(_make(length, layers))
    return replace(made, name=name, found={**made.found, **parts})


def bare(*, name: str = "runs/one", **parts: Any) -> Report:
    """Return a report with some quantities alone."""
    return replace(report(name=name), found=parts)


def text_report(*, name: str = "runs/one", **parts: Any) -> Report:
    """Return a report without figures, whose page is made at once: the surprise of a text, and `parts`."""
    return bare(name=name, surprise=report().get("surprise"), **parts)


def numbers_in(value: Any) -> Iterator[float]:
    """Yield every number in dataclasses, dictionaries, lists, tuples and arrays."""
    if is_dataclass(value):
        yield from numbers_in(vars(value))
    elif isinstance(value, dict | list | tuple | np.ndarray):
        for item in value.values() if isinstance(value, dict) else value:
            yield from numbers_in(item)
    elif isinstance(value, int | float | np.number) and not isinstance(value, bool):
        yield float(value)


@functools.cache
def _make(length: int, layers: int) -> Report:
    """Make a report; what needs a long text is written by hand: units."""
    rng = np.random.default_rng(7)
    architecture = Architecture(len(CHARACTERS), layers, 5, None, True, "tanh", False)
    tensors = {name: rng.normal(0, 0.6, shape).astype(np.float32) for name, shape in architecture.shapes().items()}
    trained = TrainedModel(
        architecture=architecture,
        parameters=parameters_from_tensors(tensors, activation="tanh", skip_connections=False),
        vocabulary=Vocabulary(characters=CHARACTERS, unknown_id=13),
        config={},
        facts={},
    )
    ids, training = rng.integers(0, len(CHARACTERS), length), rng.integers(0, len(CHARACTERS), 400)
    made = inspect_run(Subject("runs/one", trained, "the validation text", ids, training), limits=SMALL)
    return replace(made, found={**made.found, "units": _units()})


def _units() -> Units:
    score = UnitScore(0, 0, "vowel next", 0.965, 0.93, 0.7, True)
    features = (
        FeatureScores("vowel next", "yes/no", Chance(0.31, 0.28), (score,), 1),
        FeatureScores("position in the line", "number", Chance(0.4, 0.3), (score,), 0),
    )
    return Units(range(60), 100, features, (score,))
