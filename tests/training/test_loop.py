"""A run is the same whenever it is interrupted; its logs and models; what ends or refuses it."""

import contextlib
import json
import math
import os
import shutil
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

import numpy as np
import pytest
from arrays import bytes_of
from corpora import make_corpus
from fake_engine import OF_ENGINES, SETTINGS, FakeEngine, Faults, crash_after, interrupt_after
from fake_runs import (
    STEPS_PER_EPOCH,
    TEXT,
    Trained,
    begin_run,
    check_same,
    check_same_end,
    engine_of,
    refuse_events,
    resume,
    ticking,
    train,
    train_begun,
)
from models import weights_of
from run_folders import contents, event_files, event_steps, metrics_line, read_metrics
from tensorboard.backend.event_processing.event_file_loader import EventFileLoader

from charlm.config.file import walk
from charlm.config.schema import Config
from charlm.errors import Advice, CharlmError
from charlm.events import (
    BestModelLost,
    Evaluated,
    Event,
    KernelChanged,
    OnEvent,
    Resumed,
    SettingChanged,
    StepsTaken,
)
from charlm.network.model_file import read_model
from charlm.runs.metrics import cut_metrics
from charlm.runs.run import open_run
from charlm.training import checkpoints, loop
from charlm.training.evaluating import DivergenceError
from charlm.training.session import Session
from charlm.training.suggestion import End

# Repeatable


STOPS = [
    (7, "false"),
    (STEPS_PER_EPOCH + 10, "false"),
    (49, "false"),
    (50, "false"),
    (7, "true"),
    (30, "true"),
]
"""Between two logs; at an evaluation in an epoch; a step before the end; at it, unevaluated; with growing windows."""


@pytest.mark.parametrize(("step", "growing"), STOPS)
def test_an_interrupted_run_ends_like_a_whole_one(
    step: int, growing: str, reference: Trained, tmp_path: Path
) -> None:
    setting = f"training.growing_windows={growing}"
    whole = reference if growing == "false" else train(tmp_path / "whole", setting)
    stopped = train(tmp_path / "run", setting, faults=interrupt_after(step))
    assert (stopped.outcome.progress.step, stopped.outcome.signal) == (step, signal.SIGINT)
    assert stopped.outcome.reason == "stopped by SIGINT"
    assert list(stopped.validation()) == [*range(10, step, 10)]
    resumed = resume(stopped.folder)
    assert resumed.outcome.reason == "all steps done"
    check_same_end(resumed, whole)


def test_the_time_of_a_run_counts_on_when_it_is_resumed(tmp_path: Path) -> None:
    stopped = train(tmp_path / "run", faults=interrupt_after(45), clock=ticking(100.0))
    before, after = stopped.outcome.progress, resume(stopped.folder).outcome.progress
    assert after.elapsed_seconds > before.elapsed_seconds > 100
    assert after.seconds > before.seconds > 0


def crash(folder: Path, *overrides: str, step: int) -> Path:
    """Train a run that crashes after a step."""
    with pytest.raises(ZeroDivisionError):
        train(folder, *overrides, faults=crash_after(step))
    return folder / "run"


def train_watched(folder: Path, on_event: OnEvent) -> Path:
    """Train a run from its second step; a function is called with the events, and may divide by zero."""
    run = open_run(train(folder, faults=interrupt_after(1)).folder)
    with contextlib.suppress(ZeroDivisionError):
        loop.train(run, engine_of(run), session=Session(on_event))
    return run.folder


def fail_at(step: int, kind: type[StepsTaken] | type[Evaluated]) -> OnEvent:
    """Return a function that divides by zero at the event of a step."""

    def on_event(event: Event) -> None:
        """Divide by zero, or do nothing."""
        if isinstance(event, kind):
            1 / max(0, step - event.step)

    return on_event


def lose_everything(folder: Path) -> Path:
    """Leave of a run what it has before its first checkpoint, and files that a killed process was writing."""
    run = train(folder).folder
    for path in (*run.glob("*.safetensors"), *run.glob("checkpoints/*")):
        path.unlink()
    for name in (".1.best.safetensors.tmp", "checkpoints/.1.step-60.safetensors.tmp"):
        (run / name).touch()
    return run


def lose_the_newest(folder: Path) -> Path:
    """Leave nothing in the newest checkpoint of a run."""
    run = train(folder).folder
    (run / "checkpoints/step-50.safetensors").write_bytes(b"")
    return run


