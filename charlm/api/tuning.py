"""A search over recipes."""

import importlib.util
import math
import shlex
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from charlm.config.recipes import find_recipe
from charlm.engine.factory import start_engines
from charlm.engine.runtime import check_tensorflow
from charlm.errors import CharlmError
from charlm.runs.folder import RUNS
from charlm.storage.locks import only_writer
from charlm.training.preparation import as_sources
from charlm.training.signals import stop_on_signal

if TYPE_CHECKING:
    from charlm.tuning.search import SearchResult

TRIALS = 20
"""Trials that would fit into the time of a search if none were pruned."""
MIN_TRIAL_SECONDS = 30.0
"""A new search makes its trials no shorter unless it is told to: in less time, networks differ by luck."""
FEW_TRIALS = 4
"""With fewer whole trials, a search has hardly looked beyond its recipe."""


def tune(
    space: str | Path,
    text: str | Path | Sequence[str | Path] | None = None,
    *,
    minutes: float,
    trials: int | None = None,
    trial_minutes: float | None = None,
    out: str | Path | None = None,
    say: Callable[[str], None] = lambda _: None,
    show_progress: bool = False,
) -> "SearchResult":
    """Search for the recipe with the lowest validation loss after the same time of training.

    If the same search has begun in the folder, it goes on. TensorFlow's threads are set for the whole process.

    Args:
        space: The YAML file of what is searched, see docs/tuning.md; or the name of the one that comes with charlm.
        text: What `charlm.train` takes; None = the plays that come with charlm.
        minutes: The time of this call, more than 0.
        trials: The number of trials of the whole search at which it ends; None = any.
        trial_minutes: How long each trial trains, more than 0 and at most half of `minutes`; None = what the search
            has, for a new one a twentieth of `minutes`, but no less than half a minute.
        out: The folder of the search; None = tune- and the name of the space, under runs/.
        say: Takes a line for the user, for instance `print`.
        show_progress: Whether to show a bar on standard error while the text is tokenized.

    Raises:
        CharlmError: Optuna or TensorFlow is not installed, the space, the text or an argument is not right, the folder
            holds another search or another process searches there, several trials in a row have failed, or a file
            cannot be written.
        Stopped: a signal came while nothing was trained; it is a KeyboardInterrupt.

    """
    for name, number in (("minutes", minutes), ("trial_minutes", trial_minutes), ("trials", trials)):
        if number is not None and not 0 < number < math.inf:
            raise CharlmError(f"{name}: found {number:g}; must be a finite number above 0")
    if trial_minutes is not None and 2 * trial_minutes > minutes:
        raise CharlmError(f"trial_minutes: found {trial_minutes:g}; must be at most half of minutes, {minutes:g}")
    path = find_recipe(str(space))
    if importlib.util.find_spec("optuna") is None:
        raise CharlmError("charlm tune needs Optuna: pip install '.[tune]'")
    from charlm.tuning.search import Search
    from charlm.tuning.space import load_space
    from charlm.tuning.study import Study, open_folder, prepare_folder

    loaded = load_space(path)
    check_tensorflow()

    folder = RUNS / f"tune-{path.stem}" if out is None else Path(out)
    sources = as_sources(text)
    open_folder(folder)
    with stop_on_signal(say) as session, only_writer(folder), start_engines(session) as engines:
        corpus, fitted, identity = prepare_folder(folder, loaded, sources, progress=show_progress)
        study = Study(folder, fitted, identity)
        asked = None if trial_minutes is None else 60 * trial_minutes
        default = min(30 * minutes, max(60 * minutes / TRIALS, MIN_TRIAL_SECONDS))
        trial_seconds = study.settle_trial_seconds(asked, default=default)
        session.say(f"the recipe is {fitted.recipe.stem}; each trial trains for {trial_seconds:.3g} s")
        if 60 * minutes < FEW_TRIALS * trial_seconds:
            enough = math.ceil(TRIALS * trial_seconds / 60)
            session.say(f"{minutes:g} min: little time to find much; {enough} min would allow nearly {TRIALS} trials")
        command = " ".join(["charlm train", *([] if text is None else [shlex.quote(one) for one in sources])])
        return Search(
            study,
            corpus,
            engines,
            session,
            command,
            seconds=60 * minutes,
            trial_seconds=trial_seconds,
            trials=trials,
        ).run()
