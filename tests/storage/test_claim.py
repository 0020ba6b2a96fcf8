"""Claims and turns of processes that share a folder."""

import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from charlm.errors import CharlmError
from charlm.storage.claim import claim, taking_turns

HOLD = """
import sys, time
from pathlib import Path
from charlm.storage.claim import claim
held = claim(Path(sys.argv[1]), "a.lock")
print("claimed", flush=True)
time.sleep(60)
"""


def test_a_claim_holds_until_it_is_released(tmp_path: Path) -> None:
    first = claim(tmp_path, "a.lock")
    assert first is not None
    assert claim(tmp_path, "a.lock") is None
    assert claim(tmp_path, "b.lock") is not None
    first.release()
    assert claim(tmp_path, "a.lock") is not None


def test_the_claim_of_a_killed_process_is_free(tmp_path: Path) -> None:
    command = [sys.executable, "-c", HOLD, str(tmp_path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "claimed\n"
        assert claim(tmp_path, "a.lock") is None
        process.kill()
        process.wait()
    assert claim(tmp_path, "a.lock") is not None


def test_a_link_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "a.lock").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(CharlmError, match=r"a\.lock: is a link"):
        claim(tmp_path, "a.lock")
    with pytest.raises(CharlmError, match=r"a\.lock: is a link"), taking_turns(tmp_path, "a.lock"):
        pass
    assert not (tmp_path / "elsewhere").exists()


def test_turns_do_not_overlap(tmp_path: Path) -> None:
    events: list[str] = []

    def take(name: str) -> None:
        with taking_turns(tmp_path, "turn"):
            events.append(f"{name} begins")
            time.sleep(0.02)
            events.append(f"{name} ends")

    threads = [threading.Thread(target=take, args=(name,)) for name in ("a", "b", "c")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [event.split()[1] for event in events] == ["begins", "ends"] * 3
    assert all(events[index].split()[0] == events[index + 1].split()[0] for index in (0, 2, 4))
