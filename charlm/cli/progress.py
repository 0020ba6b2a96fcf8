"""Show the events of a long task: as lines on standard error, and as a progress bar on a terminal."""

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
"""Width of a line if standard error is not a terminal, or its width is not known."""
PREFIX_COLUMNS = len("charlm: ")
"""Width of the prefix of every line."""
MIN_SAMPLE_COLUMNS = 12
"""Width of the shortest part of a sample that is shown."""
WRAPPED = (events.Decided, events.NgramsLeftOut, events.FewSteps, events.Started)
"""Events whose lines may be long."""
FIRST_LINE_SECONDS = 0.5
"""The longest time that a command is silent in the beginning."""
LONG_TEXT = 500_000
"""Characters of a text that takes long to score."""


def line_columns(descriptor: int = 2) -> int:
    """Return the width of a line on standard error, without the prefix.

    Args:
        descriptor: The file descriptor of standard error.

    """
    columns = 0
    with contextlib.suppress(OSError):  # not a terminal
        columns = os.get_terminal_size(descriptor).columns
    return (columns or COLUMNS) - PREFIX_COLUMNS


def describe(event: Event, *, columns: int = COLUMNS - PREFIX_COLUMNS) -> list[str]:
    """Return an event as lines for the user; none if it only moves a progress bar.

    Args:
        event: The event.
        columns: The width of the line of an evaluation, which is cut. What was decided and the problems of a text are
            wrapped.

    """
    inner = event.event if isinstance(event, events.TeacherEvent) else event
    if isinstance(inner, events.Evaluated):
        return [_describe_evaluation(inner, columns)]
    if isinstance(event, WRAPPED):
        width = COLUMNS - PREFIX_COLUMNS
        return [
            part
            for line in _lines(event)
            for part in wrap(line.split(" "), width, next_indent="  ")
        ]
    return [*_lines(event)]


def _lines(event: Event) -> Iterator[str]:
    """Yield an event as lines of any width."""
    for describe_part in (_describe_start, _describe_resume, _describe_training, _describe_others):
        yield from describe_part(event)


def _describe_start(event: Event) -> Iterator[str]:
    """Yield the lines of an event before a run begins."""
    match event:
        case events.EngineStarting():
            yield "loading TensorFlow, which takes some seconds"
        case events.ThreadsKept():
            yield "TensorFlow was used before in this program and keeps its threads: training is slower"
        case events.WaitingForWorkers(worker, others):
            yield f"TF_CONFIG: this is worker {worker}; waiting for {counted(others, 'other worker')}"
        case events.KernelCompiling(compiler, limit):
            yield f"kernel: compiling it once for this processor with {compiler}, at most {limit} s"
        case events.KernelNotKept(problem):
            yield f"kernel: compiled for this process only: {problem}"
        case events.SettingReplaced(key, used, problem, changes_bits):
            consequence = "; results will not be bit-identical" if changes_bits else ""
            yield f"{key}: using {used}, because {problem}{consequence}"
        case events.Decided():
            yield from _describe_decision(event)
        case events.NgramsLeftOut(None, memory_bytes):
            yield f"training without n-grams: their predictions would take {(memory_bytes or 0) / 1e9:,.1f} GB"
        case events.NgramsLeftOut(float(seconds), _):
            yield f"training without n-grams: counting them would take {duration(seconds)}"
        case events.FewSteps(steps, enough, minutes):
            few = counted(steps, "step")
            yield f"{few} will teach the network little; --minutes {minutes:g} would allow {enough:,}"
        case events.BatchesReduced(batch_size, length, wanted_batch_size, wanted_length):
            windows = counted(batch_size, "window")
            wanted = f"{wanted_batch_size} of {wanted_length}"
            yield f"short text: {windows} of {length} characters a step, not {wanted}"
        case events.InitialWeightsAdapted(path, known, new):
            yield f"init: {path}: characters of the text: {known} known, {new} new"


def _describe_decision(event: events.Decided) -> Iterator[str]:
    if event.reason:
        yield f"recipe {event.recipe}: {event.reason}"
    if event.better is not None:
        yield f"recipe {event.better} scores better and takes several times as long: -c {event.better}"
    if event.minutes is not None:
        steps = f"{counted(event.steps, 'step')} ({short_number(event.epochs)} epochs)"
        yield f"training for {event.minutes:g} min: {steps}, {counted(event.evaluations, 'evaluation')}"


