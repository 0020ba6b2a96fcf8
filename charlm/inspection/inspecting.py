"""From a network and a text to the report on it: every section in its turn."""

import itertools
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from threadpoolctl import threadpool_limits

from charlm.api.evaluation import text_to_score
from charlm.api.model import Model, load
from charlm.errors import CharlmError, check_name
from charlm.events import OnEvent, ReportProgress, ignore
from charlm.inspection.context import make_context
from charlm.inspection.diagram import make_network
from charlm.inspection.fixed_points import make_fixed_points
from charlm.inspection.memory import make_gradient, make_impulse
from charlm.inspection.reading import Found, Reading, limits_for
from charlm.inspection.report import Report, draw_figures, render_page
from charlm.inspection.stability import make_lyapunov, make_spectrum
from charlm.inspection.surprise import make_loss, make_surprise
from charlm.inspection.units import make_units
from charlm.runs.folder import run_of
from charlm.runs.run import run_corpus
from charlm.storage import write_file
from charlm.wording import counted

SECTIONS: Mapping[str, Callable[[Reading], Found]] = {
    "network": make_network,
    "surprise": make_surprise,
    "loss_by_class": make_loss,
    "usable_context": make_context,
    "gradient_by_lag": make_gradient,
    "impulse_response": make_impulse,
    "spectrum": make_spectrum,
    "lyapunov": make_lyapunov,
    "fixed_points": make_fixed_points,
    "units": make_units,
}
"""What makes each section, in the order of the page: what was built, what it predicts, what it remembers, how.

A name is the key of the JSON, the name of the figure, and the anchor. A section that cannot be made raises CharlmError
or LinAlgError."""


def inspect_text(
    reading: Reading, *, only: Collection[str] = (), progress: Callable[[str], object] = lambda _: None
) -> Report:
    """Make the report on a network that reads a text.

    NumPy's products run on a single thread: they are small, and their threads spin while they wait for each other, so
    that beside other work eigenvalues and exponents took seven times as long.

    Args:
        reading: The network and the text.
        only: The names of the sections to make; none = all.
        progress: Called with the name of each section before it is made.

    Raises:
        CharlmError: the text has less than 2 characters, or its losses are not finite.

    """
    if len(reading.text) < 2:
        short = counted(len(reading.text), "character")
        raise CharlmError(f"{reading.text_name}: {short}: at least 2 are needed for a report")
    found: dict[str, Found] = {}
    notes = reading.notes()
    # values that are not finite are null in the JSON, and gaps in the figures
    with threadpool_limits(1, "blas"), np.errstate(all="ignore"):
        for name, make in SECTIONS.items():
            if only and name not in only:
                continue
            progress(name.replace("_", " "))
            try:
                found[name] = make(reading)
            except (CharlmError, np.linalg.LinAlgError) as error:
                if name == "surprise":  # nothing can be said of such losses
                    raise
                notes.append(f"{name.replace('_', ' ').capitalize()}: missing: {error}.")
    return Report(
        name=reading.name,
        text_name=reading.text_name,
        characters=reading.characters,
        activation=reading.parameters.activation,
        recipe=reading.recipe,
        notes=tuple(notes),
        found=found,
    )


def inspect(
    run: str | Path | Model | None = None, *, text: str | Path | None = None, only: Sequence[str] = ()
) -> Report:
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
    return inspect_runs(() if run is None else (run,), text=text, only=only)[0]


def inspect_runs(
    runs: Sequence[str | Path | Model] = (),
    *,
    out: str | Path | None = None,
    text: str | Path | None = None,
    only: Sequence[str] = (),
    on_event: OnEvent = ignore,
) -> list[Report]:
    """Make a report on each of some runs; no TensorFlow.

    Args:
        runs: Runs or model files, parts of the names of runs, or loaded models; none = the newest run under runs/.
        out: The page to write, on which the runs share their figures; None = no page.
        text: A file, a folder of files, a corpus, or - for standard input; None = the validation text of each run.
        only: The parts of the report to make, by the keys of its JSON, for instance ["usable_context"]; none = all.
        on_event: As for `charlm.load`, and with ReportProgress.

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
    models = [load(path, on_event=on_event) for path in paths]
    reports: list[Report] = []
    parts = len(models) * len({*(only or SECTIONS)})
    done = itertools.count()
    for path, model in zip(paths, models, strict=True):
        reading = _reading(model, None if isinstance(path, Model) else path, text)

        def report(part: str, run: str = reading.name) -> None:
            """Tell that a part of the report on a run is about to be made."""
            on_event(ReportProgress(run, part, next(done), parts))

        reports.append(inspect_text(reading, only=only, progress=report))
    if out is not None:
        write_file(Path(out), render_page(reports, draw_figures(reports)).encode())
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
    found = [report.data for report in reports]
    return found[0] if len(found) == 1 else {"runs": found}
