"""The folder of a search: what is searched, the text, the best recipe, and a picture of the trials."""

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib import style
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from optuna.distributions import CategoricalDistribution
from optuna.trial import FrozenTrial, TrialState

from charlm.config.schema import Config
from charlm.config.yaml import dump_yaml
from charlm.errors import CharlmError
from charlm.runs.folder import CORPUS, TENSORBOARD
from charlm.runs.run import corpus_identity
from charlm.storage.atomic import write_file
from charlm.storage.files import read_file, writing
from charlm.storage.locks import taking_turns
from charlm.storage.scratch import scratch_folder
from charlm.text.corpus import Corpus, is_corpus, open_corpus
from charlm.text.tokenization import tokenize
from charlm.training.tensorboard import encode_png, event_file, picture_pb
from charlm.training.views import Picture
from charlm.tuning.space import Range, Space

SEARCH_FILE, BEST_FILE, PICTURE_FILE = "search.json", "best.yaml", "search.png"
EVENTS_FILE = "events.search.tfevents"
PREPARING = ".preparing"
MAX_BYTES = 1 << 20
FORMAT = 1


def prepare_folder(
    out: Path, space: Space, sources: Sequence[str | Path], *, progress: bool = False
) -> tuple[Corpus, dict[str, Any]]:
    """Begin a search in a folder, or find that the same search has begun there.

    Args:
        out: The folder: missing, empty, or that of the same search.
        space: What is searched.
        sources: What `tokenize` takes, which is tokenized into corpus/; or one folder that it wrote.
        progress: Whether to show a progress bar on standard error while the text is tokenized.

    Returns:
        The text, and what makes two searches the same, for JSON.

    Raises:
        CharlmError: the folder holds another search or something else, or the text cannot be read.

    """
    with writing(out):
        is_new = not (out / SEARCH_FILE).exists()
        if is_new and out.exists() and any(path.name[0] != "." and path.name != CORPUS for path in out.iterdir()):
            raise CharlmError(f"{out}: is not empty, and not the folder of a search; name another --out")
        out.mkdir(parents=True, exist_ok=True)
    with taking_turns(out / PREPARING):
        corpus = _prepare_corpus(out / CORPUS, space.config(), sources, progress=progress)
        identity = {"format": FORMAT, **space.describe(), CORPUS: corpus_identity(corpus)}
        written = (json.dumps(identity, indent=2) + "\n").encode()
        path = out / SEARCH_FILE
        if not path.exists():
            write_file(path, written)
        elif (found := _read(path)) != json.loads(written):
            name = next((key for key in identity if found.get(key) != json.loads(written)[key]), "format")
            raise CharlmError(f"{out}: holds a search with another {name}; name another --out, or delete this one")
    return corpus, identity


def _prepare_corpus(target: Path, config: Config, sources: Sequence[str | Path], *, progress: bool) -> Corpus:
    """Return the text; if it was tokenized before, it is tokenized again to see whether it is the same."""
    if len(sources) == 1 and is_corpus(Path(sources[0])):
        return open_corpus(Path(sources[0]))
    with scratch_folder(target) as scratch:
        corpus = tokenize([str(source) for source in sources], scratch / "new", config.corpus, progress=progress)
        if not target.exists():
            with writing(target):
                corpus.folder.rename(target)
        elif corpus_identity(open_corpus(target)) != corpus_identity(corpus):
            raise CharlmError(f"{target.parent}: holds a search with another text; name another --out")
    return open_corpus(target)


