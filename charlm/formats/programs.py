"""The programs of the exports: the files that become part of one, and other programs that read one.

Those read ids and return logits, as processes of their own: charlm does not import PyTorch or onnxruntime, and a
program that crashes does no harm to it. In a Python of its own, charlm cannot be imported, so that what is loaded needs
nothing of it.

Axes: T time, V vocabulary.
"""

import base64
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from charlm.errors import CharlmError, shorten
from charlm.network.rnn import Floats

TIMEOUT_SECONDS = 600
_BROWSERS = ("chromium", "chromium-browser", "google-chrome", "chrome")

_PYTHON = """
import sys
sys.modules["charlm"] = None  # nothing of charlm may be needed
import numpy as np
folder, source, target = sys.argv[1:]
ids = np.load(source)
{body}
np.save(target, np.asarray(logits, np.float32))
"""


def run_python(body: str, folder: Path, ids: NDArray[Any], *, needs: Sequence[str]) -> Floats:
    """Run a Python program in a process of its own.

    Args:
        body: It finds `folder`, a path, and `ids`, int64 [T], and leaves `logits`, [T, V].
        folder: The folder of an export.
        ids: Integers [T].
        needs: The packages that it imports, for the error message.

    Returns:
        The logits, float32 [T, V].

    Raises:
        CharlmError: a package is missing, or the program fails.

    """
    with tempfile.TemporaryDirectory() as place:
        source, target = Path(place) / "ids.npy", Path(place) / "logits.npy"
        np.save(source, np.asarray(ids, np.int64))
        program = _PYTHON.format(body=body.strip())
        done = _run([sys.executable, "-I", "-c", program, str(folder), str(source), str(target)])
        if done.returncode:
            raise CharlmError(_explain(done.stderr.decode("utf-8", "replace"), needs))
        logits: Floats = np.load(target, allow_pickle=False)
        return logits


def run_c(source: Path, model: Path, ids: NDArray[Any]) -> Floats:
    """Build a C program and give it the ids; it writes the logits.

    Args:
        source: The C file.
        model: The file with the weights.
        ids: Integers [T].

    Returns:
        The logits, float32 [T, V].

    Raises:
        CharlmError: there is no C compiler, or the program cannot be built or fails.

    """
    compiler = next((path for name in ("cc", "gcc", "clang") if (path := shutil.which(name))), None)
    if compiler is None:
        raise CharlmError("--check: needs a C compiler, cc, gcc or clang, on the PATH")
    with tempfile.TemporaryDirectory() as place:
        program = Path(place) / "run"
        for command, data in (
            ([compiler, "-O3", str(source), "-lm", "-o", str(program)], b""),
            ([str(program), str(model), "--logits"], np.asarray(ids, "<i4").tobytes()),
        ):
            done = _run(command, data)
            if done.returncode:
                raise CharlmError(f"--check: {Path(command[0]).name} failed: {_last_line(done.stderr)}")
    return np.frombuffer(done.stdout, "<f4").reshape(len(ids), -1)


def _run(command: Sequence[str], data: bytes = b"") -> "subprocess.CompletedProcess[bytes]":
    try:
        return subprocess.run(command, input=data, capture_output=True, timeout=TIMEOUT_SECONDS, check=False)
    except subprocess.TimeoutExpired:
        raise CharlmError(f"--check: {Path(command[0]).name} did not end within {TIMEOUT_SECONDS} s") from None


def _explain(errors: str, needs: Sequence[str]) -> str:
    """Return why a Python program failed, from what it wrote on standard error."""
    last = _last_line(errors.encode())
    if any(f"No module named '{package}" in last for package in needs):
        return f"--check: needs {' and '.join(needs)}: pip install {' '.join(needs)}"
    return f"--check: the program failed: {last}"


def _last_line(errors: bytes) -> str:
    lines = errors.decode("utf-8", "replace").strip().splitlines() or ["it wrote no message"]
    return shorten(lines[-1])[1:-1]


def run_browser(body: str, length: int) -> Floats:
    """Let a browser run the scripts of a page that leave float32 logits in base64 as the only text of its body.

    Args:
        body: The contents of the page.
        length: T, the number of ids.

    Returns:
        The logits, float32 [T, V].

    Raises:
        CharlmError: there is no browser, or the scripts fail.

    """
    browser = next((path for name in _BROWSERS if (path := shutil.which(name))), None)
    if browser is None:
        raise CharlmError(f"--check: needs a browser on the PATH, one of {', '.join(_BROWSERS)}")
    with tempfile.TemporaryDirectory() as place:
        page = Path(place) / "check.html"
        page.write_text(f"<!doctype html><meta charset=utf-8><title>check</title><body>{body}", encoding="utf-8")
        options = ["--headless", "--disable-gpu", f"--user-data-dir={place}/profile", "--dump-dom"]
        if os.geteuid() == 0:
            options.append("--no-sandbox")  # Chromium refuses to run as root otherwise
        done = _run([browser, *options, page.as_uri()])
    found = re.search(rb"<body>([A-Za-z0-9+/=\s]+)</body>", done.stdout)
    if done.returncode or found is None:
        raise CharlmError(f"--check: {Path(browser).name} failed: {_last_line(done.stderr)}")
    return np.frombuffer(base64.b64decode(found[1]), "<f4").reshape(length, -1)


FILES = Path(__file__).parent / "files"


def read_shipped(name: str) -> str:
    """Return the text of a file in files/ by its name."""
    return (FILES / name).read_text(encoding="utf-8")
