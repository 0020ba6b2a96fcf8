"""Sections on the network as a dynamical system, and on its weights and states."""

from matplotlib.figure import Figure

from charlm.inspection.figures.dynamics import draw_eigenvalues, draw_fixed_points, draw_lyapunov, draw_trajectory
from charlm.inspection.figures.units import draw_character_map, draw_saturation
from charlm.inspection.report import Report
from charlm.inspection.sections.section import Chart, Numbers, Rows, Section
from charlm.inspection.visible import visible


def _spectrum_rows(report: Report) -> Rows:
    return [
        (
            f"rnn.{each.layer}{label}",
            each.spectral_radius,
            each.largest_singular_value,
            each.non_normality,
            each.effective_radius,
            each.effective_radius_low,
            each.effective_radius_high,
        )
        for label, spectra in (("", report.spectrum), (", untrained", report.initial_spectrum))
        for each in spectra
    ]


def _lyapunov(report: Report) -> Figure | None:
    return None if report.lyapunov is None else draw_lyapunov(report.lyapunov, report.initial_lyapunov)


def _lyapunov_rows(report: Report) -> Rows:
    return [
        (
            name,
            float(found.exponents[0]) if len(found.exponents) else None,
            found.time_constant,
            found.dimensions,
            found.steps,
        )
        for name, found in (("trained", report.lyapunov), ("untrained", report.initial_lyapunov))
        if found is not None
    ]


def _fixed_points(report: Report) -> Figure | None:
    found = report.fixed_points
    return draw_fixed_points(found, report.characters) if found is not None and found.characters else None


def _held_rows(report: Report) -> Rows:
    held = () if report.fixed_points is None else report.fixed_points.characters
    return [
        (
            visible(report.characters[each.id]),
            each.outcome,
            each.period,
            each.settling_characters,
        )
        for each in held
    ]


def _point_rows(report: Report) -> Rows:
    held = () if report.fixed_points is None else report.fixed_points.characters
    return [
        (
            visible(report.characters[each.id]),
            "fixed" if point.is_fixed else "slow",
            point.speed,
            point.spectral_radius,
            point.unstable_directions,
            point.starts,
            " ".join(visible(report.characters[index]) for index, _ in point.likeliest),
        )
        for each in held
        for point in each.points
    ]


def _trajectory(report: Report) -> Figure | None:
    return None if report.trajectory is None else draw_trajectory(report.trajectory, report.characters)


def _saturation(report: Report) -> Figure | None:
    return None if report.saturation is None else draw_saturation(report.saturation)


def _saturation_rows(report: Report) -> Rows:
    layers = () if report.saturation is None else report.saturation.layers
    return [
        (
            f"rnn.{each.layer}",
            each.units,
            each.saturated_share,
            each.always_saturated_units,
            each.dead_units,
            each.participation_ratio,
        )
        for each in layers
    ]


def _character_map(report: Report) -> Figure | None:
    return None if report.character_map is None else draw_character_map(report.character_map, report.characters)


SPECTRUM = Section(
    "spectrum",
    "The eigenvalues of V",
    "V v = lambda v; effective radius: the largest |lambda| of V D_t",
    "An eigenvalue inside the circle is a direction that V alone forgets; outside, one that it amplifies "
    "until f flattens it.",
    (
        Chart(
            "eigenvalues",
            "eigenvalues of V in the complex plane, with the unit circle",
            lambda report: draw_eigenvalues(report.spectrum) if report.spectrum else None,
        ),
    ),
    (
        Numbers(
            "The recurrent kernels",
            ("layer", "radius of V", "largest singular value", "non-normality", "radius of V D", "least", "most"),
            _spectrum_rows,
            is_folded=False,
        ),
    ),
)
LYAPUNOV = Section(
    "lyapunov",
    "Lyapunov exponents",
    "Q_t R_t = (V D_t)^T Q_{t-1}, exponent_i = mean of ln |R_t[i, i]|",
    "Below 0 a small difference of the state shrinks and the network forgets how it started; above 0 it is chaotic.",
    (Chart("lyapunov", "Lyapunov exponents by rank", _lyapunov),),
    (
        Numbers(
            "The largest exponent",
            ("weights", "exponent", "time constant, characters", "dimensions", "characters read"),
            _lyapunov_rows,
            is_folded=False,
        ),
    ),
)
FIXED_POINTS = Section(
    "fixed_points",
    "Fixed and slow points",
    "F(h) = f(x_c U + h V + b) = h, the character c held constant",
    "Points left of the line at 1 attract the state: repeat the character and the network comes to rest there.",
    (Chart("fixed-points", "spectral radius at the fixed and slow points of each character", _fixed_points),),
    (
        Numbers(
            "What the state does",
            ("held", "outcome", "period", "settles after"),
            _held_rows,
            is_folded=False,
        ),
        Numbers(
            "The points",
            ("held", "kind", "speed", "radius", "unstable directions", "starts", "expects"),
            _point_rows,
        ),
    ),
)
TRAJECTORY = Section(
    "trajectory",
    "The state's path through a sentence",
    "z_t = (h_t \N{MINUS SIGN} mean h) P, P the first two principal components",
    "The path begins at the ring; where characters of one kind lie together, the state tells them from the others.",
    (Chart("trajectory", "the state after each character in two components", _trajectory, shares_limits=False),),
)
SATURATION = Section(
    "saturation",
    "Saturation and dimension",
    "share of |h| > 0.9; participation ratio (sum l_i)^2 / sum l_i^2 of the covariance of h",
    "Outputs at the ends of the range pass no gradient, since f' is near 0 there; "
    "the participation ratio says how many directions the states fill.",
    (Chart("saturation", "histogram of the outputs of each layer", _saturation),),
    (
        Numbers(
            "By layer",
            ("layer", "units", "saturated", "always saturated", "dead", "participation ratio"),
            _saturation_rows,
            is_folded=False,
        ),
    ),
)
CHARACTER_MAP = Section(
    "character_map",
    "A map of the characters",
    "row c of U, column c of W, in two principal components",
    "Characters that lie together are read alike, or predicted alike: if vowels form a group, the network has found "
    "out by itself that there are vowels.",
    (Chart("character-map", "the characters by input row and by output column", _character_map, shares_limits=False),),
)
