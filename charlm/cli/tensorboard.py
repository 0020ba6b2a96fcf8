"""`charlm tensorboard`: runs TensorBoard on a folder of links to the tensorboard/ of runs, named as the runs.

TensorBoard's own `--logdir_spec` turns its fast loader off (tensorboard issue 5438), and `--logdir` on the runs would
add /tensorboard to each name.
"""

import contextlib
import sys
import time
import types
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

import click

from charlm.cli.command import Command
from charlm.cli.options import host_option, port_option, runs_argument
from charlm.cli.output import say
from charlm.errors import CharlmError
from charlm.runs.folder import RUNS, TENSORBOARD, find_run, find_runs
from charlm.storage.atomic import temporary_folder

REFRESH_SECONDS = 5.0
"""How often new runs are linked."""
KEPT = "text=100000"
"""TensorBoard keeps all texts of a tag, not only ten. 0, its word for all, shows none in version 2.21."""
CHARTS = "#custom_scalars&_smoothingWeight=0"
"""The place of the charts at the address of TensorBoard; smoothed, a loss that falls would be shown above itself."""
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


def _by_name(runs: Sequence[Path]) -> dict[str, Path]:
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
@port_option(6006)
def tensorboard(runs: tuple[Path, ...], host: str, port: int) -> NoReturn:
    """Open TensorBoard on runs.

    Runs that begin later appear if none is named. Ctrl-C ends it.
    """
    runs = tuple(find_run(run) for run in runs)
    for run in runs:
        if not (run / TENSORBOARD).is_dir():
            raise CharlmError(f"{run}: not a run: there is no {TENSORBOARD}/ in it")
    with temporary_folder() as folder:
        link_runs(folder, runs)
        address = launch_board(
            ["--logdir", str(folder), "--samples_per_plugin", KEPT, "--host", host, "--port", str(port)]
        )
        say(f"all charts (CUSTOM SCALARS; Ctrl-C ends it): {address}{CHARTS}")
        while True:
            time.sleep(REFRESH_SECONDS)
            with contextlib.suppress(CharlmError, OSError):  # a run that is being removed, a full disk
                link_runs(folder, runs)


def launch_board(arguments: Sequence[str]) -> str:
    """Start TensorBoard in a thread, and return its address once it listens.

    It does without TensorFlow, by its own hook: importing that takes seconds and writes messages.

    Raises:
        CharlmError: it cannot listen there.

    """
    sys.modules["tensorboard.compat.notf"] = types.ModuleType("notf")
    from absl import logging
    from tensorboard import default, program

    logging.set_verbosity(logging.WARNING)
    board = program.TensorBoard(plugins=default.get_plugins())
    board.configure(argv=["tensorboard", *arguments])
    try:
        return str(board.launch())
    except program.TensorBoardServerException as error:
        raise CharlmError(error.msg) from None
