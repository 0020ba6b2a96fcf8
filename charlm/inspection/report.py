"""The report on a run: every part of the inspection, and its JSON."""

from dataclasses import dataclass
from typing import Any

from charlm.inspection.context import UsableContext
from charlm.inspection.edit import Edit
from charlm.inspection.gradients import GradientByLag
from charlm.inspection.impulse import ImpulseResponse
from charlm.inspection.lyapunov import Lyapunov
from charlm.inspection.memory import Memory
from charlm.inspection.predictions import Predictions
from charlm.inspection.spectrum import RecurrentSpectrum
from charlm.inspection.truncation import TruncationBias


@dataclass(frozen=True, eq=False)
class Report:
    """What was found out about one run. A part is None if it could not be made; `notes` says why."""

    name: str
    """The path of the run, for the user."""
    text_name: str
    """What was read."""
    characters: tuple[str | None, ...]
    """The character of each id; None for a reserved id. At level byte, U+0000 to U+00FF are the byte values."""
    activation: str
    notes: tuple[str, ...]
    """What was left out, each a sentence."""
    surprise: Predictions | None = None
    gradient_by_lag: GradientByLag | None = None
    """Along the whole state."""
    gradient_by_lag_layer: GradientByLag | None = None
    """Through the recurrence of each layer alone."""
    initial_gradient_by_lag: GradientByLag | None = None
    """Along the whole state of a network with weights drawn anew by the initializers of the run."""
    truncation: TruncationBias | None = None
    usable_context: UsableContext | None = None
    impulse_response: ImpulseResponse | None = None
    edits: tuple[Edit, ...] = ()
    memory: Memory | None = None
    lyapunov: Lyapunov | None = None
    initial_lyapunov: Lyapunov | None = None
    spectrum: tuple[RecurrentSpectrum, ...] = ()
    initial_spectrum: tuple[RecurrentSpectrum, ...] = ()
    units: Any = None
    saturation: Any = None
    trajectory: Any = None
    fixed_points: Any = None
    loss_by_class: Any = None
    calibration: Any = None
    curves: Any = None
    character_map: Any = None
    network: Any = None
