"""What `charlm train`, `plan`, `tokenize` and `tune` report."""

import shlex
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from signal import Signals
from types import SimpleNamespace
from typing import Any
from unittest.mock import Mock

import numpy as np
import pytest
from click.testing import Result
from commands import charlm, json_of
from corpora import make_corpus, write_plays, write_texts
from pages import parse_command
from run_folders import contents

from charlm.api.training import Plan
from charlm.config.file import load_config
from charlm.config.schema import Config, TrainingConfig
from charlm.evaluation.baselines import Comparison
from charlm.evaluation.scoring import Difference
from charlm.events import NgramsLeftOut
from charlm.hardware import FastPrecision
from charlm.network.architecture import Architecture
from charlm.network.model_file import read_model
from charlm.runs.summary import summarize
from charlm.storage import remove
from charlm.text.batches import Batches
from charlm.training.checkpoints import Progress
from charlm.training.costs import Costs
from charlm.training.decision import Decision
from charlm.training.outcome import Outcome
from charlm.training.schedule import make_schedule
from charlm.training.signals import Stopped
from charlm.training.suggestion import Suggestion

Report = Callable[..., Result]

OUTCOME = Outcome(
    folder=Path("runs/a b"),
    progress=Progress(
        step=1500, best_step=1500, best_nats=1.25, seconds=50.4, elapsed_seconds=60.4
    ),
    nats_per_char=1.25,
    is_uncertain=False,
    split="validation",
    measured_on="the validation text",
    reason="all steps done",
    signal=None,
    comparison=Comparison(1.5, 0.25, 0.01, 9_999),
    difference=Difference(-0.0144, 0.0013),
    sample="The ferry lies",
    last_sample="",
    suggestion=None,
)
"""A training whose last model is the best."""
BEST_EARLIER = Progress(
    step=1500, best_step=1400, best_nats=1.25, seconds=50.4, elapsed_seconds=60.4
)
BEST_AT_START = Progress(step=1500, best_step=0, best_nats=1.25, seconds=50.4, elapsed_seconds=60.4)
HIGHER = Difference(0.0144, 0.0013)


@pytest.fixture
def report(monkeypatch: pytest.MonkeyPatch) -> Report:
    """Return a function that runs `charlm train` with OUTCOME, changed, as its result."""

    def train(**changes: Any) -> Result:
        outcome = replace(OUTCOME, **changes)
        monkeypatch.setattr("charlm.api.training.train", Mock(return_value=outcome))
        return charlm("train")

    return train


def lines_below_score(command: Result) -> list[str]:
    """Return the lines of standard output below the score."""
    return command.stdout.splitlines()[1:]


def messages(command: Result) -> list[str]:
    """Return the lines of standard error without their prefix."""
    lines = command.stderr.splitlines()
    assert all(line.startswith("charlm: ") for line in lines)
    return [line.removeprefix("charlm: ") for line in lines]


# The end of a training


def test_the_best_loss_of_a_training_is_reported(trained_run: Path, tmp_path: Path) -> None:
    command = charlm("train", trained_run.parent / "text.txt", "-c", "tiny", "-r", tmp_path / "run")
    assert command.exit_code == 0, command.stderr
    best = read_model(tmp_path / "run" / "best.safetensors").facts["score"]["nats_per_char"]
    score = f"{tmp_path}/run: {best:.4f} nats per character on the validation text"
    assert command.stdout.splitlines()[0] == score


def test_a_training_ends_with_its_score(report: Report) -> None:
    assert (
        report().stdout.splitlines()[0]
        == "runs/a b: 1.2500 nats per character on the validation text"
    )


def test_a_training_without_a_best_model_has_no_score(report: Report) -> None:
    assert report(nats_per_char=None, comparison=None, difference=None).stdout == ""


def test_a_training_ends_with_its_reason(report: Report) -> None:
    spent = "all steps done: 1,500 steps in 50s, plus 10s for evaluations, samples and checkpoints"
    assert messages(report())[0] == spent


def test_a_training_ends_with_the_commands_that_use_the_model(report: Report) -> None:
    assert messages(report())[-3:] == [
        "generate text: charlm sample 'runs/a b'",
        "look inside: charlm inspect 'runs/a b' --out report.html",
        "learning curves: charlm tensorboard 'runs/a b'",
    ]


