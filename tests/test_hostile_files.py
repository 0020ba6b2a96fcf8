"""Files of strangers, and of charlm itself: whatever is in one, its reader refuses it in one line."""

from collections.abc import Callable
from pathlib import Path

import pytest
from bundles import change_model

from charlm.config.file import load_config
from charlm.engine.cluster import cluster_of_environment
from charlm.errors import CharlmError
from charlm.network.bundle import read_bundle, read_model
from charlm.runs.metrics import read_metrics, read_position
from charlm.storage.atomic import sha256
from charlm.text.corpus import read_manifest
from charlm.text.vocabulary import read_vocabulary
from charlm.training.checkpoints import restore


def read_checkpoint(path: Path) -> object:
    """Restore the checkpoint of a progress.json; what is told about a damaged one is raised."""

    def refuse(message: str) -> None:
        raise CharlmError(message)

    return restore(path.parent.parent, warn=refuse)


def read_space(path: Path) -> object:
    pytest.importorskip("optuna", reason="missing: optuna")
    from charlm.tuning.space import load_space

    return load_space(path)


def read_variable(path: Path) -> object:
    return cluster_of_environment({path.name: path.read_text(encoding="utf-8", errors="surrogateescape")})


READERS: dict[str, tuple[str, Callable[[Path], object]]] = {
    "recipe": ("mine.yaml", load_config),
    "space": ("space.yaml", read_space),
    "model": ("model.json", lambda path: read_model(path.parent)),
    "vocabulary": ("vocabulary.json", read_vocabulary),
    "corpus": ("corpus.json", lambda path: read_manifest(path.parent)),
    "checkpoint": ("checkpoints/step-000000001/progress.json", read_checkpoint),
    "metrics": ("metrics.jsonl", read_metrics),
    "end of the metrics": ("metrics.jsonl", read_position),
    "cluster": ("TF_CONFIG", read_variable),
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
EMPTY = {("recipe", "nothing"), ("recipe", "null"), ("cluster", "nothing")}
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


@pytest.mark.parametrize("name", ["vocabulary.json", "config.yaml"])
def test_a_file_of_a_bundle_that_is_not_utf_8_is_refused_although_its_checksum_is_right(
    name: str, bundle_folder: Path
) -> None:
    (bundle_folder / name).write_bytes(b"\xff")
    change_model(bundle_folder, lambda model: model["sha256"].update({name: sha256(b"\xff")}))
    with pytest.raises(CharlmError, match=rf"{name}: damaged: not UTF-8$"):
        read_bundle(bundle_folder)
