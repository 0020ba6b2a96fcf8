"""Entry point of `charlm` and `python -m charlm`: signals and exit codes."""

import atexit
import gc
import os
import signal
import sys
from types import FrameType
from typing import NoReturn

from charlm.errors import CAUGHT

GARBAGE_THRESHOLDS = (100_000, 50, 100)
"""Thresholds of Python's garbage collector, whose first default is 700 objects.

Importing TensorFlow makes hundreds of thousands of permanent objects. With the default, collecting
would take a quarter of the start of `charlm train`.
"""
received: list[int] = []
"""Signals that have ended the program."""


def main() -> None:
    """Run the command line."""
    for number in CAUGHT:
        # An ignored signal stays ignored, for nohup.
        if signal.getsignal(number) in {signal.SIG_DFL, signal.default_int_handler}:
            signal.signal(number, end_by_signal)
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:  # a shell has closed it with <&- or >&-
            setattr(sys, name, open(os.devnull, mode, encoding="utf-8"))  # noqa: SIM115, PTH123
    gc.set_threshold(*GARBAGE_THRESHOLDS)
    code: object = 0
    try:
        from charlm.cli import main as commands  # here, so that signals can interrupt it

        commands.main()
    except SystemExit as end:
        code = end.code
    except BaseException as error:
        code = getattr(error, "exit_code", 128 + signal.SIGINT)
        # Interrupted code may raise another error.
        if not isinstance(error, KeyboardInterrupt) and not received:
            raise
    for number in CAUGHT:
        signal.signal(number, signal.SIG_IGN)
    if received:
        code = 128 + received[0]
    if "tensorflow" in sys.modules and isinstance(code, int):
        exit_immediately(code)
    sys.exit(code)  # type: ignore[arg-type]


def end_by_signal(number: int, _frame: FrameType | None) -> NoReturn:
    """End the program with an exception, so that files are cleaned up; ignore further signals.

    `charlm train` and `charlm serve` replace this handler while they run.
    """
    for other in CAUGHT:
        signal.signal(other, lambda *_: None)
    received.append(number)
    raise KeyboardInterrupt


def exit_immediately(exit_code: int) -> NoReturn:
    """Exit without Python's own clean-up, which takes a second after TensorFlow was imported."""
    atexit._run_exitfuncs()  # TensorFlow removes its temporary files here
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(exit_code)


if __name__ == "__main__":
    main()
