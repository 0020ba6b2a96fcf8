"""Compare runs: scores, distance to the best run, and differing settings."""

import statistics
from collections.abc import Sequence
from typing import Any

from charlm.core.scoring import Score
from charlm.measures.estimates import difference, loss_of
from charlm.runs.summary import RunSummary, differing_settings, group_by_seed


def compare_runs(group: Sequence[RunSummary]) -> list[dict[str, Any]]:
    """Return runs on one text as plain data, with distances to the best run and differing settings.

    A run is compared with the best run only if its text and its validation loss are known.
    """
    keys = differing_settings(group)
    scores = [*map(_comparable_score, group)]
    best = min(filter(None, scores), key=lambda score: score.nats_per_char, default=None)
    rows = []
    for run, score in zip(group, scores, strict=True):
        above = None
        if score is not None and best is not None and score is not best:
            distance = difference(score, best)
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
            "text": run.text and run.text.name,
            "text_sha256": run.text and run.text.sha256,
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
                "text": first.text and first.text.name,
                "text_sha256": first.text and first.text.sha256,
                "recipe": first.recipe,
                "settings": settings,
                "runs": [str(run.folder) for run in runs],
            }
        )
    return rows


def _comparable_score(run: RunSummary) -> Score | None:
    """Return the score of a run if its text and its validation loss are known."""
    score = run.score
    if run.text is None or score is None or score.split != "validation":
        return None
    return score
