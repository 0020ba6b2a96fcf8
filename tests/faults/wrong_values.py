"""Attacks on the JSON, the tensors and the ids of a run: wrong types and huge numbers, with right checksums."""

import contextlib
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import safetensors.numpy
from bundles import change_model
from faults.attacks import FILE_EDITS, Attack

from charlm.storage.atomic import sha256

DIGITS = "9" * 5000
DEEP = "[" * 100_000 + "]" * 100_000
_SHORT = (
    *("null", "true", "0", "-1", "0.5", "1e308", "-1e-320", "1e400", "NaN", "Infinity"),
    *('""', '"x"', '"\\u001b[31m"', '"\\ud800"', "[]", "{}", '[[1], "x"]', '{"a": 1}'),
)
VALUES: dict[str, str] = {
    **{text: text for text in _SHORT},
    **{f"2**{bits}": str(2**bits) for bits in (31, 63, 64)},
    **{"5,000 digits": DIGITS, "200,000 brackets": DEEP, "a long text": json.dumps("x" * 200_000)},
}
"""What takes the place of a value in JSON, by its name in reports."""


def json_types(run: Path) -> Iterator[Attack]:
    """Yield the attacks that replace, remove or add a value in a JSON file whose checksums are then made right."""
    newest = sorted(path.name for path in (run / "checkpoints").glob("step-*"))[-1]
    documents: dict[str, tuple[Any, Callable[[Path, str], object]]] = {}
    for name in ("best", "last"):
        model = json.loads((run / name / "model.json").read_text())
        documents[f"{name}/model.json"] = model, _write_model(name)
    progress = f"checkpoints/{newest}/progress.json"
    documents[progress] = json.loads((run / progress).read_text())["checkpoint"], _write_progress(progress)
    documents["corpus/manifest.json"] = (
        json.loads((run / "corpus/manifest.json").read_text()),
        _writer("corpus/manifest.json"),
    )
    vocabulary = json.loads((run / "best/vocabulary.json").read_text())
    documents["vocabulary.json"] = vocabulary, _write_vocabularies
    line = json.loads((run / "metrics.jsonl").read_text().splitlines()[-1])
    documents["metrics.jsonl"] = line, lambda run, text: _append(run / "metrics.jsonl", text)
    for file, (document, write) in documents.items():
        for path in _paths(document):
            for name, value in VALUES.items():
                yield Attack(
                    "type", file, f"{_dotted(path)}: {name}", _typer(document, path, value, write), may_differ=True
                )
            yield Attack(
                "type", file, f"{_dotted(path)}: removed", _typer(document, path, None, write), may_differ=True
            )
        extra = {**document, "extra": 1}
        yield Attack("type", file, "a further key", _typer(extra, ("extra",), "1", write), may_differ=True)


MARK = "\0 here \0"


def _typer(
    document: Any, path: tuple[str | int, ...], value: str | None, write: Callable[[Path, str], object]
) -> Callable[[Path], object]:
    """Return the attack that writes a document with another value in one place, or without it."""

    def change(run: Path) -> None:
        copy = json.loads(json.dumps(document))
        *before, last = path
        place = copy
        for part in before:
            place = place[part]
        if value is None:
            del place[last]
            write(run, json.dumps(copy, indent=2))
        else:
            place[last] = MARK
            write(run, json.dumps(copy, indent=2).replace(json.dumps(MARK), value))

    return change


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


def _dotted(path: tuple[str | int, ...]) -> str:
    return ".".join(map(str, path))


def _writer(name: str) -> Callable[[Path, str], object]:
    return lambda run, text: (run / name).write_text(text, encoding="utf-8")


def _append(path: Path, text: str) -> None:
    with path.open("a", encoding="utf-8") as file:
        file.write(" ".join(text.split("\n")) + "\n")


def _write_model(name: str) -> Callable[[Path, str], None]:
    """Return the function that writes a model.json with its right seal, if its text can be parsed."""

    def write(run: Path, text: str) -> None:
        path = run / name / "model.json"
        path.write_text(text, encoding="utf-8")
        try:
            change_model(path.parent, lambda _: None)
        except (ValueError, RecursionError, KeyError):
            path.write_text(text, encoding="utf-8")

    return write


def _write_progress(name: str) -> Callable[[Path, str], None]:
    """Return the function that writes a progress.json with its right checksum, if its text can be parsed."""

    def write(run: Path, text: str) -> None:
        with contextlib.suppress(ValueError, RecursionError):
            text = json.dumps(json.loads(text), indent=2)
        digest = sha256(text.encode("utf-8", "surrogatepass"))
        (run / name).write_text(f'{{"sha256": "{digest}", "checkpoint": {text}}}\n', encoding="utf-8")

    return write


def _write_vocabularies(run: Path, text: str) -> None:
    """Write the vocabulary of the run, of its corpus and of its bundles, with right checksums."""
    for folder in (run, run / "corpus", run / "best", run / "last"):
        (folder / "vocabulary.json").write_text(text, encoding="utf-8")
    for name in ("best", "last"):
        seal(run / name, "vocabulary.json")


