"""A run without steps: its network is evaluated and saved with its initial weights."""

from pathlib import Path

import numpy as np
import pytest
from arrays import bytes_of
from fake_runs import LONG_TEXT, STEPS_PER_EPOCH, Trained, check_same, engine_of, resume, train
from models import weights_of
from run_folders import event_steps

import charlm
from charlm.api.training import Plan, plan
from charlm.events import Evaluated, NgramProgress, Resumed, TeacherStarted
from charlm.network.rnn import Floats
from charlm.runs.run import open_run
from charlm.runs.summary import summarize
from charlm.text.vocabulary import Ids

NO_STEPS = "training.steps=0"
NGRAMS = "training.ngram_weight=0.5"


@pytest.fixture(scope="module")
def untrained(tmp_path_factory: pytest.TempPathFactory) -> Trained:
    """Train a run without steps, which tests only read."""
    return train(tmp_path_factory.mktemp("untrained") / "run", NO_STEPS, text=LONG_TEXT)


def test_a_run_without_steps_ends_as_not_trained(untrained: Trained) -> None:
    assert untrained.outcome.progress.step == 0
    assert untrained.outcome.reason == "not trained: the run has no steps"
    assert (untrained.folder / "ended.json").is_file()


@pytest.mark.parametrize(
    "name",
    ["best.safetensors", "last.safetensors", "checkpoints/step-0.safetensors"],
)
def test_the_network_is_saved_with_its_initial_weights(name: str, untrained: Trained) -> None:
    initial = engine_of(open_run(untrained.folder)).parameters()
    assert bytes_of(untrained.model(name).parameters.tensors) == bytes_of(initial.tensors)


def test_the_network_is_evaluated_once(untrained: Trained) -> None:
    (event,) = untrained.of_type(Evaluated)
    assert untrained.validation() == {0: event.nats_per_char}
    assert untrained.outcome.nats_per_char == event.nats_per_char


def loss_of_bias(bias: Floats, ids: Ids) -> float:
    """Return the mean loss of a network whose other weights are zero, as in the fake engine."""
    logits = bias.astype(float)
    return float(np.log(np.exp(logits).sum()) - logits[ids[1:]].mean())


def test_the_validation_loss_at_step_0_is_told(untrained: Trained) -> None:
    bias = engine_of(open_run(untrained.folder)).weights()["logits.bias"]
    expected = loss_of_bias(bias, open_run(untrained.folder).corpus.split("validation"))
    lines = [line for line in untrained.said if line.startswith("step ")]
    assert lines == [f"step 0: validation {expected:.3f} nats"]


def test_the_validation_loss_of_initial_weights_is_told_before_the_steps(
    reference: Trained,
    tmp_path: Path,
) -> None:
    trained = train(tmp_path / "run", init=reference.folder / "last.safetensors")
    lines = [line for line in trained.said if line.startswith("step ")]
    assert lines[0] == f"step 0: validation {reference.validation()[50]:.3f} nats"
    assert lines[1].startswith("step 10 of 50")


@pytest.mark.parametrize("tag", ["validation/loss", "5-gram/loss", "./spectral_radius/layer_0"])
def test_tensorboard_reads_the_evaluation_once(tag: str, untrained: Trained) -> None:
    assert event_steps(untrained.folder)[tag] == [0]


def test_the_network_is_compared_with_a_5_gram_model(untrained: Trained) -> None:
    assert untrained.outcome.comparison is not None
    assert untrained.outcome.comparison.verdict == "worse"


def test_nothing_is_suggested_for_a_run_without_steps(untrained: Trained) -> None:
    assert untrained.outcome.suggestion is None


def test_a_summary_has_the_score_of_a_run_without_steps(untrained: Trained) -> None:
    summary = summarize(untrained.folder)
    assert (summary.state, summary.step, summary.best_step) == ("done", 0, 0)
    assert summary.nats_per_char == untrained.outcome.nats_per_char


def test_without_validation_text_the_loss_is_measured_on_the_training_text(tmp_path: Path) -> None:
    trained = train(tmp_path / "run", NO_STEPS, "corpus.validation_fraction=0")
    run = open_run(trained.folder)
    engine = engine_of(run)
    expected = engine.score(engine.parameters(), run.corpus.split("train")).nats_per_char
    (line,) = trained.metrics
    assert (line["split"], line["nats_per_char"]) == ("train", expected)
    assert trained.outcome.nats_per_char == expected
    assert f"step 0: train {expected:.3f} nats" in trained.said


