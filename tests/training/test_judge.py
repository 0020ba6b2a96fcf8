"""Which evaluation is the best so far."""

import math
from pathlib import Path

import pytest
from corpora import make_corpus

from charlm.config import Config, EarlyStoppingConfig, TrainingConfig
from charlm.preparation import Run
from charlm.training.checkpoints import Progress
from charlm.training.judge import Judge


def judge(folder: Path, *, min_delta: float = 0.0, text: str = "abcd" * 10) -> Judge:
    stopping = EarlyStoppingConfig(min_delta=min_delta)
    config = Config(training=TrainingConfig(epochs=1, early_stopping=stopping))
    return Judge(Run(folder / "run", config, make_corpus(folder, text)))


@pytest.mark.parametrize(("nats", "is_best"), [(1.9, True), (2.0, False), (2.1, False), (math.nan, False)])
def test_a_lower_loss_is_the_best(nats: float, is_best: bool, tmp_path: Path) -> None:
    progress = Progress(step=9, best_nats=2.0, best_step=5, evaluations_without_best=1)
    assert judge(tmp_path).rank(nats, progress, is_regular=True) == is_best
    assert (progress.best_nats, progress.best_step) == ((nats, 9) if is_best else (2.0, 5))
    assert progress.evaluations_without_best == (0 if is_best else 2)


def test_a_loss_has_to_be_lower_by_the_margin(tmp_path: Path) -> None:
    progress = Progress(best_nats=2.0)
    assert not judge(tmp_path, min_delta=0.1).rank(1.95, progress, is_regular=True)


@pytest.mark.parametrize(("nats", "is_best"), [(3.0, True), (math.inf, False), (math.nan, False)])
def test_the_first_finite_loss_is_the_best(nats: float, is_best: bool, tmp_path: Path) -> None:
    assert judge(tmp_path).rank(nats, Progress(), is_regular=True) == is_best


@pytest.mark.parametrize(("best_nats", "is_best"), [(None, True), (9.0, False)])
def test_a_loss_between_two_evaluations_is_the_best_only_where_there_is_no_other(
    best_nats: float | None, is_best: bool, tmp_path: Path
) -> None:
    assert judge(tmp_path).rank(1.0, Progress(best_nats=best_nats), is_regular=False) == is_best


@pytest.mark.parametrize(("text", "split"), [("abcd" * 10, "validation"), ("ab", "train")])
def test_the_training_text_stands_in_where_there_is_no_validation_text(
    text: str, split: str, tmp_path: Path
) -> None:
    assert judge(tmp_path, text=text).split == split
