"""A report as JSON: plain objects, lists and numbers; what is not a finite number is null."""

import math
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from typing import Any

import numpy as np

from charlm.inspection.predictions import Predictions
from charlm.inspection.report import Report

DIGITS = 7
"""Significant digits of a number."""


def to_json(report: Report) -> dict[str, Any]:
    """Return a report as an object for `json.dumps`.

    The keys are the names of the fields, all the way down, with three exceptions: `surprise` is a list with an object
    for each character (position, character, nats, likeliest, influence), each gradient by lag a list with an object for
    each layer (path, positions, layer, lag, median, low, high), and `spectral_radius` repeats that of each layer.
    Numbers have 7 significant digits. Ids are indices of `characters`.
    """
    plain: dict[str, Any] = to_plain(report)
    for name in ("gradient_by_lag", "gradient_by_lag_layer", "initial_gradient_by_lag"):
        if (found := plain[name]) is not None:
            shared = {"path": found["path"], "positions": found["positions"]}
            plain[name] = [shared | layer for layer in found["layers"]]
    if report.surprise is not None:
        plain["surprise"] = _surprise(report.surprise, report.characters)
    plain["spectral_radius"] = [to_plain(layer.spectral_radius) for layer in report.spectrum]
    return plain


def to_plain(value: Any) -> Any:
    """Return dataclasses as dictionaries, arrays and tuples as lists, numbers of NumPy as Python's.

    A complex number becomes [real, imaginary]; a number that is not finite becomes None.
    """
    match value:
        case np.ndarray() | np.generic():
            plain = to_plain(value.tolist())
        case Mapping():
            plain = {str(key): to_plain(item) for key, item in value.items()}
        case list() | tuple():
            plain = [to_plain(item) for item in value]
        case complex():
            plain = [to_plain(value.real), to_plain(value.imag)]
        case float():
            plain = float(f"{value:.{DIGITS}g}") if math.isfinite(value) else None
        case _ if is_dataclass(value):
            plain = {field.name: to_plain(getattr(value, field.name)) for field in fields(value)}
        case _:
            plain = value
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
