"""Figures of how far a network remembers: usable context, impulse response, memory, and the ripple of an edit."""

from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure

from charlm.inspection.context import UsableContext
from charlm.inspection.edit import Edit
from charlm.inspection.figures.lines import band, doubling_scale, legend, log_scale, positive, rule, series
from charlm.inspection.figures.look import BLUE, INK, MUTED, ORANGE, WIDTH, canvas
from charlm.inspection.impulse import ImpulseResponse
from charlm.inspection.memory import Memory
from charlm.inspection.visible import visible

EDIT_CHARACTERS = 32
"""How many characters after an edit are drawn."""


def draw_usable_context(context: UsableContext) -> Figure:
    """Draw the loss by the number of characters given, and what each doubling of it saves."""
    figure, ((upper,), (lower,)) = canvas(2, height=4.6)
    upper.plot(context.characters, context.nats, marker="o", markersize=3.5, label="zero state", **series(0))
    upper.plot(context.characters, context.nats_other_state, label="state of another place", **series(1))
    if context.ngram_order.size:
        orders = context.ngram_order - 1
        is_drawn = orders >= 1
        style = {"linestyle": "", "marker": "s", "markersize": 4.5, "color": series(2)["color"]}
        upper.plot(orders[is_drawn], context.ngram_nats[is_drawn], label="n-gram, n = k + 1", **style)
    centres = np.sqrt(context.characters[:-1] * context.characters[1:])
    lower.bar(centres, context.bits_saved, width=0.5 * centres, color=BLUE)
    for axes in (upper, lower):
        doubling_scale(axes, context.characters)
        axes.set_xlim(0.8, 1.25 * context.characters[-1])
    rule(lower, y=0)
    upper.set(ylabel="nats per character")
    lower.set(xlabel="k, characters given", ylabel="bits saved by doubling")
    legend(figure, columns=2)
    return figure


def draw_impulse_response(response: ImpulseResponse) -> Figure:
    """Draw what is left of a replaced character in the state, and in the prediction.

    A finite response is drawn on linear axes, which show that it ends; an infinite one on logarithmic axes, on which a
    constant factor for each character is a straight line.
    """
    figure = _draw_finite(response) if response.length is not None else _draw_infinite(response)
    figure.axes[0].set_ylabel("|dh| / |dh| at lag 0")
    figure.axes[1].set(xlabel="lag, characters", ylabel="KL of prediction, nats")
    legend(figure)
    return figure


def _draw_finite(response: ImpulseResponse) -> Figure:
    figure, ((upper,), (lower,)) = canvas(2, height=4.4)
    end = 2 * (response.length or 0) + 6
    lags, dots = response.lag[:end], {"marker": "o", "markersize": 4.0}
    upper.plot(lags, response.state[:end], label="|dh|", **series(0), **dots)
    upper.plot(lags, response.linear[:end], label="linear prediction", **series(1))
    lower.plot(lags, response.kl[:end], **series(0), **dots)
    return figure


def _draw_infinite(response: ImpulseResponse) -> Figure:
    figure, ((upper,), (lower,)) = canvas(2, height=4.4)
    style = series(0)
    band(upper, response.lag, positive(response.state_low), positive(response.state_high), colour=style["color"])
    upper.plot(response.lag, positive(response.state), label="|dh|", **style)
    upper.plot(response.lag, positive(response.linear), label="linear prediction", **series(1))
    lower.plot(response.lag, positive(response.kl), **style)
    log_scale(upper, response.state, response.linear)
    log_scale(lower, response.kl)
    if response.half_life is not None:
        rule(upper, x=response.half_life)
        upper.annotate(
            f"half-life {response.half_life:.4g}",
            (response.half_life, 0.97),
            xycoords=("data", "axes fraction"),
            xytext=(4, 0),
            textcoords="offset points",
            va="top",
            fontsize=8,
            color=MUTED,
        )
    return figure


def draw_memory(memory: Memory) -> Figure:
    """Draw how often a linear read-out names the character k steps back."""
    figure, ((axes,),) = canvas()
    axes.plot(memory.lag, memory.accuracy, marker="o", markersize=3, label="read-out from the state", **series(0))
    axes.plot(memory.lag, memory.commonest, label="commonest character", **series(1))
    axes.fill_between(memory.lag, memory.commonest, memory.accuracy, color=BLUE, alpha=0.15, linewidth=0)
    axes.set(xlabel="lag k, characters", ylabel="share of right answers", ylim=(0, 1.02))
    legend(figure)
    return figure


def draw_edits(edits: Sequence[Edit], characters: Sequence[str | None]) -> Figure:
    """Draw the surprise of each character before and after each edit.

    Args:
        edits: One or more.
        characters: The character of each id.

    """
    figure, rows = canvas(len(edits), width=WIDTH, height=0.4 + 2.0 * len(edits))
    for (axes,), edit in zip(rows, edits, strict=True):
        count = min(EDIT_CHARACTERS, len(edit.ids))
        places = np.arange(count)
        axes.plot(places, edit.nats_before[:count], label="as it was", **series(0))
        axes.plot(places, edit.nats_after[:count], marker="o", markersize=3, label="changed", **series(1))
        axes.fill_between(
            places, edit.nats_before[:count], edit.nats_after[:count], color=ORANGE, alpha=0.18, linewidth=0
        )
        labels = [visible(characters[index]) for index in edit.ids[:count]]
        axes.set_xticks(places, labels, fontsize=8, color=INK)
        old, new = (visible(characters[index]) for index in (edit.before, edit.after))
        axes.set_title(f"at {edit.position:,}: {old} becomes {new}", loc="left")
        axes.set(ylabel="nats", ylim=(0, None))
    legend(figure)
    return figure
