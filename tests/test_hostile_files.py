"""Untrusted and damaged files: whatever a file holds, its reader refuses it in one line."""

import copy
import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import product
from pathlib import Path
from typing import Any

import pytest
import safetensors.numpy
from corpora import make_corpus
from fake_runs import checkpoints_of, engine_of
from models import read_parts

from charlm.api.evaluation import evaluate
from charlm.api.model import load
from charlm.config.file import load_config
from charlm.config.schema import Config
from charlm.core.model_file import TrainedModel, read_model, seal, write_model
from charlm.errors import CharlmError
from charlm.events import Event, Note
from charlm.exports import FormatName
from charlm.exports.exporting import export_files, export_keras, folder_files
from charlm.inspection.inspecting import inspect
from charlm.runs.run import Run
from charlm.text.corpus import read_manifest


def read_checkpoint(path: Path) -> object:
    """Restore a checkpoint of a run; what is noted about a damaged one is raised."""

    def refuse(event: Event) -> None:
        """Raise what is told about a damaged checkpoint."""
        assert isinstance(event, Note)
        raise CharlmError(event.message)

    folder = path.parent.parent
    run = Run(folder, Config(), make_corpus(folder, "abba\n" * 9))
    return checkpoints_of(run, refuse).restore(engine_of(run))


READERS: dict[str, Callable[[Path], object]] = {
    "mine.yaml": load_config,
    "best.safetensors": read_model,
    "corpus.json": lambda path: read_manifest(path.parent),
    "checkpoints/step-1.safetensors": read_checkpoint,
}
CONTENTS = {
    "lists in lists": b"[" * 100_000,
    "mappings in mappings": b'{"a":' * 100_000,
    "5,000 digits": b'{"format": ' + b"9" * 5000 + b"}",
    "a list": b"[]",
    "a number": b"3",
    "a text": b'"x"',
    "null": b"null",
    "nothing": b"",
    "cut off": b'{"format": 1, "sha',
    "not UTF-8": b'{"format": "\xff"}',
}
MAY_BE = {("mine.yaml", "nothing"), ("mine.yaml", "null")}


@pytest.mark.parametrize(("file", "name"), sorted({*product(READERS, CONTENTS)} - MAY_BE))
def test_what_is_not_such_a_file_is_refused_in_a_short_line(
    file: str, name: str, tmp_path: Path
) -> None:
    path = tmp_path / file
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(CONTENTS[name] + b"\n")
    with pytest.raises(CharlmError) as caught:
        READERS[file](path)
    message = str(caught.value)
    assert path.name in message or f"{path.parent}: damaged" in message
    assert message.isprintable()
    assert len(message.replace(str(tmp_path), "")) < 300


# Metadata of a model

STRANGE_VALUES = {
    "null": "null",
    "true": "true",
    "fraction": "0.5",
    "tiny": "1e-320",
    "infinite": "1e400",
    "65 bits": str(2**64),
    "5,000 digits": "9" * 5000,
    "empty text": '""',
    "surrogate": '"\\ud800"',
    "control characters": '"\\u0000\\u001b[2J\\u202e\\u2028"',
    "markup": '"</script><b>```\\n# x"',
    "combining accent": '"\\u0301"',
    "relu": '"relu"',
    "large number": "1e308",
    "long text": json.dumps("x" * 50_000),
    "empty list": "[]",
    "mapping": '{"a": [1, null]}',
    "100,000 lists": "[" * 100_000,
}
"""Values in JSON by what they are."""
Key = tuple[str | int, ...]


def keys_in(value: Any, before: Key = ()) -> Iterator[Key]:
    """Yield the keys and indices that lead to each value in a JSON value."""
    items = (
        value.items()
        if isinstance(value, dict)
        else enumerate(value)
        if isinstance(value, list)
        else ()
    )
    for key, item in items:
        yield (*before, key)
        yield from keys_in(item, (*before, key))


def with_value(fields: dict[str, Any], key: Key, value: str) -> str:
    """Return fields as JSON, with a value, also in JSON, in the place of another one."""
    changed, placeholder = copy.deepcopy(fields), "the strange value"
    place: Any = changed
    for each in key[:-1]:
        place = place[each]
    place[key[-1]] = placeholder
    return json.dumps(changed).replace(json.dumps(placeholder), value)


def export_all(path: Path) -> None:
    """Make the files of each export of a model, but for the one that needs TensorFlow."""
    trained = load(path).trained
    formats: tuple[FormatName, ...] = ("html", "onnx", "torch", "c")
    for name in formats:
        files = export_files(trained, name, title="title")
    folder_files(trained, name, files, title="title")


USES: dict[str, Callable[[Path, Path], object]] = {
    "sample": lambda path, _: str(load(path).generate("a", length=3, seed=0)),
    "evaluate": evaluate,
    "inspect": lambda path, text: inspect(path, text=text, only="surprise"),
    "export": lambda path, _: export_all(path),
}
"""What is done with a model file and a text."""
USES_OF_A_NETWORK: dict[str, Callable[[Path, Path], object]] = {
    "inspect all": lambda path, text: inspect(path, text=text, out=path.with_name("page.html")),
    "export keras": lambda path, _: export_keras(read_model(path)),
}
"""What takes a second, and depends on the network and its characters alone."""


def network_of(trained: TrainedModel) -> object:
    """Return what the slow uses depend on."""
    return trained.architecture, trained.vocabulary


@pytest.mark.slow
@pytest.mark.parametrize(
    "value", [pytest.param(value, id=name) for name, value in STRANGE_VALUES.items()]
)
def test_any_value_in_the_metadata_of_a_model_is_used_or_refused_in_a_short_line(
    value: str, trained: TrainedModel, text: Path, tmp_path: Path
) -> None:
    path = tmp_path / "model.safetensors"
    corpus = {"ids_sha256": "0", "splits": {"train": [0, 3]}}
    write_model(
        path, replace(trained, facts={**trained.facts, "corpus": corpus, "temperature": 0.8})
    )
    fields, tensors = read_parts(path)
    del fields["sha256"]
    refused = list[str]()
    networks = {network_of(trained)}
    for key in keys_in(fields):
        edited = with_value(fields, key, value)[:-1]  # the checksums are right
        path.write_bytes(safetensors.numpy.save(tensors, {"charlm": seal(edited)}))
        try:
            network = network_of(read_model(path))
        except CharlmError as error:
            refused.append(str(error))
            continue
        uses = USES if network in networks else {**USES, **USES_OF_A_NETWORK}
        networks.add(network)
        for use in uses.values():
            try:
                use(path, text)
            except CharlmError as error:
                refused.append(str(error))
    assert len(refused) > 20
    assert all(message.isprintable() and len(message) <= 1505 for message in refused)