@pytest.mark.parametrize(
    ("sample", "line"),
    [
        pytest.param("The ferry", "it generates: The ferry", id="short"),
        pytest.param("  The ferry\n\nlies ", "it generates: The ferry lies", id="spaces"),
        pytest.param(71 * "x", f"it generates: {69 * 'x'}…", id="long"),
    ],
)
def test_a_training_ends_with_a_sample_in_one_line(sample: str, line: str, report: Report) -> None:
    assert line in messages(report(sample=sample))


def test_an_empty_sample_is_not_shown(report: Report) -> None:
    assert not [line for line in messages(report(sample="")) if "generates" in line]


NGRAM = "5-gram model (1.5000)"


@pytest.mark.parametrize(
    ("comparison", "line"),
    [
        pytest.param(
            Comparison(1.5, 0.25, 0.01, 9_999),
            f"  0.2500 ± 0.0100 nats per character better than a {NGRAM}, on 9,999 characters",
            id="better",
        ),
        pytest.param(
            Comparison(1.5, -0.25, 0.01, 9_999),
            f"  0.2500 ± 0.0100 nats per character worse than a {NGRAM}, on 9,999 characters",
            id="worse",
        ),
        pytest.param(
            Comparison(1.5, 0.02, 0.01, 9_999),
            f"  not clearly different from a {NGRAM}: 0.0200 ± 0.0100 nats per character better, "
            "on 9,999 characters",
            id="no clear difference",
        ),
    ],
)
def test_the_score_is_compared_with_a_5_gram_once(
    comparison: Comparison, line: str, report: Report
) -> None:
    command = report(comparison=comparison)
    assert lines_below_score(command) == [line]
    assert "5-gram" not in command.stderr


@pytest.mark.parametrize(
    "changes",
    [
        pytest.param(
            {"is_uncertain": True, "comparison": Comparison(1.5, 0.25, None, 35)},
            id="short validation",
        ),
        pytest.param({"split": "train", "comparison": None}, id="no validation text"),
    ],
)
def test_without_a_standard_error_there_is_no_comparison(
    changes: dict[str, Any], report: Report
) -> None:
    assert "5-gram" not in report(**changes).output


SINCE = "  best at step 1,400 of 1,500; the last evaluation is"


@pytest.mark.parametrize(
    ("difference", "line"),
    [
        pytest.param(HIGHER, f"{SINCE} 0.0144 ± 0.0013 nats above it", id="clear"),
        pytest.param(
            Difference(2e-5, 1e-3), f"{SINCE} 0.0000 ± 0.0010 nats above it", id="unclear"
        ),
        pytest.param(Difference(0.0144, None), f"{SINCE} 0.0144 nats above it", id="unknown error"),
    ],
)
def test_the_step_of_an_early_best_model_is_reported(
    difference: Difference, line: str, report: Report
) -> None:
    assert lines_below_score(
        report(progress=BEST_EARLIER, difference=difference, comparison=None)
    ) == [line]


@pytest.mark.parametrize(
    ("progress", "difference"),
    [
        pytest.param(OUTCOME.progress, OUTCOME.difference, id="best at the end"),
        pytest.param(OUTCOME.progress, None, id="one evaluation"),
        pytest.param(BEST_EARLIER, None, id="resumed at its end"),
    ],
)
def test_the_step_of_the_best_model_is_otherwise_left_out(
    progress: Progress, difference: Difference | None, report: Report
) -> None:
    assert (
        lines_below_score(report(progress=progress, difference=difference, comparison=None)) == []
    )


def test_initial_weights_that_are_the_best_are_reported(report: Report) -> None:
    command = report(
        progress=BEST_AT_START, difference=HIGHER, comparison=None, has_initial_weights=True
    )
    assert lines_below_score(command) == [
        "  no evaluation had a lower loss than the initial weights, which are in best.safetensors"
    ]


# A run without steps


NO_STEPS = {
    "progress": Progress(best_nats=1.25),
    "difference": None,
    "comparison": None,
    "has_initial_weights": True,
    "reason": "not trained: the run has no steps",
}


