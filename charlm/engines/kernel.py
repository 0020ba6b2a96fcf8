"""The compiled kernel, called from NumPy: losses, gradients, and steps.

Axes: T time, R rows or streams, V characters, H units, L layers.
"""

import ctypes
import os
import threading
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, TypeVar

import numpy as np
from numpy.typing import NDArray

from charlm.core.architecture import Architecture
from charlm.core.rnn import Floats, Parameters, State
from charlm.core.vocabulary import Ids
from charlm.engines.compiler import open_library
from charlm.errors import CharlmError
from charlm.events import OnEvent, ignore
from charlm.hardware import FastPrecision, core_count, fastest_precision
from charlm.storage import file_sha256

Array = NDArray[Any]
Weights = Sequence[Array | None]
"""The weights of a network, float32, in the order of kernel.c.

For each layer: its table of what each character adds to the layer's input, with the bias, [V, H],
or [1, H] if the layer reads no character; then its `Parameters.outgoing`, None for an empty
one. Last, the bias of the logits."""
TIMES_AT_ONCE = 64
"""Maximum number of characters of each stream that one call reads without gradients; limits the
memory."""


def _fields(kind: Any, *names: str) -> list[tuple[str, Any]]:
    return [(name, kind) for name in names]


class Window(ctypes.Structure):
    """The struct Window in kernel.c."""

    _fields_: ClassVar = [
        *_fields(ctypes.c_long, "time", "rows", "layers", "units", "characters"),
        *_fields(ctypes.c_int, "activation", "bfloat16", "skip_connections"),
        *_fields(ctypes.c_float, "soft_weight", "temperature", "share"),
        *_fields(ctypes.c_void_p, "ids", "soft", "state"),
        *_fields(ctypes.c_void_p, "recurrent_mask", "layer_mask", "output_mask"),
        *_fields(ctypes.POINTER(ctypes.c_void_p), "weights", "gradients"),
        *_fields(ctypes.c_void_p, "last", "losses"),
    ]


class TensorStep(ctypes.Structure):
    """The struct Tensor in update.h: a tensor of weights, and how an optimizer changes it."""

    _fields_: ClassVar = [
        *_fields(ctypes.c_long, "rows", "columns"),
        *_fields(ctypes.c_float, "decay", "scale", "momentum_factor"),
        *_fields(ctypes.c_float, "momentum_share", "velocity_share", "epsilon"),
        *_fields(ctypes.c_void_p, "gradient", "weights", "momentum", "velocity", "average"),
    ]


class CommonStep(ctypes.Structure):
    """The struct Step in update.h, the same for all tensors of a step."""

    _fields_: ClassVar = [
        *_fields(ctypes.c_long, "polynomials"),
        *_fields(ctypes.c_int, "bfloat16"),
        *_fields(ctypes.c_float, "clip", "rate", "adam_rate", "share"),
        *_fields(ctypes.c_void_p, "abc"),
    ]


Struct = TypeVar("Struct", bound=ctypes.Structure)


