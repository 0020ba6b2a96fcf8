"""The update of the weights by the compiled kernel, with the settings of a Keras optimizer."""

import math
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import keras
import numpy as np

from charlm.engine.kernel import CommonStep, Kernel, TensorStep, filled_struct
from charlm.engine.optimizer import POLYNOMIALS, Muon, average_share
from charlm.hardware import core_count
from charlm.network.model_file import Tensors
from charlm.network.rnn import Floats


class Update:
    """Changes weights, the variables of an optimizer, and the average of the weights in place.

    The cores take turns with the tensors. The results do not depend on the number of cores.

    Args:
        kernel: The kernel.
        optimizer: The built Keras optimizer, which has the settings.
        threads: A thread for each core.
        weights: The weights by name, float32.
        gradients: The gradient of each weight, float32.
        average: The average of each weight, or nothing.
        slots: The variables of the optimizer; see `charlm.engine.optimizer.named_slots`.
        bfloat16: Whether the factors of Muon's products are rounded to bfloat16.

    """

    def __init__(
        self,
        kernel: Kernel,
        optimizer: keras.optimizers.Optimizer,
        *,
        threads: ThreadPoolExecutor,
        weights: Tensors,
        gradients: Tensors,
        average: Tensors,
        slots: Tensors,
        bfloat16: bool,
    ) -> None:
        self._kernel = kernel
        self._slots = slots
        self._bfloat16 = bfloat16
        self._polynomials = np.array(POLYNOMIALS, np.float32)
        self._threads = threads
        self._rule = _Rule(optimizer)
        steps: list[TensorStep] = []
        for name, array in sorted(weights.items(), key=lambda item: -item[1].size):
            arrays = {
                "gradient": gradients[name],
                "weights": array,
                "momentum": slots.get(f"{name}/momentums"),
                "velocity": slots.get(f"{name}/{self._rule.prefix}velocities"),
                "average": average.get(name),
            }
            steps.append(filled_struct(TensorStep, arrays, **self._rule.fields(arrays)))
        self._steps = (TensorStep * len(steps))(*steps)

    def __call__(
        self, rate: float, *, clip: float = 1.0, average_momentum: float | None = None
    ) -> None:
        """Take a step.

        Args:
            rate: The learning rate.
            clip: Factor of the gradients.
            average_momentum: Momentum of the average; None = no average.

        """
        self._slots["learning_rate"][...] = rate
        self._slots["iterations"] += 1
        count = int(self._slots["iterations"])
        share = 0.0 if average_momentum is None else average_share(average_momentum, count)
        step = filled_struct(
            CommonStep,
            {"abc": self._polynomials},
            polynomials=len(self._polynomials),
            bfloat16=self._bfloat16,
            clip=clip,
            rate=rate,
            adam_rate=rate * self._rule.correction(count),
            share=share,
        )
        in_turn(self._threads, partial(self._kernel.update, step, self._steps))


class _Rule:
    """The settings of a Keras optimizer for each tensor."""

    def __init__(self, optimizer: keras.optimizers.Optimizer) -> None:
        self._optimizer = optimizer
        self._is_muon = isinstance(optimizer, Muon)
        self.prefix = "adam_" if self._is_muon else ""
        """Prefix of the names of Adam's settings and velocities."""
        self._beta_1 = getattr(optimizer, f"{self.prefix}beta_1", 0.0)
        self._beta_2 = getattr(optimizer, f"{self.prefix}beta_2", 0.0)

    def correction(self, step: int) -> float:
        """Return Adam's factor of the learning rate at a step, 1 or more."""
        return math.sqrt(1 - self._beta_2**step) / (1 - self._beta_1**step)

    def fields(self, arrays: Mapping[str, Floats | None]) -> dict[str, float]:
        """Return the fields of `TensorStep` for a tensor with some arrays.

        As in Keras, a tensor with a velocity is updated by Adam.
        """
        weights = arrays["weights"]
        assert weights is not None
        shape = weights.shape
        rows, columns = shape if len(shape) == 2 else (1, *shape)
        fields = {"rows": rows, "columns": columns, "decay": self._optimizer.weight_decay or 0.0}
        if arrays["velocity"] is None:
            fields["momentum_factor"] = self._optimizer.momentum
            if self._is_muon:
                fields["scale"] = max(shape) ** 0.5 * self._optimizer.rms_rate
            return fields
        if self._is_muon:
            fields["decay"] = self._optimizer.adam_weight_decay
        fields["epsilon"] = self._optimizer.epsilon
        fields["momentum_share"] = 1 - self._beta_1
        fields["velocity_share"] = 1 - self._beta_2
        return fields


def in_turn(threads: ThreadPoolExecutor, work: Callable[..., None]) -> None:
    """Call `work(turn=N, turns=M)` in M threads, one for each core, with N from 0 to M - 1."""
    turns = core_count()
    list(threads.map(lambda turn: work(turn=turn, turns=turns), range(turns)))
