"""All runs under a folder, and how each is."""

from pathlib import Path

from charlm.errors import CharlmError
from charlm.runs.comparison import ReportError
from charlm.runs.folder import RUNS, find_runs
from charlm.runs.status import RunStatus, read_status, shipped_recipes


def list_runs(under: str | Path = RUNS, *, report: ReportError | None = None) -> list[RunStatus]:
    """Return how each run under a folder is, the newest first.

    Args:
        under: The folder that holds the runs.
        report: Called with the folder and the error of each run that cannot be read, which is then left out; None = the
            error is raised.

    Raises:
        CharlmError: there is no run; or `report` is None, and a file of a run is damaged.

    """
    recipes, found = shipped_recipes(), []
    for folder in find_runs(Path(under)):
        try:
            found.append(read_status(folder, recipes))
        except CharlmError as error:
            if report is None:
                raise
            report(folder, error)
    return sorted(found, key=lambda run: run.age_seconds)
