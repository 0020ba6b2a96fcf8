"""The training engine in Keras: weights, optimizer, hidden state, and the training step.

Axes: B batch, R rows of the batch on this worker (B on a single worker), T time, V vocabulary, K
steps in one call, L layers, H units.
"""

import time
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from charlm.config.schema import Config
from charlm.core.architecture import ONE_HOT
from charlm.core.batches import Batches
from charlm.core.engine import SoftTargets, StepMetrics
from charlm.core.model_file import Tensors
from charlm.core.rnn import Floats, Parameters
from charlm.core.scoring import Score, estimate_stream
from charlm.core.vocabulary import Ids
from charlm.engines.compiled import CompiledStep
from charlm.engines.kernel import CompiledReader, load_kernel
from charlm.engines.model import build_model, copied, named_seeds, named_weights
from charlm.engines.step import KerasStep, Workers, build_optimizer, named_slots
from charlm.errors import CharlmError

Variables = dict[str, Any]
"""Variables of Keras, or arrays that the compiled steps change, by name."""


class KerasEngine:
    """A network and its optimizer in Keras; implements `charlm.core.engine.Engine`.

    Args:
        config: Every setting; if `training.parts` is None, a batch is one part.
        batches: Division of the text into windows.
        vocabulary_size: V, the number of ids.
        workers: The workers that share each batch; None = a single worker.

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
    ) -> None:
        self.settings = config.training
        self.batches = batches
        self.workers = workers or Workers()
        self.model = build_model(config, vocabulary_size, precision=self.settings.precision)
        height = batches.batch_size // self.workers.count
        if height * self.workers.count != batches.batch_size:
            raise CharlmError(
                f"training.batch_size: found {batches.batch_size}; must be divisible by "
                f"{self.workers.count}, the number of workers in TF_CONFIG"
            )
        self._height = height
        self.rows = slice(self.workers.index * height, (self.workers.index + 1) * height)
        """Rows of a batch that this worker computes."""
        specs = self.model.architecture.tensors.values()
        optimizer = build_optimizer(self.settings.optimizer, [spec.rows(ONE_HOT) for spec in specs])
        optimizer.build(self.model.trainable_variables)
        self._weights: Variables = named_weights(self.model)
        self._slots: Variables = named_slots(optimizer, self._weights)
        self._kernel = load_kernel() if self.settings.kernel == "compiled" else None
        self.kernel_sha256 = None if self._kernel is None else self._kernel.sha256
        if self._kernel is not None:
            self._weights = copied(self._weights)
            self._slots = copied(self._slots)
        self._average = {}
        if self.settings.average_momentum is not None:
            self._average = copied(self._weights)
        make_step = KerasStep if self._kernel is None else CompiledStep
        self.step = make_step(
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
        """The hidden state, float32 [L, R, H]."""

    def load_initial_weights(self, weights: Mapping[str, Floats]) -> None:
        """Replace the random weights and their average, before the first step."""
        for name, tensor in weights.items():
            _assign(self._weights[name], tensor)
            if self._average:
                _assign(self._average[name], tensor)

    def take_steps(
        self,
        windows: Ids,
        rates: Floats,
        *,
        reset_state: bool,
        soft_targets: SoftTargets | None = None,
    ) -> StepMetrics:
        """Take K steps of training.

        Args:
            windows: Ids, int32 [K, T + 1, B].
            rates: Learning rate of each step, float32 [K].
            reset_state: Whether the first window starts from the zero state.
            soft_targets: Probabilities of the next character by the n-grams, float16 [K, T, B, V];
                None = zeros, which are only useful to measure the time of a step if the config has
                a weight of n-grams.

        """
        if soft_targets is None:
            width = self.model.logits.units if self.settings.ngram_weight else 0
            count, length, rows = windows.shape
            soft_targets = np.zeros((count, length - 1, rows, width), np.float16)
        windows, soft_targets = windows[:, :, self.rows], soft_targets[:, :, self.rows]
        if reset_state:
            self.state = self._zero_state()
        started = time.perf_counter()
        losses, norms = [], []
        steps = zip(windows, soft_targets, rates, self._resets(len(rates)), strict=True)
        for window, soft, rate, resets in steps:
            self.state[:, resets] = 0
            self.state, loss, norm = self.step(window, soft, self.state, float(rate))
            losses.append(loss)
            norms.append(norm)
        return StepMetrics(losses, norms, time.perf_counter() - started)

    def parameters(self) -> Parameters:
        """Return a copy of the weights for NumPy, or of their average if one is kept."""
        return Parameters(self.model.architecture, copied(self._average or self._weights))

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
            rows = np.zeros((self.batches.batch_size, layer.shape[1]), np.float32)
            rows[self.rows] = layer
            tensors[f"state/rnn.{index}"] = self.workers.total(rows)
        return tensors

    def restore(self, tensors: Tensors) -> None:
        """Restore a state that `tensors` has returned."""
        for name, variable in self._variables.items():
            _assign(variable, tensors[name])
        layers = [tensors[f"state/rnn.{index}"][self.rows] for index in range(len(self.state))]
        self.state = np.stack(layers)

    def _zero_state(self) -> Floats:
        shape = self.model.architecture
        return np.zeros((shape.layers, self._height, shape.units), np.float32)

    def _resets(self, count: int) -> NDArray[np.bool_]:
        """Return which streams start the next steps from the zero state, at random, bool [K, R].

        The random numbers depend on the step, so that a step can be repeated.
        """
        first = int(self._slots["iterations"])
        resets = np.zeros((count, self._height), np.bool_)
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


def _prefix(section: str, variables: Mapping[str, Any]) -> Variables:
    return {f"{section}/{name}": variable for name, variable in variables.items()}
