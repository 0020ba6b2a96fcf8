"""The files in files/, which become part of an export: a loader, a C program, a page. charlm runs none of them."""

from pathlib import Path

FILES = Path(__file__).parent / "files"


def read_shipped(name: str) -> str:
    """Return the text of a file in files/ by its name."""
    return (FILES / name).read_text(encoding="utf-8")
