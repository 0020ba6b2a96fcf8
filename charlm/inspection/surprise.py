"""The surprise of each character of a text, likely alternatives, and how earlier ones influence it.

    nats_t = -log softmax(logits_{t-1})[id_t]

Axes: N predicted characters, V vocabulary, T = N + 1 characters of the text.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from charlm.api.viewer import LEVELS, coloured_text, safe, script_json, visible
from charlm.core.reading import VALUES_AT_ONCE
from charlm.core.rnn import Integers, Values, nats, probabilities
from charlm.core.scoring import only_finite
from charlm.inspection.reading import Reading, SampledCharacters
from charlm.inspection.style import Line, Section, to_plain
from charlm.measures.gradients import Trace, follow_back, through_inputs

LIKELIEST = 5
"""Number of likely characters that are listed for each prediction."""
LAGS = 32
"""Number of earlier characters whose influence on a prediction is computed."""
ROWS = 256
"""Maximum number of predictions that are followed back at a time."""
DECIMALS = 4
"""Number of decimals of an influence in the JSON."""


@dataclass(frozen=True, eq=False)
class Predictions:
    """The predictions of all characters of a text except the first, read as one stream."""

    characters: tuple[str | None, ...]
    """The character of each id; None for a reserved id."""
    ids: Integers
    """The ids that were predicted, int64 [N]."""
    nats: Values
    """The surprise of each character in nats, float64 [N]."""
    likeliest: Integers
    """Most probable ids for each character, likeliest first, int64 [N, 5 or V]."""
    probabilities: Values
    """Probabilities of these ids, float64 [N, 5 or V]."""
    influence: Values
    """|dL_t / dx_s|, the gradient of the loss at t with respect to the input at s = t - 1, t - 2,
    ..., float64 [N, LAGS]: each row divided by its largest value, 0 before the beginning of the
    text."""


def predict(trace: Trace, characters: tuple[str | None, ...]) -> Predictions:
    """Score every character of a text except the first, and follow each prediction back.

    Args:
        trace: The trace of one text, read from the zero state; T >= 2.
        characters: The character of each id; None for a reserved id.

    """
    parameters = trace.parameters
    steps = np.arange(len(trace.ids) - 1)
    ids = trace.ids[1:, 0]
    shown = min(LIKELIEST, parameters.vocabulary_size)
    losses = np.empty(len(steps))
    likeliest = np.empty((len(steps), shown), np.int64)
    chances = np.empty((len(steps), shown))
    influence = np.empty((len(steps), LAGS))
    rows = min(ROWS, parameters.rows_at_once(VALUES_AT_ONCE))
    for start in range(0, len(steps), rows):
        now = slice(start, start + rows)
        logits = parameters.logits([output[:-1, 0][now] for output in trace.outputs])
        logits = logits.astype(np.float64)
        losses[now] = nats(logits, ids[now])
        all_chances = probabilities(logits)
        likeliest[now] = np.argsort(-all_chances, axis=-1, kind="stable")[:, :shown]
        chances[now] = np.take_along_axis(all_chances, likeliest[now], -1)
        for lag, (_, changes) in enumerate(follow_back(trace, steps[now], lags=LAGS)):
            influence[now, lag] = np.linalg.norm(through_inputs(parameters, changes), axis=-1)
    peaks = influence.max(-1, keepdims=True)
    relative = influence / np.where(peaks > 0, peaks, 1)
    return Predictions(characters, ids, losses, likeliest, chances, relative)


def measure(reading: Reading) -> Predictions:
    """Predict the text that the page colours; raises CharlmError if a loss is not finite."""
    predictions = predict(reading.trace, reading.trained.vocabulary.characters)
    next(only_finite([predictions.nats.astype(np.float32)]))
    return predictions


def list_characters(predictions: Predictions) -> list[dict[str, Any]]:
    """Return an object for each predicted character, for `to_plain`.

    Its keys are position, character, nats, likeliest and influence. The first character of the
    text, which is not predicted, has position 1.
    """
    characters = predictions.characters
    rows = zip(
        predictions.ids,
        predictions.nats,
        predictions.likeliest,
        predictions.probabilities,
        np.round(predictions.influence, DECIMALS),
        strict=True,
    )
    return [
        {
            "position": position,
            "character": characters[index],
            "nats": loss,
            "likeliest": [
                {"character": characters[guess], "probability": chance}
                for guess, chance in zip(guesses, chances, strict=True)
            ],
            "influence": influence,
        }
        for position, (index, loss, guesses, chances, influence) in enumerate(rows, 2)
    ]


# The page

TEXT = (
    "Each character is coloured by its surprise: the less probable the network found it, the "
    "stronger the colour. A trained network is often most surprised where a word or a name begins. "
    "Pointing at a character colours the characters before it instead, by their influence on its "
    f"loss, relative to the most influential of the last {LAGS}. The bars show the likeliest "
    "characters; the bar of the actual character is orange."
)


def details(results: Mapping[Line, Predictions]) -> str:
    """Return the coloured text of the first run, and the data of the script."""
    line, predictions = next(iter(results.items()))
    characters = predictions.characters
    text = coloured_text([characters[index] for index in predictions.ids], predictions.nats)
    shades = np.rint(LEVELS * np.nan_to_num(predictions.influence)).astype(np.int64)
    data = {
        **vars(predictions),
        "labels": [*map(visible, characters)],
        # levels take a tenth of the size
        "influence": ["".join(map(str, row)) for row in shades],
    }
    sample = SampledCharacters.of(range(1, len(predictions.ids) + 1))
    reader = f" as {line.label} reads them" if len(results) > 1 else ""
    return (
        f'<p class="help">{safe(f"{sample}{reader}.")}</p><div class="reader">'
        '<div class="legend"></div>'
        '<p class="passage" tabindex="0" role="group" aria-label="text coloured by surprise">'
        f"{text}</p>"
        '<div class="panel" aria-live="polite"><p class="help">Point at a character, or press Tab '
        "and the arrow keys.</p></div>"
        f'<script type="application/json">{script_json(to_plain(data))}</script></div>'
    )


SECTION = Section(
    name="surprise",
    title="The text, coloured by surprise",
    equation=(
        "nats<sub>t</sub> = &minus;log softmax(logits<sub>t&minus;1</sub>)[id<sub>t</sub>], "
        "influence of s on t = |dL<sub>t</sub>/dx<sub>s</sub>|"
    ),
    text=TEXT,
    measure=measure,
    details=details,
)
