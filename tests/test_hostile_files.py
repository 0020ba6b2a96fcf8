"""Files of strangers, and of charlm itself: whatever is in one, its reader refuses it in one line."""

from collections.abc import Callable
from pathlib import Path

import pytest

from charlm.config.file import load_config
from charlm.engine.factory import read_tf_config
from charlm.errors import CharlmError
from charlm.network.model_file import read_model
from charlm.runs.metrics import read_position
from charlm.text.corpus import read_manifest
from charlm.training.checkpoints import restore


def read_checkpoint(path: Path) -> object:
    """Restore a checkpoint; what is told about a damaged one is raised."""

    def refuse(message: str) -> None:
        raise CharlmError(message)

    return restore(path.parent, warn=refuse)


def read_space(path: Path) -> object:
    pytest.importorskip("optuna", reason="missing: optuna")
    from charlm.tuning.space import load_space

    return load_space(path)


def read_variable(path: Path) -> object:
    return read_tf_config({path.name: path.read_text(encoding="utf-8", errors="surrogateescape")})


READERS: dict[str, tuple[str, Callable[[Path], object]]] = {
    "recipe": ("mine.yaml", load_config),
    "space": ("space.yaml", read_space),
    "model": ("best.safetensors", read_model),
    "corpus": ("corpus.json", lambda path: read_manifest(path.parent)),
    "checkpoint": ("checkpoints/step-1.safetensors", read_checkpoint),
    "metrics": ("metrics.jsonl", read_position),
    "machines": ("TF_CONFIG", read_variable),
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
EMPTY = {("recipe", "nothing"), ("recipe", "null"), ("machines", "nothing")}
"""What may be empty."""


@pytest.mark.parametrize(
    ("reader", "name"), [(reader, name) for reader in READERS for name in CONTENTS if (reader, name) not in EMPTY]
)
def test_what_is_not_such_a_file_is_refused_in_a_short_line(reader: str, name: str, tmp_path: Path) -> None:
    file, read = READERS[reader]
    path = tmp_path / file
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(CONTENTS[name] + b"\n")
    with pytest.raises(CharlmError) as caught:
        read(path)
    message = str(caught.value)
    assert path.name in message or f"{path.parent}: damaged" in message
    assert message.isprintable()
    assert len(message.replace(str(tmp_path), "")) < 300
