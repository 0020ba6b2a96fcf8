"""Files of strangers: whatever is in them, and if a link is in their place, each reader refuses them in one line."""

from collections.abc import Callable
from pathlib import Path

import pytest
from bundles import change_model

from charlm.config.file import load_config
from charlm.engine.cluster import cluster_of_environment
from charlm.errors import CharlmError
from charlm.network.bundle import read_bundle, read_model
from charlm.runs.folder import check_no_links
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


def open_search(path: Path) -> object:
    """Open the search in whose folder a file is; search.json is written if it is missing."""
    pytest.importorskip("optuna", reason="missing: optuna")
    from tuning.searches import SearchFolder

    if path.name == "study.journal":
        path.rename(path.parent.parent / path.name)
        SearchFolder(path.parent.parent).open()
        (path.parent.parent / path.name).rename(path)
    return SearchFolder(path.parent.parent).open()


def read_variable(path: Path) -> object:
    return cluster_of_environment({path.name: path.read_text(encoding="utf-8", errors="surrogateescape")})


Read = Callable[[Path], object]
OWN: dict[str, tuple[str, Read]] = {
    "config": ("config.yaml", lambda path: load_config(path, follow_links=False)),
    "model": ("model.json", lambda path: read_model(path.parent)),
    "checkpoint": ("checkpoints/step-000000001/progress.json", read_checkpoint),
    "metrics": ("metrics.jsonl", read_metrics),
    "end of the metrics": ("metrics.jsonl", read_position),
    "search": ("out/search.json", open_search),
    "journal": ("out/study.journal", open_search),
}
"""Files that charlm alone writes, so that a link is refused: where they are, and what reads them."""
READERS: dict[str, tuple[str, Read]] = {
    **OWN,
    "recipe": ("mine.yaml", load_config),
    "space": ("space.yaml", read_space),
    "manifest": ("manifest.json", lambda path: read_manifest(path.parent)),
    "vocabulary": ("vocabulary.json", read_vocabulary),
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
EMPTY = {("config", "nothing"), ("config", "null"), ("recipe", "nothing"), ("recipe", "null"), ("cluster", "nothing")}
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


# Links


@pytest.mark.parametrize("reader", OWN)
def test_a_link_in_place_of_a_file_is_not_read(reader: str, tmp_path: Path) -> None:
    file, read = OWN[reader]
    path = tmp_path / file
    path.parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / "elsewhere").write_text("{}\n", encoding="utf-8")
    path.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(CharlmError, match=rf"{path.name}: is a link; must be the file itself"):
        read(path)


@pytest.mark.parametrize("name", ["weights.safetensors", "vocabulary.json", "config.yaml", "model.json"])
def test_a_link_in_a_bundle_is_not_read(name: str, bundle_folder: Path) -> None:
    path = bundle_folder / name
    path.rename(bundle_folder.parent / name)
    path.symlink_to(bundle_folder.parent / name)
    with pytest.raises(CharlmError, match=rf"bundle/{name}: is a link; must be the file itself"):
        read_bundle(bundle_folder)


@pytest.mark.parametrize(
    "name",
    [
        *(".lock", "config.yaml", "vocabulary.json", "metrics.jsonl", "ended.json", "tensorboard", "init"),
        *("best", "last", "checkpoints", "checkpoints/step-000000010", "teachers", "teachers/1"),
        *("soft_targets.bin", "soft_targets.json", "steps", "steps/step-000000010"),
    ],
)
@pytest.mark.parametrize("is_dangling", [False, True])
def test_a_link_in_place_of_what_training_writes_is_refused(name: str, is_dangling: bool, tmp_path: Path) -> None:
    path = tmp_path / "run" / name
    path.parent.mkdir(parents=True)
    if not is_dangling:
        (tmp_path / "elsewhere").mkdir()
    path.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(CharlmError, match=rf"run/{name}: is a link; must be the file or folder itself: charlm writes"):
        check_no_links(tmp_path / "run")
