"""`charlm tensorboard`: runs TensorBoard on a folder of links to the tensorboard/ of runs, named as the runs.

TensorBoard's own `--logdir_spec` turns its fast loader off (tensorboard issue 5438), and `--logdir` on the runs would
add /tensorboard to each name.
"""

import contextlib
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from types import FrameType
from typing import Any

import click

from charlm.cli.command import Command
from charlm.cli.options import host_option, runs_argument
from charlm.errors import CharlmError
from charlm.runs.folder import RUNS, TENSORBOARD, find_run, find_runs

REFRESH_SECONDS = 5.0
"""How often new runs are linked."""
KEPT = "text=100000"
"""TensorBoard keeps all texts of a tag, not only ten. 0, its word for all, shows none in version 2.21."""
PROGRAM = """
import sys, types
sys.modules["tensorboard.compat.notf"] = types.ModuleType("notf")
from absl import logging
from tensorboard import main, main_lib
main_lib.global_init = lambda: logging.set_verbosity(logging.WARNING)
main.run_main()
"""
"""Starts TensorBoard without TensorFlow, by TensorBoard's own hook: importing it takes seconds and writes messages. Its
`global_init` would say that TensorFlow is missing, and sets the level of messages."""
FORWARDED = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
EXAMPLES = {
    "charlm tensorboard": "all runs, at http://127.0.0.1:6006",
    "charlm tensorboard tiny default --port 0": "two runs, at any free port",
}


def link_runs(folder: Path, runs: Sequence[Path]) -> None:
    """Make a folder show the event files of runs, and nothing else.

    Args:
        folder: A folder that only this function writes.
        runs: The runs; none = all under runs/ that have been trained by now.

    Raises:
        CharlmError: there is no run.

    """
    shown = _by_name(runs or _trained_runs())
    for link in list(folder.iterdir()):
        if link.name not in shown:
            link.unlink()
    for name, run in shown.items():
        if not (folder / name).is_symlink():
            (folder / name).symlink_to(run / TENSORBOARD)


def _trained_runs() -> list[Path]:
    found = sorted(run for run in find_runs() if (run / TENSORBOARD).is_dir())
    if not found:
        raise CharlmError(f"{RUNS}/: no run here has been trained; train one with: charlm train")
    return found


def _by_name(runs: Iterable[Path]) -> dict[str, Path]:
    """Return the runs by the names of their folders, with the folder above if two have the same name."""
    places = list(dict.fromkeys(run.resolve() for run in runs))
    names = [place.name for place in places]
    found: dict[str, Path] = {}
    for place in places:
        name = place.name if names.count(place.name) == 1 else f"{place.parent.name}-{place.name}"
        while name in found:
            name += "+"
        found[name] = place
    return found


@click.command(cls=Command, examples=EXAMPLES)
@runs_argument
@host_option
@click.option(
    "--port",
    type=click.IntRange(0, 65535),
    default=6006,
    help="Port to listen at; 0 = any free one.",
)
def tensorboard(runs: tuple[Path, ...], host: str, port: int) -> None:
    """Open TensorBoard on runs.

    Runs that begin later appear if none is named. Ctrl-C ends it.
    """
    runs = tuple(find_run(run) for run in runs)
    for run in runs:
        if not (run / TENSORBOARD).is_dir():
            raise CharlmError(f"{run}: not a run: there is no {TENSORBOARD}/ in it")
    with tempfile.TemporaryDirectory(prefix="charlm-board-") as folder:
        link_runs(Path(folder), runs)
        code = serve(command(Path(folder), host=host, port=port), lambda: link_runs(Path(folder), runs))
    sys.exit(code if code >= 0 else 128 - code)


def command(folder: Path, *, host: str, port: int) -> list[str]:
    """Return the command line of a TensorBoard.

    Args:
        folder: Its folder of runs.
        host: The address to listen at.
        port: The port, 0 to 65535; 0 = any free one.

    """
    # -P: modules in the current folder are not imported, since it may hold files from anyone
    program = [sys.executable, "-P", "-c", PROGRAM]
    return [*program, "--logdir", str(folder), "--samples_per_plugin", KEPT, "--host", host, "--port", str(port)]


def serve(arguments: list[str], refresh: Callable[[], None], *, refresh_seconds: float = REFRESH_SECONDS) -> int:
    """Run a program until it ends, and keep the links fresh meanwhile; signals are passed on to it.

    Args:
        arguments: The program and its arguments.
        refresh: Brings the links up to date.
        refresh_seconds: How often to do that.

    Returns:
        Its exit code; -n if signal n ended it.

    """
    # In a process group of its own, it gets Ctrl-C once: from here.
    process = subprocess.Popen(arguments, process_group=0)
    with _passing_signals_to(process):
        while True:
            try:
                return process.wait(timeout=refresh_seconds)
            except subprocess.TimeoutExpired:
                with contextlib.suppress(CharlmError, OSError):  # a run that is being removed, a full disk
                    refresh()


@contextlib.contextmanager
def _passing_signals_to(process: "subprocess.Popen[Any]") -> Iterator[None]:
    def pass_on(number: int, _frame: FrameType | None) -> None:
        process.send_signal(number)

    before = {number: signal.signal(number, pass_on) for number in FORWARDED}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
