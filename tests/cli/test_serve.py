"""`charlm serve`: what it refuses before it listens; tests/serving drives it."""

import subprocess
import sys
from pathlib import Path

import pytest


@pytest.mark.slow  # a fresh interpreter
@pytest.mark.parametrize("package", ["starlette", "uvicorn"])
def test_a_missing_package_is_named_with_what_installs_it(bundle_folder: Path, package: str) -> None:
    program = f"import sys; sys.modules['{package}'] = None; from charlm.__main__ import main; main()"
    command = [sys.executable, "-c", program, "serve", str(bundle_folder)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert (done.returncode, done.stdout) == (1, "")
    expected = f"charlm: charlm serve needs {package}, which is not installed: pip install '.[serve]'\n"
    assert done.stderr == expected
