"""Logs, evaluations and samples of a run, and the outcome that they give."""

import json
import math
from pathlib import Path

import numpy as np
import pytest
from corpora import make_corpus, write_plays
from fake_engine import FIRST_IS_BEST, Faults, crash_after
from fake_runs import LONG_TEXT, STEPS_PER_EPOCH, TEXT, Clock, Trained, resume, timed_steps, train

from charlm.config.schema import Config, SamplingConfig, TrainingConfig
from charlm.evaluation.baselines import baseline_scores
from charlm.evaluation.ngrams import count_ngrams, score_ngrams
from charlm.evaluation.scoring import Score, estimate_stream, mean_score
from charlm.events import BaselinesScored, Evaluated, NoValidationText, StepsTaken
from charlm.network.model_file import TrainedModel
from charlm.runs.folder import saved_steps
from charlm.runs.run import Run, open_run
from charlm.sampling.generation import TextRequest, generate_text
from charlm.sampling.sampler import Sampler
from charlm.training.checkpoints import Progress
from charlm.training.evaluating import open_text, sample_text

POSITION = {"step", "epoch", "characters", "seconds", "split", "nats_per_char", "bits_per_char"}
TRAINING = POSITION | {"learning_rate", "gradient_norm", "characters_per_second"}
NO_VALIDATION_TEXT = "corpus.validation_fraction=0"


# Logs


@pytest.mark.parametrize(
    ("split", "keys", "interval"),
    [("train", TRAINING, 5), ("validation", POSITION, 10)],
)
def test_the_lines_of_a_split_have_its_keys(
    split: str,
    keys: set[str],
    interval: int,
    reference: Trained,
) -> None:
    lines = [line for line in reference.metrics if line["split"] == split]
    assert [line["step"] for line in lines] == [*range(interval, 51, interval)]
    for line in lines:
        assert line.keys() == keys


def test_a_line_has_the_position_in_the_run(reference: Trained) -> None:
    line = reference.metrics[-1]
    assert (line["step"], line["characters"]) == (50, 50 * 4 * 4)
    assert line["epoch"] == 50 / STEPS_PER_EPOCH
    assert line["bits_per_char"] == pytest.approx(line["nats_per_char"] / math.log(2))


@pytest.fixture(scope="module")
def timed(tmp_path_factory: pytest.TempPathFactory) -> Trained:
    """Train a run whose steps take a second and read 16 characters."""
    clock = Clock()
    schedule = "training.schedule={name: constant, warmup_steps: 5}"
    folder = tmp_path_factory.mktemp("timed") / "run"
    return train(folder, schedule, faults=timed_steps(clock), clock=clock)


def values_of(trained: Trained, key: str) -> list[float]:
    """Return the values of a key in all lines of the training text."""
    return [line[key] for line in trained.metrics if line["split"] == "train"]


def test_the_lines_of_the_training_text_have_the_time_of_training(timed: Trained) -> None:
    assert values_of(timed, "seconds") == [*range(5, 51, 5)]


def test_the_lines_of_the_training_text_have_the_speed(timed: Trained) -> None:
    assert values_of(timed, "characters_per_second") == 10 * [16.0]


def test_the_lines_of_the_training_text_have_the_learning_rate(timed: Trained) -> None:
    """It rises for five steps."""
    assert values_of(timed, "learning_rate") == pytest.approx([0.002 * 5 / 6, *9 * [0.002]])


def test_the_user_is_told_the_speed_with_the_time_left_after_each_step(timed: Trained) -> None:
    steps = [
        (event.step, event.total, event.characters_per_second, round(event.left_seconds, 6))
        for event in timed.of_type(StepsTaken)
    ]
    assert steps == [(step, 50, 16.0, 50 - step) for step in range(1, 51)]


def test_the_user_is_told_the_time_left_at_each_evaluation(timed: Trained) -> None:
    left = {event.step: event.left_seconds for event in timed.of_type(Evaluated)}
    assert left == pytest.approx({10: 40, 20: 30, 30: 20, 40: 10, 50: 0})


def test_ended_json_has_the_last_step(reference: Trained) -> None:
    ended = json.loads((reference.folder / "ended.json").read_text(encoding="utf-8"))
    assert ended == {"step": 50, "suggestion": None}


def test_a_run_is_saved_once_a_minute_between_evaluations(tmp_path: Path) -> None:
    faults = crash_after(75)
    faults.is_slow = True  # a step takes a second
    with pytest.raises(ZeroDivisionError):
        train(tmp_path / "run", "training.steps=200", "training.evaluations=1", faults=faults)
    assert saved_steps(tmp_path / "run/run/checkpoints") == [60]


