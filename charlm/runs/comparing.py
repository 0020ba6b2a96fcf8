"""Group runs by text and by seed, and compare them: scores, distance to the best run, settings."""

import json
import statistics
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol, TypeVar

from charlm.core.scoring import Score
from charlm.measures.estimates import Measured, difference, loss_of
from charlm.runs.summary import RunSummary

SEED = "seed"
"""Setting that seeds a run's random numbers."""
NOT_GROUPED = {SEED: None, "training.parts": None}
"""Settings that may differ in a group; the number of cores determines the parts of a batch."""


class Configured(Protocol):
    """Something with the settings of a run, measured on a text."""

    @property
    def settings(self) -> Mapping[str, Any]:
        """Every setting by its dotted key."""

    @property
    def measured(self) -> Measured | None:
        """The measured characters; None if they are unknown."""


Run = TypeVar("Run", bound=Configured)


def group_by_text(runs: Sequence[Run]) -> list[list[Run]]:
    """Group runs by their measured text, in the order of the first run of each group."""
    return _group(runs, lambda run: run.measured)


def group_by_seed(runs: Sequence[Run]) -> list[tuple[dict[str, Any], list[Run]]]:
    """Group runs that were measured on the same text and differ only in NOT_GROUPED.

    A run with an unknown text is the only one in its group.

    Returns:
        For each group, the settings that differ between the groups, and its runs.

    """
    groups = _group(
        runs, lambda run: (run.measured or id(run), json.dumps({**run.settings, **NOT_GROUPED}))
    )
    differing = differing_settings([group[0] for group in groups])
    keys = [key for key in differing if key not in NOT_GROUPED]
    return [({key: group[0].settings.get(key) for key in keys}, group) for group in groups]


def _group(runs: Sequence[Run], key: Callable[[Run], object]) -> list[list[Run]]:
    groups: dict[object, list[Run]] = {}
    for run in runs:
        groups.setdefault(key(run), []).append(run)
    return [*groups.values()]


def differing_settings(runs: Sequence[Configured]) -> list[str]:
    """Return the keys of the settings that differ: the recipe, and others between its runs."""
    groups = _group(runs, lambda run: json.dumps(run.settings.get("recipe")))
    differing = dict.fromkeys(["recipe"] if len(groups) > 1 else [])
    for group in groups:
        for key in dict.fromkeys(key for run in group for key in run.settings):
            if len({json.dumps(run.settings.get(key)) for run in group}) > 1:
                differing[key] = None
    return list(differing)


def compare_runs(group: Sequence[RunSummary]) -> list[dict[str, Any]]:
    """Return runs on one text as plain data, with distances to the best run and differing settings.

    A run is compared with the best run only if its text and its validation loss are known.
    """
    on = [run.measured for run in group]
    keys = differing_settings(group)
    scores = [*map(_comparable_score, group)]
    best = min(filter(None, scores), key=lambda score: score.nats_per_char, default=None)
    rows = []
    for run, score in zip(group, scores, strict=True):
        above = None
        if score is not None and best is not None and score is not best:
            distance = difference(score, best, on=on)
            above = {"nats_per_char": distance.value, "standard_error": distance.error}
        row = {
            "name": run.folder.name,
            "run": str(run.folder),
            "state": run.state,
            "step": run.step,
            "split": run.score and run.score.split,
            "nats_per_char": run.nats_per_char,
            "standard_error": run.score and loss_of(run.score).error,
            "above_best": above,
            "best_step": run.best_step,
            "seconds": run.seconds,
            "characters_per_second": run.characters_per_second,
            "parameters": run.parameters,
            "age_seconds": run.age_seconds,
            "recipe": run.recipe,
            "text": run.measured and run.measured.text,
            "text_sha256": run.measured and run.measured.sha256,
            "settings": {key: run.settings.get(key) for key in keys},
        }
        rows.append(row)
    return rows


def compare_seeds(group: Sequence[RunSummary]) -> list[dict[str, Any]]:
    """Return mean and standard deviation of the runs on one text that differ only in seeds."""
    rows = []
    for settings, runs in group_by_seed(group):
        first = runs[0]
        scores = [run.nats_per_char for run in runs if run.nats_per_char is not None]
        rows.append(
            {
                "scored": len(scores),
                "nats_per_char": statistics.mean(scores) if scores else None,
                "standard_deviation": statistics.stdev(scores) if len(scores) > 1 else None,
                "text": first.measured and first.measured.text,
                "text_sha256": first.measured and first.measured.sha256,
                "recipe": first.recipe,
                "settings": settings,
                "runs": [str(run.folder) for run in runs],
            }
        )
    return rows


def _comparable_score(run: RunSummary) -> Score | None:
    """Return the score of a run if its text and its validation loss are known."""
    score = run.score
    if run.measured is None or score is None or score.split != "validation":
        return None
    return score
