"""The surprise of each character of a text, what was likelier, and what it depends on.

    nats_t = -log softmax(logits_{t-1})[id_t]

Axes: N scored characters, V vocabulary.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from charlm.evaluation.scoring import only_finite
from charlm.inspection.markup import LEVELS, NATS_PER_LEVEL, coloured_text, number, to_plain
from charlm.inspection.section import Characters, Reading, Section
from charlm.network.gradients import Trace, follow_back, through_inputs
from charlm.network.rnn import nats, probabilities

Values = NDArray[np.float64]

LIKELIEST = 5


@dataclass(frozen=True, eq=False)
class Predictions:
    """The predictions of consecutive characters, read as one stream from the zero state."""

    positions: NDArray[np.int64]
    """The position of each character in the text, from 0: int64 [N]. The first one has no prediction."""
    ids: NDArray[np.int64]
    """The characters that came, int64 [N]."""
    nats: Values
    """The surprise of each, float64 [N]; what `charlm evaluate --surprise` writes."""
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

    Returns:
        The predictions of characters 1 to T - 1.

    """
    steps = np.arange(len(trace.ids) - 1)
    ids, logits = trace.ids[1:, 0], trace.logits[:-1, 0].astype(np.float64)
    chances = probabilities(logits)
    likeliest = np.argsort(-chances, axis=-1, kind="stable")[:, :LIKELIEST]
    influence = [_influence(trace, part, lags=lags) for part in np.array_split(steps, -(-len(steps) // rows))]
    return Predictions(
        positions=steps + 1,
        ids=ids,
        nats=np.asarray(nats(logits, ids), np.float64),
        likeliest=likeliest,
        probabilities=np.take_along_axis(chances, likeliest, -1),
        influence=np.concatenate(influence),
    )


def _influence(trace: Trace, steps: NDArray[np.int64], *, lags: int) -> Values:
    """Return |dL_t/dx_s| of some predictions, float64 [P, lags], divided by the largest of each."""
    flow = follow_back(trace, steps, lags=lags)
    norms = [np.linalg.norm(through_inputs(trace.parameters, changes), axis=-1) for _, changes in flow]
    by_lag = np.stack(norms, axis=-1).astype(np.float64)
    peaks = by_lag.max(-1, keepdims=True)
    return np.asarray(np.divide(by_lag, peaks, out=np.zeros_like(by_lag), where=peaks > 0))


def make_surprise(reading: Reading) -> Predictions:
    """Predict the text that is coloured by surprise; refuse weights that are too large."""
    found = predict(reading.trace)
    next(only_finite([found.nats.astype(np.float32)]))
    return found


def reader(predictions: Predictions, characters: Characters, run: int) -> str:
    """Return the text coloured by surprise, with a panel for the likeliest characters.

    Args:
        predictions: Of the text.
        characters: The character of each id.
        run: The number of the run on the page, from 0.

    """
    text = coloured_text([characters[index] for index in predictions.ids], predictions.nats.tolist())
    steps = "".join(
        f'<span class="l{level}">\N{NO-BREAK SPACE}{number(level * NATS_PER_LEVEL)}\N{NO-BREAK SPACE}</span>'
        for level in range(0, LEVELS + 1, 3)
    )
    return (
        f'<div class="reader" data-run="{run}"><div class="legend">nats, at least <p class="passage">{steps}</p></div>'
        f'<p class="passage" tabindex="0" role="group" aria-label="text coloured by surprise">{text}</p>'
        f'<div class="panel" aria-live="polite"><p class="help">Point at a character, or use Tab and the arrow '
        f"keys: the likeliest characters appear here, and those before it turn blue, the more the loss depends on them."
        f"</p></div></div>"
    )


def reader_data(predictions: Predictions) -> dict[str, Any]:
    """Return the numbers of the JSON for the script of the coloured text; influence as a string of levels for each."""
    shades = np.rint(LEVELS * np.nan_to_num(predictions.influence)).astype(np.int64)
    return {
        "positions": to_plain(predictions.positions),
        "ids": to_plain(predictions.ids),
        "nats": to_plain(predictions.nats),
        "likeliest": to_plain(predictions.likeliest),
        "probabilities": to_plain(predictions.probabilities),
        "influence": ["".join(map(str, row)) for row in shades.tolist()],
    }


def surprise_json(found: Predictions, characters: Characters) -> list[dict[str, Any]]:
    """Return an object for each character: position, character, nats, likeliest, influence."""
    columns = (found.positions, found.ids, found.nats, found.likeliest, found.probabilities, found.influence)
    rows = zip(*(to_plain(column) for column in columns), strict=True)
    return [
        {
            "position": position,
            "character": characters[index],
            "nats": nats,
            "likeliest": [
                {"character": characters[guess], "probability": probability}
                for guess, probability in zip(guesses, probabilities, strict=True)
            ],
            "influence": influence,
        }
        for position, index, nats, guesses, probabilities, influence in rows
    ]


SURPRISE = Section(
    "surprise",
    "The text, coloured by surprise",
    "nats_t = \N{MINUS SIGN}log softmax(logits_{t-1})[id_t], influence of s on t = |dL_t/dx_s|",
    "A trained network is surprised where a word or a name begins, and less and less until the word ends.",
    make_surprise,
    view=reader,
    data=reader_data,
    to_json=surprise_json,
    is_essential=True,
)
