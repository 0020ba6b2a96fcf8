"""The training engine in Keras: weights, optimizer, hidden state, and the compiled training step.

Axes: B batch, R rows of the batch on this worker (B on a single worker), T time, V vocabulary, K
steps in one call.
"""

import time
from collections.abc import Callable, Mapping
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray

from charlm.config.schema import Config
from charlm.engine.kernel import CompiledReader, load_kernel
from charlm.engine.model import (
    State,
    build_model,
    named_seeds,
    named_weights,
    to_parameters,
    zero_state,
)
from charlm.engine.optimizer import WeightAverage, build_optimizer
from charlm.engine.step import TrainSteps, make_objective
from charlm.evaluation.scoring import Score, estimate_stream
from charlm.network.model_file import Tensors
from charlm.network.rnn import Floats, Parameters
from charlm.text.batches import Batches
from charlm.text.vocabulary import Ids
from charlm.training.interface import StepMetrics
from charlm.training.workers import Workers


class KerasEngine:
    """A network and its optimizer in Keras; implements `charlm.training.interface.Engine`.

    Args:
        config: Every setting; if `training.parts` is None, a batch is one part.
        batches: Division of the text into windows.
        vocabulary_size: V, the number of ids.
        workers: The workers that share each batch; None = a single worker.
        clock: Function that returns the time in seconds.

    Raises:
        CharlmError: Keras does not have, or cannot use, an initializer, regularizer or constraint
            of the config; or the workers cannot share the batch.

    """

    def __init__(
        self,
        config: Config,
        batches: Batches,
        *,
        vocabulary_size: int,
        workers: Workers | None = None,
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        self.settings = config.training
        self.batches = batches
        self.workers = workers or Workers()
        self._clock = clock
        precision = self.settings.precision
        self.model = build_model(config, vocabulary_size, precision=precision)
        self._kernel = load_kernel() if self.settings.kernel == "compiled" else None
        self.library = None if self._kernel is None else self._kernel.sha256
        self.optimizer = build_optimizer(
            self.settings.optimizer, precision=precision, kernel=self._kernel
        )
        self.optimizer.build(self.model.trainable_variables)
        self.average: WeightAverage | None = None
        if self.settings.average_momentum is not None:
            weights = named_weights(self.model)
            self.average = WeightAverage(weights, self.settings.average_momentum)
        self._variables = self._name_variables()
        self.rows = self.workers.rows(batches.batch_size)
        """Rows of a batch that this worker reads."""
        self.state = self._zero_state()
        self._steps = TrainSteps(
            self.model,
            self.optimizer,
            batches,
            settings=self.settings,
            workers=self.workers,
            average=self.average,
        )

    def load_initial_weights(self, weights: Mapping[str, Floats]) -> None:
        """Replace the random weights and their average, before the first step."""
        for name, tensor in weights.items():
            self._variables[name].assign(tensor)
            if self.average is not None:
                self._variables[f"weights/{name}"].assign(tensor)

    def build(self) -> None:
        """Build the graph of a step, to make all steps equally fast."""
        length = self.batches.sequence_length
        windows = np.zeros((0, length + 1, self.rows.stop - self.rows.start), np.int32)
        soft_targets = self.blank_soft_targets(windows)
        self._steps(windows, soft_targets, self.state, np.zeros(0, np.float32))

    def take_steps(
        self,
        windows: NDArray[np.int32],
        rates: NDArray[np.float32],
        *,
        reset_state: bool,
        soft_targets: NDArray[np.float16] | None = None,
    ) -> StepMetrics:
        """Take K steps of training.

        Args:
            windows: Ids, int32 [K, T + 1, R].
            rates: Learning rate of each step, float32 [K].
            reset_state: Whether the first window starts from the zero state.
            soft_targets: The teachers' probabilities of the next character, float16 [K, T, R, V];
                None = zeros, which are only useful to measure the time of a step if the config has
                teachers.

        """
        state = self._zero_state() if reset_state else self.state
        if soft_targets is None:
            soft_targets = self.blank_soft_targets(windows)
        started = self._clock()
        results = self._steps(windows, soft_targets, state, rates)
        losses = results.losses.numpy().tolist()  # waits for the result
        norms = results.gradient_norms.numpy().tolist()
        seconds = self._clock() - started
        self.state = results.state
        return StepMetrics(losses, norms, seconds)

    def parameters(self) -> Parameters:
        """Return a copy of the weights for NumPy, or of their average if one is kept."""
        return to_parameters(self.model, self._variables)

    def score(self, parameters: Parameters, ids: Ids) -> Score:
        """Return the loss on a text, with the compiled kernel if there is one."""
        read = None if self._kernel is None else CompiledReader(self._kernel, parameters)
        return estimate_stream(parameters, ids, read=read)

    def weights(self) -> dict[str, Floats]:
        """Return a copy of the trained weights, float32, by their names in a model file."""
        return _copy(named_weights(self.model))

    def tensors(self) -> Tensors:
        """Return a copy of all state that the next step depends on.

        The names do not depend on Keras.
        """
        tensors = _copy(self._variables)
        for index, layer in enumerate(self.state):
            gathered = self.workers.gather(np.array(layer))
            tensors[f"state/rnn.{index}"] = gathered.reshape(-1, gathered.shape[-1])
        return tensors

    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Return the shapes of `tensors`."""
        shapes = {name: tuple(variable.shape) for name, variable in self._variables.items()}
        for index, layer in enumerate(self.state):
            shapes[f"state/rnn.{index}"] = (self.batches.batch_size, layer.shape[1])
        return shapes

    def restore(self, tensors: Tensors) -> None:
        """Restore a state from `tensors`; the caller has checked the shapes."""
        for name, variable in self._variables.items():
            variable.assign(tensors[name])
        layers = [tensors[f"state/rnn.{index}"] for index in range(len(self.state))]
        self.state = tuple(layer[self.rows] for layer in layers)

    def blank_soft_targets(self, windows: NDArray[np.int32]) -> NDArray[np.float16]:
        """Return zeros as soft targets of windows [K, T + 1, R]: [K, T, R, V or 0]."""
        steps, length, rows = windows.shape
        width = make_objective(self.settings).soft_width(self.model.logits.units)
        return np.zeros((steps, length - 1, rows, width), np.float16)

    def _zero_state(self) -> State:
        return zero_state(self.model, self.rows.stop - self.rows.start)

    def _name_variables(self) -> dict[str, Any]:
        """Return every variable that a checkpoint keeps, by its name in the checkpoint.

        The names of a model file belong to the weights, or to their average if the run keeps one.
        """
        weights = named_weights(self.model)
        if self.average is None:
            named = dict(weights)
        else:
            named = self.average.variables | _prefix("weights", weights)
        named |= _prefix("seeds", named_seeds(self.model))
        named |= _prefix("optimizer", named_slots(self.optimizer, weights))
        return named


def _copy(variables: Mapping[str, Any]) -> Tensors:
    return {name: np.array(variable.numpy()) for name, variable in variables.items()}


def _prefix(section: str, variables: Mapping[str, Any]) -> dict[str, Any]:
    return {f"{section}/{name}": variable for name, variable in variables.items()}


def named_slots(
    optimizer: keras.optimizers.Optimizer, weights: Mapping[str, Any]
) -> dict[str, Any]:
    """Return every variable of a built optimizer by its name.

    A slot, which belongs to a weight, is named after the weight and the optimizer's attribute:
    `rnn.0.kernel/momentums`. Any other variable is named after the attribute: `iterations`.

    Args:
        optimizer: An optimizer built on the trainable variables of a model, in any order.
        weights: These variables by their names in a model file.

    """
    variables = {id(variable) for variable in optimizer.variables}
    names = {id(variable): name for name, variable in weights.items()}
    order = [names[id(variable)] for variable in optimizer._trainable_variables]
    named: dict[str, Any] = {}
    for attribute, value in vars(optimizer).items():
        slot = attribute.strip("_")
        if id(value) in variables:
            named[slot] = value
        elif isinstance(value, list) and len(value) == len(order) and attribute != "_variables":
            slots = zip(order, value, strict=True)
            named |= {f"{name}/{slot}": part for name, part in slots if id(part) in variables}
    unnamed = variables - {id(variable) for variable in named.values()}
    assert not unnamed, "a variable of the optimizer has no name"
    return named
