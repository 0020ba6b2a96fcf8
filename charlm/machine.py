"""What figures of speed depend on besides charlm: the processor, the cores in use, and versions."""

import importlib.metadata
import platform
from pathlib import Path

from charlm import __version__


def machine() -> dict[str, str | int | None]:
    """Return what the figures depend on besides charlm: the processor, the cores in use, and versions."""
    from charlm.training.runtime import core_count

    return {
        "cpu": _processor(),
        "cores": core_count(),
        "python": platform.python_version(),
        "charlm": __version__,
        **{package: _version(package) for package in ("numpy", "tensorflow", "keras", "torch")},
    }


def _processor() -> str:
    facts = Path("/proc/cpuinfo")
    lines = facts.read_text(encoding="utf-8").splitlines() if facts.is_file() else []
    models = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return next(iter(models), platform.processor() or platform.machine())


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None