class Kernel:
    """The compiled library.

    A call releases the interpreter's lock, so threads can compute the parts of a batch in parallel.

    Args:
        path: The library.

    Raises:
        OSError: The library cannot be loaded.
        ValueError: The file is a different library.

    """

    def __init__(self, path: Path) -> None:
        self._library = ctypes.CDLL(os.fspath(path))
        self.has_bfloat16 = bool(ctypes.c_int.in_dll(self._library, "has_bfloat16").value)
        """Whether the library was compiled for a processor that multiplies bfloat16."""
        self.has_tiles = bool(self._library.has_tiles())
        """Whether it may multiply bfloat16 in tiles, which Linux can refuse."""
        self.sha256 = file_sha256(path)
        """SHA-256 of the library; a different library may compute different bits."""
        window = ctypes.POINTER(Window)
        array = ctypes.c_void_p
        number = ctypes.c_long
        step = ctypes.POINTER(CommonStep)
        self._declare("packed_size", window)
        self._declare("pack_weights", window, array, number, number, array)
        self._declare("run", window, array, array)
        self._declare("update", step, ctypes.POINTER(TensorStep), number, number, number, array)
        self._declare("norm", array, number)
        self._library.norm.restype = ctypes.c_float
        self._of_thread = threading.local()
        """The memory of the last call in each thread."""

    def _declare(self, name: str, *arguments: Any) -> None:
        function = getattr(self._library, name)
        function.argtypes = arguments
        function.restype = ctypes.c_long

    def call(self, name: str, *arguments: Any) -> int:
        """Call a function of the library."""
        return int(getattr(self._library, name)(*arguments))

    def call_with_memory(self, name: str, *arguments: Any) -> None:
        """Call a function with the memory that it needs; the thread keeps the memory."""
        size = self.call(name, *arguments, None)
        memory: Array | None = getattr(self._of_thread, "memory", None)
        if memory is None or memory.size < size:
            memory = self._of_thread.memory = aligned(size)
        self.call(name, *arguments, memory.ctypes.data)

    def norm(self, numbers: Array) -> float:
        """Return the Euclidean norm of float32 numbers, [n]."""
        return float(self._library.norm(numbers.ctypes.data, numbers.size))

    def update(self, step: CommonStep, tensors: Any, *, turn: int, turns: int) -> None:
        """Take a step with every turns-th tensor of an array of `TensorStep`, from `turn` on.

        The addresses in the structs must be those of C-contiguous float32 arrays that still exist.
        """
        self.call_with_memory("update", step, tensors, len(tensors), turn, turns)


@dataclass(eq=False)
class CompiledNetwork:
    """A network in the layout of the kernel."""

    kernel: Kernel
    shape: Architecture
    weights: Weights
    """The weights, whose values may change later."""
    bfloat16: bool = False
    """Whether the factors of products are rounded to bfloat16, which `Kernel.has_bfloat16`
    allows."""

    def __post_init__(self) -> None:
        self._pointers = _pointers(self.weights)
        self._packed = aligned(self.kernel.call("packed_size", self._window({})))
        self.pack()

    def pack(self, *, turn: int = 0, turns: int = 1) -> None:
        """Copy every turns-th weight, from `turn` on, into the layout of `run`."""
        packed = self._packed.ctypes.data
        self.kernel.call_with_memory("pack_weights", self._window({}), packed, turn, turns)

    def run(
        self,
        window: Array,
        state: Array,
        *,
        gradients: Weights | None = None,
        soft: Array | None = None,
        masks: Mapping[str, Array] | None = None,
        temperature: float = 1.0,
        soft_weight: float = 0.0,
        share: float = 1.0,
    ) -> tuple[Array, Array]:
        """Compute the losses of a window, and the gradient of the objective; see kernel.c.

        Args:
            window: Ids, int32 [T + 1, R]: rows 0 to T - 1 are the inputs, rows 1 to T the targets.
            state: The state before the first character, [L, R, H].
            gradients: Arrays for the gradients, in the order of the weights; None = compute none.
            soft: Soft targets, [T, R, V].
            masks: Dropout masks: `recurrent_mask` of each layer's state before the layer itself
                reads it, [L, R, H]; `layer_mask` of each output before the next layer reads it,
                [L - 1, R, H]; `output_mask` of the features before the logits read them,
                [T, R, H or L H].
            temperature: Divisor of the logits in the objective.
            soft_weight: Weight of the soft targets.
            share: Factor of the mean over the window.

        Returns:
            The state after the last character, [L, R, H], and the loss of each character in nats,
            [T, R].

        """
        last = np.empty_like(state)
        losses = np.empty((len(window) - 1, window.shape[1]), np.float32)
        arrays = {"ids": window, "state": state, "soft": soft, "last": last, "losses": losses}
        filled = self._window(
            {**arrays, **(masks or {})},
            time=len(losses),
            rows=window.shape[1],
            soft_weight=soft_weight,
            temperature=temperature,
            share=share,
            gradients=None if gradients is None else _pointers(gradients),
        )
        self.kernel.call_with_memory("run", filled, self._packed.ctypes.data)
        return last, losses

    def _window(self, arrays: Mapping[str, Array | None], **values: Any) -> Window:
        shape = self.shape
        return filled_struct(
            Window,
            arrays,
            layers=shape.layers,
            units=shape.units,
            characters=shape.vocabulary_size,
            activation=ord(shape.activation[0]),
            skip_connections=shape.skip_connections,
            bfloat16=self.bfloat16,
            weights=self._pointers,
            **values,
        )


