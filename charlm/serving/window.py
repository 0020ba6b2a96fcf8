"""The memory of a batch: how far each text has come, and a window of steps with what is read and what came of it.

Axes: W steps of a window, B slots.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from charlm.sampling.rows import NO_ID
from charlm.serving.jobs import Chunk, EndReason, Job


class Text:
    """How far a text has come."""

    def __init__(self, job: Job, offset: int, reported: int) -> None:
        self.job = job
        self.random = np.random.default_rng(job.seed)
        self.offset = offset  # the position in the text of the id at column 0
        self.reported = reported  # the column of the first id that is not reported yet

    @property
    def total(self) -> int:
        """The ids of the prompt and of the text."""
        return len(self.job.prompt_ids) + self.job.length

    def position(self, column: int) -> int:
        """Return the position in the text of the id at a column."""
        return self.offset + column


class Window:
    """What the texts are to read, and what came of it, at each step of a window [W, B]."""

    def __init__(self, window: int, slots: int, likeliest: int) -> None:
        self.script = np.full((window, slots), NO_ID)  # ids of prompts; NO_ID = choose one
        self.draws = np.zeros((window, slots))
        self.ids = np.zeros((window, slots), np.int64)
        self.logprobs = np.zeros((window, slots))
        self.likeliest_ids = np.zeros((window, slots, likeliest), np.int64)
        self.likeliest_logprobs = np.zeros((window, slots, likeliest))

    def move(self, source: int, target: int) -> None:
        """Put the text of a slot into another."""
        arrays: tuple[NDArray[Any], ...] = (
            *(self.script, self.draws, self.ids),
            *(self.logprobs, self.likeliest_ids, self.likeliest_logprobs),
        )
        for array in arrays:
            array[:, target] = array[:, source]

    def chunk(self, slot: int, steps: slice, text: Text, reason: EndReason | None) -> Chunk:
        """Return what came of some steps in a slot."""
        ids, likeliest = self.ids[steps, slot].copy(), text.job.likeliest
        if likeliest is None:
            return Chunk(ids, reason=reason)
        logprobs = self.logprobs[steps, slot].copy()
        if text.position(steps.start) == 0 and len(logprobs):
            logprobs[0] = np.nan
        return Chunk(
            ids,
            logprobs,
            self.likeliest_ids[steps, slot, :likeliest].copy(),
            self.likeliest_logprobs[steps, slot, :likeliest].copy(),
            reason,
        )
