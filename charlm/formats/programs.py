"""The programs of the exports: the files that become part of one, the other programs that read one, and the check.

The latter read ids and return logits, as processes of their own: charlm does not import PyTorch or onnxruntime, and a
program that crashes does not end it. In a Python of its own, charlm cannot be imported, so that what is loaded needs
nothing of it.

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
from charlm.formats.card import MODEL_FILE
from charlm.hardware import compiler_environment, compiler_name, find_compiler
from charlm.network.model_file import TrainedModel, model_bytes
from charlm.network.rnn import Floats
from charlm.storage import temporary_folder
from charlm.wording import short_repr

FILES = Path(__file__).parent / "files"
TIMEOUT_SECONDS = 600
C_SOURCES = ("charlm.c", "main.c")
"""The library and the example program of the format c; both include charlm.h."""
_BROWSERS = ("chromium", "chromium-browser", "google-chrome", "chrome")


def read_shipped(name: str) -> str:
    """Return the text of a file in files/ by its name."""
    return (FILES / name).read_text(encoding="utf-8")


ReadLogits = Callable[[Path, NDArray[Any]], Floats]
"""Returns what a program computes from a folder with an export and the model file: ids [T] -> logits [T, V]."""
TOLERANCE = 1e-4
"""The largest difference of a logit. Sums of float32 are taken in another order: 1e-5 is usual over 10,000 steps."""


@dataclass(frozen=True)
class Check:
    """How far the logits of an export are from those of charlm."""

    program: str
    """What has read the export."""
    characters: int
    """T, the length of the text."""
    largest_difference: float
    """Of a logit."""
    tolerance: float


def check_export(
    files: Mapping[str, bytes],
    ids: NDArray[Any],
    *,
    model: TrainedModel,
    program: str,
    read_logits: ReadLogits,
) -> Check:
    """Let the program that an export is made for read a text from the zero state, and compare its logits.

    Args:
        files: The files of the export.
        ids: The text, integers [T], T >= 1.
        model: The model.
        program: What reads the export, for the user.
        read_logits: Runs it.

    Raises:
        CharlmError: the program is missing or fails, or its logits have another shape or are too far off.

    """
    with temporary_folder() as place:
        for name, data in {MODEL_FILE: model_bytes(model), **files}.items():
            (place / name).write_bytes(data)
        logits = read_logits(place, ids)
    with np.errstate(
        over="ignore", invalid="ignore"
    ):  # a difference that is not finite is too large
        parameters = model.parameters
        expected = parameters.unroll(ids[:, None], parameters.zero_state(1))[0][:, 0]
        if logits.shape != expected.shape:
            raise CharlmError(
                f"check: {program} computes logits of shape {logits.shape}; must be {expected.shape}"
            )
        largest = float(np.nan_to_num(np.abs(logits - expected), nan=np.inf).max())
    if largest > TOLERANCE:
        raise CharlmError(
            f"check: a logit of {program} differs by {largest:.2g} over {len(ids):,} characters; must be "
            f"{TOLERANCE:g} at most; nothing was written"
        )
    return Check(program, len(ids), largest, TOLERANCE)


def run_python(folder: Path, ids: NDArray[Any], *, body: str, needs: Sequence[str]) -> Floats:
    """Run a Python program that reads an export.

    Args:
        folder: The folder of the export.
        ids: Integers [T].
        body: The program: it finds `folder`, a path, and `ids`, int64 [T], and leaves `logits`, [T, V].
        needs: The packages that it imports, for the error message.

    Returns:
        The logits, float32 [T, V].

    Raises:
        CharlmError: a package is missing, or the program fails.

    """
    program = _PYTHON.format(body=body.strip())
    done = _run(
        [sys.executable, "-I", "-c", program, str(folder)], np.asarray(ids, "<i8").tobytes()
    )
    if done.returncode:
        last = _last_line(done.stderr)
        missing = [package for package in needs if f"No module named '{package}" in last]
        if missing:
            raise CharlmError(
                f"check: needs {missing[0]}, which is not installed: pip install {' '.join(needs)}"
            )
        raise CharlmError(f"check: the program failed: {last}")
    return _to_logits(done.stdout, ids)


_PYTHON = """
import os, sys
answer = os.fdopen(os.dup(1), "wb")
os.dup2(2, 1)  # what else the program prints is no answer
sys.modules["charlm"] = None  # nothing of charlm may be needed
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
state = np.zeros([size if isinstance(size, int) else 1 for size in session.get_inputs()[1].shape], np.float32)
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
    """Build the C program of an export and let it read the export's model.bin; as `run_python`.

    Raises:
        CharlmError: there is no C compiler, or the program cannot be built or fails.

    """
    try:
        compiler = find_compiler()
    except CharlmError as error:
        raise CharlmError(f"check: {error}") from None
    sources = [str(folder / name) for name in C_SOURCES]
    with temporary_folder() as place:
        program = str(place / "run")
        built = _run(
            [*compiler, "-O3", *sources, "-lm", "-o", program], environ=compiler_environment(place)
        )
        if built.returncode:
            raise CharlmError(
                f"check: {compiler_name(compiler)} failed: {_first_error(built.stderr)}"
            )
        done = _run(
            [program, str(folder / "model.bin"), "--logits"], np.asarray(ids, "<i4").tobytes()
        )
        if done.returncode:
            raise CharlmError(f"check: run failed: {_last_line(done.stderr)}")
    return _to_logits(done.stdout, ids)


def run_browser(folder: Path, ids: NDArray[Any]) -> Floats:
    """Let a browser run the scripts of the index.html of an export, without its interface; as `run_python`.

    Raises:
        CharlmError: there is no Chromium on the PATH, or the scripts fail.

    """
    browser = _find_browser()
    page = (folder / "index.html").read_text(encoding="utf-8")
    blocks = re.findall(r'<script type="text/plain".*?</script>', page)
    program = f"{read_shipped('model.js')}{read_shipped('check.js').replace('$ids', json.dumps(ids.tolist()))}"
    with temporary_folder() as place:
        check = place / "check.html"
        body = f"<body>{''.join(blocks)}<script>{program}</script>"
        check.write_text(
            f"<!doctype html><meta charset=utf-8><title>check</title>{body}", encoding="utf-8"
        )
        options = ["--headless", "--disable-gpu", f"--user-data-dir={place}/profile", "--dump-dom"]
        if os.geteuid() == 0:
            options.append("--no-sandbox")  # Chromium refuses to run as root otherwise
        done = _run([browser, *options, check.as_uri()])
    found = re.search(rb"<body>([A-Za-z0-9+/=\s]+)</body>", done.stdout)
    if done.returncode or found is None:
        raise CharlmError(f"check: {Path(browser).name} failed: {_last_line(done.stderr)}")
    return _to_logits(base64.b64decode(found[1]), ids)


def _find_browser() -> str:
    """Return the path of the first browser that is on the PATH."""
    found = next(filter(None, map(shutil.which, _BROWSERS)), None)
    if found is None:
        raise CharlmError(f"check: needs a browser on the PATH, one of {', '.join(_BROWSERS)}")
    return found


def _run(
    command: Sequence[str], data: bytes = b"", *, environ: Mapping[str, str] | None = None
) -> "subprocess.CompletedProcess[bytes]":
    """Run a program with data on its standard input; `environ` None = the environment of this process."""
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
    """Return the line of a compiler's first error, or its last line if none is called an error."""
    lines = [line for line in errors.splitlines() if b"error" in line]
    return _last_line(lines[0] if lines else errors)
