"""Wrong values: what takes the place of a value in JSON and YAML, and attacks on the tensors of a run.

The checksums are made right, so that only the values are wrong.
"""

import contextlib
import json
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import safetensors.numpy
from bundles import change_model
from faults.attacks import Attack
from run_folders import change_checkpoint

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
YAML_VALUES = {
    text: text for text in (".nan", ".inf", "no", "1e-3", "1:20", "2001-01-01", "!!bool x", "!!python/name:os.system")
}


def newest_progress(run: Path) -> str:
    """Return where in a run the progress.json of the newest checkpoint is."""
    return f"checkpoints/{max(path.name for path in (run / 'checkpoints').glob('step-*'))}/progress.json"


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


def tensors(run: Path) -> Iterator[Attack]:
    """Yield the attacks on weights.safetensors and state.safetensors, with right checksums."""
    for file in ("best/weights.safetensors", newest_progress(run).replace("progress.json", "state.safetensors")):
        for name in sorted(safetensors.numpy.load_file(run / file)):
            for change, edit in TENSOR_EDITS.items():
                apply = partial(_edit_tensor, file, name, edit)
                yield Attack("tensors", file, f"{name} {change}", apply, may_differ=True)


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


def _edit_tensor(file: str, name: str, edit: Callable[[Any], Any], run: Path) -> None:
    found = safetensors.numpy.load_file(run / file)
    changed = edit(found.pop(name))
    given = found if changed is None else {**found, name: np.asarray(changed)}
    write_sealed(run, file, safetensors.numpy.save(given))
