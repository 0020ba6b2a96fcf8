"""Where a command prints, and which errors are blamed on standard output."""

import os
import pty
import sys

import click
import pytest
from click.testing import CliRunner, Result

from charlm.cli.command import Command, Commands, quiet_option
from charlm.cli.output import align, be_quiet, fill, print_result, say, shows_progress, terminal_width
from charlm.errors import CharlmError


def test_results_and_what_is_said_have_no_control_characters(capsys: pytest.CaptureFixture[str]) -> None:
    print_result("runs/\x1b[31mred: 1.5", "\u202eb")
    say("a\x1b[31m")
    assert capsys.readouterr() == ("runs/\\x1b[31mred: 1.5\n\\u202eb\n", "charlm: a\\x1b[31m\n")


# The option --quiet


def run_talker(*options: str) -> Result:
    """Run a command that prints a message and a result, and fails."""

    @click.command(cls=Command)
    @quiet_option
    def talker() -> None:
        """Talk."""
        say("a message")
        print_result("a result")
        raise CharlmError("why it failed")

    group = Commands("group", sections={"": ["talker"]}, commands={"talker": talker})
    return CliRunner().invoke(group, ["talker", *options])


def test_a_quiet_command_prints_its_result_and_errors_alone() -> None:
    quiet, plain = run_talker("-q"), run_talker()
    assert (quiet.exit_code, quiet.stdout, quiet.stderr) == (1, "a result\n", "charlm: why it failed\n")
    assert plain.stderr == "charlm: a message\ncharlm: why it failed\n"


@pytest.mark.parametrize(
    ("is_quiet", "terminal", "is_shown"), [(False, "xterm", True), (False, "dumb", False), (True, "xterm", False)]
)
def test_bars_are_shown_on_a_terminal_that_moves_its_cursor(
    is_quiet: bool, terminal: str, is_shown: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TERM", terminal)
    ours, its = pty.openpty()
    with os.fdopen(its, "w") as stream:
        monkeypatch.setattr(sys, "stderr", stream)
        with click.Context(click.Command("command")) as context:
            be_quiet(context, click.Option(["--quiet"]), is_quiet)
            assert shows_progress() == is_shown
        monkeypatch.undo()
    os.close(ours)


def test_figures_are_aligned_to_the_right_and_text_to_the_left_by_the_columns_of_its_characters() -> None:
    rows = [["日本", "1"], ["e\u0301te\u0301", "22"], ["abcd", "3"]]
    assert align(rows, text_columns={0}) == ["日本   1", "e\u0301te\u0301   22", "abcd   3"]


@pytest.mark.parametrize(("columns", "width"), [("200", 200), ("39", 40)])
def test_width_is_that_of_the_terminal_but_40_at_least(
    columns: str, width: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", columns)
    assert terminal_width() == width


def test_items_fill_lines_are_separated_by_commas_and_are_broken_between_words_alone() -> None:
    assert fill(["a 1", "b 2", "c 3"], width=9) == ["a 1, b 2,", "c 3"]
    lines = fill(["a 1", "two words and more", "c 3"], width=12, indent=2)
    assert lines == ["  a 1, two", "  words and", "  more, c 3"]
