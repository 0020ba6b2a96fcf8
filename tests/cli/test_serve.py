"""`charlm serve`: what it refuses before it listens; tests/serving drives it."""

import subprocess
import sys
from pathlib import Path

import pytest
from commands import check_failure, check_usage_error, table


@pytest.mark.usefixtures("place")
@table(
    """
serve missing                         | missing: no such folder
serve begun                           | begun: no best/ in this run yet
serve bundle bundle                   | bundle: another model is called bundle too; rename one of the folders
serve                                 | runs/: no run here
"""
)
def test_what_is_not_a_model_is_refused_in_a_line(line: str, expected: str) -> None:
    check_failure(line, expected)


@table(
    """
serve --port 65536       | 65536 is not in the range
serve --slots 0          | 0 is not in the range
"""
)
def test_wrong_options_are_a_usage_error(line: str, expected: str) -> None:
    check_usage_error(line, expected)


@pytest.mark.slow  # a fresh interpreter
@pytest.mark.parametrize("package", ["starlette", "uvicorn"])
def test_a_missing_package_is_named_with_what_installs_it(bundle_folder: Path, package: str) -> None:
    program = f"import sys; sys.modules['{package}'] = None; from charlm.__main__ import main; main()"
    command = [sys.executable, "-c", program, "serve", str(bundle_folder)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert (done.returncode, done.stdout) == (1, "")
    expected = f"charlm: charlm serve needs {package}, which is not installed: pip install '.[serve]'\n"
    assert done.stderr == expected