def _read(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(read_file(path, limit=MAX_BYTES, follow_links=False))
    except (ValueError, RecursionError):
        found = None
    if not isinstance(found, dict):
        raise CharlmError(f"{path}: damaged: not a JSON object; name another --out")
    return found


def write_recipe(path: Path, space: Space, settings: Mapping[str, Any], *, head: Sequence[str]) -> None:
    """Write the recipe of a trial: what differs from the defaults, below some lines of comment.

    Args:
        path: The file; an old one is replaced.
        space: What is searched.
        settings: What differs from its recipe, by dotted keys.
        head: The lines, each without a line break.

    Raises:
        CharlmError: the file cannot be written.

    """
    values = space.config(settings).model_dump(mode="json", exclude_defaults=True)
    comment = "".join(f"# {line}\n" for line in head)
    write_file(path, (comment + dump_yaml(values)).encode())


def write_picture(out: Path, picture: Picture) -> None:
    """Write the picture of a search, as a PNG file and for TensorBoard; old ones are replaced.

    Args:
        out: The folder of the search.
        picture: Red, green and blue, uint8 [height, width, 3].

    Raises:
        CharlmError: a file cannot be written.

    """
    write_file(out / PICTURE_FILE, encode_png(picture))
    events = out / TENSORBOARD
    with writing(events):
        events.mkdir(exist_ok=True)
    write_file(events / EVENTS_FILE, event_file(picture_pb("search", picture)))


COLUMNS = 3
"""Settings side by side."""
WIDTH, ROW_HEIGHT, DPI = 8.0, 2.4, 100
"""Inches, and pixels to an inch."""
MARKS = {TrialState.COMPLETE: ("complete", "o", "#0072b2"), TrialState.PRUNED: ("pruned", "x", "#a8518a")}
"""What a state is called, its mark and its colour; the colour-blind can tell them apart by either."""
BEST = "#c45500"


def draw_search(trials: Sequence[FrozenTrial], search: Mapping[str, Range]) -> Picture:
    """Draw the losses of the trials of a search, in nats per character, by trial and by each setting.

    Args:
        trials: The trials, at least one of them complete. Those without a finite loss are left out.
        search: The ranges of the settings, by dotted keys, at least one.

    Returns:
        uint8 [height, 800, 3]; the height grows with the number of settings.

    """
    shown = [trial for trial in trials if trial.state in MARKS and trial.value is not None and np.isfinite(trial.value)]
    rows = -(-len(search) // COLUMNS)
    with style.context(["default", {"font.family": ["DejaVu Sans"], "font.size": 9, "text.parse_math": False}]):
        figure = Figure(figsize=(WIDTH, ROW_HEIGHT * (rows + 1.2)), dpi=DPI, layout="constrained")
        grid = figure.add_gridspec(rows + 1, COLUMNS, height_ratios=[1.2, *[1.0] * rows])
        _draw_history(figure.add_subplot(grid[0, :]), shown)
        for index, (key, one) in enumerate(search.items()):
            axes = figure.add_subplot(grid[1 + index // COLUMNS, index % COLUMNS])
            _draw_setting(axes, shown, key, one)
            if index % COLUMNS == 0:
                axes.set_ylabel("nats per character")
        canvas = FigureCanvasAgg(figure)
        canvas.draw()
        return np.array(canvas.buffer_rgba())[:, :, :3]


def _draw_history(axes: Axes, shown: Sequence[FrozenTrial]) -> None:
    _mark(axes, shown, lambda trial: trial.number)
    complete = [trial for trial in shown if trial.state == TrialState.COMPLETE]
    best = np.minimum.accumulate(np.array([trial.value for trial in complete], float))
    steps = [*(trial.number for trial in complete), max(trial.number for trial in shown)]
    axes.step(steps, [*best, best[-1]], where="post", color=BEST, label="best so far")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.set(xlabel="trial", ylabel="nats per character")
    axes.legend(loc="lower right", bbox_to_anchor=(1, 1), ncols=3, frameon=False)


def _draw_setting(axes: Axes, shown: Sequence[FrozenTrial], key: str, one: Range) -> None:
    """Draw the loss by a setting; the best trial has a ring."""

    def place(trial: FrozenTrial) -> float:
        """Return where a trial is on the axis of the setting."""
        value = trial.params[key]
        return float(one.choices.index(value) if isinstance(one, CategoricalDistribution) else value)

    if isinstance(one, CategoricalDistribution):
        axes.set_xticks(range(len(one.choices)), [str(choice) for choice in one.choices])
        axes.set_xlim(-0.5, len(one.choices) - 0.5)
    elif one.log:
        axes.set_xscale("log")
    _mark(axes, shown, place)
    best = min((trial for trial in shown if trial.state == TrialState.COMPLETE), key=lambda trial: trial.value or 0.0)
    axes.plot(place(best), best.value or 0.0, "o", markersize=11, markerfacecolor="none", color=BEST)
    axes.set_xlabel(key.removeprefix("training.").removeprefix("model."))


def _mark(axes: Axes, shown: Sequence[FrozenTrial], place: Callable[[FrozenTrial], Any]) -> None:
    """Mark the losses of trials at their places."""
    for state, (name, mark, colour) in MARKS.items():
        some = [trial for trial in shown if trial.state == state]
        losses = np.array([trial.value for trial in some], float)
        axes.plot([place(trial) for trial in some], losses, mark, markersize=5, zorder=3, color=colour, label=name)
    axes.grid(color="#d9dde2", linewidth=0.6)