def test_soft_targets_are_computed_when_the_first_step_is_taken(tmp_path: Path) -> None:
    trained = train(tmp_path / "run", NO_STEPS, NGRAMS)
    assert trained.of_type(NgramProgress) == []
    assert resume(trained.folder, "training.steps=10").of_type(NgramProgress)


def test_teachers_are_trained_when_the_first_step_is_taken(tmp_path: Path) -> None:
    training = "{batch_size: 4, sequence_length: 4, steps: 3}"
    recipe = f"{{model: {{units: 4}}, training: {training}, sampling: {{length: 0}}}}"
    Path("teacher.yaml").write_text(recipe, encoding="utf-8")
    teachers = "training.teachers={recipe: teacher.yaml, seeds: [2]}"
    trained = train(tmp_path / "run", NO_STEPS, teachers)
    assert trained.of_type(TeacherStarted) == []
    assert len(resume(trained.folder, "training.steps=10").of_type(TeacherStarted)) == 1


def test_a_resume_leaves_a_run_without_steps_as_it_is(tmp_path: Path) -> None:
    trained = train(tmp_path / "run", NO_STEPS)
    resumed = resume(trained.folder)
    assert resumed.of_type(Resumed) == [Resumed(0, 0)]
    check_same(resumed, trained)


@pytest.mark.parametrize(
    "growing",
    ["false", "true"],
    ids=["windows of one length", "growing windows"],
)
def test_a_run_that_gets_steps_later_ends_with_the_same_weights(
    growing: str,
    tmp_path: Path,
) -> None:
    windows = f"training.growing_windows={growing}"
    untrained = train(tmp_path / "untrained", NO_STEPS, windows)
    longer = resume(untrained.folder, "training.steps=40")
    whole = train(tmp_path / "whole", "training.steps=40", windows)
    name = "last.safetensors"
    assert weights_of(longer.folder / name) == weights_of(whole.folder / name)
    assert [*longer.validation()] == [0, *whole.validation()]
    assert longer.config.training.earlier_lengths == ()


def test_a_resume_may_give_epochs_to_a_run_without_steps(tmp_path: Path) -> None:
    untrained = train(tmp_path / "run", NO_STEPS)
    longer = resume(untrained.folder, "training.epochs=2")
    assert longer.outcome.progress.step == 2 * STEPS_PER_EPOCH


def test_the_weights_of_another_model_can_be_evaluated_without_steps(
    reference: Trained,
    tmp_path: Path,
) -> None:
    init = reference.folder / "last.safetensors"
    trained = train(tmp_path / "run", NO_STEPS, init=init)
    assert trained.outcome.nats_per_char == pytest.approx(reference.validation()[50], rel=1e-5)
    assert weights_of(trained.folder / "best.safetensors") == weights_of(init)


# With the engine that trains

TEXT = "abba\n" * 200
TINY = (NO_STEPS, "sampling.length=20")


@pytest.fixture(scope="module")
def text(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("text") / "text.txt"
    path.write_text(TEXT, encoding="utf-8")
    return path


def test_an_untrained_network_has_the_score_of_its_evaluation(text: Path, tmp_path: Path) -> None:
    outcome = charlm.train(text, recipe="tiny", overrides=TINY, run=tmp_path / "run")
    losses = charlm.load(outcome.folder).score(TEXT[900:])
    assert losses.mean() == pytest.approx(outcome.nats_per_char, abs=1e-5)


@pytest.fixture(scope="module")
def planned(text: Path) -> Plan:
    return plan(text, recipe="tiny", overrides=[*TINY, NGRAMS])


def test_a_plan_without_steps_has_one_evaluation(planned: Plan) -> None:
    fields = planned.to_json()
    assert (fields["steps"], fields["epochs"], fields["evaluations"]) == (0, 0, 1)


def test_a_plan_without_steps_counts_no_ngrams(planned: Plan) -> None:
    assert planned.costs.ngram_seconds == 0
