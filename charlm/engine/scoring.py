"""The losses of a text by the compiled kernel: many times faster than by NumPy, in float32, on all cores.

Axes: T time, B streams, L layers, H units.
"""

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
from numpy.typing import NDArray

from charlm.engine.kernel import Kernel, Network
from charlm.hardware import core_count
from charlm.network.rnn import Floats, Parameters, State

TIMES_AT_ONCE = 64
"""How many characters of each stream one call of the kernel reads; it limits the memory."""


class CompiledReader:
    """Reads texts with the compiled kernel; implements `charlm.evaluation.scoring.ReadNats`.

    The results do not depend on how many cores share the streams: the kernel treats each stream alike.

    Args:
        kernel: The kernel.
        parameters: The weights, float32.

    """

    def __init__(self, kernel: Kernel, parameters: Parameters) -> None:
        self._kernel = kernel
        self._network = Network(parameters.architecture, bfloat16=False)
        self._weights: list[Floats | None] = []
        for index, table in enumerate(parameters.input_tables):
            readers = parameters.output_kernels(index)
            self._weights += [table, *(rows if rows.size else None for rows in readers)]
        self._weights.append(parameters.logits_bias)
        self._packed = kernel.pack(self._network, self._weights)

    def __call__(self, ids: NDArray[Any], state: State) -> tuple[Floats, State]:
        """Read ids, [T + 1, B]; return the nats of ids 1 to T, float32 [T, B], and the state after id T - 1."""
        groups = np.array_split(np.arange(ids.shape[1]), min(core_count(), ids.shape[1]))
        parts = [np.ascontiguousarray(ids[:, group], np.int32) for group in groups]
        states = [np.array([layer[group] for layer in state]) for group in groups]
        with ThreadPoolExecutor(len(groups)) as threads:
            results = list(threads.map(self._read_group, parts, states))
        losses = np.concatenate([losses for losses, _ in results], axis=1)
        return losses, tuple(np.concatenate([last for _, last in results], axis=1))

    def _read_group(self, ids: NDArray[np.int32], state: Floats) -> tuple[Floats, Floats]:
        """Read some streams, [T + 1, R], from a state [L, R, H], in one thread."""
        losses = np.empty((len(ids) - 1, ids.shape[1]), np.float32)
        for start in range(0, len(losses), TIMES_AT_ONCE):
            window = ids[start : start + TIMES_AT_ONCE + 1]
            state, found = self._kernel.losses(
                self._network, self._weights, self._packed, window=window, state=state
            )
            losses[start : start + TIMES_AT_ONCE] = found
        return losses, state
