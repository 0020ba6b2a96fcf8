"""Whether a network fits into the memory of this machine, checked before any memory is allocated."""

import math

from charlm.config.schema import Config
from charlm.errors import CharlmError
from charlm.network.architecture import architecture

_TWO_SLOTS = {"adam", "adamw", "adamax", "nadam", "lamb"}
"""Optimizers that keep two numbers for each weight with any arguments."""


def check_memory(config: Config, vocabulary_size: int, *, available_bytes: int | None) -> None:
    """Check that there is enough memory to train a network.

    Counted are 4 bytes for each weight, for its gradient, and for each slot of the optimizer. That is a lower limit.

    Args:
        config: Every setting of the run.
        vocabulary_size: V, the number of ids.
        available_bytes: The memory of the machine; None = not known, and nothing is refused.

    Raises:
        CharlmError: more memory is needed than there is.

    """
    weights = sum(map(math.prod, architecture(config, vocabulary_size).shapes().values()))
    optimizer = config.training.optimizer.name
    numbers = 4 if optimizer.lower() in _TWO_SLOTS else 2
    needed = 4 * numbers * weights
    if available_bytes is not None and needed > available_bytes:
        raise CharlmError(
            f"model: {weights:,} weights; training them with {optimizer} needs at least {_gigabytes(needed)} of "
            f"memory, and there is {_gigabytes(available_bytes)}: lower model.units or model.layers"
        )


def _gigabytes(size: int) -> str:
    return f"{size / 1e9:,.1f} GB"
