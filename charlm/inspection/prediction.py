"""What was built, how it learnt, and how well it predicts."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from charlm.errors import CharlmError
from charlm.evaluation.baselines import NGRAM_ORDER, baseline_nats
from charlm.evaluation.scoring import only_finite, score_stream
from charlm.inspection.calibration import Calibration, calibrate
from charlm.inspection.curves import Curves, read_curves
from charlm.inspection.diagram import draw_network, draw_up, weight_rows
from charlm.inspection.look import BLUE, INK, MUTED, ORANGE, RULE, canvas, legend, room_for, series
from charlm.inspection.loss_by_class import ClassLoss, LossByClass, divide_loss
from charlm.inspection.passages import reader
from charlm.inspection.reading import Reading
from charlm.inspection.section import Chart, Quantity, Report, Rows, Section, Table
from charlm.inspection.surprise import Predictions, predict

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


def make_curves(reading: Reading) -> Curves:
    """Read the learning curves; refuse a bundle without its run."""
    if reading.subject.run is None:
        raise CharlmError("a bundle without its run has no learning curves")
    ids = reading.subject.validation_ids
    if ids is None or len(ids) < 2:  # other texts do not compare with the losses of the run
        return read_curves(reading.subject.run, baselines={})
    baselines = baseline_nats(ids, reading.vocabulary, reading.subject.training_ids)
    return read_curves(reading.subject.run, baselines=baselines)


def make_surprise(reading: Reading) -> Predictions:
    """Predict the text that is coloured by surprise; refuse weights that are too large."""
    found = predict(reading.trace)
    next(only_finite([found.nats.astype(np.float32)]))
    return found


def make_loss(reading: Reading) -> LossByClass:
    """Divide the loss on the text by classes of its characters."""
    nats = np.concatenate([*only_finite(score_stream(reading.parameters, reading.ids))])
    if reading.training_ids is None:
        return divide_loss(nats, reading.ids, reading.vocabulary)
    ngram_nats = reading.ngram_nats(NGRAM_ORDER)
    return divide_loss(nats, reading.ids, reading.vocabulary, ngram_nats=ngram_nats, ngram_order=NGRAM_ORDER)


def draw_curves(curves: Curves) -> "Figure":
    """Draw the loss on training and validation text over a run, the gap between them, and simple models as lines."""
    figure, (axes,) = canvas("Loss over the run", height=2.6, right=0.7)
    training, validation = curves.training, curves.validation
    for index, (name, curve) in enumerate((("training", training), ("validation", validation))):
        if len(curve.steps):
            marker: dict[str, Any] = {"marker": "o", "markersize": 3} if len(curve.steps) < 40 else {}
            axes.plot(curve.steps, curve.nats_per_char, label=name, **series(index), **marker)
    if len(training.steps) and len(validation.steps):
        below = np.interp(validation.steps, training.steps, training.nats_per_char)
        axes.fill_between(validation.steps, below, validation.nats_per_char, color=ORANGE, alpha=0.18, linewidth=0)
    axes.set(xlabel="step", ylabel="nats per character")
    axes.set_xlim(0, None)
    _draw_baselines(axes, curves.baselines)
    legend(figure)
    return figure


def _draw_baselines(axes: "Axes", baselines: Mapping[str, float]) -> None:
    """Draw a line for each simple model, its name at the right of the axes, no name over another."""
    for nats in baselines.values():
        axes.axhline(nats, **RULE)
    low, high = axes.get_ylim()
    gap, place = (high - low) * 0.055, high
    for name, nats in sorted(baselines.items(), key=lambda item: -item[1]):
        place = min(nats, place - gap)
        where = axes.get_yaxis_transform()
        axes.text(1.015, place, name, transform=where, va="center", fontsize=8, color=MUTED)


def draw_loss(loss: LossByClass, classes: Sequence[ClassLoss], *, title: str) -> "Figure":
    """Draw the loss on each class of characters as a bar, and that of the n-gram model as a mark.

    Args:
        loss: On the text.
        classes: One of its divisions.
        title: Of the figure.

    """
    labels = [f"{each.name}, {100 * each.share_of_loss:.3g}%" for each in classes]
    figure, (axes,) = canvas(title, height=0.27 * max(3, len(classes)), left=room_for(labels))
    rows = np.arange(len(classes))
    axes.barh(rows, [each.nats_per_char for each in classes], height=0.62, color=BLUE, alpha=0.85, label="network")
    if loss.ngram_order is not None:
        style: dict[str, Any] = {"linestyle": "", "marker": "D", "markersize": 4.5, "color": ORANGE}
        by_ngrams = np.array([each.ngram_nats_per_char for each in classes], np.float64)
        axes.plot(by_ngrams, rows, label=f"{loss.ngram_order}-gram", **style)
    axes.axvline(loss.nats_per_char, **RULE)
    axes.set_yticks(rows, labels, color=INK)
    axes.set(xlabel="nats per character", ylabel="class, % of all nats", ylim=(len(classes) - 0.4, -0.6))
    axes.grid(visible=False, axis="y")
    legend(figure)
    return figure


def loss_rows(loss: LossByClass) -> Rows:
    """Return a row for each class of both divisions."""
    return [
        (each.name, each.characters, each.nats_per_char, each.ngram_nats_per_char, each.share_of_loss)
        for each in (*loss.by_class, *loss.by_word_place)
    ]


def draw_reliability(calibration: Calibration) -> "Figure":
    """Draw how often the likeliest character is right, by the probability that it was given."""
    figure, (axes,) = canvas("Reliability", height=2.8)
    axes.plot([0, 1], [0, 1], color=MUTED, linewidth=0.8)
    confidence = [each.confidence for each in calibration.bins]
    accuracy = [each.accuracy for each in calibration.bins]
    counts = np.array([each.positions for each in calibration.bins], float)
    axes.plot(confidence, accuracy, **series(0))
    sizes = 12 + 110 * counts / max(counts.max(initial=1), 1)
    axes.scatter(confidence, accuracy, s=sizes, color=BLUE, alpha=0.6, linewidths=0)
    axes.set(xlabel="probability of the likeliest character", ylabel="how often it is right")
    axes.set(xlim=(0, 1), ylim=(0, 1), aspect="equal")
    return figure


def calibration_rows(found: Calibration) -> Rows:
    """Return the figures of a calibration."""
    return (
        ("best temperature, from 0.25 to 4", found.temperature),
        ("nats per character at the best temperature", found.best_nats_per_char),
        ("nats per character at temperature 1", found.nats_per_char),
        ("expected calibration error", found.expected_error),
        ("predictions", found.positions),
    )


def view_reader(report: Report, run: int) -> str:
    """Return the text coloured by surprise."""
    found: Predictions | None = report.get("surprise")
    return "" if found is None else reader(found, report.characters, run=run)


NETWORK = Section(
    "network",
    "The network",
    "h_t = f(x_t U + h_{t-1} V + b), logits_t = h_t W + c, h_0 = 0",
    "The loop on the left is the same weights at every step on the right: that is all a recurrent network is.",
    (Quantity("network", lambda reading: draw_up(reading.parameters)),),
    (
        Chart(
            "network",
            "the network rolled and unrolled, with the shapes of its weights",
            draw_network,
            shares_limits=False,
        ),
    ),
    (Table("Parameters", ("tensor", "symbol", "shape", "parameters"), weight_rows),),
)
CURVES = Section(
    "curves",
    "Learning curves",
    "L = mean of \N{MINUS SIGN}log softmax(logits_{t-1})[id_t]",
    "Where the curve falls below a line across, the network predicts better than that simple model; "
    "the shaded gap between training and validation is what it has learnt by heart.",
    (Quantity("curves", make_curves),),
    (
        Chart(
            "curves",
            "loss on training and validation text by step; each line across is a simple model on the validation text",
            draw_curves,
        ),
    ),
)
SURPRISE = Section(
    "surprise",
    "The text, coloured by surprise",
    "nats_t = \N{MINUS SIGN}log softmax(logits_{t-1})[id_t], influence of s on t = |dL_t/dx_s|",
    "A trained network is surprised where a word or a name begins, and less and less until the word ends.",
    (Quantity("surprise", make_surprise, is_essential=True),),
    view=view_reader,
)
LOSS = Section(
    "loss_by_class",
    "Where the loss is",
    "L = sum over classes of (characters of the class / characters) L_{class}",
    "If the first letters of words cost most, the network spells better than it chooses words; "
    "a diamond left of the end of a bar is a class that counting n-grams predicts better.",
    (Quantity("loss_by_class", make_loss),),
    (
        Chart(
            "loss-by-class",
            "nats per character by what the character is; the line is the mean over the text",
            lambda loss: draw_loss(loss, loss.by_class, title="Loss by what the character is"),
        ),
        Chart(
            "loss-by-word-place",
            "nats per character by the number of the letter in its word; the line is the mean over the text",
            lambda loss: draw_loss(loss, loss.by_word_place, title="Loss by the number of the letter in its word"),
        ),
    ),
    (
        Table(
            "Nats per character",
            ("class", "characters", "nats per character", "nats per character, n-gram", "share of all nats"),
            loss_rows,
        ),
    ),
)
CALIBRATION = Section(
    "calibration",
    "Calibration",
    "p = softmax(logits / T)",
    "Points below the diagonal are predictions that are right less often than the network believes; "
    "a best temperature above 1 says the same in one number.",
    (Quantity("calibration", lambda reading: calibrate(reading.parameters, reading.ids, reading.states)),),
    (
        Chart(
            "reliability",
            "how often the likeliest character is right, by its probability: on the diagonal, as often as it says; "
            "the larger a dot, the more predictions",
            draw_reliability,
        ),
    ),
    (Table("Calibration", ("quantity", "value"), calibration_rows, is_folded=False),),
)