def test_the_user_is_told_the_losses_of_every_evaluation(tmp_path: Path) -> None:
    trained = train(tmp_path / "run", clock=lambda: 0.0)
    lines = [line for line in trained.metrics if line["split"] == "train"]
    training = {line["step"]: line["nats_per_char"] for line in lines}
    best = math.inf
    expected: list[str] = []
    for step, validation in trained.validation().items():
        left = "" if step == 50 else ", 0s left"
        mark = ", best" if validation < best else ""
        best = min(best, validation)
        expected.append(
            f"step {step} of 50{left}: train {training[step]:.3f}, "
            f"validation {validation:.3f}{mark}"
        )
    assert [line for line in trained.said if line.startswith("step ")] == expected


# The text of evaluations


def make_run(
    folder: Path,
    *,
    text: str = "abcd" * 10,
    sampling: SamplingConfig | None = None,
) -> Run:
    """Make a run that has not been trained."""
    training = TrainingConfig(epochs=1)
    config = Config(training=training, sampling=sampling or SamplingConfig(), seed=3)
    return Run(folder / "run", config, make_corpus(folder, text))


@pytest.fixture(scope="module")
def without_validation(tmp_path_factory: pytest.TempPathFactory) -> Trained:
    """Train a run without validation text."""
    folder = tmp_path_factory.mktemp("without-validation") / "run"
    return train(folder, NO_VALIDATION_TEXT, text=LONG_TEXT)


def test_the_user_is_told_that_there_is_no_validation_text(without_validation: Trained) -> None:
    assert without_validation.of_type(NoValidationText) == [NoValidationText()]


def test_without_validation_text_the_training_loss_decides_the_best_model(
    without_validation: Trained,
) -> None:
    evaluated = [line for line in without_validation.metrics if line["step"] % 10 == 0]
    lowest = min(line["nats_per_char"] for line in evaluated)
    assert without_validation.outcome.progress.best_nats == lowest
    score = without_validation.model("best.safetensors").facts["score"]
    assert score == {"split": "train", "nats_per_char": lowest}


def test_without_validation_text_the_outcome_names_the_training_text(
    without_validation: Trained,
) -> None:
    outcome = without_validation.outcome
    assert (outcome.split, outcome.measured_on) == ("train", "the training text")
    assert outcome.comparison is None


def test_a_score_is_measured_on_the_validation_text(reference: Trained) -> None:
    assert reference.outcome.measured_on == "the validation text"


def test_a_score_on_a_part_of_the_validation_text_names_the_part(tmp_path: Path) -> None:
    part = open_text(make_run(tmp_path, text="ab" * 1_100_000))
    assert part.measured_on == "the first 200,000 characters of the validation text"
    assert part.ids is not None
    assert len(part.ids) == 200_000


def test_the_simple_models_have_the_scores_of_evaluate(tmp_path: Path) -> None:
    plays = write_plays(tmp_path / "plays.txt").read_text(encoding="utf-8")
    run = make_run(tmp_path, text=plays)
    corpus = run.corpus
    validation, training = corpus.split("validation"), corpus.split("train")
    scores = baseline_scores(validation, corpus.vocabulary, training)
    expected = {name: scores[name] for name in ("5-gram", "lzma")}
    assert open_text(run).baselines == expected


def test_no_simple_model_is_scored_without_need(tmp_path: Path) -> None:
    assert open_text(make_run(tmp_path), baselines=()).baselines == {}


def test_no_simple_model_is_scored_without_validation_text(tmp_path: Path) -> None:
    assert open_text(make_run(tmp_path, text="ab")).baselines == {}


# The best model


@pytest.mark.parametrize("before", [pytest.param(2.0, id="lower"), pytest.param(None, id="first")])
def test_a_lower_loss_is_the_best(before: float | None) -> None:
    progress = Progress(step=9, best_nats=before, best_step=5, evaluations_without_best=1)
    assert progress.compare(1.9)
    assert progress == Progress(step=9, best_nats=1.9, best_step=9, evaluations=1)


@pytest.mark.parametrize(
    ("before", "nats"),
    [
        pytest.param(2.0, 2.0, id="equal"),
        pytest.param(2.0, 2.1, id="higher"),
        pytest.param(2.0, math.nan, id="not a number"),
        pytest.param(None, math.inf, id="first, infinite"),
        pytest.param(None, math.nan, id="first, not a number"),
    ],
)
def test_any_other_loss_leaves_the_best(before: float | None, nats: float) -> None:
    progress = Progress(step=9, best_nats=before, best_step=5, evaluations_without_best=1)
    assert not progress.compare(nats)
    assert (progress.best_nats, progress.best_step) == (before, 5)
    assert progress.evaluations_without_best == 2


