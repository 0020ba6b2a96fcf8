"""A step of training by the compiled kernel, on arrays instead of Keras variables.

Each part of a batch has a thread. Sums are taken in a fixed order, so the results do not depend on
the number of cores.

Axes: R rows of the batch on this worker, T time, V vocabulary, H units, L layers.
"""

import itertools
import math
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial

import keras
import numpy as np

from charlm.config.schema import ModelConfig
from charlm.core.architecture import Architecture
from charlm.core.engine import SoftTargets
from charlm.core.learning import add_input_gradient
from charlm.core.model_file import Tensors
from charlm.core.rnn import Floats, Parameters
from charlm.core.vocabulary import Ids
from charlm.engines.kernel import (
    CommonStep,
    CompiledNetwork,
    Kernel,
    TensorStep,
    aligned,
    arrange,
    filled_struct,
    load_kernel,
)
from charlm.engines.step import (
    CHARACTER_RATE,
    POLYNOMIALS,
    Muon,
    Step,
    StepResult,
    average_share,
    part_sizes,
)
from charlm.hardware import core_count


@dataclass(eq=False)
class CompiledStep(Step):
    """Takes steps of training by the kernel; has the interface of `charlm.engines.step.KerasStep`.

    The optimizer only has the settings.
    """

    def __post_init__(self) -> None:
        shape = self.model.architecture
        settings = self.config.training
        self._threads = ThreadPoolExecutor(core_count())
        self._parameters = Parameters(shape, self.weights)
        layers = self._parameters.layers
        self._tables = [np.array(self._parameters.input_table(layer)) for layer in layers]
        bfloat16 = settings.precision == "bfloat16"
        self._kernel = load_kernel()
        self._network = CompiledNetwork(
            self._kernel, shape, arrange(self._parameters, self._tables), bfloat16=bfloat16
        )
        ends = itertools.accumulate(part_sizes(self.height, settings.parts or 1), initial=0)
        self._parts = [slice(*pair) for pair in itertools.pairwise(ends)]
        self._gradients = [Gradient(shape, self._tables) for _ in self._parts]
        self._update = Update(
            self._kernel,
            self.optimizer,
            threads=self._threads,
            weights=self.weights,
            gradients=self._gradients[0].parameters.tensors,
            average=self.average,
            slots=self.slots,
            bfloat16=bfloat16,
        )

    def __call__(self, window: Ids, soft: SoftTargets, state: Floats, rate: float) -> StepResult:
        """Take a step; see `charlm.engines.step.KerasStep`."""
        training = self.config.training
        state, loss = self.add_gradients(window, soft, state)
        norm = self._kernel.norm(self._gradients[0].of_tensors)
        limit = training.clip_norm
        clip = 1.0 if limit is None or norm <= limit else limit / norm
        self._update(rate, clip=clip, average_momentum=training.average_momentum)
        return StepResult(state, loss, norm)

    def add_gradients(self, window: Ids, soft: SoftTargets, state: Floats) -> tuple[Floats, float]:
        """Compute the gradient of a batch into the first of `_gradients`.

        Returns:
            The state after the window, [L, R, H], and its loss.

        """
        for table, layer in zip(self._tables, self._parameters.layers, strict=True):
            table[...] = self._parameters.input_table(layer)
        in_turn(self._threads, self._network.pack)
        compute = partial(self._compute_part, window=window, soft=soft, state=state)
        states = list(self._threads.map(compute, self._parts, self._gradients))
        total, *others = self._gradients
        for other in others:
            total.vector += other.vector
        if self.workers.count > 1:
            total.vector[:] = self.workers.total(total.vector)
        total.follow_tables(self._parameters)
        return np.concatenate(states, axis=1), float(total.loss[0])

    def _compute_part(
        self,
        part: slice,
        gradient: "Gradient",
        *,
        window: Ids,
        soft: SoftTargets,
        state: Floats,
    ) -> Floats:
        """Compute the gradient of a part; return the state after it, [L, rows, H]."""
        training = self.config.training
        rows = part.stop - part.start
        share = rows / (self.workers.count * self.height)
        seed = [self.config.seed, int(self.slots["iterations"]), self.workers.index, part.start]
        last, losses = self._network.run(
            np.ascontiguousarray(window[:, part]),
            np.ascontiguousarray(state[:, part]),
            gradients=gradient.weights,
            soft=np.ascontiguousarray(soft[:, part], np.float32) if soft.size else None,
            masks=draw_masks(self.config.model, seed, time=len(window) - 1, rows=rows),
            temperature=training.loss_temperature,
            soft_weight=training.ngram_weight,
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
        The masks by their names in the struct Window, only for rates above 0.

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
        if "embedding" in self.parameters.tensors:
            self.parameters.tensors["embedding"][...] = 0
        for index, table in enumerate(self.tables):
            add_input_gradient(parameters, self.parameters, index, table)


@dataclass(eq=False)
class Update:
    """Changes weights, the variables of an optimizer, and the average of the weights in place.

    The cores take turns with the tensors. The results do not depend on the number of cores.
    """

    kernel: Kernel
    optimizer: keras.optimizers.Optimizer
    """The built Keras optimizer, which has the settings."""
    threads: ThreadPoolExecutor
    """A thread for each core."""
    weights: Tensors
    gradients: Tensors
    """The gradient of each weight, float32."""
    average: Tensors
    """The average of each weight, or nothing."""
    slots: Tensors
    """The variables of the optimizer; see `charlm.engines.step.named_slots`."""
    bfloat16: bool
    """Whether the factors of Muon's products are rounded to bfloat16."""

    def __post_init__(self) -> None:
        self._polynomials = np.array(POLYNOMIALS, np.float32)
        self._is_muon = isinstance(self.optimizer, Muon)
        prefix = "adam_" if self._is_muon else ""  # of the names of Adam's settings and velocities
        self._beta_1 = getattr(self.optimizer, f"{prefix}beta_1", 0.0)
        self._beta_2 = getattr(self.optimizer, f"{prefix}beta_2", 0.0)
        rows = {}
        if self._is_muon:
            rows = dict(zip(self.weights, self.optimizer.character_rows, strict=True))
        steps: list[TensorStep] = []
        for name, array in self.weights.items():
            arrays = {
                "gradient": self.gradients[name],
                "weights": array,
                "momentum": self.slots.get(f"{name}/momentums"),
                "velocity": self.slots.get(f"{name}/{prefix}velocities"),
                "average": self.average.get(name),
            }
            steps += self._steps_of(arrays, rows.get(name, slice(0, 0)))
        steps.sort(key=lambda step: -step.rows * step.columns)  # so each core gets as much work
        self._steps = (TensorStep * len(steps))(*steps)

    def __call__(self, rate: float, *, clip: float, average_momentum: float | None) -> None:
        """Take a step.

        Args:
            rate: The learning rate.
            clip: Factor of the gradients.
            average_momentum: Momentum of the average; None = no average.

        """
        self.slots["learning_rate"][...] = rate
        self.slots["iterations"] += 1
        count = int(self.slots["iterations"])
        share = 0.0 if average_momentum is None else average_share(average_momentum, count)
        correction = math.sqrt(1 - self._beta_2**count) / (1 - self._beta_1**count)
        step = filled_struct(
            CommonStep,
            {"abc": self._polynomials},
            polynomials=len(self._polynomials),
            bfloat16=self.bfloat16,
            clip=clip,
            rate=rate,
            adam_rate=rate * correction,
            share=share,
        )
        in_turn(self.threads, partial(self.kernel.update, step, self._steps))

    def _steps_of(self, arrays: Mapping[str, Floats | None], characters: slice) -> list[TensorStep]:
        """Return the steps of a tensor: the rows of characters have their own."""
        if not characters.stop:
            return [filled_struct(TensorStep, arrays, **self._fields(arrays))]
        steps = []
        for rows, velocity in ((slice(characters.start), None), (characters, arrays["velocity"])):
            if not rows.stop:
                continue
            block = {name: None if array is None else array[rows] for name, array in arrays.items()}
            block["velocity"] = velocity
            fields = self._fields(block)
            if velocity is not None:
                fields["scale"] = CHARACTER_RATE
            steps.append(filled_struct(TensorStep, block, **fields))
        return steps

    def _fields(self, arrays: Mapping[str, Floats | None]) -> dict[str, float]:
        """Return the fields of `TensorStep` for some arrays.

        As in Keras, weights with a velocity are updated by Adam.
        """
        weights = arrays["weights"]
        assert weights is not None
        shape = weights.shape
        rows, columns = shape if len(shape) == 2 else (1, *shape)
        fields = {"rows": rows, "columns": columns, "decay": self.optimizer.weight_decay or 0.0}
        if arrays["velocity"] is None:
            fields["momentum_factor"] = self.optimizer.momentum
            if self._is_muon:
                fields["scale"] = max(shape) ** 0.5 * self.optimizer.rms_rate
            return fields
        if self._is_muon and len(shape) == 1:
            fields["decay"] = self.optimizer.adam_weight_decay
        fields["scale"] = 1.0
        fields["epsilon"] = self.optimizer.epsilon
        fields["momentum_share"] = 1 - self._beta_1
        fields["velocity_share"] = 1 - self._beta_2
        return fields


def in_turn(threads: ThreadPoolExecutor, work: Callable[..., None]) -> None:
    """Call `work(turn=N, turns=M)` in M threads, one for each core, with N from 0 to M - 1."""
    turns = core_count()
    list(threads.map(lambda turn: work(turn=turn, turns=turns), range(turns)))
