"""charlm.c for Python: its functions, called with ctypes, and the ids that it must draw."""

import ctypes
import itertools
import re
from collections.abc import Iterator
from ctypes import POINTER, c_char_p, c_double, c_float, c_int32, c_size_t, c_uint64, c_void_p
from pathlib import Path
from typing import Any

import numpy as np

from charlm.core.model_file import TrainedModel
from charlm.core.rnn import Floats
from charlm.exports.exporting import FILES, export_c

SOURCE = FILES / "charlm.c"
HEADER = FILES / "charlm.h"
STATUSES: list[str] = re.findall(
    r"^    CHARLM_([A-Z0-9_]+)[ ,]", HEADER.read_text(encoding="utf-8"), re.MULTILINE
)
"""The names of the statuses, by number."""
STATE = POINTER(c_float)
ARGUMENTS: dict[str, tuple[Any, ...]] = {
    "load": (c_char_p, POINTER(c_void_p)),
    "load_memory": (c_void_p, c_size_t, POINTER(c_void_p)),
    "free": (c_void_p,),
    "vocabulary_size": (c_void_p,),
    "state_size": (c_void_p,),
    "logits": (c_void_p, STATE),
    "step": (c_void_p, STATE, c_int32),
    "read_text": (c_void_p, STATE, c_char_p, c_size_t, POINTER(c_size_t)),
    "score": (
        *(c_void_p, STATE, c_char_p, c_size_t),
        *(POINTER(c_double), POINTER(c_size_t), POINTER(c_size_t)),
    ),
    "score_line": (c_void_p, STATE, c_char_p, c_size_t, POINTER(c_double)),
    "sample": (c_void_p, STATE, c_double, POINTER(c_uint64), POINTER(c_int32)),
    "decode": (c_void_p, c_int32, c_char_p),
}
"""The types of the arguments of each function, without the prefix of its name."""
RESULTS: dict[str, Any] = {
    "free": None,
    "state_size": c_size_t,
    "logits": STATE,
    "decode": c_size_t,
}
"""The types of results other than an int, which is a status or a number of ids."""


class CharlmC:
    """The library."""

    def __init__(self, path: Path) -> None:
        library = ctypes.CDLL(str(path))
        for name, types in ARGUMENTS.items():
            function = getattr(library, f"charlm_{name}")
            function.argtypes = types
            function.restype = RESULTS.get(name, ctypes.c_int)
            setattr(self, name, function)

    def __getattr__(self, name: str) -> Any:
        raise AttributeError(name)  # for type checkers: all functions are attributes

    def load_bytes(self, data: bytes) -> tuple[str, c_void_p]:
        """Return a status and a model."""
        model = c_void_p(1)
        status = self.load_memory(data, len(data), model)
        return STATUSES[status], model


class Text:
    """A text that a model of the library reads and continues."""

    def __init__(self, library: CharlmC, trained: TrainedModel, prompt: str | None = None) -> None:
        self.library = library
        status, self.model = library.load_bytes(export_c(trained)["model.bin"])
        assert status == "OK"
        self.state = np.zeros(library.state_size(self.model), np.float32)
        if prompt is not None:
            self.read(prompt)

    @property
    def pointer(self) -> Any:
        """The state for a function of the library."""
        return self.state.ctypes.data_as(STATE)

    @property
    def logits(self) -> Floats:
        """The logits, float32 [V], which may be changed."""
        size = self.library.vocabulary_size(self.model)
        return np.ctypeslib.as_array(self.library.logits(self.model, self.pointer), (size,))

    def step(self, index: int) -> str:
        """Read an id, and return the status."""
        number: int = self.library.step(self.model, self.pointer, index)
        return STATUSES[number]

    def read_bytes(self, data: bytes, size: int | None = None) -> tuple[str, int]:
        """Read a text; return the status, and the number of characters that were left out."""
        left_out = c_size_t(9)
        status = self.library.read_text(
            self.model, self.pointer, data, len(data) if size is None else size, left_out
        )
        return STATUSES[status], left_out.value

    def read(self, text: str) -> int:
        """Read a text, and return the number of characters that were left out."""
        status, left_out = self.read_bytes(text.encode())
        assert status == "OK"
        return left_out

    def score(self, text: str) -> list[str | float]:
        """Read a text; return the status, nats, and characters scored and left out."""
        nats, counts = c_double(9), (c_size_t(9), c_size_t(9))
        data = text.encode()
        status = self.library.score(self.model, self.pointer, data, len(data), nats, *counts)
        return [STATUSES[status], nats.value, *(count.value for count in counts)]

    def score_line(self, line: bytes) -> tuple[str, float]:
        """Return the status and the score of a line."""
        score = c_double(9)
        status = self.library.score_line(self.model, self.pointer, line, len(line), score)
        return STATUSES[status], score.value

    def sample(self, random: c_uint64, temperature: float = 1.0) -> int | str:
        """Return the next id, which is not read; or the status if there is none."""
        index = c_int32()
        status = self.library.sample(self.model, self.pointer, temperature, random, index)
        return STATUSES[status] if status else index.value

    def generate(self, length: int, random: c_uint64) -> list[int | str]:
        """Return some ids, which are read."""
        ids = []
        for _ in range(length):
            ids.append(self.sample(random))
            assert self.step(int(ids[-1])) == "OK"
        return ids

    def decode(self, index: int) -> str:
        """Return the character of an id."""
        text = ctypes.create_string_buffer(b"xxxx")
        size = self.library.decode(self.model, index, text)
        assert text.raw[size] == 0
        return text.raw[:size].decode()


WORD = 2**64


def splitmix64(seed: int) -> Iterator[float]:
    """Yield the numbers from 0 to below 1 of splitmix64 (Steele, Lea and Flood 2014)."""
    state = seed
    while True:
        state = (state + 0x9E3779B97F4A7C15) % WORD
        mixed = (state ^ (state >> 30)) * 0xBF58476D1CE4E5B9 % WORD
        mixed = (mixed ^ (mixed >> 27)) * 0x94D049BB133111EB % WORD
        yield (mixed ^ (mixed >> 31)) // 2**11 / 2**53


def draw_ids(logits: list[float], seed: int, *, temperature: float, count: int) -> list[int]:
    """Return ids that are drawn from the softmax of logits."""
    weights = np.exp(np.array(logits) / temperature)
    shares = np.cumsum(weights) / weights.sum()
    uniforms = itertools.islice(splitmix64(seed), count)
    return [int(np.searchsorted(shares, uniform, "right")) for uniform in uniforms]
