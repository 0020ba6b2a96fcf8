"""Kinds of networks for the tests of this folder, ids that they read, and exports written as `charlm export` does."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from bundles import make_random_bundle

from charlm.network.bundle import Bundle, write_bundle

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


def make_bundle(characters: Sequence[str | None] = "\nabcd", **network: Any) -> Bundle:
    """Return a model with random weights, which are so small that the outputs of no activation grow without end."""
    scale = 0.3 if network.get("activation") == "linear" else 0.5
    return make_random_bundle(characters, **{"scale": scale, **network})


def write_export(folder: Path, bundle: Bundle, files: dict[str, bytes]) -> Path:
    """Write an export with its bundle, as `charlm export` does; return the folder."""
    write_bundle(folder, bundle)
    for name, data in files.items():
        (folder / name).write_bytes(data)
    return folder
