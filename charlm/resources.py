"""Where the files that come with charlm lie: the recipes in configs/ and the corpus in data/."""

from pathlib import Path

_PACKAGE = Path(__file__).parent


def _folder(name: str) -> Path:
    """Return the folder inside the installed package, or beside it in a source checkout."""
    installed = _PACKAGE / name
    return installed if installed.is_dir() else _PACKAGE.parent / name


CONFIGS = _folder("configs")
DEFAULT_CORPUS = _folder("data") / "river_plays.txt"
