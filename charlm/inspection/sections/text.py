"""Sections that show the text itself: coloured by surprise, changed by an edit, coloured by a unit."""

from matplotlib.figure import Figure

from charlm.inspection.figures.context import draw_edits
from charlm.inspection.figures.units import draw_features
from charlm.inspection.passages import browser, gallery, reader
from charlm.inspection.report import Report
from charlm.inspection.sections.section import Chart, Numbers, Rows, Section
from charlm.inspection.visible import visible


def _reader(report: Report, run: int) -> str:
    return "" if report.surprise is None else reader(report.surprise, report.characters, run=run)


def _edits(report: Report) -> Figure | None:
    return draw_edits(report.edits, report.characters) if report.edits else None


def _edit_rows(report: Report) -> Rows:
    return [
        (position, visible(report.characters[index]), before, after)
        for edit in report.edits
        for position, index, before, after in zip(
            edit.positions.tolist(),
            edit.ids.tolist(),
            edit.nats_before.tolist(),
            edit.nats_after.tolist(),
            strict=True,
        )
    ]


def _features(report: Report) -> Figure | None:
    return draw_features(report.units) if report.units is not None and report.units.features else None


def _feature_rows(report: Report) -> Rows:
    if report.units is None:
        return ()
    return [
        (
            each.feature,
            f"rnn.{best.layer}, unit {best.unit}",
            best.score,
            best.strength,
            best.strength_given_character,
            each.chance.shifted,
            each.chance.random_labels,
            each.chance.shifted_given_character,
            each.chance.untrained,
            each.chance.untrained_given_character,
            each.units_beyond_chance,
        )
        for each in report.units.features
        for best in each.best[:1]
    ]


def _units(report: Report, run: int) -> str:
    if report.units is None:
        return ""
    return gallery(report.units, report.characters) + browser(report.units, report.characters, run=run)


SURPRISE = Section(
    "surprise",
    "The text, coloured by surprise",
    "nats_t = \N{MINUS SIGN}log softmax(logits_{t-1})[id_t], influence of s on t = |dL_t/dx_s|",
    "A trained network is surprised where a word or a name begins, and less and less until the word ends.",
    view=_reader,
)
EDIT = Section(
    "edits",
    "An edit and its ripple",
    "nats_t(changed text) \N{MINUS SIGN} nats_t(text)",
    "The shaded area is the ripple: it ends where the network has forgotten the changed character.",
    (Chart("edits", "surprise before and after each edit", _edits),),
    (Numbers("Nats by position", ("position", "character", "before", "after"), _edit_rows),),
    is_optional=True,
)
UNITS = Section(
    "units",
    "What single units follow",
    "strength = |2 AUC \N{MINUS SIGN} 1| of h_t[unit] for a feature of the text, or |rank correlation|",
    "A unit follows a feature if its bar ends to the right of every mark of chance; "
    "the round dot is what is left when the character just read is accounted for.",
    (Chart("units", "strength of the best unit on each feature, and what chance gives", _features),),
    (
        Numbers(
            "The best unit on each feature",
            (
                *("feature", "unit", "score", "strength", "given the character", "shifted", "random labels"),
                *("shifted, given the character", "untrained", "untrained, given the character", "units beyond chance"),
            ),
            _feature_rows,
        ),
    ),
    _units,
)
