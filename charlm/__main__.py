"""`python -m charlm`, and the command `charlm`."""

import atexit
import gc
import os
import signal
import sys
from collections.abc import Callable
from types import FrameType, TracebackType
from typing import NoReturn

ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
"""The signals that end the program."""
STREAMS = ("stdin", "stdout", "stderr")
"""The standard streams by their descriptors: 0, 1 and 2."""
GARBAGE_THRESHOLDS = (100_000, 50, 100)
"""When Python looks for reference cycles that nothing uses; it does so after 700 new objects by default.

TensorFlow's import makes hundreds of thousands of objects that stay. To search them again and again would take a
quarter of the start of `charlm train`.
"""


def main() -> None:
    """Run the command line."""
    clean_up_on_signals()
    sys.excepthook = _show_error
    open_closed_streams()
    gc.set_threshold(*GARBAGE_THRESHOLDS)
    try:
        try:
            from charlm.cli.main import (
                main as run_commands,
            )  # here, since a signal may come while it is imported

            run_commands()
        finally:
            _handle_signals(_do_nothing)
    except (SystemExit, KeyboardInterrupt) as end:
        _handle_signals(_do_nothing)  # the line above may have been interrupted
        _handle_signals(
            signal.SIG_IGN
        )  # the interpreter sets the default action for a function when it ends
        code = (
            end.code
            if isinstance(end, SystemExit)
            else getattr(end, "exit_code", 128 + signal.SIGINT)
        )
        if "tensorflow" in sys.modules and isinstance(code, int):
            _exit_at_once(code)
        sys.exit(code)


def open_closed_streams() -> None:
    """Open each standard stream that is closed on the null device, so that commands can read and write as usual.

    A shell closes them with `<&-`, `>&-` or `2>&-`. Python then has None instead of a stream, and the next file that is
    opened gets the descriptor of the closed stream.
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
    """Open the null device as a descriptor that is closed, while all smaller ones are open."""
    flags = os.O_RDONLY if mode == "r" else os.O_WRONLY
    opened = os.open(os.devnull, flags)  # gets the smallest number that is free
    assert opened == descriptor
    os.set_inheritable(descriptor, True)  # like any standard stream


def clean_up_on_signals() -> None:
    """Let the first SIGINT, SIGTERM or SIGHUP end the program like an error, so that it removes its temporary files.

    The default of the last two is to end at once. Further signals are ignored while the program ends: they would tear
    what cleans up, or end the interpreter with a traceback. A signal that is ignored stays ignored, so that nohup
    works. `charlm train` and `charlm serve` have handlers of their own while they work.
    """
    for number in ENDING:
        if signal.getsignal(number) in {signal.SIG_DFL, signal.default_int_handler}:
            signal.signal(number, _exit_by_signal)


def _exit_by_signal(number: int, frame: FrameType | None) -> NoReturn:
    _handle_signals(_do_nothing)  # not SIG_IGN: Python would tell of a signal that has come already
    if _is_importing(frame):
        _exit_at_once(128 + number)
    if number == signal.SIGINT:
        raise KeyboardInterrupt
    sys.exit(128 + number)


def _is_importing(frame: FrameType | None) -> bool:
    """Return whether a frame belongs to an import, in which a signal must not raise an exception.

    NumPy, ml_dtypes and pydantic turn an exception that interrupts their import into an error of their own, or print
    it: they are written in C and Rust.
    """
    while frame is not None:
        if frame.f_code.co_filename == "<frozen importlib._bootstrap>":
            return True
        frame = frame.f_back
    return False


def _show_error(
    kind: type[BaseException], error: BaseException, trace: TracebackType | None
) -> None:
    """Print an uncaught error as Python does, but not one that was caused by a signal.

    `main` catches what a signal raises, but the C++ code of TensorFlow prints some of it before.
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


def _exit_at_once(exit_code: int) -> NoReturn:
    """Exit without the rest of Python's clean-up, which takes a second once TensorFlow is imported."""
    atexit._run_exitfuncs()  # among them TensorFlow's, which removes its temporary files
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(exit_code)


if __name__ == "__main__":
    main()
