"""What happens between steps: logs, evaluations, and what the user is told of them."""

import json
import math
from pathlib import Path

import numpy as np
import pytest
from corpora import make_corpus, write_plays
from fake_engine import Faults, crash_after
from fake_runs import STEPS_PER_EPOCH, TEXT, Trained, resume, train

from charlm.config.schema import Config, SamplingConfig, TrainingConfig
from charlm.evaluation.baselines import baseline_scores
from charlm.evaluation.ngrams import count_ngrams, score_ngrams
from charlm.evaluation.scoring import estimate_stream, mean_score
from charlm.network.model_file import TrainedModel, read_model
from charlm.runs.folder import BEST, LAST, saved_steps
from charlm.runs.run import Run, open_run
from charlm.sampling.generation import TextRequest, generate_text
from charlm.sampling.sampler import Sampler
from charlm.training.checkpoints import Progress
from charlm.training.evaluating import open_text, sample_text


def test_each_line_has_the_keys_of_the_contract_and_the_position_in_the_run(
    reference: Trained,
) -> None:
    position = {"step", "epoch", "characters", "seconds", "split", "nats_per_char", "bits_per_char"}
    training = position | {"learning_rate", "gradient_norm", "characters_per_second"}
    for line in reference.metrics:
        assert set(line) == (training if line["split"] == "train" else position)
    assert [line["step"] for line in reference.metrics if line["split"] == "train"] == list(
        range(5, 51, 5)
    )
    assert list(reference.validation()) == list(range(10, 51, 10))
    assert (line["step"], line["epoch"], line["characters"]) == (
        50,
        50 / STEPS_PER_EPOCH,
        50 * 4 * 4,
    )
    assert line["bits_per_char"] == pytest.approx(line["nats_per_char"] / math.log(2))
    ended = json.loads((reference.folder / "ended.json").read_text(encoding="utf-8"))
    assert ended == {"step": 50, "suggestion": None}


def test_without_a_validation_text_the_training_loss_decides_the_best_and_the_user_is_told(
    tmp_path: Path,
) -> None:
    trained = train(tmp_path / "run", "corpus.validation_fraction=0")
    assert any("no validation text" in line for line in trained.said)
    assert (trained.outcome.split, trained.outcome.measured_on) == ("train", "the training text")
    evaluated = [line["nats_per_char"] for line in trained.metrics if line["step"] % 10 == 0]
    assert trained.outcome.progress.best_nats == min(evaluated)
    assert read_model(trained.folder / BEST).facts["score"]["split"] == "train"


def test_a_score_on_a_part_of_the_validation_text_says_so(
    reference: Trained, tmp_path: Path
) -> None:
    assert reference.outcome.measured_on == "the validation text"
    part = open_text(make_run(tmp_path, text="ab" * 1_100_000))
    assert part.measured_on == "the first 200,000 characters of the validation text"
    assert part.ids is not None
    assert len(part.ids) == 200_000


def test_a_run_is_saved_once_a_minute_of_training_between_its_marks(tmp_path: Path) -> None:
    slow = Faults(after_call=crash_after(75).after_call, is_slow=True)  # a step takes a second
    with pytest.raises(ZeroDivisionError):
        train(tmp_path / "run", "training.steps=200", "training.evaluations=1", faults=slow)
    assert saved_steps(tmp_path / "run/run/checkpoints") == [60]


def test_the_user_is_told_the_losses_of_every_evaluation(tmp_path: Path) -> None:
    trained = train(tmp_path / "run", clock=lambda: 0.0)
    scores = trained.validation()
    losses = {
        line["step"]: line["nats_per_char"] for line in trained.metrics if line["split"] == "train"
    }
    best = {step for step in scores if scores[step] == min(scores[n] for n in scores if n <= step)}
    assert [line for line in trained.said if line.startswith("step ")] == [
        f"step {step} of 50{', 0s left' * (step < 50)}: train {losses[step]:.3f}, validation {scores[step]:.3f}"
        + ", best" * (step in best)
        for step in scores
    ]


LONG_TEXT = 90 * TEXT
"""A text whose validation part has ten blocks of a standard error."""
FIRST_IS_BEST = Faults(weights=lambda step: 1.0 if step <= 10 else 50.0)
"""Makes the first evaluation of a run, at step 10, its best."""
SAMPLED = "sampling.length=30"


@pytest.fixture(scope="module")
def best_first(tmp_path_factory: pytest.TempPathFactory) -> Trained:
    """Train a run whose best model is that of step 10 of 50."""
    folder = tmp_path_factory.mktemp("best-first") / "run"
    return train(folder, SAMPLED, text=LONG_TEXT, faults=FIRST_IS_BEST)


