"""A folder of links to the event files of runs, which TensorBoard shows as one run each, under the name of its folder.

TensorBoard's own `--logdir_spec` turns the projector off and its fast loader with it (tensorboard issue 5438), and
`--logdir` on the runs would add /tensorboard to each name.
"""

import contextlib
import shutil
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from charlm.errors import CharlmError
from charlm.runs.folder import RUNS, TENSORBOARD, TENSORBOARD_FILES, find_run, find_runs


class Board:
    """A folder that shows the event files of runs, and of the searches that trained them.

    Args:
        folder: An empty folder.
        runs: The runs; none = all under runs/, those that begin later included.

    """

    def __init__(self, folder: Path, runs: Sequence[Path]) -> None:
        self.folder, self._runs = folder, runs

    def refresh(self) -> None:
        """Link what has been added since the last call, and remove links to what has gone.

        Raises:
            CharlmError: there is no run, or one that was named is not a run.

        """
        runs = self._runs or _runs_with_events()
        searches = _searches(runs)
        shown = _by_name([*runs, *searches])
        for name, run in shown.items():
            _link_files(run / TENSORBOARD, self.folder / name)
        for name in {path.name for path in self.folder.iterdir()} - shown.keys():
            shutil.rmtree(self.folder / name)


@contextlib.contextmanager
def open_board(runs: Sequence[Path]) -> Iterator[Board]:
    """Make a board in a temporary folder, which is removed after the block.

    Args:
        runs: The runs, or parts of their names under runs/; none = all under runs/.

    Raises:
        CharlmError: there is no run, or one that was named is not a run.

    """
    runs = [find_run(run) for run in runs]
    for run in runs:
        if not (run / TENSORBOARD).is_dir():
            raise CharlmError(f"{run}: not a run: there is no {TENSORBOARD}/ in it")
    with tempfile.TemporaryDirectory(prefix="charlm-board-") as folder:
        board = Board(Path(folder), runs)
        board.refresh()
        yield board


def _runs_with_events() -> list[Path]:
    found = sorted(run for run in find_runs() if (run / TENSORBOARD).is_dir())
    if not found:
        raise CharlmError(f"{RUNS}/: no run here has been trained; train one with: charlm train")
    return found


def _searches(runs: Iterable[Path]) -> list[Path]:
    """Return the folders of the searches whose trials are among some runs, if they have a picture for TensorBoard."""
    folders = sorted({run.resolve().parent for run in runs})
    return [folder for folder in folders if (folder / TENSORBOARD).is_dir()]


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


def _link_files(events: Path, folder: Path) -> None:
    """Make a folder show the files that charlm writes to another, and no others.

    Event files are links. Those of the projector are copies: it refuses files outside the folder.
    """
    folder.mkdir(exist_ok=True)
    files = {path.name: path for pattern in TENSORBOARD_FILES for path in events.glob(pattern) if _is_own(path)}
    for shown in list(folder.iterdir()):
        if shown.name not in files:
            shown.unlink()
    for name, path in files.items():
        if "tfevents" not in name:
            _copy_if_newer(path, folder / name)
        elif not (folder / name).is_symlink():
            (folder / name).symlink_to(path)


def _copy_if_newer(path: Path, copy: Path) -> None:
    if not copy.exists() or copy.stat().st_mtime_ns != path.stat().st_mtime_ns:
        shutil.copy2(path, copy, follow_symlinks=False)


def _is_own(path: Path) -> bool:
    """Return whether a path is a file of the run, and no link, which could lead anywhere."""
    return path.is_file() and not path.is_symlink()
