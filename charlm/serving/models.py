"""Served models and their web pages, which are read again when their files are replaced."""

import asyncio
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from charlm.core.model_file import read_model
from charlm.errors import CharlmError
from charlm.events import Note, OnEvent, ignore
from charlm.exports.exporting import export_html
from charlm.runs.folder import find_model, model_name


class ServedModel:
    """A model that is read again when its file is replaced.

    Args:
        name: Name that requests use.
        path: Path of the model file.
        on_event: Called with notes.

    Raises:
        CharlmError: The file is missing or damaged.

    """

    def __init__(self, name: str, path: Path, *, on_event: OnEvent = ignore) -> None:
        self.name = name
        self._path = path
        self._on_event = on_event
        self._read()

    def _read(self) -> None:
        self.modified = _modified(self._path)
        """Time when the file was replaced, in nanoseconds since 1970."""
        trained = read_model(self._path)
        self.page = export_html(trained, title=self.name)["index.html"]
        """Web page that generates text in the browser."""
        self.trained = trained
        """Network, vocabulary and config."""

    async def refresh(self) -> None:
        """Read the file again if it was replaced; a damaged or missing file changes nothing.

        Other requests get the old model meanwhile.
        """
        modified = _modified(self._path)
        if modified == self.modified:
            return
        self.modified = modified
        result = "serving the new model"
        try:
            await asyncio.to_thread(self._read)
        except CharlmError as error:
            result = f"still serving the old model: {error}"
        self._on_event(Note(f"{self.name}: the file has changed; {result}"))


def _modified(path: Path) -> int:
    """Return the modification time of a file in nanoseconds, or 0 if it is missing."""
    try:
        return path.stat().st_mtime_ns
    except OSError:
        return 0


def open_models(runs: Sequence[Path], *, on_event: OnEvent = ignore) -> dict[str, ServedModel]:
    """Read the models to serve, and return them by name.

    A model has the name of its run, or of its file if it is outside a run. If names are not unique,
    as for two checkpoints of a run, the name of the file is added.

    Args:
        runs: Runs, model files, or parts of names of runs; empty = the newest run.
        on_event: Called with notes.

    Raises:
        CharlmError: There is no such model, a model is damaged, or names are not unique.

    """
    paths = [find_model(run, on_event=on_event) for run in runs or (None,)]
    count = Counter(map(model_name, paths))
    models: dict[str, ServedModel] = {}
    for path in paths:
        name = model_name(path)
        if count[name] > 1 and name != path.stem:
            name = f"{name}-{path.stem}"
        if name in models:
            raise CharlmError(f"{path}: another model is called {name} too; rename one of them")
        models[name] = ServedModel(name, path, on_event=on_event)
    return models
