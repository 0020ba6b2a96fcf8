"""Summaries of runs: state, score, speed, text and settings; and their comparison.

The score is read from best.safetensors, so it belongs to weights that can be used. Step, time and
speed are read from the end of metrics.jsonl, which may be growing. Values that a run does not have
yet are None.
"""

import hashlib
import json
import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, Literal, Protocol, TypeVar

from charlm.checks import check_each, to_number
from charlm.config.file import leaves, load_config
from charlm.core import BEST
from charlm.core.checkpoints import saved_steps
from charlm.core.model_file import read_fields
from charlm.core.scoring import Score
from charlm.errors import CharlmError
from charlm.measures.estimates import (
    UNKNOWN,
    Estimate,
    Measured,
    SeedsDifference,
    compare_seeds,
    loss_of,
    over_runs,
    spread_over_seeds,
)
from charlm.runs.folder import CORPUS, check_is_run, find_run, find_runs, named, run_names
from charlm.runs.run import read_outcome
from charlm.storage import CONFIG_FILE, METRICS_FILE, is_held, open_file
from charlm.text.corpus import is_corpus, read_manifest

State = Literal["training", "stopped", "done"]
"""training: a process trains it now; done: it has reached its end; stopped: it can be resumed."""
SEED = "seed"
"""Setting that seeds a run's random numbers."""
NOT_GROUPED = {SEED: None, "training.parts": None}
"""Settings that may differ in a group; the number of cores determines the parts of a batch."""


@dataclass(frozen=True)
class RunSummary:
    """The progress and results of a run."""

    folder: Path
    state: State
    step: float | None
    """Last step in the log or of the newest checkpoint, whichever is later."""
    score: Score | None
    """Score of the best model on the validation text, or else on the training text."""
    train_nats_per_char: float | None
    """Loss of the best model on the training text, see `Outcome`; None before the end of the
    run."""
    best_step: float | None
    """Step of the best model."""
    seconds: float | None
    """Time of training, without evaluations and start-up."""
    age_seconds: float
    """Time since the last entry in the log."""
    recipe: str | None
    """Name of the recipe that the run began with."""
    measured: Measured | None
    """The validation text; None if the run has no corpus, for instance because it was copied
    without a corpus."""
    settings: Mapping[str, Any]
    """Every setting by its dotted key."""

    @property
    def nats_per_char(self) -> float | None:
        """Loss of the best model."""
        return None if self.score is None else self.score.nats_per_char


def summarize(folder: Path) -> RunSummary:
    """Summarize the run in a folder.

    Raises:
        CharlmError: The folder is not a run, or a file of the run is missing, damaged or a link.

    """
    folder = named(folder)
    try:
        check_is_run(folder)
        settings = leaves(load_config(folder / CONFIG_FILE).model_dump(mode="json"))
        recipe = settings.get("recipe")
        metrics = folder / METRICS_FILE
        step, seconds = read_position(metrics)
        saved = map(to_number, saved_steps(folder))
        steps = [number for number in (step, *saved) if number is not None]
        best = folder / BEST
        model = read_fields(best) if best.exists() else {}
        outcome = read_outcome(folder)
        ended: State = "done" if outcome else "stopped"
        return RunSummary(
            folder,
            state="training" if is_held(folder) else ended,
            step=max(steps, default=None),
            score=Score.from_fields(model.get("score")),
            train_nats_per_char=outcome.train_nats_per_char if outcome else None,
            best_step=to_number(model.get("step")),
            seconds=seconds,
            age_seconds=max(0.0, time.time() - metrics.stat().st_mtime),
            recipe=recipe if isinstance(recipe, str) else None,
            measured=_read_text(folder / CORPUS) if is_corpus(folder / CORPUS) else None,
            settings=settings,
        )
    except OSError as error:
        raise CharlmError(f"{error.filename or folder}: cannot be read: {error.strerror}") from None


def _read_text(corpus: Path) -> Measured:
    """Return what the runs on a corpus are measured on.

    The text is known by its documents, or by its ids if rare characters share an id. The ids are
    the second choice, because they depend on the initial weights of the run.
    """
    manifest = read_manifest(corpus)
    sha256 = manifest.ids_sha256
    if manifest.min_count <= 1:
        sources = [source.sha256 for source in manifest.sources]
        sha256 = hashlib.sha256(json.dumps([manifest.encoding, *sources]).encode()).hexdigest()
    return Measured(manifest.name, sha256, manifest.splits["validation"])


ReportError = Callable[[Path, CharlmError], object]
"""A function that is called with the folder of an unreadable run and its error."""


def list_runs(
    runs: str | Path | Sequence[str | Path] = (), *, report: ReportError | None = None
) -> list[RunSummary]:
    """Return summaries of runs, the newest first; a run that is named twice is listed once.

    Args:
        runs: Runs, folders of runs, or parts of the names of runs under runs/; none = all runs
            under runs/.
        report: Called for each unreadable run, which is then left out; None = the error is raised.

    Raises:
        CharlmError: There is no run; or `report` is None, and a run cannot be read.

    """
    summaries: dict[Path, RunSummary] = {}
    paths = map(Path, check_each("runs", runs))
    for folder in [run for path in paths for run in _runs_in(path)] or find_runs():
        try:
            summary = summarize(find_run(folder))
        except CharlmError as error:
            if report is None:
                raise
            report(folder, error)
        else:
            summaries.setdefault(summary.folder.resolve(), summary)
    return sorted(summaries.values(), key=lambda run: run.age_seconds)


def _runs_in(path: Path) -> list[Path]:
    """Return the runs in a folder, or else the path itself."""
    return [path / name for name in run_names(path)] or [path]


