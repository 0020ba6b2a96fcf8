"""What happens between steps: logs, evaluations, what the user is told of them, and the temperature that is chosen."""

import json
import math
import random
import string
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from corpora import make_corpus, write_plays
from fake_engine import Faults, crash_after
from fake_runs import STEPS_PER_EPOCH, TEXT, Trained, resume, train
from run_folders import contents

from charlm.config.schema import Config, SamplingConfig, TrainingConfig
from charlm.evaluation.baselines import baseline_scores, count_ngrams, score_ngrams
from charlm.evaluation.scoring import estimate_stream, mean_score
from charlm.network.model_file import TrainedModel, read_model
from charlm.runs.folder import BEST, LAST, saved_steps
from charlm.runs.run import Run, open_run
from charlm.sampling.generation import TextRequest, generate_text
from charlm.sampling.sampler import Sampler
from charlm.training import temperature
from charlm.training.checkpoints import Progress
from charlm.training.evaluating import open_text, sample_text
from charlm.training.temperature import choose_temperature


def test_each_line_has_the_keys_of_the_contract_and_the_position_in_the_run(reference: Trained) -> None:
    position = {"step", "epoch", "characters", "seconds", "split", "nats_per_char", "bits_per_char"}
    training = position | {"learning_rate", "gradient_norm", "characters_per_second"}
    for line in reference.metrics:
        assert set(line) == (training if line["split"] == "train" else position)
    assert [line["step"] for line in reference.metrics if line["split"] == "train"] == list(range(5, 51, 5))
    assert list(reference.validation()) == list(range(10, 51, 10))
    assert (line["step"], line["epoch"], line["characters"]) == (50, 50 / STEPS_PER_EPOCH, 50 * 4 * 4)
    assert line["bits_per_char"] == pytest.approx(line["nats_per_char"] / math.log(2))
    assert json.loads((reference.folder / "ended.json").read_text(encoding="utf-8")) == {"step": 50}


def test_without_a_validation_text_the_training_loss_decides_the_best_and_the_user_is_told(tmp_path: Path) -> None:
    trained = train(tmp_path / "run", "corpus.validation_fraction=0")
    assert any("no validation text" in line for line in trained.said)
    assert (trained.outcome.split, trained.outcome.measured_on) == ("train", "the train text")
    marks = [line["nats_per_char"] for line in trained.metrics if line["step"] % 10 == 0]
    assert trained.outcome.progress.best_nats == min(marks)
    assert read_model(trained.folder / BEST).facts["score"]["split"] == "train"


def test_a_score_on_a_part_of_the_validation_text_says_so(reference: Trained, tmp_path: Path) -> None:
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
    losses = {line["step"]: line["nats_per_char"] for line in trained.metrics if line["split"] == "train"}
    best = {step for step in scores if scores[step] == min(scores[n] for n in scores if n <= step)}
    assert [line for line in trained.said if line.startswith("step ")] == [
        f"step {step} of 50{', 0s left' * (step < 50)}: train {losses[step]:.3f}, validation {scores[step]:.3f}"
        + ", best" * (step in best)
        for step in scores
    ]


def test_the_outcome_is_that_of_the_best_network_and_the_user_is_told_if_it_came_early(tmp_path: Path) -> None:
    overconfident = Faults(weights=lambda step: 1.0 if step <= 10 else 50.0)
    trained = train(tmp_path / "run", "sampling.length=30", text=LONG_TEXT, faults=overconfident)
    written, run, raw = trained.outcome.sample, open_run(trained.folder), trained.validation()
    best, last = (read_model(trained.folder / name) for name in (BEST, LAST))
    assert (best.facts["step"], trained.outcome.progress.best_step, last.facts["step"]) == (10, 10, 50)
    assert trained.outcome.progress.best_nats == best.facts["score"]["nats_per_char"] == raw[10]
    np.testing.assert_array_equal(last.parameters.logits_bias, 50 * trained.engine.bias)
    assert len(written) == 30
    assert set(written) <= set("abcde ")
    assert written == sample_text(run, best) != sample_text(run, last)
    advice = f"best at step 10 of 50; the last evaluation is {raw[50] - raw[10]:.4f} ± "
    assert any(line.startswith(advice) for line in trained.said)


