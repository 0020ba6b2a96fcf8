"""Sections on what was built and learnt: the network, the learning curves, where the loss is, calibration."""

from collections.abc import Callable, Sequence

from matplotlib.figure import Figure

from charlm.inspection.figures.network import draw_network
from charlm.inspection.figures.scores import draw_curves, draw_loss, draw_reliability, draw_temperature
from charlm.inspection.loss_by_class import ClassLoss, LossByClass
from charlm.inspection.markup import folded
from charlm.inspection.report import Report
from charlm.inspection.sections.section import Chart, Numbers, Rows, Section
from charlm.inspection.visible import safe

TIMES = " \N{MULTIPLICATION SIGN} "


def _weights(report: Report) -> Rows:
    if report.network is None:
        return ()
    rows = [
        (weight.name, weight.symbol, TIMES.join(map(str, weight.shape)), weight.parameters)
        for part in report.network.parts
        for weight in part.weights
    ]
    return [*rows, ("all", "", "", report.network.parameters)]


def _samples(report: Report, _: int) -> str:
    if report.curves is None:
        return ""
    return "".join(
        folded(f"Written at step {sample.step:,}", f"<pre>{safe(sample.text)}</pre>")
        for sample in report.curves.samples
    )


def _curve_rows(report: Report) -> Rows:
    if report.curves is None:
        return ()
    curve = report.curves.validation
    rows: list[tuple[object, ...]] = [
        (f"validation at step {step:,}", nats)
        for step, nats in zip(curve.steps.tolist(), curve.nats_per_char.tolist(), strict=True)
    ]
    rows += [(level.name, level.nats_per_char) for level in report.curves.levels]
    return [*rows, ("validation less training, at the end", report.curves.gap_nats)]


Division = Callable[[LossByClass], Sequence[ClassLoss]]
DIVISIONS: tuple[tuple[str, str, Division], ...] = (
    ("class", "by what the character is", lambda loss: loss.by_class),
    ("word-place", "by the number of the letter in its word", lambda loss: loss.by_word_place),
    ("line-place", "by the number of the character in its line", lambda loss: loss.by_line_place),
)


def _loss_chart(name: str, title: str, divide: Division) -> Chart:
    def draw(report: Report) -> Figure | None:
        """Draw the chart, or return None if the report does not have its numbers."""
        loss = report.loss_by_class
        if loss is None or not divide(loss):
            return None
        return draw_loss(divide(loss), mean=loss.nats_per_char, ngram_order=loss.ngram_order)

    return Chart(f"loss-by-{name}", f"nats per character {title}", draw)


def _loss_table(title: str, divide: Division) -> Numbers:
    def rows(report: Report) -> Rows:
        loss = report.loss_by_class
        return () if loss is None else [_loss_row(each) for each in divide(loss)]

    head = ("class", "characters", "nats", "n-gram nats", "share of loss")
    return Numbers(f"Nats per character {title}", head, rows)


def _loss_row(each: ClassLoss) -> tuple[object, ...]:
    return (each.name, each.characters, each.nats_per_char, each.ngram_nats_per_char, each.share_of_loss)


def _calibration_rows(report: Report) -> Rows:
    found = report.calibration
    if found is None:
        return ()
    return (
        ("best temperature", found.temperature),
        ("nats per character at it", found.best_nats_per_char),
        ("nats per character at temperature 1", found.nats_per_char),
        ("expected calibration error", found.expected_error),
        ("predictions", found.positions),
    )


def _bins(report: Report) -> Rows:
    bins = () if report.calibration is None else report.calibration.bins
    return [(each.low, each.high, each.positions, each.confidence, each.accuracy) for each in bins]


NETWORK = Section(
    "network",
    "The network",
    "h_t = f(x_t U + h_{t-1} V + b), logits_t = h_t W + c, h_0 = 0",
    "The loop on the left is the same weights at every step on the right: that is all a recurrent network is.",
    (
        Chart(
            "network",
            "the network rolled and unrolled, with the shapes of its weights",
            lambda report: draw_network(report.network) if report.network else None,
            shares_limits=False,
        ),
    ),
    (Numbers("Parameters", ("tensor", "symbol", "shape", "parameters"), _weights),),
)
CURVES = Section(
    "curves",
    "Learning curves",
    "L = mean of \N{MINUS SIGN}log softmax(logits_{t-1})[id_t]",
    "Where the curve falls below a level, the network predicts better than that simple model; "
    "the shaded gap between training and validation is what it has learnt by heart.",
    (
        Chart(
            "curves",
            "loss on training and validation text by step",
            lambda report: draw_curves(report.curves) if report.curves else None,
        ),
    ),
    (Numbers("Losses in nats per character", ("loss", "nats"), _curve_rows),),
    _samples,
)
LOSS = Section(
    "loss_by_class",
    "Where the loss is",
    "L = sum over classes of (characters of the class / characters) L_{class}",
    "If the first letters of words cost most, the network spells better than it chooses words; "
    "a diamond left of the end of a bar is a class that counting n-grams predicts better.",
    tuple(_loss_chart(*division) for division in DIVISIONS),
    tuple(_loss_table(title, divide) for _, title, divide in DIVISIONS),
)
CALIBRATION = Section(
    "calibration",
    "Calibration",
    "p = softmax(logits / T)",
    "Points below the diagonal are predictions that are right less often than the network believes; "
    "a best temperature above 1 says the same in one number.",
    (
        Chart(
            "reliability",
            "how often the likeliest character is right, by its probability",
            lambda report: draw_reliability(report.calibration) if report.calibration else None,
        ),
        Chart(
            "temperature",
            "loss by temperature",
            lambda report: draw_temperature(report.calibration) if report.calibration else None,
        ),
    ),
    (
        Numbers("Calibration", ("quantity", "value"), _calibration_rows, is_folded=False),
        Numbers("Reliability", ("from", "to", "positions", "probability", "right"), _bins),
    ),
)
