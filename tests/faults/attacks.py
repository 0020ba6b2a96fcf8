"""Attacks on the files and folders of a run: links and other things in their places.

`wrong_values.py` has those on the tensors, and `attack.py` applies all of them. `test_bytes.py` damages what is in the
files.
"""

import os
import shutil
import socket
from collections.abc import Callable, Iterator, Sequence
from contextlib import chdir
from dataclasses import dataclass
from functools import partial
from pathlib import Path

OUTSIDE = "outside"
"""The folder beside the run that no attack may change: copies of the files of the run, and the file `precious`."""
PLANTED = (
    *(".config.yaml.1.tmp", ".config.yaml.1.old", ".best.1.tmp", ".best.1.old", ".last.77.tmp", ".last.77.old"),
    *("checkpoints/best", "checkpoints/step-999999999", "checkpoints/step-000000000", "checkpoints/step-x"),
    *("checkpoints/.step-000000025.1.tmp", "checkpoints/.step-000000025.1.old"),
    *("tensorboard/events.out.tfevents.1.x", ".corpus-abcd", ".charlm-corpus-abcdefgh.tmp"),
    *("best/extra", "last/extra", "corpus/extra"),
)
"""Names that charlm may write or clean up."""


@dataclass(frozen=True)
class Attack:
    """A change to a run, or a hostile input."""

    kind: str
    file: str
    """The path of the file or folder in the run."""
    change: str
    apply: Callable[[Path], object]
    """Makes the change in the folder of a run."""
    may_differ: bool = False
    """Whether commands may give other results without a word: the change is that of somebody who could have written
    these files, with right checksums, or of a file whose contents no checksum protects."""
    step: Callable[[], object] | None = None
    """What is done in the folder work/ after the change, in place of the commands on the run: it returns the result of
    a command, or its exit code and its messages, or raises CharlmError."""

    @property
    def place(self) -> str:
        """The folder that may change."""
        return "run" if self.step is None else "work"

    def __str__(self) -> str:
        return f"{self.kind}: {self.file}: {self.change}"


def replacements(name: str) -> Iterator[Attack]:
    """Yield the attacks that put a link or something else in the place of a file or folder."""
    links: dict[str, Callable[[Path], Path]] = {
        "to its copy outside": lambda outside: outside / name,
        "to another file outside": lambda outside: outside / "precious",
        "to a folder outside": lambda outside: outside,
        "that leads nowhere": lambda outside: outside / "missing",
        "to itself": lambda outside: outside.parent / "run" / name,
        "to a device without an end": lambda _: Path("/dev/zero"),
        "to the terminal": lambda _: Path("/dev/tty"),
    }
    for change, target in links.items():
        yield Attack("link", name, f"a link {change}", partial(_link, name, target), name.startswith("corpus"))
    yield Attack("link", name, "a hard link to its copy outside", partial(_link_hard, name))
    for change, make in THINGS.items():
        yield Attack("replaced", name, f"by {change}", partial(_replace, name, make), _is_unsealed(name))


def planted_links(names: Sequence[str]) -> Iterator[Attack]:
    """Yield the attacks that plant a link under a name that charlm may write or clean up."""
    for name in {*PLANTED}.difference(names):
        for where in ("precious", "best", "missing"):
            yield Attack("planted link", name, f"to {where} outside", partial(_plant, name, where))


def _is_unsealed(name: str) -> bool:
    """Return whether no checksum protects a file or folder."""
    return name in {"best", "metrics.jsonl", ".lock", "vocabulary.json"} or name.startswith(("corpus", "tensor"))


def _link(name: str, target: Callable[[Path], Path], run: Path) -> None:
    _remove(run / name)
    (run / name).symlink_to(target(run.parent / OUTSIDE))


def _link_hard(name: str, run: Path) -> None:
    copy = run.parent / OUTSIDE / name
    if copy.is_file():
        _remove(run / name)
        (run / name).hardlink_to(copy)


def _plant(name: str, where: str, run: Path) -> None:
    (run / name).symlink_to(run.parent / OUTSIDE / where)


def _replace(name: str, make: Callable[[Path], object], run: Path) -> None:
    _remove(run / name)
    make(run / name)


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def _make_socket(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as made, chdir(path.parent):  # the path of a socket may have 107 bytes
        made.bind(path.name)


def _make_sparse(path: Path) -> None:
    with path.open("wb") as file:
        file.truncate(1 << 40)


THINGS: dict[str, Callable[[Path], object]] = {
    "nothing": lambda _: None,
    "an empty file": lambda path: path.touch(),
    "a folder with an empty one": lambda path: (path / "folder").mkdir(parents=True),
    "a pipe": os.mkfifo,
    "a socket": _make_socket,
    "zeros": lambda path: path.write_bytes(bytes(10_000_000)),
    "text": lambda path: path.write_text("To be, or not to be\n"),
    "a large file of holes": _make_sparse,
}
