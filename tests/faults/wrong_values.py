"""Attacks on the JSON, settings, tensors and ids of a run: wrong types and huge numbers, with right checksums."""

import contextlib
import json
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import safetensors.numpy
import yaml
from bundles import change_model
from faults.attacks import FILE_EDITS, Attack, edit_file
from run_folders import change_checkpoint

from charlm.config.file import flatten
from charlm.config.schema import Config
from charlm.storage.atomic import sha256

DEEP = "200,000 brackets"
_SHORT = (
    *("null", "true", "0", "-1", "0.5", "1e308", "1e400", "NaN", str(2**63), str(2**64)),
    *('""', '"x"', '"\\u001b[31m"', '"\\ud800"', "[]", "{}", '[[1], "x"]', '{"a": 1}'),
)
VALUES: dict[str, str] = {
    **{text: text for text in _SHORT},
    **{"5,000 digits": "9" * 5000, DEEP: "[" * 100_000 + "]" * 100_000, "a long text": json.dumps("x" * 200_000)},
}
"""What takes the place of a value in JSON, by its name in reports."""


def json_types(run: Path) -> Iterator[Attack]:
    """Yield the attacks that replace, remove or add a value in a JSON file whose checksums are then made right."""
    progress = newest_progress(run)
    documents: dict[str, tuple[Any, Callable[[Path, str], object]]] = {
        **{name: (_read_json(run / name), partial(_write, name)) for name in ("best/model.json", "last/model.json")},
        progress: (_read_json(run / progress)["checkpoint"], partial(_write_progress, progress)),
        "corpus/manifest.json": (_read_json(run / "corpus/manifest.json"), partial(_write, "corpus/manifest.json")),
        "vocabulary.json": (_read_json(run / "best/vocabulary.json"), _write_vocabularies),
        "metrics.jsonl": (json.loads((run / "metrics.jsonl").read_text().splitlines()[-1]), _append_metrics),
    }
    for file, (document, write) in documents.items():
        changes = [(path, name, value) for path in _paths(document) for name, value in VALUES.items()]
        changes += [(path, "removed", "") for path in _paths(document)]
        for path, name, value in [*changes, (("extra",), "a further key", "1")]:
            change = partial(_change_value, document, path, value, write)
            yield Attack("type", file, f"{'.'.join(map(str, path))}: {name}", change, may_differ=True)


def newest_progress(run: Path) -> str:
    """Return where in a run the progress.json of the newest checkpoint is."""
    return f"checkpoints/{max(path.name for path in (run / 'checkpoints').glob('step-*'))}/progress.json"


