"""Bundles changed on purpose, so that only what was changed is wrong with them."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from charlm.files import sha256


def change_model(folder: Path, change: Callable[[dict[str, Any]], None]) -> None:
    """Change what model.json says, and its seal as well, as one would on purpose."""
    path = folder / "model.json"
    model = json.loads(path.read_text())
    change(model)
    del model["seal"]
    model["seal"] = sha256(json.dumps(model, sort_keys=True).encode())
    path.write_text(json.dumps(model))
