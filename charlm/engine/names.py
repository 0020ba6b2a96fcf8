"""Names for every variable that decides the next step, independent of the order of Keras's lists.

Keras itself identifies variables by position, and positions have changed between its versions (keras pull requests
21232 and 21247).
"""

from collections.abc import Mapping, Sequence
from typing import Any

import keras
import tensorflow as tf

from charlm.engine.model import CharacterRNN, zero_state


def named_seeds(model: CharacterRNN) -> dict[str, Any]:
    """Return the state of each random generator of a network by name: `model`, and `rnn.i` for layer i."""
    generators = {"model": model.seed}
    generators |= {f"rnn.{index}": layer.cell.seed_generator for index, layer in enumerate(model.rnn)}
    return {name: generator.state for name, generator in generators.items()}


def named_slots(optimizer: keras.optimizers.Optimizer, weights: Mapping[str, Any]) -> dict[str, Any]:
    """Return every variable of a built optimizer by its name.

    Args:
        optimizer: An optimizer built on the trainable variables of a model, in any order.
        weights: These variables by their names in weights.safetensors.

    Returns:
        The variables. A slot, which belongs to a weight, is named after the weight and the optimizer's attribute, as in
        `rnn.0.kernel/momentums`; any other variable after the attribute alone, as in `iterations`.

    """
    own = {id(variable) for variable in optimizer.variables}
    names = {id(variable): name for name, variable in weights.items()}
    order = [names[id(variable)] for variable in optimizer._trainable_variables]
    named: dict[str, Any] = {}
    for attribute, value in vars(optimizer).items():
        slot = attribute.strip("_")
        if id(value) in own:
            named[slot] = value
        elif isinstance(value, Sequence) and len(value) == len(order) and attribute != "_variables":
            named |= {f"{name}/{slot}": part for name, part in zip(order, value, strict=True) if id(part) in own}
    assert {id(variable) for variable in named.values()} == own, "a variable of the optimizer has no name"
    return named


def draws_per_part(model: CharacterRNN) -> dict[str, tuple[Any, int]]:
    """Return how often each random generator of a network draws for a part of a batch in training.

    Returns:
        The state of each generator that draws, uint32 [2], and the number of draws, by the names of `named_seeds`.

    """
    seeds = named_seeds(model)
    before = {name: state.numpy() for name, state in seeds.items()}
    model.predict_window(tf.zeros((2, 1), tf.int32), zero_state(model, 1), training=True)
    draws = {name: (state, int(state.numpy()[1] - before[name][1])) for name, state in seeds.items()}
    for name, state in seeds.items():
        state.assign(before[name])
    return {name: (state, count) for name, (state, count) in draws.items() if count}
