"""The training loop: repeatable to the bit, whatever interrupts it, and honest about how it ends."""

import json
import math
import os
import random
import re
import shutil
import signal
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.numpy

from charlm import preparation
from charlm.bundle import read_bundle
from charlm.config_file import load_config
from charlm.errors import CharlmError
from charlm.recipes import find_recipe
from charlm.rnn import Parameters
from charlm.scoring import Score, mean_score, score_stream
from charlm.training import checkpoints, loop
from charlm.training.checkpoints import Tensors
from charlm.training.learner import Learner, Lesson
from charlm.training.loop import Outcome
from charlm.training.signals import stop_on_signal

STEPS_PER_EPOCH = 20
TEXT = "".join(
    random.Random(0).choices("abcde ", k=364)
)  # 9/10 are 20 windows of 4 characters in 4 streams, and a bit
SMALL = (
    *("model.units=8", "training.batch_size=4", "training.sequence_length=4", "training.steps=50"),
    *("training.log_every=5", "training.evaluate_every=10", "training.checkpoint_every=10"),
    "sampling.length=0",
)
DROPOUT = (
    *("model.layers=2", "model.layer_dropout=0.2", "model.output_dropout=0.2"),
    *("model.rnn.dropout=0.2", "model.rnn.recurrent_dropout=0.2", "model.weight_dropout=0.2"),
    *("training.average_momentum=0.9", "training.state_reset=0.1", "training.shuffle=true"),
)
CLOCK = {"seconds", "characters_per_second"}


