"""The objective by its definition, in float64."""

from typing import Any

import numpy as np
import pytest

from charlm.config.schema import TrainingConfig
from charlm.engine.step import Objective, make_objective, mean_nats

T, B, V = 4, 3, 5
RNG = np.random.default_rng(0)
TARGETS = RNG.integers(0, V, (T, B), dtype=np.int32)
SOFT = RNG.dirichlet(np.ones(V), (T, B)).astype(np.float16)
LOGITS = (3 * RNG.standard_normal((T, B, V))).astype(np.float32)


def expected(*, temperature: float, weight: float) -> float:
    """Return (1 - w) H(text, p) + w H(q, p), a character at a time."""
    total = 0.0
    softs, all_logits = SOFT.reshape(-1, V).astype(float), LOGITS.reshape(-1, V).astype(float) / temperature
    for target, soft, logits in zip(TARGETS.ravel(), softs, all_logits, strict=True):
        log_p = logits - np.log(np.exp(logits).sum())
        total -= (1 - weight) * log_p[target] + weight * (soft * log_p).sum()
    return total / TARGETS.size


@pytest.mark.parametrize("temperature", [1.0, 0.7])
@pytest.mark.parametrize("weight", [0.25, 1.0])
def test_the_cross_entropies_are_weighted(temperature: float, weight: float) -> None:
    found = Objective(temperature, weight)(TARGETS, SOFT, LOGITS)
    assert float(found) == pytest.approx(expected(temperature=temperature, weight=weight), rel=1e-3)  # float16


@pytest.mark.parametrize("temperature", [1.0, 0.7])
def test_without_weight_the_soft_targets_are_not_needed(temperature: float) -> None:
    found = Objective(temperature)(TARGETS, SOFT[..., :0], LOGITS)
    assert float(found) == pytest.approx(expected(temperature=temperature, weight=0), rel=1e-6)


def test_it_is_the_loss_only_without_temperature_and_soft_targets() -> None:
    assert Objective().is_plain
    assert not Objective(0.5).is_plain
    assert not Objective(soft_weight=0.5).is_plain
    assert float(mean_nats(TARGETS, LOGITS)) == pytest.approx(expected(temperature=1, weight=0), rel=1e-6)


@pytest.mark.parametrize("settings", [{"teachers": ("a",), "teacher_weight": 0.0}, {"teacher_weight": 1.0}], ids=str)
def test_without_teachers_or_weight_it_is_the_loss(settings: dict[str, Any]) -> None:
    assert make_objective(TrainingConfig(steps=1, **settings)).is_plain


def test_the_settings_decide_the_weight() -> None:
    assert make_objective(TrainingConfig(steps=1, teachers=("a",), teacher_weight=0.3)) == Objective(1.0, 0.3)