def _describe_resume(event: Event) -> Iterator[str]:
    """Yield the lines of an event of a run that begins again or continues."""
    match event:
        case events.LeftoverRemoved(run):
            yield f"{run}: a training was killed here before it had begun; starting again"
        case events.Resuming(run):
            yield f"resuming {run}"
        case events.LengthAdded(minutes, steps):
            yield f"training for {minutes:g} min: {counted(steps, 'more step')}"
        case events.CheckpointSkipped(problem):
            yield f"{problem}; trying the checkpoint before it"
        case events.KernelChanged():
            yield "kernel: compiled again since this run was saved; results will not be bit-identical"
        case events.BestModelLost(path, step, last):
            yield (
                f"{path}: is not the model of step {step:,}, the best so far; the next evaluation writes it again; "
                f"until then use {last}"
            )
        case events.LogDamaged(path, lost, unit):
            yield f"{path}: {counted(lost, f'damaged {unit}')} removed"
        case events.SettingChanged(key, before, after):
            from charlm.config.file import (
                show_value,
            )  # imported here, because no other command needs it

            yield f"{key}: was {show_value(before)}, is now {show_value(after)}"
        case events.Resumed(step, total):
            longer = "" if step < total else ", its end; --epochs N or --minutes N makes it longer"
            yield f"resumed at step {step:,} of {total:,}{longer}"


def _describe_training(event: Event) -> Iterator[str]:
    """Yield the lines of an event of a run."""
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
            yield "there is no validation text: the best model is the one with the lowest training loss"
        case events.BaselinesScored(scores):
            shown = ", ".join(f"{name} {nats:.3f}" for name, nats in scores.items())
            yield f"nats per character (lower is better): {shown}"
        case events.LengthChanged(before, steps):
            change = "slower" if steps < before else "faster"
            yield f"this machine has become {change}: {steps:,} steps instead of {before:,}"
        case events.TemperatureChosen(temperature, reason):
            why = reason and f" ({reason})"
            yield f"sampling temperature {temperature:g}{why}"


def _describe_run(event: events.Started) -> Iterator[str]:
    lengths = ", ".join(map(str, event.sequence_lengths))
    windows = counted(event.batch_size, "window")
    yield f"training on {event.text_name} with the recipe {event.recipe}:"
    yield event.text_summary
    yield f"{event.layers} x {event.units} units, {event.weights:,} weights; kernel: {event.kernel}"
    yield f"{counted(event.steps, 'step')} of {windows} of {lengths} characters, {short_number(event.epochs)} epochs"
    yield from event.problems


def _describe_others(event: Event) -> Iterator[str]:
    """Yield the lines of an event of a search, a model or a server."""
    match event:
        case events.SearchStarted(recipe, seconds, trials):
            yield f"recipe {recipe}; a trial trains {seconds:,.0f} s, at most {trials:,} fit"
        case events.TrialStarted(number, values):
            shown = [
                f"{key.rpartition('.')[2]} {f'{value:.4g}' if isinstance(value, float) else value}"
                for key, value in values.items()
            ]
            yield f"trial {number}: {', '.join(shown)}"
        case events.TrialFailed(number, problem):
            yield f"trial {number}: failed: {problem}"
        case events.TrialEnded(number, nats, best_nats, best_number):
            result = "pruned" if nats is None else f"{nats:.4f} nats per character"
            yield f"trial {number}: {result}; best {best_nats:.4f} (trial {best_number})"
        case events.NewestRunTaken(run):
            yield f"{run}: the newest run, because none is named"
        case events.LastModelTaken(run):
            yield f"{run}: this run has no best model yet; using the model of its last step"
        case events.ServerListening(url, models, needs_key):
            page = (
                "" if needs_key else f" and, for a browser, at {url}"
            )  # a browser cannot send a key
            yield f"serving {', '.join(models)} at {url}/v1{page}; Ctrl-C ends it"
        case events.OpenToNetwork(host):
            yield f"--host {host}: open to the network without a key; set CHARLM_API_KEY"
        case events.ModelReloaded(name):
            yield f"{name}: the file was replaced, and the new model is served"
        case events.ModelNotReloaded(name, problem):
            yield f"{name}: the file was replaced, but the old model is still served: {problem}"
        case events.ServerProblem(problem):
            yield f"the server has a problem: {problem}"
        case events.RequestAnswered():
            yield _describe_answer(event)


