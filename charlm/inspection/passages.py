"""Texts as a page shows them: each character an element, coloured by a number; and the data that their script reads.

Axes: T characters, H units.
"""

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from charlm.inspection.markup import number
from charlm.inspection.plain import to_plain
from charlm.inspection.predictions import Predictions
from charlm.inspection.unit_scores import UnitScore
from charlm.inspection.units import LayerOutputs, Units
from charlm.inspection.visible import NEWLINE, TAB, safe, visible

LEVELS = 9
"""Of colour, above none."""
NATS_PER_LEVEL = 0.75
GALLERY_UNITS = 6
GALLERY_CHARACTERS = 160


def levels(values: NDArray[np.float64], *, scale: float) -> NDArray[np.int64]:
    """Return the level of colour of each value, int64 from -9 to 9; `scale` is the size that gets the strongest."""
    share = np.abs(np.nan_to_num(values)) / scale
    return np.sign(np.nan_to_num(values)).astype(np.int64) * np.minimum(LEVELS, np.rint(LEVELS * share)).astype(
        np.int64
    )


def passage(characters: Iterable[str | None], colours: Iterable[int], *, label: str, is_walked: bool = True) -> str:
    """Return a text as HTML, an element for each character.

    Args:
        characters: [T]; None for a reserved id.
        colours: The level of each, -9 to 9, [T].
        label: What the text is, for a screen reader.
        is_walked: Whether the Tab key stops at it, and the script lets the reader walk through it.

    """
    spans = "".join(
        f"<span{_class(colour)}>{_shape(each)}</span>" for each, colour in zip(characters, colours, strict=True)
    )
    stop = f' tabindex="0" role="group" aria-label="{safe(label)}"' if is_walked else ""
    return f'<p class="passage"{stop}>{spans}</p>'


def _class(colour: int) -> str:
    if colour == 0:
        return ""
    return f' class="l{colour}"' if colour > 0 else f' class="cold l{-colour}"'


def _shape(character: str | None) -> str:
    """Return a character inside its element: blanks keep their effect, and line breaks and tabs are marked too."""
    if character == " ":
        return " "
    if character == "\n":
        return f"<i>{NEWLINE}</i>\n"
    if character == "\t":
        return f"<i>{TAB}</i>\t"
    shape = visible(character)
    return safe(shape) if shape == character else f"<i>{safe(shape)}</i>"


def reader(predictions: Predictions, names: Sequence[str | None], *, run: int) -> str:
    """Return the text coloured by surprise, with a panel for the likeliest characters.

    Args:
        predictions: Of the text.
        names: The character of each id.
        run: The number of the run on the page, from 0.

    """
    colours = np.minimum(LEVELS, predictions.nats / NATS_PER_LEVEL).astype(np.int64)
    text = passage([names[index] for index in predictions.ids], colours.tolist(), label="text coloured by surprise")
    steps = "".join(
        f'<span class="l{level}">\N{NO-BREAK SPACE}{number(level * NATS_PER_LEVEL)}\N{NO-BREAK SPACE}</span>'
        for level in range(0, LEVELS + 1, 3)
    )
    return (
        f'<div class="reader" data-run="{run}"><div class="legend">nats, at least <p class="passage">{steps}</p></div>'
        f'{text}<div class="panel" aria-live="polite"><p class="help">Point at a character, or use Tab and the arrow '
        f"keys: the likeliest characters appear here, and those before it that decided the prediction turn blue."
        f"</p></div></div>"
    )


def reader_data(predictions: Predictions) -> dict[str, Any]:
    """Return the numbers of the JSON for the script of the coloured text; influence as a string of levels for each."""
    shades = np.abs(levels(predictions.influence, scale=1.0))
    return {
        "positions": to_plain(predictions.positions),
        "ids": to_plain(predictions.ids),
        "nats": to_plain(predictions.nats),
        "likeliest": to_plain(predictions.likeliest),
        "probabilities": to_plain(predictions.probabilities),
        "influence": ["".join(map(str, row)) for row in shades.tolist()],
    }


def gallery(units: Units, names: Sequence[str | None]) -> str:
    """Return the most interpretable units, each shown on the beginning of the excerpt."""
    shown = units.interpretable[:GALLERY_UNITS]
    if not shown:
        return '<p class="missing">No unit follows a feature beyond chance.</p>'
    return '<p class="help">Orange: above the median output of the unit; blue: below.</p>' + "".join(
        _on_text(score, units, names) for score in shown
    )


def _on_text(score: UnitScore, units: Units, names: Sequence[str | None]) -> str:
    outputs = units.layers[score.layer]
    centre, scale = _centre_and_scale(outputs, score.unit)
    characters = [names[index] for index in units.excerpt[:GALLERY_CHARACTERS]]
    colours = levels(outputs.values[:GALLERY_CHARACTERS, score.unit] - centre, scale=scale).tolist()
    text = passage(characters, colours, label=f"unit {score.unit} on the text", is_walked=False)
    return (
        f"<h4>rnn.{score.layer}, unit {score.unit}: {safe(score.feature)}, {number(score.strength)} "
        f"(given the character {number(score.strength_given_character)})</h4>{text}"
    )


def _centre_and_scale(outputs: LayerOutputs, unit: int) -> tuple[float, float]:
    """Return the output of a unit that has no colour, its median, and the distance from it with the strongest one."""
    values = outputs.values[:, unit]
    centre = float(np.median(values)) if len(values) else 0.0
    return centre, float(np.abs(values - centre).max(initial=0)) or 1.0


def browser(units: Units, names: Sequence[str | None], *, run: int) -> str:
    """Return a browser of all units; `run` is the number of the run on the page, from 0."""
    best = "".join(
        f'<option value="{score.layer} {score.unit}">rnn.{score.layer}, unit {score.unit}: {safe(score.feature)}'
        for score in units.interpretable
    )
    layers = "".join(f'<option value="{each.layer}">rnn.{each.layer}' for each in units.layers)
    text = passage([names[index] for index in units.excerpt], [0] * len(units.excerpt), label="text coloured by a unit")
    hidden = "" if best else " hidden"
    first = f'<label{hidden}>The most interpretable <select class="best">{best}</select></label>'
    return (
        f'<div class="browser" data-run="{run}">{first}<label>Layer <select class="layer">{layers}</select> '
        f'unit <input class="unit" type="number" min="0" value="0"></label>{text}'
        f'<div class="panel low" aria-live="polite"></div></div>'
    )


def units_data(units: Units) -> dict[str, Any]:
    """Return what the script of the browser reads."""
    return {
        "start": units.excerpt_start,
        "ids": units.excerpt.tolist(),
        "layers": [
            {
                "scales": [_centre_and_scale(each, unit) for unit in range(each.values.shape[1])],
                "values": to_plain(each.values),
                "features": list(each.features),
                "strengths": to_plain(each.strengths),
            }
            for each in units.layers
        ],
    }
