"""`python -m charlm`, and the command `charlm`."""

import os
import sys
from typing import NoReturn

from charlm.cli.main import main as run_commands


def main() -> None:
    """Run the command line; a standard stream that is closed is replaced by the null device."""
    fill_standard_streams()
    try:
        run_commands()
    except SystemExit as end:
        if "tensorflow" in sys.modules and isinstance(end.code, int):
            _exit_at_once(end.code)
        raise


def fill_standard_streams() -> None:
    """Open the null device for each standard stream that is closed.

    The next file opened would get the number of the closed stream, and messages that libraries print would go into
    that file.
    """
    while (descriptor := os.open(os.devnull, os.O_RDWR)) <= 2:
        pass
    os.close(descriptor)
    sys.stdout = sys.stdout or open(1, "w", encoding="utf-8")  # noqa: SIM115
    sys.stderr = sys.stderr or open(2, "w", encoding="utf-8")  # noqa: SIM115


def _exit_at_once(exit_code: int) -> NoReturn:
    """Exit without Python's clean-up, which takes a second once TensorFlow is imported."""
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(exit_code)


if __name__ == "__main__":
    main()
