"""The pieces of a training step, from which `charlm bench profile` finds how long each part of it takes.

Some parts cannot run alone: there is no backward pass without a forward pass. So the pieces are compiled, most of which
contain another, and a part is a difference of pieces. A piece works on all parts of the batch side by side, as the step
does.

Axes: B batch, T time, V vocabulary.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from charlm.config.schema import Config, ModelConfig, RnnConfig
from charlm.engine.distribution import Machine
from charlm.engine.keras_engine import KerasEngine
from charlm.engine.model import build_model
from charlm.engine.objective import make_objective, mean_nats
from charlm.engine.recurrence import Tensor
from charlm.engine.step import GradientsOfParts, share_batch
from charlm.text.batches import Batches

PRODUCTS = {"MatMul": "transpose_a", "BatchMatMulV2": "adj_x"}
"""The operations that multiply matrices, and the attribute that transposes the left factor."""


@dataclass(frozen=True)
class Piece:
    """A piece of a step, ready to run."""

    run: Callable[[], Any]
    """Runs it once, to its end, and returns its results as arrays; the whole step returns what the engine does."""
    operations: int
    """The additions and multiplications of its products of matrices; 0 for the whole step, where they are not counted.
    """


class StepPieces:
    """The pieces of a recipe's step, with random weights and characters; each method returns one.

    Args:
        config: The recipe.
        vocabulary: V.
        precision: float32 or bfloat16.

    Raises:
        CharlmError: Keras does not have, or cannot use, something that the config names.

    """

    def __init__(self, config: Config, vocabulary: int, *, precision: str) -> None:
        settings = config.training
        batch, time = settings.batch_size, settings.sequence_length
        batches = Batches(length=batch * time + 1, batch_size=batch, sequence_length=time, seed=0)
        self._engine = KerasEngine(config, batches, vocabulary_size=vocabulary, precision=precision)
        self._without_dropout = build_model(_without_dropout(config), vocabulary, precision=precision)
        self._shares = share_batch(batch, settings.parts or 1, Machine())
        self._objective = make_objective(settings)
        self._windows = np.random.default_rng(0).integers(0, vocabulary, (1, time + 1, batch), np.int32)

    def forward(self) -> Piece:
        """Return the recurrences of all layers, without dropout."""

        def read() -> list[Any]:
            """Return the state after the window, for each part of the batch."""
            outputs = [self._without_dropout.read(part[:-1], state, training=False) for part, state in self._parts()]
            return [[output[-1] for output in layers] for layers in outputs]

        return _compile(read)

    def loss(self) -> Piece:
        """Return `forward` with the logits and their loss."""

        def predict() -> list[Tensor]:
            """Return the loss of each part of the batch."""
            predictions = [
                (part[1:], self._without_dropout.predict_window(part[:-1], state, training=False))
                for part, state in self._parts()
            ]
            return [mean_nats(targets, logits) for targets, (logits, _, _) in predictions]

        return _compile(predict)

    def gradients_without_dropout(self) -> Piece:
        """Return `loss` with its gradients, added over the parts of the batch."""
        return self._gradients(self._without_dropout)

    def gradients(self) -> Piece:
        """Return `gradients_without_dropout` with the dropout of the recipe."""
        return self._gradients(self._engine.model)

    def optimizer(self) -> Piece:
        """Return the update of the weights from their gradients."""
        weights, optimizer = self._engine.model.trainable_variables, self._engine.optimizer
        rng = np.random.default_rng(0)
        gradients = [tf.Variable(1e-3 * rng.standard_normal(weight.shape, np.float32)) for weight in weights]

        def update() -> Tensor:
            """Update the weights; return the number of updates."""
            optimizer.apply([gradient.read_value() for gradient in gradients], weights)
            return optimizer.iterations.value

        return _compile(update)

    def average(self) -> Piece:
        """Return the update of the average of the weights; it does nothing if the recipe keeps none."""
        average, iterations = self._engine.average, self._engine.optimizer.iterations

        def update() -> Tensor:
            """Update the average; return the number of updates of the weights."""
            if average is not None:
                average.update(iterations)
            return iterations.value

        return _compile(update)

    def step(self) -> Piece:
        """Return the whole step as `charlm train` takes it, one in a call."""
        rates = np.full(1, 1e-3, np.float32)
        return Piece(lambda: self._engine.take_steps(self._windows, rates, reset_state=False), 0)

    def _gradients(self, model: keras.Model) -> Piece:
        gradients = GradientsOfParts(model, self._shares, self._objective)
        soft_targets = self._engine.blank_soft_targets(self._windows)[0]
        return _compile(lambda: gradients(tf.constant(self._windows[0]), self._engine.state, soft_targets))

    def _parts(self) -> list[tuple[Tensor, Any]]:
        return self._shares.split(tf.constant(self._windows[0]), self._engine.state)


def count_operations(graph: Any) -> int:
    """Return the operations of all products of matrices in a TensorFlow graph: two for each pair of numbers."""
    total = 0
    for node in graph.get_operations():
        if node.type in PRODUCTS:
            rows, columns = node.inputs[0].shape[-2:]
            inner = rows if node.get_attr(PRODUCTS[node.type]) else columns
            total += 2 * inner * math.prod(node.outputs[0].shape)
    return total


def _compile(function: Callable[[], Any]) -> Piece:
    concrete = tf.function(function, autograph=False).get_concrete_function()

    def run() -> list[Any]:
        """Run, and wait for all results."""
        return [result.numpy() for result in tf.nest.flatten(concrete())]

    return Piece(run, count_operations(concrete.graph))


def _without_dropout(config: Config) -> Config:
    """Return a config whose settings of dropout are all 0."""

    def zeros(settings: ModelConfig | RnnConfig) -> dict[str, float]:
        return {name: 0.0 for name in type(settings).model_fields if name.endswith("dropout")}

    model = config.model
    rnn = model.rnn.model_copy(update=zeros(model.rnn))
    return config.model_copy(update={"model": model.model_copy(update={**zeros(model), "rnn": rnn})})