def seal(bundle: Path, name: str) -> None:
    """Put the checksum of a file of a bundle into its model.json."""
    change_model(bundle, lambda model: model["sha256"].update({name: sha256((bundle / name).read_bytes())}))


# Tensors and ids


def tensors(run: Path) -> Iterator[Attack]:
    """Yield the attacks on weights.safetensors and state.safetensors, with right checksums."""
    newest = sorted(path.name for path in (run / "checkpoints").glob("step-*"))[-1]
    for file in ("best/weights.safetensors", f"checkpoints/{newest}/state.safetensors"):
        names = sorted(safetensors.numpy.load_file(run / file))
        edits: dict[str, Callable[[bytes], bytes]] = {
            **FILE_EDITS,
            "nothing": lambda _: b"",
            "a header without an end": lambda data: b"\xff" * 8 + data[8:],
            "a header of a gigabyte": lambda data: (1 << 30).to_bytes(8, "little") + data[8:],
            "no tensors": lambda _: safetensors.numpy.save({}),
        }
        for name in names:
            for change, edit in TENSOR_EDITS.items():
                edits[f"{name} {change}"] = _tensor_editor(name, edit)
        for change, edit_bytes in edits.items():
            yield Attack("tensors", file, change, _sealed_editor(file, edit_bytes), may_differ=True)


TENSOR_EDITS: dict[str, Callable[[Any], Any]] = {
    "removed": lambda _: None,
    "as float64": lambda tensor: tensor.astype(np.float64),
    "as int8": lambda tensor: tensor.astype(np.int8),
    "as booleans": lambda tensor: tensor.astype(bool),
    "flat": lambda tensor: tensor.reshape(-1)[: max(1, tensor.size // 2)],
    "with one more axis": lambda tensor: tensor[None],
    "empty": lambda tensor: tensor.reshape(-1)[:0],
    "not a number": lambda tensor: np.full(tensor.shape, np.nan).astype(tensor.dtype) if _is_float(tensor) else None,
    "infinite": lambda tensor: np.full(tensor.shape, np.inf).astype(tensor.dtype) if _is_float(tensor) else None,
    "huge": lambda tensor: np.full(tensor.shape, 3e38).astype(tensor.dtype) if _is_float(tensor) else tensor + 1,
}


def _is_float(tensor: Any) -> bool:
    return bool(np.issubdtype(tensor.dtype, np.floating))


def _tensor_editor(name: str, edit: Callable[[Any], Any]) -> Callable[[bytes], bytes]:
    def change(data: bytes) -> bytes:
        found = safetensors.numpy.load(data)
        changed = edit(found.pop(name))
        saved: bytes = safetensors.numpy.save(found if changed is None else {**found, name: np.asarray(changed)})
        return saved

    return change


def _sealed_editor(file: str, edit: Callable[[bytes], bytes]) -> Callable[[Path], None]:
    def change(run: Path) -> None:
        path = run / file
        path.write_bytes(edit(path.read_bytes()))
        if path.name == "weights.safetensors":
            seal(path.parent, path.name)
            return
        progress = json.loads((path.parent / "progress.json").read_text())["checkpoint"]
        progress["sha256"][path.name] = sha256(path.read_bytes())
        _write_progress(str(path.parent.relative_to(run) / "progress.json"))(run, json.dumps(progress))

    return change


def ids(run: Path) -> Iterator[Attack]:
    """Yield the attacks on ids.bin, with the right checksum and size in the manifest."""
    size = (run / "corpus/ids.bin").stat().st_size
    edits: dict[str, Callable[[bytes], bytes]] = {
        "the last id out of range": lambda data: data[:-1] + b"\xff",
        "the first id out of range": lambda data: b"\xff" + data[1:],
        "all ids out of range": lambda data: b"\xff" * len(data),
        "one id more": lambda data: data + b"\0",
        "one id": lambda _: b"\0",
        "no ids": lambda _: b"",
        **{f"id {at} changed": _id_changer(at) for at in range(0, size, max(1, size // 20))},
    }
    for change, edit in edits.items():
        for fits in (False, True):
            how = "with the right manifest" if fits else "alone"
            yield Attack("ids", "corpus/ids.bin", f"{change}, {how}", _ids_editor(edit, fits=fits))


def _id_changer(at: int) -> Callable[[bytes], bytes]:
    return lambda data: data[:at] + bytes([(data[at] + 1) % 3]) + data[at + 1 :]


def _ids_editor(edit: Callable[[bytes], bytes], *, fits: bool) -> Callable[[Path], None]:
    def change(run: Path) -> None:
        path = run / "corpus/ids.bin"
        data = edit(path.read_bytes())
        path.write_bytes(data)
        if fits:
            manifest = json.loads((run / "corpus/manifest.json").read_text())
            manifest |= {"ids_sha256": sha256(data), "size": len(data)}
            manifest["splits"]["test"] = [min(manifest["splits"]["test"][0], len(data)), len(data)]
            (run / "corpus/manifest.json").write_text(json.dumps(manifest))

    return change
