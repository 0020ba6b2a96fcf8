"""Runs of several seeds as one: the mean of their scores and the standard deviation."""

import json
import statistics
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from charlm.runs.comparison import RunSummary

SEED = "seed"
"""The key of the setting."""


def gather_seeds(summaries: Sequence[RunSummary]) -> list[RunSummary]:
    """Gather runs that differ in their seed alone: text, split and all other settings are the same.

    Returns:
        A summary for each group, in the order of their first runs, with the folder of the first run. Scores, times and
        speeds are means; a value that a run lacks is None, and so is a step that is not the same for all.

    """
    groups: dict[tuple[Any, ...], list[RunSummary]] = {}
    for summary in summaries:
        same = json.dumps({key: value for key, value in summary.settings.items() if key != SEED})
        groups.setdefault((same, summary.text, summary.split), []).append(summary)
    return [_gather(group) for group in groups.values()]


def _gather(group: Sequence[RunSummary]) -> RunSummary:
    scores = [run.nats_per_char for run in group if run.nats_per_char is not None]
    is_scored_by_all = len(scores) == len(group)
    return replace(
        group[0],
        settings={key: value for key, value in group[0].settings.items() if key != SEED},
        seeds=tuple(run.settings[SEED] for run in group),
        nats_per_char=_mean([run.nats_per_char for run in group]),
        nats_deviation=statistics.stdev(scores) if is_scored_by_all and len(scores) > 1 else None,
        step=group[0].step if len({run.step for run in group}) == 1 else None,
        seconds=_mean([run.seconds for run in group]),
        characters_per_second=_mean([run.characters_per_second for run in group]),
    )


def _mean(values: Sequence[float | None]) -> float | None:
    """Return the mean, or None if a value is missing."""
    known = [value for value in values if value is not None]
    return statistics.fmean(known) if len(known) == len(values) else None
