"""charlm.c for Python: its functions, called with ctypes, and the ids that it must draw."""

import ctypes
import itertools
import re
from collections.abc import Iterator
from ctypes import POINTER, c_char_p, c_double, c_int32, c_size_t, c_uint64, c_void_p
from pathlib import Path
from typing import Any

import numpy as np

from charlm.formats.exporting import export_c
from charlm.formats.programs import FILES
from charlm.network.model_file import TrainedModel
from charlm.network.rnn import Floats

SOURCE = FILES / "charlm.c"
HEADER = FILES / "charlm.h"
STATUSES = re.findall(
    r"^    (CHARLM_[A-Z0-9_]+)[ ,]", HEADER.read_text(encoding="utf-8"), re.MULTILINE
)
"""The names of the statuses, by number."""
SIGNATURES: dict[str, tuple[Any, ...]] = {
    "charlm_load": (c_char_p, POINTER(c_void_p)),
    "charlm_load_memory": (c_void_p, c_size_t, POINTER(c_void_p)),
    "charlm_encode": (
        c_void_p,
        c_char_p,
        c_size_t,
        POINTER(c_int32),
        POINTER(c_size_t),
        POINTER(c_size_t),
    ),
    "charlm_decode": (c_void_p, c_int32, c_char_p, POINTER(c_size_t)),
    "charlm_new_state": (c_void_p, POINTER(c_void_p)),
    "charlm_copy_state": (c_void_p, c_void_p),
    "charlm_step": (c_void_p, c_int32),
    "charlm_read_text": (c_void_p, c_char_p, c_size_t, POINTER(c_size_t)),
    "charlm_sample": (c_void_p, c_double, c_size_t, POINTER(c_uint64), POINTER(c_int32)),
}
"""The functions that return a status."""


class CharlmC:
    """The library. A model and a state are pointers."""

    def __init__(self, path: Path) -> None:
        self.functions = ctypes.CDLL(str(path))
        for name, types in SIGNATURES.items():
            getattr(self.functions, name).argtypes = types
        self.functions.charlm_message.restype = c_char_p
        self.functions.charlm_logits.restype = POINTER(ctypes.c_float)

    def call(self, name: str, *arguments: Any) -> str:
        """Return the name of the status that a function returns."""
        number = getattr(self.functions, name)(*arguments)
        return str(STATUSES[number])

    def use(self, name: str, *arguments: Any) -> None:
        """Call a function that must succeed."""
        assert self.call(name, *arguments) == "CHARLM_OK"

    def load_bytes(self, data: bytes) -> tuple[str, c_void_p]:
        """Return a status and a model."""
        model = c_void_p(1)
        return self.call("charlm_load_memory", data, len(data), ctypes.byref(model)), model

    def load(self, trained: TrainedModel) -> c_void_p:
        """Return a model."""
        status, model = self.load_bytes(export_c(trained)["model.bin"])
        assert status == "CHARLM_OK"
        return model

    def new_state(self, model: c_void_p, prompt: str | None = None) -> c_void_p:
        """Return a state, which has read a prompt if there is one."""
        state = c_void_p()
        self.use("charlm_new_state", model, ctypes.byref(state))
        if prompt is not None:
            self.read_text(state, prompt)
        return state

    def read_text(self, state: c_void_p, text: str) -> int:
        """Return how many characters were left out."""
        data, left_out = text.encode(), c_size_t(9)
        self.use("charlm_read_text", state, data, len(data), ctypes.byref(left_out))
        return left_out.value

    def encode(self, model: c_void_p, text: str) -> tuple[list[int], int]:
        """Return the ids of a text, and how many characters were left out."""
        data, count, left_out = text.encode(), c_size_t(9), c_size_t(9)
        ids = (c_int32 * len(data))()
        self.use(
            "charlm_encode",
            model,
            data,
            len(data),
            ids,
            ctypes.byref(count),
            ctypes.byref(left_out),
        )
        return ids[: count.value], left_out.value

    def decode(self, model: c_void_p, index: int) -> str:
        """Return the character of an id."""
        text, size = ctypes.create_string_buffer(b"xxxx"), c_size_t()
        self.use("charlm_decode", model, index, text, ctypes.byref(size))
        assert text.raw[size.value] == 0
        return text.raw[: size.value].decode()

    def logits(self, state: c_void_p, size: int) -> Floats:
        """Return the logits of a state, float32 [V], which may be changed."""
        return np.ctypeslib.as_array(self.functions.charlm_logits(state), (size,))

    def sample(
        self, state: c_void_p, *, temperature: float = 1.0, top_k: int = 0, random: c_uint64
    ) -> int:
        """Return the next id, which is not read."""
        index = c_int32()
        self.use(
            "charlm_sample", state, temperature, top_k, ctypes.byref(random), ctypes.byref(index)
        )
        return index.value

    def generate(self, state: c_void_p, *, random: c_uint64, length: int = 1) -> list[int]:
        """Return some ids, which are read."""
        ids = []
        for _ in range(length):
            ids.append(self.sample(state, random=random))
            self.use("charlm_step", state, ids[-1])
        return ids


WORD = 2**64


def splitmix64(seed: int) -> Iterator[float]:
    """Yield the numbers from 0 to below 1 of splitmix64 (Steele, Lea and Flood 2014)."""
    state = seed
    while True:
        state = (state + 0x9E3779B97F4A7C15) % WORD
        mixed = (state ^ (state >> 30)) * 0xBF58476D1CE4E5B9 % WORD
        mixed = (mixed ^ (mixed >> 27)) * 0x94D049BB133111EB % WORD
        yield (mixed ^ (mixed >> 31)) // 2**11 / 2**53


def draw_ids(
    logits: list[float], seed: int, *, temperature: float, top_k: int, count: int
) -> list[int]:
    """Return ids that are drawn from the most likely ones, or from all in their order."""
    ranked = sorted(range(len(logits)), key=lambda index: (-logits[index], index))
    is_ranked = 0 < top_k < len(logits)
    kept = ranked[:top_k] if is_ranked else range(len(logits))
    weights = [np.exp(logits[index] / temperature) for index in kept]
    shares = np.cumsum(weights) / sum(weights)
    uniforms = itertools.islice(splitmix64(seed), count)
    return [kept[int(np.searchsorted(shares, uniform, "right"))] for uniform in uniforms]
