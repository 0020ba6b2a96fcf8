"""Where the state goes if one character is repeated for ever: fixed points, slow points, and their stability.

With the character c held constant, the state follows h <- F(h) = f(x_c U + h V + b) in each layer. A fixed point has
F(h) = h. A slow point is a minimum of the speed |F(h) - h| above 0, near which the state lingers (Sussillo and Barak
2013, "Opening the black box").
"""

from dataclasses import dataclass


@dataclass(frozen=True)
class FixedPoint:
    """A point at which the state stays, or nearly stays, while a character is held constant."""

    is_fixed: bool
    """Whether it is a fixed point; else it is a slow one."""
    speed: float
    """|F(h) - h| over all layers; about 1e-10 or less at a fixed point."""
    spectral_radius: float
    """The largest size of an eigenvalue of the Jacobian of F at the point: the state returns if it is below 1."""
    unstable_directions: int
    """How many eigenvalues have a size above 1."""
    is_stable: bool
    """Whether the spectral radius is below 1."""
    time_constant: float | None
    """-1 / ln(spectral radius), the characters in which a small distance falls to 1/e; None if it is not stable or
    falls at once."""
    starts: int
    """How many of the states that the search began at led here."""
    norm: float
    """|h| over all layers."""
    likeliest: tuple[tuple[int, float], ...]
    """The ids that the network expects next at this point, with their probabilities, likeliest first."""


@dataclass(frozen=True)
class HeldCharacter:
    """What the state does while one character is held constant."""

    id: int
    """The character."""
    outcome: str
    """What becomes of the state of a text when the character is repeated: `settles`, `cycles`, `wanders` or
    `grows`."""
    period: int | None
    """The length of the cycle in characters if the outcome is `cycles`; 1 if it settles; else None."""
    settling_characters: int | None
    """After how many repetitions the state has settled to within 1e-3 of its size; None if it does not settle."""
    points: tuple[FixedPoint, ...]
    """Slowest first."""


@dataclass(frozen=True)
class FixedPoints:
    """The fixed and slow points of a network for some characters."""

    starts: int
    """From how many states of the text the search began, for each character."""
    characters: tuple[HeldCharacter, ...]
