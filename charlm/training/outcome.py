"""How a training ended, and with which settings it would go on."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from signal import Signals

from charlm.config.file import load_config
from charlm.config.recipes import find_recipe, suited_recipe
from charlm.runs.run import Run
from charlm.training.checkpoints import Progress
from charlm.training.display import is_improving
from charlm.training.marks import Training
from charlm.training.schedule import Schedule


@dataclass(frozen=True)
class Outcome:
    """How a training ended."""

    folder: Path
    """The folder of the run."""
    progress: Progress
    nats_per_char: float | None
    """The loss of the best model. None = there is none."""
    characters_per_second: float
    """Of training alone."""
    split: str
    """The text that `nats_per_char` was measured on: validation, or train if there is no validation text."""
    measured_on: str
    """The same for the user: which text, and how much of it if not all."""
    reason: str
    """Why it ended, for the user."""
    signal: Signals | None
    """The signal that ended it, or None."""
    baseline_nats: Mapping[str, float]
    """What simple models score on the validation text, in nats per character, by name; empty if there is none."""
    sample: str
    """What the best network writes; empty if nothing, or if a signal ended the training."""
    longer: tuple[str, ...]
    """The settings with which a resume goes on, for instance ("training.epochs=24",): as long as the recipe for such a
    text trains, or twice as long as so far; none if the network was not still improving."""
    worker: int = 0
    """Which of the machines of TF_CONFIG this is; the run is in the folder of worker 0 alone."""


def outcome_of(training: Training, *, reason: str, signal: Signals | None, sample: str) -> Outcome:
    """Return how a training has ended; the arguments are fields of `Outcome`."""
    run, progress, schedule, text = training.run, training.progress, training.schedule, training.text
    return Outcome(
        folder=run.folder,
        progress=progress,
        nats_per_char=progress.best_nats,
        characters_per_second=schedule.characters(progress.step) / max(progress.seconds, 1e-9),
        split=text.split,
        measured_on=text.measured_on,
        reason=reason,
        signal=signal,
        baseline_nats=text.baseline_nats,
        sample=sample,
        longer=_longer(run, schedule, progress) if is_improving(progress, training.difference) else (),
        worker=training.engine.machines.index,
    )


def _longer(run: Run, schedule: Schedule, progress: Progress) -> tuple[str, ...]:
    """Return the settings with which the run goes on to the length that is usual for its text, or twice as far."""
    settings, (start, end) = run.config.training, run.corpus.splits["train"]
    limits = {"epochs": settings.epochs, "steps": settings.steps}
    usual = load_config(find_recipe(suited_recipe(end - start).recipe)).training
    for name, done, wanted in (
        ("epochs", schedule.epochs(progress.step), usual.epochs),
        ("steps", progress.step, usual.steps),
    ):
        if wanted is not None and done < wanted:
            others = [other for other, limit in limits.items() if other != name and limit is not None]
            return (f"training.{name}={wanted}", *(f"training.{other}=null" for other in others))
    return tuple(f"training.{name}={2 * limit}" for name, limit in limits.items() if limit is not None)
