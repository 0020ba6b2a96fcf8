"""The report on a run: every quantity of every section, with notes on what was left out, and as JSON."""

from collections.abc import Callable
from typing import Any

import numpy as np

from charlm.errors import CharlmError, counted
from charlm.inspection import prediction, reach, representation
from charlm.inspection.passages import to_plain
from charlm.inspection.reading import Limits, Reading, Subject
from charlm.inspection.section import Quantity, Report
from charlm.inspection.surprise import Predictions

SECTIONS = (
    *(prediction.NETWORK, prediction.CURVES, prediction.SURPRISE, prediction.LOSS, prediction.CALIBRATION),
    *(reach.GRADIENT, reach.CONTEXT, reach.IMPULSE),
    *(reach.SPECTRUM, reach.LYAPUNOV, reach.FIXED_POINTS),
    *(representation.UNITS, representation.SATURATION),
)
"""In the order in which a page tells them: what was built, what it predicts, what it remembers, how."""
QUANTITIES: tuple[Quantity, ...] = tuple(
    sorted((each for section in SECTIONS for each in section.quantities), key=lambda each: not each.is_essential)
)
"""In the order in which they are made."""


def inspect_run(
    subject: Subject,
    *,
    limits: Limits | None = None,
    progress: Callable[[str], object] = lambda _: None,
) -> Report:
    """Make the report on a run.

    Args:
        subject: The run and the text.
        limits: How much of the text is read; None = `limits_for` the network.
        progress: Called with the name of each quantity before it is made, in the order of QUANTITIES.

    Raises:
        CharlmError: the text has less than 2 characters, or the losses are not finite.

    """
    if len(subject.ids) < 2:
        short = counted(len(subject.ids), "character")
        raise CharlmError(f"{subject.text_name}: {short}: at least 2 are needed for a report")
    reading = Reading(subject, limits)
    found: dict[str, Any] = {}
    notes = reading.left_out()
    for quantity in QUANTITIES:
        name = quantity.name.replace("_", " ")
        progress(name)
        try:
            with np.errstate(all="ignore"):  # values that are not finite are null in the JSON, and gaps in the figures
                found[quantity.name] = quantity.make(reading)
        except (CharlmError, np.linalg.LinAlgError) as error:
            if quantity.is_essential:
                raise
            notes.append(f"{name.capitalize()}: missing: {error}.")
    return Report(
        name=subject.name,
        text_name=subject.text_name,
        characters=reading.vocabulary.characters,
        activation=reading.parameters.activation,
        notes=tuple(notes),
        found=found,
        level=reading.vocabulary.level,
    )


def to_json(report: Report) -> dict[str, Any]:
    """Return a report as an object for `json.dumps`.

    The keys are the names of the quantities and of the fields of their data, all the way down, with three exceptions:
    `surprise` is a list with an object for each character (position, character, nats, likeliest, influence),
    `gradient_by_lag` a list with an object for each layer (positions, layer, lag, median, low, high), and
    `spectral_radius` repeats that of each layer. Numbers have 7 significant digits; one that is not finite is null. Ids
    are indices of `characters`.
    """
    names = ("name", "text_name", "characters", "activation", "notes", "level")
    plain: dict[str, Any] = {name: to_plain(getattr(report, name)) for name in names}
    plain |= {each.name: to_plain(report.found.get(each.name)) for each in QUANTITIES}
    if (found := plain["gradient_by_lag"]) is not None:
        plain["gradient_by_lag"] = [{"positions": found["positions"]} | layer for layer in found["layers"]]
    if (predictions := report.get("surprise")) is not None:
        plain["surprise"] = _surprise(predictions, report.characters)
    plain["spectral_radius"] = [layer["spectral_radius"] for layer in plain["spectrum"] or ()]
    return plain


def _surprise(found: Predictions, characters: tuple[str | None, ...]) -> list[dict[str, Any]]:
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
