"""The report on a network: what every section has found, with notes on what was left out, and as JSON."""

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from threadpoolctl import threadpool_limits

from charlm.errors import CharlmError, check_name, counted
from charlm.inspection.context import make_context
from charlm.inspection.diagram import make_network
from charlm.inspection.fixed_points import make_fixed_points
from charlm.inspection.gradient import make_gradient
from charlm.inspection.impulse import make_impulse
from charlm.inspection.loss_by_class import make_loss
from charlm.inspection.markup import to_plain
from charlm.inspection.reading import Reading
from charlm.inspection.section import Found
from charlm.inspection.stability import make_lyapunov, make_spectrum
from charlm.inspection.surprise import make_surprise
from charlm.inspection.units import make_units

SECTIONS: Mapping[str, Callable[[Reading], Found]] = {
    "network": make_network,
    "surprise": make_surprise,
    "loss_by_class": make_loss,
    "usable_context": make_context,
    "gradient_by_lag": make_gradient,
    "impulse_response": make_impulse,
    "spectrum": make_spectrum,
    "lyapunov": make_lyapunov,
    "fixed_points": make_fixed_points,
    "units": make_units,
}
"""What makes each section, in the order of the page: what was built, what it predicts, what it remembers, how.

A name is the key of the JSON, the name of the figure, and the anchor. A section that cannot be made raises CharlmError
or LinAlgError."""


@dataclass(frozen=True, eq=False)
class Report:
    """What was found out about one network."""

    name: str
    """The path of the run, for the user."""
    text_name: str
    """What was read: a name for the user."""
    characters: tuple[str | None, ...]
    """The character of each id; None for a reserved id."""
    activation: str
    notes: tuple[str, ...]
    """What was left out, each a sentence."""
    found: Mapping[str, Found]
    """What each section has found, by its name; one that could not be made is missing, and `notes` says why."""

    def get(self, name: str) -> Any:
        """Return the data of a section, None if it is missing; raise CharlmError if there is no such section."""
        check_name("section", name, SECTIONS)
        return self.found[name].data if name in self.found else None

    @property
    def summary(self) -> list[tuple[str, str]]:
        """The parts of a sentence about the network, each after the name of the section that computed its numbers."""
        return [
            (name, self.found[name].sentence) for name in SECTIONS if name in self.found and self.found[name].sentence
        ]


def inspect_text(
    reading: Reading, *, only: Collection[str] = (), progress: Callable[[str], object] = lambda _: None
) -> Report:
    """Make the report on a network that reads a text.

    NumPy's products run on a single thread: they are small, and their threads spin while they wait for each other, so
    that beside other work eigenvalues and exponents took seven times as long.

    Args:
        reading: The network and the text.
        only: The names of the sections to make; none = all.
        progress: Called with the name of each section before it is made.

    Raises:
        CharlmError: the text has less than 2 characters, or its losses are not finite.

    """
    if len(reading.text) < 2:
        short = counted(len(reading.text), "character")
        raise CharlmError(f"{reading.text_name}: {short}: at least 2 are needed for a report")
    found: dict[str, Found] = {}
    notes = reading.notes()
    # values that are not finite are null in the JSON, and gaps in the figures
    with threadpool_limits(1, "blas"), np.errstate(all="ignore"):
        for name, make in SECTIONS.items():
            if only and name not in only:
                continue
            progress(name.replace("_", " "))
            try:
                found[name] = make(reading)
            except (CharlmError, np.linalg.LinAlgError) as error:
                if name == "surprise":  # nothing can be said of such losses
                    raise
                notes.append(f"{name.replace('_', ' ').capitalize()}: missing: {error}.")
    return Report(
        name=reading.name,
        text_name=reading.text_name,
        characters=reading.characters,
        activation=reading.parameters.activation,
        notes=tuple(notes),
        found=found,
    )


def to_json(report: Report) -> dict[str, Any]:
    """Return a report as an object for `json.dumps`.

    The keys are the names of the sections and of the fields of their data, all the way down; `spectral_radius` repeats
    that of each layer, and `summary` is a list of objects (section, text). Numbers have 7 significant digits; one that
    is not finite is null. Ids are indices of `characters`.
    """
    plain = {name: to_plain(value) for name, value in vars(report).items() if name != "found"}
    plain |= {name: to_plain(report.get(name)) for name in SECTIONS}
    plain["summary"] = [{"section": name, "text": text} for name, text in report.summary]
    plain["spectral_radius"] = [layer["spectral_radius"] for layer in plain["spectrum"] or ()]
    return plain
