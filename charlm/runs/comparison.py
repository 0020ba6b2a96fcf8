"""The score, the speed, the text and the settings of runs, and the settings in which they differ.

The score is that of the bundle best/: it belongs to weights that can be used. Time and speed are from the last line of
metrics.jsonl, which may be growing. A value that a run does not have yet is None. The files may come from a stranger:
what is read is bounded in size, and a value that is not possible is None or a CharlmError.
"""

import json
import math
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePath
from typing import Any, Literal

from charlm.config.file import flatten, load_config
from charlm.errors import CharlmError
from charlm.network.architecture import CONFIG_FILE, MODEL, VOCABULARY_FILE, WEIGHTS
from charlm.network.bundle import read_model
from charlm.runs.folder import CORPUS, METRICS_FILE, check_is_run, find_run
from charlm.runs.metrics import read_speed, to_number
from charlm.text.corpus import is_corpus, read_manifest

Order = Literal["score", "name", "time"]
ReportError = Callable[[Path, CharlmError], object]
"""Takes the folder of a run that cannot be read, and the reason."""
CORPUS_SHA256 = "corpus.sha256"
"""Listed among the settings, because scores on different texts cannot be compared."""


@dataclass(frozen=True)
class RunText:
    """The text of a run. Two are equal if losses on them compare: the ids and the validation part are the same."""

    name: str = field(compare=False)
    """The name of the document or, if there are several, of their folder; for the user."""
    sha256: str
    """Of the ids."""
    validation: tuple[int, int]
    """Start and end of the validation text, as positions in the ids."""


@dataclass(frozen=True)
class RunSummary:
    """How far a run has come."""

    folder: Path
    settings: Mapping[str, Any]
    """Every setting by its dotted key, and the SHA-256 of the corpus as CORPUS_SHA256."""
    text: RunText | None = None
    """None if the run has no corpus, for instance because it was copied without."""
    split: str | None = None
    """The text of the score: validation, or train if there is no validation text."""
    nats_per_char: float | None = None
    step: float | None = None
    """The step of the score."""
    seconds: float | None = None
    """The time of training, without evaluations and start-up."""
    characters_per_second: float | None = None
    weights: int | None = None
    """The number of weights."""
    bundle_bytes: int | None = None
    """The size of all files of best/ together."""
    seeds: tuple[int, ...] = ()
    """The seeds of the runs that `gather_seeds` has gathered; none = it is one run."""
    nats_deviation: float | None = None
    """The standard deviation of their scores, with n - 1 in the denominator; None = one run, or a score is missing."""


def summarize(folder: Path) -> RunSummary:
    """Summarize the run in a folder.

    Raises:
        CharlmError: the folder is not a run, or a file of the run is missing, damaged or a link.

    """
    try:
        check_is_run(folder)
        settings = flatten(load_config(folder / CONFIG_FILE, follow_links=False))
        text = _read_text(folder / CORPUS) if is_corpus(folder / CORPUS) else None
        if text is not None:
            settings[CORPUS_SHA256] = text.sha256
        speed = read_speed(folder / METRICS_FILE)
        summary = RunSummary(
            folder, settings, text=text, seconds=speed.seconds, characters_per_second=speed.characters_per_second
        )
        return _with_bundle(summary, folder / "best")
    except OSError as error:
        raise CharlmError(f"{error.filename or folder}: cannot be read: {error.strerror}") from None


def summarize_all(folders: Iterable[Path], *, report: ReportError | None = None) -> list[RunSummary]:
    """Summarize the runs in some folders.

    Args:
        folders: The folders of the runs, or parts of their names, as `find_run` takes them.
        report: Called for each run that cannot be read, which is then left out; None = the error is raised.

    Raises:
        CharlmError: `report` is None, and a run cannot be read.

    """
    summaries = []
    for folder in folders:
        try:
            summaries.append(summarize(find_run(folder)))
        except CharlmError as error:
            if report is None:
                raise
            report(folder, error)
    return summaries


def sort_summaries(summaries: Sequence[RunSummary], order: Order) -> list[RunSummary]:
    """Sort summaries: best score first (scores on training text last), first name first, or shortest training first."""
    return sorted(summaries, key=_ORDERS[order])


def differing_settings(summaries: Sequence[RunSummary]) -> list[str]:
    """Return the keys of the settings that differ between runs, in the order of a config."""
    keys = dict.fromkeys(key for summary in summaries for key in summary.settings)
    return [key for key in keys if len({_identity(summary.settings, key) for summary in summaries}) > 1]


def group_by_text(summaries: Sequence[RunSummary]) -> list[list[RunSummary]]:
    """Group summaries by the text of the run; groups, and summaries in a group, are in the order of their first run."""
    groups: dict[RunText | None, list[RunSummary]] = {}
    for summary in summaries:
        groups.setdefault(summary.text, []).append(summary)
    return list(groups.values())


def _identity(settings: Mapping[str, Any], key: str) -> str | None:
    return json.dumps(settings[key]) if key in settings else None


def _read_text(corpus: Path) -> RunText:
    manifest = read_manifest(corpus)
    name = text_name([source.name for source in manifest.sources])
    return RunText(name, manifest.ids_sha256, manifest.splits["validation"])


def text_name(documents: Sequence[str]) -> str:
    """Return a name for some documents together, given their names."""
    if len(documents) < 2:
        return PurePath(documents[0]).name if documents else "without a name"
    try:
        folder = PurePath(os.path.commonpath(documents)).name
    except ValueError:  # some paths are absolute, some are not
        folder = ""
    if folder:
        return f"{folder}, {len(documents):,} documents"
    return f"{PurePath(documents[0]).name} and {len(documents) - 1:,} more"


def _with_bundle(summary: RunSummary, best: Path) -> RunSummary:
    if not os.path.lexists(best):  # not evaluated yet
        return summary
    model = read_model(best)
    score = model.get("score") or {}
    if not isinstance(score, dict) or score.get("split") not in (None, "train", "validation"):
        raise CharlmError(f"{best / MODEL}: damaged: `score` is not that of the split train or validation")
    return replace(
        summary,
        split=score.get("split"),
        nats_per_char=to_number(score.get("nats_per_char")),
        step=to_number(model.get("step")),
        weights=sum(map(math.prod, model["shapes"].values())),
        bundle_bytes=sum((best / name).lstat().st_size for name in (MODEL, WEIGHTS, VOCABULARY_FILE, CONFIG_FILE)),
    )


_ORDERS: dict[Order, Callable[[RunSummary], Any]] = {
    "score": lambda run: (run.split != "validation", _last_if_none(run.nats_per_char), str(run.folder)),
    "name": lambda run: str(run.folder),
    "time": lambda run: (_last_if_none(run.seconds), str(run.folder)),
}


def _last_if_none(value: float | None) -> float:
    return math.inf if value is None else value
