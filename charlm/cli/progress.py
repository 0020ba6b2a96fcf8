"""Events as lines on standard error, and as a progress bar on a terminal."""

import contextlib
import os
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from types import TracebackType
from typing import TYPE_CHECKING, NoReturn

from charlm import events
from charlm.cli.output import beginning, is_quiet, say, shows_progress, text_width, wrap
from charlm.events import Event
from charlm.wording import counted, duration, escape_controls, short_number

if TYPE_CHECKING:
    from tqdm import tqdm

COLUMNS = 80
"""Line width if standard error is not a terminal or its width is unknown."""
PREFIX_COLUMNS = len("charlm: ")
"""Width of the prefix of every line."""
MIN_SAMPLE_COLUMNS = 12
"""Smallest width of a sample that is worth showing."""
WRAPPED = (events.Decided, events.NgramsLeftOut, events.FewSteps, events.Started)
"""Events whose lines are wrapped because they may be long."""
MIN_CHANGE = 0.25
"""Smallest change of the length of a run, as a share of the length, that the user is told of."""
LONG_TEXT = 500_000
"""Length of a text that takes long to score, in characters."""


def line_columns(descriptor: int = 2) -> int:
    """Return the width of a line on standard error without the prefix, in columns."""
    columns = 0
    with contextlib.suppress(OSError):  # not a terminal
        columns = os.get_terminal_size(descriptor).columns
    return (columns or COLUMNS) - PREFIX_COLUMNS


def describe(event: Event, *, columns: int = COLUMNS - PREFIX_COLUMNS) -> list[str]:
    """Return the lines that describe an event; none if it only moves a progress bar.

    Args:
        event: The event.
        columns: Largest width of the line for an evaluation.

    """
    inner = event.event if isinstance(event, events.TeacherEvent) else event
    if isinstance(inner, events.Evaluated):
        return [_describe_evaluation(inner, columns)]
    lines = [
        *_describe_start(event),
        *_describe_resume(event),
        *_describe_training(event),
        *_describe_others(event),
        *_describe_server(event),
    ]
    if not isinstance(event, WRAPPED):
        return lines
    wrapped: list[str] = []
    for line in lines:
        wrapped += wrap(line.split(" "), COLUMNS - PREFIX_COLUMNS, next_indent="  ")
    return wrapped


def _describe_start(event: Event) -> Iterator[str]:
    """Yield the lines for an event before a run starts."""
    match event:
        case events.EngineStarting():
            yield "loading TensorFlow, which takes a few seconds"
        case events.ThreadsKept():
            yield (
                "training will be slower: this program is already using TensorFlow, which keeps "
                "its number of threads"
            )
        case events.WaitingForWorkers(worker, others):
            waiting = counted(others, "other worker")
            yield f"TF_CONFIG: this is worker {worker}; waiting for {waiting}"
        case events.KernelCompiling(compiler, limit):
            yield f"kernel: compiling with {compiler}, once per processor, at most {limit} s"
        case events.KernelNotKept(problem):
            yield f"kernel: compiled for this process only: {problem}"
        case events.SettingReplaced(key, used, problem, changes_bits):
            consequence = "; results will not be bit-identical" if changes_bits else ""
            yield f"{key}: using {used}, because {problem}{consequence}"
        case events.Decided():
            yield from _describe_decision(event)
        case events.NgramsLeftOut(None, int(memory_bytes)):
            gigabytes = memory_bytes / 1e9
            yield f"training without n-grams: their predictions would need {gigabytes:,.1f} GB"
        case events.NgramsLeftOut(float(seconds), _):
            yield f"training without n-grams: counting them would take {duration(seconds)}"
        case events.FewSteps(steps, enough, minutes):
            few = counted(steps, "step")
            yield (
                f"{few} will teach the network little; {enough:,} would need --minutes {minutes:g}"
            )
        case events.BatchesReduced(batch_size, length, wanted_batch_size, wanted_length):
            windows = counted(batch_size, "window")
            wanted = f"{wanted_batch_size} of {wanted_length}"
            yield f"short text: {windows} of {length} characters per step instead of {wanted}"
        case events.InitialWeightsAdapted(path, known, new):
            yield f"initial weights from {path}: {known} known characters, {new} new"


