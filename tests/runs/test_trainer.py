"""A training command from the text to the outcome: new runs, and runs that continue."""

import contextlib
import shutil
import signal
import tempfile
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from corpora import make_corpus
from fake_engine import FakeEngines, Faults, interrupt_after
from fake_runs import (
    LONG_TEXT,
    SMALL,
    TEXT,
    Clock,
    Trained,
    check_same_end,
    refuse_events,
    resume,
    timed_steps,
    train,
)
from limits import file_size_limit
from run_folders import contents

from charlm.config.file import parse_overrides
from charlm.errors import CharlmError
from charlm.events import (
    Decided,
    Ended,
    Event,
    Note,
    OnEvent,
    Progress,
    Started,
    StepsTaken,
    ignore,
)
from charlm.runs.choosing import Request
from charlm.runs.run import Outcome
from charlm.runs.session import Session, Stopped, stop_on_signal
from charlm.runs.trainer import continue_run, start_run
from charlm.storage import is_held, only_writer, remove


@dataclass
class Command:
    """A training command with a fake engine."""

    faults: Faults = field(default_factory=Faults)
    clock: Clock = field(default_factory=Clock)
    react: OnEvent = ignore
    """Function that is called with each event."""
    events: list[Event] = field(default_factory=list)

    def on_event(self, event: Event) -> None:
        self.events.append(event)
        self.react(event)

    def start(
        self, source: Path, path: Path | None, *overrides: str, minutes: float | None = None
    ) -> Outcome:
        """Train a new run with the recipe tiny."""
        settings = [*SMALL, *overrides] if minutes is None else []
        session = Session(self.on_event, clock=self.clock)
        with stop_on_signal(session.interruption):
            return start_run(
                [str(source)],
                Request("tiny", parse_overrides(settings), minutes=minutes),
                path,
                engines=FakeEngines(self.faults),
                session=session,
            )


@pytest.fixture
def text(tmp_path: Path) -> Path:
    path = tmp_path / "text.txt"
    path.write_text(TEXT, encoding="utf-8")
    return path


NGRAMS = "training.ngram_weight=0.5"


def is_counting(event: Event) -> bool:
    """Return whether a run computes its soft targets."""
    return isinstance(event, Progress) and event.task == "counting n-grams"


# A new run


def test_a_run_appears_when_it_is_complete(text: Path, tmp_path: Path) -> None:
    """N-grams are counted before."""
    run = tmp_path / "run"
    before: set[tuple[bool, bool]] = set()
    after: set[tuple[bool, bool]] = set()

    def look(event: Event) -> None:
        if is_counting(event):
            before.add((run.exists(), is_held(run)))
        if isinstance(event, Started | StepsTaken):
            after.add((run.exists(), is_held(run)))

    Command(react=look).start(text, run, NGRAMS)
    assert before == {(False, False)}
    assert after == {(True, True)}
    assert not is_held(run)
    assert not (run / "soft_targets.bin").exists()


@pytest.mark.parametrize(
    ("settings", "length"),
    [
        pytest.param((), "training: 50 steps (2.5 epochs), about 50s", id="steps"),
        pytest.param(
            ("training.early_stopping=9",),
            "training: 50 steps (2.5 epochs), at most about 50s",
            id="possibly fewer steps",
        ),
        pytest.param(
            ("training.target_loss=0.001",),
            "training: 50 steps (2.5 epochs), at most about 50s",
            id="target loss",
        ),
    ],
)
def test_a_training_begins_with_its_text_recipe_network_and_length(
    settings: tuple[str, ...], length: str, text: Path, tmp_path: Path
) -> None:
    """An epoch has 20 steps, and a step takes a second."""
    clock = Clock()
    command = Command(timed_steps(clock), clock)
    run = tmp_path / "run"
    command.start(text, run, *settings)
    decision = Decided("tiny", "", None, 50, 2.5, evaluations=5, seconds=50.0, minutes=None)
    kinds = [event for event in command.events if isinstance(event, Decided | Started | Ended)]
    assert any(isinstance(event, Progress) for event in command.events)
    assert kinds == [decision, Started(run, 0, 50), Ended(run, "all steps done", 50)]
    assert [event.message for event in command.events if isinstance(event, Note)] == [
        "text: text: 364 characters, a vocabulary of 6, 1 document",
        "timing a few steps of recipe tiny",
        "timing an evaluation",
        "recipe tiny",
        "network: 1 x 8 units, 174 weights",
        length,
    ]


