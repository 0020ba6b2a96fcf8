"""A run without steps: the network as it was initialised, evaluated and saved, which can be trained later."""

import json
from pathlib import Path

import fake_runs
import pytest
from arrays import bytes_of
from fake_runs import TEXT, Trained, check_same, engine_of, resume, train
from models import weights_of
from run_folders import event_steps

import charlm
from charlm.api.training import Plan, plan
from charlm.events import Evaluated, NgramProgress, Resumed, TeacherStarted
from charlm.network.model_file import read_model
from charlm.runs.run import open_run
from charlm.runs.summary import summarize

NO_STEPS = "training.steps=0"


@pytest.fixture(scope="module")
def untrained(tmp_path_factory: pytest.TempPathFactory) -> Trained:
    return train(tmp_path_factory.mktemp("untrained") / "run", NO_STEPS, text=90 * TEXT)


def test_a_run_without_steps_ends_as_not_trained(untrained: Trained) -> None:
    assert untrained.outcome.progress.step == 0
    assert untrained.outcome.reason == "not trained: the run has no steps"
    assert (untrained.folder / "ended.json").is_file()


@pytest.mark.parametrize(
    "name", ["best.safetensors", "last.safetensors", "checkpoints/step-0.safetensors"]
)
def test_the_network_is_saved_as_it_was_initialised(name: str, untrained: Trained) -> None:
    first = engine_of(open_run(untrained.folder)).parameters()
    assert bytes_of(read_model(untrained.folder / name).parameters.tensors) == bytes_of(
        first.tensors
    )


def test_the_network_is_evaluated_once(untrained: Trained) -> None:
    validation = untrained.validation()
    assert [*validation] == [0]
    assert [event.nats_per_char for event in untrained.of_type(Evaluated)] == [validation[0]]
    assert untrained.outcome.nats_per_char == validation[0]


@pytest.mark.parametrize("tag", ["validation/loss", "5-gram/loss", "./spectral_radius/layer_0"])
def test_the_evaluation_is_shown_to_tensorboard_once(tag: str, untrained: Trained) -> None:
    assert event_steps(untrained.folder)[tag] == [0]


def test_the_network_is_compared_with_a_5_gram_model(untrained: Trained) -> None:
    assert untrained.outcome.comparison is not None
    assert untrained.outcome.comparison.verdict == "worse"


def test_nothing_is_suggested_for_a_run_without_steps(untrained: Trained) -> None:
    assert untrained.outcome.suggestion is None


def test_a_summary_has_the_score_of_a_run_without_steps(untrained: Trained) -> None:
    summary = summarize(untrained.folder)
    found = (summary.state, summary.step, summary.best_step, summary.nats_per_char)
    assert found == ("done", 0, 0, untrained.outcome.nats_per_char)


def test_without_validation_text_the_loss_is_on_the_training_text(tmp_path: Path) -> None:
    trained = train(tmp_path / "run", NO_STEPS, "corpus.validation_fraction=0")
    run = open_run(trained.folder)
    engine = engine_of(run)
    expected = engine.score(engine.parameters(), run.corpus.split("train")).nats_per_char
    assert [(line["split"], line["nats_per_char"]) for line in trained.metrics] == [
        ("train", expected)
    ]
    assert trained.outcome.nats_per_char == expected
    assert f"step 0: train {expected:.3f} nats" in trained.said


def test_soft_targets_are_computed_when_the_first_step_is_taken(tmp_path: Path) -> None:
    trained = train(tmp_path / "run", NO_STEPS, "training.ngram_weight=0.5")
    assert trained.of_type(NgramProgress) == []
    assert resume(trained.folder, "training.steps=10").of_type(NgramProgress)


def test_teachers_are_trained_when_the_first_step_is_taken(tmp_path: Path) -> None:
    recipe = "{model: {units: 4}, training: {batch_size: 4, sequence_length: 4, steps: 3}, sampling: {length: 0}}"
    Path("teacher.yaml").write_text(recipe, encoding="utf-8")
    trained = train(
        tmp_path / "run", NO_STEPS, "training.teachers={recipe: teacher.yaml, seeds: [2]}"
    )
    assert trained.of_type(TeacherStarted) == []
    assert [
        event.number
        for event in resume(trained.folder, "training.steps=10").of_type(TeacherStarted)
    ] == [1]


def test_a_resume_leaves_a_run_without_steps_as_it_is(tmp_path: Path) -> None:
    trained = train(tmp_path / "run", NO_STEPS)
    resumed = resume(trained.folder)
    assert resumed.of_type(Resumed) == [Resumed(0, 0)]
    check_same(resumed, trained)


@pytest.mark.parametrize(
    "growing", ["false", "true"], ids=["windows of one length", "growing windows"]
)
def test_a_run_that_gets_steps_later_ends_with_the_same_weights(
    growing: str, tmp_path: Path
) -> None:
    windows = f"training.growing_windows={growing}"
    untrained = train(tmp_path / "untrained", NO_STEPS, windows)
    longer = resume(untrained.folder, "training.steps=40")
    whole = train(tmp_path / "whole", "training.steps=40", windows)
    assert weights_of(longer.folder / "last.safetensors") == weights_of(
        whole.folder / "last.safetensors"
    )
    assert [*longer.validation()] == [0, *whole.validation()]
    assert open_run(longer.folder).config.training.earlier_lengths == ()


def test_a_resume_may_give_epochs_to_a_run_without_steps(tmp_path: Path) -> None:
    untrained = train(tmp_path / "run", NO_STEPS)
    assert (
        resume(untrained.folder, "training.epochs=2").outcome.progress.step
        == 2 * fake_runs.STEPS_PER_EPOCH
    )


def test_the_weights_of_another_model_can_be_evaluated_without_steps(
    reference: Trained, tmp_path: Path
) -> None:
    init = reference.folder / "last.safetensors"
    trained = train(tmp_path / "run", NO_STEPS, init=init)
    assert trained.outcome.nats_per_char == pytest.approx(reference.validation()[50], rel=1e-5)
    assert weights_of(trained.folder / "best.safetensors") == weights_of(init)


# With the engine that trains


TINY = ("training.steps=0", "sampling.length=20")


@pytest.fixture(scope="module")
def text(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Write a text of 1,000 characters."""
    path = tmp_path_factory.mktemp("text") / "text.txt"
    path.write_text("abba\n" * 200, encoding="utf-8")
    return path


def test_an_untrained_network_scores_what_training_evaluated(text: Path, tmp_path: Path) -> None:
    outcome = charlm.train(text, recipe="tiny", overrides=TINY, run=tmp_path / "run")
    model = charlm.load(outcome.folder)
    validation = ("abba\n" * 200)[900:]
    assert model.score(validation).mean() == pytest.approx(outcome.nats_per_char, abs=1e-5)


@pytest.fixture(scope="module")
def planned(text: Path) -> Plan:
    overrides = [*TINY, "training.ngram_weight=0.5"]
    return plan(text, recipe="tiny", overrides=overrides)


def test_a_plan_without_steps_has_one_evaluation(planned: Plan) -> None:
    found = json.loads(json.dumps(planned.to_json()))
    assert (found["steps"], found["epochs"], found["evaluations"]) == (0, 0, 1)


def test_a_plan_without_steps_counts_no_ngrams(planned: Plan) -> None:
    assert planned.costs.ngram_seconds == 0
