"""`charlm train`: what it reports."""

from dataclasses import replace
from pathlib import Path
from signal import Signals
from types import SimpleNamespace
from typing import Any
from unittest.mock import Mock

import numpy as np
import pytest
from commands import charlm, json_of
from corpora import make_corpus, write_texts

from charlm.api.training import Plan
from charlm.config.recipes import suited_recipe
from charlm.config.schema import TrainingConfig
from charlm.evaluation.baselines import Comparison
from charlm.evaluation.scoring import Difference
from charlm.network.model_file import read_model
from charlm.network.rnn import Architecture
from charlm.text.batches import Batches
from charlm.training.checkpoints import Progress
from charlm.training.loop import Outcome
from charlm.training.schedule import make_schedule
from charlm.training.signals import Stopped
from charlm.training.timing import Costs


def test_the_best_loss_of_a_training_is_reported(trained_run: Path, tmp_path: Path) -> None:
    command = charlm("train", trained_run.parent / "text.txt", "-c", "tiny", "-r", tmp_path / "run")
    assert command.exit_code == 0, command.stderr
    best = read_model(tmp_path / "run" / "best.safetensors").facts["score"]["nats_per_char"]
    assert command.stdout == f"{tmp_path}/run: {best:.4f} nats per character on the validation text\n"


OUTCOME = Outcome(
    folder=Path("runs/a b"),
    progress=Progress(step=1500, best_step=1400, seconds=50.4),
    nats_per_char=1.25,
    split="validation",
    measured_on="the validation text",
    reason="all steps done",
    signal=None,
    baseline_nats={"5-gram": 1.5},
    comparison=Comparison(1.5, 0.25, 0.01, 9_999),
    training_characters=100_000,
    sample="  The ferry\n\nlies " + 80 * "x",
    improvement=Difference(-0.0144, 0.0013),
)


