"""The training engine in Keras: weights, optimizer, hidden state, and the compiled step that changes them.

Axes: B batch, R rows of the batch on this worker (B on a single one), T time, V vocabulary, K steps in one call.
"""

import time
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray

from charlm.config.schema import Config
from charlm.engine.kernel import load_kernel
from charlm.engine.model import (
    State,
    build_model,
    named_seeds,
    named_weights,
    to_parameters,
    zero_state,
)
from charlm.engine.optimizer import WeightAverage, build_optimizer
from charlm.engine.scoring import CompiledReader
from charlm.engine.step import compile_steps, make_objective
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
        batches: How the text is cut into windows.
        vocabulary_size: V, the number of ids.
        workers: The workers that share each batch; None = this one alone.

    Raises:
        CharlmError: Keras does not have, or cannot use, an initializer, regularizer or constraint that the config
            names; or the workers cannot share the batch.

    """

    def __init__(
        self,
        config: Config,
        batches: Batches,
        *,
        vocabulary_size: int,
        workers: Workers | None = None,
    ) -> None:
        self.settings, self.batches, precision = config.training, batches, config.training.precision
        self.workers = workers or Workers()
        self.model = build_model(config, vocabulary_size, precision=precision)
        self._kernel = load_kernel() if self.settings.kernel == "compiled" else None
        self.optimizer = build_optimizer(
            self.settings.optimizer, precision=precision, kernel=self._kernel
        )
        self.optimizer.build(self.model.trainable_variables)
        momentum = self.settings.average_momentum
        self.average = (
            None if momentum is None else WeightAverage(named_weights(self.model), momentum)
        )
        self._variables = self._name_variables()
        self.rows = self.workers.rows(batches.batch_size)
        """The rows of a batch that this worker reads."""
        self.library = None if self._kernel is None else self._kernel.sha256
        self.state = self._zero_state()
        self._steps = compile_steps(
            self.model,
            self.optimizer,
            batches,
            settings=self.settings,
            workers=self.workers,
            average=self.average,
        )

    def load_initial_weights(self, weights: Mapping[str, Floats]) -> None:
        """Replace the weights that were drawn, and their average, before the first step."""
        for name, tensor in weights.items():
            self._variables[name].assign(tensor)
            if self.average is not None:
                self._variables[f"weights/{name}"].assign(tensor)

    def build(self, lengths: Iterable[int]) -> None:
        """Build the graph of a step for windows of each of these lengths, so that no step takes longer than others."""
        for length in lengths:
            windows = np.zeros((0, length + 1, self.rows.stop - self.rows.start), np.int32)
            self._steps(
                windows, self.blank_soft_targets(windows), self.state, np.zeros(0, np.float32)
            )

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
            rates: The learning rate of each step, float32 [K].
            reset_state: Whether the first window starts from the zero state.
            soft_targets: The teachers' probabilities of the next character, float16 [K, T, R, V]; None = zeros, with
                which only the time that a step takes means anything, unless the config has no teachers.

        Returns:
            The loss and gradient norms of the steps, and how long they took together.

        """
        state = self._zero_state() if reset_state else self.state
        soft = self.blank_soft_targets(windows) if soft_targets is None else soft_targets
        started = time.perf_counter()
        results = self._steps(windows, soft, state, rates)
        losses, norms = (
            results.losses.numpy().tolist(),
            results.gradient_norms.numpy().tolist(),
        )  # waits for them
        seconds = time.perf_counter() - started
        self.state = results.state
        return StepMetrics(losses, norms, seconds)

    def parameters(self) -> Parameters:
        """Return a copy of the weights for the NumPy engine: of their average if one is kept."""
        return to_parameters(self.model, self._variables)

    def score(self, parameters: Parameters, ids: Ids) -> Score:
        """Return the loss on a text, by the compiled kernel if there is one."""
        read = None if self._kernel is None else CompiledReader(self._kernel, parameters)
        return estimate_stream(parameters, ids, read=read)

    def weights(self) -> dict[str, Floats]:
        """Return a copy of the trained weights, float32, by their names in a model file."""
        return {
            name: np.array(variable.numpy()) for name, variable in named_weights(self.model).items()
        }

    def tensors(self) -> Tensors:
        """Return a copy of everything that decides the next step, by names that Keras does not choose."""
        gathered = [self.workers.gather(np.array(layer)) for layer in self.state]
        states = [layer.reshape(-1, layer.shape[-1]) for layer in gathered]
        variables = {name: np.array(variable.numpy()) for name, variable in self._variables.items()}
        return variables | {f"state/rnn.{index}": layer for index, layer in enumerate(states)}

    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Return the shape of each of these tensors."""
        shapes = {name: tuple(variable.shape) for name, variable in self._variables.items()}
        batch = self.batches.batch_size
        return shapes | {
            f"state/rnn.{index}": (batch, layer.shape[1]) for index, layer in enumerate(self.state)
        }

    def restore(self, tensors: Tensors) -> None:
        """Restore what `tensors` returned; the shapes must be those of `shapes`."""
        for name, variable in self._variables.items():
            variable.assign(tensors[name])
        self.state = tuple(
            tensors[f"state/rnn.{index}"][self.rows] for index in range(len(self.state))
        )

    def blank_soft_targets(self, windows: NDArray[np.int32]) -> NDArray[np.float16]:
        """Return zeros as the soft targets of windows [K, T + 1, R]: [K, T, R, V], or [K, T, R, 0] if unused."""
        steps, length, rows = windows.shape
        return np.zeros(
            (
                steps,
                length - 1,
                rows,
                make_objective(self.settings).soft_width(self.model.logits.units),
            ),
            np.float16,
        )

    def _zero_state(self) -> State:
        return zero_state(self.model, self.rows.stop - self.rows.start)

    def _name_variables(self) -> dict[str, Any]:
        """Return every variable that a checkpoint keeps, by its name in the checkpoint.

        The names of a model file are those of the weights or, if their average is kept, of the average.
        """
        weights = named_weights(self.model)
        named = dict(weights)
        if self.average is not None:
            named = self.average.variables | {
                f"weights/{name}": variable for name, variable in weights.items()
            }
        named |= {f"seeds/{name}": variable for name, variable in named_seeds(self.model).items()}
        named |= {
            f"optimizer/{name}": variable
            for name, variable in named_slots(self.optimizer, weights).items()
        }
        return named


def named_slots(
    optimizer: keras.optimizers.Optimizer, weights: Mapping[str, Any]
) -> dict[str, Any]:
    """Return every variable of a built optimizer by its name.

    Args:
        optimizer: An optimizer built on the trainable variables of a model, in any order.
        weights: These variables by their names in a model file.

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
            named |= {
                f"{name}/{slot}": part
                for name, part in zip(order, value, strict=True)
                if id(part) in own
            }
    assert {id(variable) for variable in named.values()} == own, (
        "a variable of the optimizer has no name"
    )
    return named