def test_a_run_without_steps_has_a_reason_instead_of_a_time(report: Report) -> None:
    assert messages(report(**NO_STEPS))[0] == "not trained: the run has no steps"


def test_a_run_without_steps_compares_its_model_with_no_other(report: Report) -> None:
    assert lines_below_score(report(**NO_STEPS, is_uncertain=True)) == []


# A validation text of fewer than 2,400 characters


UNCERTAIN = {
    "progress": BEST_EARLIER,
    "difference": Difference(0.0144, None),
    "comparison": Comparison(1.5, 0.25, None, 35),
    "is_uncertain": True,
}
"""The changes of the outcome for a short text."""


def test_an_uncertain_choice_of_the_best_model_names_the_last_one(report: Report) -> None:
    assert lines_below_score(report(**UNCERTAIN))[:2] == [
        "  fewer than 2,400 validation characters: too few to tell which model is best;",
        "  the last one is runs/a b/last.safetensors",
    ]


def test_an_uncertain_choice_of_the_best_model_shows_a_sample_of_both(report: Report) -> None:
    samples = [
        line
        for line in messages(report(**UNCERTAIN, last_sample="The heron\nwaits"))
        if "generates: " in line
    ]
    assert samples == [
        "the best model generates: The ferry lies",
        "the last model generates: The heron waits",
    ]


@pytest.mark.parametrize(
    "changes",
    [
        pytest.param({"is_uncertain": False}, id="long validation text"),
        pytest.param({"is_uncertain": False, "split": "train"}, id="no validation text"),
    ],
)
def test_a_long_validation_text_makes_the_choice_certain(
    changes: dict[str, Any], report: Report
) -> None:
    assert "uncertain" not in report(**changes).output


# What to try next


AGAIN = "charlm train 'runs/a b'/corpus -c 'runs/a b'/config.yaml --epochs 8"


@pytest.mark.parametrize(
    ("suggestion", "line"),
    [
        pytest.param(
            Suggestion("still learning", epochs=8),
            f"still learning at the end; train twice as long: {AGAIN}",
            id="still learning",
        ),
        pytest.param(
            Suggestion("too few steps", epochs=8),
            f"too few steps to beat a 5-gram model; train longer: {AGAIN}",
            id="too few steps",
        ),
        pytest.param(
            Suggestion("still learning", settings={"training.steps": 90}),
            "still learning at the end; train twice as long: "
            "charlm train 'runs/a b'/corpus -c 'runs/a b'/config.yaml -s training.steps=90",
            id="by steps",
        ),
        pytest.param(
            Suggestion("short text"),
            "a 5-gram model is hard to beat below 70,000 characters of training text",
            id="short text",
        ),
        pytest.param(
            Suggestion("long repeats"),
            "lzma compresses this text better: it has long-range repeats, which a recurrent "
            "network forgets",
            id="long repeats",
        ),
    ],
)
def test_a_training_ends_with_its_suggestion(
    suggestion: Suggestion, line: str, report: Report
) -> None:
    with_suggestion = messages(report(suggestion=suggestion))
    without = messages(report())
    assert [each for each in with_suggestion if each not in without] == [line]


def test_a_suggested_run_has_the_same_initial_weights(report: Report) -> None:
    command = report(suggestion=Suggestion("still learning", epochs=8), has_initial_weights=True)
    assert f"{AGAIN} --init 'runs/a b'/init.safetensors" in command.stderr


def test_the_command_of_a_suggestion_can_be_typed(report: Report) -> None:
    suggestion = Suggestion("still learning", epochs=8, settings={"model.units": 9})
    command = report(suggestion=suggestion, has_initial_weights=True).stderr
    (line,) = [line for line in command.splitlines() if "--epochs" in line]
    program, *arguments = shlex.split(line.rpartition(": ")[2])
    assert program == "charlm"
    found = parse_command(arguments)
    run = Path("runs/a b")
    assert found["text"] == (run / "corpus",)
    assert (found["recipe"], found["init"]) == (f"{run}/config.yaml", run / "init.safetensors")
    assert (found["epochs"], found["overrides"]) == (8, ("model.units=9",))


