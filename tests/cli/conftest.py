"""A folder full of things that commands must refuse."""

import shutil
from pathlib import Path

import numpy as np
import pytest

from charlm.config.file import dump_config
from charlm.config.schema import Config, CorpusConfig, ModelConfig
from charlm.network.architecture import Architecture
from charlm.network.bundle import Bundle, write_bundle
from charlm.network.rnn import parameters_from_tensors
from charlm.runs.run import begin_run, scratch_run
from charlm.text.tokenization import tokenize
from charlm.text.vocabulary import Vocabulary
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
    _write_bundle(place / "bundle")
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


def _write_bundle(folder: Path) -> None:
    """Write a bundle of 4 units over a line break, a and b."""
    architecture = Architecture(3, 1, 4, None, True, "tanh", False)
    rng = np.random.default_rng(0)
    tensors = {name: rng.standard_normal(shape).astype(np.float32) for name, shape in architecture.shapes().items()}
    parameters = parameters_from_tensors(tensors, activation="tanh", skip_connections=False)
    vocabulary = Vocabulary("char", ("\n", "a", "b"))
    config = dump_config(Config(model=ModelConfig(layers=1, units=4)))
    write_bundle(folder, Bundle(architecture, parameters, vocabulary, config))
