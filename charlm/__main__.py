"""Entry point of `charlm` and `python -m charlm`: signals, closed streams and exit codes."""

import atexit
import gc
import os
import signal
import sys
from collections.abc import Callable
from types import FrameType, TracebackType
from typing import NoReturn

ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
"""Signals that end the program."""
STREAMS = ("stdin", "stdout", "stderr")
"""Names of the standard streams, in the order of their descriptors."""
GARBAGE_THRESHOLDS = (100_000, 50, 100)
"""Thresholds of Python's garbage collector, whose first default is 700 objects.

Importing TensorFlow makes hundreds of thousands of permanent objects. With the default, collecting
would take a quarter of the start of `charlm train`.
"""


def main() -> None:
    """Run the command line."""
    clean_up_on_signals()
    sys.excepthook = _show_error
    open_closed_streams()
    gc.set_threshold(*GARBAGE_THRESHOLDS)
    try:
        try:
            from charlm.cli import main as commands  # here, so that signals can interrupt it

            commands.main()
        finally:
            _handle_signals(_do_nothing)
    except (SystemExit, KeyboardInterrupt) as end:
        _handle_signals(_do_nothing)  # the same line above may have been interrupted
        # Python restores the default action when it exits, except for SIG_IGN.
        _handle_signals(signal.SIG_IGN)
        if isinstance(end, SystemExit):
            code = end.code
        else:
            code = getattr(end, "exit_code", 128 + signal.SIGINT)
        if "tensorflow" in sys.modules and isinstance(code, int):
            _exit_immediately(code)
        sys.exit(code)


def open_closed_streams() -> None:
    """Open closed standard streams on the null device, so that commands work as usual.

    A shell closes them with `<&-`, `>&-` or `2>&-`. Python then has None instead of a stream, and
    the next file to be opened gets the descriptor of the closed stream.
    """
    for number, name in enumerate(STREAMS):
        mode = "r" if name == "stdin" else "w"
        if not _is_open(number):
            _open_null_device(number, mode)
        if getattr(sys, name) is None:
            stream = open(number, mode, encoding="utf-8", errors="backslashreplace", closefd=False)  # noqa: SIM115
            setattr(sys, name, stream)


def _is_open(descriptor: int) -> bool:
    try:
        os.fstat(descriptor)
    except OSError:
        return False
    return True


def _open_null_device(descriptor: int, mode: str) -> None:
    """Open the null device under a closed descriptor; all smaller descriptors are open."""
    flags = os.O_RDONLY if mode == "r" else os.O_WRONLY
    opened = os.open(os.devnull, flags)  # the operating system uses the smallest free number
    assert opened == descriptor
    os.set_inheritable(descriptor, True)  # like any standard stream


def clean_up_on_signals() -> None:
    """Turn the first SIGINT, SIGTERM or SIGHUP into an exception, so that files are cleaned up.

    Further signals are ignored, because they would interrupt the clean-up. A signal that is ignored
    already stays ignored, for nohup. `charlm train` and `charlm serve` replace these handlers while
    they run.
    """
    for number in ENDING:
        if signal.getsignal(number) in {signal.SIG_DFL, signal.default_int_handler}:
            signal.signal(number, _exit_by_signal)


def _exit_by_signal(number: int, frame: FrameType | None) -> NoReturn:
    _handle_signals(_do_nothing)  # not SIG_IGN, with which Python reports a pending signal
    if _is_importing(frame):
        _exit_immediately(128 + number)
    if number == signal.SIGINT:
        raise KeyboardInterrupt
    sys.exit(128 + number)


def _is_importing(frame: FrameType | None) -> bool:
    """Return whether a frame belongs to an import, which an exception must not interrupt.

    NumPy, ml_dtypes and pydantic, which are written in C and Rust, would print the exception or
    turn it into a different one.
    """
    while frame is not None:
        if frame.f_code.co_filename == "<frozen importlib._bootstrap>":
            return True
        frame = frame.f_back
    return False


def _show_error(
    kind: type[BaseException], error: BaseException, trace: TracebackType | None
) -> None:
    """Print an uncaught error as Python does, unless a signal caused it.

    `main` catches the exceptions of signals, but TensorFlow's C++ code reports some of them first.
    """
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, KeyboardInterrupt):
            return
        cause = cause.__cause__
    sys.__excepthook__(kind, error, trace)


def _do_nothing(_number: int, _frame: FrameType | None) -> None:
    pass


def _handle_signals(handler: Callable[[int, FrameType | None], None] | signal.Handlers) -> None:
    for number in ENDING:
        signal.signal(number, handler)


def _exit_immediately(exit_code: int) -> NoReturn:
    """Exit without Python's own clean-up, which takes a second after TensorFlow was imported."""
    atexit._run_exitfuncs()  # TensorFlow removes its temporary files here
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(exit_code)


if __name__ == "__main__":
    main()
