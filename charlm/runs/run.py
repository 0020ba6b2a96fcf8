"""A run: its first files, its settings and text, and its outcome.

A run appears under its name when it is complete. A process builds a new run under a temporary name
and removes nothing else. From its first file to the end of the command it holds the lock of the
folder.
"""

import contextlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from signal import Signals
from typing import Annotated, Any

from pydantic import ConfigDict, Field

from charlm.config.file import dump_config, load_config, parse_stored
from charlm.config.schema import Config
from charlm.core.model_file import TrainedModel, write_model
from charlm.errors import CharlmError
from charlm.runs.folder import (
    CORPUS,
    DEFAULT_CORPUS,
    ENDED_FILE,
    INIT,
    RIVER_PLAYS,
    RUNS,
    check_is_run,
    make_folder,
    run_of,
)
from charlm.storage import (
    CONFIG_FILE,
    METRICS_FILE,
    check_free,
    is_run,
    read_file,
    temporary_folder,
    write_file,
    writing,
)
from charlm.text.corpus import Corpus, is_corpus, open_corpus
from charlm.text.tokenization import tokenize
from charlm.wording import as_argument

MAX_BYTES = 10_000
"""Maximum size of ended.json."""
NOT_KEPT = ("folder", "signal", "had_ended", "is_uncertain", "is_improving")
"""Fields of an outcome that ended.json does not have."""


@dataclass(frozen=True)
class Run:
    """A run that has begun."""

    folder: Path
    config: Config
    corpus: Corpus


def open_run(folder: Path) -> Run:
    """Open a run that has begun, to continue it.

    Raises:
        CharlmError: The folder is not a run, or its corpus is missing or damaged.

    """
    check_is_run(folder)
    config = load_config(folder / CONFIG_FILE)
    return Run(folder, config, open_corpus(folder / CORPUS))


@contextlib.contextmanager
def free_folder(path: Path | None, *, text_name: str) -> Iterator[Path]:
    """Yield the path of a new run; an unnamed run gets a folder under runs/, empty until it begins.

    Args:
        path: A folder that is missing or empty; None = a new folder, named after the time and the
            text.
        text_name: The name of the text.

    Raises:
        CharlmError: The folder is a run or contains something else, or cannot be made.

    """
    if path is not None:
        if is_run(path):
            raise CharlmError(
                f"{path}: contains a run; choose another folder, or continue the run with: "
                f"charlm train --resume -r {as_argument(path)}"
            )
        check_free(path)
        yield path
        return
    with writing(RUNS):
        path = make_folder(text_name)
    try:
        yield path
    except BaseException:
        for folder in (path, path.parent):
            with contextlib.suppress(OSError):  # it is not empty
                folder.rmdir()
        raise


def write_run(folder: Path, config: Config, *, initial: TrainedModel | None = None) -> None:
    """Write the files of a new run whose text was added: its log, and all settings.

    Args:
        folder: The folder of the run, under its temporary name.
        config: Every setting, resolved.
        initial: The initial weights; None = random.

    Raises:
        CharlmError: The folder cannot be written.

    """
    if initial is not None:
        write_model(folder / INIT, initial)
    write_file(folder / METRICS_FILE, b"")
    write_file(folder / CONFIG_FILE, dump_config(config).encode())


def run_corpus(path: Path, model: TrainedModel) -> Corpus | None:
    """Return the training text of a model, or None if it is not known.

    The text is the corpus of the model's run, or the plays for river-plays.

    Args:
        path: The model file.
        model: Contents of the model file.

    Raises:
        CharlmError: The text is damaged, or the model was trained on a different text.

    """
    run = run_of(path)
    if run is not None and is_corpus(run / CORPUS):
        source = run / CORPUS
        corpus = open_corpus(source)
    elif run is None and path.resolve() == RIVER_PLAYS.resolve():
        source = DEFAULT_CORPUS
        settings = model.parse_config(origin=str(path)).corpus
        with temporary_folder() as folder:
            # The ids remain readable after the folder is removed.
            corpus = tokenize([str(source)], folder / CORPUS, settings)
    else:
        return None
    identity = corpus_identity(corpus)
    trained_on = model.facts.get("corpus", identity)  # missing in an imported model
    if corpus.vocabulary != model.vocabulary or trained_on != identity:
        raise CharlmError(
            f"{source}: not the text that the model was trained on: put it back, or give a text"
        )
    return corpus


def corpus_identity(corpus: Corpus) -> dict[str, Any]:
    """Return the identity of a text for JSON: the SHA-256 of its ids, and the ranges of splits."""
    return {
        "ids_sha256": corpus.manifest.ids_sha256,
        "splits": {name: list(borders) for name, borders in corpus.manifest.splits.items()},
    }


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """The outcome of a training run."""

    __pydantic_config__ = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False)

    folder: Annotated[Path, Field(validation_alias="run")]
    """Folder of the run."""
    reason: str
    """Explanation for the user of why the training ended."""
    step: int
    """Last step."""
    recipe: str | None = None
    """Name of the recipe that the run began with."""
    initial_model: str | None = None
    """Name of the model with the initial weights; None = random weights."""
    epochs: float
    """Number of passes over the training text."""
    seconds: float
    """Time of training, without evaluations and start-up."""
    elapsed_seconds: float
    """Time since the first step, over all sessions."""
    nats_per_char: float | None = None
    """Loss of the best model; None if there is no such model."""
    standard_error: float | None = None
    """Standard error of this loss; None = unknown."""
    train_nats_per_char: float | None = None
    """Loss of the best model on the start of the training text, measured as its validation loss and
    on as many characters; None = not measured."""
    best_step: int
    """Step of the best model."""
    split: str
    """Text of this loss: validation, or train without a validation text."""
    temperature: float | None = None
    """Sampling temperature chosen at the end; None if it was not chosen."""
    baselines: Mapping[str, float] = field(default_factory=dict)
    """Losses of simple models on the same text by name."""
    signal: Signals | None = None
    """Signal that ended the training, or None."""
    had_ended: bool = False
    """Whether the run had ended before, so that nothing was done."""
    is_uncertain: bool = False
    """Whether the validation text is too short to tell which model is the best."""
    is_improving: bool = False
    """Whether the last evaluation is better than all before it by more than chance."""

    def to_json(self) -> dict[str, Any]:
        """Return the outcome as plain data."""
        values = {"run": str(self.folder), **vars(self)}
        return {name: value for name, value in values.items() if name not in NOT_KEPT}

    def write(self) -> None:
        """Write ended.json, the file of a finished run; raises CharlmError if that fails."""
        values = {**self.to_json(), "run": self.folder.name}
        write_file(self.folder / ENDED_FILE, (json.dumps(values) + "\n").encode())


def read_outcome(folder: Path) -> Outcome | None:
    """Return the outcome of a finished run; None if the run has not ended.

    Raises:
        CharlmError: ended.json cannot be read, or a value in it is wrong, missing or unknown.

    """
    path = folder / ENDED_FILE
    if not path.exists():
        return None
    origin = f"{path}: not valid (go on from its weights with --init)"
    outcome = parse_stored(Outcome, read_file(path, limit=MAX_BYTES), origin=origin)
    return replace(outcome, folder=folder, had_ended=True)
