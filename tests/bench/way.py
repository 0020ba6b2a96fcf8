"""What a command enters: functions of charlm, their modules, and changes from module to module.

    PYTHONPATH=tests python tests/bench/way.py train TEXT
    PYTHONPATH=tests python tests/bench/way.py sample MODEL
    PYTHONPATH=tests python tests/bench/way.py evaluate MODEL TEXT

`train` has a fake engine, and ends before its first step.
"""

import contextlib
import sys
import tempfile
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from types import FrameType
from typing import Any, NoReturn

from click.testing import CliRunner
from fake_engine import FakeEngines

import charlm
from charlm.api import training
from charlm.cli.main import main
from charlm.core.loop import Training
from charlm.events import OnEvent

PACKAGE = str(Path(charlm.__file__).parent)


class FirstStepError(Exception):
    """The first step is about to be taken."""


@contextlib.contextmanager
def connect(_on_event: OnEvent) -> Iterator[FakeEngines]:
    """Return engines without TensorFlow."""
    yield FakeEngines()


def stop(_training: Training) -> NoReturn:
    """Stop instead of taking a step."""
    raise FirstStepError


class Way:
    """The functions that are entered, in order."""

    def __init__(self) -> None:
        self.functions: list[tuple[str, str]] = []

    def note(self, frame: FrameType, event: str, _argument: Any) -> None:
        """Note a call of a function of charlm."""
        code = frame.f_code
        if event == "call" and code.co_filename.startswith(PACKAGE) and code.co_name[0] != "<":
            self.functions.append((code.co_filename, code.co_qualname))


def follow(*arguments: str) -> Way:
    """Return the way of a command."""
    training.connected_engines = connect  # type: ignore[assignment, attr-defined]
    Training.take_steps = stop  # type: ignore[assignment, method-assign]
    way = Way()
    with tempfile.TemporaryDirectory() as folder:
        options = ["-q", "-r", f"{folder}/run"] if arguments[0] == "train" else []
        sys.setprofile(way.note)
        try:
            result = CliRunner().invoke(main, [*arguments, *options])
        finally:
            sys.setprofile(None)
    is_expected = isinstance(result.exception, FirstStepError | None)
    assert is_expected, result.output
    return way


if __name__ == "__main__":
    entered = follow(*sys.argv[1:]).functions
    modules = [module for module, _ in entered]
    changes = sum(before != after for before, after in pairwise(modules))
    print(f"{len({*entered})} functions, {len({*modules})} modules, {changes} changes of module")
