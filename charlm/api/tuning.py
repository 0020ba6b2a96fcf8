"""A search over recipes."""

import importlib.util
import math
import shlex
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from charlm.api.sources import settle_cards, start_engine
from charlm.config.recipes import DEFAULT_CORPUS, find_space
from charlm.engine.runtime import check_tensorflow
from charlm.errors import CharlmError
from charlm.runs.folder import RUNS
from charlm.text.corpus import open_corpus
from charlm.training.signals import StopRequest, stop_on_signal

if TYPE_CHECKING:
    from charlm.tuning.display import Display
    from charlm.tuning.search import Search, SearchResult
    from charlm.tuning.space import Space

TRIALS = 20
"""Trials that would fit into the time of a search if none were pruned."""


@dataclass(frozen=True)
class SearchTask:
    """What each process of a search needs to know."""

    space: "Space"
    out: Path
    """The folder of the search."""
    corpus: Path
    """The folder of the text as ids."""
    identity: Mapping[str, Any]
    """What makes two searches the same, for JSON."""
    storage: str | None
    seconds: float
    """The time of this call."""
    trial_seconds: float
    """How long a whole trial trains."""
    trials: int | None
    command: str
    """What trains on the same text with a recipe, without the recipe."""


def tune(
    space: str | Path,
    text: str | Path | Sequence[str | Path] | None = None,
    *,
    minutes: float,
    trials: int | None = None,
    trial_minutes: float | None = None,
    out: str | Path | None = None,
    storage: str | None = None,
    say: Callable[[str], None] = lambda _: None,
    show_progress: bool = False,
) -> "SearchResult":
    """Search for the recipe with the lowest validation loss after the same time of training.

    If the same search has begun in the folder, it goes on, and so do its trials. Several processes may search there at
    once. TensorFlow's threads are set for the whole process.

    Args:
        space: The YAML file of what is searched, see docs/tuning.md; or the name of the one that comes with charlm.
        text: What `charlm.train` takes; None = the plays that come with charlm.
        minutes: The time of this call, more than 0.
        trials: The number of trials of the whole search at which it ends; None = any.
        trial_minutes: How long each trial trains, more than 0 and at most half of `minutes`; None = what the search
            has, for a new one a twentieth of `minutes`.
        out: The folder of the search; None = tune- and the name of the space, under runs/.
        storage: The URL of a database for the study, as Optuna takes it; None = a journal in the folder.
        say: Takes a line for the user, for instance `print`.
        show_progress: Whether to show bars on standard error.

    Raises:
        CharlmError: Optuna or TensorFlow is not installed, the space, the text or an argument is not right, the folder
            holds another search, several trials in a row have failed, or a file cannot be written.
        Stopped: a signal came while nothing was trained; it is a KeyboardInterrupt.

    """
    for option, value in (("--minutes", minutes), ("--trial-minutes", 1.0 if trial_minutes is None else trial_minutes)):
        if not 0 < value < math.inf:
            raise CharlmError(f"{option}: found {value:g}; must be a finite number above 0")
    if trial_minutes is not None and 2 * trial_minutes > minutes:
        raise CharlmError(f"--trial-minutes: found {trial_minutes:g}; must be at most half of --minutes, {minutes:g}")
    from charlm.tuning.space import load_space

    path = find_space(str(space))
    loaded = load_space(path)
    if importlib.util.find_spec("optuna") is None:
        raise CharlmError("charlm tune needs Optuna: pip install 'charlm-simplernn[tune]'")
    check_tensorflow()
    from charlm.tuning.display import Display
    from charlm.tuning.folder import prepare_folder
    from charlm.tuning.study import Study

    sources = [DEFAULT_CORPUS] if text is None else [text] if isinstance(text, str | Path) else list(text)
    folder = RUNS / f"tune-{path.stem}" if out is None else Path(out)
    with stop_on_signal() as request:
        loaded = _fix_parts(loaded, request)
        corpus, identity = prepare_folder(folder, loaded, sources, progress=show_progress)
        wanted = None if trial_minutes is None else 60 * trial_minutes
        study = Study(folder, loaded, identity, storage=storage)
        task = SearchTask(
            space=loaded,
            out=folder,
            corpus=corpus.folder,
            identity=identity,
            storage=storage,
            seconds=60 * minutes,
            trial_seconds=study.settle_trial_seconds(wanted, default=60 * minutes / TRIALS),
            trials=trials,
            command=" ".join(["charlm train", *([] if text is None else [shlex.quote(str(one)) for one in sources])]),
        )
        with Display(task.seconds, say=say, show_progress=show_progress) as display:
            return _begin(task, request, display).run()


def _fix_parts(space: "Space", request: StopRequest) -> "Space":
    """Return a space that fixes a part of the batch for each graphics card, if its trials train on them."""
    config = space.config()
    if config.training.device == "cpu" or "training.parts" in space.search:
        return space
    return replace(space, fixed={**space.fixed, "training.parts": settle_cards(config, request).training.parts})


def _begin(task: SearchTask, request: StopRequest, display: "Display") -> "Search":
    """Return a search that has not yet taken a trial, after TensorFlow has started."""
    from charlm.tuning.search import Search
    from charlm.tuning.speed import StepTimer
    from charlm.tuning.study import Study
    from charlm.tuning.trial import Workplace

    corpus = open_corpus(task.corpus)
    make_engine = start_engine(request, device=task.space.config().training.device)
    timer = StepTimer(corpus, make_engine)
    place = Workplace(task.space, corpus, make_engine, timer.seconds_per_step, task.trial_seconds, request)
    study = Study(task.out, task.space, task.identity, storage=task.storage)
    return Search(study, place, display, task.command, seconds=task.seconds, trials=task.trials)
