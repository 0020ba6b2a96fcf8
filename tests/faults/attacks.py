"""Attacks on the files and folders of a run: links and other things in their places.

`wrong_values.py` and `wrong_configs.py` have the attacks on what the files contain; `attack.py` applies all of them.
"""

import os
import shutil
import socket
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

OUTSIDE = "outside"
"""The folder beside the run that no attack may change: copies of the files of the run, and the file `precious`."""


@dataclass(frozen=True)
class Attack:
    """A change to a run."""

    kind: str
    file: str
    """The path of the file or folder in the run."""
    change: str
    apply: Callable[[Path], object]
    """Makes the change in the folder of a run."""
    may_differ: bool = False
    """Whether commands may give other results without a word: the change is that of somebody who could have written
    these files, with right checksums, or of a file whose contents no checksum protects."""

    def __str__(self) -> str:
        return f"{self.kind}: {self.file}: {self.change}"


# Links


def links(name: str) -> Iterator[Attack]:
    """Yield the attacks that put a link in the place of a file or folder."""
    targets = {
        "to its copy outside": lambda run: run.parent / OUTSIDE / name,
        "to another file outside": lambda run: run.parent / OUTSIDE / "precious",
        "to a folder outside": lambda run: run.parent / OUTSIDE,
        "that leads nowhere": lambda run: run.parent / OUTSIDE / "missing",
        "to itself": lambda run: run / name,
        "to a device without an end": lambda _: Path("/dev/zero"),
        "to the terminal": lambda _: Path("/dev/tty"),
    }
    for change, target in targets.items():
        yield Attack("link", name, f"a link {change}", _linker(name, target), may_differ=name.startswith("corpus"))
    yield Attack("link", name, "a hard link to its copy outside", lambda run: _link_hard(run, name))


def _linker(name: str, target: Callable[[Path], Path]) -> Callable[[Path], None]:
    def link(run: Path) -> None:
        remove(run / name)
        (run / name).symlink_to(target(run))

    return link


def _link_hard(run: Path, name: str) -> None:
    copy = run.parent / OUTSIDE / name
    if copy.is_file():
        remove(run / name)
        (run / name).hardlink_to(copy)


def planted_links(names: list[str]) -> Iterator[Attack]:
    """Yield the attacks that plant a link under a name that charlm may write or clean up."""
    planted = [
        *(f".{name}.{number}.{kind}" for name in ("config.yaml", "best", "last") for number in (1, 77) for kind in OLD),
        *("checkpoints/best", "checkpoints/step-999999999", "checkpoints/step-000000000"),
        *("checkpoints/.step-000000025.1.tmp", "checkpoints/.step-000000025.1.old", "checkpoints/step-x"),
        *("tensorboard/events.out.tfevents.1.x", ".corpus-abcd", ".charlm-corpus-abcdefgh.tmp"),
        *("best/extra", "last/extra", "corpus/extra"),
    ]
    for name in planted:
        if name not in names:
            for where in ("precious", "best", "missing"):
                yield Attack("planted link", name, f"to {where} outside", _planter(name, where))


OLD = ("tmp", "old")


def _planter(name: str, where: str) -> Callable[[Path], None]:
    def plant(run: Path) -> None:
        (run / name).symlink_to(run.parent / OUTSIDE / where)

    return plant


# Other things in the place of a file or folder


def remove(path: Path) -> None:
    """Remove a file or a folder."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def replacements(name: str, *, is_folder: bool) -> Iterator[Attack]:
    """Yield the attacks that put something else in the place of a file or folder."""
    makers: dict[str, Callable[[Path], object]] = {
        "nothing": lambda _: None,
        "an empty file": lambda path: path.touch(),
        "an empty folder": lambda path: path.mkdir(),
        "a folder with a file": _make_folder,
        "a pipe": os.mkfifo,
        "a socket": _make_socket,
        "zeros": lambda path: path.write_bytes(bytes(10_000_000)),
        "text": lambda path: path.write_text("To be, or not to be\n"),
        "a large file of holes": lambda path: _make_sparse(path, 1 << 40),
    }
    may_differ = name in {"best", "metrics.jsonl", ".lock", "corpus", "vocabulary.json"} or name.startswith(
        ("corpus", "tensor")
    )
    for change, make in makers.items():
        yield Attack("replaced", name, f"by {change}", _replacer(name, make), may_differ=may_differ)
    if not is_folder:
        for change, edit in FILE_EDITS.items():
            yield Attack("replaced", name, change, _editor(name, edit), may_differ=may_differ)


def damaged_bytes(name: str, size: int) -> Iterator[Attack]:
    """Yield the attacks that damage single bytes of a file, spread over it."""
    may_differ = name in {"metrics.jsonl", ".lock", "vocabulary.json"} or name.startswith(("corpus", "tensor"))
    edits: dict[str, Callable[[bytes, int], bytes]] = {
        **{f"bits {bits:#x} flipped": partial(_flip, bits=bits) for bits in (0x01, 0x20, 0x80, 0xFF)},
        "removed": lambda data, at: data[:at] + data[at + 1 :],
        "and all after it cut off": lambda data, at: data[:at],
    }
    for at in sorted({0, size - 1, *range(0, size, max(1, size // 8))} if size else ()):
        for change, edit in edits.items():
            yield Attack("byte", name, f"byte {at:,} {change}", _editor(name, _at(edit, at)), may_differ=may_differ)


def _at(edit: Callable[[bytes, int], bytes], at: int) -> Callable[[bytes], bytes]:
    return lambda data: edit(data, at)


def _flip(data: bytes, at: int, *, bits: int) -> bytes:
    return data[:at] + bytes([data[at] ^ bits]) + data[at + 1 :]


FILE_EDITS: dict[str, Callable[[bytes], bytes]] = {
    "cut in half": lambda data: data[: len(data) // 2],
    "twice": lambda data: data + data,
    "reversed": lambda data: data[::-1],
    "with a byte order mark": lambda data: b"\xef\xbb\xbf" + data,
    "with a zero byte at its end": lambda data: data + b"\0",
}


def _replacer(name: str, make: Callable[[Path], object]) -> Callable[[Path], None]:
    def replace(run: Path) -> None:
        remove(run / name)
        make(run / name)

    return replace


def _editor(name: str, edit: Callable[[bytes], bytes]) -> Callable[[Path], None]:
    def change(run: Path) -> None:
        (run / name).write_bytes(edit((run / name).read_bytes()))

    return change


def _make_folder(path: Path) -> None:
    path.mkdir()
    (path / "file").touch()


def _make_socket(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as made:
        before = Path.cwd()
        os.chdir(path.parent)  # the path of a socket may have 107 bytes
        try:
            made.bind(path.name)
        finally:
            os.chdir(before)


def _make_sparse(path: Path, size_bytes: int) -> None:
    with path.open("wb") as file:
        file.truncate(size_bytes)
