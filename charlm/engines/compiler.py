"""Compilation of kernel.c with the C compiler of this machine.

The kernel is compiled on first use, for the processor of this machine. So it uses all instructions
of the processor, and nobody has to build a wheel for each processor. The library is kept in the
user's cache folder.
"""

import contextlib
import hashlib
import os
import shlex
import shutil
import stat
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from charlm.errors import CharlmError
from charlm.events import Note, OnEvent, ignore
from charlm.hardware import compiler_name, find_compiler, processor_flags
from charlm.storage import temporary_folder, write_file

SOURCE = Path(__file__).with_name("kernel.c")
HEADERS = (Path(__file__).with_name("update.h"), Path(__file__).with_name("products.h"))
"""Headers that the source includes."""
OPTIONS = (
    "-std=gnu11",
    "-O3",
    "-march=native",
    "-ffp-contract=fast",
    "-fno-math-errno",
    "-fno-strict-aliasing",
    "-fPIC",
    "-shared",
)
OPTIONS_VARIABLE = "CHARLM_CFLAGS"
"""Environment variable with options that follow OPTIONS. For instance, -march=x86-64-v3 limits the
kernel to older instructions. $CFLAGS is not used: it is set for other programs, and could silently
make the kernel slow or unusable."""
MAX_REASON = 300
"""Maximum number of characters of a compiler's output in a message."""
COMPILE_SECONDS = 60
"""Time limit of the compiler. On two slow, shared cores, gcc and clang need 1.4 to 3.3 s, and
ziglang needs 5 s or more."""
FOLDERS = ("TMPDIR", "ZIG_GLOBAL_CACHE_DIR", "ZIG_LOCAL_CACHE_DIR")
"""Environment variables for temporary files of a compiler, and for the caches of ziglang."""
Library = TypeVar("Library")


def open_library(load: Callable[[Path], Library], *, on_event: OnEvent = ignore) -> Library:
    """Return the library; compile it if it is not in the cache folder.

    Args:
        load: Loads a library; raises OSError or ValueError if it is unusable.
        on_event: Called with notes.

    Raises:
        CharlmError: There is no C compiler, it fails or takes longer than COMPILE_SECONDS, or the
            library cannot be loaded.

    """
    command = find_compiler()
    folder, problem = cache_folder()
    cached = None if folder is None else folder / f"kernel-{_identity(command)}.so"
    if cached is not None and cached.is_file():
        # A library that cannot be loaded is compiled again.
        with contextlib.suppress(OSError, ValueError):
            return load(cached)
    compiler = compiler_name(command)
    limit = f"at most {COMPILE_SECONDS} s"
    on_event(Note(f"kernel: compiling with {compiler}, once per processor, {limit}"))
    # The cache may be full or mounted noexec, so the library is loaded from a temporary folder.
    with temporary_folder() as scratch:
        library = _compile(command, scratch)
        try:
            loaded = load(library)
        except (OSError, ValueError) as error:
            raise CharlmError(
                f"{library.name}, compiled by {shlex.join(command)}: cannot be loaded: {error}"
            ) from None
        if cached is not None:
            try:
                write_file(cached, library.read_bytes())
            except CharlmError as error:
                problem = str(error)
    if problem is not None:
        on_event(Note(f"kernel: compiled for this process only: {problem}"))
    return loaded


def describe_kernel() -> str:
    """Return a description of the kernel that training uses on this machine."""
    try:
        return f"compiled by {compiler_name(find_compiler())}"
    except CharlmError as error:
        return f"Keras, because there is {error}"


def cache_folder() -> tuple[Path | None, str | None]:
    """Return the folder for the library, or None and the reason why it cannot be used.

    The folder is charlm/ in $XDG_CACHE_HOME or ~/.cache; it is made if it is missing. Its files are
    executed, so other users must not be able to write there.
    """
    configured = Path(os.environ.get("XDG_CACHE_HOME", ""))
    try:
        parent = configured if configured.is_absolute() else Path.home() / ".cache"
    except RuntimeError as error:
        return None, str(error)
    folder = parent / "charlm"
    try:
        parent.mkdir(parents=True, exist_ok=True)
        folder.mkdir(mode=0o700, exist_ok=True)
        facts = folder.lstat()
    except OSError as error:
        return None, f"{folder}: {error.strerror}"
    if not stat.S_ISDIR(facts.st_mode) or facts.st_uid != os.getuid() or facts.st_mode & 0o022:
        return None, f"{folder}: must be a folder that only its owner can write to"
    return folder, None


def _compile(command: list[str], folder: Path) -> Path:
    """Compile the library in a folder; see `open_library` for the errors."""
    library = folder / "kernel.so"
    arguments = [*command, *compiler_options(), "-o", str(library), str(SOURCE), "-lm"]
    problem = None
    try:
        done = subprocess.run(
            arguments,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            errors="replace",
            timeout=COMPILE_SECONDS,
            env={**os.environ, **dict.fromkeys(FOLDERS, str(folder))},
            check=False,
        )
        if done.returncode or not library.is_file():
            errors = (line for line in done.stderr.splitlines() if "error" in line)
            problem = next(errors, f"exit code {done.returncode}")[:MAX_REASON]
    except subprocess.TimeoutExpired:
        problem = f"no result after {COMPILE_SECONDS} s"
    except OSError as error:
        problem = str(error.strerror)
    if problem is not None:
        raise CharlmError(f"{shlex.join(command)}: cannot compile {SOURCE.name}: {problem}")
    return library


def compiler_options() -> list[str]:
    """Return OPTIONS and the user's options."""
    return [*OPTIONS, *os.environ.get(OPTIONS_VARIABLE, "").split()]


def _identity(command: list[str]) -> str:
    """Return a hash of everything that the library depends on: source, compiler and processor."""
    program = Path(shutil.which(command[0]) or command[0])
    sources = [path.read_text(encoding="utf-8") for path in (SOURCE, *HEADERS)]
    facts = [sources, command, os.path.realpath(program), program.stat().st_mtime_ns]
    facts += [compiler_options(), processor_flags()]
    return hashlib.sha256(repr(facts).encode()).hexdigest()[:20]
