"""The report on a run: what every section has found, with notes on what was left out, and as JSON."""

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from threadpoolctl import threadpool_limits

from charlm.errors import CharlmError, check_name, counted
from charlm.inspection.diagram import NETWORK
from charlm.inspection.fixed_points import FIXED_POINTS
from charlm.inspection.loss_by_class import LOSS
from charlm.inspection.markup import to_plain
from charlm.inspection.memory import CONTEXT, GRADIENT, IMPULSE
from charlm.inspection.section import Limits, Reading, Section, Subject
from charlm.inspection.stability import LYAPUNOV, SPECTRUM
from charlm.inspection.surprise import SURPRISE
from charlm.inspection.units import UNITS

SECTIONS = (
    *(NETWORK, SURPRISE, LOSS),
    *(CONTEXT, GRADIENT, IMPULSE),
    *(SPECTRUM, LYAPUNOV, FIXED_POINTS),
    UNITS,
)
"""In the order in which a page tells them: what was built, what it predicts, what it remembers, how."""
ORDER = tuple(sorted(SECTIONS, key=lambda section: not section.is_essential))
"""The same in the order in which they are made."""


def wanted(only: Collection[str]) -> list[Section]:
    """Return the sections of some names, all if there are none, in the order of ORDER."""
    return [section for section in ORDER if not only or section.name in only]


@dataclass(frozen=True, eq=False)
class Report:
    """What was found out about one run."""

    name: str
    """The path of the run, for the user."""
    text_name: str
    """What was read: a name for the user."""
    characters: tuple[str | None, ...]
    """The character of each id; None for a reserved id."""
    activation: str
    notes: tuple[str, ...]
    """What was left out, each a sentence."""
    found: Mapping[str, Any]
    """What each section has found, by its name; one that could not be made is missing, and `notes` says why."""

    def get(self, name: str) -> Any:
        """Return what a section has found, None if it is missing; raise CharlmError if there is no such section."""
        check_name("section", name, [section.name for section in SECTIONS])
        return self.found.get(name)

    @property
    def summary(self) -> list[tuple[str, str]]:
        """The parts of a sentence about the network, each after the name of the section that computed its numbers."""
        said = ((each.name, each.sentence(self.found[each.name])) for each in SECTIONS if each.name in self.found)
        return [(name, text) for name, text in said if text]


def inspect_run(
    subject: Subject,
    *,
    only: Collection[str] = (),
    limits: Limits | None = None,
    progress: Callable[[str], object] = lambda _: None,
) -> Report:
    """Make the report on a run.

    NumPy's products run on a single thread: they are small, and their threads spin while they wait for each other, so
    that beside other work eigenvalues and exponents took seven times as long.

    Args:
        subject: The run and the text.
        only: The names of the sections to make; none = all.
        limits: How much of the text is read; None = `limits_for` the network.
        progress: Called with the name of each section before it is made, in the order of ORDER.

    Raises:
        CharlmError: the text has less than 2 characters, or the losses are not finite.

    """
    if len(subject.ids) < 2:
        short = counted(len(subject.ids), "character")
        raise CharlmError(f"{subject.text_name}: {short}: at least 2 are needed for a report")
    reading = Reading(subject, limits)
    found: dict[str, Any] = {}
    notes = reading.left_out()
    # values that are not finite are null in the JSON, and gaps in the figures
    with threadpool_limits(1, "blas"), np.errstate(all="ignore"):
        for section in wanted(only):
            name = section.name.replace("_", " ")
            progress(name)
            try:
                found[section.name] = section.make(reading)
            except (CharlmError, np.linalg.LinAlgError) as error:
                if section.is_essential:
                    raise
                notes.append(f"{name.capitalize()}: missing: {error}.")
    return Report(
        name=subject.name,
        text_name=subject.text_name,
        characters=reading.vocabulary.characters,
        activation=reading.parameters.activation,
        notes=tuple(notes),
        found=found,
    )


def to_json(report: Report) -> dict[str, Any]:
    """Return a report as an object for `json.dumps`.

    The keys are the names of the sections and of the fields of their data, all the way down. `surprise` is a list with
    an object for each character (position, character, nats, likeliest, influence), `spectral_radius` repeats that of
    each layer, and `summary` is a list of objects (section, text). Numbers have 7 significant digits; one that is not
    finite is null.
    Ids are indices of `characters`.
    """
    names = ("name", "text_name", "characters", "activation", "notes")
    plain: dict[str, Any] = {name: to_plain(getattr(report, name)) for name in names}
    for section in ORDER:
        found = report.get(section.name)
        plain[section.name] = None if found is None else section.to_json(found, report.characters)
    plain["summary"] = [{"section": name, "text": text} for name, text in report.summary]
    plain["spectral_radius"] = [layer["spectral_radius"] for layer in plain["spectrum"] or ()]
    return plain
