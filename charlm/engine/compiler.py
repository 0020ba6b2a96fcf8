"""The library that the machine's C compiler makes of kernel.c.

It is compiled when it is first used, for the processor at hand, so that it uses all of its instructions and nobody has
to build a wheel for each. It is kept in the user's cache folder.
"""

import contextlib
import hashlib
import os
import shlex
import shutil
import signal
import subprocess
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TypeVar

from charlm.errors import CharlmError
from charlm.events import KernelCompiling, KernelNotKept, OnEvent, ignore
from charlm.hardware import compiler_environment, compiler_name, find_compiler, processor_flags
from charlm.storage import temporary_folder, write_file

SOURCE = Path(__file__).with_name("kernel.c")
HEADERS = (Path(__file__).with_name("muon.h"), Path(__file__).with_name("products.h"))
"""What the source includes."""
OPTIONS = (
    "-std=gnu11",
    "-O3",
    "-march=native",
    "-ffp-contract=fast",
    "-fno-strict-aliasing",
    "-fPIC",
    "-shared",
)
OWN_OPTIONS = "CHARLM_CFLAGS"
"""The variable with more options, which come last: -march=x86-64-v3 holds the kernel to older instructions. It is not
$CFLAGS, which is made for other programs and can make the kernel slow or useless without a word."""
MAX_REASON = 300
"""Characters of what a compiler has said that a message shows."""
COMPILE_SECONDS = 60
"""How long the compiler may take: gcc and clang need 1.4 to 3.3 s on two slow, shared cores, ziglang's 5 s and more."""
Library = TypeVar("Library")


def open_library(load: Callable[[Path], Library], *, on_event: OnEvent = ignore) -> Library:
    """Return the library, compiled if the cache folder does not have it yet.

    Args:
        load: Loads it; raises OSError or ValueError if it is another library or none.
        on_event: Called with KernelCompiling and KernelNotKept.

    Raises:
        CharlmError: there is no C compiler, it fails or takes longer than COMPILE_SECONDS, or the library cannot be
            loaded.

    """
    command = _find_training_compiler()
    folder, problem = cache_folder()
    kept = None if folder is None else folder / f"kernel-{_identity(command)}.so"
    if kept is not None and kept.is_file():
        with contextlib.suppress(
            OSError, ValueError
        ):  # not our library, for whatever reason: compile it again
            return load(kept)
    on_event(KernelCompiling(compiler_name(command), COMPILE_SECONDS))
    with temporary_folder() as scratch:  # where a full or noexec cache does no harm
        library = _compile(command, scratch)
        try:
            loaded = load(library)
        except (OSError, ValueError) as error:
            raise CharlmError(
                f"{library.name}, made by {shlex.join(command)}: cannot be loaded: {error}"
            ) from None
        if kept is not None:
            try:
                write_file(kept, library.read_bytes())
            except CharlmError as error:
                problem = str(error)
    if problem is not None:
        on_event(KernelNotKept(problem))
    return loaded


def _find_training_compiler() -> list[str]:
    """Return the command of the C compiler.

    Raises:
        CharlmError: no compiler was found; the message adds how much faster training would be with one.

    """
    try:
        return find_compiler()
    except CharlmError as error:
        raise CharlmError(f"{error}; with a compiler, training is 2 to 6 times as fast") from None


def describe_kernel() -> str:
    """Return what computes gradients in training on this machine, in words."""
    try:
        return f"compiled by {compiler_name(_find_training_compiler())}"
    except CharlmError as error:
        return f"Keras's: {error}"


def cache_folder(environ: Mapping[str, str] = os.environ) -> tuple[Path | None, str | None]:
    """Return the folder that keeps the library, made if it is missing; or None, and why it cannot be trusted or used.

    It is charlm/ in $XDG_CACHE_HOME or ~/.cache. What lies in it is run, so nobody else may write there.
    """
    given = environ.get("XDG_CACHE_HOME", "")
    try:
        folder = (Path(given) if Path(given).is_absolute() else Path.home() / ".cache") / "charlm"
    except RuntimeError as error:
        return None, str(error)
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        folder.mkdir(mode=0o700, exist_ok=True)
        facts = folder.lstat()
    except OSError as error:
        return None, f"{folder}: {error.strerror}"
    if folder.is_symlink():
        return None, f"{folder} is a link"
    if facts.st_uid != os.getuid() or facts.st_mode & 0o022:
        return None, f"{folder} can be written by others"
    return (folder, None) if os.access(folder, os.W_OK) else (None, f"{folder} cannot be written")


def _compile(command: list[str], folder: Path) -> Path:
    """Return the library, compiled in a folder; raises as `open_library`."""
    library = folder / "kernel.so"
    try:
        code, errors = _run(
            [*command, *compiler_options(), "-o", str(library), str(SOURCE), "-lm"], folder
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        reason = (
            error.strerror if isinstance(error, OSError) else f"no result after {COMPILE_SECONDS} s"
        )
        raise CharlmError(
            f"{shlex.join(command)}: cannot compile {SOURCE.name}: {reason}"
        ) from None
    if code or not library.is_file():
        reason = next(
            (line for line in errors.splitlines() if "error" in line), f"exit code {code}"
        )
        raise CharlmError(
            f"{shlex.join(command)}: cannot compile {SOURCE.name}: {reason[:MAX_REASON]}"
        )
    return library


def _run(command: list[str], folder: Path) -> tuple[int, str]:
    """Return the exit code and the messages of a compiler, whose temporary files go to a folder.

    What it has started ends with it, also after an error.
    """
    with subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        errors="replace",
        start_new_session=True,
        env=compiler_environment(folder),
    ) as process:
        try:
            _, errors = process.communicate(timeout=COMPILE_SECONDS)
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
        return process.returncode, errors


def compiler_options() -> list[str]:
    """Return ours, then those in OWN_OPTIONS; raises CharlmError if these are not quoted as a shell has them."""
    try:
        return [*OPTIONS, *shlex.split(os.environ.get(OWN_OPTIONS, ""))]
    except ValueError as error:
        raise CharlmError(f"{OWN_OPTIONS}: {error}") from None


def _identity(command: list[str]) -> str:
    """Return a name for what the library depends on: the source, the compiler and the processor."""
    found = shutil.which(command[0]) or command[0]
    sources = [path.read_text(encoding="utf-8") for path in (SOURCE, *HEADERS)]
    facts = (sources, command, os.path.realpath(found), Path(found).stat().st_mtime_ns)
    return hashlib.sha256(
        repr((*facts, compiler_options(), processor_flags())).encode()
    ).hexdigest()[:20]
