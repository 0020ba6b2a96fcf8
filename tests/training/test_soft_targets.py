"""The file of soft targets: verified when it is opened, and computed again if it is damaged."""

import hashlib
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import fake_runs
import numpy as np
import pytest
from fake_runs import TEXT, Trained
from run_folders import replace_by_folder

from charlm.events import Event, NgramProgress, SoftTargetsDamaged, TeachersReading
from charlm.runs.run import Run
from charlm.storage import UnreadableError
from charlm.training import soft_targets
from charlm.training.soft_targets import keeps_soft_targets, open_soft_targets

COUNTING = [NgramProgress(done=done, total=10) for done in range(11)]


def begin(*overrides: str) -> Run:
    """Begin a run on a short text."""
    Path("text.txt").write_text(TEXT, encoding="utf-8")
    return fake_runs.begin(Path("run"), *overrides, text=Path("text.txt"))


@pytest.fixture
def run() -> Run:
    """Begin a run that learns from n-grams, and compute what they predict."""
    begun = begin("training.ngram_weight=0.4")
    open_soft_targets(begun)
    return begun


@pytest.fixture
def path(run: Run) -> Path:
    """Return the file of the soft targets."""
    return run.folder / "soft_targets.bin"


def events_of(run: Run) -> list[Event]:
    """Open the soft targets of a run, and return the events."""
    events: list[Event] = []
    open_soft_targets(run, on_event=events.append)
    return events


def test_the_file_ends_with_the_digest_of_its_rows(run: Run, path: Path) -> None:
    table = open_soft_targets(run)
    assert table is not None
    rows = table.tobytes()
    assert path.read_bytes() == rows + hashlib.sha256(rows).digest()


def test_the_table_has_a_row_for_each_character_but_the_first(run: Run) -> None:
    table = open_soft_targets(run)
    assert table is not None
    assert table.shape == (len(run.corpus.split("train")) - 1, len(run.corpus.vocabulary))
    np.testing.assert_allclose(np.array(table, np.float64).sum(axis=1), 1, atol=2e-3)


def test_a_run_without_teachers_has_no_soft_targets() -> None:
    assert open_soft_targets(begin("training.ngram_weight=0")) is None


def test_a_file_of_several_blocks_is_verified(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(soft_targets, "BLOCK_BYTES", 1000)
    assert keeps_soft_targets(run)


def flip(position: int) -> Callable[[Path], None]:
    """Return what flips a bit of a byte of a file."""

    def change(path: Path) -> None:
        data = bytearray(path.read_bytes())
        data[position] ^= 1
        path.write_bytes(data)

    return change


DAMAGES = pytest.mark.parametrize(
    "damage",
    [
        pytest.param(flip(0), id="first row"),
        pytest.param(flip(-33), id="last row"),
        pytest.param(flip(-1), id="digest"),
        pytest.param(lambda path: os.truncate(path, path.stat().st_size - 1), id="short"),
        pytest.param(
            lambda path: os.truncate(path, path.stat().st_size - 32), id="without a digest"
        ),
        pytest.param(lambda path: os.truncate(path, path.stat().st_size + 1), id="long"),
        pytest.param(lambda path: os.truncate(path, 0), id="empty"),
    ],
)


@DAMAGES
def test_a_run_does_not_keep_damaged_soft_targets(
    damage: Callable[[Path], None], run: Run, path: Path
) -> None:
    damage(path)
    assert not keeps_soft_targets(run)


@DAMAGES
def test_damaged_soft_targets_are_computed_again(
    damage: Callable[[Path], None], run: Run, path: Path
) -> None:
    before = path.read_bytes()
    damage(path)
    open_soft_targets(run)
    assert path.read_bytes() == before


@DAMAGES
def test_damaged_soft_targets_are_reported(
    damage: Callable[[Path], None], run: Run, path: Path
) -> None:
    damage(path)
    assert events_of(run) == [SoftTargetsDamaged(path), *COUNTING]


def test_missing_soft_targets_are_not_reported_as_damaged(run: Run, path: Path) -> None:
    path.unlink()
    assert events_of(run) == COUNTING


def test_soft_targets_that_are_there_are_not_computed(run: Run) -> None:
    assert events_of(run) == []


def test_the_teachers_are_counted_before_they_read_the_text(reference: Trained) -> None:
    copies = [
        shutil.copy(reference.folder / "best.safetensors", f"{number}.safetensors")
        for number in (1, 2)
    ]
    run = begin(f"training.teachers={{models: [{', '.join(copies)}]}}")
    assert events_of(run) == [TeachersReading(2)]


@pytest.mark.parametrize("use", [keeps_soft_targets, open_soft_targets])
def test_soft_targets_that_cannot_be_read_are_not_computed_again(
    use: Callable[[Run], object], run: Run, path: Path
) -> None:
    replace_by_folder(path)
    with pytest.raises(
        UnreadableError, match=r"soft_targets\.bin: cannot be read: Is a directory$"
    ):
        use(run)
