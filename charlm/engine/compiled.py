"""Steps of training by the compiled kernel, on arrays instead of Keras variables.

Each part of a batch has a thread, and so has each group of tensors in the update. Sums are taken in
a fixed order, so the results do not depend on the number of cores.

Axes: R rows of the batch on this worker, T time, V vocabulary, H units, L layers, K steps in one
call.
"""

import itertools
import math
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import keras
import numpy as np
from numpy.typing import NDArray

from charlm.config.schema import Config, ModelConfig
from charlm.engine.kernel import Network, aligned, arrange, load_kernel
from charlm.engine.model import CharacterRNN
from charlm.engine.step import StepResults, add_in_order, make_objective, part_sizes
from charlm.engine.update import Update
from charlm.hardware import core_count
from charlm.network.architecture import Architecture
from charlm.network.model_file import Tensors
from charlm.network.rnn import Floats, Parameters
from charlm.training.workers import Workers


class CompiledSteps:
    """Takes steps of training; has the interface of `charlm.engine.step.TrainSteps`.

    Args:
        model: The network.
        optimizer: The Keras optimizer, built on `model.trainable_variables`; it has the settings.
        weights: The trained weights by name, changed in place.
        average: Their average, or an empty mapping.
        slots: The variables of the optimizer, by name, changed in place.
        config: The objective, precision, parts of this worker, `clip_norm`, dropout, and its seed.
        workers: The workers that share each batch.
        height: R, the number of rows of this worker.

    """

    def __init__(
        self,
        model: CharacterRNN,
        optimizer: keras.optimizers.Optimizer,
        *,
        weights: Tensors,
        average: Tensors,
        slots: Tensors,
        config: Config,
        workers: Workers,
        height: int,
    ) -> None:
        shape = model.architecture
        settings = config.training
        self._config = config
        self._kernel = load_kernel()
        self._network = Network(shape, bfloat16=settings.precision == "bfloat16")
        self._workers = workers
        self._height = height
        self._threads = ThreadPoolExecutor(core_count())
        self._parameters = Parameters(shape, weights)
        layers = self._parameters.layers
        self._tables = [np.array(self._parameters.input_table(layer)) for layer in layers]
        self._weights = arrange(self._parameters, self._tables)
        self._packed = self._kernel.new_packed(self._network, self._weights)
        ends = itertools.accumulate(part_sizes(height, settings.parts or 1), initial=0)
        self._parts = [slice(*pair) for pair in itertools.pairwise(ends)]
        self._gradients = [Gradient(shape, self._tables) for _ in self._parts]
        self._slots = slots
        self._update = Update(
            self._kernel,
            optimizer,
            threads=self._threads,
            weights=weights,
            gradients=self._gradients[0].parameters.tensors,
            average=average,
            slots=slots,
            bfloat16=self._network.bfloat16,
        )

    def __call__(
        self,
        windows: NDArray[np.int32],
        soft_targets: NDArray[np.float16],
        state: Sequence[Floats],
        rates: NDArray[np.float32],
        resets: NDArray[np.bool_],
    ) -> StepResults:
        """Take K steps; see `charlm.engine.step.TrainSteps`."""
        training = self._config.training
        clip_norm = training.clip_norm
        joined = np.stack(state)
        losses = np.empty(len(rates), np.float32)
        norms = np.empty(len(rates), np.float32)
        for index, rate in enumerate(rates):
            joined[:, resets[index]] = 0
            joined, losses[index] = self.add_gradients(windows[index], soft_targets[index], joined)
            norms[index] = norm = self._kernel.norm(self._gradients[0].of_tensors)
            clip = 1.0 if clip_norm is None or norm <= clip_norm else clip_norm / norm
            self._update(float(rate), clip=clip, average_momentum=training.average_momentum)
        return StepResults(tuple(joined), losses, norms)

    def build(self, length: int) -> None:
        """Do nothing: there is no graph."""

    def add_gradients(
        self, window: NDArray[np.int32], soft: NDArray[np.float16], state: Floats
    ) -> tuple[Floats, float]:
        """Compute the gradient of a batch into the first of `_gradients`.

        Returns:
            The state after the window, [L, R, H], and its loss.

        """
        for table, layer in zip(self._tables, self._parameters.layers, strict=True):
            table[...] = self._parameters.input_table(layer)
        turns = core_count()
        pack = partial(self._kernel.pack, self._network, self._weights, self._packed, turns=turns)
        list(self._threads.map(lambda turn: pack(turn=turn), range(turns)))
        compute = partial(self._compute_part, window=window, soft=soft, state=state)
        states = list(self._threads.map(compute, self._parts, self._gradients))
        total = self._gradients[0]
        add_in_order([gradient.vector for gradient in self._gradients], _add)
        if self._workers.count > 1:
            total.vector[:] = self._workers.total(total.vector)
        total.follow_tables(self._parameters)
        return np.concatenate(states, axis=1), float(total.loss[0])

    def _compute_part(
        self,
        part: slice,
        gradient: "Gradient",
        *,
        window: NDArray[np.int32],
        soft: NDArray[np.float16],
        state: Floats,
    ) -> Floats:
        """Compute the gradient of a part; return the state after it, [L, rows, H]."""
        objective = make_objective(self._config.training)
        rows = part.stop - part.start
        share = rows / (self._workers.count * self._height)
        seed = [self._config.seed, int(self._slots["iterations"]), self._workers.index, part.start]
        masks = draw_masks(self._config.model, seed, time=len(window) - 1, rows=rows)
        last, losses = self._kernel.run(
            self._network,
            self._weights,
            self._packed,
            window=np.ascontiguousarray(window[:, part]),
            state=np.ascontiguousarray(state[:, part]),
            gradients=gradient.weights,
            soft=np.ascontiguousarray(soft[:, part], np.float32) if soft.size else None,
            **masks,
            temperature=objective.temperature,
            soft_weight=objective.soft_weight,
            share=share,
        )
        gradient.loss[0] = share * losses.mean(dtype=np.float64)
        return last


