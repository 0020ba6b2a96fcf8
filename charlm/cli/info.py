"""`charlm info`: versions, machine and paths, to paste into an issue."""

import json
import platform
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

EXAMPLES = {
    "charlm info": "what a report of a problem should have",
    "charlm info --json": "the same for a script, the memory in bytes",
}


def describe_installation() -> dict[str, str | int | bool | None]:
    """Return versions (None = not installed), the machine and paths, as an object for `json.dumps`.

    `memory_bytes` is what this process may use.
    """
    packages = ("click", "pydantic", "safetensors", "tensorboard", "matplotlib", "optuna", "onnx", "starlette")
    return {
        **describe_machine(),
        **versions(*packages),
        "platform": platform.platform(),
        "memory_bytes": memory_bytes(),
        "bfloat16": multiplies_bfloat16(),
        "kernel": describe_kernel(),
        "package": str(Path(charlm.__file__).parent),
        "recipes": str(CONFIGS),
        "runs": str(RUNS.resolve()),
    }


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
    return str(value)
