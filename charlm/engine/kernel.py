"""kernel.c: the loss of a window and its gradient, called from NumPy.

Axes: T time, R rows, V characters, H units, L layers.
"""

import ctypes
import os
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from charlm.config.schema import ACTIVATIONS
from charlm.engine.compiler import open_library
from charlm.events import OnEvent, ignore
from charlm.network.architecture import Architecture
from charlm.storage import file_sha256

Array = NDArray[Any]
Weights = Sequence[Array | None]
"""The weights of a network, float32, in the order of kernel.c.

For each layer its table, which has what each character adds to the layer, with its bias, [V, H], or [1, H] if it reads
no character; and the rows of `Architecture.readers` that read its output, None if there are none. Then the bias of the
logits."""


@dataclass(frozen=True)
class Network:
    """What the kernel must know of a network besides its weights."""

    architecture: Architecture
    bfloat16: bool
    """Whether the factors of products are rounded to bfloat16."""


class _Window(ctypes.Structure):
    """The struct Window in kernel.c."""

    _fields_: ClassVar = [
        *((name, ctypes.c_long) for name in ("time", "rows", "layers", "units", "characters")),
        *((name, ctypes.c_int) for name in ("activation", "bfloat16", "skip_connections")),
        *((name, ctypes.c_float) for name in ("soft_weight", "temperature", "share")),
        *(
            (name, ctypes.c_void_p)
            for name in ("ids", "soft", "state", "recurrent_mask", "layer_mask", "output_mask")
        ),
        *((name, ctypes.POINTER(ctypes.c_void_p)) for name in ("weights", "gradients")),
        *((name, ctypes.c_void_p) for name in ("last", "losses")),
    ]


class _MuonStep(ctypes.Structure):
    """The struct MuonStep in muon.h."""

    _fields_: ClassVar = [
        *((name, ctypes.c_long) for name in ("rows", "columns", "polynomials")),
        *((name, ctypes.c_int) for name in ("bfloat16", "nesterov")),
        *((name, ctypes.c_float) for name in ("momentum", "decay", "rate")),
        *((name, ctypes.c_void_p) for name in ("abc", "gradient", "momentums", "weights")),
        *((name, ctypes.c_void_p) for name in ("new_momentums", "new_weights")),
    ]


