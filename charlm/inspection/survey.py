"""The report on a run, made part by part, within limits, and with notes on what was left out."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from charlm.errors import CharlmError
from charlm.inspection.limits import Limits, limits_for
from charlm.inspection.parts import Subject, Survey
from charlm.inspection.report import Report

Progress = Callable[[str], object]
ESSENTIAL = ("surprise", "edits")
PARTS: Sequence[str] = (
    *("surprise", "edits", "gradient_by_lag", "gradient_by_lag_layer", "initial_gradient_by_lag", "truncation"),
    *("usable_context", "impulse_response", "memory", "lyapunov", "initial_lyapunov", "spectrum", "initial_spectrum"),
    *("units", "saturation", "trajectory", "fixed_points", "loss_by_class", "calibration", "curves"),
    *("character_map", "network"),
)
"""The parts in the order in which they are made: the names of fields of Report and of methods of Survey."""


def inspect_run(
    subject: Subject,
    *,
    limits: Limits | None = None,
    parts: Sequence[str] | None = None,
    progress: Progress = lambda _: None,
) -> Report:
    """Make the report on a run.

    Args:
        subject: The run and the text.
        limits: How much of the text is read; None = `limits_for` the network.
        parts: Names of PARTS, the parts to make; None = all.
        progress: Called with the name of each part before it is made, in the order of PARTS.

    Raises:
        CharlmError: the text has less than 2 characters, a position of an edit lies outside the part that is read, or
            the losses are not finite.

    """
    if len(subject.ids) < 2:
        raise CharlmError(f"{subject.text_name}: {len(subject.ids)} characters: at least 2 are needed for a report")
    survey = Survey(subject, limits or limits_for(subject.bundle.parameters))
    found: dict[str, Any] = {}
    notes = [*survey.left_out()]
    for name in PARTS if parts is None else parts:
        progress(name.replace("_", " "))
        try:
            with np.errstate(all="ignore"):  # values that are not finite are null in the JSON, and gaps in the figures
                found[name] = getattr(survey, name)()
        except (CharlmError, np.linalg.LinAlgError) as error:
            if name in ESSENTIAL:
                raise
            notes.append(f"{name.replace('_', ' ').capitalize()}: missing: {error}.")
    vocabulary = subject.bundle.vocabulary
    return Report(
        name=subject.name,
        text_name=subject.text_name,
        characters=vocabulary.characters,
        activation=subject.bundle.architecture.activation,
        notes=tuple(notes),
        level=vocabulary.level,
        **found,
    )
