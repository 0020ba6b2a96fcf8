"""Standard streams that are full, closed or limited in what they can show."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from fake_runs import repeatable_files
from processes import command_line

from charlm.__main__ import open_messages


def shell(line: str, *arguments: str | Path, **environment: str) -> "subprocess.CompletedProcess[bytes]":
    """Run a line of the shell in which "$@" is `charlm` with its arguments."""
    return subprocess.run(
        ["sh", "-c", line, "sh", *command_line(*arguments)],
        capture_output=True,
        env={**os.environ, **environment},
        check=False,
        timeout=60,
    )


@pytest.mark.parametrize("extra", [[], ["--json"]])
def test_a_full_disk_behind_standard_output_is_one_line(extra: list[str], bundle_folder: Path) -> None:
    done = shell('"$@" > /dev/full', "sample", bundle_folder, "-n", "5", *extra)
    assert done.returncode == 1
    assert done.stderr.endswith(b"charlm: standard output: No space left on device\n")
    assert b"Traceback" not in done.stderr


def test_samples_are_written_even_if_the_lines_between_them_cannot_be(bundle_folder: Path) -> None:
    options = ("-n", "5", "--samples", "2", "-p", "a")
    done = shell('"$@" 2> /dev/full', "sample", bundle_folder, *options)
    assert (done.returncode, done.stdout.count(b"a") >= 2) == (0, True)


@pytest.mark.parametrize("closed", ["<&-", "<&- >&- 2>&-"])
def test_a_closed_stream_is_no_error(closed: str, bundle_folder: Path) -> None:
    done = shell(f'"$@" {closed}', "sample", bundle_folder, "-n", "5", "-p", "ab")
    assert (done.returncode, done.stderr) == (0, b"")
    assert done.stdout[:2] == (b"" if ">&-" in closed.split() else b"ab")


def test_a_failure_with_everything_closed_is_an_exit_code(tmp_path: Path) -> None:
    assert shell('"$@" <&- >&- 2>&-', "sample", tmp_path).returncode == 1


def test_a_file_does_not_take_the_number_of_a_closed_stream() -> None:
    code = "import os; from charlm.__main__ import fill_standard_streams as fill; fill(); print(os.open('/', 0))"
    done = shell(f'"$1" -c "{code}" <&- 2>&-')
    assert done.stdout == b"3\n"


@pytest.mark.parametrize("environment", [{"PYTHONUTF8": "0", "LC_ALL": "C"}, {"TERM": "dumb"}])
def test_a_locale_or_a_terminal_without_features_is_enough(environment: dict[str, str], bundle_folder: Path) -> None:
    done = shell('"$@"', "sample", bundle_folder, "-p", "aé", "-n", "3", "--unknown", "skip", **environment)
    assert (done.returncode, done.stderr) == (0, b"")


@pytest.mark.parametrize(
    "arguments",
    [["sample", "-n", "0"], ["runs", "--json"]],
)
def test_a_reader_of_results_that_has_gone_is_no_error(arguments: list[str], trained_run: Path) -> None:
    command, *options = arguments
    reader, writer = os.pipe()
    os.close(reader)
    done = subprocess.run(
        command_line(command, trained_run, *options), stdout=writer, stderr=subprocess.PIPE, check=False, timeout=60
    )
    os.close(writer)
    assert (done.returncode, done.stderr) == (0, b"")


def test_a_message_that_the_encoding_cannot_express_is_still_a_line() -> None:
    done = shell('"$@"', "sample", "中", PYTHONIOENCODING="ascii")
    assert done.returncode == 1
    assert done.stderr.count(b"\n") == 1
    assert done.stderr.startswith(b"charlm: ")
    assert done.stderr.endswith(b": no such folder; must be a run or a bundle\n")


def test_messages_that_cannot_be_written_are_dropped() -> None:
    reader, writer = os.pipe()
    os.close(reader)
    with Path("/dev/full").open("wb") as full:
        for descriptor in (writer, full.fileno()):
            print("a line", file=open_messages(descriptor, encoding="utf-8"), flush=True)
            with pytest.raises(OSError, match=r"No space left|Broken pipe"):
                os.write(descriptor, b"a line")
    os.close(writer)


# Training


@pytest.mark.slow
@pytest.mark.parametrize("lost", ["2>/dev/full", "2>&-", "2>&1 | true"])
def test_training_whose_progress_bar_is_lost_ends_like_any_other(lost: str, trained_run: Path, tmp_path: Path) -> None:
    program = (
        "import sys, charlm; from charlm.__main__ import fill_standard_streams; fill_standard_streams()\n"
        "charlm.train(sys.argv[1], recipe='tiny', overrides='corpus.test_fraction=0.1', run=sys.argv[2], "
        "say=lambda line: print(line, file=sys.stderr, flush=True), show_progress=True)"
    )
    line = f'{{ "$1" -c "$2" "$3" "$4"; echo "$?" >"{tmp_path}/code"; }} {lost}'
    text = trained_run.parent / "text.txt"
    done = subprocess.run(
        ["sh", "-c", line, "sh", sys.executable, program, text, tmp_path / "run"],
        capture_output=True,
        check=False,
        timeout=100,
    )
    assert (tmp_path / "code").read_text() == "0\n", done.stderr
    assert repeatable_files(tmp_path / "run") == repeatable_files(trained_run) != {}