def crash_while_counting(event: Event) -> None:
    if is_counting(event):
        raise ZeroDivisionError("crash")


def interrupt_while_counting(event: Event) -> None:
    if is_counting(event):
        signal.raise_signal(signal.SIGTERM)


@pytest.mark.parametrize(
    ("react", "setting", "error"),
    [
        (ignore, "model={layers: 64, units: 65536}", "memory"),
        (crash_while_counting, NGRAMS, "crash"),
        (interrupt_while_counting, NGRAMS, "SIGTERM"),
    ],
    ids=["memory", "an error", "a signal"],
)
@pytest.mark.parametrize("path", [None, "run"])
def test_a_start_that_fails_leaves_nothing_behind(
    react: OnEvent,
    setting: str,
    error: str,
    path: str | None,
    text: Path,
) -> None:
    with pytest.raises((CharlmError, ZeroDivisionError, Stopped), match=error):
        Command(react=react).start(text, None if path is None else Path(path), setting)
    assert [*Path().iterdir()] == []


@pytest.mark.parametrize("has_links", [True, False], ids=["linked", "copied"])
def test_a_run_owns_its_corpus(has_links: bool, tmp_path: Path) -> None:
    if not has_links and not Path("/dev/shm").is_dir():
        pytest.skip("needs another file system, /dev/shm")
    elsewhere = Path(tempfile.mkdtemp(dir=tmp_path if has_links else "/dev/shm"))
    corpus = make_corpus(elsewhere, LONG_TEXT)
    before = contents(corpus.folder)
    run = Command().start(corpus.folder, tmp_path / "run").folder
    assert (run / "corpus/ids.npy").samefile(corpus.folder / "ids.npy") == has_links
    shutil.rmtree(elsewhere)
    assert contents(run / "corpus") == before


