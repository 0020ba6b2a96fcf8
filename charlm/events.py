"""Events: a long task tells its caller what happens while it works.

Functions that take long have the argument `on_event`: a function that is called with each event as it happens. An event
is a frozen dataclass of plain data. `charlm/cli/` turns events into lines and progress bars; a program can do something
else with them:

    from charlm import events, train

    def show(event: events.Event) -> None:
        if isinstance(event, events.StepsTaken):
            print(event.step, event.losses[-1])

    train("mytext.txt", on_event=show)

An exception that the function raises ends the task. Losses are in nats per character, times in seconds.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal


@dataclass(frozen=True)
class Event:
    """Something that has happened."""


OnEvent = Callable[[Event], object]
"""Takes an event."""


def ignore(_event: Event) -> None:
    """Do nothing with an event."""


# Reading text


@dataclass(frozen=True)
class TextProgress(Event):
    """Some files of a text are read; emitted before the first file and after each."""

    stage: Literal["counting", "encoding"]
    """First all files are read to count their characters, then again to encode them as ids."""
    done: int
    """The number of files that are done."""
    total: int
    """The number of files."""


# Deciding how to train


@dataclass(frozen=True)
class EngineStarting(Event):
    """TensorFlow is about to be imported, which takes seconds."""


@dataclass(frozen=True)
class ThreadsKept(Event):
    """The program has used TensorFlow before, which keeps its threads: training is slower."""


@dataclass(frozen=True)
class WaitingForWorkers(Event):
    """A worker waits until the others have started."""

    worker: int
    """Index of this worker."""
    others: int
    """The number of other workers."""


@dataclass(frozen=True)
class KernelCompiling(Event):
    """The kernel is about to be compiled for this processor."""

    compiler: str
    """Name of the compiler."""
    limit_seconds: int
    """The longest time that the compiler may take."""


@dataclass(frozen=True)
class KernelNotKept(Event):
    """The compiled kernel cannot be saved: every process compiles it again."""

    problem: str


@dataclass(frozen=True)
class SettingReplaced(Event):
    """The machine cannot do as a setting says, and uses another value."""

    key: str
    """The dotted key of the setting."""
    used: str
    """The value that is used."""
    problem: str
    """Why the value that was asked for cannot be used."""
    changes_bits: bool
    """Whether a run continues with another value than before, so that its results will not be bit-identical."""


@dataclass(frozen=True)
class Decided(Event):
    """It is decided how the run is trained."""

    recipe: str | None
    reason: str
    """Why this recipe was chosen; empty if the user named it."""
    better: str | None
    """A recipe that scores better and takes several times as long; None if there is none."""
    minutes: float | None
    """The time limit; None = the run has none."""
    steps: int
    epochs: float
    evaluations: int


@dataclass(frozen=True)
class NgramsLeftOut(Event):
    """The run does without the n-grams that its recipe asks for."""

    seconds: float | None
    """The time to count them, if that is the reason."""
    memory_bytes: int | None
    """The memory for their predictions, if that is the reason."""


@dataclass(frozen=True)
class FewSteps(Event):
    """So few steps fit into the time limit that the network will learn little."""

    steps: int
    enough: int
    """The number of steps that would be enough."""
    enough_minutes: float
    """The time limit that would allow them."""


@dataclass(frozen=True)
class BatchesReduced(Event):
    """The text is too short for the batches that the settings ask for."""

    batch_size: int
    sequence_length: int
    wanted_batch_size: int
    wanted_sequence_length: int


@dataclass(frozen=True)
class InitialWeightsAdapted(Event):
    """The weights of another model were adapted to the characters of the text."""

    path: Path
    """The file of that model."""
    known: int
    """The number of characters that the model knows."""
    new: int
    """The number of characters that it does not know."""


# Resuming


@dataclass(frozen=True)
class LeftoverRemoved(Event):
    """A folder that was left by a training which was killed before it had begun was emptied."""

    run: Path


@dataclass(frozen=True)
class Resuming(Event):
    """A run is opened to be continued."""

    run: Path


@dataclass(frozen=True)
class LengthAdded(Event):
    """A run that continues takes as many more steps as fit into a time limit."""

    minutes: float
    steps: int
    """The number of further steps."""


@dataclass(frozen=True)
class CheckpointSkipped(Event):
    """A checkpoint is damaged; the one before it is tried."""

    problem: str
    """The file, and the damage."""


@dataclass(frozen=True)
class KernelChanged(Event):
    """The kernel was compiled again since the run was saved, so results will not be bit-identical."""


@dataclass(frozen=True)
class BestModelLost(Event):
    """The best model is neither in its file nor in a checkpoint; the next evaluation writes it again."""

    path: Path
    """The file that should have it."""
    step: int
    """The step of the best model."""
    last: Path
    """The file of the last model, which can be used until then."""


@dataclass(frozen=True)
class LogDamaged(Event):
    """A log of the run was damaged; what could not be read was removed from it."""

    path: Path
    lost: int
    """The number of lines of metrics.jsonl, or of bytes of an event file, that were removed."""
    unit: Literal["line", "byte"]


@dataclass(frozen=True)
class SettingChanged(Event):
    """A resume changes a setting of the run."""

    key: str
    """The dotted key of the setting."""
    before: object
    after: object


@dataclass(frozen=True)
class Resumed(Event):
    """A run continues from a checkpoint."""

    step: int
    """The step of the checkpoint."""
    total: int
    """The steps of the whole run; the run has reached its end if `step` is the same."""


# Soft targets


@dataclass(frozen=True)
class TeacherStarted(Event):
    """A teacher of the run is trained now."""

    number: int
    """Number of the teacher, from 1."""
    count: int
    """The number of teachers."""
    run: Path
    """The folder of the teacher."""


@dataclass(frozen=True)
class TeacherEvent(Event):
    """Something has happened in the training of a teacher."""

    number: int
    """Number of the teacher, from 1."""
    event: Event


@dataclass(frozen=True)
class TeachersReading(Event):
    """The teachers read the training text, to predict its characters."""

    count: int
    """The number of teachers."""


@dataclass(frozen=True)
class NgramProgress(Event):
    """The n-grams of some parts of the training text are counted; emitted before the first part and after each."""

    done: int
    """The number of parts that are done."""
    total: int
    """The number of parts."""


@dataclass(frozen=True)
class SoftTargetsDamaged(Event):
    """The file of soft targets is damaged; they are computed again."""

    path: Path


# Training


@dataclass(frozen=True)
class Started(Event):
    """A new run takes its first step now."""

    run: Path
    text_name: str
    text_summary: str
    """The number of characters, the size of the vocabulary and the number of documents."""
    problems: tuple[str, ...]
    """Possible problems in the text."""
    recipe: str | None
    layers: int
    units: int
    weights: int
    """The number of weights."""
    kernel: str
    steps: int
    epochs: float
    batch_size: int
    """The number of windows of each step."""
    sequence_lengths: tuple[int, ...]
    """The characters in a window; several if windows grow."""


@dataclass(frozen=True)
class NoValidationText(Event):
    """The text is too short for a validation part: the best model is the one with the lowest training loss."""


@dataclass(frozen=True)
class BaselinesScored(Event):
    """Simple models are scored on the validation text."""

    nats_per_char: Mapping[str, float]
    """Their scores by name."""


@dataclass(frozen=True)
class StepsTaken(Event):
    """A run has taken some steps."""

    step: int
    """The last of these steps; the first step of a run is 1."""
    losses: tuple[float, ...]
    """Their training losses in nats per character."""
    total: int
    """The steps of the whole run."""
    characters_per_second: float
    """The speed since the start of the run."""
    left_seconds: float
    """Expected time for the rest of the run, evaluations included."""


@dataclass(frozen=True)
class Evaluated(Event):
    """The network was evaluated, and the run saved."""

    step: int
    total: int
    """The steps of the whole run."""
    train_nats: float | None
    """The mean training loss since the last log line; before the first step, the loss on the training text, or None if
    there is a validation text."""
    validation_nats: float | None
    """The loss on the validation text; None if there is no such text."""
    is_best: bool
    """Whether the loss is lower than at all evaluations before."""
    sample: str
    """A text that the network generates; may be empty."""
    left_seconds: float
    """Expected time for the rest of the run, evaluations included."""

    @property
    def nats_per_char(self) -> float:
        """The loss that decides which network is the best."""
        nats = self.train_nats if self.validation_nats is None else self.validation_nats
        assert nats is not None, "a network is evaluated on one of the two texts"
        return nats


@dataclass(frozen=True)
class Saved(Event):
    """A checkpoint was written."""

    step: int
    path: Path
    """The file of the checkpoint."""


@dataclass(frozen=True)
class LengthChanged(Event):
    """The machine has become slower or faster, so the run gets another length, to end at its time limit."""

    before: int
    """The steps of the whole run until now."""
    steps: int
    """The steps of the whole run from now on."""


@dataclass(frozen=True)
class TemperatureChosen(Event):
    """The sampling temperature of the model is chosen."""

    temperature: float
    reason: str
    """Why; empty if no lower temperature was compared."""


@dataclass(frozen=True)
class Ended(Event):
    """A run has ended."""

    run: Path
    reason: str
    step: int
    """The number of steps that were taken."""


# Searching


@dataclass(frozen=True)
class SearchStarted(Event):
    """A search for a recipe begins or continues."""

    recipe: str
    trial_seconds: float
    """The training time of each trial."""
    trials: int
    """The most trials that fit into the time of the call."""


@dataclass(frozen=True)
class TrialStarted(Event):
    """A trial of a search begins."""

    number: int
    values: Mapping[str, object]
    """The values that are tried, by the dotted keys of their settings."""


@dataclass(frozen=True)
class TrialFailed(Event):
    """A trial has failed."""

    number: int
    problem: str


@dataclass(frozen=True)
class TrialEnded(Event):
    """A trial has ended."""

    number: int
    nats_per_char: float | None
    """Its lowest validation loss; None if the trial was ended early, because others were better."""
    best_nats: float
    """The lowest loss of all trials."""
    best_number: int
    """The trial of that loss."""


# Looking at models


@dataclass(frozen=True)
class NewestRunTaken(Event):
    """No run was named, so this one, the newest, is used."""

    run: Path


@dataclass(frozen=True)
class LastModelTaken(Event):
    """A run has no best model yet, so the model of its last step is used."""

    run: Path


@dataclass(frozen=True)
class ScoringProgress(Event):
    """Some characters of a text are scored; emitted before the first and after each block."""

    text: str
    """The name of the text."""
    done: int
    """The number of characters that are scored."""
    total: int
    """The number of characters to score."""


@dataclass(frozen=True)
class ReportProgress(Event):
    """A part of a report is about to be made."""

    run: str
    """The name of the run."""
    part: str
    """The name of the part, for the user."""
    done: int
    """The number of parts that are done, over all runs."""
    total: int
    """The number of parts, over all runs."""


# Serving


@dataclass(frozen=True)
class ServerListening(Event):
    """The server accepts requests."""

    url: str
    models: tuple[str, ...]
    """The names of the models that it serves."""
    needs_key: bool
    """Whether requests must carry a key."""


@dataclass(frozen=True)
class OpenToNetwork(Event):
    """The server listens to other machines, and asks for no key."""

    host: str


@dataclass(frozen=True)
class ModelReloaded(Event):
    """The file of a model was replaced, and the server has read it again."""

    name: str
    """The name of the model."""


@dataclass(frozen=True)
class ModelNotReloaded(Event):
    """The file of a model was replaced by one that cannot be used; the server keeps the old model."""

    name: str
    """The name of the model."""
    problem: str


@dataclass(frozen=True)
class ServerProblem(Event):
    """Something went wrong in the server outside of a request, for instance too many files are open."""

    problem: str


@dataclass(frozen=True)
class RequestAnswered(Event):
    """The server has answered a request, or has given up."""

    client: str
    """The address of the client."""
    method: str
    path: str
    """The path in percent-encoding, without blanks and control characters."""
    status: int
    """The HTTP status; 0 if there was no answer."""
    seconds: float
    """The time from the head of the request to the end of the answer."""
    size_bytes: int
    """The size of the answer without its head."""
    problem: str | None
    """An unexpected error; None if there was none."""
