"""The report on a run: every part of the inspection as data; `charlm.inspection.survey` makes it."""

from dataclasses import dataclass

from charlm.inspection.calibration import Calibration
from charlm.inspection.characters import CharacterMap
from charlm.inspection.context import UsableContext
from charlm.inspection.curves import Curves
from charlm.inspection.diagram import Diagram
from charlm.inspection.edit import Edit
from charlm.inspection.fixed_points import FixedPoints
from charlm.inspection.gradients import GradientByLag
from charlm.inspection.impulse import ImpulseResponse
from charlm.inspection.loss_by_class import LossByClass
from charlm.inspection.lyapunov import Lyapunov
from charlm.inspection.memory import Memory
from charlm.inspection.predictions import Predictions
from charlm.inspection.saturation import Saturation
from charlm.inspection.spectrum import RecurrentSpectrum
from charlm.inspection.trajectory import Trajectory
from charlm.inspection.truncation import TruncationBias
from charlm.inspection.units import Units
from charlm.text.vocabulary import Level


@dataclass(frozen=True, eq=False)
class Report:
    """What was found out about one run. A part is None if it could not be made; `notes` says why."""

    name: str
    """The path of the run, for the user."""
    text_name: str
    """What was read: a name for the user."""
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
    units: Units | None = None
    saturation: Saturation | None = None
    trajectory: Trajectory | None = None
    fixed_points: FixedPoints | None = None
    loss_by_class: LossByClass | None = None
    calibration: Calibration | None = None
    curves: Curves | None = None
    character_map: CharacterMap | None = None
    network: Diagram | None = None
    level: Level = "char"
    """What an id stands for."""