LONG_TEXT = 90 * TEXT
"""Its validation text has ten blocks of a standard error."""


@pytest.mark.parametrize("steps", [47, 50])  # saved before its evaluation, and after it
def test_a_best_model_that_is_the_last_one_has_its_score(steps: int, tmp_path: Path) -> None:
    falling = Faults(weights=lambda step: step / 50)  # the weights that are evaluated, so that the last are the best
    trained = train(tmp_path / "run", f"training.steps={steps}", text=LONG_TEXT, faults=falling)
    best, last = (read_model(trained.folder / name) for name in (BEST, LAST))
    assert best.facts["step"] == last.facts["step"] == steps
    ids = open_run(trained.folder).corpus.split("validation")
    score = estimate_stream(best.parameters, ids)
    assert best.facts["score"]["nats_per_char"] == trained.validation()[steps] == pytest.approx(score.nats_per_char)
    assert best.facts["score"]["block_means"] == pytest.approx(score.block_means, abs=1e-6)
    assert len(score.block_means) == 10


def test_the_best_model_is_compared_with_the_5_gram_counted_on_the_training_text(tmp_path: Path) -> None:
    trained = train(tmp_path / "run", text=LONG_TEXT)
    corpus, best = open_run(trained.folder).corpus, read_model(trained.folder / BEST)
    ids, size = corpus.split("validation"), len(corpus.vocabulary)
    ngram = mean_score(score_ngrams(count_ngrams(corpus.split("train"), vocabulary_size=size, order=5), ids))
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
    overconfident = Faults(weights=lambda step: 1.0 if step <= 10 else 50.0)  # so that step 10 stays the best
    first = train(tmp_path / "run", text=LONG_TEXT, faults=overconfident).outcome
    later = resume(first.folder, "training.steps=70", faults=overconfident).outcome
    assert later.progress.best_step == 10
    assert first.comparison is not None
    assert later.comparison is not None
    assert later.comparison.margin_nats == first.comparison.margin_nats
    assert later.comparison.standard_error == pytest.approx(first.comparison.standard_error, rel=1e-4)


def test_without_a_validation_text_there_is_no_comparison(tmp_path: Path) -> None:
    trained = train(tmp_path / "run", "corpus.validation_fraction=0", text=LONG_TEXT)
    assert trained.outcome.comparison is None
    assert set(read_model(trained.folder / BEST).facts["score"]) == {"split", "nats_per_char"}


def make_run(folder: Path, *, text: str = "abcd" * 10, sampling: SamplingConfig | None = None) -> Run:
    config = Config(training=TrainingConfig(epochs=1), sampling=sampling or SamplingConfig(), seed=3)
    return Run(folder / "run", config, make_corpus(folder, text))


def test_only_a_finite_loss_that_is_lower_is_the_best() -> None:
    for before, nats, is_best in (
        *((2.0, 1.9, True), (2.0, 2.0, False), (2.0, 2.1, False), (2.0, math.nan, False)),
        *((None, 3.0, True), (None, math.inf, False), (None, math.nan, False)),
    ):
        progress = Progress(step=9, best_nats=before, best_step=5, evaluations_without_best=1)
        assert progress.compare(nats) == is_best
        assert (progress.best_nats, progress.best_step) == ((nats, 9) if is_best else (before, 5))
        assert progress.evaluations_without_best == (0 if is_best else 2)


def test_the_sample_is_that_of_charlm_sample_with_its_prompt(trained: TrainedModel, tmp_path: Path) -> None:
    settings = SamplingConfig(length=30, prompt="ab", top_k=2, temperature=0.8)
    expected = "".join(generate_text(trained, TextRequest(30, Sampler(temperature=0.8, top_k=2), seed=3, prompt="ab")))
    assert sample_text(make_run(tmp_path, sampling=settings), trained) == f"ab{expected}"


