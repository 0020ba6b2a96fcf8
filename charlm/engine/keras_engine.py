"""The training engine in Keras: weights, optimizer, hidden state, and the compiled training step.

Axes: B batch, R rows of the batch on this worker (B on a single worker), T time, V vocabulary, K
steps in one call.
"""

import time
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from charlm.config.schema import Config
from charlm.engine.compiled import CompiledSteps
from charlm.engine.kernel import CompiledReader, load_kernel
from charlm.engine.model import (
    State,
    build_model,
    named_seeds,
    named_weights,
    to_array,
    to_parameters,
    zero_state,
)
from charlm.engine.optimizer import WeightAverage, build_optimizer, named_slots
from charlm.engine.step import TrainSteps, make_objective
from charlm.evaluation.scoring import Score, estimate_stream
from charlm.network.model_file import Tensors
from charlm.network.rnn import Floats, Parameters
from charlm.text.batches import Batches
from charlm.text.vocabulary import Ids
from charlm.training.interface import StepMetrics
from charlm.training.workers import Workers

Variables = dict[str, Any]
"""Variables of Keras, or arrays that the compiled steps change, by name."""


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
        self.rows = self.workers.rows(batches.batch_size)
        """Rows of a batch that this worker reads."""
        optimizer = build_optimizer(self.settings.optimizer, precision=precision)
        optimizer.build(self.model.trainable_variables)
        self._weights: Variables = named_weights(self.model)
        self._slots: Variables = named_slots(optimizer, self._weights)
        self._average: Variables = {}
        height = self.rows.stop - self.rows.start
        self.steps: TrainSteps | CompiledSteps
        momentum = self.settings.average_momentum
        if self._kernel is None:
            average = None
            if momentum is not None:
                average = WeightAverage(self._weights, momentum)
                self._average = average.variables
            self.steps = TrainSteps(
                self.model,
                optimizer,
                settings=self.settings,
                workers=self.workers,
                height=height,
                average=average,
            )
        else:
            self._weights = copied(self._weights)
            self._slots = copied(self._slots)
            if momentum is not None:
                self._average = copied(self._weights)
            self.steps = CompiledSteps(
                self.model,
                optimizer,
                weights=self._weights,
                average=self._average,
                slots=self._slots,
                config=config,
                workers=self.workers,
                height=height,
            )
        self._variables = self._name_variables()
        self.state = self._zero_state()

    def load_initial_weights(self, weights: Mapping[str, Floats]) -> None:
        """Replace the random weights and their average, before the first step."""
        for name, tensor in weights.items():
            _assign(self._weights[name], tensor)
            if self._average:
                _assign(self._average[name], tensor)

    def build(self) -> None:
        """Build the graph of a step, to make all steps equally fast."""
        self.steps.build(self.batches.sequence_length)

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
        results = self.steps(windows, soft_targets, state, rates, self._resets(len(rates)))
        losses = np.array(results.losses).tolist()  # waits for the result
        norms = np.array(results.gradient_norms).tolist()
        seconds = self._clock() - started
        self.state = results.state
        return StepMetrics(losses, norms, seconds)

    def parameters(self) -> Parameters:
        """Return a copy of the weights for NumPy, or of their average if one is kept."""
        return to_parameters(self.model, self._average or self._weights)

    def score(self, parameters: Parameters, ids: Ids) -> Score:
        """Return the loss on a text, with the compiled kernel if there is one."""
        read = None if self._kernel is None else CompiledReader(self._kernel, parameters)
        return estimate_stream(parameters, ids, read=read)

    def weights(self) -> dict[str, Floats]:
        """Return a copy of the trained weights, float32, by their names in a model file."""
        return copied(self._weights)

    def tensors(self) -> Tensors:
        """Return a copy of all state that the next step depends on.

        The names do not depend on Keras.
        """
        tensors = copied(self._variables)
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
            _assign(variable, tensors[name])
        layers = [tensors[f"state/rnn.{index}"] for index in range(len(self.state))]
        self.state = tuple(layer[self.rows] for layer in layers)

    def blank_soft_targets(self, windows: NDArray[np.int32]) -> NDArray[np.float16]:
        """Return zeros as soft targets of windows [K, T + 1, R]: [K, T, R, V or 0]."""
        steps, length, rows = windows.shape
        width = make_objective(self.settings).soft_width(self.model.logits.units)
        return np.zeros((steps, length - 1, rows, width), np.float16)

    def _zero_state(self) -> State:
        return zero_state(self.model, self.rows.stop - self.rows.start)

    def _resets(self, count: int) -> NDArray[np.bool_]:
        """Return which streams start the next steps from the zero state, at random, bool [K, R].

        The random numbers depend on the step, so that a step can be repeated.
        """
        first = int(self._slots["iterations"])
        resets = np.zeros((count, self.rows.stop - self.rows.start), np.bool_)
        if rate := self.settings.state_reset:
            for index in range(count):
                generator = np.random.default_rng([self.batches.seed, first + index, 2])
                resets[index] = generator.random(self.batches.batch_size)[self.rows] < rate
        return resets

    def _name_variables(self) -> Variables:
        """Return every variable that a checkpoint keeps, by its name in the checkpoint.

        The names of a model file belong to the weights, or to their average if the run keeps one.
        """
        named = dict(self._weights)
        if self._average:
            named = self._average | _prefix("weights", self._weights)
        named |= _prefix("seeds", named_seeds(self.model))
        named |= _prefix("optimizer", self._slots)
        return named


def _assign(variable: Any, values: Floats) -> None:
    """Change an array, or a variable of Keras, in place."""
    if isinstance(variable, np.ndarray):
        variable[...] = values
    else:
        variable.assign(values)


def copied(variables: Mapping[str, Any]) -> Tensors:
    """Return copies of arrays, or of variables of Keras, as arrays."""
    return {name: to_array(variable) for name, variable in variables.items()}


def _prefix(section: str, variables: Mapping[str, Any]) -> Variables:
    return {f"{section}/{name}": variable for name, variable in variables.items()}
