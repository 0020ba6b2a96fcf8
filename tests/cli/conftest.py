"""A folder full of things that commands must refuse."""

import shutil
from pathlib import Path

import pytest
from bundles import make_random_bundle

from charlm.config.schema import Config, CorpusConfig
from charlm.network.bundle import write_bundle
from charlm.runs.run import begin_run, scratch_run
from charlm.text.tokenization import tokenize
from charlm.training.parts import fill_parts

CONTENTS = {
    "text.txt": b"abba\n" * 50,
    "other.txt": b"abXba",
    "latin.txt": b"abb\xe9",
    "red\x1b[31m.txt": b"\xff",
    "escape.yaml": rb'"\e[31m\n": 1',
}


@pytest.fixture(scope="session")
def original_place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Make a folder with a bundle, a run that has just begun, a corpus, and texts that cannot be read."""
    place = tmp_path_factory.mktemp("place")
    for name, contents in CONTENTS.items():
        (place / name).write_bytes(contents)
    write_bundle(place / "bundle", make_random_bundle("\nab"))
    tokenize([str(place / "text.txt")], place / "corpus", CorpusConfig())
    with scratch_run(place / "begun") as scratch:
        corpus = tokenize([str(place / "text.txt")], scratch / "corpus", CorpusConfig())
        begin_run(place / "begun", fill_parts(Config()), corpus, scratch=scratch)
    return place


@pytest.fixture
def place(original_place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Change to a copy of that folder."""
    shutil.copytree(original_place, tmp_path / "place", symlinks=True)
    monkeypatch.chdir(tmp_path / "place")
    return tmp_path / "place"
