"""Kinds of networks for the tests of this folder, ids that they read, and exports written as `charlm export` does."""

import string
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from models import make_random_model

from charlm.network.model_file import TrainedModel, write_model

STRANGE = ("\n", '"', "\\", "<", ">", "&", "'", "\0", "`", "$", "\u2028", "\x1b", "%", "é", "😀")
"""Characters that mean something in JSON, HTML, JavaScript, C, Markdown, a shell or a terminal."""

NETWORKS: list[dict[str, Any]] = [
    {"layers": 1},
    {"layers": 2, "skip_connections": True},
    {"layers": 3, "embedding": 3},
    {"layers": 3, "embedding": 3, "skip_connections": True, "use_bias": False},
    {"layers": 1, "embedding": 2, "skip_connections": True},
]
IDS = np.random.default_rng(3).integers(0, 5, 60)


def make_model(characters: Sequence[str | None] = "\nabcd", **network: Any) -> TrainedModel:
    """Return a model with random weights, which are so small that the outputs of no activation grow without end."""
    scale = 0.3 if network.get("activation") == "linear" else 0.5
    return make_random_model(characters, **{"scale": scale, **network})


def make_deep_model() -> TrainedModel:
    """Return a model that knows the letters, whose state forgets, and whose text surprises it little and much."""
    letters = "\n !'(),-.:;?" + string.ascii_letters
    trained = make_model(letters, layers=2, units=48, skip_connections=True, scale=0.1)
    trained.parameters.logits_kernel[:] *= 5
    trained.parameters.logits_bias[0] += 2  # so that it breaks lines
    return trained


def write_export(folder: Path, trained: TrainedModel, files: dict[str, bytes]) -> Path:
    """Write an export with its model file, as `charlm export` does; return the folder."""
    folder.mkdir(parents=True)
    write_model(folder / "model.safetensors", trained)
    for name, data in files.items():
        (folder / name).write_bytes(data)
    return folder