def _describe_decision(event: events.Decided) -> Iterator[str]:
    if event.reason:
        yield f"recipe {event.recipe}: {event.reason}"
    if event.better is not None:
        yield f"-c {event.better} scores better but takes several times as long"
    if event.minutes is not None:
        steps = f"{counted(event.steps, 'step')} ({short_number(event.epochs)} epochs)"
        evaluations = counted(event.evaluations, "evaluation")
        yield f"training for {event.minutes:g} min: {steps}, {evaluations}"


def _describe_resume(event: Event) -> Iterator[str]:
    """Yield the lines for an event of a run that restarts or resumes."""
    match event:
        case events.LeftoverRemoved(run):
            yield f"{run}: a run was killed here before its first step; starting again"
        case events.Resuming(run):
            yield f"resuming {run}"
        case events.LengthAdded(minutes, steps):
            yield f"training for {minutes:g} min: {counted(steps, 'more step')}"
        case events.CheckpointSkipped(problem):
            yield f"{problem}; trying the checkpoint before it"
        case events.KernelChanged():
            yield "kernel: recompiled since this run was saved; results will not be bit-identical"
        case events.BestModelLost(path, step, last):
            yield (
                f"{path}: the best model (step {step:,}) is lost; the next evaluation replaces "
                f"the file; until then use {last}"
            )
        case events.LogDamaged(path, lost, unit):
            yield f"{path}: {counted(lost, f'damaged {unit}')} removed"
        case events.SettingChanged(key, before, after):
            from charlm.config.file import show_value  # only this event needs pydantic

            yield f"{key}: {show_value(before)} is now {show_value(after)}"
        case events.Resumed(step, total):
            longer = (
                ""
                if step < total
                else ": the run is complete; extend it with --epochs or --minutes"
            )
            yield f"resumed at step {step:,} of {total:,}{longer}"


def _describe_training(event: Event) -> Iterator[str]:
    """Yield the lines for an event of a training run in progress."""
    match event:
        case events.TeacherStarted(number, count, run):
            yield f"teacher {number} of {count}: {run}"
        case events.TeachersReading(count):
            yield f"{counted(count, 'teacher')}: reading the training text"
        case events.NgramProgress(0, total):
            yield f"n-grams: counting the training text in {total} parts"
        case events.SoftTargetsDamaged(path):
            yield f"{path}: damaged; computing it again"
        case events.Started():
            yield from _describe_run(event)
        case events.NoValidationText():
            yield "no validation text: the best model is the one with the lowest training loss"
        case events.BaselinesScored(scores):
            shown = ", ".join(f"{name} {nats:.3f}" for name, nats in scores.items())
            yield f"nats per character (lower is better): {shown}"
        case events.LengthChanged(before, steps):
            change = "slower" if steps < before else "faster"
            yield f"this machine has become {change}: {steps:,} steps instead of {before:,}"
        case events.TemperatureChosen(temperature, reason):
            why = f" ({reason})" if reason else ""
            yield f"sampling temperature {temperature:g}{why}"


def _describe_run(event: events.Started) -> Iterator[str]:
    yield f"training on {event.text_name} with the recipe {event.recipe}:"
    yield event.text_summary
    yield f"{event.layers} x {event.units} units, {event.weights:,} weights; kernel: {event.kernel}"
    windows = counted(event.batch_size, "window")
    lengths = ", ".join(map(str, event.sequence_lengths))
    epochs = short_number(event.epochs)
    yield f"{counted(event.steps, 'step')} of {windows} of {lengths} characters, {epochs} epochs"
    yield from event.problems


