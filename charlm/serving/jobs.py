"""What the batch is asked to write, and what it reports."""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from charlm.sampling.sampler import Sampler

MAX_LIKELIEST = 20
EndReason = Literal["length", "end of text", "not finite", "failed"]


@dataclass(frozen=True, eq=False)
class Job:
    """A text to read and to write; two jobs are never equal."""

    prompt_ids: NDArray[np.int64]
    """[n], n >= 1."""
    length: int
    """How many ids to choose, 0 or more."""
    sampler: Sampler
    seed: tuple[int, int]
    """Two numbers, 0 or more: the seed of the request, and the index of the text among those of the request."""
    likeliest: int | None = None
    """How many of the likeliest ids to report beside the log-probability of each id, 0 to 20; None = neither."""
    is_prompt_scored: bool = False
    """Whether the ids of the prompt are reported too."""


@dataclass(frozen=True)
class Chunk:
    """The next ids of a text."""

    ids: NDArray[np.int64]
    """[m]; an end-of-text id is the last."""
    logprobs: NDArray[np.float64] | None = None
    """log p of each id given those before it, [m]; NaN for the first id of a text. None = not wanted."""
    likeliest_ids: NDArray[np.int64] | None = None
    """[m, k], likeliest first."""
    likeliest_logprobs: NDArray[np.float64] | None = None
    """[m, k]."""
    reason: EndReason | None = None
    """Why these are the last ids; None = there are more to come."""