def test_the_simple_models_score_what_the_baselines_of_evaluate_do(tmp_path: Path) -> None:
    run = make_run(tmp_path, text=write_plays(tmp_path / "plays.txt").read_text(encoding="utf-8"))
    corpus = run.corpus
    scores = baseline_scores(corpus.split("validation"), corpus.vocabulary, corpus.split("train"))
    expected = {name: scores[name].nats_per_char for name in ("5-gram", "lzma")}
    assert open_text(run).baseline_nats == pytest.approx(expected)
    assert open_text(run).ngram == scores["5-gram"]
    assert open_text(run, has_baselines=False).baseline_nats == {}
    (tmp_path / "short").mkdir()
    assert open_text(make_run(tmp_path / "short", text="ab")).baseline_nats == {}


# The temperature is the lowest at which no text of the network repeats itself more than its own text


LENGTH = "sampling.length=8"
LETTERS = "".join(random.Random(1).choices(string.ascii_letters, k=12_000))


@pytest.fixture
def run(tmp_path: Path) -> Trained:
    """Train a run on letters without order, whose user gives the temperature."""
    return train(tmp_path / "run", LENGTH, "sampling.temperature=0.3", text=LETTERS)


def writes(good: Callable[[float, int], bool], others: str) -> Callable[[TrainedModel, TextRequest], Iterator[str]]:
    """Return what writes all letters at a temperature and with a seed that are good, else some others."""

    def generate(_: TrainedModel, wanted: TextRequest) -> Iterator[str]:
        is_good = good(wanted.sampler.temperature, wanted.seed)
        yield from random.Random(wanted.seed).choices(string.ascii_letters if is_good else others, k=wanted.length)

    return generate


def test_the_lowest_good_temperature_is_chosen(run: Trained, monkeypatch: pytest.MonkeyPatch) -> None:
    for good, others, chosen in (
        (lambda *_: True, "a", 0.5),
        (lambda heat, _: heat > 0.75, "a", 0.8),
        (lambda heat, seed: heat > 0.65 or seed != 3, "a", 0.7),  # one text of four is bad below
        (lambda *_: False, "a", 1.0),
        (lambda *_: False, string.ascii_letters[:30], 1.0),  # 86% of the bits of the text
        (lambda *_: False, string.ascii_letters[:44], 0.5),  # 96%, which is good at any,
    ):
        monkeypatch.setattr(temperature, "generate_text", writes(good, others))
        found = choose_temperature(open_run(run.folder), read_model(run.folder / BEST))
        assert found.temperature == chosen
        assert 0.7 < found.ratio_of_text < 0.8  # six bits of eight
        assert (found.ratio < 0.9 * found.ratio_of_text) == (chosen == 1)
        assert (found.lower is None) == (chosen == 0.5)
        if found.lower is not None:
            assert found.lower[0] == pytest.approx(chosen - 0.1)
            assert found.lower[1] < 0.9 * found.ratio_of_text
            assert f"at {chosen - 0.1:g} it repeats itself: {found.lower[1]:.0%}" in str(found)


def test_the_models_of_a_run_keep_what_was_chosen_unless_the_user_has_said(run: Trained, tmp_path: Path) -> None:
    assert {read_model(run.folder / name).sampling_temperature for name in (BEST, LAST)} == {0.3}
    assert not [line for line in run.said if line.startswith("it writes at temperature")]
    chosen = train(tmp_path / "chosen", LENGTH, text=LETTERS)
    (line,) = [line for line in chosen.said if line.startswith("it writes at temperature")]
    best, last = (read_model(chosen.folder / name) for name in (BEST, LAST))
    assert best.facts["temperature"] == last.facts["temperature"] == best.sampling_temperature
    assert f" temperature {best.sampling_temperature:g}: " in line
    again = train(tmp_path / "again", LENGTH, text=LETTERS)
    assert contents(again.folder)[BEST] == contents(chosen.folder)[BEST]
