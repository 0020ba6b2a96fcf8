"""Sections on how far back a network learns and remembers."""

from collections.abc import Callable

from matplotlib.figure import Figure

from charlm.inspection.figures.context import draw_impulse_response, draw_memory, draw_usable_context
from charlm.inspection.figures.gradients import draw_gradient_by_lag, draw_truncation
from charlm.inspection.gradients import GradientByLag
from charlm.inspection.report import Report
from charlm.inspection.sections.section import Chart, Numbers, Rows, Section


def _lag_rows(choose: Callable[[Report], GradientByLag | None]) -> Callable[[Report], Rows]:
    def rows(report: Report) -> Rows:
        """Return a row for each layer and lag."""
        found = choose(report)
        return [
            (f"rnn.{curve.layer}", *values)
            for curve in (found.layers if found else ())
            for values in zip(
                curve.lag.tolist(), curve.median.tolist(), curve.low.tolist(), curve.high.tolist(), strict=True
            )
        ]

    return rows


def _gradient(report: Report) -> Figure | None:
    found = report.gradient_by_lag
    return None if found is None else draw_gradient_by_lag(found, report.initial_gradient_by_lag)


def _gradient_of_layers(report: Report) -> Figure | None:
    """Draw the path through each layer; in a network of one layer it is that of the whole state."""
    found = report.gradient_by_lag_layer
    return None if found is None or len(found.layers) == 1 else draw_gradient_by_lag(found)


def _truncation_rows(report: Report) -> Rows:
    found = report.truncation
    if found is None:
        return ()
    return list(zip(found.window.tolist(), found.angle_degrees.tolist(), found.length_ratio.tolist(), strict=True))


def _context_rows(report: Report) -> Rows:
    found = report.usable_context
    if found is None:
        return ()
    ngrams = dict(zip((found.ngram_order - 1).tolist(), found.ngram_nats.tolist(), strict=True))
    saved = [None, *found.bits_saved.tolist()]
    return [
        (k, nats, other, bits, ngrams.get(k))
        for k, nats, other, bits in zip(
            found.characters.tolist(), found.nats.tolist(), found.nats_other_state.tolist(), saved, strict=True
        )
    ]


def _impulse_rows(report: Report) -> Rows:
    found = report.impulse_response
    if found is None:
        return ()
    return list(zip(found.lag.tolist(), found.state.tolist(), found.linear.tolist(), found.kl.tolist(), strict=True))


def _impulse_verdict(report: Report) -> Rows:
    found = report.impulse_response
    if found is None:
        return ()
    return (
        ("response", found.verdict),
        ("its length in characters", found.length),
        ("half-life in characters", found.half_life),
        ("characters replaced, one at a time", found.positions),
    )


def _memory_rows(report: Report) -> Rows:
    found = report.memory
    if found is None:
        return ()
    columns = (found.lag, found.accuracy, found.commonest, found.memory)
    return list(zip(*(column.tolist() for column in columns), strict=True))


LAG_HEAD = ("layer", "lag", "median", "10%", "90%")
GRADIENT = Section(
    "gradient_by_lag",
    "The gradient by lag",
    "dh_t/dh_{t-1} = V D_t, D_t = diag f'(a_t), a_t = x_t U + h_{t-1} V + b",
    "A line that falls means that a loss teaches little about what came that long before: the gradient vanishes; "
    "one that rises means that it explodes.",
    (
        Chart("gradient-by-lag", "gradient by lag along the whole state", _gradient),
        Chart(
            "gradient-by-lag-layer",
            "gradient by lag through the recurrence of each layer alone",
            _gradient_of_layers,
        ),
    ),
    (
        Numbers("Along the whole state", LAG_HEAD, _lag_rows(lambda report: report.gradient_by_lag)),
        Numbers("Through one layer", LAG_HEAD, _lag_rows(lambda report: report.gradient_by_lag_layer)),
        Numbers("Untrained", LAG_HEAD, _lag_rows(lambda report: report.initial_gradient_by_lag)),
    ),
)
TRUNCATION = Section(
    "truncation",
    "The bias of truncated backpropagation",
    "angle(g_{window}, g_{full}), |g_{window}| / |g_{full}|, g = dL/d(weights)",
    "Once the angle is near 0 degrees a longer window teaches nothing more: what came before adds no gradient.",
    (
        Chart(
            "truncation",
            "angle and length of the truncated gradient by window",
            lambda report: draw_truncation(report.truncation) if report.truncation else None,
        ),
    ),
    (Numbers("All weights", ("window", "angle, degrees", "length ratio"), _truncation_rows),),
)
CONTEXT = Section(
    "usable_context",
    "The usable context",
    "L(k) = mean of \N{MINUS SIGN}log p(id_t | id_{t-k}, ..., id_{t-1})",
    "Where the curve becomes flat the network uses nothing that lies further back; "
    "where a square lies below it, counting n-grams uses that context better.",
    (
        Chart(
            "usable-context",
            "nats per character by the number of characters given",
            lambda report: draw_usable_context(report.usable_context) if report.usable_context else None,
        ),
    ),
    (
        Numbers(
            "Nats per character",
            ("characters given", "zero state", "other state", "bits saved", "n-gram"),
            _context_rows,
        ),
    ),
)
IMPULSE = Section(
    "impulse_response",
    "The impulse response",
    "dh_{t+1} = dh_t V D_{t+1}",
    "A replaced character fades from the state, and sooner from the prediction; "
    "as long as the dashed line follows, the network acts as a linear filter.",
    (
        Chart(
            "impulse-response",
            "change of the state and of the prediction by lag",
            lambda report: draw_impulse_response(report.impulse_response) if report.impulse_response else None,
        ),
    ),
    (
        Numbers("Verdict", ("quantity", "value"), _impulse_verdict, is_folded=False),
        Numbers("By lag", ("lag", "|dh|", "linear", "KL, nats"), _impulse_rows),
    ),
)
MEMORY = Section(
    "memory",
    "Memory against use",
    "id_{t-k} read off h_t by ridge regression",
    "The shaded area is what the state still holds of the character k steps back; "
    "compare it with the usable context, which is what the predictions make of it.",
    (
        Chart(
            "memory",
            "accuracy of a linear read-out by lag",
            lambda report: draw_memory(report.memory) if report.memory else None,
        ),
    ),
    (Numbers("Read-out by lag", ("lag", "right", "commonest", "memory"), _memory_rows),),
)