@pytest.mark.parametrize(
    ("damage", "step"),
    [
        pytest.param(lambda folder: crash(folder, step=13), 10, id="killed"),
        pytest.param(
            lambda folder: crash(folder, step=50),
            40,
            id="killed at the end",
            marks=pytest.mark.slow,
        ),
        pytest.param(
            lambda folder: train_watched(folder, fail_at(25, StepsTaken)),
            20,
            id="an error",
            marks=pytest.mark.slow,
        ),
        pytest.param(
            lambda folder: train_watched(folder, fail_at(30, Evaluated)),
            30,
            id="an error at an evaluation",
        ),
        pytest.param(lose_everything, 0, id="everything lost", marks=pytest.mark.slow),
        pytest.param(lose_the_newest, 40, id="the newest checkpoint lost"),
        pytest.param(lambda folder: train(folder).folder, 50, id="nothing"),
    ],
)
def test_a_run_that_was_damaged_ends_like_a_whole_one(
    damage: Any, step: int, reference: Trained, tmp_path: Path
) -> None:
    resumed = resume(damage(tmp_path / "run"))
    assert resumed.of_type(Resumed) == ([Resumed(step, 50)] if step else [])
    check_same(resumed, reference)
    assert not list(resumed.folder.glob("**/.*.tmp"))
    assert step or {len(files) for files in event_files(resumed.folder).values()} == {1}
    check_events(resumed.folder, last=50)
    again = resume(resumed.folder)
    assert (again.outcome.reason, again.files(), again.metrics) == (
        "all steps done",
        resumed.files(),
        resumed.metrics,
    )


def test_a_run_without_checkpoints_does_not_start_again_if_a_model_would_be_lost(
    tmp_path: Path,
) -> None:
    folder = train(tmp_path / "run", "training.steps=10").folder
    shutil.rmtree(folder / "checkpoints")
    (folder / "last.safetensors").unlink()
    before = contents(folder)
    with pytest.raises(
        CharlmError,
        match=r"checkpoints: no checkpoint to continue from, but the run has best\.safe",
    ):
        resume(folder)
    assert contents(folder) == before


def test_a_run_keeps_every_checkpoint_and_that_of_the_beginning(tmp_path: Path) -> None:
    kept = train(tmp_path / "kept", "training.keep_checkpoints=true")
    steps = {
        int(path.stem.removeprefix("step-")): path
        for path in (kept.folder / "checkpoints").iterdir()
    }
    assert sorted(steps) == list(range(0, 51, 10))
    first = engine_of(open_run(kept.folder)).parameters()
    assert bytes_of(read_model(steps[0]).parameters.tensors) == bytes_of(first.tensors)
    check_same(resume(crash(tmp_path / "killed", "training.keep_checkpoints=true", step=25)), kept)


# The end


FIRST_IS_BEST = Faults(weights=lambda step: 1.0 if step <= 10 else 50.0)
"""Makes the first evaluation of a run, at step 10, its best."""


def test_a_run_that_improves_is_suggested_again(tmp_path: Path) -> None:
    improving = Faults(weights=lambda step: step / 20_000)
    suggestion = train(tmp_path / "run", text=90 * TEXT, faults=improving).outcome.suggestion
    assert suggestion is not None
    assert suggestion.kind == "too few steps"


def test_a_run_that_still_improves_suggests_twice_its_epochs(tmp_path: Path) -> None:
    improving = Faults(weights=lambda step: step / 200_000)
    text = 90 * TEXT
    steps_per_epoch = len(text) * 0.9 / (4 * 4)
    steps = f"training.steps={round(2.2 * steps_per_epoch)}"
    outcome = train(tmp_path / "run", steps, text=text, faults=improving).outcome
    assert outcome.suggestion is not None
    assert (outcome.suggestion.kind, outcome.suggestion.epochs) == ("still learning", 4)
    assert End.read(outcome.folder / "ended.json") == End(outcome.progress.step, outcome.suggestion)


@pytest.mark.parametrize(
    ("text", "settings"),
    [
        pytest.param(TEXT, (), id="short validation text"),
        pytest.param(90 * TEXT, ("corpus.validation_fraction=0",), id="no validation text"),
    ],
)
def test_a_run_without_a_standard_error_suggests_nothing(
    text: str, settings: tuple[str, ...], tmp_path: Path
) -> None:
    assert (
        train(tmp_path / "run", *settings, text=text, faults=FIRST_IS_BEST).outcome.suggestion
        is None
    )


