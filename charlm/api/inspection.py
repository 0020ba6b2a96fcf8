"""What a network does: reports on runs, as data and as a page."""

import html
import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from charlm.api.evaluation import text_to_score
from charlm.api.model import Model, load
from charlm.errors import CharlmError, check_name
from charlm.inspection.reading import Reading, limits_for
from charlm.inspection.report import SECTIONS, Report, inspect_text
from charlm.inspection.report import to_json as report_to_json
from charlm.runs.folder import run_of
from charlm.runs.run import run_corpus

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Progress = Callable[[int, int, str], object]
"""Takes the number of parts that are made, the number of all parts, and the name of the next one."""


@dataclass(frozen=True, eq=False)
class Inspection:
    """What a network does: as data, as figures, and in a notebook as a page."""

    report: Report

    @cached_property
    def data(self) -> dict[str, Any]:
        """What `charlm inspect --json` prints, as lists, dicts, numbers and texts."""
        return report_to_json(self.report)

    @cached_property
    def figures(self) -> "dict[str, Figure]":
        """The figures of the page by name, drawn when they are first asked for; it takes a few seconds."""
        from charlm.inspection.report import draw_figures

        return draw_figures([self.report])

    def _repr_html_(self) -> str:
        """Return the page in a frame of its own, so that its style and its script leave the notebook alone."""
        from charlm.inspection.report import render_page

        page = html.escape(render_page([self.report], self.figures))
        return f'<iframe srcdoc="{page}" title="charlm inspect" style="width:100%;height:40em;border:0"></iframe>'


def inspect(
    run: str | Path | Model | None = None,
    *,
    text: str | Path | None = None,
    only: Sequence[str] = (),
) -> Inspection:
    """Find out what a network does: how far it remembers, what its units follow, where it errs; no TensorFlow.

    Args:
        run: A run or a model file, a part of the name of a run, or a loaded model; None = the newest run under
            runs/.
        text: A file, a folder of files, a corpus, or - for standard input; None = the validation text of the run.
        only: The parts of the report to make, by the keys of its JSON, for instance ["usable_context"]; none = all.
            The figure of a part has its name too.

    Raises:
        CharlmError: there is no model, or it is damaged; there is no such part; the text cannot be read, or has less
            than 2 characters that the model knows; or a loss is not finite.

    """
    runs = () if run is None else (run,)
    (report,) = inspect_runs(runs, text=text, only=only)
    return Inspection(report)


def inspect_runs(
    runs: Sequence[str | Path | Model] = (),
    *,
    out: str | Path | None = None,
    text: str | Path | None = None,
    only: Sequence[str] = (),
    say: Callable[[str], object] | None = None,
    progress: Progress = lambda done, parts, name: None,
) -> list[Report]:
    """Make a report on each of some runs; no TensorFlow.

    Args:
        runs: Runs or model files, parts of the names of runs, or loaded models; none = the newest run under runs/.
        out: The page to write, on which the runs stand side by side; None = no page.
        text: A file, a folder of files, a corpus, or - for standard input; None = the validation text of each run.
        only: The parts of the report to make, by the keys of its JSON, for instance ["usable_context"]; none = all.
        say: As for `charlm.load`.
        progress: Called before each part of a report.

    Raises:
        CharlmError: there is no model, or it is damaged; there is no such part; the text cannot be read, or has less
            than 2 characters that the model knows; a loss is not finite; or the page cannot be written, or would
            replace the text.

    """
    for name in only:
        check_name("only", name, SECTIONS)
    paths: Sequence[str | Path | Model | None] = runs or [None]
    if text is not None and str(text) == "-" and len(paths) > 1:
        raise CharlmError("standard input can be read for one run only: name a file")
    if out is not None:
        if Path(out).is_dir() or not Path(out).parent.is_dir():
            raise CharlmError(f"{out}: must be the name of a file, in a folder that exists")
        if text is not None and Path(out).exists() and Path(text).exists() and Path(out).samefile(text):
            raise CharlmError(f"{out}: is the text that is read; name another file")
    models = [load(path, say=say) for path in paths]
    reports: list[Report] = []
    made, parts = itertools.count(), len(models) * len({*(only or SECTIONS)})
    for path, model in zip(paths, models, strict=True):
        reading = _reading(model, None if isinstance(path, Model) else path, text)

        def show(name: str, of: str = reading.name) -> None:
            """Count a part of a report before it is made."""
            progress(next(made), parts, f"{of}: {name}")

        reports.append(inspect_text(reading, only=only, progress=show))
    if out is not None:
        from charlm.inspection.report import write_page  # matplotlib takes a second to import

        write_page(reports, Path(out))
    return reports


def _reading(model: Model, path: str | Path | None, text: str | Path | None) -> Reading:
    corpus = run_corpus(model.path, model.trained)
    name, ids, left_out = text_to_score(model, text, split=None, corpus=corpus)
    return Reading(
        name=str(path or run_of(model.path) or model.path),
        trained=model.trained,
        text_name=name,
        text=ids,
        limits=limits_for(model.trained.parameters),
        training_text=None if corpus is None else corpus.split("train"),
        left_out=left_out,
    )


def to_json(reports: Sequence[Report]) -> dict[str, Any]:
    """Return reports as an object for `json.dumps`: the report itself if there is one, else {"runs": [...]}."""
    found = [report_to_json(report) for report in reports]
    return found[0] if len(found) == 1 else {"runs": found}
