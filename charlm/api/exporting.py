"""Models for other programs: as files that a browser, PyTorch, ONNX, Keras or C reads.

Axes: T time, V vocabulary.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from charlm.api.model import Model, load
from charlm.errors import CharlmError, check_choice, escape_controls
from charlm.formats import FormatName
from charlm.formats.exporting import FORMATS, hub_files
from charlm.formats.programs import Check, check_export
from charlm.runs.folder import model_name
from charlm.runs.run import run_corpus
from charlm.sampling.generation import choose_ids, encode_prompt, read_prompt
from charlm.sampling.sampler import Sampler
from charlm.storage.files import write_file, writing
from charlm.text.corpus import Corpus

CHECKED_CHARACTERS, CHECKED_LOGITS = 10_000, 1 << 22
"""T, the length of the text that --check reads, and T V, the number of logits that it compares, at most: a browser
takes a hundred bytes for each."""


@dataclass(frozen=True)
class Export:
    """What `export` has written."""

    path: Path
    """The folder, or the single file."""
    files: Mapping[str, int]
    """The size in bytes of each file of the format, by name, without those that describe the model."""
    check: Check | None
    """None if it was not asked for."""


def export(
    model: Model | str | Path | None,
    out: str | Path,
    *,
    format: FormatName,
    check: bool = False,
    say: Callable[[str], object] | None = None,
) -> Export:
    """Write a model for another program.

    Args:
        model: A model, or what `charlm.load` takes.
        out: The folder to write, missing or empty: the export, a model card, a license, and the model file, so
            that charlm reads it too. Or a file with the suffix .html, .onnx or .keras of the format, which is
            replaced: then the export alone is written.
        format: html, onnx, torch, keras or c.
        check: Whether the other program must first compute the same logits as charlm over a text of 10,000
            characters, fewer if the vocabulary has more than 419: the validation text of the run, its training text if
            that is too short, or a text that the model writes if it is not in its run.
        say: As for `charlm.load`.

    Raises:
        CharlmError: there is no model, the format cannot hold the network, a package or a program that it needs is
            missing, the check fails, or `out` is a folder that is not empty or cannot be written. Nothing is written
            then.

    """
    check_choice("format", format, FormatName)
    model, found, path = load(model, say=say), FORMATS[format], Path(out)
    is_file = _is_single_file(path, format)
    if not is_file:
        _check_is_free(path, suffix=found.suffix)
    title = escape_controls(model_name(model.path)) or "charlm"
    files = found.export(model.trained, title)
    corpus = run_corpus(model.path, model.trained) if check else None
    checked = None
    if check:
        ids = text_to_check(model, corpus)
        checked = check_export(files, ids, model=model.trained, program=found.reader, read_logits=found.read_logits)
        if not checked.has_passed:
            raise CharlmError(
                f"--check: a logit of {checked.program} differs by {checked.largest_difference:.2g} over "
                f"{checked.characters:,} characters; must be {checked.tolerance:g} at most; nothing was written"
            )
    if is_file:
        ((_, data),) = files.items()
        files = {path.name: data}
        write_file(path, data)
    else:
        with writing(path):
            path.mkdir(parents=True, exist_ok=True)
        for name, data in hub_files(model.trained, found, files, title=title).items():
            write_file(path / name, data)
    return Export(path, {name: len(data) for name, data in files.items()}, checked)


def _is_single_file(path: Path, name: FormatName) -> bool:
    """Return whether a path names the file of a format, and not a folder; refuse the suffix of another format."""
    if path.suffix not in {each.suffix for each in FORMATS.values() if each.suffix}:
        return False
    suffix = FORMATS[name].suffix
    if path.suffix != suffix:
        place = f"a folder, or a file whose name ends in {suffix}" if suffix else "a folder"
        raise CharlmError(f"--out {path}: the format {name} must be {place}")
    return True


def _check_is_free(path: Path, *, suffix: str | None) -> None:
    with writing(path):
        if path.exists() and not (path.is_dir() and not any(path.iterdir())):
            file = f", or a file whose name ends in {suffix}" if suffix else ""
            raise CharlmError(f"{path}: exists already; name a new or an empty folder{file}")


def text_to_check(model: Model, corpus: Corpus | None) -> NDArray[Any]:
    """Return the text that --check reads, integers [T]: of the run if it has one, else written by the model."""
    length = max(1, min(CHECKED_CHARACTERS, CHECKED_LOGITS // len(model.vocabulary)))
    if corpus is not None:
        for split in ("validation", "train"):
            ids = corpus.split(split, at_most=length)
            if len(ids) >= length or (split == "train" and len(ids)):
                return np.asarray(ids, np.int64)
    with np.errstate(over="ignore", invalid="ignore"):  # values that are not finite raise a CharlmError
        *_, state = read_prompt(model.trained.parameters, encode_prompt(model.vocabulary, ""))
        generated = choose_ids(model.trained, state, sampler=Sampler(), seed=1, length=length)
        return np.array([index for index, _ in generated])