def _read_json(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8"))


MARK = "\0 here \0"


def _change_value(
    document: Any, path: tuple[str | int, ...], value: str, write: Callable[[Path, str], object], run: Path
) -> None:
    """Write a document with another value in one place, or without it if the value is empty."""
    copy = json.loads(json.dumps(document))
    *before, last = path
    place = copy
    for part in before:
        place = place[part]
    if value:
        place[last] = MARK
    else:
        del place[last]
    write(run, json.dumps(copy, indent=2).replace(json.dumps(MARK), value))


def _paths(value: Any, before: tuple[str | int, ...] = ()) -> Iterator[tuple[str | int, ...]]:
    """Yield the places in JSON: of every mapping all keys, of a list the first and the last position."""
    if before:
        yield before
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from _paths(inner, (*before, key))
    elif isinstance(value, list):
        for index in sorted({0, len(value) - 1} if value else ()):
            yield from _paths(value[index], (*before, index))


def _append_metrics(run: Path, text: str) -> None:
    with (run / "metrics.jsonl").open("a", encoding="utf-8") as file:
        file.write(" ".join(text.split("\n")) + "\n")


def write_sealed(run: Path, name: str, data: bytes) -> None:
    """Write a file of a run; if it can be parsed, make the checksums right that cover it."""
    path = run / name
    path.write_bytes(data)
    with contextlib.suppress(ValueError, RecursionError, KeyError, TypeError, AttributeError):
        if path.name == "model.json":
            change_model(path.parent, lambda _: None)
        elif path.name == "progress.json":
            change_checkpoint(path.parent, lambda _: None)
        elif path.name == "state.safetensors":
            change_checkpoint(path.parent, lambda facts: facts["sha256"].update({path.name: sha256(data)}))
        elif path.with_name("model.json").exists():
            change_model(path.parent, lambda model: model["sha256"].update({path.name: sha256(data)}))


def _write(name: str, run: Path, text: str) -> None:
    write_sealed(run, name, text.encode())


def _write_progress(name: str, run: Path, text: str) -> None:
    _write(name, run, f'{{"checkpoint": {text}}}')


def _write_vocabularies(run: Path, text: str) -> None:
    """Write the vocabulary of the run, of its corpus and of its bundles."""
    for folder in ("", "corpus/", "best/", "last/"):
        _write(f"{folder}vocabulary.json", run, text)


# Settings


def config_fields() -> Iterator[Attack]:
    """Yield the attacks that change a setting in the config.yaml of the run, or in that of its bundles."""
    values = {**{name: text for name, text in VALUES.items() if name not in {DEEP, "NaN"}}, **YAML_VALUES}
    for key in [*flatten(Config()), "training.optimizer.weight_decay", "extra", "model.rnn.units"]:
        for name, value in values.items():
            yield Attack("config", "config.yaml", f"{key}: {name}", partial(_change_config, key, value, ()))
        for value in ("null", "-1", "1e308", '"x"', "[]", "{}"):
            change = partial(_change_config, key, value, ("best", "last"))
            yield Attack("config", "best/config.yaml", f"{key}: {value}", change, may_differ=True)


YAML_VALUES = {
    text: text for text in (".nan", ".inf", "no", "1e-3", "1:20", "2001-01-01", "!!bool x", "!!python/name:os.system")
}


def _change_config(key: str, value: str, bundles: tuple[str, ...], run: Path) -> None:
    values = yaml.safe_load((run / "config.yaml").read_text(encoding="utf-8"))
    *sections, last = key.split(".")
    place = values
    for section in sections:
        if not isinstance(place.get(section), dict):
            place[section] = {}
        place = place[section]
    place[last] = "HERE"
    text = yaml.safe_dump(values, sort_keys=False).replace(": HERE\n", f": {value}\n")
    for folder in [f"{name}/" for name in bundles] or [""]:
        _write(f"{folder}config.yaml", run, text)


# Tensors and ids


def tensors(run: Path) -> Iterator[Attack]:
    """Yield the attacks on weights.safetensors and state.safetensors, with right checksums."""
    for file in ("best/weights.safetensors", newest_progress(run).replace("progress.json", "state.safetensors")):
        edits: dict[str, Callable[[bytes], bytes]] = {
            **FILE_EDITS,
            "nothing": lambda _: b"",
            "a header of a gigabyte": lambda data: (1 << 30).to_bytes(8, "little") + data[8:],
            "no tensors": lambda _: safetensors.numpy.save({}),
        }
        for name in sorted(safetensors.numpy.load_file(run / file)):
            edits |= {f"{name} {change}": partial(_edit_tensor, name, edit) for change, edit in TENSOR_EDITS.items()}
        for change, edit_bytes in edits.items():
            yield Attack("tensors", file, change, partial(_edit_sealed, file, edit_bytes), may_differ=True)


def _full(tensor: Any, value: float) -> Any:
    return np.full(tensor.shape, value).astype(tensor.dtype) if np.issubdtype(tensor.dtype, np.floating) else tensor + 1


TENSOR_EDITS: dict[str, Callable[[Any], Any]] = {
    "removed": lambda _: None,
    "as float64": lambda tensor: tensor.astype(np.float64),
    "as booleans": lambda tensor: tensor.astype(bool),
    "flat": lambda tensor: tensor.reshape(-1)[: max(1, tensor.size // 2)],
    "with one more axis": lambda tensor: tensor[None],
    "empty": lambda tensor: tensor.reshape(-1)[:0],
    "not a number": lambda tensor: _full(tensor, np.nan),
    "infinite": lambda tensor: _full(tensor, np.inf),
    "huge": lambda tensor: _full(tensor, 3e38),
}


def _edit_tensor(name: str, edit: Callable[[Any], Any], data: bytes) -> bytes:
    found = safetensors.numpy.load(data)
    changed = edit(found.pop(name))
    saved: bytes = safetensors.numpy.save(found if changed is None else {**found, name: np.asarray(changed)})
    return saved


def _edit_sealed(file: str, edit: Callable[[bytes], bytes], run: Path) -> None:
    write_sealed(run, file, edit((run / file).read_bytes()))


def ids(run: Path) -> Iterator[Attack]:
    """Yield the attacks on ids.bin, with the right checksum and size in the manifest."""
    size = (run / "corpus/ids.bin").stat().st_size
    edits: dict[str, Callable[[bytes], bytes]] = {
        "all out of range": lambda data: b"\xff" * len(data),
        "one more": lambda data: data + b"\0",
        "one": lambda _: b"\0",
        "none": lambda _: b"",
    }
    for at in range(0, size, max(1, size // 10)):
        edits |= {f"id {at} is {value}": partial(_put_id, at, value) for value in (0, 1, 255)}
    for change, edit in edits.items():
        for fits in (False, True):
            how = "with the right manifest" if fits else "alone"
            yield Attack("ids", "corpus/ids.bin", f"{change}, {how}", partial(_edit_ids, edit, fits))


def _put_id(at: int, value: int, data: bytes) -> bytes:
    return data[:at] + bytes([value]) + data[at + 1 :]


def _edit_ids(edit: Callable[[bytes], bytes], fits: bool, run: Path) -> None:
    edit_file("corpus/ids.bin", edit, run)
    if fits:
        data = (run / "corpus/ids.bin").read_bytes()
        manifest = _read_json(run / "corpus/manifest.json") | {"ids_sha256": sha256(data), "size": len(data)}
        manifest["splits"]["test"] = [min(manifest["splits"]["test"][0], len(data)), len(data)]
        (run / "corpus/manifest.json").write_text(json.dumps(manifest))
