"""Runs, and how far each has come."""

from collections.abc import Callable, Iterable
from pathlib import Path

from charlm.errors import CharlmError
from charlm.runs.folder import find_run, find_runs
from charlm.runs.summary import RunSummary, summarize

ReportError = Callable[[Path, CharlmError], object]
"""Takes the folder of a run that cannot be read, and the reason."""


def list_runs(runs: Iterable[str | Path] = (), *, report: ReportError | None = None) -> list[RunSummary]:
    """Return how far runs have come, the newest first.

    Args:
        runs: Their folders, or parts of their names under runs/; none = all under runs/.
        report: Called with the folder and the error of each run that cannot be read, which is then left out; None = the
            error is raised.

    Raises:
        CharlmError: there is no run; or `report` is None, and a run cannot be read.

    """
    found = []
    for folder in [Path(run) for run in runs] or find_runs():
        try:
            found.append(summarize(find_run(folder)))
        except CharlmError as error:
            if report is None:
                raise
            report(folder, error)
    return sorted(found, key=lambda run: run.age_seconds)
