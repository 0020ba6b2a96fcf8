"""The optimizer by its name: it is built with its arguments, or refused with the reason."""

from typing import Any

import keras
import numpy as np
import pytest

from charlm.config.schema import OptimizerConfig
from charlm.engine.optimizer import build_optimizer
from charlm.errors import CharlmError

NAMES = ["adadelta", "adafactor", "adagrad", "adam", "adamax", "adamw", "ftrl", "lamb", "lion", "muon", "nadam"]
NAMES += ["rmsprop", "sgd"]


def optimizer(**settings: Any) -> Any:
    return build_optimizer(OptimizerConfig(**settings))


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
def test_arguments_are_passed_to_keras(name: str, argument: str, value: Any) -> None:
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
        ({"clipnorm": 1.0}, "training.optimizer.clipnorm: cannot be set here: training.clip_norm clips the gradient"),
        ({"global_clipnorm": 1.0}, "training.optimizer.global_clipnorm: cannot be set here: training.clip_norm"),
        ({"clipvalue": 1.0}, "training.optimizer.clipvalue: cannot be set here: training.clip_norm"),
        ({"loss_scale_factor": 2.0}, "training.optimizer.loss_scale_factor: cannot be set here: float32"),
        ({"beta_1": "0.5"}, "training.optimizer.beta_1: found '0.5'; must be a number"),
        ({"beta_1": True}, "training.optimizer.beta_1: found True; must be a number"),
        ({"beta_1": [0.5]}, r"training.optimizer.beta_1: found [0.5]; must be a number"),
        ({"amsgrad": 1}, "training.optimizer.amsgrad: found 1; must be true or false"),
        ({"beta_1": float("nan")}, "training.optimizer.beta_1: found nan; must be a number"),
        ({"beta_1": 1e300}, "training.optimizer.beta_1: found 1e+300; must be a number that float32 can hold"),
        ({"beta_1": None}, "training.optimizer.beta_1: found None; must be a number"),
        ({"weight_decay": "none"}, "training.optimizer.weight_decay: found 'none'; must be a number"),
        ({"weight_decay": [0.1]}, "training.optimizer.weight_decay: found [0.1]; must be a number"),
        ({"weight_decay": {"a": 1}}, "training.optimizer.weight_decay: found {'a': 1}; must be a number"),
        ({"name": "adamw", "weight_decay": None}, "training.optimizer.weight_decay: found None; must be a number"),
        ({"kwargs": 1}, "training.optimizer.kwargs: Adam has no such argument"),
        (
            {"gradient_accumulation_steps": 1},
            "training.optimizer.gradient_accumulation_steps: found 1; must be a whole number from 2 to 1,000,000",
        ),
        ({"gradient_accumulation_steps": 2.5}, "training.optimizer.gradient_accumulation_steps: found 2.5; must be"),
        ({"gradient_accumulation_steps": [2]}, "training.optimizer.gradient_accumulation_steps: found [2]; must be"),
        ({"ema_overwrite_frequency": 0.5}, "training.optimizer.ema_overwrite_frequency: found 0.5; must be a whole"),
        ({"ema_overwrite_frequency": 0}, "training.optimizer.ema_overwrite_frequency: found 0; must be a whole number"),
        (
            {"name": "muon", "ns_steps": 100_000_000},
            "training.optimizer.ns_steps: found 100000000; must be a whole number from 0 to 100",
        ),
        ({"name": "muon", "ns_steps": 2.0}, "training.optimizer.ns_steps: found 2.0; must be a whole number from 0"),
        ({"name": "muon", "exclude_layers": "logits"}, "training.optimizer.exclude_layers: found 'logits'; must be a"),
        ({"name": "muon", "exclude_layers": [1]}, "training.optimizer.exclude_layers: found [1]; must be a list of"),
        ({"name": "muon", "exclude_layers": ["("]}, "training.optimizer.exclude_layers: found ['(']; must be a list"),
    ],
    ids=str,
)
def test_what_keras_does_not_have_is_refused_with_the_key_and_a_valid_choice(
    settings: dict[str, Any], message: str
) -> None:
    with pytest.raises(CharlmError) as refusal:
        optimizer(**settings)
    assert str(refusal.value).startswith(message)
    assert "\n" not in str(refusal.value)


def test_the_refusal_of_an_unknown_name_lists_all_names() -> None:
    with pytest.raises(CharlmError, match=f"there are {', '.join(NAMES[:11])}.*sgd"):
        optimizer(name="?")