SAMPLED = "sampling.length=30"


@pytest.fixture(scope="module")
def best_first(tmp_path_factory: pytest.TempPathFactory) -> Trained:
    """Train a run whose best model is that of step 10 of 50."""
    folder = tmp_path_factory.mktemp("best-first") / "run"
    return train(folder, SAMPLED, text=LONG_TEXT, faults=FIRST_IS_BEST)


def score_of(trained: Trained, name: str) -> Score:
    """Return the score of a model of a run on its validation text."""
    ids = open_run(trained.folder).corpus.split("validation")
    return estimate_stream(trained.model(name).parameters, ids)


def sample_of(trained: Trained, name: str) -> str:
    """Return a sample of a model of a run."""
    return sample_text(open_run(trained.folder), trained.model(name))


def test_the_best_model_is_that_of_the_lowest_validation_loss(best_first: Trained) -> None:
    facts = best_first.model("best.safetensors").facts
    progress = best_first.outcome.progress
    assert facts["step"] == progress.best_step == 10
    assert facts["score"]["nats_per_char"] == progress.best_nats == best_first.validation()[10]


def test_the_last_model_has_the_weights_of_the_last_step(best_first: Trained) -> None:
    last = best_first.model("last.safetensors")
    assert last.facts["step"] == 50
    np.testing.assert_array_equal(last.parameters.logits_bias, 50 * best_first.engine.bias)


def test_the_sample_at_the_end_is_that_of_the_best_model(best_first: Trained) -> None:
    sample = best_first.outcome.sample
    assert len(sample) == 30
    assert (
        sample
        == sample_of(best_first, "best.safetensors")
        != sample_of(best_first, "last.safetensors")
    )


def test_the_outcome_has_the_difference_of_the_last_score_from_the_best(
    best_first: Trained,
) -> None:
    best = score_of(best_first, "best.safetensors")
    last = score_of(best_first, "last.safetensors")
    difference = best_first.outcome.difference
    assert difference is not None
    assert difference.nats == pytest.approx(last.nats_per_char - best.nats_per_char)
    assert difference.standard_error == pytest.approx(last.difference_error(best))


@pytest.mark.parametrize("steps", [47, 50], ids=["saved before its evaluation", "saved after it"])
def test_a_best_model_that_is_the_last_one_has_its_score(steps: int, tmp_path: Path) -> None:
    improving = Faults(weights=lambda step: step / 50)
    trained = train(tmp_path / "run", f"training.steps={steps}", text=LONG_TEXT, faults=improving)
    facts = trained.model("best.safetensors").facts
    assert facts["step"] == trained.model("last.safetensors").facts["step"] == steps
    score = score_of(trained, "best.safetensors")
    assert facts["score"]["nats_per_char"] == trained.validation()[steps]
    assert facts["score"]["nats_per_char"] == pytest.approx(score.nats_per_char)
    assert facts["score"]["block_means"] == pytest.approx(score.block_means, abs=1e-6)
    assert len(score.block_means) == 10


# The comparison with a 5-gram model


@pytest.fixture(scope="module")
def ngram(best_first: Trained) -> Score:
    """Return the score of a 5-gram model that is counted on the training text."""
    corpus = open_run(best_first.folder).corpus
    counts = count_ngrams(corpus.split("train"), vocabulary_size=len(corpus.vocabulary), order=5)
    return mean_score(score_ngrams(counts, corpus.split("validation")))


def test_the_best_model_is_compared_with_a_5_gram_model(best_first: Trained, ngram: Score) -> None:
    score = score_of(best_first, "best.safetensors")
    comparison = best_first.outcome.comparison
    assert comparison is not None
    assert comparison.ngram_nats_per_char == pytest.approx(ngram.nats_per_char)
    assert comparison.margin_nats == pytest.approx(ngram.nats_per_char - score.nats_per_char)
    assert comparison.standard_error == pytest.approx(ngram.difference_error(score), rel=1e-4)
    assert comparison.characters == score.characters


def test_the_best_model_has_the_score_of_a_5_gram_model(best_first: Trained, ngram: Score) -> None:
    score = score_of(best_first, "best.safetensors")
    facts = best_first.model("best.safetensors").facts["score"]
    assert facts["characters"] == score.characters
    assert facts["ngram_nats_per_char"] == pytest.approx(ngram.nats_per_char)
    expected = ngram.difference_error(score)
    assert facts["ngram_standard_error"] == pytest.approx(expected, rel=1e-4)