def test_a_run_that_a_signal_ends_suggests_nothing(tmp_path: Path) -> None:
    faults = Faults(
        weights=lambda step: step / 20_000, after_call=interrupt_after(40).after_call, is_slow=True
    )
    outcome = train(tmp_path / "run", text=90 * TEXT, faults=faults).outcome
    assert outcome.signal == signal.SIGINT
    assert outcome.suggestion is None


def test_early_stopping_ends_a_run_after_that_many_evaluations_without_a_new_best(
    tmp_path: Path,
) -> None:
    overconfident = Faults(weights=lambda step: 1.0 if step <= 10 else float(step))
    trained = train(tmp_path / "run", "training.early_stopping=2", faults=overconfident)
    assert trained.outcome.reason == "no new best in 2 evaluations"
    assert list(trained.validation()) == [10, 20, 30]


def test_each_step_and_each_evaluation_is_reported_once_with_its_loss(
    tmp_path: Path, reference: Trained
) -> None:
    events: list[Event] = []
    train_watched(tmp_path / "run", events.append)
    seen: dict[int, float] = {}
    for taken in (event for event in events if isinstance(event, StepsTaken)):
        first = taken.step - len(taken.losses) + 1
        seen.update(enumerate(taken.losses, first))
    assert [*seen] == list(range(2, 51))
    evaluated = {
        event.step: event.nats_per_char for event in events if isinstance(event, Evaluated)
    }
    assert evaluated == reference.validation()
    for line in reference.metrics:
        if line["split"] == "train" and line["step"] > 5:
            mean = np.mean([seen[line["step"] - n] for n in range(5)])
            assert mean == pytest.approx(line["nats_per_char"])


def loss_at(step: int, nats: float) -> Faults:
    """Report a loss at a step."""
    return Faults(loss=lambda taken, _: nats if taken == step else None)


def state_from(step: int, number: float) -> Faults:
    """Add a number to the tensors that are saved from a step on."""
    return Faults(state=lambda taken: number if taken >= step else 0.0)


def weights_from(step: int, factor: float) -> Faults:
    """Multiply the weights that are evaluated from a step on."""
    return Faults(weights=lambda taken: factor if taken >= step else 1.0)


@pytest.mark.parametrize(
    ("faults", "message"),
    [
        pytest.param(
            loss_at(25, math.nan), "the loss is nan .* at step 25: training has", id="no loss"
        ),
        pytest.param(
            loss_at(25, math.inf),
            "the loss is inf .* at step 25: training has",
            id="an infinite loss",
        ),
        pytest.param(
            state_from(20, math.inf),
            "not every weight is finite at step 20",
            id="an infinite state",
        ),
        pytest.param(
            weights_from(20, math.nan), "not every weight is finite at step 20", id="no weights"
        ),
    ],
)
def test_a_run_that_diverges_ends_with_advice_and_a_checkpoint(
    faults: Faults, message: str, tmp_path: Path
) -> None:
    with pytest.raises(
        DivergenceError, match=rf"^{message}.* lower training\.optimizer\.learning_rate"
    ):
        train(tmp_path / "run", faults=faults)
    kept = checkpoints.restore(tmp_path / "run/run/checkpoints", on_event=refuse_events)
    assert kept.facts.progress.step in {10, 20}
    assert all(np.isfinite(tensor).all() for tensor in kept.tensors.values())
    resumed = resume(tmp_path / "run/run", "training.optimizer.learning_rate=1e-3")
    assert resumed.outcome.reason == "all steps done"


@pytest.mark.parametrize(
    ("faults", "settings"),
    [
        pytest.param(loss_at(25, math.nan), (), id="between two evaluations"),
        pytest.param(weights_from(20, math.nan), (), id="at an evaluation"),
        pytest.param(
            loss_at(5, math.nan),
            ("training.keep_checkpoints=true",),
            id="after the checkpoint of step 0",
        ),
    ],
)
def test_a_run_that_diverges_after_a_checkpoint_can_be_resumed(
    faults: Faults, settings: tuple[str, ...], tmp_path: Path
) -> None:
    with pytest.raises(DivergenceError) as caught:
        train(tmp_path / "run", *settings, faults=faults)
    assert caught.value.advice == Advice("lower the learning rate", tmp_path / "run/run")


