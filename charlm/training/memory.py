"""Whether a network fits into the memory of this machine, before any of it is taken."""

import math
import os
from pathlib import Path

from charlm.config import Config
from charlm.errors import CharlmError
from charlm.training.model import architecture

CONTROL_GROUP = Path("/sys/fs/cgroup/memory.max")
"""What Linux grants a container, in bytes, or the word max."""
_TWO_SLOTS = {"adam", "adamw", "adamax", "nadam", "lamb"}
"""Optimizers that keep two numbers for each weight, whatever their arguments."""


def check_memory(config: Config, vocabulary_size: int) -> None:
    """Raise CharlmError where training a network needs more memory than there is, as far as that is known.

    Counted are 4 bytes for each weight, its gradient, and the slots of the optimizer: what is needed at least.
    """
    weights = sum(map(math.prod, architecture(config, vocabulary_size).shapes().values()))
    optimizer = config.training.optimizer.name
    numbers = 4 if optimizer.lower() in _TWO_SLOTS else 2
    needed, there = 4 * numbers * weights, memory_bytes()
    if there is not None and needed > there:
        raise CharlmError(
            f"model: {weights:,} weights; training them with {optimizer} needs at least {_gigabytes(needed)} of "
            f"memory, and there is {_gigabytes(there)}: lower model.units or model.layers"
        )


def memory_bytes() -> int | None:
    """Return the memory of this machine, or of the container where that has less; None = not known."""
    limits = [limit for limit in (_physical_bytes(), _granted_bytes()) if limit is not None]
    return min(limits, default=None)


def _physical_bytes() -> int | None:
    try:
        pages, page_bytes = os.sysconf("SC_PHYS_PAGES"), os.sysconf("SC_PAGE_SIZE")
    except (ValueError, OSError):
        return None
    return pages * page_bytes if min(pages, page_bytes) > 0 else None


def _granted_bytes() -> int | None:
    try:
        return int(CONTROL_GROUP.read_text(encoding="ascii"))
    except (OSError, ValueError):
        return None


def _gigabytes(size: int) -> str:
    return f"{size / 1e9:,.1f} GB"
