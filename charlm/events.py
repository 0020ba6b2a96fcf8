"""Events of long tasks.

Long tasks call their argument `on_event` with each event, a frozen dataclass of plain data.
`charlm/cli/` turns events into lines and progress bars. Another program can use them too:

    from charlm import events, train

    def show(event: events.Event) -> None:
        if isinstance(event, events.StepsTaken):
            print(event.step, event.losses[-1])

    train("mytext.txt", on_event=show)

An exception from the function ends the task. Losses are in nats per character, times in seconds.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal


@dataclass(frozen=True)
class Event:
    """Base class of all events."""


OnEvent = Callable[[Event], object]
"""Function that is called with an event."""


def ignore(_event: Event) -> None:
    """Ignore an event."""


# Reading text


@dataclass(frozen=True)
class TextProgress(Event):
    """A text file was read; also emitted before the first file."""

    stage: Literal["counting", "encoding"]
    """Stage of reading: all files are read twice, to count characters and to encode them as ids."""
    done: int
    """Number of files read so far."""
    total: int
    """Number of files."""


# Deciding how to train


@dataclass(frozen=True)
class EngineStarting(Event):
    """TensorFlow is about to be imported, which takes seconds."""


@dataclass(frozen=True)
class ThreadsKept(Event):
    """TensorFlow was in use before and keeps its threads, so training is slower."""


@dataclass(frozen=True)
class WaitingForWorkers(Event):
    """A worker is waiting for the other workers to start."""

    worker: int
    """Index of this worker."""
    others: int
    """Number of other workers."""


@dataclass(frozen=True)
class KernelCompiling(Event):
    """The kernel is about to be compiled for this processor."""

    compiler: str
    """Name of the compiler."""
    limit_seconds: int
    """Time limit of the compiler."""


@dataclass(frozen=True)
class KernelNotKept(Event):
    """The compiled kernel cannot be saved, so every process must compile it again."""

    problem: str


@dataclass(frozen=True)
class SettingReplaced(Event):
    """The value of a setting is not available on this machine and was replaced."""

    key: str
    """Dotted key of the setting."""
    used: str
    """Value that is used instead."""
    problem: str
    """Reason why the value is not available."""
    changes_bits: bool
    """Whether a resumed run changes its value, so results will not be bit-identical."""


@dataclass(frozen=True)
class Decided(Event):
    """Recipe and length of the run were decided."""

    recipe: str | None
    reason: str
    """Reason for this recipe; empty if the user chose it."""
    better: str | None
    """Recipe that scores better but takes several times as long; None if there is no such
    recipe."""
    minutes: float | None
    """Time limit; None = no limit."""
    steps: int
    epochs: float
    evaluations: int


@dataclass(frozen=True)
class NgramsLeftOut(Event):
    """The run is trained without the n-grams of its recipe."""

    seconds: float | None
    """Time to count the n-grams, if that is the reason; else None."""
    memory_bytes: int | None
    """Memory for the predictions of the n-grams, if that is the reason; else None."""


@dataclass(frozen=True)
class FewSteps(Event):
    """The time limit allows too few steps for the network to learn much."""

    steps: int
    enough: int
    """Number of steps that would be enough."""
    enough_minutes: float
    """Time limit that allows enough steps."""


@dataclass(frozen=True)
class BatchesReduced(Event):
    """The text is too short for the batches in the settings, so they were reduced."""

    batch_size: int
    sequence_length: int
    wanted_batch_size: int
    wanted_sequence_length: int


@dataclass(frozen=True)
class InitialWeightsAdapted(Event):
    """The initial weights were adapted to the characters of the text."""

    path: Path
    """Path of the model file."""
    known: int
    """Number of characters that the model knows."""
    new: int
    """Number of characters that the model does not know."""


# Resuming


@dataclass(frozen=True)
class LeftoverRemoved(Event):
    """A folder was emptied, because a training run in it was killed before its first step."""

    run: Path


@dataclass(frozen=True)
class Resuming(Event):
    """A run is being opened to continue it."""

    run: Path


@dataclass(frozen=True)
class LengthAdded(Event):
    """A resumed run was extended by the steps that fit into a time limit."""

    minutes: float
    steps: int
    """Number of added steps."""


@dataclass(frozen=True)
class CheckpointSkipped(Event):
    """A checkpoint is damaged, so the previous checkpoint is tried."""

    problem: str
    """File and damage, as a clause for the user."""


@dataclass(frozen=True)
class KernelChanged(Event):
    """The kernel was recompiled since the run was saved; results will not be bit-identical."""


@dataclass(frozen=True)
class BestModelLost(Event):
    """The best model was lost; the next evaluation replaces it."""

    path: Path
    """File of the best model."""
    step: int
    """Step of the best model."""
    last: Path
    """File of the last model, which can be used until the best model is replaced."""


@dataclass(frozen=True)
class LogDamaged(Event):
    """A damaged part of a log was removed."""

    path: Path
    lost: int
    """Number of lines removed from metrics.jsonl, or of bytes removed from an event file."""
    unit: Literal["line", "byte"]


@dataclass(frozen=True)
class SettingChanged(Event):
    """A setting of the run changes as it is resumed."""

    key: str
    """Dotted key of the setting."""
    before: object
    after: object


@dataclass(frozen=True)
class Resumed(Event):
    """A run continues from a checkpoint."""

    step: int
    """Step of the checkpoint."""
    total: int
    """Number of steps of the whole run; equal to `step` at the end of the run."""


# Soft targets


@dataclass(frozen=True)
class TeacherStarted(Event):
    """The training of a teacher begins."""

    number: int
    """Number of the teacher, from 1."""
    count: int
    """Number of all teachers."""
    run: Path
    """Folder of the teacher."""


@dataclass(frozen=True)
class TeacherEvent(Event):
    """An event in the training of a teacher."""

    number: int
    """Number of the teacher, from 1."""
    event: Event


@dataclass(frozen=True)
class TeachersReading(Event):
    """The teachers are about to predict the training text."""

    count: int
    """Number of teachers."""


@dataclass(frozen=True)
class NgramProgress(Event):
    """The n-grams of a part of the text were counted; also emitted before the first part."""

    done: int
    """Number of parts counted so far."""
    total: int
    """Number of parts."""


@dataclass(frozen=True)
class SoftTargetsDamaged(Event):
    """The file of soft targets is damaged, so they are computed again."""

    path: Path


# Training


@dataclass(frozen=True)
class Started(Event):
    """A new run is about to take its first step."""

    run: Path
    text_name: str
    text_summary: str
    """Number of characters, size of the vocabulary and number of documents, as text."""
    problems: tuple[str, ...]
    """Possible problems in the text."""
    recipe: str | None
    layers: int
    units: int
    weights: int
    """Number of weights of the network."""
    kernel: str
    steps: int
    epochs: float
    batch_size: int
    """Number of windows in each step."""
    sequence_lengths: tuple[int, ...]
    """Window lengths in characters; several if windows grow."""


@dataclass(frozen=True)
class NoValidationText(Event):
    """There is no validation text, so the best model is the one with the lowest training loss."""


@dataclass(frozen=True)
class BaselinesScored(Event):
    """Simple models were scored on the validation text."""

    nats_per_char: Mapping[str, float]
    """Losses of the models by name."""


@dataclass(frozen=True)
class StepsTaken(Event):
    """One or more steps were taken."""

    step: int
    """Number of the last of these steps; the first step of a run is step 1."""
    losses: tuple[float, ...]
    """Training loss of each step."""
    total: int
    """Number of steps of the whole run."""
    characters_per_second: float
    """Mean speed since the start of the run."""
    left_seconds: float
    """Expected time for the rest of the run, including evaluations."""


@dataclass(frozen=True)
class Evaluated(Event):
    """The network was evaluated, and the run saved."""

    step: int
    total: int
    """Number of steps of the whole run."""
    train_nats: float | None
    """Mean training loss since the last log entry. Before the first step: None if there is a
    validation text, otherwise the loss on the training text."""
    validation_nats: float | None
    """Validation loss; None if there is no validation text."""
    is_best: bool
    """Whether this is the lowest loss so far."""
    sample: str
    """Text generated by the network; may be empty."""
    left_seconds: float
    """Expected time for the rest of the run, including evaluations."""

    @property
    def nats_per_char(self) -> float:
        """Loss that determines which model is the best."""
        nats = self.train_nats if self.validation_nats is None else self.validation_nats
        assert nats is not None, "a network is evaluated on one of the two texts"
        return nats


@dataclass(frozen=True)
class Saved(Event):
    """A checkpoint was saved."""

    step: int
    path: Path
    """Path of the checkpoint."""


@dataclass(frozen=True)
class LengthChanged(Event):
    """The machine became slower or faster, so the length was changed to keep the time limit."""

    before: int
    """Number of steps of the whole run before the change."""
    steps: int
    """Number of steps of the whole run after the change."""


@dataclass(frozen=True)
class TemperatureChosen(Event):
    """The sampling temperature of the model was chosen."""

    temperature: float
    reason: str
    """Reason, as a clause for the user; empty if no lower temperature was tried."""


@dataclass(frozen=True)
class Ended(Event):
    """The run ended."""

    run: Path
    reason: str
    step: int
    """Number of steps taken."""


# Searching


@dataclass(frozen=True)
class SearchStarted(Event):
    """A search for a recipe starts or continues."""

    recipe: str
    trial_seconds: float
    """Training time of each trial."""
    trials: int
    """Maximum number of trials that fit into the time limit."""


@dataclass(frozen=True)
class TrialStarted(Event):
    """A trial of a search starts."""

    number: int
    values: Mapping[str, object]
    """Values to try, by the dotted keys of their settings."""


@dataclass(frozen=True)
class TrialFailed(Event):
    """A trial failed."""

    number: int
    problem: str


@dataclass(frozen=True)
class TrialTooShort(Event):
    """A trial has too few steps to show what its settings are worth."""

    number: int
    few: FewSteps


@dataclass(frozen=True)
class TrialEnded(Event):
    """A trial ended."""

    number: int
    nats_per_char: float | None
    """Lowest validation loss of the trial; None if the trial was pruned because other trials were
    better."""
    best_nats: float
    """Lowest validation loss of all trials."""
    best_number: int
    """Number of the trial with the lowest loss."""


# Looking at models


@dataclass(frozen=True)
class NewestRunTaken(Event):
    """No run was named, so the newest run is used."""

    run: Path


@dataclass(frozen=True)
class LastModelTaken(Event):
    """The run has no best model yet, so the model of its last step is used."""

    run: Path


@dataclass(frozen=True)
class ScoringProgress(Event):
    """A block of a text was scored; also emitted before the first block."""

    text: str
    """Name of the text."""
    done: int
    """Number of characters scored so far."""
    total: int
    """Number of characters to score."""


@dataclass(frozen=True)
class ReportProgress(Event):
    """A section of a report is about to be computed."""

    run: str
    """Name of the run."""
    part: str
    """Name of the section, for the user."""
    done: int
    """Number of sections computed so far, over all runs."""
    total: int
    """Number of sections, over all runs."""


# Serving


@dataclass(frozen=True)
class ServerListening(Event):
    """The server accepts requests."""

    url: str
    models: tuple[str, ...]
    """Names of the served models."""
    needs_key: bool
    """Whether requests need a key."""


@dataclass(frozen=True)
class OpenToNetwork(Event):
    """The server accepts requests from other machines without a key."""

    host: str


@dataclass(frozen=True)
class ModelReloaded(Event):
    """A model file was replaced, and the server uses the new model."""

    name: str
    """Name of the model."""


@dataclass(frozen=True)
class ModelNotReloaded(Event):
    """A model file was replaced by an unusable file; the server keeps the old model."""

    name: str
    """Name of the model."""
    problem: str


@dataclass(frozen=True)
class ServerProblem(Event):
    """An error in the server outside of a request, for example too many open files."""

    problem: str


@dataclass(frozen=True)
class RequestAnswered(Event):
    """A request was answered or aborted."""

    client: str
    """Address of the client."""
    method: str
    path: str
    """Percent-encoded path, without spaces and control characters."""
    status: int
    """HTTP status; 0 if there was no answer."""
    seconds: float
    """Time from the start of the request to the end of the answer."""
    size_bytes: int
    """Size of the body of the answer."""
    problem: str | None
    """Unexpected error, or None."""