def read_position(path: Path) -> tuple[float | None, float | None]:
    """Return the progress of a run from the last lines of its metrics.jsonl, which may be growing.

    Returns:
        The step; and the seconds of training, without evaluations and start-up. None = unknown.

    Raises:
        CharlmError: The file cannot be read.

    """
    with open_file(path) as file:
        lines = file.read().split(b"\n")
    last = next(filter(None, map(parse_line, reversed(lines))), {})
    return to_number(last.get("step")), to_number(last.get("seconds"))


def parse_line(line: bytes) -> dict[str, Any] | None:
    """Return the JSON object in a line, or None if the line is something else."""
    try:
        metrics = json.loads(line)
    except (ValueError, RecursionError):
        return None
    return metrics if isinstance(metrics, dict) else None


# Comparison


class Configured(Protocol):
    """Something with the settings of a run, measured on a text."""

    @property
    def settings(self) -> Mapping[str, Any]:
        """Every setting by its dotted key."""

    @property
    def measured(self) -> Measured | None:
        """The measured characters; None if they are unknown."""

    @property
    def nats_per_char(self) -> float | None:
        """Loss on these characters; None if it is unknown."""


Run = TypeVar("Run", bound=Configured)


@dataclass(frozen=True)
class RunGroup(Generic[Run]):
    """Runs that were measured on the same text and differ only in NOT_GROUPED."""

    settings: Mapping[str, Any]
    """The settings that differ between the groups, by their dotted keys."""
    runs: Sequence[Run]
    above_previous: SeedsDifference | None
    """Difference of the loss from the group before, if that is on the same text."""


def known_losses(runs: Sequence[Configured]) -> list[float]:
    """Return the losses of those runs that have one."""
    return [run.nats_per_char for run in runs if run.nats_per_char is not None]


def group_by_text(runs: Sequence[Run]) -> list[list[Run]]:
    """Group runs by their measured text, in the order of the first run of each group."""
    return _group(runs, lambda run: run.measured)


def group_by_seed(runs: Sequence[Run]) -> list[RunGroup[Run]]:
    """Return the groups of runs on the same text that differ only in NOT_GROUPED.

    The groups are in the order of their texts, then of the settings that differ. A run on an
    unknown text is the only one in its group.
    """
    groups = _group(
        runs, lambda run: (run.measured or id(run), json.dumps({**run.settings, **NOT_GROUPED}))
    )
    differing = differing_settings([group[0] for group in groups])
    keys = [key for key in differing if key not in NOT_GROUPED]

    def order(group: list[Run]) -> list[Any]:
        values = [group[0].settings.get(key) for key in keys]
        return [str(group[0].measured), *map(_order, values)]

    found: list[RunGroup[Run]] = []
    before: list[Run] = []
    for group in sorted(groups, key=order):
        above = None
        if before and group[0].measured == before[0].measured is not None:
            above = compare_seeds(known_losses(group), known_losses(before))
        settings = {key: group[0].settings.get(key) for key in keys}
        found.append(RunGroup(settings, group, above))
        before = group
    return found


def _order(value: Any) -> tuple[bool, Any]:
    """Return a key that sorts values of a setting: numbers by size, then others as text."""
    is_number = isinstance(value, int | float)
    return (not is_number, value if is_number else str(value))


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

    A run is compared with the best run only if its text and its validation loss are known. The
    error of the difference is over the seeds, from all runs that differ only in them.
    """
    keys = differing_settings(group)
    spread = spread_over_seeds([known_losses(each.runs) for each in group_by_seed(group)])
    losses = [*map(_comparable_loss, group)]
    best = min((loss for loss in losses if loss is not None), default=math.inf)
    rows = []
    for run, loss in zip(group, losses, strict=True):
        above = None
        if loss is not None and loss != best:
            error = None if spread is None else math.sqrt(2) * spread
            above = {"nats_per_char": loss - best, "standard_error": error}
        row = {
            "name": run.folder.name,
            "run": str(run.folder),
            **vars(run),
            "split": run.score and run.score.split,
            "nats_per_char": run.nats_per_char,
            "standard_error": run.score and loss_of(run.score).error,
            "above_best": above,
            "text": run.measured and run.measured.text,
            "text_sha256": run.measured and run.measured.sha256,
            "settings": {key: run.settings.get(key) for key in keys},
        }
        for key in ("folder", "score", "measured"):
            del row[key]
        rows.append(row)
    return rows


def compare_groups(group: Sequence[RunSummary]) -> list[dict[str, Any]]:
    """Return the means of the runs on one text that differ only in seeds, and their differences.

    The standard errors are over the seeds. `above_previous` compares a row with the one before it.
    """
    rows: list[dict[str, Any]] = []
    for found in group_by_seed(group):
        first = found.runs[0]
        losses = known_losses(found.runs)
        mean = over_runs([*map(Estimate, losses)]) if losses else UNKNOWN
        rows.append(
            {
                "scored": len(losses),
                "nats_per_char": mean.value,
                "standard_error": mean.error,
                "above_previous": found.above_previous and vars(found.above_previous),
                "text": first.measured and first.measured.text,
                "text_sha256": first.measured and first.measured.sha256,
                "recipe": first.recipe,
                "settings": found.settings,
                "runs": [str(run.folder) for run in found.runs],
            }
        )
    return rows


def _comparable_loss(run: RunSummary) -> float | None:
    """Return the loss of a run if its text and its validation loss are known."""
    if run.measured is None or run.score is None or run.score.split != "validation":
        return None
    return run.nats_per_char
