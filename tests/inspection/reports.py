"""Reports on small random networks."""

import functools
from dataclasses import replace
from pathlib import Path

import numpy as np
from models import make_random_model, with_tensors

from charlm.api.evaluation import ScoredText
from charlm.core.vocabulary import Vocabulary
from charlm.inspection.reading import Limits, Reading
from charlm.inspection.report import SECTIONS, Report, inspect_text

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
"""Characters that could break a page, such as markup, control characters and a bare accent."""
SMALL = Limits(300, 200, 20, 2000, 128)


def report(
    *, name: str = "runs/one", only: tuple[str, ...] = tuple(SECTIONS), layers: int = 2
) -> Report:
    """Return a report on a random network and a random text, with some sections."""
    whole = _make(layers)
    results = {section: whole.results[section] for section in only}
    return replace(whole, reading=replace(whole.reading, name=name), results=results)


MODEL = Path("model.safetensors")


@functools.cache
def report_with_gaps() -> Report:
    """Return a report on a network whose characters all have one embedding, without n-grams.

    Nothing changes if a character is replaced. The text is too long, has characters that the model
    does not know, and comes without its training text.
    """
    vocabulary = Vocabulary(characters=("a", "b", "c", None), unknown_id=3)
    trained = make_random_model(vocabulary=vocabulary, embedding=2, units=3, scale=0.7, seed=5)
    same = {"embedding": np.full((4, 2), 0.5, np.float32)}
    trained = replace(trained, parameters=with_tensors(trained.parameters, same))
    ids = np.random.default_rng(5).integers(0, 4, 150)
    limits = Limits(characters=120, context=60, predictions=9, traced=2000, replacements=5)
    text = ScoredText("a text", ids, {"X": 2, "\n": 1}, training=None)
    return inspect_text(Reading("gaps", trained, text, limits, MODEL))


@functools.cache
def _make(layers: int) -> Report:
    vocabulary = Vocabulary(characters=CHARACTERS, unknown_id=13)
    trained = make_random_model(vocabulary=vocabulary, layers=layers, units=5, scale=0.6, seed=7)
    rng = np.random.default_rng(7)
    ids = rng.integers(0, len(CHARACTERS), 240)
    training = rng.integers(0, len(CHARACTERS), 400)
    text = ScoredText("the validation text", ids, {}, training)
    return inspect_text(Reading("runs/one", trained, text, SMALL, MODEL))
