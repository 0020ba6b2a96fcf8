"""The outcome of a run: its numbers, and ended.json."""

import json
import math
import shutil
from pathlib import Path

import pytest
from fake_engine import FIRST_IS_BEST, Faults
from fake_runs import LONG_TEXT, Trained, resume, train

from charlm.core.scoring import Score, estimate_stream
from charlm.errors import CharlmError
from charlm.events import Note
from charlm.measures.baselines import Comparison, baseline_scores
from charlm.measures.estimates import loss_of
from charlm.runs.run import open_run, read_outcome

SAMPLED = "sampling.length=30"
IMPROVING = Faults(weights=lambda step: step / 50)


@pytest.fixture(scope="module")
def best_first(tmp_path_factory: pytest.TempPathFactory) -> Trained:
    """Train a run whose best model is that of step 10 of 50, and that keeps its checkpoints."""
    folder = tmp_path_factory.mktemp("best-first") / "run"
    settings = (SAMPLED, "training.keep_checkpoints=true")
    text = 1000 * "a" + LONG_TEXT[1000:]  # the start of the training text differs from the rest
    return train(folder, *settings, text=text, faults=FIRST_IS_BEST)


@pytest.fixture(scope="module")
def ngram(best_first: Trained) -> Score:
    """Return the score of an 8-gram model that is counted on the training text."""
    corpus = open_run(best_first.folder).corpus
    ids, training = corpus.split("validation"), corpus.split("train")
    return baseline_scores(ids, corpus.vocabulary, training)["8-gram"]


def score_of(trained: Trained, name: str) -> Score:
    """Return the score of a model of a run on its validation text."""
    ids = open_run(trained.folder).corpus.split("validation")
    return estimate_stream(trained.model(name).parameters, ids)


def training_nats(trained: Trained) -> float:
    """Return the loss of the best model on as much of the training text as is validated."""
    corpus = open_run(trained.folder).corpus
    ids = corpus.split("train")[: len(corpus.split("validation"))]
    return estimate_stream(trained.model("best.safetensors").parameters, ids).nats_per_char


def test_the_outcome_as_json_has_the_results_of_the_run(best_first: Trained, ngram: Score) -> None:
    """An epoch of 29,484 characters has 1,842 steps."""
    fields = best_first.outcome.to_json()
    assert fields.pop("elapsed_seconds") > fields["seconds"]
    assert fields == {
        "run": str(best_first.folder),
        "reason": "all steps done",
        "step": 50,
        "recipe": "tiny",
        "initial_model": None,
        "epochs": 50 / 1842,
        "seconds": best_first.metrics[-1]["seconds"],
        "nats_per_char": best_first.validation()[10],
        "standard_error": loss_of(score_of(best_first, "best.safetensors")).error,
        "train_nats_per_char": pytest.approx(training_nats(best_first)),
        "best_step": 10,
        "split": "validation",
        "temperature": best_first.model("best.safetensors").sampling_temperature,
        "baselines": {"8-gram": pytest.approx(ngram.nats_per_char)},
    }


def test_a_run_that_was_killed_at_its_end_has_the_same_outcome(
    best_first: Trained, tmp_path: Path
) -> None:
    folder = Path(shutil.copytree(best_first.folder, tmp_path / "run"))
    (folder / "ended.json").unlink()
    resumed = resume(folder, faults=FIRST_IS_BEST).outcome.to_json()
    expected = {**best_first.outcome.to_json(), "run": str(folder)}
    del resumed["elapsed_seconds"], expected["elapsed_seconds"]
    error = expected.pop("standard_error")
    assert resumed.pop("standard_error") == pytest.approx(error, rel=1e-4)
    assert resumed == expected


def test_the_best_model_of_a_short_validation_text_is_uncertain_unless_it_is_the_last(
    reference: Trained, best_first: Trained, tmp_path: Path
) -> None:
    short = train(tmp_path / "run", SAMPLED, faults=FIRST_IS_BEST).outcome
    assert short.is_uncertain
    assert short.standard_error is None
    assert not best_first.outcome.is_uncertain
    assert not reference.outcome.is_uncertain
    assert not reference.outcome.is_improving


@pytest.mark.parametrize(
    ("faults", "setting", "is_improving"),
    [
        (IMPROVING, "training.evaluations=5", True),
        (Faults(), "training.optimizer.learning_rate=1e-7", False),
        (FIRST_IS_BEST, "training.evaluations=5", False),
        (IMPROVING, "training.evaluations=1", False),
        (IMPROVING, "training.target_loss=9", False),
    ],
    ids=["improving", "by nothing", "overfitted", "one evaluation", "target reached"],
)
def test_a_run_is_improving_if_its_last_evaluation_is_clearly_the_best(
    faults: Faults, setting: str, is_improving: bool, tmp_path: Path
) -> None:
    trained = train(tmp_path / "run", setting, text=LONG_TEXT, faults=faults)
    assert trained.outcome.is_improving == is_improving
    assert (trained.outcome.best_step == trained.outcome.step) == (faults is not FIRST_IS_BEST)


def test_a_model_that_is_clearly_worse_than_counting_is_a_warning(
    best_first: Trained, ngram: Score, reference: Trained
) -> None:
    *_, warning = (note.message for note in best_first.of_type(Note) if note.is_warning)
    comparison = Comparison.of(score_of(best_first, "best.safetensors"), ngram)
    assert warning == f"counting is better: this model is {comparison}"
    assert not any("counting" in note for note in reference.notes)


# ended.json


def test_the_file_keeps_the_outcome_without_the_place_of_the_run(best_first: Trained) -> None:
    fields = json.loads((best_first.folder / "ended.json").read_text(encoding="utf-8"))
    assert fields == {**best_first.outcome.to_json(), "run": "run"}


@pytest.mark.parametrize(
    ("key", "value"),
    [("step", "50"), ("epochs", math.nan), ("train_nats_per_char", [1]), ("baselines", {"a": "1"})],
)
def test_a_wrong_value_in_the_file_is_refused(
    key: str, value: object, best_first: Trained, tmp_path: Path
) -> None:
    fields = {**best_first.outcome.to_json(), key: value}
    (tmp_path / "ended.json").write_text(json.dumps(fields), encoding="utf-8")
    with pytest.raises(CharlmError, match=rf"ended.json: not valid .*: {key}.*: found .*; must be"):
        read_outcome(tmp_path)
