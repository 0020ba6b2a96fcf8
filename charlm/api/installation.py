"""What is installed where, and on which machine: the facts that a report of a problem should have."""

import importlib.metadata
import platform
import re
from pathlib import Path

import charlm
from charlm.config.recipes import CONFIGS
from charlm.hardware import describe_machine, memory_bytes, multiplies_bfloat16, versions
from charlm.runs.folder import RUNS

DISTRIBUTION = "charlm-simplernn"
_EXTRA = re.compile(r"""([\w.-]+).*;.*extra == ['"]([\w-]+)['"]""")


def describe_installation() -> dict[str, str | int | bool | list[str] | None]:
    """Return versions (None = not installed), the machine and paths, as an object for `json.dumps`.

    `memory_bytes` is what this process may use; `extras` are the optional dependencies that are installed whole.
    """
    packages = ("click", "pydantic", "safetensors", "tensorboard", "matplotlib", "optuna", "onnx", "starlette")
    return {
        **describe_machine(),
        **versions(*packages),
        "extras": installed_extras(),
        "platform": platform.platform(),
        "memory_bytes": memory_bytes(),
        "bfloat16": multiplies_bfloat16(),
        "package": str(Path(charlm.__file__).parent),
        "recipes": str(CONFIGS),
        "runs": str(RUNS.resolve()),
    }


def installed_extras(distribution: str = DISTRIBUTION) -> list[str]:
    """Return the extras of a distribution all of whose packages are installed; none if it is not installed itself."""
    try:
        requirements = importlib.metadata.requires(distribution) or []
    except importlib.metadata.PackageNotFoundError:
        return []
    needed: dict[str, list[str]] = {}
    for package, extra in (found.groups() for found in map(_EXTRA.match, requirements) if found):
        needed.setdefault(extra, []).append(package)
    return sorted(extra for extra, packages in needed.items() if None not in versions(*packages).values())