class Kernel:
    """The compiled library. A call releases the interpreter's lock, so that the parts of a batch run side by side.

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
        window, array = ctypes.POINTER(_Window), ctypes.c_void_p
        arguments = {
            "pack_weights": [window, array],
            "run": [window, array, array],
            "muon_step": [ctypes.POINTER(_MuonStep), array],
        }
        for name, types in arguments.items():
            function = getattr(self._library, name)
            function.argtypes = types
            function.restype = ctypes.c_long
        self._own = threading.local()
        """`memory` is what the last call in a thread worked with."""

    def pack(self, network: Network, weights: Weights) -> Array:
        """Return the weights as `gradient` multiplies with them, float32 [n]."""
        window = self._window(network, weights=_pointers(weights))
        packed = _aligned(self._library.pack_weights(window, None))
        self._library.pack_weights(window, packed.ctypes.data)
        return packed

    def gradient(
        self,
        network: Network,
        weights: Weights,
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
        present = [weight for weight in weights if weight is not None]
        ends = np.cumsum([1, *(weight.size for weight in present)])
        vector = _aligned(ends[-1])
        vector[:] = 0
        parts = iter(np.split(vector, ends[:-1])[1:])
        gradients = [None if weight is None else next(parts) for weight in weights]
        arrays = {"ids": window, "state": state, "soft": soft}
        arrays |= {
            "recurrent_mask": recurrent_mask,
            "layer_mask": layer_mask,
            "output_mask": output_mask,
        }
        last, losses = self._run(
            network,
            weights,
            packed,
            arrays,
            gradients=_pointers(gradients),
            soft_weight=soft_weight,
            temperature=temperature,
            share=share,
        )
        vector[0] = share * losses.mean(dtype=np.float64)
        return last, vector

    def losses(
        self, network: Network, weights: Weights, packed: Array, *, window: Array, state: Array
    ) -> tuple[Array, Array]:
        """Read a window without dropout; the arguments are those of `gradient`.

        Returns:
            The state after the last character [L, R, H], and the loss of each character in nats, [T, R].

        """
        return self._run(network, weights, packed, {"ids": window, "state": state})

    def _run(
        self,
        network: Network,
        weights: Weights,
        packed: Array,
        arrays: Mapping[str, Array | None],
        **fields: Any,
    ) -> tuple[Array, Array]:
        """Read a window; return the state after it, and the losses.

        `arrays` and `fields` are fields of `_Window` by name.
        """
        given = {name: array for name, array in arrays.items() if array is not None}
        time, rows = len(given["ids"]) - 1, given["ids"].shape[1]
        last = np.empty_like(given["state"])
        losses = np.empty((time, rows), np.float32)
        given |= {"last": last, "losses": losses}
        present = [weight for weight in weights if weight is not None]
        assert all(array.flags.c_contiguous for array in (*given.values(), *present))
        pointers = {name: array.ctypes.data for name, array in given.items()}
        window = self._window(
            network, time=time, rows=rows, weights=_pointers(weights), **pointers, **fields
        )
        memory = self._memory(self._library.run(window, None, None))
        self._library.run(window, packed.ctypes.data, memory.ctypes.data)
        return last, losses

    def muon_step(
        self,
        gradient: Array,
        momentum: Array,
        weights: Array,
        *,
        polynomials: Array,
        nesterov: bool,
        bfloat16: bool,
        momentum_factor: float,
        decay: float,
        rate: float,
    ) -> tuple[Array, Array]:
        """Take a step of Muon with a matrix; muon.h has the equations.

        Args:
            gradient: float32 [rows, columns].
            momentum: The same.
            weights: The same.
            polynomials: a, b and c of each iteration, float32 [n, 3].
            nesterov: Whether the momentum is Nesterov's.
            bfloat16: Whether the factors of products are rounded to bfloat16.
            momentum_factor: By which the momentum is multiplied.
            decay: The share of the weights that is subtracted.
            rate: By which the orthogonal matrix is multiplied before it is subtracted.

        Returns:
            The momentum and the weights after the step.

        """
        self._check(bfloat16)
        assert all(array.flags.c_contiguous for array in (gradient, momentum, weights, polynomials))
        new_momentum, new_weights = (
            _aligned(weights.size).reshape(weights.shape) for _ in range(2)
        )
        step = _MuonStep(
            *weights.shape,
            polynomials=len(polynomials),
            bfloat16=bfloat16,
            nesterov=nesterov,
            momentum=momentum_factor,
            decay=decay,
            rate=rate,
            abc=polynomials.ctypes.data,
            gradient=gradient.ctypes.data,
            momentums=momentum.ctypes.data,
            weights=weights.ctypes.data,
            new_momentums=new_momentum.ctypes.data,
            new_weights=new_weights.ctypes.data,
        )
        memory = self._memory(self._library.muon_step(step, None))
        self._library.muon_step(step, memory.ctypes.data)
        return new_momentum, new_weights

    def _memory(self, size: int) -> Array:
        """Return at least so many floats to work with, which the next call in this thread uses again."""
        memory: Array | None = getattr(self._own, "memory", None)
        if memory is None or memory.size < size:
            memory = self._own.memory = _aligned(size)
        return memory

    def _check(self, bfloat16: bool) -> None:
        if bfloat16 and not self.has_bfloat16:
            raise ValueError(
                "this library was compiled without bfloat16, and would write past the end of the arrays"
            )

    def _window(self, network: Network, **fields: Any) -> _Window:
        self._check(network.bfloat16)
        shape = network.architecture
        return _Window(
            layers=shape.layers,
            units=shape.units,
            characters=shape.vocabulary_size,
            activation=ACTIVATIONS.index(shape.activation),
            skip_connections=shape.skip_connections,
            bfloat16=network.bfloat16,
            **fields,
        )


def _pointers(arrays: Weights) -> Any:
    return (ctypes.c_void_p * len(arrays))(
        *(None if array is None else array.ctypes.data for array in arrays)
    )


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
