"""Served models, which are reloaded when their files are replaced, and their web pages."""

import asyncio
import gzip
import hashlib
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from charlm.errors import CharlmError
from charlm.events import Note, OnEvent, ignore
from charlm.formats.exporting import export_html
from charlm.network.model_file import TrainedModel, read_model
from charlm.runs.folder import find_model, model_name
from charlm.serving.requests import RequestError
from charlm.wording import short_repr


@dataclass(frozen=True)
class Page:
    """Web page, ready to be sent."""

    html: bytes
    compressed: bytes
    """HTML compressed with gzip."""
    digest: str
    """Digest of the HTML."""

    @classmethod
    def of(cls, html: bytes) -> "Page":
        """Return a page with its compressed form and its digest."""
        return cls(html, gzip.compress(html, mtime=0), hashlib.sha256(html).hexdigest()[:32])


@dataclass(frozen=True)
class ServedModel:
    """A model with the name that requests use."""

    name: str
    trained: TrainedModel
    created: int
    """Modification time of the file, in seconds since 1970."""

    @cached_property
    def page(self) -> Page:
        """Page of `charlm export --format html`; making it takes a second for a large model."""
        return Page.of(export_html(self.trained, title=self.name)["index.html"])


Version = tuple[int, int, int]
"""Inode, size and modification time of a file, which change when it is replaced."""


class ModelFile:
    """A model file that is reloaded when it is replaced.

    Running requests keep the old model, and a damaged or missing file is ignored.

    Args:
        name: Name that requests use.
        path: Path of the file.
        on_event: Called with notes.

    Raises:
        CharlmError: The file is missing or damaged.

    """

    def __init__(self, name: str, path: Path, *, on_event: OnEvent = ignore) -> None:
        self.name = name
        self._path = path
        self._on_event = on_event
        self._lock = asyncio.Lock()
        self._seen = _version(path)
        self._model = self._read()

    def _read(self) -> ServedModel:
        trained = read_model(self._path)
        return ServedModel(self.name, trained, int(self._path.stat().st_mtime))

    async def current(self) -> ServedModel:
        """Return the model, after reloading it in a thread if the file has changed."""
        if self._is_new(_version(self._path)):
            async with self._lock:
                version = _version(self._path)
                if self._is_new(version):
                    await self._reload()
                    self._seen = version
        return self._model

    def _is_new(self, version: Version | None) -> bool:
        return version is not None and version != self._seen

    async def _reload(self) -> None:
        try:
            self._model = await asyncio.to_thread(self._read)
        except (CharlmError, OSError) as error:
            result = f", but the old model is still served: {error}"
        else:
            result = "; serving the new model"
        self._on_event(Note(f"{self.name}: the file was replaced{result}"))


def _version(path: Path) -> Version | None:
    """Return the version of a file, or None if it is missing."""
    try:
        stat = path.stat()
    except OSError:
        return None
    return stat.st_ino, stat.st_size, stat.st_mtime_ns


class Shelf:
    """All models of a server.

    Args:
        files: Models, at least one; a request without a name gets the first.

    """

    def __init__(self, files: Sequence[ModelFile]) -> None:
        self._files = {file.name: file for file in files}

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the models."""
        return tuple(self._files)

    async def find(self, name: str | None) -> ServedModel:
        """Return the model with a name; raises RequestError with status 404 if there is none."""
        if name is None:
            return await next(iter(self._files.values())).current()
        if name not in self._files:
            message = f"model: found {short_repr(name)}; this server has {', '.join(self._files)}"
            raise RequestError(404, message, param="model", code="model_not_found")
        return await self._files[name].current()


def open_shelf(runs: Sequence[Path], *, on_event: OnEvent = ignore) -> Shelf:
    """Read the models to serve.

    A model has the name of its run, or of its file if it is outside a run. If names are not unique,
    as for two checkpoints of a run, the name of the file is added.

    Args:
        runs: Runs, model files, or unique parts of names of runs; empty = the newest run.
        on_event: Called with notes.

    Raises:
        CharlmError: There is no such model, a model is damaged, or names are not unique.

    """
    paths = [find_model(run, on_event=on_event) for run in runs or (None,)]
    names = [model_name(path) for path in paths]
    shared = {name for name, count in Counter(names).items() if count > 1}
    files: dict[str, ModelFile] = {}
    for name, path in zip(names, paths, strict=True):
        unique = f"{name}-{path.stem}" if name in shared and name != path.stem else name
        if unique in files:
            raise CharlmError(f"{path}: another model is called {unique} too; rename one of them")
        files[unique] = ModelFile(unique, path, on_event=on_event)
    return Shelf([*files.values()])
