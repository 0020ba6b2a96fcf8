"""`python -m charlm`, and the command `charlm`."""

import os
import sys
from typing import NoReturn

from charlm import cli


def main() -> None:
    """Run the command line, with something open where a standard stream is closed."""
    _fill_standard_streams()
    try:
        cli.main()
    except SystemExit as end:
        if "tensorflow" in sys.modules and isinstance(end.code, int):
            _leave(end.code)
        raise


def _leave(exit_code: int) -> NoReturn:
    """End at once: Python would take TensorFlow apart first, for a second in which nothing else happens."""
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(exit_code)


def _fill_standard_streams() -> None:
    """Open the null device for each standard stream that is closed.

    The next file opened would get its number, and messages that libraries print would go into that file.
    """
    while (descriptor := os.open(os.devnull, os.O_RDWR)) <= 2:
        pass
    os.close(descriptor)
    sys.stdout = sys.stdout or open(1, "w", encoding="utf-8")  # noqa: SIM115
    sys.stderr = sys.stderr or open(2, "w", encoding="utf-8")  # noqa: SIM115


if __name__ == "__main__":
    main()