def _describe_others(event: Event) -> Iterator[str]:
    """Yield the lines for an event of a search or a model."""
    match event:
        case events.SearchStarted(recipe, seconds, trials):
            yield f"recipe {recipe}; {seconds:,.0f} s per trial, time for {trials:,} trials"
        case events.TrialStarted(number, values):
            settings = []
            for key, value in values.items():
                shown = f"{value:.4g}" if isinstance(value, float) else value
                settings.append(f"{key.rpartition('.')[2]} {shown}")
            yield f"trial {number}: {', '.join(settings)}"
        case events.TrialTooShort(number, few):
            steps = counted(few.steps, "step")
            enough = f"{few.enough:,} would need --trial-minutes {few.enough_minutes:g}"
            yield f"trial {number}: {steps} will teach the network little; {enough}"
        case events.TrialFailed(number, problem):
            yield f"trial {number}: failed: {problem}"
        case events.TrialEnded(number, nats, best_nats, best_number):
            result = "pruned" if nats is None else f"{nats:.4f} nats per character"
            yield f"trial {number}: {result}; best {best_nats:.4f} (trial {best_number})"
        case events.NewestRunTaken(run):
            yield f"using the newest run, {run}"
        case events.LastModelTaken(run):
            yield f"{run}: no best model yet; using the model of the last step"


def _describe_server(event: Event) -> Iterator[str]:
    """Yield the lines for an event of a server."""
    match event:
        case events.ServerListening(url, models, needs_key):
            # A browser cannot send a key.
            page = "" if needs_key else f", with a page for browsers at {url}"
            yield f"serving {', '.join(models)} at {url}/v1{page}; Ctrl-C stops it"
        case events.OpenToNetwork(host):
            yield (
                f"--host {host}: other machines can use the server without a key; set "
                "CHARLM_API_KEY"
            )
        case events.ModelReloaded(name):
            yield f"{name}: the file was replaced; serving the new model"
        case events.ModelNotReloaded(name, problem):
            yield f"{name}: the file was replaced, but the old model is still served: {problem}"
        case events.ServerProblem(problem):
            yield f"server: {problem}"
        case events.RequestAnswered():
            yield _describe_answer(event)


def _describe_answer(event: events.RequestAnswered) -> str:
    """Return the line of the access log for a request."""
    now = time.strftime("%Y-%m-%d %H:%M:%S")
    problem = "" if event.problem is None else f": {event.problem}"
    return (
        f"{now} {event.client} {event.method} {event.path} {event.status} {event.seconds:.3f} s "
        f"{event.size_bytes:,} bytes{problem}"
    )


def _describe_evaluation(event: events.Evaluated, columns: int) -> str:
    """Return the line for an evaluation; the start of the sample fills the rest of the line."""
    nats = event.validation_nats
    if not event.step:
        split = "train" if nats is None else "validation"
        return f"step 0: {split} {event.nats_per_char:.3f} nats"
    left = f", {duration(event.left_seconds)} left" if event.step < event.total else ""
    line = f"step {event.step:,} of {event.total:,}{left}: train {event.train_nats:.3f}"
    if nats is not None:
        line += f", validation {nats:.3f}"
    if event.is_best:
        line += ", best"
    words = " ".join(event.sample.split())
    free = columns - text_width(line) - len(' ""')
    if words and free >= MIN_SAMPLE_COLUMNS:
        return f'{line} "{beginning(words, free)}"'
    return beginning(line, columns)


@dataclass(frozen=True)
class _BarState:
    """State of a progress bar."""

    name: str
    """Name of the task; each task has a bar."""
    done: int
    total: int
    unit: str
    details: str = ""
    """Text after the numbers."""
    stays: bool = False
    """Whether the bar stays on the screen when it is full."""


