"""Every variable that decides the next step has a name that does not depend on its place in a list."""

from typing import Any

import keras
import pytest

from charlm.config.schema import Config, ModelConfig, OptimizerConfig, RnnConfig
from charlm.engine.model import CharacterRNN, build_model, named_weights
from charlm.engine.names import named_seeds, named_slots
from charlm.engine.optimizer import build_optimizer

NAMES = ["adadelta", "adafactor", "adagrad", "adam", "adamax", "adamw", "ftrl", "lamb", "lion", "muon", "nadam"]
NAMES += ["rmsprop", "schedulefreeadamw", "sgd"]


@pytest.fixture(scope="module")
def model() -> CharacterRNN:
    """Return a network of two layers; tests do not train it."""
    settings = ModelConfig(layers=2, units=4, skip_connections=True, rnn=RnnConfig(dropout=0.1))
    return build_model(Config(model=settings), 3)


def slots_of(model: CharacterRNN, name: str, *, backwards: bool = False, **arguments: Any) -> dict[str, Any]:
    """Build an optimizer on the weights of a model, in their order or backwards; return its variables by name."""
    optimizer = build_optimizer(OptimizerConfig(name=name, **arguments))
    weights = model.trainable_variables
    optimizer.build(weights[::-1] if backwards else weights)
    return named_slots(optimizer, named_weights(model))


@pytest.mark.parametrize("name", NAMES)
def test_the_variables_of_an_optimizer_have_unique_names_that_do_not_depend_on_the_order(
    name: str, model: CharacterRNN
) -> None:
    forwards, backwards = slots_of(model, name), slots_of(model, name, backwards=True)
    assert {"iterations", "learning_rate"} <= forwards.keys()
    assert len({id(variable) for variable in forwards.values()}) == len(forwards)
    assert {slot: tuple(variable.shape) for slot, variable in forwards.items()} == {
        slot: tuple(variable.shape) for slot, variable in backwards.items()
    }


@pytest.mark.parametrize("arguments", [{"amsgrad": True}, {"use_ema": True}])
def test_slots_of_optional_arguments_are_named(arguments: dict[str, Any], model: CharacterRNN) -> None:
    assert len(slots_of(model, "adam", **arguments)) > len(slots_of(model, "adam"))


def test_a_slot_is_named_after_its_weight(model: CharacterRNN) -> None:
    slots = slots_of(model, "adam")
    assert tuple(slots["rnn.1.kernel/momentums"].shape) == (4 + 3, 4)
    assert tuple(slots["logits.bias/velocities"].shape) == (3,)


def test_every_random_generator_of_a_model_is_named(model: CharacterRNN) -> None:
    weights = {id(variable) for variable in named_weights(model).values()}
    others = {id(variable) for variable in model.variables} - weights
    assert {id(seed) for seed in named_seeds(model).values()} == others


def test_each_random_generator_has_its_own_state(model: CharacterRNN) -> None:
    keras.random.uniform((1,), seed=model.seed)
    states = {name: seed.numpy().tolist() for name, seed in named_seeds(model).items()}
    assert states.keys() == {"model", "rnn.0", "rnn.1"}
    assert states["rnn.0"] != states["model"]
