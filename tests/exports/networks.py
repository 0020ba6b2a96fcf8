"""Networks of every kind, ids for them to read, and folders with their exports."""

import string
from collections.abc import Sequence
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import reference
from models import make_random_model

from charlm.core.model_file import TrainedModel, write_model

STRANGE = ("\n", '"', "\\", "<", ">", "&", "'", "\0", "`", "$", "\u2028", "\x1b", "%", "é", "😀")
"""Characters with a meaning in JSON, HTML, JavaScript, C, Markdown, a shell or a terminal."""

EVERY_NETWORK: list[dict[str, Any]] = [
    {"units": 6, **network, "activation": activation}
    for network, activation in product(reference.NETWORKS, reference.ACTIVATIONS)
]
"""Networks of every structure, whose number of units is not the number of ids, 5."""
IDS = np.random.default_rng(3).integers(0, 5, 60)


def make_model(characters: Sequence[str | None] = "\nabcd", **network: Any) -> TrainedModel:
    """Return a model with random weights that are small enough for every activation."""
    scale = 0.3 if network.get("activation") in {"linear", "relu"} else 0.5
    return make_random_model(characters, **{"scale": scale, **network})


def make_deep_model() -> TrainedModel:
    """Return a model of all letters, which forgets, with a wide range of surprise."""
    letters = "\n !'(),-.:;?" + string.ascii_letters
    trained = make_model(letters, layers=2, units=48, skip_connections=True, scale=0.1)
    trained.parameters.logits_kernel[:] *= 5
    trained.parameters.logits_bias[0] += 2  # so that it breaks lines
    return trained


def write_export(folder: Path, trained: TrainedModel, files: dict[str, bytes]) -> Path:
    """Write an export with its model file, and return the folder."""
    folder.mkdir(parents=True)
    write_model(folder / "model.safetensors", trained)
    for name, data in files.items():
        (folder / name).write_bytes(data)
    return folder
