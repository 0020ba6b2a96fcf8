"""Figures of the network as a dynamical system: eigenvalues, Lyapunov exponents, fixed points, the state's path."""

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Circle
from matplotlib.ticker import MaxNLocator

from charlm.inspection.figures.lines import layer_name, legend, rule, series
from charlm.inspection.figures.look import BLUE, GREEN, INK, MUTED, ORANGE, PAPER, WIDTH, canvas
from charlm.inspection.fixed_points import FixedPoint, FixedPoints
from charlm.inspection.lyapunov import Lyapunov
from charlm.inspection.spectrum import RecurrentSpectrum
from charlm.inspection.trajectory import Trajectory
from charlm.inspection.visible import visible

COLUMNS = 2


def draw_eigenvalues(spectra: Sequence[RecurrentSpectrum]) -> Figure:
    """Draw the eigenvalues of V in the complex plane, with the unit circle, for each layer."""
    columns = min(COLUMNS, len(spectra))
    rows = -(-len(spectra) // columns)
    figure, grid = canvas(rows, columns, width=WIDTH, height=rows * (2.7 if columns > 1 else 3.8))
    for axes, spectrum in zip(grid.ravel(), spectra, strict=False):
        axes.add_patch(Circle((0, 0), 1, fill=False, edgecolor=ORANGE, linewidth=1.2, zorder=3))
        values = spectrum.eigenvalues
        axes.plot(values.real, values.imag, linestyle="", marker=".", markersize=3.5, color=BLUE)
        reach = 1.08 * max(1.0, spectrum.spectral_radius)
        axes.set(xlim=(-reach, reach), ylim=(-reach, reach), aspect="equal", xlabel="real")
        axes.set_title(f"V of {layer_name(spectrum.layer)}", loc="left")
    grid[0, 0].set_ylabel("imaginary")
    for axes in grid.ravel()[len(spectra) :]:
        axes.remove()
    return figure


def draw_lyapunov(trained: Lyapunov, initial: Lyapunov | None = None) -> Figure:
    """Draw the Lyapunov exponents by their rank, of the trained network and of one with weights drawn anew."""
    figure, ((axes,),) = canvas()
    for index, (name, found) in enumerate((("trained", trained), ("untrained", initial))):
        if found is None:
            continue
        finite = found.exponents[np.isfinite(found.exponents)]
        axes.plot(np.arange(1, len(finite) + 1), finite, marker=".", markersize=4, label=name, **series(index))
    rule(axes, y=0)
    axes.set(xlabel="rank", ylabel="nats per character")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    legend(figure)
    return figure


def draw_fixed_points(found: FixedPoints, characters: Sequence[str | None]) -> Figure:
    """Draw the fixed and slow points for each character held constant, by their spectral radius."""
    figure, ((axes,),) = canvas(height=0.9 + 0.28 * max(3, len(found.characters)))
    kinds: tuple[tuple[str, str, str, str], ...] = (
        ("stable", "o", GREEN, GREEN),
        ("unstable", "o", PAPER, ORANGE),
        ("slow", "x", MUTED, MUTED),
    )
    for kind, marker, face, edge in kinds:
        places = [
            (point.spectral_radius, row)
            for row, held in enumerate(found.characters)
            for point in held.points
            if _kind(point) == kind
        ]
        if places:
            across, up = zip(*places, strict=True)
            style = {"markerfacecolor": face, "markeredgecolor": edge, "linestyle": "", "markersize": 5.5}
            axes.plot(across, up, marker=marker, label=kind, **style)
    rule(axes, x=1)
    labels = [visible(characters[held.id]) for held in found.characters]
    axes.set_yticks(range(len(labels)), labels, color=INK)
    axes.set(xlabel="spectral radius of the Jacobian", ylabel="character held", ylim=(len(labels) - 0.5, -0.5))
    legend(figure)
    return figure


def _kind(point: FixedPoint) -> str:
    if not point.is_fixed:
        return "slow"
    return "stable" if point.is_stable else "unstable"


def draw_trajectory(path: Trajectory, characters: Sequence[str | None]) -> Figure:
    """Draw the path of the state through a sentence, each point with the character just read."""
    figure, ((axes,),) = canvas(height=4.2)
    if len(path.background):
        axes.plot(*path.background.T, linestyle="", marker=".", markersize=2.5, color=MUTED, alpha=0.45)
    axes.plot(*path.points.T, color=BLUE, linewidth=0.9, alpha=0.75)
    _write_along(axes, path, characters)
    first, second = (f"{100 * share:.4g}%" for share in path.explained)
    axes.set(xlabel=f"first component ({first} of the variance)", ylabel=f"second component ({second})")
    return figure


def _write_along(axes: Axes, path: Trajectory, characters: Sequence[str | None]) -> None:
    for (x, y), index in zip(path.points, path.ids, strict=True):
        axes.text(x, y, visible(characters[index]), ha="center", va="center", fontsize=9, clip_on=True)
    if len(path.points):
        axes.plot(*path.points[0], marker="o", markersize=11, markerfacecolor="none", markeredgecolor=ORANGE)