def draw_masks(
    config: ModelConfig, seed: Sequence[int], *, time: int, rows: int
) -> dict[str, Floats]:
    """Draw the dropout masks of a window: 0, or 1 / (1 - rate).

    Args:
        config: The rates.
        seed: Numbers that determine the masks.
        time: T.
        rows: R.

    Returns:
        The masks by their names in `charlm.engine.kernel.Kernel.run`, only for rates above 0.

    """
    layers = config.layers
    units = config.units
    features = layers * units if config.skip_connections else units
    drawn = {
        "recurrent_mask": (config.rnn.recurrent_dropout, (layers, rows, units)),
        "layer_mask": (config.layer_dropout, (layers - 1, rows, units)),
        "output_mask": (config.output_dropout, (time, rows, features)),
    }
    generator = np.random.default_rng(seed)
    masks: dict[str, Floats] = {}
    for name, (rate, shape) in drawn.items():
        if rate:
            is_kept = generator.random(shape, np.float32) >= rate
            masks[name] = is_kept * np.float32(1 / (1 - rate))
    return masks


class Gradient:
    """The gradient with respect to each tensor, in one vector with the tables and the loss.

    The kernel knows neither embedding nor bias. Instead, a layer that reads characters has a table
    with one row for each character: the embedding times the input weights, plus the bias.

    Args:
        shape: The tensors.
        tables: The table of each layer.

    """

    def __init__(self, shape: Architecture, tables: Sequence[Floats]) -> None:
        shapes = [*shape.shapes().values(), *(table.shape for table in tables), (1,)]
        ends = [*itertools.accumulate(map(math.prod, shapes), initial=0)]
        self.vector = aligned(ends[-1])
        self.vector[:] = 0
        blocks = [self.vector[start:end] for start, end in itertools.pairwise(ends)]
        views = [block.reshape(shape) for block, shape in zip(blocks, shapes, strict=True)]
        count = len(shape.tensors)
        self.of_tensors = self.vector[: ends[count]]
        """The part of the vector without the tables and the loss."""
        self.parameters = Parameters(shape, dict(zip(shape.tensors, views[:count], strict=True)))
        *self.tables, self.loss = views[count:]
        self.weights = arrange(self.parameters, self.tables)

    def follow_tables(self, parameters: Parameters) -> None:
        """Compute the gradients of the tensors that the tables are made of."""
        embedding = parameters.tensors.get("embedding")
        of_embedding = self.parameters.tensors.get("embedding", np.zeros(0))
        of_embedding[...] = 0
        layers = zip(parameters.layers, self.parameters.layers, self.tables, strict=True)
        for layer, gradient, table in layers:
            gradient.bias[...] = table.sum(0)
            if not len(layer.input_kernel):
                continue
            if embedding is None:
                gradient.input_kernel[...] = table
            else:
                np.matmul(embedding.T, table, out=gradient.input_kernel)
                of_embedding += table @ layer.input_kernel.T


def _add(first: Floats, second: Floats) -> Floats:
    """Add an array to the first, in place."""
    return np.add(first, second, out=first)
