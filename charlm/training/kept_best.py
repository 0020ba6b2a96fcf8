"""A copy of best/, kept while best/ holds the network of an evaluation that only the clock has caused.

A run that ends by `training.max_minutes` is evaluated once more, and that network becomes best/ if it is the best. A
resumed run does not know of this evaluation, since it must end like a run that was never interrupted: it puts the copy
back. Nothing is lost by that, because the resumed run starts from the same network.
"""

import sys
from pathlib import Path

from charlm.network.architecture import is_bundle
from charlm.runs.folder import CHECKPOINTS
from charlm.storage.atomic import remove_folder, sync_folder, write_folder
from charlm.storage.files import read_file, writing

BEST = "best"


def keep_best(run: Path) -> None:
    """Copy best/ to checkpoints/best if there is a bundle in it; raises CharlmError if that cannot be written."""
    if is_bundle(run / BEST):
        files = sorted((run / BEST).iterdir())
        contents = {path.name: read_file(path, limit=sys.maxsize, follow_links=False) for path in files}
        write_folder(run / CHECKPOINTS / BEST, contents)


def put_back_best(run: Path) -> None:
    """Replace best/ by the copy, if there is one; raises CharlmError if that cannot be written or a name is a link."""
    copy = run / CHECKPOINTS / BEST
    if is_bundle(copy):
        with writing(run / BEST):
            remove_folder(run / BEST)
            copy.rename(run / BEST)
            sync_folder(run)
