"""What `charlm runs` tells of each run: its state, score, speed, text and settings, and in which settings runs differ.

The score is that of best.safetensors: it belongs to weights that can be used. Step, time and speed are from the last
line of metrics.jsonl, which may be growing. A value that a run does not have yet is None.
"""

import hashlib
import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from charlm.checks import check_each, check_path
from charlm.config.file import dotted, read_yaml
from charlm.errors import CharlmError
from charlm.network.model_file import read_architecture, read_fields
from charlm.runs.folder import (
    BEST,
    CHECKPOINTS,
    CONFIG_FILE,
    CORPUS,
    ENDED_FILE,
    METRICS_FILE,
    check_is_run,
    find_run,
    find_runs,
    saved_steps,
)
from charlm.runs.metrics import read_position, to_number
from charlm.storage import is_held
from charlm.text.corpus import is_corpus, read_manifest
from charlm.wording import short_repr

SEEDS = ("seed", "training.data_seed")
"""The settings of the random choices of a run."""
IMPORTANT = (
    *SEEDS,
    "model.units",
    "model.layers",
    "training.epochs",
    "training.steps",
    "training.optimizer.learning_rate",
    "training.batch_size",
    "training.sequence_length",
    "model.layer_dropout",
    "model.output_dropout",
    "training.ngram_weight",
    "training.optimizer.name",
)
"""The settings that tell most about a run, the most important first."""
State = Literal["training", "stopped", "done"]
"""training: a process trains it now; done: it has reached its end; stopped: neither, so that it can be resumed."""


@dataclass(frozen=True)
class RunText:
    """The text of a run. Two are equal if losses on them compare: both have the same characters, and score the same."""

    name: str = field(compare=False)
    """For the user, see `charlm.text.documents.name_text`."""
    sha256: str
    """Of the documents and how they are read; of the ids, if some stand for any rare character.

    Where a character has an id of its own, the number of the id does not count: it depends on the parent of the run.
    """
    validation: tuple[int, int]
    """Start and end of the validation text, as positions in the ids."""


@dataclass(frozen=True)
class RunSummary:
    """How far a run has come."""

    folder: Path
    state: State
    step: float | None
    """The last step in the log, or of the newest checkpoint if that is later; None if there is none."""
    split: str | None
    """The text of the score: validation, or train if there is no validation text."""
    nats_per_char: float | None
    """The score of the best model."""
    block_means: tuple[float, ...]
    """The means of blocks of the validation text that make the score, see `charlm.evaluation.scoring`; may be empty."""
    scored_characters: float | None
    """How many characters of the validation text make the score."""
    ngram_nats_per_char: float | None
    """The score of the 5-gram model on the same characters."""
    ngram_standard_error: float | None
    """Standard error of the difference between the two scores; None for fewer than 2,400 characters."""
    best_step: float | None
    """The step of the score."""
    seconds: float | None
    """The time of training, without evaluations and start-up."""
    characters_per_second: float | None
    weights: int | None
    """The number of weights."""
    age_seconds: float
    """The time since the last line of the log."""
    recipe: str | None
    """The name of the recipe that the run began with."""
    text: RunText | None
    """None if the run has no corpus, for instance because it was copied without."""
    settings: Mapping[str, Any]
    """Every setting by its dotted key."""


def summarize(folder: Path, *, clock: Callable[[], float] = time.time) -> RunSummary:
    """Summarize the run in a folder.

    Args:
        folder: The folder.
        clock: Returns the time in seconds since 1970.

    Raises:
        CharlmError: the folder is not a run, or a file of the run is missing, damaged or a link.

    """
    try:
        check_is_run(folder)
        settings, metrics = _read_settings(folder / CONFIG_FILE), folder / METRICS_FILE
        (step, seconds, speed), best = read_position(metrics), folder / BEST
        model = read_fields(best) if best.exists() else {}
        score, recipe = _score_of(model), settings.pop("recipe", None)
        means = score.get("block_means")
        saved = map(to_number, saved_steps(folder / CHECKPOINTS)[:1])
        ended: State = "done" if (folder / ENDED_FILE).is_file() else "stopped"
        return RunSummary(
            folder,
            state="training" if is_held(folder) else ended,
            step=max((each for each in (step, *saved) if each is not None), default=None),
            split=score.get("split"),
            nats_per_char=to_number(score.get("nats_per_char")),
            block_means=tuple(means)
            if isinstance(means, list) and None not in map(to_number, means)
            else (),
            scored_characters=to_number(score.get("characters")),
            ngram_nats_per_char=to_number(score.get("ngram_nats_per_char")),
            ngram_standard_error=to_number(score.get("ngram_standard_error")),
            best_step=to_number(model.get("step")),
            seconds=seconds,
            characters_per_second=speed,
            weights=read_architecture(model, best).size if model else None,
            age_seconds=max(0.0, clock() - metrics.stat().st_mtime),
            recipe=recipe if isinstance(recipe, str) else None,
            text=_read_text(folder / CORPUS) if is_corpus(folder / CORPUS) else None,
            settings=settings,
        )
    except OSError as error:
        raise CharlmError(f"{error.filename or folder}: cannot be read: {error.strerror}") from None