def test_the_best_model_is_that_of_the_lowest_validation_loss(best_first: Trained) -> None:
    best = read_model(best_first.folder / BEST)
    progress = best_first.outcome.progress
    assert (best.facts["step"], progress.best_step) == (10, 10)
    assert best.facts["score"]["nats_per_char"] == progress.best_nats == best_first.validation()[10]


def test_the_last_model_has_the_weights_of_the_last_step(best_first: Trained) -> None:
    last = read_model(best_first.folder / LAST)
    assert last.facts["step"] == 50
    np.testing.assert_array_equal(last.parameters.logits_bias, 50 * best_first.engine.bias)


def test_the_sample_at_the_end_is_that_of_the_best_model(best_first: Trained) -> None:
    run, sample = open_run(best_first.folder), best_first.outcome.sample
    best, last = (read_model(best_first.folder / name) for name in (BEST, LAST))
    assert len(sample) == 30
    assert sample == sample_text(run, best) != sample_text(run, last)


def test_a_long_validation_text_leaves_no_doubt_which_model_is_the_best(
    best_first: Trained,
) -> None:
    assert not best_first.outcome.is_uncertain


def test_the_outcome_has_the_difference_of_the_last_score_from_the_best(
    best_first: Trained,
) -> None:
    ids = open_run(best_first.folder).corpus.split("validation")
    best, last = (
        estimate_stream(read_model(best_first.folder / name).parameters, ids)
        for name in (BEST, LAST)
    )
    difference = best_first.outcome.difference
    assert difference is not None
    assert difference.nats == pytest.approx(last.nats_per_char - best.nats_per_char)
    assert difference.standard_error == pytest.approx(last.difference_error(best))


# Fewer than 2,400 characters of validation text: the choice of the best model is uncertain


@pytest.fixture(scope="module")
def uncertain(tmp_path_factory: pytest.TempPathFactory) -> Trained:
    """Train a run on a short text, whose best model is that of step 10 of 50."""
    folder = tmp_path_factory.mktemp("uncertain") / "run"
    return train(folder, SAMPLED, faults=FIRST_IS_BEST)


def test_a_short_validation_text_gives_no_standard_error(uncertain: Trained) -> None:
    assert uncertain.outcome.nats_per_char == uncertain.validation()[10]
    assert uncertain.outcome.is_uncertain


def test_a_short_validation_text_gives_no_verdict_on_a_5_gram(uncertain: Trained) -> None:
    comparison = uncertain.outcome.comparison
    assert comparison is not None
    assert comparison.verdict == "not compared"


def test_a_short_validation_text_gives_no_suggestion(uncertain: Trained) -> None:
    assert uncertain.outcome.suggestion is None


def test_an_uncertain_choice_shows_a_sample_of_the_best_model_and_of_the_last(
    uncertain: Trained,
) -> None:
    run, outcome = open_run(uncertain.folder), uncertain.outcome
    best, last = (sample_text(run, read_model(uncertain.folder / name)) for name in (BEST, LAST))
    assert best != last
    assert (outcome.sample, outcome.last_sample) == (best, last)


@pytest.mark.parametrize(
    ("text", "settings", "faults"),
    [
        pytest.param(LONG_TEXT, (), FIRST_IS_BEST, id="long validation text"),
        pytest.param(
            TEXT, ("corpus.validation_fraction=0",), FIRST_IS_BEST, id="no validation text"
        ),
        pytest.param(
            TEXT, (), Faults(weights=lambda step: step / 50), id="the last model is the best"
        ),
        pytest.param(TEXT, ("sampling.length=0",), FIRST_IS_BEST, id="no samples"),
    ],
)
def test_otherwise_the_last_model_has_no_sample(
    text: str, settings: tuple[str, ...], faults: Faults, tmp_path: Path
) -> None:
    trained = train(tmp_path / "run", SAMPLED, *settings, text=text, faults=faults)
    assert trained.outcome.last_sample == ""


# The score of the best model


@pytest.mark.parametrize("steps", [47, 50])  # saved before its evaluation, and after it
def test_a_best_model_that_is_the_last_one_has_its_score(steps: int, tmp_path: Path) -> None:
    falling = Faults(
        weights=lambda step: step / 50
    )  # the weights that are evaluated, so that the last are the best
    trained = train(tmp_path / "run", f"training.steps={steps}", text=LONG_TEXT, faults=falling)
    best, last = (read_model(trained.folder / name) for name in (BEST, LAST))
    assert best.facts["step"] == last.facts["step"] == steps
    ids = open_run(trained.folder).corpus.split("validation")
    score = estimate_stream(best.parameters, ids)
    assert (
        best.facts["score"]["nats_per_char"]
        == trained.validation()[steps]
        == pytest.approx(score.nats_per_char)
    )
    assert best.facts["score"]["block_means"] == pytest.approx(score.block_means, abs=1e-6)
    assert len(score.block_means) == 10


