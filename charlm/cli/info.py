"""`charlm info`: versions, machine and paths, to paste into an issue."""

import importlib.metadata
import json
import platform
import re
from pathlib import Path

import click

import charlm
from charlm.cli.command import Command
from charlm.cli.options import json_option
from charlm.cli.output import align, print_result
from charlm.config.recipes import CONFIGS
from charlm.engine.compiler import describe_kernel
from charlm.hardware import describe_machine, memory_bytes, multiplies_bfloat16, versions
from charlm.runs.folder import RUNS

DISTRIBUTION = "charlm-simplernn"
_EXTRA = re.compile(r"""([\w.-]+).*;.*extra == ['"]([\w-]+)['"]""")
EXAMPLES = {
    "charlm info": "what a report of a problem should have",
    "charlm info --json": "the same for a script, the memory in bytes",
}


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
        "kernel": describe_kernel(),
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


@click.command(cls=Command, examples=EXAMPLES)
@json_option
def info(*, as_json: bool) -> None:
    """Show versions, machine and paths, to paste into an issue.

    Nothing is sent anywhere, and TensorFlow is not imported. A package that is not installed is shown as a dash.
    """
    facts = describe_installation()
    if as_json:
        print_result(json.dumps(facts))
    else:
        rows = [(name.replace("_", " "), _show(name, value)) for name, value in facts.items()]
        print_result(*align(rows, text_columns={0, 1}))


def _show(name: str, value: object) -> str:
    if value is None:
        return "-"
    if name == "memory_bytes":
        return f"{value:,}"
    if isinstance(value, list):
        return ", ".join(map(str, value)) or "none"
    return str(value)
