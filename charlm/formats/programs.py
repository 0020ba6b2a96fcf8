"""Check an export by running it in its own program and comparing the logits with charlm's.

The programs are separate processes, so charlm does not import PyTorch or onnxruntime, and a crash
does no harm. charlm cannot be imported in them, which shows that an export does not need it.

Axes: T time, V vocabulary.
"""

import base64
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from charlm.errors import CharlmError
from charlm.hardware import compiler_environment, compiler_name, find_compiler
from charlm.network.model_file import TrainedModel, model_bytes
from charlm.network.rnn import Floats
from charlm.storage import temporary_folder
from charlm.wording import short_repr

FILES = Path(__file__).parent / "files"
TIMEOUT_SECONDS = 600
LICENSE = "LICENSE"
MODEL_FILE = "model.safetensors"
"""Name of the model file in an export, so that charlm can read the folder too."""
C_SOURCES = ("charlm.c", "main.c")
"""C files of the library and of the example program; both include charlm.h."""
_BROWSERS = ("chromium", "chromium-browser", "google-chrome", "chrome")


def read_shipped(name: str) -> str:
    """Return the text of a file in files/."""
    return (FILES / name).read_text(encoding="utf-8")


ReadLogits = Callable[[Path, NDArray[Any]], Floats]
"""Function that runs the export in a folder: ids [T] -> logits [T, V]."""
TOLERANCE = 1e-4
"""Largest allowed difference of a logit; rounding causes about 1e-5 over 10,000 characters."""


@dataclass(frozen=True)
class Check:
    """Result of a check."""

    program: str
    """Program that ran the export."""
    characters: int
    """Length T of the text."""
    largest_difference: float
    """Largest difference of a logit from charlm's."""
    tolerance: float
    """Largest allowed difference."""


def check_export(
    files: Mapping[str, bytes],
    ids: NDArray[Any],
    *,
    model: TrainedModel,
    program: str,
    read_logits: ReadLogits,
) -> Check:
    """Run an export on a text from the zero state, and compare its logits with charlm's.

    Args:
        files: Files of the export.
        ids: Text, integers [T], T >= 1.
        model: The model.
        program: Name of the program, for messages.
        read_logits: Function that runs the export.

    Raises:
        CharlmError: The program is missing or fails, or its logits differ too much.

    """
    with temporary_folder() as folder:
        for name, data in {MODEL_FILE: model_bytes(model), **files}.items():
            (folder / name).write_bytes(data)
        logits = read_logits(folder, ids)
    parameters = model.parameters
    with np.errstate(over="ignore", invalid="ignore"):  # a difference may be infinite
        expected = parameters.unroll(ids[:, None], parameters.zero_state(1))[0][:, 0]
        if logits.shape != expected.shape:
            raise CharlmError(
                f"check: {program} computes logits of shape {logits.shape}; "
                f"must be {expected.shape}"
            )
        largest = float(np.nan_to_num(np.abs(logits - expected), nan=np.inf).max())
    if largest > TOLERANCE:
        raise CharlmError(
            f"check: a logit of {program} differs by {largest:.2g} over {len(ids):,} characters; "
            f"must be at most {TOLERANCE:g}; nothing was written"
        )
    return Check(program, len(ids), largest, TOLERANCE)


def run_python(folder: Path, ids: NDArray[Any], *, body: str, needs: Sequence[str]) -> Floats:
    """Run an export in a Python program, and return its logits, float32 [T, V].

    Args:
        folder: Folder of the export.
        ids: Text, integers [T].
        body: Program that uses the variables `folder` and `ids`, int64 [T], and sets `logits`.
        needs: Packages that the program imports, for messages.

    Raises:
        CharlmError: A package is missing, or the program fails.

    """
    program = _PYTHON.format(body=body.strip())
    command = [sys.executable, "-I", "-c", program, str(folder)]
    done = _run(command, np.asarray(ids, "<i8").tobytes())
    if done.returncode == 0:
        return _to_logits(done.stdout, ids)
    last = _last_line(done.stderr)
    for package in needs:
        if f"No module named '{package}" in last:
            raise CharlmError(
                f"check: needs {package}, which is not installed: pip install {' '.join(needs)}"
            )
    raise CharlmError(f"check: the program failed: {last}")


_PYTHON = """
import os, sys
answer = os.fdopen(os.dup(1), "wb")
os.dup2(2, 1)  # other output is not part of the answer
sys.modules["charlm"] = None  # an export must not need charlm
import numpy as np
folder = sys.argv[1]
ids = np.frombuffer(sys.stdin.buffer.read(), "<i8")
{body}
answer.write(np.ascontiguousarray(logits, "<f4"))
answer.close()
"""

