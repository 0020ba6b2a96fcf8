"""Deliberate changes to bundles, with correct checksums, so that only the change is wrong."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from charlm.storage.atomic import sha256


def change_model(folder: Path, change: Callable[[dict[str, Any]], None]) -> None:
    """Change the fields of model.json and renew its seal."""
    path = folder / "model.json"
    model = json.loads(path.read_text())
    change(model)
    del model["seal"]
    model["seal"] = sha256(json.dumps(model, sort_keys=True).encode())
    path.write_text(json.dumps(model))
