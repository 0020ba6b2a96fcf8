"""Files of strangers, and of charlm itself: whatever is in one, its reader refuses it in one line."""

from collections.abc import Callable
from itertools import product
from pathlib import Path

import pytest

pytest.importorskip("optuna", reason="missing: optuna")

from charlm.config.file import load_config
from charlm.engine.factory import read_tf_config
from charlm.errors import CharlmError
from charlm.events import CheckpointSkipped, Event
from charlm.network.model_file import read_model
from charlm.runs.metrics import read_position
from charlm.text.corpus import read_manifest
from charlm.training.checkpoints import restore
from charlm.tuning.space import load_space


def read_checkpoint(path: Path) -> object:
    """Restore a checkpoint; what is told about a damaged one is raised."""

    def refuse(event: Event) -> None:
        """Raise what is told about a damaged checkpoint."""
        assert isinstance(event, CheckpointSkipped)
        raise CharlmError(event.problem)

    return restore(path.parent, on_event=refuse)


READERS: dict[str, Callable[[Path], object]] = {
    "mine.yaml": load_config,
    "space.yaml": load_space,
    "best.safetensors": read_model,
    "corpus.json": lambda path: read_manifest(path.parent),
    "checkpoints/step-1.safetensors": read_checkpoint,
    "metrics.jsonl": read_position,
    "TF_CONFIG": lambda path: read_tf_config({path.name: path.read_text("utf-8", "surrogateescape")}),
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
MAY_BE = {("mine.yaml", "nothing"), ("mine.yaml", "null"), ("TF_CONFIG", "nothing")}


@pytest.mark.parametrize(("file", "name"), sorted({*product(READERS, CONTENTS)} - MAY_BE))
def test_what_is_not_such_a_file_is_refused_in_a_short_line(file: str, name: str, tmp_path: Path) -> None:
    path = tmp_path / file
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(CONTENTS[name] + b"\n")
    with pytest.raises(CharlmError) as caught:
        READERS[file](path)
    message = str(caught.value)
    assert path.name in message or f"{path.parent}: damaged" in message
    assert message.isprintable()
    assert len(message.replace(str(tmp_path), "")) < 300