@pytest.mark.parametrize(("elapsed_seconds", "minutes"), [(59.9, 1), (120.0, 2), (120.1, 3)])
def test_a_training_ends_with_its_score_a_text_and_what_to_do_next(
    elapsed_seconds: float, minutes: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    progress = Progress(step=1500, best_step=1400, seconds=50.4, elapsed_seconds=elapsed_seconds)
    outcome = replace(OUTCOME, progress=progress)
    monkeypatch.setattr("charlm.api.training.train", Mock(return_value=outcome))
    told = charlm("train")
    assert told.stdout.splitlines() == [
        "runs/a b: 1.2500 nats per character on the validation text",
        "  0.2500 ± 0.0100 nats per character better than a 5-gram model (1.5000), on 9,999 characters",
    ]
    spent, *lines = told.stderr.replace("charlm: ", "").splitlines()
    beside = {59.9: "10s", 120.0: "1m10s", 120.1: "1m10s"}[elapsed_seconds]
    assert spent == f"all steps done: 1,500 steps in 50s, beside them {beside} for evaluations, samples and checkpoints"
    assert lines == [
        f"still improving, by 0.0144 ± 0.0013 nats: charlm train --resume -r 'runs/a b' --minutes {minutes}",
        f"it writes: The ferry lies {54 * 'x'}…",
        "write text: charlm sample 'runs/a b'",
        "see what it does: charlm inspect 'runs/a b' --out report.html",
    ]


@pytest.mark.parametrize(
    ("comparison", "lines"),
    [
        pytest.param(Comparison(1.5, 0.25, 0.01, 9_999), 1, id="better"),
        pytest.param(Comparison(1.5, -0.25, 0.01, 9_999), 1, id="worse"),
        pytest.param(Comparison(1.5, 0.25, None, 35), 0, id="too short"),
        pytest.param(None, 0, id="no validation text"),
    ],
)
def test_the_comparison_with_a_5_gram_follows_the_score_if_its_error_is_known(
    comparison: Comparison | None, lines: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("charlm.api.training.train", Mock(return_value=replace(OUTCOME, comparison=comparison)))
    score, *rest = charlm("train").stdout.splitlines()
    assert score == "runs/a b: 1.2500 nats per character on the validation text"
    assert rest == lines * [f"  {comparison}"]


def test_every_figure_of_a_plan_is_printed_and_in_its_json(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    batches = Batches(length=18_000, batch_size=32, sequence_length=64, seed=1)
    problem = "line ends: mixed: 20 \\n, 10 \\r\\n; make them one kind"
    network = Architecture(60, 2, 512, None, True, "tanh", False)
    schedule = make_schedule(TrainingConfig(steps=80, growing_windows=True), batches)
    costs = Costs(0.1, mark_seconds=0.5, start_seconds=5.0, teacher_seconds=33.0, ngram_seconds=7.0, end_seconds=4.2)
    told: dict[str, Any] = {"evaluations": 20, "run_seconds": 80.0, "start_seconds": 10.0, "precision": "float32"}
    told |= {"memory_bytes": 1_500_000_000, "advice": suited_recipe(1_000_000), "is_advised": False}
    corpus = make_corpus(tmp_path, "abba" * 5_000)
    plan = Plan(corpus=corpus, problems=[problem], architecture=network, schedule=schedule, costs=costs, **told)
    monkeypatch.setattr("charlm.api.training.plan", Mock(return_value=plan))
    monkeypatch.setenv("COLUMNS", "200")
    text, found = charlm("plan").stdout, json_of("plan")
    weights = (60 * 512 + 512 * 512 + 512) + (2 * 512 * 512 + 512) + (512 * 60 + 60)
    for key, value, printed in (
        ("parameters", weights, f"2 x 512 tanh units, {weights:,} weights"),
        ("steps", 80, "80, 6.656 epochs, 32 windows of 16, 32, 64, 128 characters each"),
        ("epochs", pytest.approx(6.6583, abs=0.01), "6.656 epochs"),
        ("memory_bytes", 1_500_000_000, "1.5 GB, products in float32"),
        ("seconds", 90, "1m30s"),
        ("teacher_seconds", 33, "teachers 33s"),
        ("ngram_seconds", 7, "n-grams 7s"),
        ("start_seconds", 10, "start 10.0 s"),
        ("step_seconds", 0.1, "a step 100 ms"),
        ("evaluations", 20, "20 evaluations of 500 ms"),
        ("mark_seconds", 0.5, "of 500 ms"),
        ("end_seconds", 4.2, "end 4.2 s"),
        ("characters_per_second", 20_480, "20,480 characters/s"),
        ("batch_size", 32, "32 windows"),
    ):
        assert found[key] == value, key
        assert printed in text, printed
    assert f"problem     {problem}" in text
    assert "suits 18,000 characters of training and would be taken without -c" in text
    monkeypatch.setenv("COLUMNS", "40")
    assert max(map(len, charlm("plan").stdout.splitlines())) <= 40


def test_the_corpus_is_summarized_and_files_that_are_left_out_are_named(tmp_path: Path) -> None:
    sources = write_texts(tmp_path, "abba\n" * 50, b"\xff")
    command = charlm("tokenize", sources, "--out", tmp_path / "corpus", "-s", "corpus.test_fraction=0.1")
    assert command.stdout == (
        f"{tmp_path}/corpus: 250 characters, a vocabulary of 3, 1 document: train 200, validation 25, test 25\n"
    )
    assert f"files: 1 left out: {sources}/01.txt (not valid utf-8 at byte 0 (0xFF));" in command.stderr


# Searching


def test_whoever_stops_a_search_or_a_training_early_is_told_how_it_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("optuna", reason="missing: optuna")
    for line, target, told in (
        ("tune space --minutes 1", "tuning.search.tune", "the same command goes on with the search"),
        ("train", "api.training.train", "nothing was trained, and nothing is kept"),
    ):
        monkeypatch.setattr(f"charlm.{target}", Mock(side_effect=Stopped(Signals.SIGTERM)))
        command = charlm(*line.split())
        assert command.exit_code == 143
        assert command.stderr.splitlines()[0] == f"charlm: stopped by SIGTERM; {told}"


def test_a_search_ends_with_its_trials_its_best_recipe_and_what_trains_it(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("optuna", reason="missing: optuna")
    states = ("COMPLETE", "PRUNED", "FAIL", "COMPLETE", "PRUNED", "PRUNED")
    trials = [SimpleNamespace(state=SimpleNamespace(name=name)) for name in states]
    study = SimpleNamespace(trials=trials, best_trial=SimpleNamespace(number=3), best_value=1.25)
    folder = Path("runs/tune a")
    result = SimpleNamespace(folder=folder, study=study, best=folder / "best.yaml", command="charlm train x -c y")
    monkeypatch.setattr("charlm.tuning.search.tune", Mock(return_value=result))
    told = charlm("tune", "space", "--minutes", 1)
    bits, perplexity = 1.25 / np.log(2), np.exp(1.25)
    assert told.stdout == (
        f"runs/tune a/best.yaml: 1.2500 nats per character ({bits:.4f} bits, perplexity {perplexity:.2f}) on the "
        "validation text: trial 3 of 6\n"
    )
    assert told.stderr.splitlines() == [
        "charlm: 6 trials: 3 pruned, 1 failed",
        "charlm: compare the trials with: charlm runs 'runs/tune a'/trial-*",
        "charlm: train it with: charlm train x -c y",
    ]
