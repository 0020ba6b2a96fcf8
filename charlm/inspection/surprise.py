"""The surprise of each character of a text, its likely alternatives, and the influence of the characters before it.

    nats_t = -log softmax(logits_{t-1})[id_t]

Axes: N predicted characters, V vocabulary, T = N + 1 the characters of the text.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from charlm.evaluation.scoring import only_finite
from charlm.inspection.html import number, to_plain
from charlm.inspection.reading import Reading
from charlm.inspection.section import Content, Sample, Section
from charlm.network.gradients import Trace, follow_back, through_inputs
from charlm.network.reading import VALUES_AT_ONCE
from charlm.network.rnn import nats, probabilities
from charlm.text.markup import (
    LEVELS,
    NATS_PER_LEVEL,
    coloured_text,
    script_json,
    visible,
)

Values = NDArray[np.float64]

LIKELIEST = 5
"""Number of likely characters that are listed for each prediction."""
LAGS = 32
"""Number of earlier characters whose influence on a prediction is computed."""
ROWS = 256
"""The largest number of predictions that are followed back side by side."""
DECIMALS = 4
"""Decimals of an influence in the JSON, which is between 0 and 1."""


@dataclass(frozen=True, eq=False)
class Predictions:
    """The predictions of all characters of a text but the first, read as one stream from the zero state."""

    ids: NDArray[np.int64]
    """The characters that were predicted, int64 [N]."""
    nats: Values
    """The surprise of each character in nats, float64 [N]."""
    likeliest: NDArray[np.int64]
    """The ids with the highest probability before each character, likeliest first, int64 [N, 5 or V]."""
    probabilities: Values
    """Probabilities of these ids, float64 [N, 5 or V]."""
    influence: Values
    """|dL_t / dx_s|, the gradient of the loss at t with respect to the input s, for s = t - 1, t - 2, ....

    Each row is divided by its largest value. Zero before the beginning of the text. float64 [N, lags].
    """


def predict(trace: Trace, *, lags: int = LAGS) -> Predictions:
    """Score every character of a text but the first, and follow each prediction back to the characters before it.

    Args:
        trace: One text, read from the zero state; T >= 2.
        lags: How many characters before each one `influence` reaches back, 1 or more.

    """
    parameters = trace.parameters
    steps = np.arange(len(trace.ids) - 1)
    ids = trace.ids[1:, 0]
    shown = min(LIKELIEST, parameters.vocabulary_size)
    likeliest = np.empty((len(steps), shown), np.int64)
    chances = np.empty((len(steps), shown))
    losses = np.empty(len(steps))
    influence = np.empty((len(steps), lags))
    rows = min(ROWS, parameters.rows_at_once(VALUES_AT_ONCE))
    for start in range(0, len(steps), rows):
        now = slice(start, start + rows)
        logits = parameters.logits([output[:-1, 0][now] for output in trace.outputs]).astype(
            np.float64
        )
        losses[now] = nats(logits, ids[now])
        all_chances = probabilities(logits)
        likeliest[now] = np.argsort(-all_chances, axis=-1, kind="stable")[:, :shown]
        chances[now] = np.take_along_axis(all_chances, likeliest[now], -1)
        for lag, (_, changes) in enumerate(follow_back(trace, steps[now], lags=lags)):
            influence[now, lag] = np.linalg.norm(through_inputs(parameters, changes), axis=-1)
    peaks = influence.max(-1, keepdims=True)
    return Predictions(
        ids=ids,
        nats=losses,
        likeliest=likeliest,
        probabilities=chances,
        influence=np.divide(influence, peaks, out=np.zeros_like(influence), where=peaks > 0),
    )


def make_surprise(reading: Reading) -> Content:
    """Predict the text that the page colours by surprise; raises CharlmError if a loss is not finite."""
    predictions = predict(reading.trace)
    next(only_finite([predictions.nats.astype(np.float32)]))
    sample = Sample.of(range(1, len(predictions.ids) + 1))
    return Content(
        list_characters(predictions, reading.characters),
        basis=f"Based on the predictions of {sample}.",
        html=reader(predictions, reading.characters),
    )


def list_characters(
    predictions: Predictions, characters: Sequence[str | None]
) -> list[dict[str, Any]]:
    """Return an object for each predicted character: position, character, nats, likeliest, influence."""
    influence = np.round(predictions.influence, DECIMALS).tolist()
    return [
        {
            "position": index
            + 2,  # the first character of the text, which is not predicted, is character 1
            "character": characters[identity],
            "nats": float(predictions.nats[index]),
            "likeliest": _likeliest(predictions, index, characters),
            "influence": influence[index],
        }
        for index, identity in enumerate(predictions.ids.tolist())
    ]


def _likeliest(
    predictions: Predictions, index: int, characters: Sequence[str | None]
) -> list[dict[str, Any]]:
    """Return the likeliest characters of a prediction with their probabilities."""
    guesses = predictions.likeliest[index].tolist()
    chances = predictions.probabilities[index].tolist()
    return [
        {"character": characters[guess], "probability": chance}
        for guess, chance in zip(guesses, chances, strict=True)
    ]


def reader(predictions: Predictions, characters: Sequence[str | None]) -> str:
    """Return the text coloured by surprise, with a panel for the likeliest characters, and the data of its script."""
    text = coloured_text(
        [characters[index] for index in predictions.ids], predictions.nats.tolist()
    )
    shades = np.rint(LEVELS * np.nan_to_num(predictions.influence)).astype(np.int64)
    data = to_plain(predictions) | {
        "labels": [*map(visible, characters)],
        "influence": [
            "".join(map(str, row)) for row in shades.tolist()
        ],  # as levels: a tenth of the size
    }
    steps = "".join(
        f'<span class="l{level}">\N{NO-BREAK SPACE}{number(level * NATS_PER_LEVEL)}\N{NO-BREAK SPACE}</span>'
        for level in range(0, LEVELS + 1, 3)
    )
    return (
        f'<div class="reader"><div class="legend">surprise in nats, at least <p class="passage">{steps}</p></div>'
        f'<p class="passage" tabindex="0" role="group" aria-label="text coloured by surprise">{text}</p>'
        f'<div class="panel" aria-live="polite"><p class="help">Point at a character, or press Tab and the arrow keys.'
        f'</p></div><script type="application/json">{script_json(data)}</script></div>'
    )


SECTION = Section(
    name="surprise",
    title="The text, coloured by surprise",
    equation="nats_t = -log softmax(logits_{t-1})[id_t], influence of s on t = |dL_t/dx_s|",
    text=(
        "Each character is coloured by its surprise: the less probability the network gave it, the stronger the "
        "colour. A trained network is often most surprised where a word or a name begins. Pointing at a character "
        "colours the characters before it instead, by their influence on its loss, relative to the most influential "
        f"of the last {LAGS}. The bars are the likeliest characters, and the orange one is the character that came."
    ),
    make=make_surprise,
)
