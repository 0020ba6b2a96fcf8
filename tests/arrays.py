"""Several arrays compared at once."""

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np


def check_close(
    found: Iterable[Any],
    expected: Iterable[Any],
    *,
    atol: float = 0.0,
    rtol: float = 0.0,
    of_peak: float = 0.0,
) -> None:
    """Check that arrays are equal, in their order; without a tolerance, to the bit.

    Args:
        found: The arrays.
        expected: As many arrays.
        atol: The largest error, if that is more than what `of_peak` allows.
        rtol: The largest error as a share of each expected value, added to that.
        of_peak: The largest error as a share of the largest expected value of an array.

    """
    for one, other in zip(found, expected, strict=True):
        peak = of_peak * np.abs(other).max(initial=0.0)
        np.testing.assert_allclose(one, other, rtol=rtol, atol=max(atol, peak))


def bytes_of(tensors: Mapping[str, Any]) -> dict[str, bytes]:
    """Return the bytes of tensors by their names."""
    return {name: tensor.tobytes() for name, tensor in tensors.items()}