def test_the_outcome_as_json_has_the_results_of_the_run(best_first: Trained, ngram: Score) -> None:
    """An epoch of 29,484 characters has 1,842 steps."""
    outcome = best_first.outcome
    fields = outcome.to_json()
    baselines = fields.pop("baselines")
    assert fields == {
        "run": str(best_first.folder),
        "reason": "all steps done",
        "step": 50,
        "epochs": 50 / 1842,
        "seconds": best_first.metrics[-1]["seconds"],
        "nats_per_char": best_first.validation()[10],
        "standard_error": score_of(best_first, "best.safetensors").standard_error,
        "split": "validation",
        "suggestion": {"kind": "short text", "epochs": None, "settings": None},
    }
    assert baselines["5-gram"] == pytest.approx(ngram.nats_per_char)
    assert best_first.of_type(BaselinesScored) == [BaselinesScored(baselines)]


def test_a_resumed_run_compares_its_best_model_of_before(tmp_path: Path) -> None:
    first = train(tmp_path / "run", text=LONG_TEXT, faults=FIRST_IS_BEST).outcome
    later = resume(first.folder, "training.steps=70", faults=FIRST_IS_BEST).outcome
    assert later.progress.best_step == 10
    assert first.comparison is not None
    assert later.comparison is not None
    assert later.comparison.margin_nats == first.comparison.margin_nats
    expected = pytest.approx(first.comparison.standard_error, rel=1e-4)
    assert later.comparison.standard_error == expected


# A validation text that is too short for a standard error


@pytest.fixture(scope="module")
def uncertain(tmp_path_factory: pytest.TempPathFactory) -> Trained:
    """Train a run on a short text, whose best model is that of step 10 of 50."""
    folder = tmp_path_factory.mktemp("uncertain") / "run"
    return train(folder, SAMPLED, faults=FIRST_IS_BEST)


def test_only_a_short_validation_text_makes_the_best_model_uncertain(
    uncertain: Trained,
    best_first: Trained,
) -> None:
    assert uncertain.outcome.nats_per_char == uncertain.validation()[10]
    assert uncertain.outcome.is_uncertain
    assert not best_first.outcome.is_uncertain


def test_a_short_validation_text_gives_no_verdict_on_a_5_gram_model(uncertain: Trained) -> None:
    comparison = uncertain.outcome.comparison
    assert comparison is not None
    assert comparison.verdict == "not compared"


def test_scores_of_simple_models_on_a_short_validation_text_are_not_shown(
    uncertain: Trained,
) -> None:
    assert uncertain.of_type(BaselinesScored) == []
    assert uncertain.outcome.standard_error is None


def test_a_short_validation_text_gives_no_suggestion(uncertain: Trained) -> None:
    assert uncertain.outcome.suggestion is None


def test_an_uncertain_outcome_has_a_sample_of_the_last_model_as_well(
    uncertain: Trained,
) -> None:
    best, last = (sample_of(uncertain, name) for name in ("best.safetensors", "last.safetensors"))
    assert best != last
    assert (uncertain.outcome.sample, uncertain.outcome.last_sample) == (best, last)


@pytest.mark.parametrize(
    ("text", "setting", "faults"),
    [
        pytest.param(LONG_TEXT, SAMPLED, FIRST_IS_BEST, id="long validation text"),
        pytest.param(TEXT, NO_VALIDATION_TEXT, FIRST_IS_BEST, id="no validation text"),
        pytest.param(
            TEXT,
            SAMPLED,
            Faults(weights=lambda step: step / 50),
            id="the last model is the best",
        ),
        pytest.param(TEXT, "sampling.length=0", FIRST_IS_BEST, id="no samples"),
    ],
)
def test_otherwise_the_last_model_has_no_sample(
    text: str,
    setting: str,
    faults: Faults,
    tmp_path: Path,
) -> None:
    trained = train(tmp_path / "run", SAMPLED, setting, text=text, faults=faults)
    assert trained.outcome.last_sample == ""


def test_a_sample_is_the_text_that_charlm_sample_generates(
    trained: TrainedModel,
    tmp_path: Path,
) -> None:
    settings = SamplingConfig(length=30, prompt="ab", top_k=2, temperature=0.8)
    request = TextRequest(30, Sampler(temperature=0.8, top_k=2), seed=3, prompt="ab")
    generated = "".join(generate_text(trained, request))
    assert sample_text(make_run(tmp_path, sampling=settings), trained) == f"ab{generated}"
