"""kernel.c: the loss of a window and its gradient, called from NumPy.

Axes: T time, R rows, V characters, H units, L layers.
"""

import ctypes
import os
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import ml_dtypes
import numpy as np
from numpy.typing import NDArray

from charlm.config.schema import ACTIVATIONS
from charlm.engine.compiler import open_library
from charlm.events import OnEvent, ignore
from charlm.storage import file_sha256

Array = NDArray[Any]


@dataclass(frozen=True)
class Network:
    """What the kernel must know of a network besides its weights."""

    layers: int
    units: int
    characters: int
    activation: str
    """One of ACTIVATIONS, whose order is that of the numbers in kernel.c."""
    skip_connections: bool
    """Whether every layer reads the character, and the logits read every layer."""
    bfloat16: bool
    """Whether the factors of products are rounded to bfloat16."""


class _Window(ctypes.Structure):
    """The struct Window in kernel.c."""

    _fields_: ClassVar = [
        *((name, ctypes.c_long) for name in ("time", "rows", "layers", "units", "characters")),
        *((name, ctypes.c_int) for name in ("activation", "bfloat16", "skip_connections")),
        *((name, ctypes.c_float) for name in ("soft_weight", "temperature", "share")),
        *((name, ctypes.c_void_p) for name in ("ids", "soft", "state", "recurrent_mask", "layer_mask", "output_mask")),
        *((name, ctypes.POINTER(ctypes.c_void_p)) for name in ("weights", "gradients")),
        *((name, ctypes.c_void_p) for name in ("last", "loss")),
    ]


class Kernel:
    """The compiled library. A call releases the interpreter's lock, so that the parts of a batch run side by side.

    Weights, and the gradients by them, are lists of float32 arrays in C order: the table of each layer with its bias,
    [V, H], or [1, H] if it reads no character; the recurrent kernel of each layer [H, H]; the kernel of each layer but
    the first for the layer below, [H, H]; the kernel of the logits [H or L H, V]; and their bias [V].

    Args:
        path: The library.

    Raises:
        OSError: it cannot be loaded.
        ValueError: it is another library.

    """

    def __init__(self, path: Path) -> None:
        self._library = ctypes.CDLL(os.fspath(path))
        self.has_bfloat16 = bool(ctypes.c_int.in_dll(self._library, "has_bfloat16").value)
        """Whether it was compiled for a processor that multiplies bfloat16."""
        self.sha256 = file_sha256(path)
        """Of the library: another one may compute other bits."""
        for function, arrays in ((self._library.pack_weights, 1), (self._library.run, 2)):
            function.restype, function.argtypes = ctypes.c_long, [ctypes.POINTER(_Window), *arrays * [ctypes.c_void_p]]
        self._own = threading.local()
        """`memory` is what the last call in a thread has worked with."""

    def pack(self, network: Network, weights: Sequence[Array]) -> Array:
        """Return the weights as `gradient` multiplies with them, float32 [n]."""
        tables = weights[: network.layers]
        matrices = weights[network.layers : -1]
        if network.bfloat16:
            matrices = [matrix.astype(ml_dtypes.bfloat16) for matrix in matrices]
        window = self._window(network, weights=_pointers(network, [*tables, *matrices, weights[-1]]))
        packed = _aligned(self._library.pack_weights(window, None))
        self._library.pack_weights(window, packed.ctypes.data)
        return packed

    def gradient(
        self,
        network: Network,
        weights: Sequence[Array],
        packed: Array,
        *,
        window: Array,
        state: Array,
        soft: Array | None = None,
        recurrent_mask: Array | None = None,
        layer_mask: Array | None = None,
        output_mask: Array | None = None,
        temperature: float = 1.0,
        soft_weight: float = 0.0,
        share: float = 1.0,
    ) -> tuple[Array, Array]:
        """Compute the loss of a window and the gradient of what is minimised; kernel.c has the equations.

        Args:
            network: The network.
            weights: Its weights.
            packed: What `pack` returned for them.
            window: Ids, int32 [T + 1, R]: the inputs are rows 0 to T - 1, the targets rows 1 to T.
            state: Before the first character, [L, R, H].
            soft: The soft targets [T, R, V], or None.
            recurrent_mask: By which each layer's h is multiplied before it reads it, [L, R, H], or None.
            layer_mask: The same before the next layer reads it, [L - 1, R, H], or None.
            output_mask: The same before the logits read it, [T, R, H or L H], or None.
            temperature: Divisor of the logits in what is minimised.
            soft_weight: The weight of the soft targets.
            share: By which the mean over the window is multiplied.

        Returns:
            The state after the last character [L, R, H]; and the loss in nats and the gradients, one after the other in
            the order of the weights, as one vector.

        """
        last = np.empty_like(state)
        arrays = {"ids": window, "soft": soft, "state": state, "recurrent_mask": recurrent_mask}
        arrays |= {"layer_mask": layer_mask, "output_mask": output_mask, "last": last}
        assert all(array is None or array.flags.c_contiguous for array in (*arrays.values(), *weights))
        ends = np.cumsum([1, *(weight.size for weight in weights)])
        vector = _aligned(ends[-1])
        vector[:] = 0
        gradients = [
            part.reshape(one.shape) for part, one in zip(np.split(vector, ends[:-1])[1:], weights, strict=True)
        ]
        given = self._window(
            network,
            time=len(window) - 1,
            rows=window.shape[1],
            soft_weight=soft_weight,
            temperature=temperature,
            share=share,
            weights=_pointers(network, weights),
            gradients=_pointers(network, gradients),
            loss=vector.ctypes.data,
            **{name: array.ctypes.data for name, array in arrays.items() if array is not None},
        )
        size, memory = self._library.run(given, None, None), getattr(self._own, "memory", None)
        if memory is None or memory.size < size:
            memory = self._own.memory = _aligned(size)
        self._library.run(given, packed.ctypes.data, memory.ctypes.data)
        return last, vector

    def _window(self, network: Network, **fields: Any) -> _Window:
        if network.bfloat16 and not self.has_bfloat16:
            raise ValueError("this library was compiled without bfloat16, and would write past the end of the arrays")
        return _Window(**{**vars(network), "activation": ACTIVATIONS.index(network.activation)}, **fields)


def _pointers(network: Network, weights: Sequence[Array]) -> Any:
    """Return the places of weights in the order of kernel.c: of each layer the table and what reads it, then c."""
    count = network.layers
    logits = np.split(weights[-2], len(weights[-2]) // network.units)
    of_layers = [weights[:count], weights[count : 2 * count], [*weights[2 * count : -2], None]]
    of_layers.append([*[None] * (count - len(logits)), *logits])
    order = [*(array for each in zip(*of_layers, strict=True) for array in each), weights[-1]]
    return (ctypes.c_void_p * len(order))(*(None if array is None else array.ctypes.data for array in order))


def _aligned(size: int) -> Array:
    """Return float32 [size] that begin at a multiple of 64 bytes, as vectors are loaded; TensorFlow copies others."""
    memory = np.empty(4 * size + 64, np.uint8)
    start = -memory.ctypes.data % 64
    return memory[start : start + 4 * size].view(np.float32)


LOADED: list[Kernel] = []
"""The kernel of this process, once it is loaded."""


def load_kernel(on_event: OnEvent = ignore) -> Kernel:
    """Return the kernel of this process; arguments and errors are those of `charlm.engine.compiler.open_library`."""
    if not LOADED:
        LOADED.append(open_library(Kernel, on_event=on_event))
    return LOADED[0]