def filled_struct(
    struct: type[Struct], arrays: Mapping[str, Array | None], **values: Any
) -> Struct:
    """Return a struct with pointers to C-contiguous arrays, and other values."""
    present = {name: array for name, array in arrays.items() if array is not None}
    assert all(array.flags.c_contiguous for array in present.values())
    pointers = {name: array.ctypes.data for name, array in present.items()}
    return struct(**pointers, **values)


def _pointers(arrays: Weights) -> Any:
    assert all(array is None or array.flags.c_contiguous for array in arrays)
    addresses = [None if array is None else array.ctypes.data for array in arrays]
    return (ctypes.c_void_p * len(arrays))(*addresses)


def aligned(size: int) -> Array:
    """Return float32 [size] aligned to 64 bytes for vectors; its values are not set."""
    memory = np.empty(4 * size + 64, np.uint8)
    start = -memory.ctypes.data % 64
    return memory[start : start + 4 * size].view(np.float32)


def arrange(parameters: Parameters, tables: Sequence[Array]) -> list[Array | None]:
    """Return the weights in the order of `Weights`, without copies.

    Args:
        parameters: The weights.
        tables: The table of each layer.

    """
    arranged: list[Array | None] = []
    for index, table in enumerate(tables):
        kernels = parameters.outgoing(index)
        arranged += [table, *(kernel if kernel.size else None for kernel in kernels)]
    return [*arranged, parameters.logits_bias]


LOADED: list[Kernel] = []
"""The kernel of this process once it is loaded; empty before."""


def load_kernel(on_event: OnEvent = ignore) -> Kernel:
    """Return the kernel of this process; see `charlm.engines.compiler.open_library`."""
    if not LOADED:
        LOADED.append(open_library(Kernel, on_event=on_event))
    return LOADED[0]


def choose_precision(on_event: OnEvent = ignore) -> FastPrecision:
    """Return the number format in which this machine trains fastest; float32 without a kernel."""
    try:
        kernel = load_kernel(on_event)
    except CharlmError:
        return FastPrecision("float32", "there is no compiled kernel")
    return fastest_precision(has_bfloat16=kernel.has_bfloat16, has_tiles=kernel.has_tiles)


class CompiledReader:
    """A reader of texts that uses the kernel; implements `charlm.core.scoring.ReadNats`.

    The reader is many times faster than NumPy. The results do not depend on the number of cores
    that share the streams, since the kernel computes each stream independently.

    Args:
        kernel: The kernel.
        parameters: The weights, float32.

    """

    def __init__(self, kernel: Kernel, parameters: Parameters) -> None:
        weights = arrange(parameters, parameters.input_tables)
        self._network = CompiledNetwork(kernel, parameters.architecture, weights)

    def __call__(self, ids: Ids, state: State) -> tuple[Floats, State]:
        """Read ids, [T + 1, R].

        Returns:
            The nats of ids 1 to T, float32 [T, R], and the state after id T - 1.

        """
        streams = ids.shape[1]
        groups = np.array_split(np.arange(streams), min(core_count(), streams))
        windows = [np.ascontiguousarray(ids[:, group], np.int32) for group in groups]
        states = [np.array([layer[group] for layer in state]) for group in groups]
        with ThreadPoolExecutor(len(groups)) as threads:
            results = threads.map(self._read_streams, windows, states)
            losses, last = zip(*results, strict=True)
        return np.concatenate(losses, axis=1), tuple(np.concatenate(last, axis=1))

    def _read_streams(self, ids: Ids, state: Floats) -> tuple[Floats, Floats]:
        """Read streams, [T + 1, R], from a state, [L, R, H], in one thread."""
        blocks: list[Floats] = []
        for start in range(0, len(ids) - 1, TIMES_AT_ONCE):
            window = ids[start : start + TIMES_AT_ONCE + 1]
            state, losses = self._network.run(window, state)
            blocks.append(losses)
        return np.concatenate(blocks), state
