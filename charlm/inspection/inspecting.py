"""Make reports on networks that read a text, and write the page."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from charlm.api.evaluation import read_scored_text
from charlm.api.model import Model, load
from charlm.checks import check_name, check_path
from charlm.errors import CharlmError
from charlm.events import OnEvent, ignore
from charlm.inspection.reading import Reading, limits_for
from charlm.inspection.report import SECTIONS, Report, group_reports, inspect_text, render_page
from charlm.inspection.style import to_plain
from charlm.runs.folder import run_of
from charlm.storage import write_file

PAGE_SUFFIXES = {".html", ".htm"}


def inspect(
    run: str | Path | Model | None = None,
    *,
    out: str | Path | None = None,
    text: str | Path | None = None,
    only: str | Sequence[str] = (),
    on_event: OnEvent = ignore,
) -> Report:
    """Measure the memory, stability, units and errors of a network, without TensorFlow.

    Args:
        run: A run or a model file, a part of the name of a run, or a loaded model; None = the
            newest run under runs/.
        out: The page to write; None = no page.
        text: A file, a folder of files, a corpus, or - for standard input; None = the validation
            text of the run.
        only: The sections to make, by their keys in the JSON, for instance ["usable_context"]; none
            = all.
        on_event: Called with notes and Progress.

    Raises:
        CharlmError: There is no model, or it is damaged; there is no such section; the text cannot
            be read, or has fewer than 2 characters that the model knows; or the page cannot be
            written, or would replace a file that is read.

    """
    runs = () if run is None else (run,)
    return inspect_runs(runs, out=out, text=text, only=only, on_event=on_event)[0]


def inspect_runs(
    runs: Sequence[str | Path | Model] = (),
    *,
    out: str | Path | None = None,
    text: str | Path | None = None,
    only: str | Sequence[str] = (),
    on_event: OnEvent = ignore,
) -> list[Report]:
    """Measure several networks, and show them on one page; see `inspect`.

    Args:
        runs: Runs or model files, parts of the names of runs, or loaded models; none = the newest
            run under runs/.
        out: The page to write, on which the runs share their figures; None = no page.
        text: See `inspect`.
        only: See `inspect`.
        on_event: See `inspect`.

    Returns:
        A report on each run; a run that is named twice has one.

    """
    paths: Sequence[str | Path | Model | None] = runs or [None]
    sections = [only] if isinstance(only, str) else only
    for section in sections:
        check_name("only", section, SECTIONS)
    source = None if text is None else Path(check_path("text", text))
    page = None if out is None else Path(check_path("out", out))
    if str(source) == "-" and len(paths) > 1:
        raise CharlmError("standard input can be read for one run only; use a file")
    if page is not None and (page.is_dir() or not page.parent.is_dir()):
        raise CharlmError(f"{page}: must be the name of a file in a folder that exists")
    if page is not None and page.suffix.lower() not in PAGE_SUFFIXES:
        raise CharlmError(f"{page}: the report is an HTML page; its name must end with .html")
    if page is not None and source is not None and page.exists():
        place = page.resolve()
        if source.resolve() in {place, *place.parents}:
            raise CharlmError(f"{page}: also an input file; choose another file")
    if page is not None:
        import matplotlib  # noqa: F401 - before the work, because it may be missing
    readings: dict[Path, Reading] = {}
    for path in paths:
        model = load(path, on_event=on_event)
        reading = _reading(model, None if isinstance(path, Model) else path, source)
        readings.setdefault(model.path.resolve(), reading)
    reports = [
        inspect_text(reading, only=sections, on_event=on_event) for reading in readings.values()
    ]
    if page is not None:
        write_file(page, render_page(reports).encode())
    return reports


def _reading(model: Model, path: str | Path | None, text: Path | None) -> Reading:
    return Reading(
        name=str(path or run_of(model.path) or model.path),
        trained=model.trained,
        text=read_scored_text(model, text),
        limits=limits_for(model.trained.parameters),
        path=model.path,
    )


def to_json(reports: Sequence[Report]) -> dict[str, Any]:
    """Return reports as an object for `json.dumps`: a single report, or {"runs": [...]}.

    `groups` has an object for each group of runs that differ only in their seeds: the names of its
    `runs`, the `settings` that differ, some numbers, each with its standard error over the seeds or
    over the text (`errors_over`), and how the loss differs from the previous group.
    """
    groups = []
    for group in group_reports(reports):
        plain = {
            "settings": group.settings,
            "runs": [report.reading.name for report in group.runs.values()],
            "errors_over": group.errors_over,
            **group.estimates,
            "above_previous": group.above_previous,
        }
        groups.append(to_plain(plain))
    objects = [report.data for report in reports]
    shown = objects[0] if len(objects) == 1 else {"runs": objects}
    return {**shown, "groups": groups}
