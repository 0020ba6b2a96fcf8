"""Runs compared with each other: their scores, how far they are above the best one, and the settings that differ."""

import math
import statistics
from collections.abc import Sequence
from dataclasses import asdict
from itertools import compress
from typing import Any

from charlm.evaluation.baselines import Comparison
from charlm.evaluation.scoring import Score
from charlm.runs.summary import SEEDS, RunSummary, differing_settings, group_by_seed

SHOWN_OTHERWISE = {
    "folder",
    "text",
    "settings",
    "block_means",
    "ngram_nats_per_char",
    "ngram_standard_error",
}
"""Fields of a summary that a row has in another form."""


def compare_runs(group: Sequence[RunSummary]) -> list[dict[str, Any]]:
    """Return runs on one text as plain data, with their distance from the best and the settings in which they differ.

    A run whose text or whose score on the validation text is not known is compared with none.
    """
    keys, rows = differing_settings(group), []
    scores = [_score(run) for run in group]
    compared = [
        run.text is not None and run.split == "validation" and run.nats_per_char is not None
        for run in group
    ]
    best = min(compress(scores, compared), key=lambda score: score.nats_per_char, default=None)
    for run, score, is_compared in zip(group, scores, compared, strict=True):
        comparison = _compare(run, score)
        above = (
            score.minus(best) if best is not None and is_compared and score is not best else None
        )
        rows.append(
            {
                "name": run.folder.name,
                **{name: value for name, value in vars(run).items() if name not in SHOWN_OTHERWISE},
                "standard_error": score.standard_error,
                "comparison": comparison and asdict(comparison),
                "total_bits": score.total_bits if score.characters else None,
                "above_best": above
                and {"nats_per_char": above.nats, "standard_error": above.standard_error},
                "text": run.text and run.text.name,
                "text_sha256": run.text and run.text.sha256,
                "settings": {key: run.settings.get(key) for key in keys},
                "run": str(run.folder),
            }
        )
    return rows


def compare_seeds(group: Sequence[RunSummary]) -> list[dict[str, Any]]:
    """Return what runs on one text that differ in their seeds alone have together, as plain data."""
    groups = group_by_seed(group)
    keys = [key for key in differing_settings([runs[0] for runs in groups]) if key not in SEEDS]
    rows = []
    for runs in groups:
        scores = [run.nats_per_char for run in runs if run.nats_per_char is not None]
        rows.append(
            {
                "scored": len(scores),
                "nats_per_char": statistics.mean(scores) if scores else None,
                "standard_deviation": statistics.stdev(scores) if len(scores) > 1 else None,
                "text": runs[0].text and runs[0].text.name,
                "text_sha256": runs[0].text and runs[0].text.sha256,
                "recipe": runs[0].recipe,
                "settings": {key: runs[0].settings.get(key) for key in keys},
                "runs": [str(run.folder) for run in runs],
            }
        )
    return rows


def _score(run: RunSummary) -> Score:
    """Return the score of the best model of a run; NaN on 0 characters if the run has no score yet."""
    if run.nats_per_char is None:
        return Score(math.nan, 0)
    return Score(run.nats_per_char, int(run.scored_characters or 0), run.block_means)


def _compare(run: RunSummary, score: Score) -> Comparison | None:
    """Return how the best model of a run compares with the 5-gram model; None if that is not known."""
    if run.ngram_nats_per_char is None or not score.characters:
        return None
    margin = run.ngram_nats_per_char - score.nats_per_char
    return Comparison(run.ngram_nats_per_char, margin, run.ngram_standard_error, score.characters)
