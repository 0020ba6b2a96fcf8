"""The samples of a run, read from event files that charlm wrote, and from ones that nobody would write."""

import struct
from pathlib import Path

import pytest

from charlm.errors import CharlmError
from charlm.inspection.run_samples import MAX_RECORD_BYTES, RunSample, read_samples
from charlm.training.events import EventLog

TEXTS = {step: f"text {step}\n\n    indented" for step in range(10, 110, 10)}


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """Return a run with ten samples and other events in its event file."""
    log = EventLog(tmp_path / "tensorboard")
    for step, text in TEXTS.items():
        log.show_text("sample", text, step=step)
        log.show_text("rollback", "the sample of nobody", step=step)
        log.log({"step": step, "split": "train", "nats_per_char": 1.0, "bits_per_char": 1.4})
    log.close()
    return tmp_path


def event_file(run: Path) -> Path:
    return next((run / "tensorboard").iterdir())


def test_samples_are_spread_from_the_first_to_the_last(run: Path) -> None:
    found = read_samples(run, max_samples=4)
    assert [sample.step for sample in found] == [10, 40, 70, 100]
    assert [sample.text for sample in found] == [TEXTS[sample.step] for sample in found]


def test_all_samples_are_returned_if_there_are_few(run: Path) -> None:
    assert [sample.step for sample in read_samples(run, max_samples=99)] == list(TEXTS)
    assert [sample.step for sample in read_samples(run, max_samples=1)] == [10]


def test_a_long_text_is_cut(run: Path) -> None:
    assert {sample.text for sample in read_samples(run, max_characters=5)} == {"text "}


def test_of_several_tags_the_one_that_came_first_is_shown(tmp_path: Path) -> None:
    log = EventLog(tmp_path / "tensorboard")
    log.show_text("sample/temperature 0.8", "one", step=1)
    log.show_text("sample/temperature 0.2", "two", step=1)
    log.close()
    assert read_samples(tmp_path) == (RunSample(1, "one"),)


def test_a_resumed_run_continues_in_another_file(run: Path) -> None:
    log = EventLog(run / "tensorboard")
    log.show_text("sample", "the last", step=110)
    log.close()
    assert read_samples(run)[-1] == RunSample(110, "the last")


@pytest.mark.parametrize("cut", [1, 3, 17, 60])
def test_a_record_that_is_being_written_is_left_out(run: Path, cut: int) -> None:
    whole = event_file(run).read_bytes()
    event_file(run).write_bytes(whole[:-cut])
    assert len(read_samples(run, max_samples=99)) in {9, 10}


def test_records_that_are_not_events_or_too_long_are_skipped(run: Path) -> None:
    with event_file(run).open("ab") as file:
        for data in (b"\xffsample\xff\xff", b"sample" * (MAX_RECORD_BYTES // 6 + 1), b""):
            file.write(struct.pack("<QI", len(data), 0) + data + bytes(4))
        file.write(struct.pack("<Q", 1 << 63) + b"sample")
    assert len(read_samples(run, max_samples=99)) == 10


def test_a_run_without_samples_has_none(tmp_path: Path) -> None:
    assert read_samples(tmp_path) == ()
    (tmp_path / "tensorboard").mkdir()
    (tmp_path / "tensorboard" / "events.out.tfevents.1").write_bytes(b"")
    assert read_samples(tmp_path) == ()


def test_links_are_not_followed(run: Path, tmp_path: Path) -> None:
    (run / "tensorboard" / "events.out.tfevents.0").symlink_to(event_file(run))
    with pytest.raises(CharlmError, match="is a link"):
        read_samples(run)
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "tensorboard").symlink_to(run / "tensorboard")
    with pytest.raises(CharlmError, match="is a link"):
        read_samples(tmp_path / "other")