@pytest.mark.slow
def test_a_suggestion_can_be_followed(tmp_path: Path) -> None:
    text = write_plays(tmp_path / "plays" / "text.txt", characters=30_000)
    first = charlm("train", text, "-c", "tiny", "-r", tmp_path / "first")
    assert first.exit_code == 0, first.stderr
    (line,) = [line for line in first.stderr.splitlines() if "; train longer: " in line]
    arguments = shlex.split(line.rpartition(": ")[2])[1:]
    second = charlm(*arguments, "-r", tmp_path / "second")
    assert second.exit_code == 0, second.stderr
    before, after = (load_config(tmp_path / name / "config.yaml") for name in ("first", "second"))
    assert (before.training.steps, after.training.steps) == (60, 200)
    assert after.model == before.model
    lower = read_model(tmp_path / "second" / "best.safetensors").facts["score"]["nats_per_char"]
    assert (
        lower < read_model(tmp_path / "first" / "best.safetensors").facts["score"]["nats_per_char"]
    )


# Other ends


def test_a_training_that_a_signal_ends_exits_with_its_number(report: Report) -> None:
    assert report(signal=Signals.SIGTERM).exit_code == 128 + 15


def test_a_training_that_a_signal_ends_reports_only_how_to_resume(report: Report) -> None:
    command = report(
        signal=Signals.SIGTERM, reason="stopped by SIGTERM", suggestion=Suggestion("short text")
    )
    assert command.stdout == ""
    assert messages(command)[1:] == ["continue with: charlm train --resume -r 'runs/a b'"]


def test_another_worker_reports_where_the_run_is(report: Report) -> None:
    command = report(worker=1)
    assert (command.stdout, messages(command)) == ("", ["all steps done; the run is on worker 0"])


@pytest.mark.slow
def test_a_network_that_overflows_without_training_has_not_diverged(tmp_path: Path) -> None:
    text = write_plays(tmp_path / "plays.txt")
    initializer = "{class_name: Orthogonal, config: {gain: 4}}"
    settings = [
        "training.steps=0",
        "model.rnn.activation=linear",
        f"model.rnn.recurrent_initializer={initializer}",
    ]
    options = [word for setting in settings for word in ("-s", setting)]
    command = charlm("train", text, "-c", "tiny", *options, "-r", tmp_path / "run")
    assert command.exit_code == 1
    assert "at step 0: the outputs of the network overflow; choose another" in command.stderr


