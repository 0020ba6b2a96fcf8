"""`charlm` in a process of its own."""

import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any


def command_line(*arguments: str | Path | float) -> list[str]:
    """Return the command line of a command."""
    return [sys.executable, "-m", "charlm", *map(str, arguments)]


def run_process(
    *arguments: str | Path | float, variables: Mapping[str, str] | None = None, **options: Any
) -> "subprocess.CompletedProcess[str]":
    """Run a command to its end, with these variables of the environment; further options are those of a process."""
    environment = {**os.environ, **(variables or {})}
    return subprocess.run(
        command_line(*arguments), env=environment, capture_output=True, text=True, check=False, **options
    )


def settings(*overrides: str) -> list[str]:
    """Return the options that set these."""
    return [argument for override in overrides for argument in ("-s", override)]
