"""The optimizer that a config names, and the learning rate of every step."""

from typing import Any

import keras
import numpy as np
import pytest

from charlm.config import OptimizerConfig, ScheduleConfig
from charlm.errors import CharlmError
from charlm.training.optimizer import build_optimizer, learning_rates

NAMES = ["adadelta", "adafactor", "adagrad", "adam", "adamax", "adamw", "ftrl", "lamb", "lion", "muon", "nadam"]
NAMES += ["rmsprop", "sgd"]


def optimizer(**settings: Any) -> Any:
    return build_optimizer(OptimizerConfig(**settings))


def rates(first: int, count: int, total: int, **schedule: Any) -> list[float]:
    """Return learning rates for a peak of 1."""
    return list(learning_rates(1.0, ScheduleConfig(**schedule), first=first, count=count, total=total))


# The optimizer


@pytest.mark.parametrize("name", NAMES)
def test_an_optimizer_is_built_by_its_name_and_takes_a_step(name: str) -> None:
    built = optimizer(name=name, learning_rate=0.5)
    assert type(built).__name__.lower() == name
    assert float(built.learning_rate) == 0.5
    variable = keras.Variable(np.ones((3, 3), np.float32))
    built.apply([keras.ops.ones((3, 3))], [variable])
    assert not np.allclose(variable, 1)


@pytest.mark.parametrize("name", ["adam", "Adam", "ADAM"])
def test_the_case_of_the_name_does_not_matter(name: str) -> None:
    assert type(optimizer(name=name)) is keras.optimizers.Adam


@pytest.mark.parametrize(
    ("name", "argument", "value"),
    [
        ("adam", "beta_1", 0.5),
        ("adam", "amsgrad", True),
        ("adam", "epsilon", 1),
        ("adamw", "weight_decay", 0.1),
        ("adam", "weight_decay", None),
        ("sgd", "momentum", 0.9),
        ("sgd", "nesterov", True),
        ("rmsprop", "rho", 0.8),
        ("lion", "beta_2", 0.9),
        ("sgd", "gradient_accumulation_steps", 4),
        ("muon", "exclude_layers", ["logits"]),
    ],
)
def test_further_arguments_reach_keras(name: str, argument: str, value: Any) -> None:
    assert getattr(optimizer(name=name, **{argument: value}), argument) == value


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"name": "adan"}, "training.optimizer.name: found 'adan'; did you mean adam?"),
        ({"name": "optimizer"}, "training.optimizer.name: found 'optimizer'"),
        ({"name": "multioptimizer"}, "training.optimizer.name: found 'multioptimizer'"),
        ({"name": "optimizermap"}, "training.optimizer.name: found 'optimizermap'"),
        ({"name": "lossscaleoptimizer"}, "training.optimizer.name: found 'lossscaleoptimizer'"),
        ({"beta1": 0.5}, "training.optimizer.beta1: Adam has no such argument; did you mean beta_1?"),
        ({"name": "sgd", "beta_1": 0.5}, "training.optimizer.beta_1: SGD has no such argument"),
        ({"clipnorm": 1.0}, "training.optimizer.clipnorm: not here: training.clip_norm clips the gradient"),
        ({"global_clipnorm": 1.0}, "training.optimizer.global_clipnorm: not here: training.clip_norm"),
        ({"clipvalue": 1.0}, "training.optimizer.clipvalue: not here: training.clip_norm"),
        ({"loss_scale_factor": 2.0}, "training.optimizer.loss_scale_factor: not here: float32"),
        ({"beta_1": "0.5"}, "training.optimizer.beta_1: found '0.5'; should be a number"),
        ({"beta_1": True}, "training.optimizer.beta_1: found True; should be a number"),
        ({"beta_1": [0.5]}, r"training.optimizer.beta_1: found [0.5]; should be a number"),
        ({"amsgrad": 1}, "training.optimizer.amsgrad: found 1; should be true or false"),
        ({"weight_decay": "none"}, "training.optimizer.weight_decay: found 'none'; should be a number"),
        ({"gradient_accumulation_steps": 1}, "training.optimizer: "),
    ],
    ids=str,
)
def test_what_keras_does_not_have_is_refused_with_the_key_and_what_would_do(
    settings: dict[str, Any], message: str
) -> None:
    with pytest.raises(CharlmError) as refusal:
        optimizer(**settings)
    assert str(refusal.value).startswith(message)
    assert "\n" not in str(refusal.value)


def test_the_refusal_of_a_name_like_no_other_lists_all() -> None:
    with pytest.raises(CharlmError, match=f"there are {', '.join(NAMES[:11])}.*sgd"):
        optimizer(name="?")


# The learning rate


def test_a_constant_schedule_stays_at_the_peak() -> None:
    assert rates(0, 4, 4, name="constant") == [1, 1, 1, 1]


def test_a_cosine_falls_along_half_a_wave_to_the_final_fraction() -> None:
    assert rates(0, 5, 5, name="cosine", final_fraction=0.2) == pytest.approx(
        [1, 0.6 + 0.4 * 0.5**0.5, 0.6, 0.6 - 0.4 * 0.5**0.5, 0.2]
    )


def test_an_exponential_falls_by_the_same_factor_at_every_step() -> None:
    assert rates(0, 5, 5, name="exponential", final_fraction=1 / 16) == pytest.approx(
        [1, 1 / 2, 1 / 4, 1 / 8, 1 / 16]
    )


def test_the_rate_rises_in_a_straight_line_over_the_warm_up() -> None:
    assert rates(0, 5, 5, name="constant", warmup_steps=3) == pytest.approx([0.25, 0.5, 0.75, 1, 1])


def test_the_fall_begins_after_the_warm_up() -> None:
    assert rates(0, 5, 5, name="exponential", warmup_steps=2, final_fraction=1 / 4) == pytest.approx(
        [1 / 3, 2 / 3, 1, 1 / 2, 1 / 4]
    )


@pytest.mark.parametrize("name", ["cosine", "exponential"])
@pytest.mark.parametrize(("total", "warmup_steps"), [(2, 0), (1000, 0), (1000, 100), (1000, 998)])
def test_the_last_step_has_the_final_fraction_of_the_peak(name: str, total: int, warmup_steps: int) -> None:
    schedule = ScheduleConfig.model_validate({"name": name, "warmup_steps": warmup_steps, "final_fraction": 0.03})
    assert learning_rates(0.5, schedule, first=total - 1, count=1, total=total) == pytest.approx(0.015)


@pytest.mark.parametrize("name", ["constant", "cosine", "exponential"])
def test_rates_asked_for_in_chunks_are_those_asked_for_at_once(name: str) -> None:
    whole = rates(0, 20, 20, name=name, warmup_steps=5)
    chunks = [
        rates(first, count, 20, name=name, warmup_steps=5) for first, count in ((0, 3), (3, 0), (3, 10), (13, 7))
    ]
    assert [rate for chunk in chunks for rate in chunk] == whole


@pytest.mark.parametrize("name", ["constant", "cosine", "exponential"])
@pytest.mark.parametrize("warmup_steps", [0, 1, 5, 50])
@pytest.mark.parametrize("total", [1, 2, 6])
def test_the_rate_is_never_zero_nor_above_the_peak(name: str, warmup_steps: int, total: int) -> None:
    assert all(0 < rate <= 1 for rate in rates(0, total, total, name=name, warmup_steps=warmup_steps))


def test_rates_are_float32() -> None:
    assert learning_rates(1e-3, ScheduleConfig(), first=0, count=3, total=9).dtype == np.float32