@pytest.mark.parametrize(
    "faults",
    [
        pytest.param(loss_at(5, math.nan), id="between two evaluations"),
        pytest.param(state_from(10, math.inf), id="as its first checkpoint is saved"),
        pytest.param(weights_from(10, math.nan), id="at its first evaluation"),
    ],
)
def test_a_run_that_diverges_before_its_first_checkpoint_mentions_no_resume(
    faults: Faults, tmp_path: Path
) -> None:
    with pytest.raises(
        DivergenceError, match=r"training has diverged: lower training\.optimizer"
    ) as caught:
        train(tmp_path / "run", faults=faults)
    assert caught.value.advice is None


# The weights of another model


def test_a_run_begins_with_the_weights_of_a_model_and_needs_it_no_more(
    reference: Trained, tmp_path: Path
) -> None:
    init = Path(shutil.copy(reference.folder / "last.safetensors", tmp_path / "parent.safetensors"))
    whole = train(tmp_path / "whole", init=init)
    assert whole.validation()[0] == pytest.approx(reference.validation()[50], rel=1e-5)
    assert "step 0: validation" in "".join(whole.said)
    stopped = train(tmp_path / "run", init=init, faults=interrupt_after(5))
    assert stopped.outcome.progress.step == 5
    init.unlink()
    check_same(resume(stopped.folder), whole)


def test_a_run_that_gets_worse_keeps_its_initial_weights_as_its_best(
    reference: Trained, tmp_path: Path
) -> None:
    worse = Faults(weights=lambda step: 1.0 if step == 0 else 50.0)
    child = train(tmp_path / "child", faults=worse, init=reference.folder / "last.safetensors")
    assert child.outcome.progress.best_step == 0
    assert read_model(child.folder / "best.safetensors").facts["step"] == 0
    assert child.outcome.has_initial_weights


def test_a_run_that_gets_worse_than_its_initial_weights_suggests_nothing(tmp_path: Path) -> None:
    init = train(tmp_path / "parent", text=90 * TEXT).folder / "last.safetensors"
    worse = Faults(weights=lambda step: 1.0 if step == 0 else 50.0)
    outcome = train(tmp_path / "child", text=90 * TEXT, faults=worse, init=init).outcome
    assert not outcome.is_uncertain
    assert (outcome.progress.best_step, outcome.suggestion) == (0, None)


# Settings


OTHERS: dict[str, Any] = {
    **{
        "seed": 2,
        "corpus.encoding": "latin-1",
        "corpus.min_count": 2,
        "corpus.validation_fraction": 0.2,
    },
    **{"corpus.test_fraction": 0.1, "training.batch_size": 5, "training.sequence_length": 5},
    **{
        "training.growing_windows": True,
        "training.shuffle": False,
        "training.data_seed": 7,
        "training.epochs": 1,
    },
    **{
        "training.steps": 40,
        "training.schedule.name": "constant",
        "training.schedule.warmup_steps": 3,
    },
    **{
        "training.schedule.final_fraction": 0.5,
        "training.ngram_weight": 0.3,
        "training.early_stopping": 1,
    },
    **{"training.evaluations": 4, "training.keep_checkpoints": True, "training.log_every": 7},
    **{
        "sampling.length": 9,
        "sampling.prompt": "b",
        "sampling.temperature": 3.0,
        "sampling.top_k": 1,
    },
    **{"sampling.top_p": 0.1, "sampling.min_p": 0.9},
    "training.earlier_lengths": [{"until": 5, "steps": 10, "evaluations": 2}],
}
"""Another value of each setting that the loop reads; teachers, initial weights and recital are tested elsewhere."""


def test_the_table_has_every_setting_that_the_loop_reads() -> None:
    elsewhere = {
        "recipe",
        "training.initial_weights",
        "training.teacher_weight",
        "training.until_recited",
    }
    read = {key for key in SETTINGS - OF_ENGINES - elsewhere if ".teachers." not in key}
    assert read == OTHERS.keys()


def test_a_setting_of_the_table_that_is_a_name_has_two_values() -> None:
    names = {
        key: get_args(field.annotation)
        for key, field in walk(Config)
        if get_origin(field.annotation) is Literal
    }
    assert {key: len(names[key]) for key in OTHERS.keys() & names.keys()} == {
        "training.schedule.name": 2
    }


