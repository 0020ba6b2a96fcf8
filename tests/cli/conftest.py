"""A folder full of things that commands must refuse, and a wide terminal."""

import shutil
from pathlib import Path

import pytest
from models import make_random_model

from charlm.config.schema import CorpusConfig
from charlm.core.model_file import write_model
from charlm.text.tokenization import tokenize

CONTENTS = {
    "text.txt": b"abba\n" * 50,
    "other.txt": b"abXba",
    "latin.txt": b"abb\xe9",
    "red\x1b[31m.txt": b"\xff",
    "escape.yaml": rb'"\e[31m\n": 1',
}


@pytest.fixture(scope="session")
def original_place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Make a folder with a model, a corpus, and texts that cannot be read."""
    place = tmp_path_factory.mktemp("place")
    for name, contents in CONTENTS.items():
        (place / name).write_bytes(contents)
    write_model(place / "m.safetensors", make_random_model("\nab"))
    tokenize([str(place / "text.txt")], place / "corpus", CorpusConfig())
    return place


@pytest.fixture
def place(
    original_place: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Path:
    """Change to a copy of that folder."""
    shutil.copytree(original_place, tmp_path / "place", symlinks=True)
    monkeypatch.chdir(tmp_path / "place")
    return tmp_path / "place"


@pytest.fixture
def wide_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make the terminal so wide that no line is wrapped."""
    monkeypatch.setenv("COLUMNS", "1000")