@pytest.mark.parametrize("signals", [[], [signal.SIGINT]], ids=["", "after Ctrl-C"])
def test_a_full_disk_leaves_a_run_that_can_go_on(
    signals: list[signal.Signals], text: Path, reference: Trained, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    with contextlib.ExitStack() as full:

        def fill(event: Event) -> None:
            if isinstance(event, StepsTaken) and event.step > 20:
                full.enter_context(file_size_limit(1))
                for number in signals:
                    signal.raise_signal(number)

        command = Command(react=fill)
        with pytest.raises(CharlmError, match=r"jsonl: cannot be written: File too large"):
            command.start(text, run)
    note = f"{run}: saved up to step 20; continue with: charlm train --resume -r {run}"
    assert command.events[-1] == Note(note)
    check_same_end(resume(run), reference)


@pytest.mark.parametrize("step_seconds", [0.3, 2.0])
def test_a_run_ends_within_its_minutes(
    step_seconds: float,
    text: Path,
    tmp_path: Path,
) -> None:
    clock = Clock(100.0)
    faults = timed_steps(clock, lambda _step: step_seconds, evaluation_seconds=5.0)
    command = Command(faults, clock)
    outcome = command.start(text, tmp_path / "run", minutes=1)
    assert outcome.reason == "all steps done"
    assert 156.2 - 2 * step_seconds < clock.now <= 156.21
    assert not any("took longer" in str(event) for event in command.events)


def test_a_machine_that_becomes_slow_ends_a_run_early(text: Path, tmp_path: Path) -> None:
    clock = Clock()
    command = Command(timed_steps(clock, lambda step: 1.0 if step < 20 else 3.0), clock)
    assert command.start(text, tmp_path / "run", minutes=1).reason == "time limit"
    assert 55 < clock.now <= 60
    assert Note("slower than planned: 32 of 54 steps", is_warning=True) in command.events


def test_a_run_that_takes_longer_than_its_minutes_says_so(text: Path, tmp_path: Path) -> None:
    clock = Clock()
    command = Command(timed_steps(clock, lambda _step: 40.0), clock)
    assert command.start(text, tmp_path / "run", minutes=1).step == 1
    assert Note("took longer than 1 min", is_warning=True) in command.events


def test_a_full_disk_at_the_start_is_reported_with_the_folder_of_the_run(text: Path) -> None:
    message = r"^new/run/corpus: cannot be written: File too large$"
    with file_size_limit(1), pytest.raises(CharlmError, match=message):
        Command().start(text, Path("new/run"))


@pytest.mark.parametrize("name", ["config.yaml", "corpus"])
def test_a_file_that_is_removed_during_training_is_reported(
    name: str, text: Path, tmp_path: Path
) -> None:
    path = tmp_path / "run" / name

    def remove_path(step: int) -> None:
        if step == 50:
            remove(path)

    command = Command(Faults(after_call=remove_path))
    command.start(text, path.parent)
    message = f"{path.parent}: {name} was removed during training; put it back"
    assert Note(message, is_warning=True) in command.events


@pytest.mark.parametrize("number", [5, 6], ids=["last evaluation", "training text is scored"])
def test_a_signal_after_the_last_step_leaves_a_run_that_can_be_continued(
    number: int, reference: Trained, tmp_path: Path
) -> None:
    evaluations = iter(range(1, 10))

    def interrupt() -> None:
        if next(evaluations) == number:
            signal.raise_signal(signal.SIGINT)

    run = train(tmp_path / "run", faults=Faults(evaluation=interrupt))
    assert (run.outcome.step, run.outcome.signal) == (50, signal.SIGINT)
    assert run.outcome.temperature is run.outcome.train_nats_per_char is None
    resumed = resume(run.folder)
    assert resumed.outcome.train_nats_per_char == reference.outcome.train_nats_per_char
    check_same_end(resumed, reference)


def interrupt_at_the_start(event: Event) -> None:
    if isinstance(event, Started):
        signal.raise_signal(signal.SIGINT)


def test_a_signal_before_the_first_step_leaves_a_run_that_can_be_continued(
    text: Path, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    outcome = Command(react=interrupt_at_the_start).start(text, run)
    assert (outcome.step, outcome.signal) == (0, signal.SIGINT)
    assert resume(run).of_type(Started) == [Started(run, 0, 50)]


# A run that continues


def test_a_finished_run_can_be_the_start_of_another(reference: Trained) -> None:
    run = reference.folder
    hint = f"if the text has grown, go on from its weights: charlm train TEXT --init {run}"
    assert resume(run).notes == [f"{run}: this run has ended (all steps done); {hint}"]


def test_a_run_that_another_process_trains_is_refused(tmp_path: Path) -> None:
    run = train(tmp_path / "run", faults=interrupt_after(5)).folder
    before = contents(run)
    session = Session(refuse_events)
    with only_writer(run), pytest.raises(CharlmError, match="is training here"):
        continue_run(run, engines=FakeEngines(), session=session)
    assert contents(run) == before


def test_a_second_signal_leaves_a_run_that_can_be_continued(text: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"

    def interrupt_twice(step: int) -> None:
        if step == 12:
            signal.raise_signal(signal.SIGINT)
            signal.raise_signal(signal.SIGTERM)

    with pytest.raises(Stopped, match="SIGTERM"):
        Command(Faults(after_call=interrupt_twice, is_slow=True)).start(text, run)
    assert resume(run).of_type(Started) == [Started(run, 10, 50)]