def written(folder: Path, *overrides: str) -> list[Any]:
    """Return everything that a run with some settings writes."""
    worse = Faults(weights=lambda step: 1.0 if step <= 10 else float(step))
    sampling = ("sampling.length=20", "sampling.temperature=0.7")
    run = train(folder, *sampling, *overrides, text=TEXT + "é", faults=worse)
    weights = {path.name: weights_of(path) for path in run.folder.rglob("*.safetensors")}
    return [weights, run.repeatable_metrics, run.outcome.sample]


@pytest.fixture(scope="module")
def usual(tmp_path_factory: pytest.TempPathFactory) -> list[Any]:
    """Return what a run with the usual settings writes."""
    return written(tmp_path_factory.mktemp("usual") / "run")


def test_the_same_settings_write_the_same(usual: list[Any], tmp_path: Path) -> None:
    assert written(tmp_path / "again") == usual


@pytest.mark.parametrize("key", OTHERS)
def test_every_setting_changes_what_a_run_writes(
    key: str, usual: list[Any], tmp_path: Path
) -> None:
    assert written(tmp_path / "run", f"{key}={OTHERS[key]}") != usual


def test_a_resume_says_if_the_kernel_is_another_library(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for before, now, lines in (("a", "b", 1), ("a", "a", 0), (None, "b", 0), ("a", None, 0)):
        monkeypatch.setattr(FakeEngine, "library", before)
        run = train(tmp_path / f"{before} {now}", "training.steps=10").folder
        monkeypatch.setattr(FakeEngine, "library", now)
        assert len(resume(run, "training.steps=20").of_type(KernelChanged)) == lines


def test_the_logs_are_on_the_disk_before_a_checkpoint_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced: list[tuple[int, int]] = []
    monkeypatch.setattr(
        os, "fsync", lambda file: synced.append((os.fstat(file).st_ino, os.fstat(file).st_size))
    )
    run = train(tmp_path / "run", "training.steps=10").folder
    found = (run / "checkpoints/step-10.safetensors").stat()
    saved = max(
        index for index, one in enumerate(synced) if one == (found.st_ino, found.st_size)
    )  # numbers come again
    paths = [run / "metrics.jsonl", *run.rglob("events.*")]
    assert len(paths) == 5
    for path in paths:
        assert (path.stat().st_ino, path.stat().st_size) in synced[:saved]


def check_events(run: Path, *, last: int) -> None:
    """Check that TensorBoard reads each step of a run once, in each folder."""
    logs = [*range(5, last + 1, 5)]
    evaluations = [*range(10, last + 1, 10)]
    found = event_steps(run)
    assert found["train/loss"] == found["./optimization/learning_rate"] == logs
    assert found["validation/loss"] == found["./spectral_radius/layer_0"] == evaluations
    assert found["5-gram/loss"] == [0, *evaluations]


# Checkpoints


def other_text(run: Path) -> None:
    """Put another text with the same characters in the place of that of a run."""
    shutil.rmtree(run / "corpus")
    make_corpus(run.parent, TEXT[::-1]).folder.rename(run / "corpus")


def in_config(old: str, new: str) -> Callable[[Path], object]:
    """Return what changes the config of a run."""
    return lambda run: (run / "config.yaml").write_text(
        (run / "config.yaml").read_text().replace(old, new)
    )


@pytest.mark.parametrize(
    ("change", "steps", "message"),
    [
        (
            in_config("tanh", "relu"),
            20,
            r"run/config\.yaml: model\.rnn\.activation: found 'relu'; must be 'tanh'",
        ),
        (in_config("units: 8", "units: 9"), 20, "does not fit the settings; to resume the run"),
        (other_text, 20, "run/corpus: not the corpus that the run was trained on"),
        (lambda _: None, 9, r"training.steps: gives a run of 9 steps, but it is at step 10"),
    ],
)
def test_a_run_that_was_changed_is_refused_and_stays(
    change: Any, steps: int, message: str, tmp_path: Path
) -> None:
    run = train(tmp_path / "run", "training.steps=10").folder
    change(run)
    before = contents(run)
    with pytest.raises(CharlmError, match=message):
        resume(run, f"training.steps={steps}")
    assert contents(run) == before


def test_settings_that_a_resume_changes_are_said_and_logged_once_also_if_it_crashes(
    tmp_path: Path,
) -> None:
    trained = train(tmp_path / "run", "training.steps=10")
    resumed = resume(trained.folder, "training.steps=20", "training.log_every=7")
    changes = resumed.of_type(SettingChanged)
    assert SettingChanged("training.steps", 10, 20) in changes
    assert SettingChanged("training.log_every", 5, 7) in changes
    with pytest.raises(ZeroDivisionError):
        resume(trained.folder, "training.steps=40", faults=crash_after(21))
    for _ in range(2):
        found = [line for line in resume(trained.folder).metrics if line.get("event") == "settings"]
        assert [(line["step"], line["changes"]) for line in found] == [
            (
                10,
                {
                    "training.steps": {"from": 10, "to": 20},
                    "training.log_every": {"from": 5, "to": 7},
                },
            ),
            (20, {"training.steps": {"from": 20, "to": 40}}),
        ]


# The best model of a run that leaves a path


def test_a_missing_best_of_other_weights_is_told_and_written_by_the_next_evaluation(
    tmp_path: Path,
) -> None:
    worse = Faults(weights=lambda step: 1.0 if step <= 10 else 50.0)
    trained = train(tmp_path / "run", "training.steps=30", "training.evaluations=3", faults=worse)
    assert trained.outcome.progress.best_step == 10
    (trained.folder / "best.safetensors").unlink()
    resumed = resume(trained.folder, "training.steps=40", faults=worse)
    assert [event.step for event in resumed.of_type(BestModelLost)] == [10]
    assert read_model(trained.folder / "best.safetensors").facts["step"] == 40


@pytest.mark.parametrize("keep", ["false", pytest.param("true", marks=pytest.mark.slow)])
def test_a_resume_from_an_older_checkpoint_leaves_nothing_of_the_abandoned_path(
    keep: str, tmp_path: Path
) -> None:
    """The best network is that of step 10, until that of the end; if all are kept, it is best again."""
    wavering = Faults(weights=lambda step: {10: 0.9, 50: 1.0}.get(step, 0.1))
    folder = train(tmp_path / "run", f"training.keep_checkpoints={keep}", faults=wavering).folder
    assert read_model(folder / "best.safetensors").facts["step"] == 50
    (folder / "checkpoints/step-50.safetensors").unlink()
    assert resume(folder, faults=interrupt_after(49)).outcome.progress.step == 49
    for path in (*folder.glob("*.safetensors"), *folder.glob("checkpoints/*")):
        assert read_model(path).facts["step"] <= 49, path
    assert all(line["step"] <= 49 for line in read_metrics(folder))
    newest = {tag: max(steps) for tag, steps in event_steps(folder).items() if "loss" in tag}
    assert newest == {"train/loss": 45, "validation/loss": 40, "5-gram/loss": 40}
    assert (
        max(
            event.step
            for path in folder.rglob("events.*")
            for event in EventFileLoader(str(path)).Load()
        )
        <= 49
    )
    assert not (folder / "ended.json").exists()
    assert read_model(folder / "last.safetensors").facts["step"] == 49
    best = folder / "best.safetensors"
    assert read_model(best).facts["step"] == 10 if keep == "true" else not best.exists()


def test_a_cut_log_forgets_a_line_without_an_end_and_an_evaluation_that_is_repeated(
    tmp_path: Path,
) -> None:
    path = tmp_path / "metrics.jsonl"
    lines = [metrics_line(step=1), metrics_line(step=2), metrics_line(step=2, split="validation")]
    for step, evaluated_step, kept in ((2, 2, 3), (2, 1, 2), (1, 1, 1), (-1, -1, 0), (9, 9, 3)):
        path.write_text("".join(lines) + '{"step": 2, "spl', encoding="utf-8")
        cut_metrics(path, step=step, evaluated_step=evaluated_step)
        assert path.read_text(encoding="utf-8") == "".join(lines[:kept])


# A run that is lengthened


@pytest.fixture(
    scope="module", params=["false", "true"], ids=["windows of one length", "growing windows"]
)
def lengthened(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> list[Trained]:
    """Train a run, and lengthen it at its end, in its middle and at its end again."""
    folder = tmp_path_factory.mktemp("lengthened") / "run"
    runs = [train(folder, f"training.growing_windows={request.param}")]
    run = runs[0].folder
    runs.append(resume(run, "training.steps=80"))
    runs.append(resume(run, "training.steps=200", faults=interrupt_after(120)))
    runs.append(resume(run, "training.steps=150"))
    return runs


@pytest.mark.parametrize("key", ["step", "characters", "epoch", "seconds"])
def test_the_past_of_a_lengthened_run_only_grows(key: str, lengthened: list[Trained]) -> None:
    values = [line[key] for line in lengthened[-1].metrics if line["split"] == "train"]
    assert len(values) == 150 / 5
    assert values == sorted(values)
    assert len(set(values)) == len(values)


def test_the_lines_of_a_lengthened_run_stay_as_they_were(lengthened: list[Trained]) -> None:
    folder = lengthened[0].folder
    text = (folder / "metrics.jsonl").read_text(encoding="utf-8")
    steps = [json.loads(line)["step"] for line in text.splitlines() if "learning_rate" in line]
    assert steps == [*range(5, 151, 5)]


def test_tensorboard_reads_each_step_of_a_lengthened_run_once(tmp_path: Path) -> None:
    run = train(tmp_path / "run").folder
    resume(run, "training.steps=100", faults=interrupt_after(83))
    resume(run)
    check_events(run, last=100)


def test_a_lengthened_run_can_be_repeated_from_its_config(
    lengthened: list[Trained], tmp_path: Path
) -> None:
    folder = lengthened[-1].folder
    recipe = shutil.copy(folder / "config.yaml", tmp_path / "recipe.yaml")
    run = begin_run(tmp_path / "again", (), text=folder.parent / "text.txt", recipe=recipe)
    again = train_begun(run)
    rates = [
        {line["step"]: line.get("learning_rate") for line in run.metrics}
        for run in (lengthened[-1], again)
    ]
    assert rates[0] == rates[1]
    weights = [
        read_model(run.folder / "last.safetensors").parameters.tensors
        for run in (lengthened[-1], again)
    ]
    for name, tensor in weights[0].items():
        np.testing.assert_array_equal(weights[1][name], tensor)


def test_a_lengthened_run_is_evaluated_as_often_as_before(tmp_path: Path) -> None:
    run = train(tmp_path / "run").folder
    assert list(resume(run, "training.steps=100").validation()) == [*range(10, 101, 10)]


def test_a_run_that_early_stopping_ended_can_be_lengthened(tmp_path: Path) -> None:
    overconfident = Faults(weights=lambda step: 1.0 if step <= 10 else float(step))
    settings = ("training.early_stopping=2", "training.steps=50")
    stopped = train(tmp_path / "run", *settings, faults=overconfident)
    assert stopped.outcome.progress.step == 30
    assert resume(stopped.folder, "training.steps=100").outcome.progress.step > 30


def test_a_resume_that_changes_nothing_leaves_an_early_stopped_run_ended(tmp_path: Path) -> None:
    overconfident = Faults(weights=lambda step: 1.0 if step <= 10 else float(step))
    stopped = train(tmp_path / "run", "training.early_stopping=2", faults=overconfident)
    assert resume(stopped.folder).outcome.progress.step == 30


# What a resumed run still knows


@pytest.mark.parametrize(
    "step", [45, 50], ids=["before the last evaluation", "after the last evaluation"]
)
def test_the_suggestion_survives_a_resume(step: int, tmp_path: Path) -> None:
    text = 90 * TEXT
    whole = train(tmp_path / "whole", text=text)
    stopped = train(tmp_path / "run", text=text, faults=interrupt_after(step))
    resumed = resume(stopped.folder)
    assert whole.outcome.suggestion is not None
    assert resumed.outcome.suggestion == whole.outcome.suggestion
    assert resumed.outcome.comparison == whole.outcome.comparison


def test_how_far_the_last_evaluation_is_above_the_best_survives_a_resume(tmp_path: Path) -> None:
    overconfident = Faults(weights=lambda step: 1.0 if step <= 40 else 3.0)
    whole = train(tmp_path / "whole", text=90 * TEXT, faults=overconfident)
    resumed = resume(whole.folder)
    assert whole.outcome.difference is not None
    assert resumed.outcome.difference is not None
    assert resumed.outcome.difference.nats == pytest.approx(whole.outcome.difference.nats, abs=1e-5)
    assert resumed.outcome.difference.standard_error == pytest.approx(
        whole.outcome.difference.standard_error or 0.0, abs=1e-5
    )
