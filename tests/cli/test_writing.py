"""`charlm sample --interactive`: the page, and a terminal that is driven."""

import os
import pty
import re
import subprocess
import sys
from pathlib import Path

import pytest
from commands import check_usage_error, table

from charlm.cli.writing import page
from charlm.network.bundle import Bundle
from charlm.sampling.drafts import Draft, begin, press
from charlm.sampling.generation import TextRequest
from charlm.sampling.sampler import Sampler

PROGRAM = """
import fcntl, termios
from charlm.__main__ import main
fcntl.ioctl(0, termios.TIOCSCTTY, 0)  # Ctrl-C on the terminal sends SIGINT
main()
"""


@pytest.fixture
def draft(bundle: Bundle) -> Draft:
    return begin(bundle, TextRequest(5, Sampler(), seed=1, prompt="ab\na"))


def test_the_page_has_the_text_the_choices_by_number_and_the_keys(draft: Draft) -> None:
    lines = page(draft, columns=80, lines=24)
    assert lines[:3] == ["ab", "a▏", ""]
    assert sorted(line.split("%  ")[1] for line in lines[3:7]) == ["a", "b", "end of text", "new line"]
    assert [line.split()[0] for line in lines[3:7]] == ["1", "2", "3", "4"]
    assert "q quit" in lines[-1]


def test_while_typing_the_page_has_what_was_typed_in_place_of_the_choices(draft: Draft) -> None:
    typing = press(press(draft, "t"), "ba")
    assert page(typing, columns=80, lines=24)[2:] == ["", "type: ba▏", "", "enter add  escape leave it out"]


@pytest.mark.parametrize(("columns", "lines"), [(80, 24), (40, 12), (40, 3)])
def test_the_page_fits_the_terminal_and_shows_the_end_of_the_text(bundle: Bundle, columns: int, lines: int) -> None:
    long = begin(bundle, TextRequest(5, Sampler(), seed=1, prompt="ab\n" * 100 + "abba" * 99))
    shown = page(long, columns=columns, lines=lines)
    assert len(shown) <= max(lines, 11)
    assert max(map(len, shown)) <= columns
    assert "".join(shown).partition("▏")[0].endswith("abba")


def test_the_page_obeys_no_escape_sequence_of_the_text(draft: Draft) -> None:
    typing = press(press(draft, "t"), "\x9b31m")
    assert all(line.isprintable() for line in page(typing, columns=80, lines=24))


# The command


@table("""
sample bundle --interactive             | --interactive: needs a terminal
sample bundle --interactive --json      | --interactive: leave out --samples, --stop, --ignore-end and --json
sample bundle --interactive --stop a    | --interactive: leave out
sample bundle --interactive -n 0        | --interactive: -n is how far the model goes on at a time
""")
def test_wrong_usage_is_one_line(line: str, expected: str) -> None:
    check_usage_error(line, expected)


def drive(folder: Path, *keys: bytes, term: str = "xterm") -> tuple[int, str, str]:
    """Press keys, each after a page; return the exit code, standard output, and what the terminal showed."""
    ours, its = pty.openpty()
    command = [sys.executable, "-c", PROGRAM, "sample", str(folder), "-p", "ab", "--seed", "1", "--interactive"]
    environment = {**os.environ, "TERM": term, "PYTHONIOENCODING": "utf-8"}
    shown = b""
    with subprocess.Popen(
        command,
        stdin=its,
        stderr=its,
        stdout=subprocess.PIPE,
        env=environment,
        start_new_session=True,
    ) as process:
        os.close(its)
        for key in keys:
            seen = len(shown)
            while not re.search(rb"(q quit|leave it out)\s*$", shown[seen:]):
                shown += os.read(ours, 1 << 16)
            os.write(ours, key)
        result = process.communicate(timeout=60)[0].decode()
    os.close(ours)
    return process.returncode, result, shown.decode()


@pytest.mark.slow
def test_in_a_terminal_the_user_types_goes_back_and_quits_with_the_text(bundle_folder: Path) -> None:
    code, result, shown = drive(bundle_folder, b"t", b"b", b"a", b"\r", b"t", b"a", b"\r", b"\x7f", b"q")
    assert (code, result) == (0, "abba\n")
    assert shown.startswith("\x1b[?1049h")
    assert "abba▏" in shown


@pytest.mark.slow
def test_ctrl_d_ends_with_the_text_and_ctrl_c_without_it(bundle_folder: Path) -> None:
    assert drive(bundle_folder, b"\x04")[:2] == (0, "ab\n")
    assert drive(bundle_folder, b"\x03")[:2] == (130, "")
