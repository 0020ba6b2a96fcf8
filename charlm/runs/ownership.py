"""The start of a run folder, which appears under its name when it is complete.

A process builds a new run under a temporary name and removes nothing else. From its first file to
the end of the command it holds the lock of the folder.
"""

import contextlib
from collections.abc import Iterator
from pathlib import Path

from charlm.config.schema import Config
from charlm.errors import CharlmError
from charlm.network.model_file import TrainedModel, write_model
from charlm.runs.folder import INIT, RUNS, make_folder
from charlm.runs.run import write_config
from charlm.storage import METRICS_FILE, check_free, is_run, write_file, writing
from charlm.wording import as_argument


@contextlib.contextmanager
def free_folder(path: Path | None, *, text_name: str) -> Iterator[Path]:
    """Yield the path of a new run; an unnamed run gets a folder under runs/, empty until it begins.

    Args:
        path: A folder that is missing or empty; None = a new folder, named after the time and the
            text.
        text_name: The name of the text.

    Raises:
        CharlmError: The folder is a run or contains something else, or cannot be made.

    """
    if path is not None:
        if is_run(path):
            raise CharlmError(
                f"{path}: contains a run; choose another folder, or continue the run with: "
                f"charlm train --resume -r {as_argument(path)}"
            )
        check_free(path)
        yield path
        return
    with writing(RUNS):
        path = make_folder(text_name)
    try:
        yield path
    except BaseException:
        for folder in (path, path.parent):
            with contextlib.suppress(OSError):  # it is not empty
                folder.rmdir()
        raise


def write_run(folder: Path, config: Config, *, initial: TrainedModel | None = None) -> None:
    """Write the files of a new run whose text was added: its log, and all settings.

    Args:
        folder: The folder of the run, under its temporary name.
        config: Every setting, resolved.
        initial: The initial weights; None = random.

    Raises:
        CharlmError: The folder cannot be written.

    """
    if initial is not None:
        write_model(folder / INIT, initial)
    write_file(folder / METRICS_FILE, b"")
    write_config(folder, config)