def group_by_text(summaries: Sequence[RunSummary]) -> list[list[RunSummary]]:
    """Group summaries by the text of the run; groups, and summaries in a group, are in the order of their first run."""
    return _group(summaries, lambda run: run.text)


def group_by_seed(summaries: Sequence[RunSummary]) -> list[list[RunSummary]]:
    """Group summaries of runs on one text that differ in SEEDS alone, in the order of their first run."""
    return _group(
        summaries, lambda run: json.dumps([run.recipe, {**run.settings, **dict.fromkeys(SEEDS)}])
    )


def _group(
    summaries: Sequence[RunSummary], key: Callable[[RunSummary], object]
) -> list[list[RunSummary]]:
    groups: dict[object, list[RunSummary]] = {}
    for summary in summaries:
        groups.setdefault(key(summary), []).append(summary)
    return [*groups.values()]


def differing_settings(summaries: Sequence[RunSummary]) -> list[str]:
    """Return the keys of the settings that differ between runs.

    First come those that differ between runs of the same recipe: somebody has set them. Important settings come before
    others.
    """
    present = dict.fromkeys(key for summary in summaries for key in summary.settings)
    keys = list(dict.fromkeys([*(key for key in IMPORTANT if key in present), *present]))
    recipes = dict.fromkeys(summary.recipe for summary in summaries)
    parts = [*([run for run in summaries if run.recipe == recipe] for recipe in recipes), summaries]
    found = [
        key
        for part in parts
        for key in keys
        if len({json.dumps(run.settings.get(key)) for run in part}) > 1
    ]
    return list(dict.fromkeys(found))


def _read_settings(path: Path) -> dict[str, Any]:
    """Return every setting in the config of a run by its dotted key, also if this version does not know it."""
    values = read_yaml(path)
    if not isinstance(values, dict):
        raise CharlmError(
            f"{path}: found {short_repr(values)}; must be a mapping of keys to values"
        )
    return {
        key: value for key, value in dotted(values) if value == {} or not isinstance(value, dict)
    }


def _read_text(corpus: Path) -> RunText:
    manifest = read_manifest(corpus)
    if manifest.min_count > 1:
        return RunText(manifest.text_name, manifest.ids_sha256, manifest.splits["validation"])
    read = json.dumps([manifest.encoding, *(source.sha256 for source in manifest.sources)]).encode()
    return RunText(
        manifest.text_name, hashlib.sha256(read).hexdigest(), manifest.splits["validation"]
    )


def _score_of(facts: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the score in the fields of a model file; it is empty before the first evaluation."""
    score = facts.get("score")
    return score if isinstance(score, dict) else {}


def known_score(facts: Mapping[str, Any]) -> float | None:
    """Return the score on the validation text in the fields of a model file, in nats per character; None if none."""
    score = _score_of(facts)
    return to_number(score.get("nats_per_char")) if score.get("split") == "validation" else None


ReportError = Callable[[Path, CharlmError], object]
"""Takes the folder of a run that cannot be read, and the reason."""


def list_runs(
    runs: str | Path | Sequence[str | Path] = (), *, report: ReportError | None = None
) -> list[RunSummary]:
    """Return how far runs have come, the newest first.

    Args:
        runs: Their folders, or parts of their names under runs/; none = all under runs/.
        report: Called with the folder and the error of each run that cannot be read, which is then left out; None = the
            error is raised.

    Raises:
        CharlmError: there is no run; or `report` is None, and a run cannot be read.

    """
    found = []
    for folder in [*map(Path, check_each("runs", runs, check_path))] or find_runs():
        try:
            found.append(summarize(find_run(folder)))
        except CharlmError as error:
            if report is None:
                raise
            report(folder, error)
    return sorted(found, key=lambda run: run.age_seconds)