def test_the_best_model_is_compared_with_the_5_gram_counted_on_the_training_text(
    tmp_path: Path,
) -> None:
    trained = train(tmp_path / "run", text=LONG_TEXT)
    corpus, best = open_run(trained.folder).corpus, read_model(trained.folder / BEST)
    ids, size = corpus.split("validation"), len(corpus.vocabulary)
    ngram = mean_score(
        score_ngrams(count_ngrams(corpus.split("train"), vocabulary_size=size, order=5), ids)
    )
    score, comparison = estimate_stream(best.parameters, ids), trained.outcome.comparison
    assert comparison is not None
    assert comparison.ngram_nats_per_char == pytest.approx(ngram.nats_per_char)
    assert comparison.margin_nats == pytest.approx(ngram.nats_per_char - score.nats_per_char)
    assert comparison.standard_error == pytest.approx(ngram.difference_error(score))
    assert comparison.characters == len(ids) - 1
    facts = best.facts["score"]
    assert facts["characters"] == len(ids) - 1
    assert facts["ngram_nats_per_char"] == pytest.approx(ngram.nats_per_char)
    assert facts["ngram_standard_error"] == pytest.approx(comparison.standard_error)


def test_the_comparison_of_a_resumed_run_is_that_of_its_best_model_before(tmp_path: Path) -> None:
    first = train(tmp_path / "run", text=LONG_TEXT, faults=FIRST_IS_BEST).outcome
    later = resume(first.folder, "training.steps=70", faults=FIRST_IS_BEST).outcome
    assert later.progress.best_step == 10
    assert first.comparison is not None
    assert later.comparison is not None
    assert later.comparison.margin_nats == first.comparison.margin_nats
    assert later.comparison.standard_error == pytest.approx(
        first.comparison.standard_error, rel=1e-4
    )


def test_without_a_validation_text_there_is_no_comparison(tmp_path: Path) -> None:
    trained = train(tmp_path / "run", "corpus.validation_fraction=0", text=LONG_TEXT)
    assert trained.outcome.comparison is None
    assert set(read_model(trained.folder / BEST).facts["score"]) == {"split", "nats_per_char"}


def make_run(
    folder: Path, *, text: str = "abcd" * 10, sampling: SamplingConfig | None = None
) -> Run:
    config = Config(
        training=TrainingConfig(epochs=1), sampling=sampling or SamplingConfig(), seed=3
    )
    return Run(folder / "run", config, make_corpus(folder, text))


@pytest.mark.parametrize("before", [pytest.param(2.0, id="lower"), pytest.param(None, id="first")])
def test_a_loss_that_is_lower_is_the_best(before: float | None) -> None:
    progress = Progress(step=9, best_nats=before, best_step=5, evaluations_without_best=1)
    assert progress.compare(1.9)
    assert (progress.best_nats, progress.best_step, progress.evaluations_without_best) == (
        1.9,
        9,
        0,
    )


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
    assert (progress.best_nats, progress.best_step, progress.evaluations_without_best) == (
        before,
        5,
        2,
    )


def test_the_sample_is_that_of_charlm_sample_with_its_prompt(
    trained: TrainedModel, tmp_path: Path
) -> None:
    settings = SamplingConfig(length=30, prompt="ab", top_k=2, temperature=0.8)
    expected = "".join(
        generate_text(
            trained, TextRequest(30, Sampler(temperature=0.8, top_k=2), seed=3, prompt="ab")
        )
    )
    assert sample_text(make_run(tmp_path, sampling=settings), trained) == f"ab{expected}"


def test_the_simple_models_score_what_the_baselines_of_evaluate_do(tmp_path: Path) -> None:
    run = make_run(tmp_path, text=write_plays(tmp_path / "plays.txt").read_text(encoding="utf-8"))
    corpus = run.corpus
    scores = baseline_scores(corpus.split("validation"), corpus.vocabulary, corpus.split("train"))
    expected = {name: scores[name].nats_per_char for name in ("5-gram", "lzma")}
    assert open_text(run).baseline_nats == pytest.approx(expected)
    assert open_text(run).ngram == scores["5-gram"]
    assert open_text(run, baselines=()).baseline_nats == {}
    (tmp_path / "short").mkdir()
    assert open_text(make_run(tmp_path / "short", text="ab")).baseline_nats == {}