def _describe_answer(event: events.RequestAnswered) -> str:
    """Return the line of an access log: time, client, request, status, duration, size, and an unexpected error."""
    now = time.strftime("%Y-%m-%d %H:%M:%S")
    problem = "" if event.problem is None else f": {event.problem}"
    return (
        f"{now} {event.client} {event.method} {event.path} {event.status} {event.seconds:.3f} s "
        f"{event.size_bytes:,} bytes{problem}"
    )


def _describe_evaluation(event: events.Evaluated, columns: int) -> str:
    """Return the line for an evaluation, which ends with the beginning of the sample."""
    if not event.step:
        split = "train" if event.validation_nats is None else "validation"
        return f"step 0: {split} {event.nats_per_char:.3f} nats"
    left = f", {duration(event.left_seconds)} left" if event.step < event.total else ""
    validation = (
        "" if event.validation_nats is None else f", validation {event.validation_nats:.3f}"
    )
    best = ", best" if event.is_best else ""
    line = f"step {event.step:,} of {event.total:,}{left}: train {event.train_nats:.3f}{validation}{best}"
    words = " ".join(event.sample.split())
    free = columns - text_width(line) - len(' ""')
    has_sample = bool(words) and free >= MIN_SAMPLE_COLUMNS
    return f'{line} "{beginning(words, free)}"' if has_sample else beginning(line, columns)


@dataclass(frozen=True)
class _BarState:
    """The state of a progress bar."""

    name: str
    """The task; another name is another bar."""
    done: int
    total: int
    unit: str
    details: str = ""
    """A text that is shown after the numbers."""
    stays: bool = False
    """Whether the bar stays on the screen when it is full."""


def _bar_state(event: Event) -> _BarState | None:
    """Return the state of the progress bar after an event; None if the event moves no bar."""
    state = None
    match event:
        case events.TextProgress(stage, done, total):
            state = _BarState(f"{stage} characters", done, total, "file")
        case events.NgramProgress(done, total):
            state = _BarState("counting n-grams", done, total, "part")
        case events.StepsTaken(step, losses, total, characters_per_second, left_seconds):
            from tqdm import tqdm  # imported here, because no other command needs it

            left = f"{duration(left_seconds)} left" if step < total else "last evaluation"
            details = f"{left}, {tqdm.format_sizeof(characters_per_second)} char/s, loss {losses[-1]:.3f} nats"
            state = _BarState("", step, total, "step", details, stays=True)
        case events.TeacherEvent(number, inner):
            own_state = _bar_state(inner)
            state = own_state and replace(own_state, name=f"teacher {number}", stays=False)
        case events.ScoringProgress(_, done, total):
            state = _BarState("scoring", done, total, "character")
        case events.ReportProgress(run, part, done, total):
            state = _BarState("report", done, total, "part", escape_controls(f"{run}: {part}"))
    return state


class ProgressDisplay:
    """Shows the events of a task on standard error; a context manager, which removes the bar in the end.

    Args:
        has_bar: Whether to show a progress bar; None = if standard error is a terminal and the command is not quiet.
        first_line: A line that is printed if nothing else is shown in the first half second; "" = none.

    """

    def __init__(self, *, has_bar: bool | None = None, first_line: str = "") -> None:
        self._has_bar = shows_progress() if has_bar is None else has_bar
        self._bar: tqdm[NoReturn] | None = None
        self._name = ""
        is_shown = first_line and not is_quiet()  # asked here, since a thread belongs to no command
        self._timer = threading.Timer(FIRST_LINE_SECONDS, say, [first_line]) if is_shown else None

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
        """Print above the bar during a block."""
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
    """Return a progress bar that starts where its task is."""
    from tqdm import tqdm  # imported here, because no other command needs it

    return tqdm(
        total=state.total,
        initial=state.done,
        leave=state.stays,
        dynamic_ncols=True,
        bar_format=f"{state.name} {{percentage:3.0f}}%|{{bar}}| {state.unit} {{n_fmt}} of {{total_fmt}}{{postfix}}",
    )


def _describe_scoring(event: events.ScoringProgress) -> list[str]:
    """Return a line about a text that takes long to score."""
    if event.total < LONG_TEXT:
        return []
    return [f"scoring {counted(event.total, 'character')} of {event.text}"]