def test_a_training_that_diverges_at_once_leaves_nothing_behind(tmp_path: Path) -> None:
    text = write_plays(tmp_path / "text.txt")
    settings = ("-s", "training.optimizer.learning_rate=1e9", "-s", "model.rnn.activation=relu")
    command = charlm("train", text, "-c", "tiny", *settings, "-r", tmp_path / "run")
    assert command.exit_code == 1
    assert "training has diverged: lower training.optimizer.learning_rate" in command.stderr
    assert "--resume" not in command.stderr
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("line", "target", "advice"),
    [
        pytest.param("train", "api.training.train", "nothing was trained or kept", id="train"),
        pytest.param(
            "tune space --minutes 1",
            "tuning.search.tune",
            "repeat the command to continue the search",
            id="tune",
        ),
    ],
)
def test_a_stopped_command_explains_how_to_continue(
    line: str, target: str, advice: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("optuna", reason="missing: optuna")
    monkeypatch.setattr(f"charlm.{target}", Mock(side_effect=Stopped(Signals.SIGTERM)))
    command = charlm(*line.split())
    assert command.exit_code == 128 + 15
    assert messages(command)[0] == f"stopped by SIGTERM; {advice}"


def stopped(*, run: Path | None, is_saved: bool) -> Stopped:
    """Return the error of a training that SIGINT has ended before its first step."""
    error = Stopped(Signals.SIGINT)
    error.run = run
    error.is_saved = is_saved
    return error


RESUME = "continue with: charlm train --resume -r runs/a"


@pytest.mark.parametrize(
    ("run", "is_saved", "kept"),
    [
        pytest.param(None, False, "nothing was trained or kept", id="new run"),
        pytest.param(
            Path("runs/a"), False, f"the run is unchanged; {RESUME}", id="run that continued"
        ),
        pytest.param(Path("runs/a"), True, RESUME, id="run in a teacher"),
    ],
)
def test_a_training_that_is_stopped_early_reports_what_it_kept(
    run: Path | None, is_saved: bool, kept: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    error = stopped(run=run, is_saved=is_saved)
    monkeypatch.setattr("charlm.api.training.resume", Mock(side_effect=error))
    command = charlm("train", "--resume", "-r", "runs/a")
    assert command.exit_code == 130
    assert messages(command) == [f"stopped by SIGINT; {kept}"]


def test_a_training_prints_its_outcome_as_json(
    report: Report, monkeypatch: pytest.MonkeyPatch
) -> None:
    suggestion = Suggestion("still learning", epochs=20)
    outcome = replace(
        OUTCOME,
        suggestion=suggestion,
        standard_error=0.01,
        epochs=10.0,
        baseline_nats={"5-gram": 1.5},
    )
    monkeypatch.setattr("charlm.api.training.train", Mock(return_value=outcome))
    assert json_of("train") == {
        "run": "runs/a b",
        "reason": "all steps done",
        "step": 1500,
        "epochs": 10.0,
        "seconds": 50.4,
        "nats_per_char": 1.25,
        "standard_error": 0.01,
        "split": "validation",
        "baselines": {"5-gram": 1.5},
        "suggestion": {
            "kind": "still learning",
            "epochs": 20,
            "settings": None,
            "command": "charlm train 'runs/a b'/corpus -c 'runs/a b'/config.yaml --epochs 20",
        },
    }


# A command that starts a run and later continues it


@pytest.fixture(scope="module")
def first_night(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Run the command of a nightly job once, and return the folder with its text and run."""
    folder = tmp_path_factory.mktemp("nightly")
    text = write_plays(folder / "text.txt")
    command = charlm(
        "train", text, "-c", "tiny", "-s", "training.steps=20", "-r", folder / "run", "--resume"
    )
    assert command.exit_code == 0, command.stderr
    return folder


@pytest.fixture
def nightly(first_night: Path, tmp_path: Path) -> tuple[Path, Path]:
    """Return the text and the run of a nightly job after its first night."""
    copy = shutil.copytree(first_night, tmp_path / "nightly", symlinks=True)
    return copy / "text.txt", copy / "run"


def test_the_same_command_continues_the_run(nightly: tuple[Path, Path]) -> None:
    text, run = nightly
    command = charlm("train", text, "-c", "tiny", "-s", "training.steps=30", "-r", run, "--resume")
    assert command.exit_code == 0, command.stderr
    assert "charlm: resumed at step 20 of 30\n" in command.stderr
    assert summarize(run).step == 30


def test_another_text_is_refused(nightly: tuple[Path, Path]) -> None:
    text, run = nightly
    text.write_text("Another text.\n" * 100, encoding="utf-8")
    before = contents(run)
    command = charlm("train", text, "-c", "tiny", "-s", "training.steps=30", "-r", run, "--resume")
    assert command.exit_code == 1
    assert f"{run}: the text differs: " in command.stderr
    assert contents(run) == before


def test_a_killed_start_is_repeated(nightly: tuple[Path, Path]) -> None:
    text, run = nightly
    for path in run.iterdir():
        if path.name not in {".lock", "corpus"}:
            remove(path)
    command = charlm("train", text, "-c", "tiny", "-s", "training.steps=20", "-r", run, "--resume")
    assert command.exit_code == 0, command.stderr
    assert (
        f"charlm: {run}: a run was killed here before its first step; starting again\n"
        in command.stderr
    )


def test_a_killed_start_cannot_be_resumed_without_its_text(nightly: tuple[Path, Path]) -> None:
    _, run = nightly
    for path in run.iterdir():
        if path.name not in {".lock", "corpus"}:
            remove(path)
    command = charlm("train", "--resume", "-r", run)
    assert command.exit_code == 1
    killed = f"charlm: {run}: a run was killed here before its first step; start it again with: "
    assert command.stderr == f"{killed}charlm train TEXT -r {run}\n"


# The plan of a training


PROBLEM = "line ends: mixed: 20 \\n, 10 \\r\\n; make them one kind"
NOTE = NgramsLeftOut(seconds=9.0, memory_bytes=None)
WEIGHTS = (60 * 512 + 512 * 512 + 512) + (2 * 512 * 512 + 512) + (512 * 60 + 60)


def make_plan(
    folder: Path, *, reason: str = "it suits the text", minutes: float | None = None
) -> Plan:
    """Make the plan of a run of 80 steps, with teachers and n-grams."""
    settings = TrainingConfig(steps=80, growing_windows=True, evaluations=20)
    batches = Batches(length=18_000, batch_size=32, sequence_length=64, seed=1)
    schedule = make_schedule(settings, batches)
    precision = FastPrecision("bfloat16", "this processor multiplies it faster")
    return Plan(
        corpus=make_corpus(folder, "abba" * 5_000),
        problems=[PROBLEM],
        decision=Decision(
            recipe="small",
            config=Config(training=settings),
            steps=80,
            evaluations=20,
            precision=precision,
            reason=reason,
            notes=(NOTE,),
            minutes=minutes,
            better="shakespeare-15m",
        ),
        architecture=Architecture(60, 2, 512, None, True, "tanh", False),
        schedule=schedule,
        start_seconds=10.0,
        costs=Costs(
            step_seconds=0.1,
            evaluation_seconds=0.5,
            start_seconds=5.0,
            end_seconds=4.2,
            teacher_seconds=33.0,
            ngram_seconds=7.0,
        ),
        memory_bytes=1_500_000_000,
    )


@pytest.fixture
def show_plan(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., str]:
    """Return a function that runs `charlm plan` on a wide terminal and returns its output."""

    def show(**changes: Any) -> str:
        monkeypatch.setattr(
            "charlm.api.training.plan", Mock(return_value=make_plan(tmp_path, **changes))
        )
        monkeypatch.setenv("COLUMNS", "400")
        return charlm("plan").stdout

    return show


SECONDS = 10 + 33 + 7 + 80 * 0.1 * 2 / 3 + 20 * 0.5 + 4.2
"""Start, teachers, n-grams, steps of two thirds of the full length, evaluations and end."""
FIGURES = {
    "text": (
        {"characters": 20_000, "vocabulary": 2, "documents": 1},
        "20,000 characters, a vocabulary of 2, 1 document",
    ),
    "shapes": ({"rnn.1.recurrent_kernel": [512, 512]}, "2 x 512 tanh units"),
    "parameters": (WEIGHTS, f"{WEIGHTS:,} weights"),
    "batch_size": (32, "32 windows of "),
    "sequence_length": (64, " of 16, 32, 64, 128 characters each"),
    "steps": (80, "steps       80, "),
    "epochs": (pytest.approx(6.656, abs=0.001), "6.66 epochs"),
    "precision": ("bfloat16", "precision   bfloat16: "),
    "precision_reason": (
        "this processor multiplies it faster",
        ": this processor multiplies it faster",
    ),
    "memory_bytes": (1_500_000_000, "memory      1.5 GB"),
    "seconds": (pytest.approx(SECONDS), "time        1m10s "),
    "minutes": (3.0, " of 3 min in total, "),
    "teacher_seconds": (33, "teachers 33 s"),
    "ngram_seconds": (7, "n-grams 7 s"),
    "start_seconds": (10, "start 10 s"),
    "end_seconds": (4.2, "end 4.2 s"),
    "step_seconds": (0.1, "0.1 s per step"),
    "evaluations": (20, "20 evaluations of "),
    "evaluation_seconds": (0.5, "evaluations of 0.5 s each"),
    "characters_per_second": (20_480, "speed       20,480 characters per second"),
    "recipe": ("small", "recipe      small: "),
    "reason": ("it suits the text", ": it suits the text"),
    "better": ("shakespeare-15m", "better      -c shakespeare-15m scores better"),
    "notes": (
        [{"kind": "NgramsLeftOut", "seconds": 9.0, "memory_bytes": None}],
        "note        training without n-grams: counting them would take 9s",
    ),
}
"""The value of each JSON key of a plan, or some items of it, and the printed line."""


@pytest.mark.parametrize("key", FIGURES)
def test_every_figure_of_a_plan_is_in_its_json(key: str, tmp_path: Path) -> None:
    expected, _ = FIGURES[key]
    found = make_plan(tmp_path, minutes=3.0).to_json()[key]
    if isinstance(expected, dict):
        found = {name: found[name] for name in expected}
    assert found == expected


@pytest.mark.parametrize("key", FIGURES)
def test_every_figure_of_a_plan_is_printed(key: str, show_plan: Callable[..., str]) -> None:
    _, printed = FIGURES[key]
    assert printed in show_plan(minutes=3.0)


def test_the_json_of_a_plan_has_no_other_figure(tmp_path: Path) -> None:
    not_printed = {"steps_per_epoch"}
    assert make_plan(tmp_path).to_json().keys() - not_printed == FIGURES.keys()


def test_the_problems_of_a_text_are_printed(show_plan: Callable[..., str]) -> None:
    assert f"problem     {PROBLEM}\n" in show_plan()


def test_the_problems_of_a_text_are_in_the_json(tmp_path: Path) -> None:
    assert make_plan(tmp_path).to_json()["text"]["findings"] == [PROBLEM]


def test_a_recipe_that_the_user_names_needs_no_reason(
    show_plan: Callable[..., str],
) -> None:
    assert "recipe      small: chosen by you\n" in show_plan(reason="")


def test_a_plan_without_a_time_limit_prints_the_time_alone(show_plan: Callable[..., str]) -> None:
    assert "time        1m10s in total, start 10 s, teachers 33 s, " in show_plan()


def test_a_plan_fits_into_a_narrow_terminal(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("charlm.api.training.plan", Mock(return_value=make_plan(tmp_path)))
    monkeypatch.setenv("COLUMNS", "40")
    assert max(map(len, charlm("plan").stdout.splitlines())) <= 40


def test_a_plan_is_printed_as_json(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plan = make_plan(tmp_path)
    monkeypatch.setattr("charlm.api.training.plan", Mock(return_value=plan))
    assert json_of("plan") == plan.to_json()


# Tokenizing


def test_the_corpus_is_summarized(tmp_path: Path) -> None:
    sources = write_texts(tmp_path, "abba\n" * 50, b"\xff")
    command = charlm(
        "tokenize", sources, "--out", tmp_path / "corpus", "-s", "corpus.test_fraction=0.1"
    )
    assert command.stdout == (
        f"{tmp_path}/corpus: 250 characters, a vocabulary of 3, 1 document: "
        "train 200, validation 25, test 25\n"
    )
    assert (
        f"files: 1 left out: {sources}/01.txt (not valid utf-8 at byte 0 (0xFF));" in command.stderr
    )


# Searching


@pytest.fixture
def search(monkeypatch: pytest.MonkeyPatch) -> Result:
    """Run `charlm tune`, where the search ends with six trials, of which number 3 is the best."""
    pytest.importorskip("optuna", reason="missing: optuna")
    states = ("COMPLETE", "PRUNED", "FAIL", "COMPLETE", "PRUNED", "PRUNED")
    trials = [SimpleNamespace(state=SimpleNamespace(name=name)) for name in states]
    study = SimpleNamespace(trials=trials, best_trial=SimpleNamespace(number=3), best_value=1.25)
    folder = Path("runs/tune a")
    result = SimpleNamespace(
        folder=folder, study=study, best=folder / "best.yaml", sources=("my text",)
    )
    monkeypatch.setattr("charlm.tuning.search.tune", Mock(return_value=result))
    return charlm("tune", "space", "--minutes", 1)


def test_a_search_ends_with_its_best_recipe(search: Result) -> None:
    bits, perplexity = 1.25 / np.log(2), np.exp(1.25)
    assert search.stdout == (
        f"runs/tune a/best.yaml: 1.2500 nats per character ({bits:.4f} bits, "
        f"perplexity {perplexity:.2f}) on the validation text: trial 3 of 6\n"
    )


def test_a_search_ends_with_its_trials_compared_before_the_best_is_trained(search: Result) -> None:
    assert messages(search) == [
        "6 trials: 3 pruned, 1 failed",
        "compare the trials: charlm runs 'runs/tune a'/trial-*",
        "train longer than a trial: charlm train 'my text' -c 'runs/tune a/best.yaml' --minutes 1",
    ]
