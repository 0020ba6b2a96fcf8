"""The surprise of each character of a text, what was likelier, and what it depends on.

    nats_t = -log softmax(logits_{t-1})[id_t]

Axes: N scored characters, V vocabulary.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from charlm.evaluation.scoring import only_finite
from charlm.inspection.reading import Found, Reading
from charlm.network.gradients import Trace, follow_back, through_inputs
from charlm.network.rnn import nats, probabilities
from charlm.text.markup import LEVELS, NATS_PER_LEVEL, coloured_text, number, script_json, to_plain, visible

Values = NDArray[np.float64]

LIKELIEST = 5


@dataclass(frozen=True, eq=False)
class Predictions:
    """The predictions of characters 1 to N of a text, read as one stream from the zero state."""

    ids: NDArray[np.int64]
    """The characters that came, int64 [N]."""
    nats: Values
    """The surprise of each, float64 [N]."""
    likeliest: NDArray[np.int64]
    """The ids that the network thought likeliest before each character, likeliest first: int64 [N, 5 or V]."""
    probabilities: Values
    """Their probabilities, float64 [N, 5 or V]."""
    influence: Values
    """|dL_t / dx_s| of the prediction at t by the input x_s, for the characters s = t - 1, t - 2, ... before it.

    float64 [N, lags], divided by the largest of its row; 0 before the beginning of the text, and if all are 0.
    """


def predict(trace: Trace, *, lags: int = 32, rows: int = 256) -> Predictions:
    """Score every character of a text but the first, and follow each prediction back to the characters behind it.

    Args:
        trace: One text, read from the zero state; T >= 2.
        lags: How many characters before each one `influence` reaches back, 1 or more.
        rows: How many predictions to follow side by side, 1 or more.

    """
    steps, ids = np.arange(len(trace.ids) - 1), trace.ids[1:, 0]
    logits = trace.logits[:-1, 0].astype(np.float64)
    chances = probabilities(logits)
    likeliest = np.argsort(-chances, axis=-1, kind="stable")[:, :LIKELIEST]
    influence = np.empty((len(steps), lags))
    for start in range(0, len(steps), rows):
        for lag, (_, changes) in enumerate(follow_back(trace, steps[start : start + rows], lags=lags)):
            inputs = through_inputs(trace.parameters, changes)
            influence[start : start + rows, lag] = np.linalg.norm(inputs, axis=-1)
    peaks = influence.max(-1, keepdims=True)
    return Predictions(
        ids=ids,
        nats=np.asarray(nats(logits, ids), np.float64),
        likeliest=likeliest,
        probabilities=np.take_along_axis(chances, likeliest, -1),
        influence=np.divide(influence, peaks, out=np.zeros_like(influence), where=peaks > 0),
    )


def make_surprise(reading: Reading) -> Found:
    """Predict the text that is coloured by surprise; raises CharlmError if the losses are not finite."""
    found, characters = predict(reading.trace), reading.characters
    next(only_finite([found.nats.astype(np.float32)]))
    return Found(
        list_characters(found, characters), html=reader(found, characters), positions=range(1, len(found.ids) + 1)
    )


def list_characters(found: Predictions, characters: Sequence[str | None]) -> list[dict[str, Any]]:
    """Return an object for each character: position, character, nats, likeliest, influence."""
    rows = zip(*(column.tolist() for column in vars(found).values()), strict=True)
    return [
        {
            "position": position,
            "character": characters[index],
            "nats": nats,
            "likeliest": [
                {"character": characters[guess], "probability": probability}
                for guess, probability in zip(guesses, chances, strict=True)
            ],
            "influence": influence,
        }
        for position, (index, nats, guesses, chances, influence) in enumerate(rows, 1)
    ]


def reader(found: Predictions, characters: Sequence[str | None]) -> str:
    """Return the text coloured by surprise, with a panel for the likeliest characters, and the data of its script."""
    text = coloured_text([characters[index] for index in found.ids], found.nats.tolist())
    shades = np.rint(LEVELS * np.nan_to_num(found.influence)).astype(np.int64)
    data = to_plain(found) | {
        "labels": [*map(visible, characters)],
        "influence": ["".join(map(str, row)) for row in shades.tolist()],  # as levels: a tenth of the size
    }
    steps = "".join(
        f'<span class="l{level}">\N{NO-BREAK SPACE}{number(level * NATS_PER_LEVEL)}\N{NO-BREAK SPACE}</span>'
        for level in range(0, LEVELS + 1, 3)
    )
    return (
        f'<div class="reader"><div class="legend">nats, at least <p class="passage">{steps}</p></div>'
        f'<p class="passage" tabindex="0" role="group" aria-label="text coloured by surprise">{text}</p>'
        f'<div class="panel" aria-live="polite"><p class="help">Point at a character, or use Tab and the arrow '
        f"keys: the likeliest characters appear here, and those before it turn blue, the more the loss depends on them."
        f'</p></div><script type="application/json">{script_json(data)}</script></div>'
    )
