"""What happens between steps: the lines in metrics.jsonl, the evaluations, and what the user is told of them."""

import json
import math
import shutil
from pathlib import Path

import pytest
from corpora import make_corpus, write_plays
from fake_engine import Faults, crash_after, interrupt_after
from fake_runs import STEPS_PER_EPOCH, TEXT, Trained, resume, train

from charlm.config.schema import Config, SamplingConfig, TrainingConfig
from charlm.evaluation.baselines import baseline_nats
from charlm.evaluation.scoring import estimate_stream
from charlm.network.model_file import TrainedModel, read_model
from charlm.runs.folder import saved_steps
from charlm.runs.run import Run, open_run
from charlm.sampling.generation import TextRequest, generate_text
from charlm.sampling.sampler import Sampler
from charlm.training.checkpoints import Progress
from charlm.training.evaluating import open_text, sample_text


def test_each_line_has_the_keys_of_the_contract_and_the_position_in_the_run(reference: Trained) -> None:
    position = {"step", "epoch", "characters", "seconds", "split", "nats_per_char", "bits_per_char"}
    training = position | {"learning_rate", "gradient_norm", "characters_per_second"}
    for line in reference.metrics:
        assert set(line) == (training if line["split"] == "train" else position)
    assert [line["step"] for line in reference.metrics if line["split"] == "train"] == list(range(5, 51, 5))
    assert list(reference.validation()) == list(range(10, 51, 10))
    assert (line["step"], line["epoch"], line["characters"]) == (50, 50 / STEPS_PER_EPOCH, 50 * 4 * 4)
    assert line["bits_per_char"] == pytest.approx(line["nats_per_char"] / math.log(2))


def test_without_a_validation_text_the_training_loss_decides_the_best_and_the_user_is_told(tmp_path: Path) -> None:
    trained = train(tmp_path / "run", "corpus.validation_fraction=0")
    assert any("no validation text" in line for line in trained.said)
    assert (trained.outcome.split, trained.outcome.measured_on) == ("train", "the train text")
    assert trained.outcome.progress.best_nats == min(
        line["nats_per_char"] for line in trained.metrics if line["step"] % 10 == 0
    )
    assert read_model(trained.folder / "best.safetensors").facts["score"]["split"] == "train"


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
    scores = [line["nats_per_char"] for line in trained.metrics if line["split"] == "validation"]
    losses = [line["nats_per_char"] for line in trained.metrics if line["split"] == "train" and not line["step"] % 10]
    best = [score == min(scores[: index + 1]) for index, score in enumerate(scores)]
    assert [line for line in trained.said if line.startswith("step ")] == [
        f"step {step} of 50{', 0s left' if step < 50 else ''}: train {loss:.3f}, validation {score:.3f}"
        + (", best" if is_best else "")
        for step, loss, score, is_best in zip((10, 20, 30, 40, 50), losses, scores, best, strict=True)
    ]


def test_the_outcome_is_that_of_the_best_network_and_the_user_is_told_if_it_was_long_before_the_end(
    tmp_path: Path,
) -> None:
    overconfident = Faults(weights=lambda step: 1.0 if step <= 10 else 50.0)
    trained = train(tmp_path / "run", "sampling.length=30", text=LONG_TEXT, faults=overconfident)
    written, run, raw = trained.outcome.sample, open_run(trained.folder), trained.validation()
    assert len(written) == 30
    assert set(written) <= set("abcde ")
    assert written == sample_text(run, read_model(trained.folder / "best.safetensors"))
    assert written != sample_text(run, read_model(trained.folder / "last.safetensors"))
    assert "best at step 10 of 50; no better in 4 later evaluations," in trained.said
    assert any(line.startswith(f"the last one worse by {raw[50] - raw[10]:.4f} ± ") for line in trained.said)


LONG_TEXT = 90 * TEXT
"""Its validation text has ten blocks of a standard error."""


@pytest.mark.parametrize("steps", [47, 50], ids=["saved before its evaluation", "saved after it"])
def test_a_best_model_that_is_the_last_one_has_its_score(steps: int, tmp_path: Path) -> None:
    falling = Faults(weights=lambda step: step / 50)  # the weights that are evaluated, so that the last are the best
    trained = train(tmp_path / "run", f"training.steps={steps}", text=LONG_TEXT, faults=falling)
    best, last = (read_model(trained.folder / name) for name in ("best.safetensors", "last.safetensors"))
    assert best.facts["step"] == last.facts["step"] == steps
    ids = open_run(trained.folder).corpus.split("validation")
    score = estimate_stream(best.parameters, ids)
    assert best.facts["score"]["nats_per_char"] == trained.validation()[steps] == pytest.approx(score.nats_per_char)
    assert best.facts["score"]["block_means"] == pytest.approx(score.block_means, abs=1e-6)
    assert len(score.block_means) == 10


def test_a_run_is_marked_as_ended_at_its_end_and_a_resumed_one_no_longer(reference: Trained, tmp_path: Path) -> None:
    assert json.loads((reference.folder / "ended.json").read_text(encoding="utf-8")) == {"step": 50}
    folder = shutil.copytree(reference.folder, tmp_path / "run")
    stopped = resume(folder, "training.steps=60", faults=interrupt_after(52))
    assert stopped.outcome.signal is not None
    assert not (folder / "ended.json").exists()


def make_run(folder: Path, *, text: str = "abcd" * 10, sampling: SamplingConfig | None = None) -> Run:
    config = Config(training=TrainingConfig(epochs=1), sampling=sampling or SamplingConfig(), seed=3)
    return Run(folder / "run", config, make_corpus(folder, text))


@pytest.mark.parametrize(
    ("before", "nats", "is_best"),
    [
        *((2.0, 1.9, True), (2.0, 2.0, False), (2.0, 2.1, False), (2.0, math.nan, False)),
        *((None, 3.0, True), (None, math.inf, False), (None, math.nan, False)),
    ],
)
def test_only_a_finite_loss_that_is_lower_is_the_best(before: float | None, nats: float, is_best: bool) -> None:
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
    expected = baseline_nats(corpus.split("validation"), corpus.vocabulary, corpus.split("train"))
    assert open_text(run).baseline_nats == pytest.approx({name: expected[name] for name in ("5-gram", "lzma")})
    assert open_text(run, has_baselines=False).baseline_nats == {}
    (tmp_path / "short").mkdir()
    assert open_text(make_run(tmp_path / "short", text="ab")).baseline_nats == {}