run_onnx = partial(
    run_python,
    needs=("onnxruntime",),
    body="""
import onnxruntime
session = onnxruntime.InferenceSession(f"{folder}/model.onnx")
layers, _, units = session.get_inputs()[1].shape
state = np.zeros([layers, 1, units], np.float32)
logits = session.run(["logits"], {"ids": ids[:, None], "state": state})[0][:, 0]
""",
)
run_torch = partial(
    run_python,
    needs=("torch", "safetensors"),
    body="""
sys.path.insert(0, folder)
import torch
from torch_network import load
with torch.inference_mode():
    logits = load(f"{folder}/model.safetensors")[0](torch.tensor(ids)[:, None])[0][:, 0]
""",
)
run_keras = partial(
    run_python,
    needs=("keras", "tensorflow"),
    body="""
os.environ["KERAS_BACKEND"], os.environ["TF_CPP_MIN_LOG_LEVEL"] = "tensorflow", "3"
import keras
model = keras.models.load_model(f"{folder}/model.keras")
states = [np.zeros((1, int(state.shape[1])), np.float32) for state in model.inputs[1:]]
logits = model.predict([ids[None].astype("int32"), *states], verbose=0)[0][0]
""",
)


def run_c(folder: Path, ids: NDArray[Any]) -> Floats:
    """Compile the C program of an export, and return its logits, float32 [T, V].

    Raises:
        CharlmError: There is no C compiler, or the program cannot be compiled or fails.

    """
    try:
        compiler = find_compiler()
    except CharlmError as error:
        raise CharlmError(f"check: {error}") from None
    sources = [str(folder / name) for name in C_SOURCES]
    with temporary_folder() as scratch:
        program = str(scratch / "run")
        command = [*compiler, "-O3", *sources, "-lm", "-o", program]
        built = _run(command, environ=compiler_environment(scratch))
        if built.returncode:
            problem = _first_error(built.stderr)
            raise CharlmError(f"check: {compiler_name(compiler)} failed: {problem}")
        data = np.asarray(ids, "<i4").tobytes()
        done = _run([program, str(folder / "model.bin"), "--logits"], data)
        if done.returncode:
            raise CharlmError(f"check: run failed: {_last_line(done.stderr)}")
    return _to_logits(done.stdout, ids)


def run_browser(folder: Path, ids: NDArray[Any]) -> Floats:
    """Run model.js with the data of an exported page in a browser, and return its logits.

    Raises:
        CharlmError: There is no Chromium on the PATH, or the script fails.

    """
    browser = _find_browser()
    page = (folder / "index.html").read_text(encoding="utf-8")
    data = "".join(re.findall(r'<script type="text/plain".*?</script>', page))
    script = read_shipped("model.js")
    script += read_shipped("check.js").replace("$ids", json.dumps(ids.tolist()))
    with temporary_folder() as scratch:
        check = scratch / "check.html"
        head = "<!doctype html><meta charset=utf-8><title>check</title>"
        check.write_text(f"{head}<body>{data}<script>{script}</script>", encoding="utf-8")
        profile = f"--user-data-dir={scratch}/profile"
        options = ["--headless", "--disable-gpu", profile, "--dump-dom"]
        if os.geteuid() == 0:
            options.append("--no-sandbox")  # Chromium refuses to run as root otherwise
        done = _run([browser, *options, check.as_uri()])
    result = re.search(rb"<body>([A-Za-z0-9+/=\s]+)</body>", done.stdout)
    if done.returncode or result is None:
        raise CharlmError(f"check: {Path(browser).name} failed: {_last_line(done.stderr)}")
    return _to_logits(base64.b64decode(result[1]), ids)


def _find_browser() -> str:
    for name in _BROWSERS:
        path = shutil.which(name)
        if path is not None:
            return path
    raise CharlmError(f"check: needs a browser on the PATH, one of {', '.join(_BROWSERS)}")


def _run(
    command: Sequence[str], data: bytes = b"", *, environ: Mapping[str, str] | None = None
) -> "subprocess.CompletedProcess[bytes]":
    """Run a program with data on its standard input; `environ`: None = the current environment."""
    try:
        return subprocess.run(
            command,
            input=data,
            capture_output=True,
            timeout=TIMEOUT_SECONDS,
            check=False,
            env=environ,
        )
    except subprocess.TimeoutExpired:
        raise CharlmError(
            f"check: {Path(command[0]).name} did not end within {TIMEOUT_SECONDS} s"
        ) from None


def _to_logits(data: bytes, ids: NDArray[Any]) -> Floats:
    return np.frombuffer(data, "<f4").reshape(len(ids), -1)


def _last_line(errors: bytes) -> str:
    lines = errors.decode("utf-8", "replace").strip().splitlines() or ["it wrote no message"]
    return short_repr(lines[-1])[1:-1]


def _first_error(errors: bytes) -> str:
    """Return the first line of a compiler's output that contains "error", or else its last line."""
    lines = [line for line in errors.splitlines() if b"error" in line]
    return _last_line(lines[0] if lines else errors)
