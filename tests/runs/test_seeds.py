"""Runs of several seeds gathered as one."""

from pathlib import Path
from typing import Any

import pytest

from charlm.runs.comparison import RunSummary
from charlm.runs.seeds import gather_seeds


def summary(name: str, *, seed: int, nats: float | None = None, **values: Any) -> RunSummary:
    settings = {"seed": seed, "model.units": values.pop("units", 8)}
    return RunSummary(Path(name), settings, nats_per_char=nats, split="validation", **values)


def test_runs_that_differ_in_their_seed_alone_become_one_with_mean_and_deviation() -> None:
    scores = {1: 1.0, 2: 1.2, 3: 1.7}
    runs = [summary(f"{seed}", seed=seed, nats=nats, step=9, seconds=seed) for seed, nats in scores.items()]
    other = summary("other", seed=1, nats=2.0, units=16)
    (gathered, single) = gather_seeds([runs[0], other, *runs[1:]])
    assert (gathered.folder, gathered.seeds, gathered.step, gathered.seconds) == (Path("1"), (1, 2, 3), 9, 2.0)
    assert gathered.nats_per_char == pytest.approx(1.3)
    assert gathered.nats_deviation == pytest.approx(((0.3**2 + 0.1**2 + 0.4**2) / 2) ** 0.5)
    assert (single.seeds, single.nats_per_char, single.nats_deviation) == ((1,), 2.0, None)
    assert gathered.settings == {"model.units": 8}


def test_a_missing_score_makes_no_mean_and_different_steps_are_none() -> None:
    (gathered,) = gather_seeds([summary("a", seed=1, nats=1.0, step=3), summary("b", seed=2, step=4)])
    assert (gathered.nats_per_char, gathered.nats_deviation, gathered.step) == (None, None, None)