def _bar_state(event: Event) -> _BarState | None:
    """Return the state of the progress bar after an event; None if the event has no bar."""
    match event:
        case events.TextProgress(stage, done, total):
            return _BarState(f"{stage} characters", done, total, "file")
        case events.NgramProgress(done, total):
            return _BarState("counting n-grams", done, total, "part")
        case events.StepsTaken(step, losses, total, characters_per_second, left_seconds):
            from tqdm import tqdm  # here, for a fast start of other commands

            left = f"{duration(left_seconds)} left" if step < total else "last evaluation"
            speed = f"{tqdm.format_sizeof(characters_per_second)} char/s"
            details = f"{left}, {speed}, loss {losses[-1]:.3f} nats"
            return _BarState("", step, total, "step", details, stays=True)
        case events.TeacherEvent(number, inner):
            state = _bar_state(inner)
            return state and replace(state, name=f"teacher {number}", stays=False)
        case events.ScoringProgress(_, done, total):
            return _BarState("scoring", done, total, "character")
        case events.ReportProgress(run, part, done, total):
            return _BarState("report", done, total, "part", escape_controls(f"{run}: {part}"))
    return None


class ProgressDisplay:
    """Shows the events of a task on standard error; a context manager that removes the bar.

    Args:
        has_bar: Whether to show a progress bar; None = on a terminal, if the command is not quiet.
        first_line: Line printed if nothing else appears for a while; "" = none.
        silent_seconds: Time after which the first line is printed.

    """

    def __init__(
        self, *, has_bar: bool | None = None, first_line: str = "", silent_seconds: float = 0.5
    ) -> None:
        self._has_bar = shows_progress() if has_bar is None else has_bar
        self._bar: tqdm[NoReturn] | None = None
        self._name = ""
        self._told_steps: int | None = None  # the length of the run that the user knows of
        # Checked here: is_quiet does not work in the thread of the timer.
        self._timer: threading.Timer | None = None
        if first_line and not is_quiet():
            self._timer = threading.Timer(silent_seconds, say, [first_line])

    def __enter__(self) -> "ProgressDisplay":
        if self._timer is not None:
            self._timer.daemon = True
            self._timer.start()
        return self

    def __exit__(
        self,
        _type: type[BaseException] | None,
        _error: BaseException | None,
        _traceback: TracebackType | None,
    ) -> None:
        self._stop_timer()
        self._close_bar()

    def __call__(self, event: Event) -> None:
        """Show an event: its lines above the bar, then the bar."""
        if isinstance(event, events.LengthChanged):
            event = replace(event, before=self._told_steps or event.before)
            if abs(event.steps - event.before) < MIN_CHANGE * event.before:
                self._told_steps = event.before
                return
            self._told_steps = event.steps
        lines = describe(event, columns=line_columns())
        if isinstance(event, events.ScoringProgress) and not self._has_bar and not event.done:
            lines += _describe_scoring(event)
        state = _bar_state(event) if self._has_bar else None
        if lines or state is not None:
            self._stop_timer()
        if lines:
            with self._above_bar():
                for line in lines:
                    say(line)
        if state is not None:
            self._show(state)

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()

    @contextlib.contextmanager
    def _above_bar(self) -> Iterator[None]:
        """While the `with` block runs, its output appears above the bar."""
        if self._bar is None:
            yield
            return
        self._bar.clear()
        yield
        self._bar.refresh()

    def _show(self, state: _BarState) -> None:
        if self._bar is None or self._name != state.name:
            self._close_bar()
            self._name = state.name
            self._bar = _new_bar(state)
        self._bar.set_postfix_str(state.details, refresh=False)
        self._bar.update(state.done - self._bar.n)
        if state.done == state.total:
            self._close_bar()

    def _close_bar(self) -> None:
        if self._bar is not None:
            self._bar.close()
        self._bar = None


def _new_bar(state: _BarState) -> "tqdm[NoReturn]":
    """Return a progress bar that starts at the present state."""
    from tqdm import tqdm

    percentage = f"{state.name} {{percentage:3.0f}}%"
    numbers = f"{state.unit} {{n_fmt}} of {{total_fmt}}{{postfix}}"
    return tqdm(
        total=state.total,
        initial=state.done,
        leave=state.stays,
        dynamic_ncols=True,
        bar_format=f"{percentage}|{{bar}}| {numbers}",
    )


def _describe_scoring(event: events.ScoringProgress) -> list[str]:
    """Return a line for a text that takes long to score."""
    if event.total < LONG_TEXT:
        return []
    return [f"scoring {counted(event.total, 'character')} of {event.text}"]