@dataclass(frozen=True)
class Trained:
    """A run after its training, and what a person was told."""

    folder: Path
    outcome: Outcome
    said: list[str]

    @property
    def metrics(self) -> list[dict[str, Any]]:
        """The lines of metrics.jsonl."""
        lines = (self.folder / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
        return [json.loads(line) for line in lines]

    @property
    def repeatable_metrics(self) -> list[dict[str, Any]]:
        """The same without what the clock says."""
        return [{key: value for key, value in line.items() if key not in CLOCK} for line in self.metrics]

    def validation(self) -> dict[int, float]:
        """Return nats per character by step."""
        return {line["step"]: line["nats_per_char"] for line in self.metrics if line["split"] == "validation"}

    def files(self) -> dict[str, bytes]:
        """Return all that should not depend on the clock: the state of each checkpoint, best/ and last/."""
        paths = [*self.folder.glob("checkpoints/*/state.safetensors"), *self.folder.glob("[bl][ea]st/*")]
        return {str(path.relative_to(self.folder)): path.read_bytes() for path in paths}


def train(folder: Path, *overrides: str, text: str = TEXT) -> Trained:
    folder.mkdir()
    source = folder / "text.txt"
    source.write_text(text, encoding="utf-8")
    config = load_config(find_recipe("tiny"), overrides=[*SMALL, *overrides])
    return _train(preparation.begin_run(folder / "run", config, source), resume=False)


def resume(trained: Trained, *overrides: str) -> Trained:
    return _train(preparation.open_run(trained.folder, overrides=overrides), resume=True)


def _train(run: preparation.Run, *, resume: bool) -> Trained:
    said: list[str] = []
    with stop_on_signal() as wish:
        outcome = loop.train(run, resume=resume, cores=2, wish=wish, say=said.append, show_progress=False)
    return Trained(run.folder, outcome, said)


@pytest.fixture(scope="module")
def reference(tmp_path_factory: pytest.TempPathFactory) -> Trained:
    """Train without interruption; tests only read the run."""
    return train(tmp_path_factory.mktemp("reference") / "run", *DROPOUT)


@pytest.fixture
def interrupt_after(monkeypatch: pytest.MonkeyPatch) -> Callable[[int], None]:
    """Return a function after which Ctrl-C is pressed once, as soon as a run has taken this many steps."""
    learn, keys = loop.Training._learn, [signal.SIGINT]

    def interrupt(step: int) -> None:
        def learn_and_interrupt(training: loop.Training) -> None:
            learn(training)
            if training.progress.step == step and keys:
                signal.raise_signal(keys.pop())

        monkeypatch.setattr(loop.Training, "_learn", learn_and_interrupt)

    return interrupt


@pytest.fixture
def crash_after(monkeypatch: pytest.MonkeyPatch) -> Callable[[int], None]:
    """Return a function after which a process dies once, as soon as its run has come to this step."""
    learn, crashes = loop.Training._learn, [ZeroDivisionError]

    def crash(step: int) -> None:
        def learn_and_crash(training: loop.Training) -> None:
            learn(training)
            if training.progress.step >= step and crashes:
                raise crashes.pop()

        monkeypatch.setattr(loop.Training, "_learn", learn_and_crash)

    return crash


# Repeatable


def test_the_same_seed_gives_the_same_bytes(reference: Trained, tmp_path: Path) -> None:
    again = train(tmp_path / "again", *DROPOUT)
    assert again.files() == reference.files()
    assert again.repeatable_metrics == reference.repeatable_metrics


def test_another_seed_gives_other_weights(reference: Trained, tmp_path: Path) -> None:
    other = train(tmp_path / "other", *DROPOUT, "seed=2")
    weights = "last/weights.safetensors"
    assert other.files()[weights] != reference.files()[weights]


def test_steps_in_a_call_do_not_change_a_bit(reference: Trained, tmp_path: Path) -> None:
    weights = "last/weights.safetensors"
    single = train(tmp_path / "single", *DROPOUT, "training.steps_per_call=1")
    assert single.files()[weights] == reference.files()[weights]


@pytest.mark.parametrize(
    "step",
    [
        pytest.param(7, id="between two logs"),
        pytest.param(STEPS_PER_EPOCH, id="at the border of an epoch"),
        pytest.param(STEPS_PER_EPOCH + 10, id="in the middle of an epoch, with an evaluation"),
        pytest.param(49, id="one step before the end"),
    ],
)
def test_a_run_that_was_interrupted_ends_as_if_it_had_not_been(
    step: int, reference: Trained, tmp_path: Path, interrupt_after: Callable[[int], None]
) -> None:
    interrupt_after(step)
    stopped = train(tmp_path / "run", *DROPOUT, "training.steps_per_call=1")
    assert (stopped.outcome.progress.step, stopped.outcome.signal) == (step, signal.SIGINT)
    assert stopped.outcome.reason == "stopped by SIGINT"

    resumed = resume(stopped, "training.steps_per_call=10")
    assert resumed.outcome.reason == "all steps done"
    assert resumed.repeatable_metrics == reference.repeatable_metrics
    newest = {name: data for name, data in reference.files().items() if "checkpoints" not in name or "50" in name}
    assert resumed.files() | newest == resumed.files()


def test_an_evaluation_that_a_signal_forestalls_is_made_up_for(
    reference: Trained, tmp_path: Path, interrupt_after: Callable[[int], None]
) -> None:
    interrupt_after(50)
    stopped = train(tmp_path / "run", *DROPOUT)
    assert (stopped.outcome.reason, stopped.outcome.signal) == ("stopped by SIGINT", signal.SIGINT)
    assert list(stopped.validation()) == [10, 20, 30, 40]
    resumed = resume(stopped)
    assert resumed.outcome.reason == "all steps done"
    assert resumed.files() == reference.files()
    assert resumed.repeatable_metrics == reference.repeatable_metrics


@pytest.mark.parametrize("step", [1, 10, 13, 50])
def test_a_run_that_crashed_ends_as_if_it_had_not(
    step: int, reference: Trained, tmp_path: Path, crash_after: Callable[[int], None]
) -> None:
    crash_after(step)
    with pytest.raises(ZeroDivisionError):
        train(tmp_path / "run", *DROPOUT)
    resumed = _train(preparation.open_run(tmp_path / "run/run"), resume=True)
    assert resumed.files() == reference.files()
    assert resumed.repeatable_metrics == reference.repeatable_metrics


def test_a_run_that_crashed_before_its_first_checkpoint_begins_again(reference: Trained, tmp_path: Path) -> None:
    crashed = train(tmp_path / "run", *DROPOUT)
    shutil.rmtree(crashed.folder / "checkpoints")
    resumed = resume(crashed)
    assert resumed.files() == reference.files()
    assert resumed.repeatable_metrics == reference.repeatable_metrics
    assert len(list((crashed.folder / "tensorboard").iterdir())) == 1


def test_what_a_crash_has_left_aside_is_removed(tmp_path: Path) -> None:
    crashed = train(tmp_path / "run")
    for name in (".best.1.tmp", "checkpoints/.step-000000060.1.tmp"):
        (crashed.folder / name).mkdir()
    resume(crashed)
    assert not list(crashed.folder.glob("**/.*.tmp"))


def test_resuming_a_finished_run_changes_nothing(tmp_path: Path) -> None:
    done = train(tmp_path / "run")
    files, metrics = done.files(), done.metrics
    again = resume(done)
    assert again.outcome.reason == "all steps done"
    assert (again.files(), again.metrics) == (files, metrics)


def test_a_damaged_checkpoint_costs_only_the_steps_since_the_one_before(
    reference: Trained, tmp_path: Path
) -> None:
    crashed = train(tmp_path / "run", *DROPOUT)
    (crashed.folder / "checkpoints/step-000000050/state.safetensors").write_bytes(b"")
    resumed = resume(crashed)
    assert any("step-000000050" in line for line in resumed.said)
    assert "resumed at step 40 of 50" in resumed.said
    assert resumed.files() == reference.files()
    assert resumed.repeatable_metrics == reference.repeatable_metrics


@pytest.mark.parametrize("override", ["model.units=9", "model.layers=2", "training.batch_size=3"])
def test_another_network_cannot_be_resumed_and_the_run_stays_as_it_was(override: str, tmp_path: Path) -> None:
    trained = train(tmp_path / "run", "training.steps=10")
    config = (trained.folder / "config.yaml").read_bytes()
    with pytest.raises(CharlmError, match="another network, optimizer or batch"):
        resume(trained, override)
    assert (trained.folder / "config.yaml").read_bytes() == config


def test_what_resume_was_told_stands_in_the_config(tmp_path: Path) -> None:
    trained = train(tmp_path / "run", "training.steps=10")
    resumed = resume(trained, "training.steps=20")
    assert resumed.outcome.progress.step == 20
    assert load_config(trained.folder / "config.yaml").training.steps == 20


# The end


def test_epochs_end_a_run(tmp_path: Path) -> None:
    trained = train(tmp_path / "run", "training.epochs=1")
    assert trained.outcome.progress.step == STEPS_PER_EPOCH
    assert trained.metrics[-1]["epoch"] == 1.0


def test_early_stopping_ends_a_run_after_patience_evaluations_without_a_new_best(tmp_path: Path) -> None:
    stopping = ("training.early_stopping.patience=2", "training.early_stopping.min_delta=100")
    trained = train(tmp_path / "run", *stopping)
    assert trained.outcome.reason == "no new best in 2 evaluations"
    assert list(trained.validation()) == [10, 20, 30]
    assert trained.outcome.progress.best_step == 10


def test_a_run_that_stopped_early_is_not_resumed_past_its_end(tmp_path: Path) -> None:
    stopping = ("training.early_stopping.patience=1", "training.early_stopping.min_delta=100")
    stopped = train(tmp_path / "run", *stopping)
    assert resume(stopped).outcome.progress.step == stopped.outcome.progress.step == 20


def test_max_minutes_ends_a_run_with_an_evaluation_and_a_checkpoint(tmp_path: Path) -> None:
    trained = train(tmp_path / "run", "training.max_minutes=1e-9")
    assert "max_minutes" in trained.outcome.reason
    assert list(trained.validation()) == [1]
    assert (trained.folder / "checkpoints/step-000000001").is_dir()
    assert read_bundle(trained.folder / "best").facts["step"] == 1


def test_a_run_that_the_clock_ended_goes_on_as_if_it_had_not(reference: Trained, tmp_path: Path) -> None:
    ended = train(tmp_path / "run", *DROPOUT, "training.max_minutes=1e-9")
    resumed = resume(ended, "training.max_minutes=null")
    assert resumed.repeatable_metrics == reference.repeatable_metrics
    weights = {name: data for name, data in reference.files().items() if name.endswith("weights.safetensors")}
    assert resumed.files() | weights == resumed.files()


# Gone astray


@pytest.fixture
def astray_at(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Return a function after which a step has another loss, at rates above a share of the schedule's."""
    learn = Learner.learn

    def go_astray(step: int, *, loss: float = math.nan, above: float = 0.5, until: int | None = None) -> None:
        def learn_astray(learner: Learner, first: int, count: int, *, rate_scale: float) -> Lesson:
            lesson = learn(learner, first, count, rate_scale=rate_scale)
            is_astray = [
                rate_scale > above and step <= taken <= (until or step) for taken in taken_steps(first, count)
            ]
            pairs = zip(lesson.losses, is_astray, strict=True)
            return lesson._replace(losses=[loss if astray else found for found, astray in pairs])

        monkeypatch.setattr(Learner, "learn", learn_astray)

    return go_astray


def taken_steps(first: int, count: int) -> range:
    return range(first + 1, first + count + 1)


def rollbacks(trained: Trained) -> list[tuple[int, int, float]]:
    """Return from where to where a run went back, and to which share of its rates."""
    lines = [line for line in trained.metrics if line.get("event") == "rollback"]
    return [(line["from_step"], line["step"], line["rate_scale"]) for line in lines]


def test_a_loss_that_is_no_number_sends_training_back_and_on_at_a_lower_rate(
    reference: Trained, tmp_path: Path, astray_at: Callable[..., None]
) -> None:
    astray_at(25)
    trained = train(tmp_path / "run", *DROPOUT)
    assert trained.outcome.reason == "all steps done"
    assert rollbacks(trained) == [(25, 20, 0.5)]
    assert any(
        "nan" in line and "going on from step 20 with the learning rate times 0.5" in line for line in trained.said
    )
    rates, before = (
        {line["step"]: line["learning_rate"] for line in run.metrics if line["split"] == "train"}
        for run in (trained, reference)
    )
    assert list(rates) == list(before)
    assert [rates[step] / before[step] for step in (15, 20, 25, 50)] == pytest.approx([1, 1, 0.5, 0.5])


def test_a_loss_far_above_the_lowest_sends_training_back(tmp_path: Path, astray_at: Callable[..., None]) -> None:
    astray_at(21, loss=9.0, until=30)
    trained = train(tmp_path / "run", "training.divergence.patience_steps=5")
    assert rollbacks(trained) == [(25, 20, 0.5)]
    assert trained.metrics[-1]["step"] == 50


def test_training_that_goes_astray_again_goes_back_further(tmp_path: Path, astray_at: Callable[..., None]) -> None:
    astray_at(25, above=0.25)
    assert rollbacks(train(tmp_path / "run")) == [(25, 20, 0.5), (25, 10, 0.25)]


@pytest.mark.parametrize("step", [23, 27, 33])
def test_a_run_that_went_astray_and_was_interrupted_ends_as_if_it_had_not_been(
    step: int, tmp_path: Path, astray_at: Callable[..., None], interrupt_after: Callable[[int], None]
) -> None:
    astray_at(32, above=0.25)
    alone = train(tmp_path / "alone", *DROPOUT, "training.steps_per_call=1")
    interrupt_after(step)
    stopped = train(tmp_path / "stopped", *DROPOUT, "training.steps_per_call=1")
    assert stopped.outcome.signal == signal.SIGINT
    resumed = resume(stopped)
    assert rollbacks(alone) == [(32, 30, 0.5), (32, 20, 0.25)]
    assert (resumed.files(), resumed.repeatable_metrics) == (alone.files(), alone.repeatable_metrics)


@pytest.mark.parametrize("step", [5, 25, 32])
def test_a_run_that_went_astray_and_crashed_ends_as_if_it_had_not(
    step: int, tmp_path: Path, astray_at: Callable[..., None], crash_after: Callable[[int], None]
) -> None:
    astray_at(32, above=0.25)
    alone = train(tmp_path / "alone", *DROPOUT)
    crash_after(step)
    with pytest.raises(ZeroDivisionError):
        train(tmp_path / "crashed", *DROPOUT)
    resumed = _train(preparation.open_run(tmp_path / "crashed/run"), resume=True)
    assert (resumed.files(), resumed.repeatable_metrics) == (alone.files(), alone.repeatable_metrics)


def test_training_that_keeps_going_astray_ends_in_one_line_and_leaves_whole_checkpoints(tmp_path: Path) -> None:
    with pytest.raises(CharlmError, match=r"^the loss .* 3 times .* lower training\.optimizer\.learning_rate"):
        train(
            tmp_path / "run",
            *("model.rnn.activation=linear", "training.optimizer.learning_rate=1e6", "training.clip_norm=null"),
            *("training.checkpoint_every=1", "training.divergence.patience_steps=3"),
        )
    tensors, _, _ = checkpoints.restore(tmp_path / "run/run/checkpoints", warn=pytest.fail)
    assert all(np.isfinite(tensor).all() for tensor in tensors.values())


def test_weights_that_are_not_finite_are_never_saved(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tensors = Learner.tensors

    def overflow(learner: Learner) -> Tensors:
        found = tensors(learner)
        step = next(int(value) for value in found.values() if value.dtype == np.int64 and value.shape == ())
        return found if step < 20 else {name: value + math.inf for name, value in found.items()}

    monkeypatch.setattr(Learner, "tensors", overflow)
    with pytest.raises(CharlmError, match="not every weight is finite at step 20"):
        train(tmp_path / "run")
    assert checkpoints.saved_steps(tmp_path / "run/run/checkpoints") == [10, 0]


@pytest.mark.parametrize("stddev", ["3e38", "1e39"])
def test_first_weights_that_are_not_finite_end_training_in_one_line(stddev: str, tmp_path: Path) -> None:
    initializer = f"model.input_initializer={{class_name: RandomNormal, config: {{stddev: {stddev}}}}}"
    with pytest.raises(CharlmError, match=r"step 0, and there is no checkpoint .* model\.input_initializer"):
        train(tmp_path / "run", initializer)


def test_a_text_that_is_cut_while_it_is_read_ends_training_in_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    learn = loop.Training._learn

    def learn_and_cut(training: loop.Training) -> None:
        learn(training)
        if training.progress.step == 10:
            os.truncate(training.run.corpus.folder / "ids.bin", 3)

    monkeypatch.setattr(loop.Training, "_learn", learn_and_cut)
    with pytest.raises(CharlmError, match=r"ids\.bin: was cut to 3 bytes while in use; should be 364"):
        train(tmp_path / "run")


def test_a_log_that_is_a_link_is_not_cut(tmp_path: Path) -> None:
    trained = train(tmp_path / "run", "training.steps=10")
    metrics, elsewhere = trained.folder / "metrics.jsonl", tmp_path / "mine.txt"
    elsewhere.write_text(metrics.read_text() + "more")
    before = elsewhere.read_text()
    metrics.unlink()
    metrics.symlink_to(elsewhere)
    with pytest.raises(CharlmError, match=r"metrics\.jsonl: is a link"):
        resume(trained, "training.steps=20")
    assert elsewhere.read_text() == before


def test_a_network_larger_than_the_memory_is_refused_before_it_is_built(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loop, "Learner", pytest.fail)
    monkeypatch.setattr("charlm.training.memory.memory_bytes", lambda: 1000)
    with pytest.raises(CharlmError, match=r"^model: .* needs at least"):
        train(tmp_path / "run")


# Best and last


def test_the_weights_are_copied_once_a_step_for_evaluation_best_and_last(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    copy, copies = Learner.parameters, []

    def count(learner: Learner) -> Parameters:
        copies.append(learner)
        return copy(learner)

    monkeypatch.setattr(Learner, "parameters", count)
    train(tmp_path / "run")
    assert len(copies) == len([0, 10, 20, 30, 40, 50])


def test_best_holds_the_weights_of_the_lowest_validation_loss(tmp_path: Path) -> None:
    overfitted = ("model.units=64", "training.optimizer.learning_rate=0.02", "training.steps=100")
    trained = train(tmp_path / "run", *overfitted)
    progress, validation = trained.outcome.progress, trained.validation()
    assert progress.best_step == min(validation, key=validation.__getitem__) < 100

    best = read_bundle(trained.folder / "best")
    ids = preparation.open_run(trained.folder).corpus.split("validation")
    assert mean_score(score_stream(best.parameters, ids)).nats_per_char == pytest.approx(
        validation[progress.best_step]
    )
    assert best.facts["step"] == progress.best_step
    assert best.facts["score"] == {"split": "validation", "nats_per_char": progress.best_nats}


def test_a_validation_loss_that_is_no_number_is_never_the_best(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    losses = iter([math.nan, 3.0, math.nan, 2.0, 2.5])
    monkeypatch.setattr("charlm.scoring.estimate_stream", lambda *_: Score(next(losses), 35))
    progress = train(tmp_path / "run").outcome.progress
    assert (progress.best_nats, progress.best_step) == (2.0, 40)


def test_last_holds_the_weights_of_the_last_step(reference: Trained) -> None:
    last = read_bundle(reference.folder / "last")
    newest = reference.folder / "checkpoints/step-000000050/state.safetensors"
    state = [tensor.tobytes() for tensor in safetensors.numpy.load_file(newest).values()]
    assert last.facts["step"] == 50
    assert all(tensor.tobytes() in state for tensor in last.parameters.tensors().values())


# Small texts


def test_a_text_too_short_for_its_windows_is_trained_on_and_that_is_said(tmp_path: Path) -> None:
    trained = train(tmp_path / "run", "training.sequence_length=64", text=TEXT[:60])
    assert any("has only 54 characters" in line for line in trained.said)
    assert trained.outcome.progress.step == 50


def test_two_characters_are_enough(tmp_path: Path) -> None:
    trained = train(tmp_path / "run", "corpus.validation_fraction=0", text="ab")
    assert trained.outcome.progress.step == 50


def test_one_character_is_too_few(tmp_path: Path) -> None:
    with pytest.raises(CharlmError, match="at least 2"):
        train(tmp_path / "run", text="a")


def test_one_distinct_character_is_learnt_at_once(tmp_path: Path) -> None:
    trained = train(tmp_path / "run", text="a" * 200)
    assert trained.validation()[50] == 0


def test_without_validation_text_the_training_loss_decides_and_that_is_said(tmp_path: Path) -> None:
    trained = train(tmp_path / "run", "corpus.validation_fraction=0")
    assert any("no validation text" in line for line in trained.said)
    assert trained.outcome.split == "train"
    assert trained.outcome.progress.best_nats == min(
        line["nats_per_char"] for line in trained.metrics if line["step"] % 10 == 0
    )
    assert read_bundle(trained.folder / "best").facts["score"]["split"] == "train"


# What is learnt, and written down


def test_a_simple_text_is_learnt(tmp_path: Path) -> None:
    learnt = train(
        tmp_path / "run",
        "model.units=16",
        "training.steps=200",
        "training.optimizer.learning_rate=0.02",
        text="abc" * 200,
    )
    assert learnt.outcome.progress.best_nats is not None
    assert learnt.outcome.progress.best_nats < 0.1


def test_the_first_loss_is_that_of_guessing(reference: Trained) -> None:
    assert reference.metrics[0]["nats_per_char"] == pytest.approx(math.log(6), rel=0.2)


def test_metrics_have_the_keys_of_the_contract(reference: Trained) -> None:
    position = {"step", "epoch", "characters", "seconds", "split", "nats_per_char", "bits_per_char"}
    training = position | {"learning_rate", "gradient_norm", "characters_per_second"}
    for line in reference.metrics:
        assert set(line) == (training if line["split"] == "train" else position)


def test_metrics_tell_where_the_run_stands(reference: Trained) -> None:
    last = reference.metrics[-1]
    assert (last["step"], last["epoch"], last["characters"]) == (50, 50 / STEPS_PER_EPOCH, 50 * 4 * 4)
    assert last["bits_per_char"] == pytest.approx(last["nats_per_char"] / math.log(2))
    assert [line["step"] for line in reference.metrics if line["split"] == "train"] == list(range(5, 51, 5))
    assert list(reference.validation()) == list(range(10, 51, 10))


def test_the_learning_rate_follows_the_schedule_to_its_end(reference: Trained) -> None:
    rates = [line["learning_rate"] for line in reference.metrics if line["split"] == "train"]
    assert rates == sorted(rates, reverse=True)
    assert rates[-1] == pytest.approx(2e-3 * 0.01)


def test_the_person_is_told_the_corpus_the_model_and_the_length(reference: Trained) -> None:
    corpus, model, *_ = reference.said
    assert corpus.startswith("corpus: 364 characters, 6 distinct")
    assert model.startswith("model: 2 x 8 units")
    assert f"50 steps of 4 x 4 characters, {STEPS_PER_EPOCH} an epoch" in model


def test_the_person_is_told_what_the_start_takes_and_every_evaluation(reference: Trained) -> None:
    _, _, ready, *evaluations = reference.said
    assert re.fullmatch(r"ready in [\d.]+ s \(network [\d.]+, graph [\d.]+\)", ready)
    scores = [line["nats_per_char"] for line in reference.metrics if line["split"] == "validation"]
    best = [score == min(scores[: index + 1]) for index, score in enumerate(scores)]
    assert evaluations == [
        f"step {step} of 50: {score:.4f} nats per character on the validation text"
        + (", the best so far" if is_best else "")
        for step, score, is_best in zip((10, 20, 30, 40, 50), scores, best, strict=True)
    ]
